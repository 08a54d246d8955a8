"""What is deployed is pinned to the byte, what it runs on stands in one place, and both are kept up to date."""

import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from chalice.deploy.packager import DependencyBuilder, PackageDownloadError
from chalice.utils import OSUtils

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
STATED = PYPROJECT["project"]["requires-python"].removeprefix(">=")
PINNED = {"lambda": PROJECT / "requirements.txt", "deploy": PROJECT / "requirements-chalice.txt"}
WHEELS = Path(sys.prefix) / "wheels"
SET_UP = ("--old-file=.venv/ready", "--old-file=.venv/tested")  # so make sets nothing up again


def pins(file: Path) -> dict[str, tuple[str, list[str]]]:
    """Return the version and the hashes of each name; a file of pins holds nothing else."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)
    entry = r"([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
    assert re.fullmatch(f"({entry})+", text)
    found = re.findall(entry, text)
    return {name: (version, re.findall("[0-9a-f]{64}", hashes)) for name, version, hashes in found}


def run(*command: str, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


# --- What is deployed -----------------------------------------------------------------------------


@pytest.mark.parametrize("group", PINNED)
def test_what_is_deployed_is_pinned_with_hashes_and_installed_here(group: str) -> None:
    """So a deployment from here has the pinned Chalice in its package."""
    pinned = pins(PINNED[group])
    assert [*pinned] == PYPROJECT["dependency-groups"][group]
    installed = {name: importlib.metadata.version(name) for name in pinned}
    assert installed == {name: version for name, (version, _) in pinned.items()}


def test_nothing_that_is_packed_depends_on_the_machine() -> None:
    """What does, Chalice would download a second time for Lambda's, and without looking at its hash."""
    for name, (version, hashes) in pins(PINNED["lambda"]).items():
        (wheel,) = WHEELS.glob(f"{name}-{version}-*.whl")
        assert wheel.stem.endswith("-none-any")
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes


RIGHT = PINNED["lambda"].read_text()
WRONG = re.sub(r"sha256:\w{60}", "sha256:" + 60 * "0", RIGHT)
UNHASHED = re.sub(r" \\\n.*hash.*", "", RIGHT)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find the downloaded wheels and those of the folder, and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{WHEELS} {tmp_path}")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("pinned", "error"),
    [(RIGHT, ""), (WRONG, "DO NOT MATCH THE HASHES"), (UNHASHED, "Hashes are required")],
)
def test_make_setup_installs_only_what_is_hashed(tmp_path: Path, pinned: str, error: str) -> None:
    recipe = run("make", "--dry-run", "--what-if=requirements.txt", "setup").stdout.splitlines()
    (install,) = [line for line in recipe if f"-r {PINNED['lambda'].name} -r " in line]
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / PINNED["lambda"].name).write_text(pinned)
    (tmp_path / PINNED["deploy"].name).touch()
    command = f"{install} --dry-run --ignore-installed"  # or it would look at no file
    done = run(*shlex.split(command), folder=tmp_path)
    assert (done.returncode != 0) is bool(error)
    assert error in done.stderr


@pytest.mark.usefixtures("offline")
def test_chalice_packs_only_what_has_its_hash(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "leaps-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("leaps-1.0.dist-info/METADATA", "Name: leaps\nVersion: 1.0\n")
        wheel.writestr("leaps-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    packed, requirements = tmp_path / "packed", tmp_path / "requirements.txt"

    def pack(text: str) -> None:
        requirements.write_text(text)
        abi = f"cp{sys.version_info.major}{sys.version_info.minor}"
        DependencyBuilder(OSUtils()).build_site_packages(abi, str(requirements), str(packed))

    unhashed = f"{RIGHT}leaps==1.0\n"
    for text, error in ((WRONG, "DO NOT MATCH THE HASHES"), (unhashed, "Hashes are required")):
        with pytest.raises(PackageDownloadError, match=error):
            pack(text)
        assert not packed.exists()
    pack(RIGHT)
    assert {path.name for path in packed.iterdir() if not path.suffix} == {"tzdata"}


def test_an_upgrade_pins_with_hashes_what_is_older_than_a_week() -> None:
    said = run("make", "--dry-run", *SET_UP, "upgrade").stdout.splitlines()
    commands = [line for line in said if "uv pip compile" in line]
    for group, command in zip(PINNED, commands, strict=True):
        assert f"--group {group} " in command
        assert command.endswith(f"--output-file {PINNED[group].name}")
        for option in ("--generate-hashes", "--no-build", '--exclude-newer "${DAYS:-7} days"'):
            assert option in command


def test_the_workflow_runs_the_contributor_s_command_with_pinned_actions() -> None:
    (job,) = yaml.safe_load((PROJECT / ".github/workflows/test.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]
    actions = [step for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in actions)
    assert STATED in [step["with"].get("python-version") for step in actions]


# --- What it runs on ------------------------------------------------------------------------------


def test_every_place_that_states_a_python_states_the_same() -> None:
    assert PYPROJECT["tool"]["mypy"]["python_version"] == STATED
    assert "target-version" not in PYPROJECT["tool"]["ruff"]  # ruff reads the stated one
    assert f"Python {STATED} or newer" in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize(
    ("version", "printed"),
    [
        ("3.9", f"Python {STATED} or newer is needed; name one with make PYTHON=python3.x\n"),
        (
            "3.99",
            f"this is Python 3.99: .* python3.99; the project is tested with {STATED}: make clean.*\nsetting",
        ),
        (STATED, r"setting up \.venv"),
    ],
)
def test_an_older_python_is_refused_and_another_one_is_noticed(
    tmp_path: Path, version: str, printed: str
) -> None:
    for file in (PROJECT / "Makefile", PROJECT / "pyproject.toml", *PINNED.values()):
        shutil.copy(file, tmp_path)
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "assert sys.argv[1] == '-c', 'no environment is made'\n"
        f"sys.version_info = ({version.replace('.', ', ')}, 0, 'final', 0)\nexec(sys.argv[2])\n"
    )
    python.chmod(0o755)
    done = run("make", "setup", f"PYTHON={python}", folder=tmp_path)
    assert done.returncode == 2
    assert re.match(printed, done.stdout)
    assert ("setting up" in done.stdout) is (version != "3.9")


@pytest.mark.parametrize("target", ["demo", "simulate", "mutants", "upgrade", "test"])
def test_no_recipe_holds_what_a_variable_of_make_holds(target: str) -> None:
    """The shell runs what stands in a recipe, but not what it reads from the environment."""
    names = ("SCENARIO", "KEEP", "N", "SEED", "DAYS", "TESTS")
    planted = [f"{name}=planted" for name in names]
    done = run("make", "--dry-run", *SET_UP, target, *planted)
    assert done.returncode == 0
    assert "planted" not in done.stdout
