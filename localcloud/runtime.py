"""What is importable in a function: the package, the Lambda runtime's own libraries, and nothing else.

*Building Lambda functions with Python* (Lambda Developer Guide) says that the runtime includes the SDK for
Python, boto3, and its dependencies. A function that imports anything else which this machine happens to have
must fail here, as it will there. So the libraries are linked into a directory of their own: no second
installation, and no more than the runtime has.
"""

import importlib.metadata
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

RUNTIME = ("boto3", "awslambdaric")
# The machine's clock (bootstrap.py), kept apart from the runtime.
MACHINE = ("time-machine",)


def link(names: tuple[str, ...], directory: Path) -> None:
    """Fill ``directory`` with links to these distributions and to all that they require.

    A distribution of ``names`` which is not installed is left out: awslambdaric exists for Linux only.
    """
    directory.mkdir(parents=True)
    for distribution in _closure(names):
        for entry in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (directory / entry).symlink_to(Path(str(distribution.locate_file(entry))))


def _closure(names: tuple[str, ...]) -> Iterator[importlib.metadata.Distribution]:
    wanted, seen = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in names:
                continue
            raise
        yield distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)


def unpack(code: bytes, directory: Path) -> None:
    """Unpack a deployment package into ``directory``, which is read-only thereafter, like /var/task."""
    with zipfile.ZipFile(io.BytesIO(code)) as package:
        package.extractall(directory)
    for folder, _, files in os.walk(directory, topdown=False):
        for file in files:
            Path(folder, file).chmod(0o444)
        Path(folder).chmod(0o555)
