"""The demo of the whole company, which checks each step of its night by itself."""

import subprocess
import sys

from tests.e2e.conftest import PROJECT


def test_one_night_from_production_s_snapshots_to_acceptance_s_clusters() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "demo", "--scenario", "company"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    assert demo.stdout.splitlines()[-1].startswith("Done in ")
