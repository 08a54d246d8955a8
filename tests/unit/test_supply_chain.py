"""What is deployed is pinned to the byte, what it runs on stands in one place, and both are kept up to date."""

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chalice.cli.factory import CLIFactory
from chalice.deploy.packager import DependencyBuilder, PackageDownloadError
from chalice.utils import OSUtils
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
STATED = PYPROJECT["project"]["requires-python"].removeprefix(">=")
PINNED = ("requirements.txt", "requirements-chalice.txt")
WHEELS = Path(sys.prefix) / "wheels"


def pins(file: Path) -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each name."""
    entries = re.findall(
        r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", *once(file)
    )
    return {
        name: (version, re.findall(r"[0-9a-f]{64}", hashes)) for name, version, hashes in entries
    }


def once(file: Path) -> tuple[str, re.RegexFlag]:
    return file.read_text(), re.MULTILINE


# --- What is deployed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PINNED)
def test_whatever_is_deployed_is_pinned_with_its_hashes(name: str) -> None:
    pinned = pins(PROJECT / name)
    lines = (PROJECT / name).read_text().splitlines()
    named = [line for line in lines if not line.startswith(("#", "    --hash=sha256:"))]
    assert len(pinned) == len(named) > 0
    assert [each for each, (_, hashes) in pinned.items() if not hashes] == []


def test_what_is_pinned_is_what_pyproject_names() -> None:
    assert [*pins(PROJECT / PINNED[0])] == PYPROJECT["dependency-groups"]["lambda"]
    assert [*pins(PROJECT / PINNED[1])] == PYPROJECT["dependency-groups"]["deploy"]


def test_what_is_pinned_is_what_is_installed_here() -> None:
    """So a deployment from here has the pinned Chalice in its package."""
    pinned = {
        name: version for file in PINNED for name, (version, _) in pins(PROJECT / file).items()
    }
    assert pinned == {name: importlib.metadata.version(name) for name in pinned}


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Chalice's packager puts what requirements.txt beside it asks for; it may ask no index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    return tmp_path / "packed"


def pack(requirements: str, packed: Path) -> None:
    (packed.parent / "requirements.txt").write_text(requirements)
    abi = f"cp{sys.version_info.major}{sys.version_info.minor}"
    file = str(packed.parent / "requirements.txt")
    DependencyBuilder(OSUtils()).build_site_packages(abi, file, str(packed))


def test_chalice_packs_what_has_its_hash(packed: Path) -> None:
    pack((PROJECT / "requirements.txt").read_text(), packed)
    assert {path.name for path in packed.iterdir() if path.suffix == ""} == {"tzdata"}


def test_chalice_packs_nothing_that_has_another_hash(packed: Path) -> None:
    wrong = re.sub(
        r"sha256:\w{60}", "sha256:" + 60 * "0", (PROJECT / "requirements.txt").read_text()
    )
    with pytest.raises(PackageDownloadError, match="DO NOT MATCH THE HASHES"):
        pack(wrong, packed)
    assert not packed.exists()


def test_chalice_packs_nothing_beside_that_has_no_hash(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packed.parent / "index").mkdir()
    release(packed.parent, "leaps", "1.0")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{WHEELS} {packed.parent}/index/leaps")
    with pytest.raises(PackageDownloadError, match="Hashes are required"):
        pack((PROJECT / "requirements.txt").read_text() + "leaps==1.0\n", packed)
    pack("leaps==1.0\n", packed)  # which is there, and is packed where no hash is asked for
    assert [path.name for path in packed.iterdir()] == ["leaps-1.0.dist-info"]


def test_nothing_that_is_packed_depends_on_the_machine() -> None:
    """What does, Chalice would download a second time for Lambda's, and without looking at its hash."""
    for name, (version, hashes) in pins(PROJECT / "requirements.txt").items():
        (wheel,) = WHEELS.glob(f"{name}-{version}-*.whl")
        assert wheel.stem.endswith("-none-any")
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes


def test_nothing_is_developed_with_that_is_under_the_agpl() -> None:
    def licence(distribution: importlib.metadata.Distribution) -> str:
        said = distribution.metadata
        fields = ("License", "License-Expression", "Classifier")
        return "\n".join(str(each)[:200] for field in fields for each in said.get_all(field, []))

    licences = {each.name: licence(each) for each in importlib.metadata.distributions()}
    assert len(licences) > 20
    assert [name for name, text in licences.items() if re.search("AGPL|Affero", text)] == []


def closure(*extras: str) -> Iterator[importlib.metadata.Distribution]:
    """Yield the installed distributions that extras of this project need."""
    known = PYPROJECT["project"]["optional-dependencies"]
    wanted, seen = [each for extra in extras for each in known[extra]], set[str]()
    while wanted:
        requirement = Requirement(wanted.pop())
        if str(requirement) in seen or (requirement.marker and not requirement.marker.evaluate()):
            continue
        seen.add(str(requirement))
        found = importlib.metadata.distribution(requirement.name)
        yield found
        for needed in map(Requirement, found.requires or ()):
            marker, asked = needed.marker, requirement.extras or {""}
            if marker is None or any(marker.evaluate({"extra": each}) for each in asked):
                needed.marker = None
                wanted.append(str(needed))


def test_the_demo_and_a_deployment_need_less_than_300_mb() -> None:
    (installed,) = re.findall(r"--editable '\.\[(.*demo.*)\]'", (PROJECT / "Makefile").read_text())
    sizes = {
        each.name: sum(
            Path(str(each.locate_file(file))).stat().st_size
            for file in each.files or ()
            if each.locate_file(file).exists()
        )
        for each in closure(*installed.split(","))
    }
    assert {"moto", "chalice", "botocore", "antlr4-python3-runtime"} <= sizes.keys()
    assert sizes.keys() & {"cfn-lint", "matplotlib", "playwright", "pytest"} == set()
    assert 150e6 < sum(sizes.values()) < 270e6  # pip and setuptools are another 30


def test_development_stays_in_ranges() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    lines = extras["demo"] + extras["dev"]
    operators = {each.operator for line in lines for each in Requirement(line).specifier}
    assert operators == {"~="}


def test_the_workflow_runs_the_contributor_s_command_with_pinned_actions() -> None:
    (job,) = yaml.safe_load((PROJECT / ".github/workflows/test.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [
        each for each in actions if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each)
    ] == []
    versions = [step["with"].get("python-version") for step in job["steps"] if "uses" in step]
    assert STATED in versions


def test_the_forge_s_files_are_yaml() -> None:
    files = [*(PROJECT / ".github").rglob("*.yml"), PROJECT / ".pre-commit-config.yaml"]
    assert len(files) > 4
    assert [
        each.name for each in files if not isinstance(yaml.safe_load(each.read_text()), dict)
    ] == []


# --- What it runs on ------------------------------------------------------------------------------


def test_every_place_that_tells_the_python_tells_the_stated_one() -> None:
    assert PYPROJECT["tool"]["mypy"]["python_version"] == STATED
    assert "target-version" not in PYPROJECT["tool"]["ruff"]  # ruff reads the stated one
    assert f"Python {STATED} or newer" in (PROJECT / "README.md").read_text()
    database = subprocess.run(
        ["make", "--print-data-base", "--question", "help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert re.findall(r"^STATED := (.*)$", database, re.MULTILINE) == [STATED]


def test_every_stage_has_the_stated_architecture_and_the_runtime_of_the_python_at_hand() -> None:
    config = json.loads((PROJECT / ".chalice/config.json").read_text())
    for stage in config["stages"]:
        made = CLIFactory(str(PROJECT), environ={}).create_config_obj(chalice_stage_name=stage)
        assert made.lambda_architecture == config["lambda_architecture"] == "x86_64"
        assert made.lambda_python_version == "python{}.{}".format(*sys.version_info)


def setup_with(version: tuple[int, int], folder: Path) -> str:
    """What ``make setup`` says with such a Python, which does not get as far as an environment."""
    for name in ("Makefile", "pyproject.toml", *PINNED):
        shutil.copy(PROJECT / name, folder / name)
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "assert sys.argv[1] == '-c', 'no environment is made'\n"
        f"sys.version_info = {(*version, 0, 'final', 0)}\nexec(sys.argv[2])\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    return done.stdout


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.9", f"Python {STATED} or newer is needed; name one with make PYTHON=python3.x"),
        (
            "3.99",
            f"this is Python 3.99: functions deployed from here get the runtime python3.99; it is tested with {STATED}",
        ),
        (STATED, "setting up .venv"),
    ],
)
def test_an_older_python_is_refused_and_another_one_is_noticed(
    tmp_path: Path, version: str, told: str
) -> None:
    major, minor = map(int, version.split("."))
    said = setup_with((major, minor), tmp_path)
    assert said.startswith(told)
    assert ("setting up" in said) is (version != "3.9")


# --- make upgrade ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with pins, whose packages come from an index of its own."""
    (tmp_path / "index").mkdir()
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "pyproject.toml").write_text(
        f"""\
[project]
name = "app"
dynamic = ["version"]
requires-python = ">=3.11"
[dependency-groups]
lambda = ["zones"]
deploy = ["chalice"]
[[tool.uv.index]]
url = "file://{tmp_path}/index"
default = true
"""
    )
    release(tmp_path, "zones", "2026.1")
    release(tmp_path, "chalice", "1.34.0", "what-it-needs")
    upgrade(tmp_path)
    return tmp_path


def release(folder: Path, name: str, version: str, *requires: str) -> str:
    """Put a wheel into the folder; its hash."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / "index" / name / f"{stem}-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += ["Provides-Extra: extra", *(f"Requires-Dist: {each}" for each in requires)]
    files = {
        f"{stem}.dist-info/METADATA": "\n".join(metadata) + "\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for file, text in files.items():
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        )
        record += f"{file},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
            wheel.writestr(file, text)
    return listed(path)


def listed(path: Path) -> str:
    """Write the wheel's line into its project's page of the index; the wheel's hash."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with (path.parent / "index.html").open("a") as page:
        page.write(f'<a href="{path.name}#sha256={digest}">{path.name}</a><br>\n')
    return digest


def upgrade(folder: Path) -> None:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("UV_")}
    subprocess.run(
        ["make", "--old-file=.venv/ready", "--old-file=.venv/tested", "upgrade", "DAYS=0"],
        cwd=folder,
        env={**kept, "UV_NO_CACHE": "1"},
        check=True,
    )


def test_what_is_newer_is_pinned_with_its_hash_and_what_it_needs(folder: Path) -> None:
    hashes = {
        "zones": release(folder, "zones", "2026.2", "leaps"),
        "leaps": release(folder, "leaps", "1.0"),
        "chalice": release(folder, "chalice", "1.35.0", "what-it-needs"),
    }
    upgrade(folder)
    assert [pins(folder / name) for name in PINNED] == [
        {"leaps": ("1.0", [hashes["leaps"]]), "zones": ("2026.2", [hashes["zones"]])},
        {"chalice": ("1.35.0", [hashes["chalice"]])},
    ]


def test_where_nothing_is_newer_every_byte_stays(folder: Path) -> None:
    before = [(folder / name).read_bytes() for name in PINNED]
    upgrade(folder)
    assert [(folder / name).read_bytes() for name in PINNED] == before


def test_releases_of_this_week_are_left_out_unless_they_are_asked_for() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "upgrade"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert said.count('--exclude-newer "${DAYS:-7} days"') == len(PINNED)


@pytest.mark.parametrize(
    ("target", "name"), [("demo", "SCENARIO"), ("simulate", "N"), ("simulate", "SEED")]
)
def test_nothing_runs_inside_a_variable_of_make(tmp_path: Path, target: str, name: str) -> None:
    made = tmp_path / "made"
    for value in (
        f'x"; touch {made}; "',
        f"$(touch {made})",
        f"`touch {made}`",
        f"x; touch {made}",
    ):
        done = subprocess.run(
            [
                *("make", "--old-file=.venv/ready", "--old-file=.venv/tested"),
                *(target, f"{name}={value.replace('$', '$$')}"),
            ],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0, made.exists()) == (True, False), done.stdout
