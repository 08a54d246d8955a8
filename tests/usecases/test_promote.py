"""`latest` becomes `current`, and the main pipeline restores it: by the schedule, or as a person asks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, BusyError
from chalicelib.domain.ledger import Note
from chalicelib.domain.reasons import Reason
from chalicelib.usecases.promote import promote
from chalicelib.usecases.scheduled import UseCase
from chalicelib.usecases.update_latest import update
from tests.fakes import arn, snapshot
from tests.interruptions import calm, meanwhile, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME
from tests.usecases.names import HIDDEN, HOLD, KIM, NEW, OLD, SCHEDULE, SECRET, SUNDAY, WAITING
from tests.usecases.night import Night, documented, refused
from tests.usecases.states import (
    Arrange,
    at,
    denied,
    hold_until,
    holding,
    in_turn,
    listing,
    stack_in,
    waits_for_approval,
    without,
)
from tests.usecases.test_preparation import MACHINE

STEPS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle", "put", "start")


def ask(night: Night, asked: str) -> Any:
    """Return the answer to the schedule, to a person, or to a person's dry run."""
    if asked == "by the schedule":
        return night.promote().to_json()
    status, answer = night.ask("POST", "/refresh", {"dry_run": asked == "as a dry run"})
    assert status == 200
    return answer


def verdicts(answer: Any) -> list[str]:
    assert [step["step"] for step in answer["steps"]] == list(STEPS)
    return [step["verdict"] for step in answer["steps"]]


# --- a good night ---------------------------------------------------------------------------------


def test_latest_becomes_current_and_the_pipeline_is_started(night: Night) -> None:
    before, expected = night.everything(), documented("refresh")
    assert ask(night, "as a dry run") == expected
    assert night.everything() == before
    del expected["dry_run"]
    expected["steps"][0]["detail"] = None
    for step in expected["steps"][7:]:
        step["verdict"] = "done"
    assert night.promote().to_json() == expected | {"execution_id": "run-2"}
    token = night.present().token
    # An upgrade must not change it, or an event that is delivered later would start another run.
    assert token == "b8611971-bc8b-5e56-b530-588140707951"
    assert night.present().note == Note("promote", SCHEDULE, "newest eligible share", token)
    assert night.aws.pipelines.start(PIPELINE, str(token)) == "run-2"
    assert (night.started, night.subjects) == (["run-2"], [])


@pytest.mark.parametrize(
    "arrange",
    [
        listing(snapshot("new", created=SUNDAY - timedelta(days=14))),
        stack_in("UPDATE_ROLLBACK_FAILED"),
    ],
    ids=["greatest age", "cannot be seen"],
)
def test_what_is_within_the_limits_is_promoted(night: Night, arrange: Arrange) -> None:
    arrange(night)
    assert night.promote().outcome == "started"
    assert night.current == NEW


# --- decisions not to act -------------------------------------------------------------------------

STRANGE = arn("new", "999999999999")
NO_ARN = "not the ARN of a DB cluster snapshot"
NO_HOLD = 'not a hold such as {"until": "2026-01-22", "reason": "…", "by": "…"}'
SEVEN = SUNDAY.replace(hour=7)
UNREADABLE = f"{HOLD} cannot be read, which counts as a hold: {NO_HOLD}"
UNNAMED = f"parameter not found: {PIPELINE_NAME}"
NO_NAME = f"{PIPELINE_NAME} holds dummyvalue, not a pipeline's name"
GONE = f"{NEW} no longer exists or is no longer shared"
ALL_DEPLOYED = "the newest snapshot of every database is already deployed"
ACCOUNTS = "999999999999, expected 111111111111"
TOO_OLD = snapshot("new", created=SUNDAY - timedelta(days=14, seconds=1))
NEXT_VERSION = snapshot("new", engine_version="16.1")

REFUSALS: list[tuple[str, Arrange, str, str]] = [
    ("window", at(SEVEN), "outside-window", "2026-01-04 07:00 UTC is outside 00:00-07:00 UTC"),
    ("hold", hold_until("2026-01-05"), "on-hold", "on hold until 2026-01-05 by kim: release test"),
    ("hold", holding(HOLD, "until thursday"), "on-hold", UNREADABLE),
    ("parameters", without(LATEST), "parameter-missing", f"parameter not found: {LATEST}"),
    ("parameters", without(PIPELINE_NAME), "parameter-missing", UNNAMED),
    ("parameters", holding(PIPELINE_NAME, "dummyvalue"), "pipeline-missing", NO_NAME),
    ("snapshot", holding(LATEST, SECRET), "no-latest", f"{LATEST} holds {HIDDEN}, {NO_ARN}"),
    ("snapshot", holding(LATEST, STRANGE), "not-eligible", f"{STRANGE}: account {ACCOUNTS}"),
    ("snapshot", listing(), "snapshot-gone", GONE),
    ("snapshot", listing(NEXT_VERSION), "not-eligible", f"{NEW}: engine version 16.1, expected 15"),
    ("snapshot", listing(TOO_OLD), "snapshot-stale", f"{NEW} is older than the limit of 14 days"),
    (
        "new",
        holding(PIPELINE_NAME, "other"),
        "pipeline-missing",
        "there is no pipeline named other",
    ),
    ("new", holding(LATEST, OLD), "nothing-new", ALL_DEPLOYED),
]


@pytest.mark.parametrize("asked", ["by the schedule", "by a person", "as a dry run"])
@pytest.mark.parametrize(("step", "arrange", "reason", "message"), REFUSALS)
def test_a_decision_not_to_act_names_its_step_and_leaves_everything_as_it_was(
    night: Night, step: str, arrange: Arrange, reason: str, message: str, asked: str
) -> None:
    arrange(night)
    before = night.everything() | {"sent": None}
    answer = ask(night, asked)
    outcome = Reason(reason).outcome
    assert (answer["outcome"], answer["reason"], answer["message"]) == (outcome, reason, message)
    index = STEPS.index(step)
    assert answer["steps"][index]["detail"] == message
    expected = ["passed"] * index + ["refused"] + ["not reached"] * (8 - index)
    if asked == "as a dry run" and step in ("window", "hold"):  # the others are looked at as well
        expected[index + 1 : 7] = ["passed"] * (6 - index)
    assert verdicts(answer) == expected
    (entry,) = answer["databases"]
    assert (entry["current"], entry["previous"], "execution_id" in answer) == (OLD, OLD, False)
    assert "secret" not in str(answer)
    assert night.everything() | {"sent": None} == before
    what = "refresh skipped" if outcome == "skipped" else "REFRESH FAILED"
    is_notified = asked == "by the schedule" and reason != "nothing-new"
    assert night.subjects == ([f"{what}: {reason} (rds)"] if is_notified else [])


def test_all_that_is_wrong_is_named_at_once(two: Night) -> None:
    """Otherwise the second one would be found on the next night, two weeks later."""
    in_turn(listing(snapshot("docs-new")), holding(OTHER_LATEST, "dummyvalue"))(two)
    gone, empty = (
        f"{NEW} no longer exists or is no longer shared",
        f"{OTHER_LATEST} holds dummyvalue",
    )
    assert two.promote().message == f"{gone}; {empty}, not the ARN of a DB cluster snapshot"
    in_turn(without(LATEST), without(PIPELINE_NAME))(two)
    assert two.promote().message == f"{UNNAMED}; parameter not found: {LATEST}"


@pytest.mark.parametrize("use_case", [promote, update])
def test_an_off_week_asks_aws_nothing(night: Night, use_case: UseCase) -> None:
    result = use_case(night.settings, night.aws, SUNDAY + timedelta(days=7))
    assert (result.outcome, result.reason) == ("skipped", "off-week")
    assert result.message == "2026-01-11 is not in an on-week: every 2 weeks from 2026-01-04"
    assert [each.name for each in result.databases] == ["rds"]
    assert (night.aws.calls, night.subjects) == ([], [])


BUSY = f"pipeline acceptance-main is busy: {WAITING}; try again when it has ended"
DEPLOYING = "rds: stack acceptance-data is UPDATE_IN_PROGRESS; try again when it has ended"


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (in_turn(Night.push, waits_for_approval), BUSY),
        (stack_in("UPDATE_IN_PROGRESS"), DEPLOYING),
    ],
    ids=["a run that waits", "a stack that somebody else deploys"],
)
def test_whatever_is_busy_is_named_and_raised(night: Night, arrange: Arrange, message: str) -> None:
    arrange(night)
    before = night.values
    with pytest.raises(BusyError) as caught:
        night.promote()
    assert str(caught.value) == message
    assert night.subjects == ["REFRESH FAILED: pipeline busy (rds)"]
    assert night.ask("POST", "/refresh", {}) == refused(message)
    answer = ask(night, "as a dry run")
    assert (answer["outcome"], answer["reason"], answer["message"]) == ("failed", None, message)
    assert verdicts(answer) == ["passed"] * 6 + ["refused"] + ["not reached"] * 2
    assert night.values == before


def test_a_scheduled_time_has_one_run_however_often_it_is_delivered(promoted: Night) -> None:
    promoted.run_is_over("Failed")
    result = promoted.promote()
    assert (result.reason, result.message) == (
        "nothing-new",
        "this scheduled time was already handled",
    )
    assert (promoted.started, promoted.current) == (["run-2"], OLD)


def test_what_aws_refused_is_raised_although_somebody_has_moved_on(night: Night) -> None:
    meanwhile(night.aws, "before", "start", lambda: night.pin("old"))
    night.aws.refused = [("start", PIPELINE)]
    with pytest.raises(AwsError, match="start of"):
        night.promote()
    assert night.subjects == ["REFRESH FAILED: start AccessDeniedException (rds)"]


def test_a_token_that_has_had_its_run_starts_nothing_and_is_undone(night: Night) -> None:
    """CodePipeline answers an old token with the old run."""
    night.aws.pipelines.start = lambda name, token: "run-1"  # type: ignore[method-assign]
    result = night.promote()
    assert result.reason == "nothing-new"
    assert result.message == "run run-1 was already started for this request"
    assert night.current == OLD


def test_a_late_delivery_undoes_nothing_that_was_restored(promoted: Night) -> None:
    """The pipeline has been renamed, so that the version's run is listed no more."""
    promoted.run_is_over()
    promoted.aws.pipelines.pipelines["renamed"] = []
    promoted.set(PIPELINE_NAME, "renamed")
    assert (promoted.promote().reason, promoted.current) == ("nothing-new", NEW)
    promoted.aws.time = SEVEN
    assert (promoted.promote().reason, promoted.current) == ("nothing-new", NEW)


# --- what a killed or refused attempt leaves, where it differs from test_failures.py ---------------


@pytest.mark.parametrize(
    ("happens", "reason", "undone", "handled"),
    [
        (at(SEVEN), "outside-window", OLD, "nothing-new"),
        (hold_until("2026-02-01"), "on-hold", OLD, "nothing-new"),
        # Whether a run was started for this value cannot be known.
        (without(PIPELINE_NAME), "parameter-missing", NEW, "parameter-missing"),
    ],
)
def test_a_refused_retry_undoes_the_put_of_the_killed_attempt_but_respects_its_run(
    happens: Arrange, reason: str, undone: str, handled: str
) -> None:
    """Nobody may read that a refresh was skipped while its run restores the database."""
    killed, started = Night(), Night()
    killed.promotion_killed("after", "put")
    started.promote()
    for night, value, why in ((killed, undone, reason), (started, NEW, handled)):
        happens(night)
        result = night.promote()
        assert (result.reason, result.databases[0].current, night.current) == (why, value, value)
        undo = Note("undo", SCHEDULE, str(result.message))
        assert (night.present().note == undo) == (value == OLD)


@pytest.mark.parametrize(("answered", "value"), [(True, OLD), (False, NEW)])
def test_a_start_is_undone_without_a_list_of_runs_only_if_aws_has_refused_it(
    night: Night, answered: bool, value: str
) -> None:
    refuse(night.aws, "start", "runs", answered=answered)
    with pytest.raises(AwsError, match="start of it failed") as caught:
        night.promote()
    assert ("the run may have been started anyway" in str(caught.value)) != answered
    assert night.current == value


@pytest.mark.parametrize(("last", "answered"), [("put", False), ("put", True), ("start", True)])
def test_what_a_killed_attempt_put_stays_while_nobody_can_list_the_runs(
    night: Night, last: str, answered: bool
) -> None:
    night.promotion_killed("after", last)
    refuse(night.aws, "runs", answered=answered)
    with pytest.raises(AwsError, match="runs of it failed") as caught:
        night.promote()
    assert caught.value.__notes__[0].startswith("current was to be put back, because runs of it")
    assert night.current == NEW


def test_a_pin_that_waited_waits_again_after_an_undo(night: Night) -> None:
    night.offer("wanted")
    night.pin("wanted", reason="try")
    refuse(night.aws, "start")
    with pytest.raises(AwsError):
        night.promote()
    assert (night.current, night.present().note) == (arn("wanted"), Note("pin", KIM, "try"))
    calm(night.aws)
    assert night.promote().outcome == "started"  # it is not taken for a new pin


# --- several databases, all or nothing ------------------------------------------------------------


def test_all_databases_are_promoted_by_one_run_or_none_is(two: Night) -> None:
    snapshots, before = two.aws.snapshots.all, two.values
    in_turn(listing(snapshot("new")), denied("runs"))(two)  # nothing was put, so no run matters
    assert (two.promote().reason, two.values) == ("snapshot-gone", before)
    calm(two.aws, minutes=0)
    listing(*snapshots)(two)
    assert two.promote().execution_id == "run-2"
    assert (two.values[CURRENT], two.values[OTHER_CURRENT]) == (NEW, arn("docs-new"))
    assert two.present().token == two.present(OTHER_CURRENT).token
    assert two.started == ["run-2"]


@pytest.mark.parametrize("prepared_by", ["", MACHINE], ids=["good", "still being prepared"])
def test_no_run_is_started_beside_a_value_that_is_about_to_be_reverted(prepared_by: str) -> None:
    """The run would restore it, although its own run has failed."""
    two = Night(two=True, DOCS_AFTER_RESTORE=prepared_by)
    two.promote()
    two.run_is_over()
    two.set(LATEST, OLD)  # so that a promotion moves rds alone
    two.pin("docs-old", deploy=True, index=1)
    two.run_ends("Failed")
    message = f"the run would restore docs from {arn('docs-old')}, which db-reconcile is about"
    before = two.everything()
    with pytest.raises(BusyError, match=re.escape(message)):
        two.refresh()
    assert two.everything() == before
    body = {"snapshot": OLD, "deploy": True, "database": "rds"}
    status, answer = two.ask("PUT", "/snapshots/current", body)
    assert (status, message in answer["Message"]) == (409, True)
    assert (two.current, two.values[OTHER_CURRENT]) == (NEW, arn("docs-old"))
    two.polls()
    assert two.refresh().outcome == "started"


def test_no_run_is_started_while_another_databases_deployment_is_unknown(two: Night) -> None:
    """A pin that waits was asked for, and a value once restored is restored already."""
    two.aws.stacks.set_status("UPDATE_ROLLBACK_FAILED")
    assert two.pin("docs-new", deploy=True, index=1)["execution_id"] == "run-2"
    two.run_is_over("Failed")
    with pytest.raises(BusyError, match="the run might restore docs from"):
        two.pin("new", deploy=True)
    two.pin("docs-new", index=1)
    assert two.pin("new", deploy=True)["execution_id"] == "run-3"


def test_no_run_is_started_that_restores_a_stranger_s_snapshot_elsewhere(two: Night) -> None:
    two.set(OTHER_CURRENT, arn("docs-new", "9" * 12))
    with pytest.raises(BusyError, match="which is neither production's nor this account's"):
        two.pin("new", deploy=True)
    assert two.started == []
    two.push()
    two.run_is_over()
    two.pin("new", deploy=True)  # what is deployed already is not restored
    assert two.started == ["run-3"]


# --- because a person asks ------------------------------------------------------------------------


def test_a_person_may_refresh_in_any_week_and_at_any_time_and_is_named(night: Night) -> None:
    night.aws.time = SUNDAY + timedelta(days=7, hours=12)
    body = {"reason": "release", "outside_window": True}
    status, answer = night.ask("POST", "/refresh", body)
    assert (status, answer["outcome"], answer["dry_run"]) == (200, "started", False)
    assert answer["execution_id"] == "run-2"
    assert verdicts(answer) == ["passed"] * 7 + ["done"] * 2
    week, window, *_ = answer["steps"]
    assert week["detail"] == "not checked: requested by a person"
    assert window["detail"] == "not checked: 00:00-07:00 UTC"
    token = night.present().token
    assert night.present().note == Note("refresh", KIM, "release", token)
    assert night.aws.pipelines.start(PIPELINE, str(token)) == "run-2"


def test_week_and_hold_go_by_the_date_in_the_windows_zone(night: Night) -> None:
    """At 23:30 UTC on Saturday it is Sunday in Amsterdam: an on-week, and the day the hold ends."""
    night.configure(MAINTENANCE_WINDOW="00:00-07:00 Europe/Amsterdam")
    hold_until("2026-01-18")(night)
    night.aws.time = datetime(2026, 1, 17, 23, 30, tzinfo=UTC)
    listing(snapshot("new", created=night.aws.time))(night)
    assert night.promote(night.aws.time).outcome == "started"


def test_a_dry_run_looks_at_everything_and_answers_with_the_first_refusal(night: Night) -> None:
    night.aws.time = SUNDAY.replace(hour=12)
    hold_until("2026-01-22")(night)
    night.push()
    answer = ask(night, "as a dry run")
    assert (answer["outcome"], answer["reason"]) == ("skipped", "outside-window")
    checked = ["passed", "refused", "refused", "passed", "passed", "passed", "refused"]
    assert verdicts(answer) == [*checked, "not reached", "not reached"]


def test_a_refresh_waits_for_a_killed_order_of_somebody_else(night: Night) -> None:
    night.promotion_killed("before", "start")
    assert night.ask("POST", "/refresh", {}) == refused(
        f"a run of acceptance-main that {SCHEDULE} requested at 2026-01-04 04:00 UTC may be about to "
        "start; try again in a few minutes"
    )
    assert night.promote().execution_id == "run-2"
    assert night.ledger[1:] == [("promote", "new")]  # which is not put again


def test_the_refusal_of_an_overruled_request_names_the_other_actor(night: Night) -> None:
    night.offer("wanted")
    meanwhile(night.aws, "before", "put", lambda: night.pin("wanted"))
    message = f"{KIM} set {CURRENT} to {arn('wanted')} in the meantime; that takes precedence"
    result = night.promote()
    assert (result.reason, result.message) == ("nothing-new", message)
    assert night.ledger[-3:] == [("pin", "wanted"), ("promote", "new"), ("pin", "wanted")]
    assert night.started == []
