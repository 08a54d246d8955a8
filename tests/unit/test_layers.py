"""Imports point one way, by the contracts in pyproject.toml."""

import re
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app.py"


def test_no_import_breaks_a_contract() -> None:
    """In a process of its own: import-linter disables the loggers of the one that it runs in."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_app_imports_chalice_and_this_application_alone() -> None:
    """import-linter knows packages only."""
    imported = re.findall(r"^ *(?:from|import) (\w+)", APP.read_text(), re.MULTILINE)
    assert {*imported} == {"importlib", "chalice", "chalicelib"}
