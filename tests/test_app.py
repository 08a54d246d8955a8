"""The triggers: each parses its event, calls one use case, and logs the decision."""

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from chalice.app import IAMAuthorizer
from chalice.test import Client

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note
from chalicelib.domain.shares import Cluster
from tests.fakes import InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME, STAGE

Load = Callable[..., ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports app.py as ``chalice deploy`` and Lambda do: with the stage in the environment."""

    def load(**changes: str) -> ModuleType:
        surroundings = {
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_LAMBDA_FUNCTION_NAME": "aurora-refresh-acceptance-db-follow-pipeline",
        }
        for name, value in (STAGE | surroundings | changes).items():
            monkeypatch.setenv(name, value)
        forget()
        return importlib.import_module("app")

    yield load
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name == "app" or ".triggers" in name]:
        del sys.modules[name]
    logging.Logger.manager.loggerDict.pop("aurora-refresh", None)  # it holds the old stdout


@pytest.fixture
def aws() -> InMemoryAws:
    aws = InMemoryAws(datetime(2026, 1, 4, 4, tzinfo=UTC))
    for name, value in ((PIPELINE_NAME, PIPELINE), (LATEST, arn("old")), (CURRENT, arn("old"))):
        aws.parameters.put(name, value, Note("by hand", "setup", ""))
    aws.pipelines.pipelines[PIPELINE] = []
    aws.snapshots.all = [snapshot("new"), snapshot("old")]
    return aws


def scheduled_event(time: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "222222222222",
        "time": time,
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:222222222222:rule/a-rule"],
        "detail": {},
    }


def invoke(app: ModuleType, function: str, time: str) -> Any:
    with Client(app.app) as client:
        return client.lambda_.invoke(function, scheduled_event(time)).payload


def test_two_o_clock_records_the_newest_share(load: Load, aws: InMemoryAws) -> None:
    app = load()
    app.context.aws = aws
    aws.snapshots.all.append(snapshot("newest", created=datetime(2026, 1, 4, 1, tzinfo=UTC)))
    answer = invoke(app, "db-update-latest-snapshot-id", "2026-01-04T02:00:00Z")
    assert (answer["outcome"], answer["databases"][0]["latest"]) == ("updated", arn("newest"))
    assert aws.values()[LATEST] == arn("newest")


def test_four_o_clock_promotes_it_and_starts_the_pipeline(load: Load, aws: InMemoryAws) -> None:
    app = load()
    app.context.aws = aws
    invoke(app, "db-update-latest-snapshot-id", "2026-01-04T02:00:00Z")
    answer = invoke(app, "db-restore-from-snapshot", "2026-01-04T04:00:00Z")
    assert (answer["outcome"], answer["execution_id"]) == ("started", "run-1")
    assert aws.values()[CURRENT] == aws.values()[LATEST]


def test_a_decision_is_one_log_line_with_its_grounds(
    load: Load, aws: InMemoryAws, capsys: pytest.CaptureFixture[str]
) -> None:
    app = load()
    app.context.aws = aws
    answer = invoke(app, "db-update-latest-snapshot-id", "2026-01-11T02:00:00Z")
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    told = ("level", "message", "use_case", "event", "answer", "correlation_id")
    assert {name: line[name] for name in told} == {
        "level": "INFO",
        "message": "decision",
        "use_case": "update",
        "event": scheduled_event("2026-01-11T02:00:00Z"),
        "answer": answer,
        "correlation_id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
    }


def test_a_run_that_ended_is_followed_and_counted(
    load: Load, aws: InMemoryAws, capsys: pytest.CaptureFixture[str]
) -> None:
    app = load()
    app.context.aws = aws
    invoke(app, "db-update-latest-snapshot-id", "2026-01-04T02:00:00Z")
    invoke(app, "db-restore-from-snapshot", "2026-01-04T04:00:00Z")
    aws.time += timedelta(minutes=30)
    aws.pipelines.finish(PIPELINE)
    capsys.readouterr()
    detail = {"pipeline": PIPELINE, "execution-id": "run-1", "state": "SUCCEEDED", "version": 1}
    with Client(app.app) as client:
        event = scheduled_event("2026-01-04T04:30:00Z") | {"detail": detail}
        answer = client.lambda_.invoke("db-follow-pipeline", event).payload
    assert answer["outcome"] == "succeeded"
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    metrics = [line for line in lines if "_aws" in line]
    assert {
        metric["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"]: (
            metric["stage"],
            metric["database"],
            metric["_aws"]["CloudWatchMetrics"][0]["Namespace"],
        )
        for metric in metrics
    } == dict.fromkeys(
        ("RefreshSucceeded", "SnapshotAgeHours", "RefreshDurationMinutes"),
        ("acceptance", "rds", "AuroraRefresh"),
    )


def test_what_aws_did_not_do_is_counted_and_raised(
    load: Load, aws: InMemoryAws, capsys: pytest.CaptureFixture[str]
) -> None:
    app = load()
    app.context.aws = aws

    def fail(when: str, operation: str) -> None:
        raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    aws.interrupt = fail
    with pytest.raises(AwsError):
        invoke(app, "db-restore-from-snapshot", "2026-01-04T04:00:00Z")
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert line["RefreshFailed"] == [1.0]


def test_only_final_states_of_runs_are_followed(load: Load) -> None:
    (follow,) = [
        each for each in load().app.event_sources if not hasattr(each, "schedule_expression")
    ]
    assert (follow.name, follow.event_pattern) == (
        "db-follow-pipeline",
        {
            "source": ["aws.codepipeline"],
            "detail-type": ["CodePipeline Pipeline Execution State Change"],
            "detail": {"state": ["SUCCEEDED", "FAILED", "STOPPED", "CANCELED"]},
        },
    )


def test_the_schedules_are_the_settings(load: Load) -> None:
    app = load(UPDATE_SCHEDULE="cron(30 1 ? * MON *)", RESTORE_SCHEDULE="cron(30 3 ? * MON *)")
    schedules = [each for each in app.app.event_sources if hasattr(each, "schedule_expression")]
    assert {each.name: each.schedule_expression for each in schedules} == {
        "db-update-latest-snapshot-id": "cron(30 1 ? * MON *)",
        "db-restore-from-snapshot": "cron(30 3 ? * MON *)",
    }


def test_the_poll_is_scheduled_only_where_a_database_has_copies(load: Load) -> None:
    """Anybody else would pay for ninety-six looks a day at nothing."""
    app = load(RDS_COPY_KMS_KEY_ID="alias/acceptance")
    schedules = [each for each in app.app.event_sources if hasattr(each, "schedule_expression")]
    assert {each.name: each.schedule_expression for each in schedules} == {
        "db-update-latest-snapshot-id": "cron(0 2 ? * SUN *)",
        "db-restore-from-snapshot": "cron(0 4 ? * SUN *)",
        "db-follow-copies": "rate(15 minutes)",
    }


def test_the_poll_finishes_what_the_update_asked_for(
    load: Load, aws: InMemoryAws, capsys: pytest.CaptureFixture[str]
) -> None:
    app = load(RDS_COPY_KMS_KEY_ID="alias/acceptance")
    app.context.aws = aws
    asked = invoke(app, "db-update-latest-snapshot-id", "2026-01-04T02:00:00Z")
    aws.snapshots.settle()
    capsys.readouterr()
    answer = invoke(app, "db-follow-copies", "2026-01-04T02:15:00Z")
    copied = asked["databases"][0]["copy"]["arn"]
    assert (asked["outcome"], answer["outcome"]) == ("unchanged", "updated")
    assert aws.values()[LATEST] == copied
    decision, measured = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (decision["use_case"], decision["answer"]) == ("copies", answer)
    assert measured["SnapshotAgeHours"] == [6.0]


def test_every_route_carries_the_iam_authorizer(load: Load) -> None:
    routes = load().app.routes
    assert {path: list(methods) for path, methods in routes.items()} == {
        "/snapshots/current": ["PUT"],
        "/snapshots/current/rollback": ["POST"],
        "/snapshots/current/history": ["GET"],
        "/snapshots": ["GET"],
        "/status": ["GET"],
        "/hold": ["PUT", "DELETE"],
        "/refresh": ["POST"],
        "/": ["GET"],
    }
    for methods in routes.values():
        for route in methods.values():
            assert isinstance(route.authorizer, IAMAuthorizer)


def test_each_function_is_deployed_with_its_own_module_as_the_handler(load: Load) -> None:
    app = load(RDS_COPY_KMS_KEY_ID="alias/acceptance").app
    assert {each.name: each.handler_string for each in app.event_sources} == {
        "db-update-latest-snapshot-id": "chalicelib.triggers.update.handler",
        "db-restore-from-snapshot": "chalicelib.triggers.restore.handler",
        "db-follow-pipeline": "chalicelib.triggers.follow_pipeline.handler",
        "db-follow-copies": "chalicelib.triggers.follow_copies.handler",
    }


def test_a_production_stage_has_only_productions_functions(load: Load) -> None:
    app = load(SOURCE_ACCOUNT="", SHARE_WITH_ACCOUNT="222222222222", CLUSTERS="orders").app
    assert {each.name: each.handler_string for each in app.event_sources} == {
        "db-share-snapshot": "chalicelib.triggers.share.handler",
        "db-follow-shares": "chalicelib.triggers.follow_shares.handler",
    }
    assert not app.routes


def test_production_shares_snapshots_that_bear_the_stage(load: Load) -> None:
    app = load(
        SOURCE_ACCOUNT="",
        SHARE_WITH_ACCOUNT="222222222222",
        CLUSTERS="orders",
        AWS_LAMBDA_FUNCTION_NAME="aurora-refresh-daily-db-share-snapshot",
    )
    aws = InMemoryAws(datetime(2026, 1, 3, 22, tzinfo=UTC), "111111111111")
    aws.clusters.all = {"orders": Cluster("orders", None)}
    app.context.aws = aws
    asked = invoke(app, "db-share-snapshot", "2026-01-03T22:00:00Z")
    aws.snapshots.settle()
    shared = invoke(app, "db-follow-shares", "2026-01-03T22:15:00Z")
    assert shared["clusters"][0]["shared"] == [asked["clusters"][0]["snapshot"]]
    (own,) = aws.snapshots.own()
    assert own.tags["aurora-refresh:made-for"] == "222222222222/daily"


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        {**scheduled_event("2026-01-04T04:00:00Z"), "detail-type": "other"},
        scheduled_event("yesterday"),
    ],
)
def test_an_event_that_is_not_a_scheduled_one_is_refused_with_what_to_send(
    load: Load, aws: InMemoryAws, event: Any
) -> None:
    load()
    restore = importlib.import_module("chalicelib.triggers.restore")
    restore.context.aws = aws
    with pytest.raises(ValueError, match=r"send .*version") as caught:
        restore.handler(event, None)
    example = json.loads(str(caught.value).partition("send ")[2].partition(", with the")[0])
    assert restore.handler(example, None)["outcome"] == "started"


def test_without_the_pin_api_there_is_no_rest_api_at_all(load: Load) -> None:
    assert not load(PIN_API_ENABLED="false").app.routes


def test_a_wrong_stage_stops_the_import_with_every_problem_and_no_stack_trace(load: Load) -> None:
    with pytest.raises(SystemExit) as caught:
        load(SOURCE_ACCOUNT="x", RDS_ENGINE="y")
    assert str(caught.value).splitlines() == [
        "These settings of the stage are wrong:",
        "  - SOURCE_ACCOUNT is 'x': write production's account id, 12 digits",
        "  - RDS_ENGINE is 'y': write one of aurora-postgresql, aurora-mysql, docdb, neptune",
    ]
