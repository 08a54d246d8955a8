"""POST /refresh: what the schedule would do now, because a person orders it."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, UncertainError
from chalicelib.domain.ledger import Entry, Note, Run
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import Pin, pin
from chalicelib.usecases.promote import RefreshRequest, Result, promote, refresh_now
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, lose, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, PIPELINE, PIPELINE_NAME
from tests.usecases.conftest import (
    BY_HAND,
    HOLD,
    KIM,
    READING,
    SUNDAY,
    Api,
    Arrange,
    at,
    everything,
    hold_until,
    holding,
    listing,
    running,
    runs_started,
    without,
)

STEPS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle", "put", "start")
NOON = SUNDAY.replace(hour=12)


def order(*, by: str = KIM, outside_window: bool = False) -> RefreshRequest:
    return RefreshRequest.by_hand(by, "we need it", outside_window=outside_window)


def now(settings: Settings, aws: InMemoryAws, **wish: Any) -> Result:
    return refresh_now(settings, aws, order(**wish))


def verdicts(answer: Any) -> list[str]:
    assert [step["step"] for step in answer["steps"]] == list(STEPS)
    return [step["verdict"] for step in answer["steps"]]


def so_far(refused: str) -> list[str]:
    """The verdicts where one step is refused and those after it are not reached."""
    index = STEPS.index(refused)
    return ["passed"] * index + ["refused"] + ["not reached"] * (len(STEPS) - index - 1)


# --- it is done -----------------------------------------------------------------------------------


def test_a_refresh_promotes_latest_whoever_asked_and_why(ask: Api, aws: InMemoryAws) -> None:
    passed = {"verdict": "passed"}
    assert ask("POST", "/refresh", {"reason": "release"}) == (
        200,
        {
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
            "dry_run": False,
            "steps": [
                {"step": "week", "detail": "not minded: a person orders it", **passed},
                {"step": "window", "detail": "00:00-07:00 UTC", **passed},
                {"step": "hold", "detail": None, **passed},
                {"step": "parameters", "detail": "the pipeline is acceptance-main", **passed},
                {"step": "snapshot", "detail": f"rds: {arn('new')}, 6.0 hours old", **passed},
                {
                    "step": "new",
                    "detail": f"{CURRENT} moves to {arn('new')}",
                    **passed,
                },
                {"step": "idle", "detail": "no run of acceptance-main is in progress", **passed},
                {"step": "put", "verdict": "done", "detail": None},
                {"step": "start", "verdict": "done", "detail": None},
            ],
        },
    )
    present = aws.parameters.kept[CURRENT][-1]
    assert present == Entry(2, arn("new"), SUNDAY, Note("refresh", KIM, "release", present.token))
    assert present.token is not None
    assert aws.pipelines.start(PIPELINE, present.token) == "run-2"


def test_a_refresh_minds_no_week(settings: Settings, aws: InMemoryAws) -> None:
    aws.time = SUNDAY + timedelta(days=7)
    assert now(settings, aws).outcome == "started"


def test_outside_the_window_it_must_be_asked_for(ask: Api, aws: InMemoryAws) -> None:
    aws.time = NOON
    before = everything(aws)
    status, answer = ask("POST", "/refresh", {})
    assert (status, answer["outcome"], answer["reason"]) == (200, "skipped", "outside-window")
    assert answer["message"] == "2026-01-04 12:00 UTC is outside 00:00-07:00 UTC"
    assert verdicts(answer) == so_far("window")
    assert everything(aws) == before
    _, answer = ask("POST", "/refresh", {"outside_window": True})
    assert answer["outcome"] == "started"
    assert answer["steps"][1]["detail"] == "not minded: 00:00-07:00 UTC"


def test_a_hold_is_minded_always(ask: Api, aws: InMemoryAws) -> None:
    hold_until("2026-01-05")(aws)
    before = everything(aws)
    _, answer = ask("POST", "/refresh", {"outside_window": True})
    assert (answer["outcome"], answer["reason"]) == ("skipped", "on-hold")
    assert verdicts(answer) == so_far("hold")
    assert everything(aws) == before


def test_a_current_that_does_not_exist_is_created(settings: Settings, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    answer = now(settings, aws)
    assert answer.databases[0]["previous"] is None
    assert aws.values()[CURRENT] == arn("new")


# --- refusals, for real and in a dry run ----------------------------------------------------------

REFUSALS: list[tuple[str, Arrange, str, str | None, str]] = [
    ("outside", at(NOON), "window", "outside-window", "skipped"),
    ("held", hold_until("2026-02-01"), "hold", "on-hold", "skipped"),
    ("unreadable hold", holding(HOLD, "{"), "hold", "on-hold", "skipped"),
    ("no latest", without(LATEST), "parameters", "parameter-missing", "failed"),
    ("no pipeline name", without(PIPELINE_NAME), "parameters", "parameter-missing", "failed"),
    ("fresh", lambda aws: aws.parameters.kept.clear(), "parameters", "parameter-missing", "failed"),
    ("placeholder", holding(LATEST, "dummyvalue"), "parameters", "no-latest", "failed"),
    ("secret", holding(LATEST, "postgres://a:secret@db"), "parameters", "no-latest", "failed"),
    ("no name", holding(PIPELINE_NAME, "a b"), "parameters", "pipeline-missing", "failed"),
    ("gone", listing(), "snapshot", "snapshot-gone", "failed"),
    ("foreign", holding(LATEST, arn("new", "9" * 12)), "snapshot", "not-eligible", "failed"),
    ("engine", listing(snapshot("new", engine="docdb")), "snapshot", "not-eligible", "failed"),
    (
        "stale",
        listing(snapshot("new", created=SUNDAY - timedelta(days=15))),
        "snapshot",
        "snapshot-stale",
        "failed",
    ),
    ("nothing new", holding(LATEST, arn("old")), "new", "nothing-new", "skipped"),
    ("no pipeline", holding(PIPELINE_NAME, "elsewhere"), "new", "pipeline-missing", "failed"),
    ("busy", running(), "idle", None, "failed"),
    ("stopping", running("Stopping"), "idle", None, "failed"),
]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("arrange", "step", "reason", "outcome"),
    [refusal[1:] for refusal in REFUSALS],
    ids=[refusal[0] for refusal in REFUSALS],
)
def test_a_refusal_names_its_step_and_changes_nothing(
    ask: Api,
    aws: InMemoryAws,
    arrange: Arrange,
    step: str,
    reason: str | None,
    outcome: str,
    dry_run: bool,
) -> None:
    arrange(aws)
    before = everything(aws)
    aws.calls.clear()
    status, answer = ask("POST", "/refresh", {"dry_run": dry_run})
    assert everything(aws) == before
    assert set(aws.calls) <= READING
    if step == "idle" and not dry_run:
        message = "pipeline acceptance-main is busy with run deploy-7; try later"
        assert (status, answer) == (409, {"Code": "ConflictError", "Message": message})
        return
    assert (status, answer["outcome"], answer["reason"]) == (200, outcome, reason)
    assert answer["dry_run"] is dry_run
    assert "execution_id" not in answer
    refused = next(each for each in answer["steps"] if each["verdict"] == "refused")
    assert (refused["step"], refused["detail"]) == (step, answer["message"])
    if dry_run and step in ("window", "hold"):
        # Patience: the other conditions are looked at, and would have let it through.
        expected = ["passed"] * 7 + ["not reached"] * 2
        expected[STEPS.index(step)] = "refused"
        assert verdicts(answer) == expected
    else:
        assert verdicts(answer) == so_far(step)
    assert "secret" not in str(answer)


def test_a_dry_run_says_what_would_be_done(ask: Api, aws: InMemoryAws) -> None:
    before = everything(aws)
    status, answer = ask("POST", "/refresh", {"dry_run": True, "reason": "just asking"})
    assert (status, answer["outcome"], answer["reason"]) == (200, "started", None)
    assert verdicts(answer) == ["passed"] * 7 + ["would do"] * 2
    assert answer["databases"] == [
        {
            "name": "rds",
            "latest": arn("new"),
            "current": arn("new"),
            "previous": arn("old"),
            "created": "2026-01-03T22:00:00+00:00",
            "age_hours": 6.0,
        }
    ]
    assert "execution_id" not in answer
    assert everything(aws) == before
    assert set(aws.calls) <= READING


def test_a_dry_run_looks_at_window_hold_and_pipeline_although_one_refuses(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.time = NOON
    hold_until("2026-01-22")(aws)
    running()(aws)
    _, answer = ask("POST", "/refresh", {"dry_run": True})
    assert (answer["outcome"], answer["reason"]) == ("skipped", "outside-window")
    assert verdicts(answer) == [
        *("passed", "refused", "refused", "passed", "passed", "passed", "refused"),
        *("not reached", "not reached"),
    ]
    _, answer = ask("POST", "/refresh", {"dry_run": True, "outside_window": True})
    assert answer["reason"] == "on-hold"


def test_a_dry_run_tells_the_first_refusal_though_a_later_one_ends_it(
    ask: Api, aws: InMemoryAws
) -> None:
    hold_until("2026-01-22")(aws)
    aws.snapshots.all.clear()
    _, answer = ask("POST", "/refresh", {"dry_run": True})
    assert answer["reason"] == "on-hold"
    assert verdicts(answer)[2:6] == ["refused", "passed", "refused", "not reached"]


@pytest.mark.parametrize("operation", ["get", "find", "runs", "history"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_aws_does_not_let_it_read_is_told_and_changes_nothing(
    ask: Api, aws: InMemoryAws, operation: str, dry_run: bool
) -> None:
    before = everything(aws)
    refuse(aws, operation)
    assert ask("POST", "/refresh", {"dry_run": dry_run}) == (
        500,
        {
            "Code": "ChaliceViewError",
            "Message": f"{operation} of it failed: AccessDeniedException: no",
        },
    )
    assert everything(aws) == before
    assert set(aws.calls) <= READING


def test_a_secret_in_current_is_not_told(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put(CURRENT, "postgres://admin:secret@db", BY_HAND)
    _, dry = ask("POST", "/refresh", {"dry_run": True})
    status, answer = ask("POST", "/refresh", {})
    assert (status, answer["outcome"]) == (200, "started")
    assert "secret@" not in str(dry)
    assert "secret@" not in str(answer)


# --- once, and once more --------------------------------------------------------------------------


def test_twice_in_a_row_starts_one_run(settings: Settings, aws: InMemoryAws) -> None:
    now(settings, aws)
    assert now(settings, aws).reason == "nothing-new"
    aws.pipelines.finish(PIPELINE)
    aws.time += timedelta(minutes=30)
    assert now(settings, aws).reason == "nothing-new"
    assert runs_started(aws) == 1
    assert len(aws.parameters.kept[CURRENT]) == 2


def test_after_its_run_failed_and_was_taken_back_a_person_may_try_again(
    settings: Settings, aws: InMemoryAws
) -> None:
    now(settings, aws)
    aws.pipelines.finish(PIPELINE, "Failed")
    aws.time += timedelta(minutes=20)
    aws.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    assert now(settings, aws).outcome == "started"
    assert aws.values()[CURRENT] == arn("new")
    assert runs_started(aws) == 2


def test_a_pin_that_waits_is_deployed_by_a_refresh_if_it_is_latest(
    settings: Settings, aws: InMemoryAws
) -> None:
    pin(settings, aws, settings.databases[0], Pin("new", "sam", "", deploy=False))
    assert now(settings, aws).outcome == "started"
    assert aws.parameters.kept[CURRENT][-1].by == KIM


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["get", "find", "runs", "history", "put", "start"])
def test_killed_at_any_call_and_asked_again_it_ends_as_one_that_was_not(
    settings: Settings, aws: InMemoryAws, when: str, operation: str
) -> None:
    kill(aws, when, operation)
    with pytest.raises(Killed):
        now(settings, aws)
    calm(aws)
    now(settings, aws, by="somebody else")
    assert aws.values()[CURRENT] == arn("new")
    assert runs_started(aws) == 1


@pytest.mark.parametrize("operation", ["put", "start"])
def test_an_answer_that_was_lost_is_looked_up(
    settings: Settings, aws: InMemoryAws, operation: str
) -> None:
    lose(aws, "after", operation)
    answer = now(settings, aws)
    assert (answer.outcome, answer.execution_id) == ("started", "run-2")
    assert len(aws.parameters.kept[CURRENT]) == 2


def test_a_start_that_is_refused_is_undone(ask: Api, aws: InMemoryAws) -> None:
    refuse(aws, "start", code="ThrottlingException")
    status, answer = ask("POST", "/refresh", {})
    assert (status, answer["Message"]) == (500, "start of it failed: ThrottlingException: no")
    assert [entry.value for entry in aws.parameters.kept[CURRENT]] == [
        arn("old"),
        arn("new"),
        arn("old"),
    ]
    assert aws.parameters.kept[CURRENT][-1].note == Note(
        "undo", KIM, "start of it failed: ThrottlingException: no"
    )
    calm(aws)
    assert ask("POST", "/refresh", {})[1]["outcome"] == "started"


def test_a_start_that_is_refused_after_a_kill_undoes_what_the_killed_one_put(
    settings: Settings, aws: InMemoryAws
) -> None:
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        now(settings, aws)
    calm(aws)
    refuse(aws, "start")
    with pytest.raises(AwsError):
        now(settings, aws)
    assert aws.values()[CURRENT] == arn("old")


def test_a_start_of_which_nothing_can_be_known_is_left_alone(
    settings: Settings, aws: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        lost = (when, operation) == ("after", "start")
        if lost or (operation == "runs" and "start" in aws.calls):
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    aws.interrupt = interrupt
    with pytest.raises(UncertainError):
        now(settings, aws)
    calm(aws)
    assert now(settings, aws).reason == "nothing-new"
    assert runs_started(aws) == 1


def test_a_pipeline_deleted_meanwhile_is_a_refusal_and_is_undone(
    ask: Api, aws: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            del aws.pipelines.pipelines[PIPELINE]

    aws.interrupt = interrupt
    status, answer = ask("POST", "/refresh", {})
    assert (status, answer["outcome"], answer["reason"]) == (200, "failed", "pipeline-missing")
    assert aws.values()[CURRENT] == arn("old")


# --- beside the schedule --------------------------------------------------------------------------


def test_the_schedule_finds_nothing_new_after_a_refresh(
    settings: Settings, aws: InMemoryAws
) -> None:
    now(settings, aws)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert runs_started(aws) == 1


def test_a_refresh_finds_nothing_new_after_the_schedule(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    assert now(settings, aws).reason == "nothing-new"
    assert runs_started(aws) == 1


def test_the_schedule_completes_a_killed_refresh_under_its_token(
    settings: Settings, aws: InMemoryAws
) -> None:
    kill(aws, "before", "start")
    with pytest.raises(Killed):
        now(settings, aws)
    calm(aws)
    token = aws.parameters.kept[CURRENT][-1].token
    assert promote(settings, aws, SUNDAY).execution_id == "run-2"
    assert aws.pipelines.start(PIPELINE, str(token)) == "run-2"


def test_a_refresh_completes_a_killed_schedule_whose_retry_then_starts_nothing(
    settings: Settings, aws: InMemoryAws
) -> None:
    kill(aws, "before", "start")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)
    assert now(settings, aws).execution_id == "run-2"
    calm(aws)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert runs_started(aws) == 1


def test_somebody_named_as_a_schedule_is_no_schedule(settings: Settings, aws: InMemoryAws) -> None:
    by = "the schedule of 2026-01-04T04:00:00+00:00"
    assert now(settings, aws, by=by).outcome == "started"
    aws.pipelines.finish(PIPELINE, "Failed")
    aws.time += timedelta(minutes=10)
    aws.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_a_spent_schedule_hinders_nobody_of_its_name(settings: Settings, aws: InMemoryAws) -> None:
    promote(settings, aws, SUNDAY)
    aws.pipelines.finish(PIPELINE, "Failed")
    aws.time += timedelta(minutes=10)
    aws.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    by = "the schedule of 2026-01-04T04:00:00+00:00"
    assert now(settings, aws, by=by).outcome == "started"


def test_the_next_scheduled_time_promotes_again(settings: Settings, aws: InMemoryAws) -> None:
    now(settings, aws)
    aws.pipelines.finish(PIPELINE)
    aws.time = SUNDAY + timedelta(days=14)
    aws.snapshots.all.append(snapshot("newer", created=aws.time - timedelta(hours=6)))
    aws.parameters.put(LATEST, arn("newer"), BY_HAND)
    assert promote(settings, aws, aws.time).outcome == "started"


# --- several databases ----------------------------------------------------------------------------


def test_all_databases_are_refreshed_by_one_run(two: Settings, documents: InMemoryAws) -> None:
    answer = now(two, documents)
    assert [entry["current"] for entry in answer.databases] == [arn("new"), arn("docs-new")]
    assert runs_started(documents) == 1
    tokens = {documents.parameters.kept[name][-1].token for name in (CURRENT, OTHER_CURRENT)}
    assert len(tokens) == 1


def test_one_database_that_cannot_be_refreshed_stops_all(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.snapshots.all = [each for each in documents.snapshots.all if "docs" not in each.arn]
    before = everything(documents)
    assert now(two, documents).reason == "snapshot-gone"
    assert everything(documents) == before


def test_one_database_that_has_nothing_new_does_not(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put(LATEST, arn("old"), BY_HAND)
    answer = now(two, documents)
    assert answer.outcome == "started"
    assert [(each["previous"], each["current"]) for each in answer.databases] == [
        (arn("old"), arn("old")),
        (arn("docs-old"), arn("docs-new")),
    ]
    assert len(documents.parameters.kept[CURRENT]) == 1


@pytest.mark.parametrize("operation", ["put", "start"])
def test_all_databases_are_put_back_together(
    two: Settings, documents: InMemoryAws, operation: str
) -> None:
    before = documents.values()

    def interrupt(when: str, at_operation: str) -> None:
        nth = {"put": 2, "start": 1}[operation]
        if (when, at_operation) == ("before", operation) and documents.calls.count(
            operation
        ) == nth:
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    documents.interrupt = interrupt
    with pytest.raises(AwsError):
        now(two, documents)
    assert documents.values() == before
    assert runs_started(documents) == 0


def test_every_database_is_tried_when_the_ledger_of_one_cannot_be_read(
    two: Settings, documents: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        undoing = operation == "history" and documents.calls.count("history") == 3
        if when == "before" and (operation == "start" or undoing):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    documents.interrupt = interrupt
    with pytest.raises(AwsError):
        now(two, documents)
    assert documents.values()[CURRENT] == arn("new")
    assert documents.values()[OTHER_CURRENT] == arn("docs-old")


def test_killed_between_the_puts_it_is_completed_under_one_token(
    two: Settings, documents: InMemoryAws
) -> None:
    kill(documents, "before", "put", nth=2)
    with pytest.raises(Killed):
        now(two, documents)
    calm(documents)
    token = documents.parameters.kept[CURRENT][-1].token
    assert now(two, documents).outcome == "started"
    assert {documents.parameters.kept[name][-1].token for name in (CURRENT, OTHER_CURRENT)} == {
        token
    }
    assert runs_started(documents) == 1


def test_a_refresh_names_no_single_database(two: Settings, documents: InMemoryAws) -> None:
    ask = Api(two, documents)
    assert ask("POST", "/refresh", {"database": "rds"})[0] == 400
    assert ask("POST", "/refresh?database=rds", {})[0] == 400
    assert documents.calls == []


def test_a_run_that_was_there_carries_nothing_of_it(settings: Settings, aws: InMemoryAws) -> None:
    """One that ended seconds before the put, within the minute that the clocks may differ."""
    ended = SUNDAY - timedelta(seconds=5)
    aws.pipelines.pipelines[PIPELINE].append(
        Run("dev", "Succeeded", SUNDAY - timedelta(seconds=30), ended)
    )
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        now(settings, aws)
    calm(aws)
    assert now(settings, aws).outcome == "started"
