"""README.md, docs/settings.md and docs/demo.md describe what exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chalicelib.settings import acceptance as settings

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
SETTINGS = (PROJECT / "docs/settings.md").read_text()
DEMO = (PROJECT / "docs/demo.md").read_text()
OPENAPI = yaml.safe_load((PROJECT / "docs/openapi.yaml").read_text())
VARIABLES = (*settings._STAGE, *settings._PER_DATABASE)  # noqa: SLF001


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) < 120


def test_the_table_of_settings_is_the_one_in_the_code() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", SETTINGS, re.MULTILINE))
    documented = {
        name: default.strip("`") for name, default in table.items() if name != "SHARE_WITH_ACCOUNT"
    }
    assert documented == {
        variable.name.format("P"): "required" if variable.required else variable.default or "none"
        for variable in VARIABLES
    }


def test_the_readme_lists_the_required_settings() -> None:
    section = README.split("## Settings\n")[1].split("\n## ")[0]
    rows = [row.split(" | ")[0] for row in section.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == {
        variable.name.format("RDS") for variable in VARIABLES if variable.required
    }


def test_the_readme_lists_the_routes_of_the_api() -> None:
    section = README.split("## Operate it\n")[1].split("\n## ")[0]
    rows = [row.split(" | ")[0] for row in section.splitlines() if row.startswith("| `")]
    assert {route for row in rows for route in re.findall(r"`([A-Z]+ /\S*)`", row)} == {
        f"{method.upper()} {path}"
        for path, methods in OPENAPI["paths"].items()
        for method in methods
        if method in ("get", "put", "post", "delete")
    }


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"(?:`|^    )make (\w+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "setup"} <= named <= targets


def test_four_commands_lead_from_a_clone_to_a_stage_that_the_doctor_checks() -> None:
    """tests/e2e/test_newcomer.py runs the last three of them."""
    section = README.split("## Deploy it\n")[1].split("\n## ")[0]
    commands = re.findall(r"^    (make \w+|aurora-refresh \w+)", section, re.MULTILINE)
    names = [
        "make setup",
        *(f"aurora-refresh {each}" for each in ("configure", "deploy", "doctor")),
    ]
    assert commands[:4] == names


@pytest.mark.parametrize(("scenario", "marker"), [("orders", "transcript"), ("rows", "rows")])
def test_the_transcript_is_what_the_demo_prints(scenario: str, marker: str) -> None:
    """Each scenario checks its own steps: rows, what is deployed, who was notified."""
    demo = subprocess.run(
        [sys.executable, "-m", "demo", "--scenario", scenario],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    assert normal(transcript_of(DEMO, marker)).splitlines() == normal(demo.stdout).splitlines()


def test_the_readme_s_excerpt_is_a_part_of_the_transcript() -> None:
    excerpt = transcript_of(README)
    assert len(excerpt.splitlines()) >= 10
    assert excerpt in transcript_of(DEMO)


def transcript_of(document: str, marker: str = "transcript") -> str:
    """Return the transcript that the document quotes."""
    return document.split(f"<!-- {marker} -->\n```text\n")[1].split(
        f"```\n<!-- /{marker} -->", maxsplit=1
    )[0]


def normal(transcript: str) -> str:
    """Return the transcript without what differs from run to run: ports, ids and durations."""
    for pattern, name in (
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"acceptance-orders-[0-9a-f]+", "CLUSTER"),
        (r"statemachine-[0-9a-f]+", "MACHINE"),
        (r"rds-cluster-[0-9A-Z]+", "EXECUTION"),
        (r"https://\w+\.execute-api", "https://API.execute-api"),
        (r"in \d+ s", "in N s"),
        (r"  functions run in plain Python here: .*\n", ""),  # on macOS
    ):
        transcript = re.sub(pattern, name, transcript)
    return transcript.strip()
