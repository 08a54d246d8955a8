"""POST /snapshots/current/rollback: an operator goes back to the snapshot before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, UncertainError
from chalicelib.domain.ledger import Entry, Note, Run
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.follow import Ended, follow
from chalicelib.usecases.pin import Pin, pin, rollback
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, lose, refuse
from tests.stage import (
    CURRENT,
    LATEST,
    OTHER_CURRENT,
    PIPELINE,
    PIPELINE_NAME,
)
from tests.usecases.conftest import (
    BY_HAND,
    KIM,
    SUNDAY,
    Api,
    Arrange,
    everything,
    holding,
    listing,
    running,
    runs_started,
    without,
)

ROUTE = "/snapshots/current/rollback"


@pytest.fixture
def moved(aws: InMemoryAws) -> InMemoryAws:
    """*current* was old, and is new; a successful run has carried it."""
    aws.parameters.put(CURRENT, arn("new"), Note("promote", "the schedule", "newest", "token"))
    aws.pipelines.pipelines[PIPELINE].append(Run("run-1", "Succeeded", aws.time, aws.time))
    aws.time += timedelta(hours=10)
    aws.calls.clear()
    return aws


def back(settings: Settings, aws: InMemoryAws, *, deploy: bool = False) -> dict[str, Any]:
    return rollback(settings, aws, settings.databases[0], KIM, "it is broken", deploy=deploy)


def kept(aws: InMemoryAws) -> list[str]:
    return [entry.value for entry in aws.parameters.kept[CURRENT]]


# --- where it goes --------------------------------------------------------------------------------


def test_a_rollback_goes_to_the_value_before_and_waits_for_a_run(
    ask: Api, moved: InMemoryAws
) -> None:
    assert ask("POST", ROUTE, {"reason": "regression"}) == (
        200,
        {"current": arn("old"), "previous": arn("new"), "version": 3, "execution_id": None},
    )
    assert moved.parameters.kept[CURRENT][-1] == Entry(
        3, arn("old"), moved.time, Note("rollback", KIM, "regression", None)
    )
    assert runs_started(moved) == 1  # the one there was


def test_nothing_need_be_said(ask: Api, moved: InMemoryAws) -> None:
    assert ask("POST", ROUTE, {})[0] == 200
    assert moved.parameters.kept[CURRENT][-1].note == Note("rollback", KIM, "", None)


def test_a_rollback_skips_what_differs_not_and_what_is_no_snapshot(
    settings: Settings, moved: InMemoryAws
) -> None:
    for value in ("dummyvalue", "postgres://admin:secret@db", arn("new"), arn("new")):
        moved.parameters.put(CURRENT, value, BY_HAND)
    answer = back(settings, moved)
    assert (answer["current"], answer["previous"]) == (arn("old"), arn("new"))


def test_a_rollback_takes_the_newest_of_several(settings: Settings, moved: InMemoryAws) -> None:
    moved.snapshots.all.append(snapshot("newest"))
    moved.parameters.put(CURRENT, arn("newest"), BY_HAND)
    assert back(settings, moved)["current"] == arn("new")


def test_a_rollback_leaves_a_value_that_is_no_snapshot(
    settings: Settings, moved: InMemoryAws
) -> None:
    moved.parameters.put(CURRENT, "dummyvalue", BY_HAND)
    assert back(settings, moved)["current"] == arn("new")


def test_a_rollback_of_a_rollback_goes_forth_again(settings: Settings, moved: InMemoryAws) -> None:
    back(settings, moved)
    assert back(settings, moved)["current"] == arn("new")


def test_a_snapshot_too_old_to_be_promoted_is_gone_back_to(
    settings: Settings, moved: InMemoryAws
) -> None:
    moved.snapshots.all = [snapshot("old", created=SUNDAY - timedelta(days=999))]
    assert back(settings, moved)["current"] == arn("old")


def test_an_own_snapshot_is_gone_back_to(settings: Settings, moved: InMemoryAws) -> None:
    own = snapshot("before-test", ACCEPTANCE, cluster="acceptance-orders")
    moved.snapshots.all.append(own)
    moved.parameters.put(CURRENT, own.arn, BY_HAND)
    moved.parameters.put(CURRENT, arn("new"), BY_HAND)
    assert back(settings, moved)["current"] == own.arn


def test_one_of_several_databases_goes_back(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put(OTHER_CURRENT, arn("docs-new"), BY_HAND)
    ask = Api(two, documents)
    assert ask("POST", ROUTE, {"database": "docs"})[1]["current"] == arn("docs-old")
    assert ask("POST", f"{ROUTE}?database=docs", {})[1]["current"] == arn("docs-new")
    assert ask("POST", ROUTE, {}) == (
        400,
        {"Code": "BadRequestError", "Message": "database is missing: name one of rds, docs"},
    )
    assert documents.values()[CURRENT] == arn("old")


# --- refusals -------------------------------------------------------------------------------------

NOWHERE = f"{CURRENT} has held no other snapshot to go back to"


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize(
    ("arrange", "status", "message"),
    [
        (without(CURRENT), 409, NOWHERE),
        (
            lambda aws: aws.parameters.kept[CURRENT].pop(0),
            409,
            NOWHERE,
        ),
        (
            listing(snapshot("new")),
            409,
            f"{arn('old')}, the one before, does not exist any more",
        ),
        (
            listing(snapshot("old", engine_version="16.1")),
            409,
            f"{arn('old')} cannot be pinned: engine version 16.1, wanted 15",
        ),
        (
            listing(snapshot("old", status="deleting")),
            409,
            f"{arn('old')} cannot be pinned: status deleting, wanted available",
        ),
    ],
    ids=["missing", "first", "gone", "version", "status"],
)
def test_a_refused_rollback_says_why_and_writes_nothing(
    ask: Api, moved: InMemoryAws, arrange: Arrange, status: int, message: str, deploy: bool
) -> None:
    arrange(moved)
    before = everything(moved)
    assert ask("POST", ROUTE, {"deploy": deploy}) == (
        status,
        {"Code": "ConflictError", "Message": message},
    )
    assert everything(moved) == before


def test_the_one_before_is_not_passed_over_for_an_older_one(ask: Api, moved: InMemoryAws) -> None:
    """What nobody named must not be chosen because the right one is gone."""
    moved.parameters.put(CURRENT, arn("newest"), BY_HAND)
    moved.snapshots.all = [snapshot("newest"), snapshot("old")]
    assert ask("POST", ROUTE, {})[1]["Message"] == (
        f"{arn('new')}, the one before, does not exist any more"
    )


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (running(), "pipeline acceptance-main is busy with run deploy-7; try later"),
        (running("Stopping"), "pipeline acceptance-main is busy with run deploy-7; try later"),
        (without(PIPELINE_NAME), f"no parameter {PIPELINE_NAME}"),
        (holding(PIPELINE_NAME, "elsewhere"), "there is no pipeline named elsewhere"),
        (
            holding(PIPELINE_NAME, "dummyvalue"),
            f"{PIPELINE_NAME} holds 'dummyvalue', not a pipeline's name",
        ),
        (
            holding(PIPELINE_NAME, "postgres://admin:secret@db"),
            f"{PIPELINE_NAME} holds something else, of 26 characters, not a pipeline's name",
        ),
    ],
    ids=["busy", "stopping", "missing", "unknown", "placeholder", "secret"],
)
def test_a_pipeline_that_cannot_take_it_refuses_a_deploy_and_nothing_is_written(
    ask: Api, moved: InMemoryAws, arrange: Arrange, message: str
) -> None:
    arrange(moved)
    before = everything(moved)
    assert ask("POST", ROUTE, {"deploy": True}) == (
        409,
        {"Code": "ConflictError", "Message": message},
    )
    assert everything(moved) == before


def test_a_busy_pipeline_hinders_no_rollback_that_waits(ask: Api, moved: InMemoryAws) -> None:
    running()(moved)
    assert ask("POST", ROUTE, {})[0] == 200
    assert moved.values()[CURRENT] == arn("old")


@pytest.mark.parametrize("body", [{"snapshot": "new"}, {"deploy": "true"}, {"reason": "\x00"}, []])
def test_a_malformed_rollback_writes_nothing(ask: Api, moved: InMemoryAws, body: Any) -> None:
    before = everything(moved)
    status, answer = ask("POST", ROUTE, body)
    assert (status, answer["Code"]) == (400, "BadRequestError")
    assert everything(moved) == before
    assert moved.calls == []


# --- with deploy ----------------------------------------------------------------------------------


def test_deploy_starts_one_run_which_its_version_names(
    settings: Settings, moved: InMemoryAws
) -> None:
    answer = back(settings, moved, deploy=True)
    assert answer == {
        "current": arn("old"),
        "previous": arn("new"),
        "version": 3,
        "execution_id": "run-3",
    }
    assert runs_started(moved) == 2
    note = moved.parameters.kept[CURRENT][-1].note
    assert note is not None
    assert note.token is not None
    assert note == Note("rollback", KIM, "it is broken", note.token)
    assert moved.pipelines.start(PIPELINE, note.token) == "run-3"


def test_asked_again_while_its_run_is_in_progress_nothing_goes_forth(
    settings: Settings, moved: InMemoryAws
) -> None:
    """Who got no answer asks again."""
    back(settings, moved, deploy=True)
    moved.time += timedelta(minutes=1)
    with pytest.raises(AwsError, match="busy with run run-3"):
        back(settings, moved, deploy=True)
    assert moved.values()[CURRENT] == arn("old")


def test_asked_again_after_its_run_it_goes_forth(settings: Settings, moved: InMemoryAws) -> None:
    back(settings, moved, deploy=True)
    moved.time += timedelta(minutes=30)
    moved.pipelines.finish(PIPELINE)
    assert back(settings, moved, deploy=True)["current"] == arn("new")


def test_a_start_that_is_refused_is_undone(settings: Settings, moved: InMemoryAws) -> None:
    refuse(moved, "start", code="ThrottlingException")
    with pytest.raises(AwsError, match="start of it failed: ThrottlingException"):
        back(settings, moved, deploy=True)
    assert kept(moved)[-3:] == [arn("new"), arn("old"), arn("new")]
    assert moved.parameters.kept[CURRENT][-1].note == Note(
        "undo", KIM, "start of it failed: ThrottlingException: no"
    )
    assert runs_started(moved) == 1


def test_after_an_undo_it_goes_back_again(settings: Settings, moved: InMemoryAws) -> None:
    refuse(moved, "start")
    with pytest.raises(AwsError):
        back(settings, moved, deploy=True)
    calm(moved)
    assert back(settings, moved, deploy=True)["current"] == arn("old")
    assert runs_started(moved) == 2


def test_a_put_that_is_refused_leaves_everything(settings: Settings, moved: InMemoryAws) -> None:
    before = everything(moved)
    refuse(moved, "put")
    with pytest.raises(AwsError, match="put of it failed"):
        back(settings, moved, deploy=True)
    assert everything(moved) == before


def test_a_start_that_never_arrived_is_undone(settings: Settings, moved: InMemoryAws) -> None:
    lose(moved, "before", "start")
    with pytest.raises(AwsError, match="ReadTimeoutError"):
        back(settings, moved, deploy=True)
    assert moved.values()[CURRENT] == arn("new")
    assert runs_started(moved) == 1


def test_a_start_that_is_refused_and_cannot_be_undone_is_told_with_both(
    ask: Api, moved: InMemoryAws, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if operation == "start" or (operation == "history" and "start" in moved.calls):
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    moved.interrupt = interrupt
    assert ask("POST", ROUTE, {"deploy": True}) == (
        500,
        {
            "Code": "ChaliceViewError",
            "Message": "start of it failed: AccessDeniedException: no; current could not be put "
            "back: history of it failed: AccessDeniedException: no",
        },
    )
    assert lines()[-1]["refusal"].endswith(
        "put back: history of it failed: AccessDeniedException: no"
    )


@pytest.mark.parametrize("operation", ["put", "start"])
def test_an_answer_that_was_lost_is_looked_up(
    settings: Settings, moved: InMemoryAws, operation: str
) -> None:
    lose(moved, "after", operation)
    answer = back(settings, moved, deploy=True)
    assert (answer["version"], answer["execution_id"]) == (3, "run-3")
    assert kept(moved) == [arn("old"), arn("new"), arn("old")]


def test_a_start_of_which_nothing_can_be_known_is_left_alone(
    settings: Settings, moved: InMemoryAws
) -> None:
    def interrupt(when: str, operation: str) -> None:
        lost = (when, operation) == ("after", "start")
        if lost or (operation == "runs" and "start" in moved.calls):
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    moved.interrupt = interrupt
    with pytest.raises(UncertainError):
        back(settings, moved, deploy=True)
    assert moved.values()[CURRENT] == arn("old")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["get", "history", "find", "runs", "put", "start"])
def test_killed_at_any_call_and_asked_again_it_ends_as_one_that_was_not(
    settings: Settings, moved: InMemoryAws, when: str, operation: str
) -> None:
    """And never at the snapshot that it was to leave."""
    kill(moved, when, operation)
    with pytest.raises(Killed):
        back(settings, moved, deploy=True)
    calm(moved)
    if (when, operation) == ("after", "start"):
        with pytest.raises(AwsError, match="busy"):
            back(settings, moved, deploy=True)
    else:
        assert back(settings, moved, deploy=True)["execution_id"] == "run-3"
    assert moved.values()[CURRENT] == arn("old")
    assert runs_started(moved) == 2


def test_a_killed_rollback_can_be_completed_by_a_pin(
    settings: Settings, moved: InMemoryAws
) -> None:
    kill(moved, "before", "start")
    with pytest.raises(Killed):
        back(settings, moved, deploy=True)
    calm(moved)
    token = moved.parameters.kept[CURRENT][-1].token
    answer = pin(settings, moved, settings.databases[0], Pin("old", KIM, "", deploy=True))
    assert answer["execution_id"] == "run-3"
    assert kept(moved) == [arn("old"), arn("new"), arn("old")]
    assert moved.pipelines.start(PIPELINE, str(token)) == "run-3"


# --- what comes of it -----------------------------------------------------------------------------


def ended(aws: InMemoryAws, status: str) -> Ended:
    aws.time += timedelta(minutes=30)
    aws.pipelines.finish(PIPELINE, status)
    run = aws.pipelines.pipelines[PIPELINE][-1]
    return Ended(PIPELINE, run.execution_id, "FAILED" if status == "Failed" else "SUCCEEDED")


def test_the_failed_run_of_a_rollback_is_taken_back(settings: Settings, moved: InMemoryAws) -> None:
    back(settings, moved, deploy=True)
    follow(settings, moved, ended(moved, "Failed"))
    assert moved.values()[CURRENT] == arn("new")


def test_a_rollback_that_waits_stays_when_a_run_fails_and_people_hear(
    settings: Settings, moved: InMemoryAws
) -> None:
    back(settings, moved)
    moved.time += timedelta(minutes=5)
    running()(moved)
    answer = follow(settings, moved, ended(moved, "Failed"))
    assert moved.values()[CURRENT] == arn("old")
    assert [entry["current"] for entry in answer.databases] == [arn("old")]
    assert len(moved.notifier.sent) == 1


def test_the_schedule_promotes_over_a_rollback_on_its_next_time(
    settings: Settings, moved: InMemoryAws
) -> None:
    """A rollback is no hold: who wants to stay sets one."""
    back(settings, moved)
    moved.time = SUNDAY + timedelta(days=14)
    moved.snapshots.all.append(snapshot("newest", created=moved.time - timedelta(hours=6)))
    moved.parameters.put(LATEST, arn("newest"), BY_HAND)
    assert promote(settings, moved, moved.time).outcome == "started"
    assert moved.values()[CURRENT] == arn("newest")


def test_a_retry_of_the_schedule_does_not_overrule_a_rollback(
    settings: Settings, aws: InMemoryAws
) -> None:
    promote(settings, aws, SUNDAY)
    aws.pipelines.finish(PIPELINE)
    aws.time += timedelta(minutes=40)
    back(settings, aws)
    assert promote(settings, aws, SUNDAY).reason == "nothing-new"
    assert aws.values()[CURRENT] == arn("old")


def test_a_parameter_that_holds_a_secret_by_mistake_is_not_told(
    ask: Api, moved: InMemoryAws
) -> None:
    moved.parameters.put(CURRENT, "postgres://admin:secret@db", BY_HAND)
    status, answer = ask("POST", ROUTE, {})
    assert (status, answer) == (
        200,
        {"current": arn("new"), "previous": None, "version": 4, "execution_id": None},
    )
