"""What a function can import: its package, the libraries of the Lambda runtime, and nothing else.

*Building Lambda functions with Python* (Lambda Developer Guide): the runtime includes boto3 and its
dependencies. If a function imports anything else that happens to be installed here, it must fail as on AWS.
So the libraries are linked into a directory of their own.
"""

import contextlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

# boto3 and awslambdaric, each with its dependencies.
RUNTIME = (
    *("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"),
    *("awslambdaric", "simplejson", "snapshot-restore-py"),
)
# What sets the clock (bootstrap.py), and is not part of the runtime.
MACHINE = ("time-machine",)


def link(names: tuple[str, ...], directory: Path) -> None:
    """Fill ``directory`` with links to the files of these distributions."""
    directory.mkdir(parents=True)
    for name in names:
        # awslambdaric and its dependencies are not installed on macOS, for which it has no wheel.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            distribution = importlib.metadata.distribution(name)
            tops = {file.parts[0] for file in distribution.files or ()}
            for entry in tops - {"..", "__pycache__"}:
                (directory / entry).symlink_to(Path(str(distribution.locate_file(entry))))


def unpack(code: bytes, directory: Path) -> None:
    """Unpack a deployment package into ``directory``."""
    with zipfile.ZipFile(io.BytesIO(code)) as package:
        package.extractall(directory)
