"""A quiet Sunday in an on-week: one eligible share, both parameters set, the pipeline idle."""

import json
import logging
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chalice.app import Chalice, Request, Response
from chalice.test import Client

from chalicelib.domain.ledger import Note, Version
from chalicelib.observability import JsonFormatter
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import api
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import promote
from tests.fakes import STACK, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill
from tests.stage import (
    CURRENT,
    LATEST,
    OTHER_CURRENT,
    OTHER_LATEST,
    PIPELINE,
    PIPELINE_NAME,
    STAGE,
    TWO,
)

SUNDAY = datetime(2026, 1, 4, 4, tzinfo=UTC)
BY_HAND = Note("by hand", "somebody", "")
HOLD = "/acceptance/hold"
KIM = "arn:aws:iam::222222222222:user/kim"
SCHEDULE = "the schedule of 2026-01-04T04:00:00+00:00"
DOCUMENTS = {"engine": "docdb", "engine_version": "5.0.0", "cluster": "documents"}

WITH_STACK = STAGE | {"RDS_STACK_NAME": STACK, "SSM_REFRESH_HOLD_NAME": HOLD}
TWO_IN_ONE_STACK = TWO | {
    "RDS_STACK_NAME": f"{STACK}/Cluster",
    "DOCS_STACK_NAME": f"{STACK}/Documents",
}

# The operations of ports.py that change nothing.
READING = {
    *("get", "history", "shared", "own", "find", "named", "deployed"),
    *("runs", "actions", "positions"),
}

Arrange = Callable[[InMemoryAws], object]


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(WITH_STACK)


@pytest.fixture
def two() -> Settings:
    return Settings.from_environment(TWO_IN_ONE_STACK)


@pytest.fixture
def aws() -> InMemoryAws:
    return quiet_sunday()


def quiet_sunday() -> InMemoryAws:
    """On Saturday `old` was deployed, and a poll has seen it; on Sunday at 04:00 `latest` is new."""
    aws = InMemoryAws(datetime(2026, 1, 3, 12, tzinfo=UTC))
    aws.parameters.put_by_hand(PIPELINE_NAME, PIPELINE)
    aws.parameters.put_by_hand(CURRENT, arn("old"))
    aws.stacks.add(CURRENT)
    aws.pipelines.pipelines[PIPELINE] = []
    aws.time += timedelta(hours=1)
    aws.snapshots.all = [snapshot("new"), snapshot("old", created=aws.time - timedelta(days=9))]
    aws.pipelines.begin(PIPELINE, "Webhook")
    aws.pipelines.finish(PIPELINE)
    poll(Settings.from_environment(WITH_STACK), aws)
    aws.time = SUNDAY
    aws.parameters.put_by_hand(LATEST, arn("new"))
    aws.calls.clear()
    return aws


@pytest.fixture
def documents(two: Settings, aws: InMemoryAws) -> InMemoryAws:
    return with_documents(two, aws)


def with_documents(two: Settings, aws: InMemoryAws) -> InMemoryAws:
    """Add a second database in the same stack, which has something new as well."""
    aws.time = SUNDAY - timedelta(hours=2)
    aws.snapshots.all += [snapshot("docs-new", **DOCUMENTS), snapshot("docs-old", **DOCUMENTS)]
    aws.parameters.put_by_hand(OTHER_LATEST, arn("docs-new"))
    aws.parameters.put_by_hand(OTHER_CURRENT, arn("docs-old"))
    aws.stacks.add(OTHER_CURRENT, logical_id="Documents")
    aws.time = SUNDAY - timedelta(hours=1)
    aws.pipelines.begin(PIPELINE, "Webhook")
    aws.pipelines.finish(PIPELINE)
    poll(two, aws)
    aws.time = SUNDAY
    aws.calls.clear()
    return aws


# --- what a test looks at -------------------------------------------------------------------------


def started(aws: InMemoryAws) -> list[str]:
    """Return the runs that were started by StartPipelineExecution."""
    runs = aws.pipelines.pipelines[PIPELINE]
    return [run.execution_id for run in runs if run.trigger == "StartPipelineExecution"]


def ledger(aws: InMemoryAws, name: str = CURRENT) -> list[tuple[str, str]]:
    """Return the versions of `current` in short: what each is, and which snapshot it names."""
    kept = aws.parameters.kept.get(name, [])
    return [(each.action, each.value.rpartition(":")[2]) for each in kept]


def present(aws: InMemoryAws, name: str = CURRENT) -> Version:
    return aws.parameters.kept[name][-1]


def good(aws: InMemoryAws, name: str = CURRENT) -> str | None:
    """Return the value that is marked good."""
    return next((each.value for each in aws.parameters.kept.get(name, []) if each.is_good), None)


def subjects(aws: InMemoryAws) -> list[str]:
    return [each.subject.removeprefix("aurora-refresh: ") for each in aws.notifier.sent]


def everything(aws: InMemoryAws) -> dict[str, Any]:
    """Return all that a call may change, to be compared."""
    return {
        "parameters": {name: list(kept) for name, kept in aws.parameters.kept.items()},
        "runs": {name: list(runs) for name, runs in aws.pipelines.pipelines.items()},
        "sent": list(aws.notifier.sent),
    }


# --- what happens to a run ------------------------------------------------------------------------


def promotion_killed(
    settings: Settings, aws: InMemoryAws, when: str, operation: str, minutes: float = 1
) -> None:
    """Let the scheduled promotion die before or after a call; the next attempt comes minutes later."""
    kill(aws, when, operation)
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws, minutes)


def ends(
    aws: InMemoryAws,
    status: str = "Succeeded",
    *,
    deploys: bool | None = None,
    run: str | None = None,
    minutes: int = 30,
) -> None:
    """Let the newest run end, or the one that is named; unless said otherwise it deploys if it succeeds."""
    aws.time += timedelta(minutes=minutes)
    aws.pipelines.finish(PIPELINE, status, deploys=deploys, run=run)
    aws.time += timedelta(minutes=1)


def polls(settings: Settings, aws: InMemoryAws, times: int = 2) -> None:
    """Let `db-reconcile` come by every quarter of an hour."""
    for _ in range(times):
        aws.time += timedelta(minutes=15)
        poll(settings, aws)


# --- states that the account may be in ------------------------------------------------------------


def holding(name: str, value: str) -> Arrange:
    return lambda aws: aws.parameters.put_by_hand(name, value)


def without(name: str) -> Arrange:
    return lambda aws: aws.parameters.kept.pop(name)


def listing(*snapshots: Any) -> Arrange:
    return lambda aws: setattr(aws.snapshots, "all", list(snapshots))


def at(time: datetime) -> Arrange:
    return lambda aws: setattr(aws, "time", time)


def hold_until(day: str, by: str = "kim", reason: str = "release test") -> Arrange:
    return holding(HOLD, json.dumps({"until": day, "reason": reason, "by": by}))


def push(aws: InMemoryAws) -> str:
    """Let a push start a run, and return its id."""
    return aws.pipelines.begin(PIPELINE, "Webhook")


def running(status: str = "InProgress") -> Arrange:
    """A push has started a run, which is in that state."""
    return lambda aws: aws.pipelines.set_status(PIPELINE, push(aws), status)


BUSY = (
    "pipeline acceptance-main is busy with run run-2, started 2026-01-04 04:00 UTC; try again when "
    "it has ended"
)

# --- the API over HTTP ----------------------------------------------------------------------------


class Api:
    """The routes as Chalice's test client calls them; `caller` is whose signature was verified."""

    def __init__(self, settings: Settings, aws: InMemoryAws, caller: str | None = KIM) -> None:
        app = Chalice("test")

        @app.middleware("http")
        def verified(request: Request, get_response: Callable[[Request], Response]) -> Response:
            # API Gateway adds it, and Chalice's test client does not.
            if caller:
                request.context["identity"]["userArn"] = caller
            return get_response(request)

        app.register_blueprint(api.routes(settings, aws))
        self._client = Client(app)

    def raw(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        given = {"Content-Type": "application/json"} | (headers or {})
        with warnings.catch_warnings():
            # Chalice's test client lets everybody in and warns of it; test_openapi.py checks that
            # each route carries the authorizer.
            warnings.simplefilter("ignore")
            response = self._client.http.request(method, path, headers=given, body=body)
        return response.status_code, json.loads(response.body)

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.raw(method, path, b"" if body is None else json.dumps(body).encode())


@pytest.fixture
def ask(settings: Settings, aws: InMemoryAws) -> Api:
    return Api(settings, aws)


def refused(message: str) -> tuple[int, dict[str, str]]:
    return 409, {"Code": "ConflictError", "Message": message}


def malformed(message: str) -> tuple[int, dict[str, str]]:
    return 400, {"Code": "BadRequestError", "Message": message}


def failed(message: str) -> tuple[int, dict[str, str]]:
    return 500, {"Code": "ChaliceViewError", "Message": message}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Return what is logged, as the functions' own formatter writes it."""
    caplog.set_level(logging.INFO, "aurora-refresh")

    def lines() -> list[dict[str, Any]]:
        written = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
        shown = ("message", "request", "caller", "answer", "refusal")
        return [{name: line[name] for name in shown if name in line} for line in written]

    return lines
