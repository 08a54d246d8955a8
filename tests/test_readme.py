"""README.md and docs/demo.md quote what the demo prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
DEMO = (PROJECT / "docs/demo.md").read_text()


def printed(scenario: str) -> str:
    """Return what a scenario prints. Each checks its own steps: rows, what is deployed, who was notified."""
    command = [sys.executable, "-m", "demo", "--scenario", scenario]
    demo = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (demo.returncode, demo.stderr) == (0, "")
    return demo.stdout


@pytest.mark.parametrize(("scenario", "marker"), [("orders", "transcript"), ("rows", "rows")])
def test_the_transcript_is_what_the_demo_prints(scenario: str, marker: str) -> None:
    assert normal(transcript_of(DEMO, marker)) == normal(printed(scenario))


def test_one_night_of_a_company_from_production_s_snapshots_to_acceptance_s_clusters() -> None:
    assert printed("company").splitlines()[-1].startswith("Done in ")


def test_the_readme_s_excerpt_is_a_part_of_the_transcript() -> None:
    excerpt = transcript_of(README)
    assert len(excerpt.splitlines()) >= 10
    assert excerpt in transcript_of(DEMO)


def transcript_of(document: str, marker: str = "transcript") -> str:
    """Return the transcript that the document quotes."""
    _, _, rest = document.partition(f"<!-- {marker} -->\n```text\n")
    quoted, end, _ = rest.partition(f"```\n<!-- /{marker} -->")
    assert end
    return quoted


def normal(transcript: str) -> list[str]:
    """Return the transcript's lines without what differs from run to run: ports, ids and durations."""
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
    return transcript.strip().splitlines()
