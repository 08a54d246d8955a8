"""Imports point one way, by the contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path


def test_no_import_breaks_a_contract() -> None:
    """In a process of its own: import-linter disables the loggers of the one that it runs in."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
