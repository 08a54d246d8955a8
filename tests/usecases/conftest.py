"""A quiet on-week Sunday: one eligible share, both parameters set, the pipeline idle."""

import json
import logging
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chalice.app import Chalice, Request, Response
from chalice.test import Client

from chalicelib.domain.ledger import Note, Run
from chalicelib.observability import JsonFormatter
from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import api
from tests.fakes import InMemoryAws, arn, snapshot
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

# The verbs of ports.py that change nothing.
READING = {"get", "history", "shared", "own", "find", "named", "runs"}

KIM = "arn:aws:iam::222222222222:user/kim"


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(STAGE)


@pytest.fixture
def holdable() -> Settings:
    return Settings.from_environment(STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD})


@pytest.fixture
def two() -> Settings:
    return Settings.from_environment(TWO)


@pytest.fixture
def aws() -> InMemoryAws:
    return quiet_sunday()


def quiet_sunday() -> InMemoryAws:
    """On Saturday *current* was ``old`` and had been carried; on Sunday at 04:00 *latest* is new."""
    aws = InMemoryAws(datetime(2026, 1, 3, 12, tzinfo=UTC))
    by_hand = Note("bootstrap", "setup", "", None)
    aws.parameters.put(PIPELINE_NAME, PIPELINE, by_hand)
    aws.parameters.put(CURRENT, arn("old"), by_hand)
    aws.time += timedelta(hours=1)
    aws.pipelines.pipelines[PIPELINE] = [Run("run-0", "Succeeded", aws.time, aws.time)]
    aws.snapshots.all = [snapshot("new"), snapshot("old", created=aws.time - timedelta(days=9))]
    aws.time = SUNDAY
    aws.parameters.put(LATEST, arn("new"), by_hand)
    aws.calls.clear()
    return aws


@pytest.fixture
def documents(aws: InMemoryAws) -> InMemoryAws:
    """A second database, which has something new as well."""
    documents = {"engine": "docdb", "engine_version": "5.0.0", "cluster": "documents"}
    aws.snapshots.all += [snapshot("docs-new", **documents), snapshot("docs-old", **documents)]
    aws.parameters.put(OTHER_LATEST, arn("docs-new"), BY_HAND)
    aws.parameters.put(OTHER_CURRENT, arn("docs-old"), BY_HAND)
    aws.calls.clear()
    return aws


def runs_started(aws: InMemoryAws) -> int:
    return len([run for run in aws.pipelines.pipelines[PIPELINE] if run.execution_id != "run-0"])


def everything(aws: InMemoryAws) -> dict[str, Any]:
    """All that a call may change, to be compared."""
    return {
        "parameters": {name: list(kept) for name, kept in aws.parameters.kept.items()},
        "runs": {name: list(runs) for name, runs in aws.pipelines.pipelines.items()},
        "told": list(aws.notifier.sent),
    }


# --- states that the account may be in ------------------------------------------------------------

Arrange = Callable[[InMemoryAws], object]


def holding(name: str, value: str, note: Note = BY_HAND) -> Arrange:
    return lambda aws: aws.parameters.put(name, value, note)


def without(name: str) -> Arrange:
    return lambda aws: aws.parameters.kept.pop(name)


def listing(*snapshots: Any) -> Arrange:
    return lambda aws: setattr(aws.snapshots, "all", list(snapshots))


def at(time: datetime) -> Arrange:
    return lambda aws: setattr(aws, "time", time)


def hold_until(day: str, by: str = "kim", reason: str = "release test") -> Arrange:
    return holding(HOLD, json.dumps({"until": day, "reason": reason, "by": by}))


def running(status: str = "InProgress") -> Arrange:
    def arrange(aws: InMemoryAws) -> None:
        aws.pipelines.pipelines[PIPELINE].append(Run("deploy-7", status, aws.time, aws.time))

    return arrange


# --- the API over HTTP ----------------------------------------------------------------------------


class Api:
    """The routes as Chalice's test client calls them; ``caller`` is whose signature was verified."""

    def __init__(
        self, settings: Settings, aws: InMemoryAws, operator: str | None = None, caller: str = KIM
    ) -> None:
        app = Chalice("test")
        self.caller: str | None = caller

        @app.middleware("http")
        def verified(request: Request, get_response: Callable[[Request], Response]) -> Response:
            # What API Gateway adds, and Chalice's test client does not.
            if self.caller:
                request.context["identity"]["userArn"] = self.caller
            return get_response(request)

        app.register_blueprint(api.routes(settings, aws, operator))
        self._client = Client(app)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        with warnings.catch_warnings():
            # Chalice's test client lets everybody in and warns of it; that the route carries the
            # authorizer is held by test_app.py, and the refusal of strangers by the local cloud.
            warnings.simplefilter("ignore")
            response = self._client.http.request(method, path, headers=headers or {}, body=body)
        return response.status_code, response.headers, response.body

    def raw(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        given = {"Content-Type": "application/json"} | (headers or {})
        status, _, answer = self.send(method, path, body, given)
        return status, json.loads(answer)

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        return self.raw(method, path, b"" if body is None else json.dumps(body).encode(), headers)


@pytest.fixture
def ask(holdable: Settings, aws: InMemoryAws) -> Api:
    """The API of a stage that can be held."""
    return Api(holdable, aws)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """What is logged, as the functions' own formatter writes it."""
    caplog.set_level(logging.INFO, "aurora-refresh")

    def lines() -> list[dict[str, Any]]:
        written = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
        told = ("message", "wish", "caller", "answer", "refusal")
        return [{name: line[name] for name in told if name in line} for line in written]

    return lines
