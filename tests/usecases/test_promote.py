"""db-restore-from-snapshot: *latest* becomes *current*, and the main pipeline restores it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note, Run
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import Result, promote
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, lose
from tests.stage import (
    CURRENT,
    LATEST,
    OTHER_CURRENT,
    OTHER_LATEST,
    PIPELINE,
    PIPELINE_NAME,
    STAGE,
)
from tests.usecases.conftest import BY_HAND, SUNDAY, at, holding, listing, without


def told(answer: Result) -> tuple[str, str | None]:
    return answer.outcome, answer.reason


def runs_started(aws: InMemoryAws) -> list[Run]:
    return [run for run in aws.pipelines.pipelines[PIPELINE] if run.execution_id != "run-0"]


# --- the good night -------------------------------------------------------------------------------


def test_latest_becomes_current_and_the_pipeline_is_started(
    settings: Settings, aws: InMemoryAws
) -> None:
    answer = promote(settings, aws, SUNDAY)

    assert answer.to_json() == {
        "outcome": "started",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "latest": arn("new"),
                "current": arn("new"),
                "previous": arn("old"),
                "created": "2026-01-03T22:00:00+00:00",
                "age_hours": 6.0,
            }
        ],
        "execution_id": "run-2",
        "steps": [
            {"step": "week", "verdict": "passed", "detail": None},
            {"step": "window", "verdict": "passed", "detail": "00:00-07:00 UTC"},
            {"step": "hold", "verdict": "passed", "detail": None},
            {
                "step": "parameters",
                "verdict": "passed",
                "detail": "the pipeline is acceptance-main",
            },
            {
                "step": "snapshot",
                "verdict": "passed",
                "detail": f"rds: {arn('new')}, 6.0 hours old",
            },
            {
                "step": "new",
                "verdict": "passed",
                "detail": f"{CURRENT} moves to {arn('new')}",
            },
            {
                "step": "idle",
                "verdict": "passed",
                "detail": "no run of acceptance-main is in progress",
            },
            {"step": "put", "verdict": "done", "detail": None},
            {"step": "start", "verdict": "done", "detail": None},
        ],
    }
    assert aws.values()[CURRENT] == arn("new")
    assert runs_started(aws) == [Run("run-2", "InProgress", SUNDAY, SUNDAY)]


def test_the_description_tells_who_why_and_the_runs_token(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    note = aws.parameters.kept[CURRENT][-1].note
    assert note is not None
    assert note.token is not None
    assert note == Note(
        "promote",
        "the schedule of 2026-01-04T04:00:00+00:00",
        "newest eligible share",
        note.token,
    )
    assert aws.pipelines.start(PIPELINE, note.token) == "run-2"


def test_a_promotion_makes_few_calls_in_the_contracts_order(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    assert aws.calls == ["get", "find", "runs", "history", "put", "start"]


def test_a_promotion_that_started_is_told_when_its_run_has_ended(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    assert aws.notifier.sent == []


def test_a_current_that_does_not_exist_is_created(settings: Settings, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    answer = promote(settings, aws, SUNDAY)
    assert told(answer) == ("started", None)
    assert answer.databases[0]["previous"] is None
    assert aws.values()[CURRENT] == arn("new")


# --- decisions not to act -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrange", "outcome", "reason", "message"),
    [
        (
            at(SUNDAY.replace(hour=7)),
            "skipped",
            "outside-window",
            "2026-01-04 07:00 UTC is outside 00:00-07:00 UTC",
        ),
        (without(LATEST), "failed", "parameter-missing", f"no parameter {LATEST}"),
        (without(PIPELINE_NAME), "failed", "parameter-missing", f"no parameter {PIPELINE_NAME}"),
        (
            holding(LATEST, "dummyvalue"),
            "failed",
            "no-latest",
            f"{LATEST} holds 'dummyvalue', not the ARN of a DB cluster snapshot",
        ),
        (
            holding(LATEST, arn("new").replace("cluster-", "")),
            "failed",
            "no-latest",
            (
                f"{LATEST} holds 'arn:aws:rds:eu-west-1:111111111111:snapshot:new', "
                "not the ARN of a DB cluster snapshot"
            ),
        ),
        (
            holding(LATEST, "postgres://admin:secret@db"),
            "failed",
            "no-latest",
            f"{LATEST} holds something else, of 26 characters, not the ARN of a DB cluster snapshot",
        ),
        (
            holding(PIPELINE_NAME, "dummyvalue"),
            "failed",
            "pipeline-missing",
            f"{PIPELINE_NAME} holds 'dummyvalue', not a pipeline's name",
        ),
        (
            holding(PIPELINE_NAME, "no such/name"),
            "failed",
            "pipeline-missing",
            f"{PIPELINE_NAME} holds something else, of 12 characters, not a pipeline's name",
        ),
        (
            holding(LATEST, arn("new", "999999999999")),
            "failed",
            "not-eligible",
            f"{arn('new', '999999999999')}: account 999999999999, wanted 111111111111",
        ),
        (
            listing(),
            "failed",
            "snapshot-gone",
            f"{arn('new')} does not exist any more, or is no longer shared",
        ),
        (
            listing(snapshot("new", engine_version="16.1")),
            "failed",
            "not-eligible",
            f"{arn('new')}: engine version 16.1, wanted 15",
        ),
        (
            listing(snapshot("new", created=SUNDAY - timedelta(days=14, seconds=1))),
            "failed",
            "snapshot-stale",
            f"{arn('new')} is 14 days old, the limit is 14",
        ),
        (
            holding(PIPELINE_NAME, "somebody-elses"),
            "failed",
            "pipeline-missing",
            "there is no pipeline named somebody-elses",
        ),
        (
            holding(LATEST, arn("old")),
            "skipped",
            "nothing-new",
            "every database is on its newest snapshot",
        ),
    ],
)
def test_a_decision_not_to_act_says_why_and_leaves_everything_as_it_was(
    settings: Settings,
    aws: InMemoryAws,
    arrange: Callable[[InMemoryAws], None],
    outcome: str,
    reason: str,
    message: str,
) -> None:
    arrange(aws)
    before = aws.values()
    answer = promote(settings, aws, SUNDAY)
    assert (answer.outcome, answer.reason, answer.message) == (outcome, reason, message)
    assert answer.to_json()["databases"] == [
        {
            "name": "rds",
            "latest": answer.databases[0]["latest"],
            "current": answer.databases[0]["current"],
            "previous": answer.databases[0]["current"],
        }
    ]
    assert "execution_id" not in answer.to_json()
    assert aws.values() == before
    assert runs_started(aws) == []
    told = "refresh skipped" if outcome == "skipped" else "REFRESH FAILED"
    assert [notice.subject for notice in aws.notifier.sent] == (
        [] if reason == "nothing-new" else [f"aurora-refresh: {told}: {reason} (rds)"]
    )


def test_an_off_week_asks_aws_nothing(settings: Settings, aws: InMemoryAws) -> None:
    answer = promote(settings, aws, SUNDAY + timedelta(days=7))
    assert told(answer) == ("skipped", "off-week")
    assert answer.message == "2026-01-11 is not in an on-week: every 2 weeks from 2026-01-04"
    assert aws.calls == []


def test_a_snapshot_of_just_the_greatest_age_is_promoted(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.snapshots.all = [snapshot("new", created=SUNDAY - timedelta(days=14))]
    assert told(promote(settings, aws, SUNDAY)) == ("started", None)


def test_without_a_limit_any_age_is_promoted(aws: InMemoryAws) -> None:
    settings = Settings.from_environment(STAGE | {"MAX_SNAPSHOT_AGE_DAYS": "0"})
    aws.snapshots.all = [snapshot("new", created=SUNDAY - timedelta(days=999))]
    assert told(promote(settings, aws, SUNDAY)) == ("started", None)


# --- the hold -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "message"),
    [
        (
            '{"until": "2026-01-05", "reason": "release test", "by": "kim"}',
            ("skipped", "on-hold"),
            "on hold until 2026-01-05 by kim: release test",
        ),
        ('{"until": "2026-01-04", "reason": "over", "by": "kim"}', ("started", None), None),
        ("dummyvalue", ("started", None), None),
        (
            "until thursday",
            ("skipped", "on-hold"),
            (
                "/acceptance/hold cannot be read, which counts as a hold: "
                'not a hold such as {"until": "2026-01-22", "reason": "…", "by": "…"}'
            ),
        ),
    ],
)
def test_a_hold_stops_promotion_until_its_day(
    holdable: Settings,
    aws: InMemoryAws,
    value: str,
    expected: tuple[str, str | None],
    message: str | None,
) -> None:
    aws.parameters.put("/acceptance/hold", value, BY_HAND)
    answer = promote(holdable, aws, SUNDAY)
    assert (told(answer), answer.message) == (expected, message)


def test_a_hold_that_was_never_set_stops_nothing(holdable: Settings, aws: InMemoryAws) -> None:
    assert told(promote(holdable, aws, SUNDAY)) == ("started", None)


# --- exactly once ---------------------------------------------------------------------------------


def test_an_event_delivered_twice_starts_one_run(settings: Settings, aws: InMemoryAws) -> None:
    promote(settings, aws, SUNDAY)
    again = promote(settings, aws, SUNDAY)
    assert told(again) == ("skipped", "nothing-new")
    assert len(runs_started(aws)) == 1


def test_an_event_delivered_again_after_its_run_failed_and_was_taken_back_starts_no_run(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    aws.pipelines.finish(PIPELINE, "Failed")
    aws.time += timedelta(minutes=20)
    aws.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    again = promote(settings, aws, SUNDAY)
    assert told(again) == ("skipped", "nothing-new")
    assert len(runs_started(aws)) == 1
    assert aws.values()[CURRENT] == arn("old")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["get", "find", "runs", "history", "put", "start"])
def test_a_promotion_killed_at_any_call_and_run_again_ends_as_one_that_was_not(
    settings: Settings, aws: InMemoryAws, when: str, operation: str
) -> None:
    kill(aws, when, operation)
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)

    promote(settings, aws, SUNDAY)

    assert aws.values()[CURRENT] == arn("new")
    assert len(runs_started(aws)) == 1


# --- what AWS did not do --------------------------------------------------------------------------


def failing(aws: InMemoryAws, when: str, operation: str, times: int = 1) -> None:
    """The next ``times`` calls of the operation fail: refused, or their answer lost."""
    left = times

    def fail(at_when: str, at_operation: str) -> None:
        nonlocal left
        if left and (at_when, at_operation) == (when, operation):
            left -= 1
            answered = when == "before"
            raise AwsError(
                operation, "it", "ThrottlingException", "Rate exceeded", answered=answered
            )

    aws.interrupt = fail


@pytest.mark.parametrize(
    ("operation", "when"),
    [
        *product(["get", "find", "runs", "history"], ["before", "after"]),
        ("put", "before"),
    ],
)
def test_a_failing_call_before_the_start_leaves_everything_as_it_was(
    settings: Settings, aws: InMemoryAws, when: str, operation: str
) -> None:
    before = aws.values()
    failing(aws, when, operation)
    with pytest.raises(AwsError, match="Rate exceeded"):
        promote(settings, aws, SUNDAY)
    assert aws.values() == before
    assert runs_started(aws) == []
    (notice,) = aws.notifier.sent
    assert notice.subject == (
        f"aurora-refresh: REFRESH FAILED: {operation} ThrottlingException (rds)"
    )


def test_a_pipeline_that_cannot_be_started_puts_the_old_value_back(
    settings: Settings, aws: InMemoryAws
) -> None:
    failing(aws, "before", "start")
    with pytest.raises(AwsError, match="Rate exceeded"):
        promote(settings, aws, SUNDAY)
    history = aws.parameters.kept[CURRENT]
    assert [entry.value for entry in history] == [arn("old"), arn("new"), arn("old")]
    assert history[-1].note == Note(
        "undo",
        "the schedule of 2026-01-04T04:00:00+00:00",
        "start of it failed: ThrottlingException: Rate exceeded",
    )


def test_a_parameter_that_was_created_is_removed_again(
    settings: Settings, aws: InMemoryAws
) -> None:
    del aws.parameters.kept[CURRENT]
    failing(aws, "before", "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert CURRENT not in aws.values()


def test_a_start_whose_answer_was_lost_counts_as_started(
    settings: Settings, aws: InMemoryAws
) -> None:
    failing(aws, "after", "start")
    answer = promote(settings, aws, SUNDAY)
    assert (told(answer), answer.execution_id) == (("started", None), "run-2")
    assert aws.values()[CURRENT] == arn("new")


def test_a_put_whose_answer_was_lost_counts_as_put(settings: Settings, aws: InMemoryAws) -> None:
    failing(aws, "after", "put")
    assert told(promote(settings, aws, SUNDAY)) == ("started", None)
    assert [entry.value for entry in aws.parameters.kept[CURRENT]] == [arn("old"), arn("new")]


def test_a_put_that_never_arrived_is_no_put(settings: Settings, aws: InMemoryAws) -> None:
    lose(aws, "before", "put")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")
    assert runs_started(aws) == []


def test_a_retry_after_an_undo_promotes(settings: Settings, aws: InMemoryAws) -> None:
    failing(aws, "before", "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    aws.time += timedelta(minutes=2)
    assert told(promote(settings, aws, SUNDAY)) == ("started", None)
    assert aws.values()[CURRENT] == arn("new")
    assert len(runs_started(aws)) == 1


def test_a_value_that_a_killed_invocation_put_is_taken_back_too(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Otherwise the next ordinary deployment, at noon, would restore the database."""

    kill(aws, "before", "start")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    failing(aws, "before", "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_a_waiting_pin_stays_when_its_run_cannot_be_started(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put(CURRENT, arn("new"), Note("pin", "kim", "try it"))
    failing(aws, "before", "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("new")


def test_a_value_that_somebody_moved_on_meanwhile_is_not_taken_back(
    settings: Settings, aws: InMemoryAws
) -> None:
    def pinned_meanwhile(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            aws.interrupt = lambda when, operation: None
            aws.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", "now"))
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    aws.interrupt = pinned_meanwhile
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("pinned")


def test_a_busy_pipeline_is_raised_so_that_lambda_tries_again(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.pipelines.pipelines[PIPELINE].append(Run("deploy-7", "InProgress", SUNDAY, SUNDAY))
    before = aws.values()
    with pytest.raises(AwsError, match="busy with run deploy-7"):
        promote(settings, aws, SUNDAY)
    assert aws.values() == before


# --- several databases, all or nothing ------------------------------------------------------------


def test_all_databases_are_promoted_by_one_run(two: Settings, documents: InMemoryAws) -> None:
    answer = promote(two, documents, SUNDAY)
    assert told(answer) == ("started", None)
    assert [entry["current"] for entry in answer.databases] == [arn("new"), arn("docs-new")]
    assert documents.values()[CURRENT] == arn("new")
    assert documents.values()[OTHER_CURRENT] == arn("docs-new")
    assert len(runs_started(documents)) == 1


def test_one_database_that_cannot_be_promoted_stops_all(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.snapshots.all = [each for each in documents.snapshots.all if "docs" not in each.arn]
    before = documents.values()
    assert told(promote(two, documents, SUNDAY)) == ("failed", "snapshot-gone")
    assert documents.values() == before


def test_one_database_that_has_nothing_new_does_not(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put(LATEST, arn("old"), BY_HAND)
    answer = promote(two, documents, SUNDAY)
    assert told(answer) == ("started", None)
    assert documents.values()[CURRENT] == arn("old")
    assert documents.values()[OTHER_CURRENT] == arn("docs-new")


def test_every_database_is_put_back_when_the_second_cannot_be_put(
    two: Settings, documents: InMemoryAws
) -> None:
    before = documents.values()

    def fail(when: str, operation: str) -> None:
        if (when, operation) == ("before", "put") and documents.calls.count("put") == 2:
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    documents.interrupt = fail
    with pytest.raises(AwsError):
        promote(two, documents, SUNDAY)
    assert documents.values() == before


def test_a_kill_between_the_puts_is_completed_under_the_same_token(
    two: Settings, documents: InMemoryAws
) -> None:
    kill(documents, "before", "put", nth=2)
    with pytest.raises(Killed):
        promote(two, documents, SUNDAY)
    documents.interrupt = lambda when, operation: None
    assert told(promote(two, documents, SUNDAY)) == ("started", None)
    tokens = {documents.parameters.kept[name][-1].token for name in (CURRENT, OTHER_CURRENT)}
    assert len(tokens) == 1
    assert len(runs_started(documents)) == 1


def test_every_database_is_tried_when_putting_back_one_fails(
    two: Settings, documents: InMemoryAws
) -> None:
    def fail(when: str, operation: str) -> None:
        first_undo = operation == "put" and documents.calls.count("put") == 3
        if when == "before" and (operation == "start" or first_undo):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    documents.interrupt = fail
    with pytest.raises(AwsError, match="start of it failed") as caught:
        promote(two, documents, SUNDAY)
    assert "could not be put back" in caught.value.__notes__[0]
    assert documents.values()[CURRENT] == arn("new")
    assert documents.values()[OTHER_CURRENT] == arn("docs-old")


def test_parameters_are_looked_at_before_any_snapshot(
    two: Settings, documents: InMemoryAws
) -> None:
    """Step 2 of the contract for every database comes before step 3 for any."""
    documents.snapshots.all = []
    documents.parameters.put(OTHER_LATEST, "dummyvalue", BY_HAND)
    documents.calls.clear()
    assert told(promote(two, documents, SUNDAY)) == ("failed", "no-latest")
    assert "find" not in documents.calls


def test_a_scheduled_time_has_one_run_for_all_databases(
    two: Settings, documents: InMemoryAws
) -> None:
    """A late update moves the second database's latest after the run: that is for next time."""
    documents.parameters.put(LATEST, arn("old"), BY_HAND)
    promote(two, documents, SUNDAY)
    documents.pipelines.finish(PIPELINE)
    documents.time += timedelta(minutes=40)
    documents.parameters.put(LATEST, arn("new"), BY_HAND)
    assert told(promote(two, documents, SUNDAY)) == ("skipped", "nothing-new")
    assert documents.values()[CURRENT] == arn("old")
    assert len(runs_started(documents)) == 1


def test_a_database_that_is_not_moved_is_told_as_it_is(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.parameters.put(LATEST, arn("old"), BY_HAND)
    first, second = promote(two, documents, SUNDAY).databases
    assert (first["previous"], first["current"]) == (arn("old"), arn("old"))
    assert (second["previous"], second["current"]) == (arn("docs-old"), arn("docs-new"))


def test_every_missing_parameter_is_named(two: Settings, documents: InMemoryAws) -> None:
    for name in (LATEST, OTHER_LATEST, PIPELINE_NAME):
        del documents.parameters.kept[name]
    assert promote(two, documents, SUNDAY).message == (
        f"no parameter {PIPELINE_NAME}, {LATEST}, {OTHER_LATEST}"
    )


def test_the_hold_and_the_week_are_judged_by_the_windows_own_date(aws: InMemoryAws) -> None:
    """At 23:30 UTC on Saturday it is Sunday in Amsterdam: the on-week and the hold's day."""
    settings = Settings.from_environment(
        STAGE
        | {"MAINTENANCE_WINDOW": "00:00-07:00 Europe/Amsterdam"}
        | {"SSM_REFRESH_HOLD_NAME": "/acceptance/hold"}
    )
    hold = '{"until": "2026-01-18", "reason": "over", "by": "kim"}'
    aws.parameters.put("/acceptance/hold", hold, BY_HAND)
    aws.time = datetime(2026, 1, 17, 23, 30, tzinfo=UTC)
    aws.snapshots.all = [snapshot("new", created=aws.time)]
    assert told(promote(settings, aws, aws.time)) == ("started", None)
