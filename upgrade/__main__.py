"""``make upgrade``: the newest of what is deployed, pinned with hashes; and ranges that begin at the newest.

uv resolves, for every platform and for the oldest Python that pyproject.toml states. It builds nothing, so
nothing that was downloaded runs here. Needs the network; for maintainers.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parent.parent
PYPROJECT = "pyproject.toml"
DEVELOPMENT = ("demo", "dev")  # the extras whose ranges are raised
# Each file of pins: what it is, and where pyproject.toml says what goes into it. Chalice without what it
# depends on, which is in no package.
PINNED = {
    "requirements.txt": (
        "What the Lambda needs and its runtime lacks. Chalice packs it, and takes nothing else for it.",
        ["--group", "lambda"],
    ),
    "requirements-chalice.txt": (
        "Chalice, whose app.py is packed with ours.",
        ["--group", "deploy", "--no-deps"],
    ),
}
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_RANGE = re.compile(r"^(?P<what>(?P<name>[A-Za-z0-9._-]+)[^~;]*)~=(?P<version>[0-9.]+)(?P<rest>.*)")

Resolver = Callable[..., str]
Versions = Mapping[str, Version]


def main() -> None:
    """Resolve everything, then write what changed, and say so."""
    parser = argparse.ArgumentParser(
        prog="make upgrade",
        description=f"Pins the newest releases of what is deployed, with hashes, in {' and '.join(PINNED)}, "
        f"and raises the ranges in {PYPROJECT} to the newest that go together. Nothing is lowered, and a "
        "file for which there is nothing new keeps every byte. Another package index than PyPI is named in "
        "UV_DEFAULT_INDEX: uv does not read pip's configuration.",
    )
    parser.add_argument(
        "--days",
        type=int,
        default=7,
        help="leave out what was released in the last so many days (make's DAYS=…; 7): most hostile "
        "releases are found out by then; 0 takes all, such as an urgent correction",
    )
    parser.add_argument("--project", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    project: Path = asked.project
    python = tomllib.loads((project / PYPROJECT).read_text())["project"]["requires-python"]

    def resolve(*arguments: str, names: str = "") -> str:
        return _uv(
            project,
            *("--universal", "--no-build", "--no-header", "--no-annotate"),
            *("--python-version", python.removeprefix(">=")),
            *(("--exclude-newer", f"{asked.days} days") if asked.days else ()),
            *arguments,
            names=names,
        )

    told: list[str] = []
    written = {name: _pinned(project / name, resolve, told) for name in PINNED}
    written[PYPROJECT] = _ranges((project / PYPROJECT).read_text(), resolve, told)
    changed = {
        project / name: text for name, text in written.items() if _read(project / name) != text
    }
    for path, text in changed.items():
        path.write_text(text)
    left_out = f" (releases of the last {asked.days} days are left out)" if asked.days else ""
    told.append(f"next: make test{left_out}" if changed else f"nothing new{left_out}")
    sys.stdout.write("\n".join(told) + "\n")


def _pinned(file: Path, resolve: Resolver, told: list[str]) -> str:
    """The file of pins with the newest releases; as it is, where none is newer."""
    what, source = PINNED[file.name]
    before = _read(file)
    found = resolve("--generate-hashes", *source)
    old, new = _pins(before), _pins(found)
    unchecked = [
        entry.split()[0] for entry in re.split(r"\n(?! )", found.strip()) if "--hash=" not in entry
    ]
    if unchecked:
        sys.exit(f"nothing was changed: the index gives no hash of {', '.join(unchecked)}")
    if new == old and "--hash=" in before:
        return before
    younger = [name for name in old if name in new and new[name] < old[name]]
    if younger:
        told += [f"{file.name} stays: {name} {old[name]} is newer" for name in younger]
        return before
    for name in sorted({*old, *new}):
        was, now = old.get(name, "none"), new.get(name, "none")
        told.append(f"{file.name}: {name} {was} → {now}" if was != now else f"{file.name}: hashes")
    return f"# {what}\n# Written by `make upgrade` from pyproject.toml.\n{found}"


def _ranges(text: str, resolve: Resolver, told: list[str]) -> str:
    """pyproject.toml with ranges that begin at the newest releases that go together."""
    stated = tomllib.loads(text)["project"]
    extras = stated["optional-dependencies"]
    own = f"{stated['name']}["
    lines = [line for each in DEVELOPMENT for line in extras[each] if not line.startswith(own)]
    names = "\n".join(_RANGE.sub(r"\g<what>\g<rest>", line) for line in lines)
    together = _pins(resolve("-", names=names))
    newest = _pins(resolve("-", "--no-deps", names=names))
    for line in lines:
        match = _RANGE.match(line)
        if match is None:
            continue
        name, lowest = canonicalize_name(match["name"]), match["version"]
        begins = _cut(together[name], lowest)
        if Version(begins) > Version(lowest):
            told.append(f"{PYPROJECT}: {name} ~={lowest} → ~={begins}")
            text = text.replace(f'"{line}"', f'"{match["what"]}~={begins}{match["rest"]}"')
        else:
            begins = lowest
        if Version(_cut(newest[name], lowest)) > Version(begins):
            told.append(
                f"{PYPROJECT}: {name} stays below {newest[name]}, which does not go together with the rest"
            )
    return text


def _cut(version: Version, like: str) -> str:
    """The version in as many parts as ``like`` has: ~= holds all of them but the last."""
    release = (*version.release, 0, 0)[: like.count(".") + 1]
    return ".".join(map(str, release))


def _pins(text: str) -> Versions:
    """The version of each name; the lowest, where it depends on Python's own or on the platform."""
    pins: dict[str, Version] = {}
    for match in _PIN.finditer(text):
        name, version = canonicalize_name(match["name"]), Version(match["version"])
        pins[name] = min(version, pins.get(name, version))
    return pins


def _uv(project: Path, *arguments: str, names: str) -> str:
    """What uv resolves; ends with its message where it cannot, before anything is written."""
    done = subprocess.run(  # noqa: S603 (our own uv)
        [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", *arguments],
        cwd=project,
        input=names,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"nothing was changed; uv says:\n{done.stderr.strip()}")
    return done.stdout


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


if __name__ == "__main__":
    main()
