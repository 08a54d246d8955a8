"""The two that are compared, each in Lambda's own runtime client: the deployment package and the floor."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from bench.standin import EXECUTION, RESOURCE_ID, Night, StandIn, arn
from localcloud import runtime
from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company, copy_project
from localcloud.environments import Credentials, Environment, Libraries, Specification

FLOOR = Path(__file__).with_name("floor")
PIPELINE = "acceptance-main"
_ACCOUNT = "222222222222"
_NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Function:
    """One of the functions, with the event that it is asked to handle."""

    name: str
    handler: str
    floor: str
    event: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What a function answered, and what it took."""

    seconds: float
    payload: Any


def _schedule(rule: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": _ACCOUNT,
        "time": f"{_NOW:%Y-%m-%dT%H:%M:%SZ}",
        "region": LocalCloud.region,
        "resources": [f"arn:aws:events:{LocalCloud.region}:{_ACCOUNT}:rule/{rule}"],
        "detail": {},
    }


def _ended() -> dict[str, Any]:
    detail = {
        "pipeline": PIPELINE,
        "execution-id": EXECUTION,
        "state": "SUCCEEDED",
        "version": 1,
    }
    return {
        **_schedule("aurora-refresh-local-db-follow-pipeline-event"),
        "detail-type": "CodePipeline Pipeline Execution State Change",
        "source": "aws.codepipeline",
        "detail": detail,
    }


def _request(method: str, path: str, body: Any) -> dict[str, Any]:
    """API Gateway's proxy event, as far as it is read."""
    headers = {"Content-Type": "application/json", "Host": "api.example.com"}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": path,
            "path": f"/api{path}",
            "identity": {"userArn": f"arn:aws:iam::{_ACCOUNT}:user/operator"},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


UPDATE = Function(
    "db-update-latest-snapshot-id",
    "chalicelib.triggers.update.handler",
    "update.handler",
    _schedule("aurora-refresh-local-db-update-latest-snapshot-id-event"),
)
RESTORE = Function(
    "db-restore-from-snapshot",
    "chalicelib.triggers.restore.handler",
    "restore.handler",
    _schedule("aurora-refresh-local-db-restore-from-snapshot-event"),
)
FOLLOW = Function(
    "db-follow-pipeline", "chalicelib.triggers.follow_pipeline.handler", "follow.handler", _ended()
)
PIN = Function(
    "PUT /snapshots/current",
    "app.app",
    "pin.handler",
    _request("PUT", "/snapshots/current", {"snapshot": arn(0), "reason": "compare"}),
)
FUNCTIONS = (UPDATE, RESTORE, FOLLOW, PIN)


class Bench:
    """The package and the floor, unpacked, with the stand-in that both of them call."""

    def __init__(self, project: Path, directory: Path, standin: StandIn) -> None:
        self.project = project
        self.directory = directory
        self.standin = standin
        self.package = _package(project, directory)
        self._runtime = directory / "runtime"
        runtime.link(runtime.RUNTIME, self._runtime)
        self._tasks = {False: directory / "task", True: directory / "floor"}
        runtime.unpack(self.package.read_bytes(), self._tasks[False])
        shutil.copytree(FLOOR, self._tasks[True], ignore=shutil.ignore_patterns("__pycache__"))
        config = json.loads((directory / "project/.chalice/config.json").read_text())
        self.variables = {
            **config["stages"][STAGE]["environment_variables"],
            # It is never off-week, and never by day.
            "REFRESH_EVERY_WEEKS": "1",
            "MAINTENANCE_WINDOW": "00:00-24:00",
        }
        self.memory = config["lambda_memory_size"]

    def close(self) -> None:
        """Let the directory be removed: the package is read-only, as Lambda has it."""
        for folder, _, _ in os.walk(self._tasks[False]):
            Path(folder).chmod(0o755)

    def libraries(self, *, floor: bool) -> Libraries:
        """Where the packages lie."""
        return Libraries(self._tasks[floor], self._runtime, self.directory / "machine")

    def night(self, function: Function, **facts: Any) -> Night:
        """The state of things in which the function has all of its work to do."""
        name = self.variables
        parameters = {
            name["SSM_MAIN_CICD_NAME"]: PIPELINE,
            name["SSM_RDS_LATEST_SNAPSHOT_NAME"]: arn(4 if function is UPDATE else 0),
            name["SSM_RDS_CURRENT_SNAPSHOT_NAME"]: arn(0 if function is FOLLOW else 4),
            name["SSM_REFRESH_HOLD_NAME"]: "dummyvalue",
        }
        first, ran = _NOW - timedelta(days=14), _NOW - timedelta(hours=2)
        deployed = [RESOURCE_ID, f"run-{EXECUTION}"]
        history = [_version(1, arn(4), first)]
        runs = [_run("0b7d3c8e-0d8e-4a55-8a2b-2f4f4f1f8d55", first + timedelta(minutes=1))]
        if function is FOLLOW:
            history.append({**_version(2, arn(0), ran), "Labels": deployed})
            runs.insert(0, _run(EXECUTION, ran + timedelta(minutes=1)))
        else:
            history[0]["Labels"] = ["good", *deployed]
        return Night(parameters=parameters, history=tuple(history), runs=tuple(runs), **facts)

    def modules(self, function: Function, *, floor: bool) -> set[str]:
        """The modules that importing the handler's module imports."""
        libraries = self.libraries(floor=floor)
        handler = function.floor if floor else function.handler
        paths = [str(libraries.task), str(libraries.runtime)]
        script = (
            f"import sys; sys.path[:] = {paths!r} + sys.path; import {handler.rpartition('.')[0]}; "
            "print(*sys.modules)"
        )
        printed = subprocess.run(  # noqa: S603 (our own package)
            [sys.executable, "-I", "-S", "-B", "-c", script],
            env={**self.variables, "_HANDLER": handler, "AWS_DEFAULT_REGION": LocalCloud.region},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return set(printed.split())

    def start(self, function: Function, *, floor: bool) -> "Running":
        """A process that has been started, and is not waited for."""
        return Running(self, function, floor=floor)


class Running:
    """A function's process."""

    def __init__(self, bench: Bench, function: Function, *, floor: bool) -> None:
        directory = bench.directory / uuid.uuid4().hex
        directory.mkdir()
        specification = Specification(
            account=_ACCOUNT,
            region=LocalCloud.region,
            name=f"aurora-refresh-{STAGE}-{function.name.split()[0].lower()}",
            arn=f"arn:aws:lambda:{LocalCloud.region}:{_ACCOUNT}:function:{function.name}",
            role=f"arn:aws:iam::{_ACCOUNT}:role/aurora-refresh",
            handler=function.floor if floor else function.handler,
            runtime=f"python{sys.version_info.major}.{sys.version_info.minor}",
            timeout=300,
            memory=bench.memory,
            variables=tuple(bench.variables.items()),
            code_sha256="",
        )
        self._function = function
        self._began: float | None = time.perf_counter()
        self._environment = Environment(
            specification,
            bench.libraries(floor=floor),
            Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token"),
            bench.standin.url,
            directory,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.02)  # it may still be reading that its answer was taken
        self._environment.end()

    def ask(self) -> Result:
        """Have the event handled; the first time, from the process's start."""
        began, self._began = self._began or time.perf_counter(), None
        event = json.dumps(self._function.event).encode()
        outcome = self._environment.invoke(str(uuid.uuid4()), event)
        seconds = time.perf_counter() - began
        if not outcome.succeeded:
            raise RuntimeError(f"{self._function.name}: {outcome.payload!r}\n{outcome.log}")
        return Result(seconds, json.loads(outcome.payload))

    def peak_memory(self) -> int:
        """The most that the process has had in memory, in bytes."""
        status = Path(f"/proc/{self._environment.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _package(project: Path, directory: Path) -> Path:
    """The deployment package, made by Chalice as for a deployment."""
    copy = directory / "project"
    copy.mkdir()
    copy_project(project, copy)
    company = Company(_NoCloud(), copy)  # type: ignore[arg-type]
    company.chalice("package", "--stage", STAGE, "out")
    return copy / "out/deployment.zip"


class _NoCloud:
    """To make a package needs nothing of the cloud."""

    def environment(self, _account: str) -> dict[str, str]:
        return {"AWS_DEFAULT_REGION": LocalCloud.region}


def _version(number: int, value: str, modified: datetime) -> dict[str, Any]:
    note = {"action": "promote", "by": f"the schedule of {modified}", "why": "newest", "token": "t"}
    return {
        "Version": number,
        "Value": value,
        "LastModifiedDate": modified.timestamp(),
        "Description": json.dumps(note),
        "Labels": [],
    }


def _run(execution_id: str, started: datetime) -> dict[str, Any]:
    return {
        "pipelineExecutionId": execution_id,
        "status": "Succeeded",
        "startTime": started.timestamp(),
        "lastUpdateTime": (started + timedelta(minutes=20)).timestamp(),
    }
