"""Nights on which more than one thing goes wrong."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.errors import AwsError, UncertainError
from chalicelib.domain.ledger import Note, Run
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import Pin, pin
from chalicelib.usecases.promote import promote
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, lose, refuse
from tests.stage import CURRENT, LATEST, PIPELINE
from tests.usecases.conftest import BY_HAND, SUNDAY, hold_until, runs_started


def promote_until_killed(settings: Settings, aws: InMemoryAws) -> None:
    """The process dies between the put and the start; the next attempt comes a minute later."""
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda aws: setattr(aws, "time", SUNDAY.replace(hour=7)), "outside-window"),
        (hold_until("2026-02-01"), "on-hold"),
        (lambda aws: aws.snapshots.all.clear(), "snapshot-gone"),
        (
            lambda aws: setattr(
                aws.snapshots, "all", [snapshot("new", created=SUNDAY - timedelta(days=15))]
            ),
            "snapshot-stale",
        ),
        (lambda aws: aws.parameters.kept.pop(LATEST), "parameter-missing"),
    ],
    ids=["window", "hold", "gone", "stale", "missing"],
)
def test_what_a_killed_attempt_put_is_taken_back_when_the_retry_must_not_go_on(
    holdable: Settings, aws: InMemoryAws, happens: Callable[[InMemoryAws], object], reason: str
) -> None:
    """Or the next ordinary deployment, at noon, would restore the database in spite of it all."""
    promote_until_killed(holdable, aws)
    happens(aws)
    answer = promote(holdable, aws, SUNDAY)
    assert answer.reason == reason
    assert aws.values()[CURRENT] == arn("old")
    assert answer.databases[0]["current"] == arn("old")
    assert runs_started(aws) == 0


def test_it_is_taken_back_as_well_when_the_retry_finds_the_pipeline_busy(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote_until_killed(settings, aws)
    before = SUNDAY - timedelta(minutes=5)
    older = Run("older", "InProgress", before, before)
    aws.pipelines.pipelines[PIPELINE].append(older._replace(started=before))
    aws.parameters.kept[CURRENT][-1] = aws.parameters.kept[CURRENT][-1]._replace(modified=SUNDAY)
    with pytest.raises(AwsError, match="pipeline acceptance-main is busy"):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_what_a_run_came_for_is_not_taken_back(settings: Settings, aws: InMemoryAws) -> None:
    promote(settings, aws, SUNDAY)
    aws.time = SUNDAY.replace(hour=8)
    assert promote(settings, aws, SUNDAY).reason == "outside-window"
    assert aws.values()[CURRENT] == arn("new")


def test_without_the_pipelines_name_nothing_is_taken_back(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Whether a run has come for it cannot be known."""
    promote(settings, aws, SUNDAY)
    del aws.parameters.kept[settings.pipeline_parameter]
    assert promote(settings, aws, SUNDAY).reason == "parameter-missing"
    assert aws.values()[CURRENT] == arn("new")


def test_a_duplicate_does_not_overwrite_a_pin_of_the_same_minute(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    aws.time += timedelta(seconds=30)
    aws.snapshots.all.append(snapshot("wanted"))
    pin(settings, aws, settings.databases[0], Pin("wanted", "kim", "", deploy=False))
    aws.pipelines.finish(PIPELINE)
    aws.time += timedelta(minutes=30)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert aws.values()[CURRENT] == arn("wanted")


def test_a_start_whose_answer_and_whose_listing_are_lost_is_completed_by_the_retry(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Undoing would take the value from a run that may be on its way."""

    def interrupt(when: str, operation: str) -> None:
        lost = (when, operation) == ("after", "start")
        if lost or (operation == "runs" and "start" in aws.calls):
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    aws.interrupt = interrupt
    with pytest.raises(UncertainError):
        promote(settings, aws, SUNDAY)
    calm(aws)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert aws.values()[CURRENT] == arn("new")
    assert runs_started(aws) == 1


def test_a_start_that_never_arrived_is_taken_back(settings: Settings, aws: InMemoryAws) -> None:
    lose(aws, "before", "start")
    with pytest.raises(AwsError, match="ReadTimeoutError"):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_a_run_that_ended_before_the_put_has_not_carried_it(
    settings: Settings, aws: InMemoryAws
) -> None:
    ended = SUNDAY - timedelta(seconds=5)
    aws.pipelines.pipelines[PIPELINE].append(
        Run("dev", "Failed", SUNDAY - timedelta(seconds=30), ended)
    )
    promote_until_killed(settings, aws)
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_an_undo_does_not_go_back_to_what_another_killed_attempt_put(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote_until_killed(settings, aws)
    aws.snapshots.all.append(snapshot("newer"))
    aws.parameters.put(LATEST, arn("newer"), BY_HAND)
    refuse(aws, "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_after_an_undo_the_old_value_is_nothing_new(settings: Settings, aws: InMemoryAws) -> None:
    refuse(aws, "start")
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    calm(aws)
    aws.parameters.put(LATEST, arn("old"), BY_HAND)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"


def test_the_answer_after_a_kill_tells_what_was_before_it(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote_until_killed(settings, aws)
    (entry,) = promote(settings, aws, SUNDAY).databases
    assert (entry["previous"], entry["current"]) == (arn("old"), arn("new"))


def test_a_pin_made_while_current_was_created_survives_the_undo(
    settings: Settings, aws: InMemoryAws
) -> None:
    del aws.parameters.kept[CURRENT]

    def race(when: str, operation: str) -> None:
        if (when, operation) == ("before", "put"):
            aws.interrupt = lambda when, operation: None
            aws.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", ""))
            refuse(aws, "start")

    aws.interrupt = race
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("pinned")


def test_a_strangers_run_is_not_claimed_for_a_start_that_was_refused(
    settings: Settings, aws: InMemoryAws
) -> None:
    """It carries what was put, though: nothing is taken from under it, and the retry says so."""

    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            aws.pipelines.pipelines[PIPELINE].append(
                Run("developer", "InProgress", aws.time, aws.time)
            )
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    aws.interrupt = interrupt
    with pytest.raises(AwsError, match="AccessDenied"):
        promote(settings, aws, SUNDAY)
    calm(aws)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert aws.values()[CURRENT] == arn("new")


def test_one_instant_is_one_scheduled_time_however_it_is_written(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, datetime.fromisoformat("2026-01-04T04:00:00Z"))
    again = promote(settings, aws, datetime.fromisoformat("2026-01-04T05:00:00+01:00"))
    assert again.reason == "nothing-new"
    assert again.message == "this scheduled time has had its run"


def test_what_another_scheduled_time_left_behind_counts_as_this_ones_run(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Taken up, its run failed and was taken back: the same event again must not start another."""
    kill(aws, "after", "put")
    wish = Pin("new", "kim", "", deploy=True)
    with pytest.raises(Killed):
        pin(settings, aws, settings.databases[0], wish)
    calm(aws)
    assert promote(settings, aws, SUNDAY).outcome == "started"
    aws.pipelines.finish(PIPELINE, "Failed")
    aws.time += timedelta(minutes=20)
    aws.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert runs_started(aws) == 1


def test_an_undo_that_fails_too_is_told_beside_the_first_error(
    settings: Settings, aws: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        undoing = operation == "put" and "start" in aws.calls
        if when == "before" and (operation == "start" or undoing):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    aws.interrupt = interrupt
    with pytest.raises(AwsError, match="start of it failed") as caught:
        promote(settings, aws, SUNDAY)
    assert caught.value.__notes__ == [
        "current could not be put back: put of it failed: ThrottlingException: Rate exceeded"
    ]
    assert "could not be put back" in aws.notifier.sent[0].body


# --- pins -----------------------------------------------------------------------------------------


def test_a_pin_with_deploy_that_was_killed_and_made_again_is_undone_as_well(
    settings: Settings, aws: InMemoryAws
) -> None:
    wish = Pin("new", "kim", "", deploy=True)
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        pin(settings, aws, settings.databases[0], wish)
    calm(aws)
    refuse(aws, "start")
    with pytest.raises(AwsError):
        pin(settings, aws, settings.databases[0], wish)
    assert aws.values()[CURRENT] == arn("old")


def test_a_pin_whose_start_is_uncertain_stays(settings: Settings, aws: InMemoryAws) -> None:
    def interrupt(when: str, operation: str) -> None:
        lost = (when, operation) == ("after", "start")
        if lost or (operation == "runs" and "start" in aws.calls):
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    aws.interrupt = interrupt
    with pytest.raises(UncertainError):
        pin(settings, aws, settings.databases[0], Pin("new", "kim", "", deploy=True))
    assert aws.values()[CURRENT] == arn("new")


def test_a_pin_whose_answer_was_lost_is_a_pin(settings: Settings, aws: InMemoryAws) -> None:
    lose(aws, "after", "put")
    answer = pin(settings, aws, settings.databases[0], Pin("new", "kim", "", deploy=False))
    assert (answer["version"], aws.values()[CURRENT]) == (2, arn("new"))


def test_a_token_that_has_had_its_run_starts_nothing_and_is_taken_back(
    settings: Settings, aws: InMemoryAws
) -> None:
    """CodePipeline answers an old token with the old run, which carries nothing of this."""
    aws.pipelines.start = lambda name, token: "run-0"  # type: ignore[method-assign]
    answer = promote(settings, aws, SUNDAY)
    assert (answer.reason, answer.message) == (
        "nothing-new",
        "run-0 was started for this before",
    )
    assert aws.values()[CURRENT] == arn("old")


def test_a_pipeline_deleted_before_its_start_leaves_the_old_value(
    settings: Settings, aws: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            del aws.pipelines.pipelines[PIPELINE]

    aws.interrupt = interrupt
    assert promote(settings, aws, SUNDAY).reason == "pipeline-missing"
    assert aws.values()[CURRENT] == arn("old")


def test_a_history_that_was_lost_leaves_no_way_back_and_nothing_is_deleted(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote_until_killed(settings, aws)
    del aws.parameters.kept[CURRENT][0]
    aws.snapshots.all.clear()
    assert promote(settings, aws, SUNDAY).reason == "snapshot-gone"
    assert aws.values()[CURRENT] == arn("new")


def test_a_refused_start_is_undone_even_if_the_runs_cannot_be_listed_any_more(
    settings: Settings, aws: InMemoryAws
) -> None:
    """CodePipeline throttles from the start on: the runs were listed right before it."""

    def interrupt(when: str, operation: str) -> None:
        if operation == "start" or (operation == "runs" and "start" in aws.calls):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    aws.interrupt = interrupt
    with pytest.raises(AwsError, match="start of it failed"):
        promote(settings, aws, SUNDAY)
    assert aws.values()[CURRENT] == arn("old")


def test_a_killed_value_stays_while_nobody_can_list_the_runs(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Whether a run has come for it cannot be known; people are told of the failure."""
    promote_until_killed(settings, aws)
    refuse(aws, "runs")
    with pytest.raises(AwsError) as caught:
        promote(settings, aws, SUNDAY)
    assert "could not be put back" in caught.value.__notes__[0]
    assert aws.values()[CURRENT] == arn("new")


def test_a_parameter_created_by_a_doubled_put_is_removed_again(
    settings: Settings, aws: InMemoryAws
) -> None:
    """The client tried again a put whose answer was lost: that made two versions."""
    del aws.parameters.kept[CURRENT]

    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("after", "put") and len(aws.parameters.kept[CURRENT]) == 1:
            first = aws.parameters.kept[CURRENT][0]
            aws.parameters.kept[CURRENT].append(first._replace(version=2))
        if operation == "start":
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    aws.interrupt = interrupt
    with pytest.raises(AwsError):
        promote(settings, aws, SUNDAY)
    assert CURRENT not in aws.values()


def test_a_retry_does_not_overrule_an_operator(settings: Settings, aws: InMemoryAws) -> None:
    promote_until_killed(settings, aws)
    aws.snapshots.all.append(snapshot("wanted"))
    pin(settings, aws, settings.databases[0], Pin("wanted", "kim", "", deploy=False))
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert aws.values()[CURRENT] == arn("wanted")
    assert runs_started(aws) == 0


def test_a_lost_put_with_a_note_that_was_cut_is_found(settings: Settings, aws: InMemoryAws) -> None:
    wish = Pin("new", "kim", "because " * 200, deploy=False)

    lose(aws, "after", "put")
    assert pin(settings, aws, settings.databases[0], wish)["version"] == 2
