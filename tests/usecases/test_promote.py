"""`latest` becomes `current`, and the main pipeline restores it: by the schedule, or as a person asks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Position
from chalicelib.domain.errors import AwsError, BusyError, UncertainError
from chalicelib.domain.ledger import Note
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import calm, lose, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME
from tests.usecases.conftest import (
    BUSY,
    HOLD,
    KIM,
    READING,
    SCHEDULE,
    SUNDAY,
    WITH_STACK,
    Api,
    Arrange,
    at,
    ends,
    everything,
    hold_until,
    holding,
    listing,
    polls,
    present,
    promotion_killed,
    push,
    refused,
    running,
    started,
    subjects,
    without,
)


def decision(result: Result) -> tuple[str, str | None]:
    return result.outcome, result.reason


# --- a good night ---------------------------------------------------------------------------------


def test_latest_becomes_current_and_the_pipeline_is_started(
    settings: Settings, aws: InMemoryAws
) -> None:
    def passed(step: str, detail: str | None = None) -> dict[str, str | None]:
        return {"step": step, "verdict": "passed", "detail": detail}

    assert promote(settings, aws, SUNDAY).to_json() == {
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
            passed("week"),
            passed("window", "00:00-07:00 UTC"),
            passed("hold"),
            passed("parameters", "the pipeline is acceptance-main"),
            passed("snapshot", f"rds: {arn('new')}, 6.0 hours old"),
            passed("new", f"rds moves to {arn('new')}"),
            passed("idle", "no run of acceptance-main is in progress"),
            {"step": "put", "verdict": "done", "detail": None},
            {"step": "start", "verdict": "done", "detail": None},
        ],
    }
    note = present(aws).note
    assert note == Note("promote", SCHEDULE, "newest eligible share", note and note.token)
    assert aws.pipelines.start(PIPELINE, str(present(aws).token)) == "run-2"
    assert (started(aws), subjects(aws)) == (["run-2"], [])


def test_a_current_that_does_not_exist_is_created(settings: Settings, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    (entry,) = promote(settings, aws, SUNDAY).databases
    assert (entry.previous, aws.values()[CURRENT]) == (None, arn("new"))


# --- decisions not to act -------------------------------------------------------------------------


REFUSALS: list[tuple[Arrange, str, str, str, str]] = [
    (
        at(SUNDAY.replace(hour=7)),
        "window",
        "skipped",
        "outside-window",
        "2026-01-04 07:00 UTC is outside 00:00-07:00 UTC",
    ),
    (without(LATEST), "parameters", "failed", "parameter-missing", f"no parameter {LATEST}"),
    (
        without(PIPELINE_NAME),
        "parameters",
        "failed",
        "parameter-missing",
        f"no parameter {PIPELINE_NAME}",
    ),
    (
        holding(LATEST, "dummyvalue"),
        "parameters",
        "failed",
        "no-latest",
        f"{LATEST} holds 'dummyvalue', not the ARN of a DB cluster snapshot",
    ),
    (
        holding(LATEST, "postgres://admin:secret@db"),
        "parameters",
        "failed",
        "no-latest",
        f"{LATEST} holds something else, 26 characters long, not the ARN of a DB cluster snapshot",
    ),
    (
        holding(PIPELINE_NAME, "dummyvalue"),
        "parameters",
        "failed",
        "pipeline-missing",
        f"{PIPELINE_NAME} holds 'dummyvalue', not a pipeline's name",
    ),
    (
        holding(PIPELINE_NAME, "no such/name"),
        "parameters",
        "failed",
        "pipeline-missing",
        f"{PIPELINE_NAME} holds something else, 12 characters long, not a pipeline's name",
    ),
    (
        holding(PIPELINE_NAME, "somebody-elses"),
        "new",
        "failed",
        "pipeline-missing",
        "there is no pipeline named somebody-elses",
    ),
    (
        holding(LATEST, arn("new", "999999999999")),
        "snapshot",
        "failed",
        "not-eligible",
        f"{arn('new', '999999999999')}: account 999999999999, expected 111111111111",
    ),
    (
        listing(),
        "snapshot",
        "failed",
        "snapshot-gone",
        f"{arn('new')} does not exist any more, or is no longer shared",
    ),
    (
        listing(snapshot("new", engine_version="16.1")),
        "snapshot",
        "failed",
        "not-eligible",
        f"{arn('new')}: engine version 16.1, expected 15",
    ),
    (
        listing(snapshot("new", created=SUNDAY - timedelta(days=14, seconds=1))),
        "snapshot",
        "failed",
        "snapshot-stale",
        f"{arn('new')} is 14 days old, the limit is 14",
    ),
    (
        holding(LATEST, arn("old")),
        "new",
        "skipped",
        "nothing-new",
        "the newest snapshot of every database is deployed",
    ),
    (
        hold_until("2026-01-05"),
        "hold",
        "skipped",
        "on-hold",
        "on hold until 2026-01-05 by kim: release test",
    ),
    (
        holding(HOLD, "until thursday"),
        "hold",
        "skipped",
        "on-hold",
        (
            "/acceptance/hold cannot be read, which counts as a hold: "
            'not a hold such as {"until": "2026-01-22", "reason": "…", "by": "…"}'
        ),
    ),
]


@pytest.mark.parametrize(("arrange", "step", "outcome", "reason", "message"), REFUSALS)
def test_a_decision_not_to_act_says_why_and_leaves_everything_as_it_was(
    settings: Settings,
    aws: InMemoryAws,
    arrange: Arrange,
    step: str,
    outcome: str,
    reason: str,
    message: str,
) -> None:
    arrange(aws)
    before = everything(aws) | {"sent": None}
    result = promote(settings, aws, SUNDAY)
    assert (result.outcome, result.reason, result.message) == (outcome, reason, message)
    assert [each.step for each in result.steps if each.verdict == "refused"] == [step]
    (entry,) = result.databases
    assert (entry.current, entry.previous) == (arn("old"), arn("old"))
    assert everything(aws) | {"sent": None} == before
    what = "refresh skipped" if outcome == "skipped" else "REFRESH FAILED"
    assert subjects(aws) == ([] if reason == "nothing-new" else [f"{what}: {reason} (rds)"])


def test_an_off_week_asks_aws_nothing(settings: Settings, aws: InMemoryAws) -> None:
    result = promote(settings, aws, SUNDAY + timedelta(days=7))
    assert decision(result) == ("skipped", "off-week")
    assert result.message == "2026-01-11 is not in an on-week: every 2 weeks from 2026-01-04"
    assert (aws.calls, subjects(aws)) == ([], [])


@pytest.mark.parametrize(
    ("arrange", "setting"),
    [
        (hold_until("2026-01-04"), {}),
        (holding(HOLD, "dummyvalue"), {}),
        (listing(snapshot("new", created=SUNDAY - timedelta(days=14))), {}),
        (
            listing(snapshot("new", created=SUNDAY - timedelta(days=999))),
            {"MAX_SNAPSHOT_AGE_DAYS": "0"},
        ),
    ],
    ids=["a hold that is over", "no hold", "the greatest age", "no limit"],
)
def test_what_is_within_the_limits_is_promoted(
    aws: InMemoryAws, arrange: Arrange, setting: dict[str, str]
) -> None:
    arrange(aws)
    settings = Settings.from_environment(WITH_STACK | setting)
    assert decision(promote(settings, aws, SUNDAY)) == ("started", None)


def test_week_and_hold_go_by_the_date_in_the_windows_zone(aws: InMemoryAws) -> None:
    """At 23:30 UTC on Saturday it is Sunday in Amsterdam: an on-week, and the day the hold ends."""
    amsterdam = WITH_STACK | {"MAINTENANCE_WINDOW": "00:00-07:00 Europe/Amsterdam"}
    hold_until("2026-01-18")(aws)
    aws.time = datetime(2026, 1, 17, 23, 30, tzinfo=UTC)
    aws.snapshots.all = [snapshot("new", created=aws.time)]
    result = promote(Settings.from_environment(amsterdam), aws, aws.time)
    assert decision(result) == ("started", None)


# --- a busy pipeline ------------------------------------------------------------------------------


def test_a_busy_pipeline_is_raised_with_its_run_so_that_lambda_tries_again(
    settings: Settings, aws: InMemoryAws
) -> None:
    running()(aws)
    before = aws.values()
    with pytest.raises(BusyError) as caught:
        promote(settings, aws, SUNDAY)
    assert str(caught.value) == BUSY
    assert (aws.values(), subjects(aws)) == (before, ["REFRESH FAILED: pipeline busy (rds)"])


def test_a_busy_pipeline_is_named_with_where_it_waits(settings: Settings, aws: InMemoryAws) -> None:
    waiting = Position("Approve", "Manual", SUNDAY - timedelta(hours=3), "an approval")
    aws.pipelines.waiting[push(aws)] = waiting
    with pytest.raises(BusyError) as caught:
        promote(settings, aws, SUNDAY)
    place = "waiting for an approval in stage Approve, action Manual since 2026-01-04 01:00 UTC"
    assert str(caught.value) == BUSY.replace(";", f", {place};")


def test_a_stack_that_somebody_else_deploys_is_busy_too(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.stacks.set_status("UPDATE_IN_PROGRESS")
    with pytest.raises(BusyError, match="rds: stack acceptance-data is UPDATE_IN_PROGRESS; try"):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_what_cannot_be_seen_does_not_stop_a_promotion(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.stacks.set_status("UPDATE_ROLLBACK_FAILED")
    assert promote(settings, aws, SUNDAY).outcome == "started"


# --- exactly once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        SUNDAY,
        SUNDAY + timedelta(seconds=59, microseconds=7),
        datetime.fromisoformat("2026-01-04T05:00:00+01:00"),
    ],
)
@pytest.mark.parametrize("ended", [None, "Succeeded", "Failed"])
def test_a_scheduled_time_has_one_run_however_often_it_is_delivered(
    settings: Settings, aws: InMemoryAws, again: datetime, ended: str | None
) -> None:
    promote(settings, aws, SUNDAY)
    if ended:
        ends(aws, ended)
        polls(settings, aws)
    values = aws.values()
    result = promote(settings, aws, again)
    assert (result.reason, result.message) == ("nothing-new", "this scheduled time has had its run")
    assert (started(aws), aws.values()) == (["run-2"], values)


# --- what a killed or a refused attempt leaves ----------------------------------------------------


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (at(SUNDAY.replace(hour=7)), "outside-window"),
        (hold_until("2026-02-01"), "on-hold"),
        (listing(), "snapshot-gone"),
        (listing(snapshot("new", created=SUNDAY - timedelta(days=15))), "snapshot-stale"),
        (without(LATEST), "parameter-missing"),
    ],
    ids=["window", "hold", "gone", "stale", "missing"],
)
def test_what_a_killed_attempt_put_is_undone_when_the_retry_must_not_go_on(
    settings: Settings, aws: InMemoryAws, happens: Arrange, reason: str
) -> None:
    promotion_killed(settings, aws, "after", "put")
    happens(aws)
    result = promote(settings, aws, SUNDAY)
    assert (result.reason, result.databases[0].current) == (reason, arn("old"))
    assert present(aws).note == Note("undo", SCHEDULE, str(result.message))
    assert started(aws) == []


def test_what_a_run_was_started_for_is_not_undone(settings: Settings, aws: InMemoryAws) -> None:
    promote(settings, aws, SUNDAY)
    aws.time = SUNDAY.replace(hour=8)
    assert promote(settings, aws, SUNDAY).reason == "outside-window"
    assert aws.values()[CURRENT] == arn("new")


def test_without_the_pipelines_name_nothing_is_undone(settings: Settings, aws: InMemoryAws) -> None:
    """Whether a run was started cannot be known."""
    promote(settings, aws, SUNDAY)
    del aws.parameters.kept[PIPELINE_NAME]
    assert promote(settings, aws, SUNDAY).reason == "parameter-missing"
    assert aws.values()[CURRENT] == arn("new")


@pytest.mark.parametrize(("code", "value"), [("ThrottlingException", "old"), (None, "new")])
def test_a_start_is_undone_without_a_list_of_runs_only_if_aws_has_refused_it(
    settings: Settings, aws: InMemoryAws, code: str | None, value: str
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if operation == "start" or (operation == "runs" and "start" in aws.calls):
            raise AwsError(operation, "it", str(code), "no", answered=code is not None)

    aws.interrupt = interrupt
    with pytest.raises(AwsError if code else UncertainError, match="start of it failed"):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn(value)


def test_what_a_killed_attempt_put_stays_while_nobody_can_list_the_runs(
    settings: Settings, aws: InMemoryAws
) -> None:
    promotion_killed(settings, aws, "after", "put")
    lose(aws, "before", "runs")
    with pytest.raises(AwsError) as caught:
        promote(settings, aws, SUNDAY)
    assert caught.value.__notes__[0].startswith("current could not be put back: runs of it failed")
    assert aws.values()[CURRENT] == arn("new")


def test_a_run_that_somebody_else_starts_is_not_taken_for_the_one_whose_answer_was_lost(
    settings: Settings, aws: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            push(aws)
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    aws.interrupt = interrupt
    with pytest.raises(UncertainError):
        promote(settings, aws, SUNDAY)
    assert (started(aws), aws.values()[CURRENT]) == ([], arn("new"))


def test_a_token_that_has_had_its_run_starts_nothing_and_is_undone(
    settings: Settings, aws: InMemoryAws
) -> None:
    """CodePipeline answers an old token with the old run."""
    aws.pipelines.start = lambda name, token: "run-1"  # type: ignore[method-assign]
    result = promote(settings, aws, SUNDAY)
    assert (result.reason, result.message) == (
        "nothing-new",
        "run run-1 was started for this before",
    )
    assert aws.values()[CURRENT] == arn("old")


def test_a_pin_that_waited_waits_again_after_an_undo(settings: Settings, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("wanted"))
    pin(settings, aws, settings.databases[0], PinRequest("wanted", KIM, "try", deploy=False))
    refuse(aws, "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert (present(aws).value, present(aws).note) == (arn("wanted"), Note("pin", KIM, "try"))
    calm(aws)
    assert promote(settings, aws, SUNDAY).outcome == "started"  # it is not taken for a new pin
    assert aws.values()[CURRENT] == arn("new")


# --- several databases, all or nothing ------------------------------------------------------------


def test_all_databases_are_promoted_by_one_run(two: Settings, documents: InMemoryAws) -> None:
    result = promote(two, documents, SUNDAY)
    assert [each.current for each in result.databases] == [arn("new"), arn("docs-new")]
    assert (documents.values()[CURRENT], documents.values()[OTHER_CURRENT]) == (
        arn("new"),
        arn("docs-new"),
    )
    assert len({present(documents, name).token for name in (CURRENT, OTHER_CURRENT)}) == 1
    assert started(documents) == ["run-3"]


def test_one_database_that_cannot_be_promoted_stops_all(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.snapshots.all = [each for each in documents.snapshots.all if "docs" not in each.arn]
    before = documents.values()
    assert decision(promote(two, documents, SUNDAY)) == ("failed", "snapshot-gone")
    assert documents.values() == before


def test_one_database_that_has_nothing_new_stops_none_and_waits_for_the_next_time(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.parameters.put_by_hand(LATEST, arn("old"))
    result = promote(two, documents, SUNDAY)
    assert [(each.previous, each.current) for each in result.databases] == [
        (arn("old"), arn("old")),
        (arn("docs-old"), arn("docs-new")),
    ]
    ends(documents)
    documents.parameters.put_by_hand(LATEST, arn("new"))
    assert promote(two, documents, SUNDAY).reason == "nothing-new"


def test_every_database_is_tried_when_putting_one_back_fails(
    two: Settings, documents: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        first_undo = operation == "put" and documents.calls.count("put") == 3
        if when == "before" and (operation == "start" or first_undo):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    documents.interrupt = interrupt
    with pytest.raises(AwsError, match="start of it failed") as caught:
        promote(two, documents, SUNDAY)
    assert "could not be put back" in caught.value.__notes__[0]
    assert documents.values()[CURRENT] == arn("new")
    assert documents.values()[OTHER_CURRENT] == arn("docs-old")


def test_every_parameter_is_looked_at_before_any_snapshot(
    two: Settings, documents: InMemoryAws
) -> None:
    documents.parameters.put_by_hand(OTHER_LATEST, "dummyvalue")
    documents.calls.clear()
    assert promote(two, documents, SUNDAY).reason == "no-latest"
    assert "find" not in documents.calls
    for name in (LATEST, OTHER_LATEST, PIPELINE_NAME):
        del documents.parameters.kept[name]
    assert promote(two, documents, SUNDAY).message == (
        f"no parameter {PIPELINE_NAME}, {LATEST}, {OTHER_LATEST}"
    )


# --- because a person asks -------------------------------------------------------------------------

STEPS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle", "put", "start")
NOON = SUNDAY.replace(hour=12)


def now(settings: Settings, aws: InMemoryAws, actor: str = KIM) -> Result:
    request = RefreshRequest.by_person(actor, "we need it", outside_window=False)
    return refresh_now(settings, aws, request)


def verdicts(answer: Any) -> list[str]:
    assert [step["step"] for step in answer["steps"]] == list(STEPS)
    return [step["verdict"] for step in answer["steps"]]


def up_to(step: str) -> list[str]:
    """Return the verdicts if one step is refused and those after it are not reached."""
    index = STEPS.index(step)
    return ["passed"] * index + ["refused"] + ["not reached"] * (len(STEPS) - index - 1)


def test_a_refresh_promotes_latest_in_any_week_and_says_who_asked_and_why(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.time = SUNDAY + timedelta(days=7)
    status, answer = ask("POST", "/refresh", {"reason": "release"})
    assert (status, answer["outcome"], answer["dry_run"]) == (200, "started", False)
    assert answer["execution_id"] == "run-2"
    assert verdicts(answer) == ["passed"] * 7 + ["done"] * 2
    assert answer["steps"][0]["detail"] == "not checked: a person asks"
    assert present(aws).note == Note("refresh", KIM, "release", present(aws).token)
    assert aws.pipelines.start(PIPELINE, str(present(aws).token)) == "run-2"


def test_outside_the_window_it_must_be_asked_for(ask: Api, aws: InMemoryAws) -> None:
    aws.time = NOON
    answer = ask("POST", "/refresh", {"outside_window": True})[1]
    assert answer["outcome"] == "started"
    assert answer["steps"][1]["detail"] == "not checked: 00:00-07:00 UTC"


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("arrange", "step", "outcome", "reason", "message"),
    [*REFUSALS, (running(), "idle", "failed", None, BUSY)],
)
def test_a_refusal_names_its_step_and_changes_nothing(
    ask: Api,
    aws: InMemoryAws,
    arrange: Arrange,
    step: str,
    outcome: str,
    reason: str | None,
    message: str,
    dry_run: bool,
) -> None:
    arrange(aws)
    before = everything(aws)
    aws.calls.clear()
    status, answer = ask("POST", "/refresh", {"dry_run": dry_run})
    assert everything(aws) == before
    assert set(aws.calls) <= READING
    if step == "idle" and not dry_run:
        assert (status, answer) == refused(BUSY)
        return
    assert (status, answer["outcome"], answer["reason"]) == (200, outcome, reason)
    assert ("execution_id" in answer, "secret" in str(answer)) == (False, False)
    found = next(each for each in answer["steps"] if each["verdict"] == "refused")
    assert (found["step"], found["detail"], answer["message"]) == (step, message, message)
    expected = up_to(step)
    if dry_run and step in ("window", "hold"):  # the other conditions are looked at all the same
        expected = ["refused" if each == step else "passed" for each in STEPS[:7]]
        expected += ["not reached"] * 2
    assert verdicts(answer) == expected


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(ask: Api, aws: InMemoryAws) -> None:
    before = everything(aws)
    status, answer = ask("POST", "/refresh", {"dry_run": True, "reason": "just asking"})
    assert (status, answer["outcome"], answer["dry_run"]) == (200, "started", True)
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


def test_a_dry_run_looks_at_everything_and_answers_with_the_first_refusal(
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
    aws.snapshots.all.clear()
    _, answer = ask("POST", "/refresh", {"dry_run": True, "outside_window": True})
    assert (answer["reason"], verdicts(answer)[2:6]) == (
        "on-hold",
        ["refused", "passed", "refused", "not reached"],
    )


def test_a_refresh_while_its_run_is_in_progress_starts_no_other_and_afterwards_finds_nothing_new(
    ask: Api, settings: Settings, aws: InMemoryAws
) -> None:
    now(settings, aws)
    assert ask("POST", "/refresh", {})[0] == 409
    ends(aws)
    polls(settings, aws)
    assert ask("POST", "/refresh", {"outside_window": True})[1]["reason"] == "nothing-new"
    assert started(aws) == ["run-2"]


def test_a_refresh_waits_for_a_killed_order_of_somebody_else(
    settings: Settings, aws: InMemoryAws
) -> None:
    promotion_killed(settings, aws, "before", "start")
    assert Api(settings, aws)("POST", "/refresh", {}) == refused(
        f"a run of acceptance-main that {SCHEDULE} ordered at 2026-01-04 04:00 UTC may be about to "
        "start; try again in some minutes"
    )
    assert promote(settings, aws, SUNDAY).execution_id == "run-2"


def test_all_databases_are_refreshed_by_one_run_and_none_is_named(
    two: Settings, documents: InMemoryAws
) -> None:
    ask = Api(two, documents)
    assert ask("POST", "/refresh", {"database": "rds"})[0] == 400
    assert ask("POST", "/refresh?database=rds", {})[0] == 400
    result = now(two, documents)
    assert [each.current for each in result.databases] == [arn("new"), arn("docs-new")]
    assert started(documents) == ["run-3"]
