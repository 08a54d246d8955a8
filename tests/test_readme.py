"""The README tells what is there."""

import re
import subprocess
import sys
from pathlib import Path

from chalicelib.settings import acceptance as settings

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()


def test_the_table_of_settings_is_the_one_in_the_code() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", README, re.MULTILINE))
    told = {name: default.strip("`") for name, default in table.items()}
    variables = (*settings._STAGE, *settings._PER_DATABASE)  # noqa: SLF001
    assert told == {
        variable.name.format("P"): "required" if variable.required else variable.default or "none"
        for variable in variables
    }


def test_the_transcript_is_what_the_demo_prints() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    told = README.split("<!-- transcript -->\n```text\n")[1].split("```\n<!-- /transcript -->")[0]
    assert normal(told).splitlines() == normal(demo.stdout).splitlines()


def normal(transcript: str) -> str:
    """The transcript without what chance and the machine decide: ports, ids and seconds."""
    for pattern, name in (
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"acceptance-orders-[0-9a-f]+", "CLUSTER"),
        (r"https://\w+\.execute-api", "https://API.execute-api"),
        (r"in \d+ s", "in N s"),
        (r"  functions run in plain Python here: .*\n", ""),  # on macOS
    ):
        transcript = re.sub(pattern, name, transcript)
    return transcript.strip()
