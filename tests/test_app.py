"""The triggers: each parses its event, calls one use case, and logs the decision."""

import importlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from chalice.test import Client
from chalice.test import TestEventsClient as Events

from chalicelib.domain.errors import AwsError
from chalicelib.domain.functions import deployed_name, stage_of
from cli.policies import FUNCTIONS
from tests.fakes import ACCEPTANCE, PRODUCTION, STACK, InMemoryAws
from tests.interruptions import refuse
from tests.stage import CURRENT, LATEST, PIPELINE, forget_app, import_app
from tests.usecases.night import NEW, OLD, Night

Load = Callable[..., ModuleType]
Output = Callable[[], list[dict[str, Any]]]

UPDATE, RESTORE = "db-update-latest-snapshot-id", "db-restore-from-snapshot"
SHARE = "db-share-snapshot"
SHARING = {"SHARE_WITH_ACCOUNT": ACCEPTANCE, "CLUSTERS": "orders"}
PRODUCTION_STAGE = SHARING | {"SOURCE_ACCOUNT": "", "RDS_STACK_NAME": ""}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    def load(aws: InMemoryAws | None = None, **changes: str) -> ModuleType:
        function = {"AWS_LAMBDA_FUNCTION_NAME": "aurora-refresh-acceptance-db-follow-pipeline"}
        app = import_app(monkeypatch, **{"RDS_STACK_NAME": STACK, **function, **changes})
        if aws:
            app.context.aws = aws
        return app

    yield load
    forget_app()


@pytest.fixture
def aws() -> InMemoryAws:
    """Nothing was refreshed for nine days, and production shares something new."""
    night = Night()
    night.set(LATEST, OLD)
    return night.aws


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    """Return the log lines since the last time."""
    return lambda: [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def scheduled_event(time: str) -> dict[str, Any]:
    event = Events(None).generate_cw_event("aws.events", "Scheduled Event", {}, [])
    return event | {"time": time}


def invoke(app: ModuleType, function: str, time: str, detail: dict[str, Any] | None = None) -> Any:
    """Call the function as Chalice's test client does."""
    event = scheduled_event(time) | ({"detail": detail} if detail else {})
    return Client(app.app).lambda_.invoke(function, event).payload


# --- a night --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["db-follow-pipeline", "db-reconcile"])
def test_a_night_from_the_update_to_the_end_of_the_run(
    load: Load, aws: InMemoryAws, output: Output, function: str
) -> None:
    """Each decision is one log line with its grounds, followed by what it measures."""
    app = load(aws)
    answer = invoke(app, UPDATE, "2026-01-04T02:00:00Z")
    assert (answer["outcome"], aws.values()[LATEST]) == ("updated", NEW)
    decision, _ = output()
    event = scheduled_event("2026-01-04T02:00:00Z")
    grounds = {"use_case": "update", "event": event, "answer": answer}
    said = {"level": "INFO", "message": "decision", "correlation_id": event["id"]}
    assert decision == decision | grounds | said
    answer = invoke(app, RESTORE, "2026-01-04T04:00:00Z")
    assert (answer["outcome"], answer["execution_id"]) == ("started", "run-2")
    assert aws.values()[CURRENT] == NEW
    aws.time += timedelta(minutes=30)
    aws.pipelines.finish(PIPELINE)
    output()
    detail = {"pipeline": PIPELINE, "execution-id": "run-2", "state": "SUCCEEDED", "version": 1}
    answer = invoke(app, function, "2026-01-04T04:30:00Z", detail)
    assert answer["outcome"] == "succeeded"
    decision, *measured = output()
    assert (decision["use_case"], decision["answer"]) == ("reconcile", answer)
    assert {(each["stage"], each["database"]) for each in measured} == {("acceptance", "rds")}
    names = [each["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for each in measured]
    assert names == ["RefreshSucceeded", "SnapshotAgeHours", "RefreshDurationMinutes"]
    for again in (detail, {}):
        assert invoke(app, function, "2026-01-04T04:45:00Z", again)["outcome"] == "ignored"
        (_,) = output()


@pytest.mark.parametrize(("call", "function"), [("get", RESTORE), ("runs", "db-reconcile")])
def test_a_failed_aws_call_is_raised(
    load: Load, aws: InMemoryAws, output: Output, call: str, function: str
) -> None:
    """Lambda counts it, and its alarm rings."""
    refuse(aws, call)
    with pytest.raises(AwsError):
        invoke(load(aws), function, "2026-01-04T04:00:00Z")
    assert output() == []


def test_a_decision_beside_an_error_is_logged_and_counted(load: Load, output: Output) -> None:
    night = Night()
    night.promote()
    night.run_ends("Failed")
    refuse(night.aws, "label")
    with pytest.raises(AwsError):
        invoke(load(night.aws), "db-reconcile", "2026-01-04T04:45:00Z")
    decision, counted = output()
    assert (decision["answer"]["reason"], counted["RefreshFailed"]) == ("run-failed", [1])


def test_production_shares_a_snapshot_that_bears_the_stage(load: Load, output: Output) -> None:
    aws = InMemoryAws(datetime(2026, 1, 3, 22, tzinfo=UTC), PRODUCTION)
    aws.clusters.add("orders")
    function = {"AWS_LAMBDA_FUNCTION_NAME": "aurora-refresh-daily-db-share-snapshot"}
    app = load(aws, **PRODUCTION_STAGE, **function)
    asked = invoke(app, SHARE, "2026-01-03T22:00:00Z")
    invoke(app, SHARE, "2026-01-03T22:00:31Z")  # a rule may fire twice for one time
    aws.snapshots.settle()
    shared = invoke(app, "db-follow-shares", "2026-01-03T22:15:00Z")
    assert shared["clusters"][0]["shared"] == [asked["clusters"][0]["snapshot"]]
    (own,) = aws.snapshots.own()
    assert own.tags["aurora-refresh:made-for"] == f"{ACCEPTANCE}/daily"
    aws.snapshots.all = [own._replace(status="failed")]
    refuse(aws, "delete")
    with pytest.raises(AwsError):
        invoke(app, "db-follow-shares", "2026-01-03T22:30:00Z")
    *others, decision = output()
    assert [line["use_case"] for line in others] == ["share"] * 3
    assert decision["answer"]["clusters"][0]["deleted"] == [own.arn]


# --- a time zone ----------------------------------------------------------------------------------


def rules(app: ModuleType) -> dict[str, Any]:
    """Return each function's handler, and what invokes it: an expression or an event's pattern."""
    return {
        each.name: (
            each.handler_string.removeprefix("chalicelib.triggers."),
            getattr(each, "schedule_expression", None) or each.event_pattern,
        )
        for each in app.app.event_sources
    }


def test_a_firing_at_the_other_hour_of_a_zone_is_ignored_and_only_logged(
    load: Load, aws: InMemoryAws, output: Output
) -> None:
    zoned = "cron(0 5 ? * SUN *) Europe/Amsterdam"
    app = load(aws, RESTORE_SCHEDULE=zoned)
    assert rules(app)[RESTORE] == ("restore.handler", "cron(0 3,4 ? * SUN *)")
    answer = invoke(app, RESTORE, "2026-01-04T03:00:00Z")
    message = f"2026-01-04 03:00 UTC is not a time of {zoned}"
    ignored = {"outcome": "ignored", "reason": None, "databases": []}
    assert answer == ignored | {"message": message}
    (line,) = output()
    assert (line["use_case"], line["answer"], aws.calls) == ("promote", answer, [])
    with pytest.raises(
        ValueError, match=r"05:00 UTC is not a time of .*, nor one at which its rule"
    ):
        invoke(app, RESTORE, "2026-01-04T05:00:00Z")  # a rule that somebody has changed


# --- what is deployed -----------------------------------------------------------------------------


def test_an_acceptance_stage_has_its_functions_each_with_its_module_and_rule(load: Load) -> None:
    given = {"UPDATE_SCHEDULE": "cron(30 1 ? * MON *)", "RESTORE_SCHEDULE": "cron(30 3 ? * MON *)"}
    ended = {
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"state": ["SUCCEEDED", "FAILED", "STOPPED", "CANCELED"]},
    }
    app = load(**given, PIN_API_ENABLED="false")
    assert rules(app) == {
        UPDATE: ("update.handler", "cron(30 1 ? * MON *)"),
        RESTORE: ("restore.handler", "cron(30 3 ? * MON *)"),
        "db-follow-pipeline": ("follow_pipeline.handler", ended),
        "db-reconcile": ("reconcile.handler", "rate(15 minutes)"),
    }
    assert not app.app.routes  # without the pin API there is no REST API at all


def test_a_production_stage_has_only_productions_functions_and_no_routes(load: Load) -> None:
    app = load(**PRODUCTION_STAGE)
    assert rules(app) == {
        SHARE: ("share.handler", "cron(0 22 ? * SAT *)"),
        "db-follow-shares": ("follow_shares.handler", "rate(15 minutes)"),
    }
    assert not app.app.routes


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("stage", ["acceptance", "test-2"])
def test_a_function_knows_its_stage_by_its_name(stage: str, function: str) -> None:
    """Two stages in one account must not raise each other's alarms, nor delete shares."""
    assert stage_of(deployed_name(stage, function)) == stage


# --- what is refused ------------------------------------------------------------------------------


OTHER_EVENT = scheduled_event("2026-01-04T04:00:00Z") | {"detail-type": "other"}


@pytest.mark.parametrize("event", [{}, None, OTHER_EVENT, scheduled_event("2026-01-04T04:00:00")])
def test_an_event_that_is_not_a_scheduled_one_is_refused_with_what_to_send(
    load: Load, aws: InMemoryAws, event: Any
) -> None:
    load(aws)
    module = importlib.import_module("chalicelib.triggers.restore")
    with pytest.raises(ValueError, match=r"send \{") as caught:
        module.handler(event, None)
    example = json.loads(str(caught.value).partition("send ")[2].partition(", with the")[0])
    assert module.handler(example, None)["outcome"] == "skipped"


def test_a_wrong_stage_stops_the_import_with_every_problem_and_no_stack_trace(load: Load) -> None:
    with pytest.raises(SystemExit) as caught:
        load(SOURCE_ACCOUNT="x", RDS_ENGINE="y")
    assert str(caught.value).splitlines() == [
        "The stage's settings are wrong:",
        "  - SOURCE_ACCOUNT is 'x': write production's account id, 12 digits",
        "  - RDS_ENGINE is 'y': write one of aurora-postgresql, aurora-mysql, docdb, neptune",
    ]
