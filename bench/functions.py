"""The functions in Lambda's own runtime client: the deployment package, and the floor beside it."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from bench.aws import EXECUTION, NOW, StandIn, arn
from localcloud import runtime
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.company import PIPELINE, STAGE, Project, copy_project
from localcloud.environments import Credentials, Environment, Libraries, Specification

_SCHEDULED = {
    "version": "0",
    "id": str(uuid.uuid4()),
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": ACCEPTANCE,
    "time": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
    "region": REGION,
    "resources": [],
    "detail": {},
}
_ENDED = {"pipeline": PIPELINE, "execution-id": EXECUTION, "state": "SUCCEEDED"}
_PIN = {
    "headers": {"Content-Type": "application/json"},
    "multiValueQueryStringParameters": None,
    "pathParameters": None,
    "stageVariables": None,
    "requestContext": {
        "httpMethod": "PUT",
        "resourcePath": "/snapshots/current",
        "path": "/api/snapshots/current",
        "identity": {"userArn": f"arn:aws:iam::{ACCEPTANCE}:user/operator"},
    },
    "body": json.dumps({"snapshot": arn(0), "reason": "compare"}),
    "isBase64Encoded": False,
}


class Function(NamedTuple):
    """A function, the event that it handles, and its budgets.

    That of modules, beyond the floor's, is a little more than today: another Python splits its
    library differently.
    """

    name: str
    module: str
    event: dict[str, Any]
    most_calls: int
    most_modules: int

    def handler(self, who: str) -> str:
        """Return the handler in the package or in the floor."""
        if who == "floor":
            return f"{self.module}.handler"
        return "app.app" if self is PIN else f"chalicelib.triggers.{self.module}.handler"


UPDATE = Function("db-update-latest-snapshot-id", "update", _SCHEDULED, 3, 50)
RESTORE = Function("db-restore-from-snapshot", "restore", _SCHEDULED, 9, 52)
FOLLOW = Function("db-follow-pipeline", "follow_pipeline", _SCHEDULED | {"detail": _ENDED}, 8, 52)
PIN = Function("PUT /snapshots/current", "pin", _PIN, 6, 70)
FUNCTIONS = (UPDATE, RESTORE, FOLLOW, PIN)


class Bench:
    """The package and the floor, unpacked into a folder, with the stand-in that both of them call."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.project, self.folder, self.aws = project, folder, StandIn()
        self.copy = folder / "project"
        self.copy.mkdir()
        copy_project(project, self.copy)
        app = Project(LocalCloud("http://127.0.0.1:9"), self.copy)  # packing asks no cloud
        app.chalice("package", "--stage", STAGE, "out")
        self.package = self.copy / "out/deployment.zip"
        # It is never off-week, and never by day.
        always = {"REFRESH_EVERY_WEEKS": "1", "MAINTENANCE_WINDOW": "00:00-24:00"}
        self.variables = app.variables | always
        runtime.link(runtime.RUNTIME, folder / "runtime")
        runtime.unpack(self.package.read_bytes(), folder / "package")
        shutil.copytree(Path(__file__).with_name("floor"), folder / "floor")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.aws.shutdown()
        self.aws.server_close()

    @contextmanager
    def start(self, function: Function, who: str) -> Iterator["Process"]:
        """Start a process of the package or the floor, and end it."""
        process = Process(self, function, who)
        try:
            yield process
        finally:
            time.sleep(0.02)  # it may still be reading that its answer was taken
            process.end()

    def ask_anew(self, function: Function, who: str) -> tuple[float, Any, float]:
        """Return the seconds from a process's start to its answer, the answer, and its memory in MiB."""
        with self.start(function, who) as process:
            return *process.ask(), process.peak_memory()

    def modules(self, function: Function, who: str) -> set[str]:
        """Return the modules that importing the handler's module imports."""
        handler = function.handler(who)
        paths = [str(self.folder / who), str(self.folder / "runtime")]
        script = (
            f"import sys; sys.path[:] = {paths} + sys.path; import {handler.rpartition('.')[0]}"
        )
        printed = subprocess.run(  # noqa: S603 (our own package)
            [sys.executable, "-I", "-S", "-B", "-c", f"{script}; print(*sys.modules)"],
            env={**self.variables, "AWS_DEFAULT_REGION": REGION},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return set(printed.split())


class Process(Environment):
    """A function's process."""

    def __init__(self, bench: Bench, function: Function, who: str) -> None:
        folder = bench.folder / uuid.uuid4().hex
        folder.mkdir()
        self.event = json.dumps(function.event).encode()
        self.began: float | None = time.perf_counter()
        specification = Specification(
            account=ACCEPTANCE,
            region=REGION,
            name=f"aurora-refresh-{STAGE}-{function.name.split()[0].lower()}",
            arn=f"arn:aws:lambda:{REGION}:{ACCEPTANCE}:function:{function.name}",
            role=f"arn:aws:iam::{ACCEPTANCE}:role/aurora-refresh",
            handler=function.handler(who),
            runtime=f"python{sys.version_info.major}.{sys.version_info.minor}",
            timeout=300,
            memory=256,
            variables=tuple(bench.variables.items()),
            code_sha256="",
        )
        libraries = Libraries(bench.folder / who, bench.folder / "runtime", folder)
        credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token")
        super().__init__(specification, libraries, credentials, bench.aws.url, folder)

    def ask(self) -> tuple[float, Any]:
        """Return the seconds that the event takes, the first time from the start, and the answer."""
        began, self.began = self.began or time.perf_counter(), None
        outcome = self.invoke(str(uuid.uuid4()), self.event)
        seconds = time.perf_counter() - began
        if not outcome.succeeded:
            raise RuntimeError(f"{outcome.payload!r}\n{outcome.log}")
        return seconds, json.loads(outcome.payload)

    def peak_memory(self) -> float:
        """Return the most that the process has had in memory, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
