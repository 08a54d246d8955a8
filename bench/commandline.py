"""`aurora-refresh status`, against a company on the local cloud."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company, copy_project


def status(project: Path, times: int) -> tuple[list[float], list[float]]:
    """Return what the command takes, and what of it are imports, in seconds."""
    words = ["-m", "cli.main", "status", "--stage", STAGE]
    with LocalCloud.start() as cloud, tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "project")
        copy.mkdir()
        copy_project(project, copy)
        company = Company(cloud, copy)
        company.found(datetime(2026, 1, 3, 12, tzinfo=UTC))
        company.chalice("deploy", "--stage", STAGE)

        def run(*options: str) -> tuple[float, str]:
            began = perf_counter()
            done = _python(project, company, [*options, *words])
            return perf_counter() - began, done

        run()  # the function's cold start, and the files are in the machine's memory from now on
        whole = [run()[0] for _ in range(times)]
        traces = [run("-X", "importtime")[1] for _ in range(times)]
    own = [re.findall(r"^import time: +(\d+) \|", each, re.MULTILINE) for each in traces]
    return whole, [sum(map(int, each)) / 1e6 for each in own]


def _python(project: Path, company: Company, words: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, *words],
        cwd=project,
        env=company.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith(STAGE):
        raise RuntimeError(done.stderr)
    return done.stderr
