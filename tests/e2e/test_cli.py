"""`aurora-refresh` over a deployed API, and as it is installed for a tester."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.company import STAGE, Company
from tests.e2e.conftest import PROJECT, Night

Ended = subprocess.CompletedProcess[str]


def run(company: Company, *words: str, program: tuple[str, ...] = ()) -> Ended:
    """Run the command line as a person of the company does who is not at a terminal."""
    return subprocess.run(
        [*(program or (sys.executable, "-m", "cli.main")), *words],
        cwd=PROJECT if not program else None,
        env=company.environment() | {"TZ": "Europe/Berlin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_tester_sees_the_data_pins_holds_and_tries_a_refresh(
    deployed: Company, night: Night
) -> None:
    night.update()
    night.restore()
    (ended,) = night.runs()
    assert ended["status"] == "Succeeded"
    newest = night.new.rsplit(":", 1)[1]

    def ask(*words: str) -> Ended:
        done = run(deployed, *words, "--stage", STAGE)
        assert "Traceback" not in done.stderr
        return done

    status = ask("status")
    assert (status.returncode, status.stderr) == (0, "")
    head, _, headings, row, *_ = status.stdout.splitlines()
    assert head == "local · 222222222222 · eu-west-1 · as admin · no problems"
    assert headings.split("  ")[0] == "database"
    assert row.split()[:5] == ["rds", newest, "8", "hours", "good"]
    assert row.split()[-1] in ("CET", "CEST")
    answer = json.loads(ask("status", "--json").stdout)
    assert answer["databases"][0]["deployed"] == night.new

    pinned = ask("pin", newest, "--reason", "keep it", "--json")
    assert (pinned.returncode, json.loads(pinned.stdout)["current"]) == (0, night.new)
    refused = ask("pin", newest, "--deploy-now")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "This replaces the acceptance cluster of rds" in refused.stderr
    missing = ask("pin", "orders-1999-01-01")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("there is no snapshot orders-1999-01-01")

    held = ask("hold", "2030-01-01", "--reason", "load test")
    assert held.stdout.startswith("Scheduled refreshes are on hold until 2030-01-01.")
    assert "on hold  until 2030-01-01, by admin: load test" in ask("status").stdout
    wrong = ask("hold", "tomorrow")
    assert (wrong.returncode, "write a date such as" in wrong.stderr) == (2, True)
    assert ask("resume").stdout.startswith("There is no hold. Next refresh: ")

    tried = ask("refresh", "--dry-run", "--outside-window")
    assert tried.returncode == 1  # it is deployed already
    assert "nothing-new" in tried.stdout
    listed = ask("history").stdout.splitlines()
    assert listed[0].split() == ["version", "snapshot", "set", "action", "by", "why", "result"]
    assert newest in listed[1]
    assert f"{newest}  " in ask("snapshots").stdout


def test_an_unknown_stage_and_wrong_credentials_are_a_sentence(deployed: Company) -> None:
    unknown = run(deployed, "status", "--stage", "none")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == (
        "There is no API of stage 'none' in Region eu-west-1. Check the stage's name, your profile and "
        "your Region.\n"
    )
    profile = run(deployed, "status", "--stage", STAGE, "--profile", "none")
    assert (profile.returncode, profile.stderr.count("\n")) == (1, 1)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from the project alone; skipped where no package index is reachable."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    kept = ("chalicelib", "cli")
    for name in kept:
        shutil.copytree(PROJECT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, source], capture_output=True, text=True, check=False)
    if done.returncode:
        if "No matching distribution" in done.stderr or "connection" in done.stderr.lower():
            pytest.skip("no package index is reachable")
        pytest.fail(done.stderr)
    return folder / "venv"


def test_a_tester_s_installation_is_small_and_operates_a_stage(
    deployed: Company, installed: Path
) -> None:
    program = (str(installed / "bin/aurora-refresh"),)
    shown = run(deployed, "--help", program=program)
    assert (shown.returncode, "aurora-refresh status" in shown.stdout) == (0, True)
    status = run(deployed, "status", "--stage", STAGE, program=program)
    assert (status.returncode, status.stderr) in ((0, ""), (1, ""))
    assert status.stdout.startswith("local · 222222222222 · eu-west-1 · as admin")
    doctor = run(deployed, "doctor", "--stage", STAGE, program=program)
    assert (doctor.returncode, doctor.stdout) == (1, "")
    assert doctor.stderr.startswith("This command needs a clone of the project")

    # pipx shares pip between its environments, and no environment has setuptools from Python 3.12 on.
    (site,) = installed.glob("lib/python*/site-packages")
    own = [
        each for each in site.iterdir() if not each.name.startswith(("pip", "setuptools", "pkg_"))
    ]
    size = sum(
        file.stat().st_size
        for each in own
        for file in ([each] if each.is_file() else each.rglob("*"))
        if file.is_file()
    )
    assert size < 60_000_000
    packages = {file.name.split("-")[0].lower() for file in site.glob("*.dist-info")}
    assert packages & {"chalice", "flask", "moto", "pyyaml"} == set()
