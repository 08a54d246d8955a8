"""`aurora-refresh` over a deployed API: its console, and as it is installed for a tester.

Its other commands are in docs/operations.md, which test_operations.py performs.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.acceptance import STAGE, Company
from localcloud.accounts import ACCEPTANCE
from localcloud.client import send
from tests.e2e.conftest import PROJECT, Night


@pytest.fixture(scope="module")
def refreshed(deployed: Company) -> Night:
    """A night on which the newest snapshot was restored."""
    night = Night(deployed)
    night.update()
    night.restore()
    assert [each["status"] for each in night.runs()] == ["Succeeded"]
    return night


def test_the_console_shows_a_stage_at_the_address_that_it_prints(refreshed: Night) -> None:
    command = [sys.executable, "-m", "cli.main", "console", "--stage", STAGE]
    environment = refreshed.company.environment()
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            _, page = send("GET", address, None, {})
        finally:
            process.terminate()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    caller = (f">{ACCEPTANCE}</span>", f"{ACCEPTANCE}:user/admin")
    shown = (f">{STAGE}</b>", *caller, refreshed.new)
    assert [each for each in shown if each not in page] == []


def test_a_tester_s_installation_is_small_and_works(refreshed: Night, tmp_path: Path) -> None:
    """Installed from the project alone; skipped where no package index is reachable."""
    source, installed = tmp_path / "source", tmp_path / "venv"
    for name in ("chalicelib", "cli"):
        shutil.copytree(PROJECT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source / name)
    # Without bytecode and a pip of its own, which take longer than all the rest.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", installed], check=True)
    pip = [sys.executable, "-m", "pip", "--python", installed, "install", "--no-compile"]
    done = subprocess.run([*pip, "--quiet", source], capture_output=True, text=True, check=False)
    if done.returncode:
        if "No matching distribution" in done.stderr or "connection" in done.stderr.lower():
            pytest.skip("no package index is reachable")
        pytest.fail(done.stderr)

    status, doctor = (
        subprocess.run(
            [installed / "bin/aurora-refresh", command, "--stage", STAGE],
            env=refreshed.company.environment() | {"TZ": "Europe/Berlin"},
            capture_output=True,
            text=True,
            check=False,
        )
        for command in ("status", "doctor")
    )
    assert (status.returncode, status.stderr) == (0, "")
    _, _, _, row, *_ = status.stdout.splitlines()
    assert row.split()[1] == refreshed.new.rsplit(":", 1)[1]
    assert row.split()[-1] in ("CET", "CEST")
    assert (doctor.returncode, doctor.stdout) == (1, "")
    assert doctor.stderr.startswith("This command needs a clone of the project")
    (site,) = installed.glob("lib/python*/site-packages")
    packages = {file.name.split("-")[0].lower() for file in site.glob("*.dist-info")}
    assert packages & {"chalice", "flask", "moto", "pyyaml"} == set()
