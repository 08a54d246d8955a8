"""Chalice's own command line, run for a stage, and the record by which Chalice finds its REST API."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import chalice

from chalicelib import settings
from chalicelib.domain.errors import SettingsError
from cli.output import Failure, say
from cli.stages import Stage


def run(project: Path, stage: Stage, command: str, *more: str) -> None:
    """Run a command of Chalice, passing on what it prints; raise Failure if it fails.

    Of a stack trace, which Chalice prints for unexpected errors, only the end is passed on.
    """
    # Chalice uses a package again that is there, even one that it was stopped in writing.
    for package in (project / ".chalice/deployments").glob("*.zip"):
        package.unlink(missing_ok=True)
    # Chalice packs bytecode, too, which AWS advises against.
    # https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
    for bytecode in (project / "chalicelib").rglob("__pycache__"):
        shutil.rmtree(bytecode, ignore_errors=True)
    words = ["chalice", command, "--stage", stage.name]
    with (
        subprocess.Popen(  # noqa: S603 (Chalice's own command, of this Python)
            [Path(sys.executable).with_name("chalice"), *words[1:], *more],
            cwd=project,
            env=_environment(stage),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=0o022,
        ) as running
    ):
        assert running.stdout is not None
        has_failed = False
        for line in running.stdout:
            has_failed |= line.startswith("Traceback (most recent call last)")
            if not has_failed or not line.startswith((" ", "Traceback")):
                say(line.rstrip())
    if running.returncode:
        raise Failure(f"{' '.join(words)} ended with status {running.returncode}: see above")


def check_modes(project: Path) -> None:
    """Raise Failure for a file that Lambda could not read, for Chalice packs each with its mode.

    https://docs.aws.amazon.com/lambda/latest/dg/deployment-package-v2.html
    """
    sources = [project / "app.py", project / "chalicelib", Path(chalice.__file__).parent]
    files = [file for each in sources for file in (each, *each.rglob("*.py"))]
    if any(not file.stat().st_mode & stat.S_IROTH for file in files):
        paths = shlex.join(map(str, sources))
        raise Failure(f"Lambda could not read some files of the package: chmod -R go+rX {paths}")


def _environment(stage: Stage) -> dict[str, str]:
    """Return this process's environment without what the app would take for settings of the stage."""
    own = {**stage.variables, "AWS_DEFAULT_REGION": stage.region}

    def is_foreign(name: str, value: str) -> bool:
        try:
            return settings.load({name: value, **own}) == stage.settings
        except SettingsError:  # a probable typo, or a contradiction
            return False

    foreign = {name: value for name, value in os.environ.items() if is_foreign(name, value)}
    python = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**foreign, **python, "AWS_DEFAULT_REGION": stage.region}


def record(project: Path, stage: str, apis: Sequence[str]) -> None:
    """Make Chalice find the first of the REST APIs, or create one if there is none.

    Chalice finds an API only by a file that git ignores, and everything else by name. Without that
    file, in another clone or after a failed deployment, it makes another API with another address.
    """
    resources = [
        {"name": "rest_api", "resource_type": "rest_api", "rest_api_id": api} for api in apis[:1]
    ]
    document = {"resources": resources, "schema_version": "2.0", "backend": "api"}
    file = project / ".chalice/deployed" / f"{stage}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document), encoding="utf-8")
