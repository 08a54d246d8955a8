"""Reconcile: `current` is brought in line with what is deployed, with events or without."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from chalicelib.domain.deployment import PREPARES_CHANGE_SET, Action, Stack
from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import GOOD, Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.current import put
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.promote import promote
from chalicelib.usecases.reconcile import follow, reconcile
from chalicelib.usecases.status import status
from tests.fakes import STACK, InMemoryAws, arn, snapshot
from tests.interruptions import meanwhile
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.conftest import (
    KIM,
    SCHEDULE,
    SUNDAY,
    WITH_STACK,
    Arrange,
    ends,
    everything,
    good,
    ledger,
    polls,
    present,
    promotion_killed,
    push,
    subjects,
)

REFRESHED = "refreshed in 30 min, data 6 h old (rds)"
RUN_FAILED = "REFRESH FAILED: pipeline run failed, taken back (rds)"
NOTHING_RESTORED = "REFRESH FAILED: the run restored nothing, taken back (rds)"
FAILED_AFTER = "restored, but the pipeline run failed afterwards (rds)"
DIFFERS = "other data than expected is deployed (rds)"
UNKNOWN = "cannot see what is deployed (rds)"

Learn = Callable[[], object]


@pytest.fixture(params=["by its event", "by a poll alone"])
def learn(request: pytest.FixtureRequest, settings: Settings, aws: InMemoryAws) -> Learn:
    """Learn of the end of the newest run: from its event, or after the event was lost."""

    def learn() -> object:
        if request.param == "by its event":
            follow(settings, aws, PIPELINE)
        return polls(settings, aws, times=1)

    return learn


@pytest.fixture
def promoted(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """Tonight's promotion has started its run, run-2."""
    assert promote(settings, aws, SUNDAY).execution_id == "run-2"
    aws.calls.clear()
    return aws


def pinned(settings: Settings, aws: InMemoryAws, name: str = "wanted") -> None:
    """Kim pins a snapshot, for whichever run comes next."""
    aws.snapshots.all.append(snapshot(name))
    request = PinRequest(arn(name), KIM, "regression", deploy=False)
    pin(settings, aws, settings.databases[0], request)


def prepares_change_set(aws: InMemoryAws, run: str) -> None:
    """Let a run prepare a change set, and wait for an approval."""
    action = Action(run, "Deploy", "Prepare", "Succeeded", aws.time, aws.time)
    aws.pipelines.executed.append(action._replace(category=PREPARES_CHANGE_SET, stack=STACK))


def deployed(aws: InMemoryAws) -> str | None:
    value = aws.stacks.restored_from(CURRENT)
    return value and value.rpartition(":")[2]


class Facts(NamedTuple):
    ledger: list[tuple[str, str]]
    deployed: str | None
    good: str | None
    sent: list[str]


def facts(aws: InMemoryAws) -> Facts:
    value = good(aws)
    return Facts(ledger(aws), deployed(aws), value and value.rpartition(":")[2], subjects(aws))


PROMOTED = [("unknown", "old"), ("promote", "new")]
REVERTED = [*PROMOTED, ("revert", "old")]


def kept(good: str, *sent: str) -> Facts:
    return Facts(PROMOTED, "new", good, [*sent])


def taken_back(*sent: str) -> Facts:
    return Facts(REVERTED, "old", "old", [*sent])


# --- the table: how the run ended, and whether it restored ----------------------------------------


@pytest.mark.parametrize(
    ("ended", "restored", "expected"),
    [
        ("Succeeded", True, kept("new", REFRESHED)),
        ("Succeeded", False, taken_back(NOTHING_RESTORED)),
        *((ended, True, kept("old", FAILED_AFTER)) for ended in ("Failed", "Stopped", "Cancelled")),
        *((ended, False, taken_back(RUN_FAILED)) for ended in ("Failed", "Stopped", "Cancelled")),
    ],
)
def test_a_run_is_judged_by_its_end_and_by_what_is_deployed(
    learn: Learn, promoted: InMemoryAws, ended: str, restored: bool, expected: Facts
) -> None:
    ends(promoted, ended, deploys=restored)
    learn()
    assert facts(promoted) == expected
    learn()
    assert facts(promoted) == expected


@pytest.mark.parametrize("ended", ["Succeeded", "Failed", "Stopped", "Cancelled"])
def test_a_pin_that_waits_stays_whichever_run_did_not_restore_it(
    learn: Learn, settings: Settings, aws: InMemoryAws, ended: str
) -> None:
    pinned(settings, aws)
    aws.time += timedelta(minutes=1)
    push(aws)
    ends(aws, ended, deploys=False)
    learn()
    assert facts(aws) == Facts(
        ledger=[("unknown", "old"), ("pin", "wanted")], deployed="old", good="old", sent=[]
    )


def test_a_success_is_returned_with_the_age_of_the_data_and_how_long_it_took(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ends(promoted)
    result = follow(settings, promoted, PIPELINE)
    message = "run run-2 of pipeline acceptance-main succeeded"
    assert result.to_json() == {
        "outcome": "succeeded",
        "reason": None,
        "message": message,
        "databases": [
            {
                "name": "rds",
                "latest": None,
                "current": arn("new"),
                "previous": arn("new"),
                "outcome": "succeeded",
                "message": message,
                "version": 2,
                "by": SCHEDULE,
                "why": "newest eligible share",
                "execution_id": "run-2",
                "duration_minutes": 30.0,
                "age_hours": 6.5,
            }
        ],
    }
    assert present(promoted).labels == {"cluster-ID0002", "run-run-2", "notified-refreshed", "good"}


def test_a_failure_is_returned_with_the_stage_and_action_and_says_why_in_the_ledger(
    settings: Settings, promoted: InMemoryAws
) -> None:
    promoted.pipelines.deploy(PIPELINE, "Failed")
    ends(promoted, "Failed")
    result = reconcile(settings, promoted)
    message = "run run-2 of pipeline acceptance-main restored nothing, and ended as Failed"
    assert result.to_json() == {
        "outcome": "failed",
        "reason": "run-failed",
        "message": f"{message}, in stage Deploy, action Deploy",
        "databases": [
            {
                "name": "rds",
                "latest": None,
                "current": arn("old"),
                "previous": arn("new"),
                "outcome": "failed",
                "reason": "run-failed",
                "message": f"{message}, in stage Deploy, action Deploy",
                "version": 2,
                "by": SCHEDULE,
                "why": "newest eligible share",
                "execution_id": "run-2",
                "taken_back": True,
            }
        ],
    }
    assert present(promoted).note == Note("revert", "db-reconcile", message)
    (notification,) = promoted.notifier.sent
    assert f"rds: went back to {arn('old')} from {arn('new')}" in notification.body


# --- whose run it is ------------------------------------------------------------------------------


def test_a_value_whose_run_was_never_started_is_taken_back_once_no_retry_can_come(
    settings: Settings, aws: InMemoryAws
) -> None:
    promotion_killed(settings, aws, "after", "put", minutes=10)
    assert reconcile(settings, aws).message == "everything is in line"
    assert ledger(aws) == PROMOTED
    aws.time += timedelta(minutes=6)
    reconcile(settings, aws)
    assert facts(aws) == taken_back(RUN_FAILED)
    assert "no run of pipeline acceptance-main was started for it" in aws.notifier.sent[0].body


@pytest.mark.parametrize("event", ["another", ""])
def test_the_end_of_another_pipelines_run_is_ignored(
    settings: Settings, promoted: InMemoryAws, event: str
) -> None:
    ends(promoted, "Failed")
    promoted.calls.clear()
    result = follow(settings, promoted, event)
    assert (result.outcome, result.reason) == ("ignored", "other-pipeline")
    assert result.message == f"{event} is not the main pipeline"
    assert promoted.calls == ["get"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [(None, "parameter-missing"), ("dummyvalue", "pipeline-missing"), ("gone", "pipeline-missing")],
)
def test_without_the_pipeline_nothing_is_moved(
    settings: Settings, promoted: InMemoryAws, name: str | None, reason: str
) -> None:
    ends(promoted, "Failed")
    del promoted.parameters.kept[PIPELINE_NAME]
    if name:
        promoted.parameters.put_by_hand(PIPELINE_NAME, name)
    before = everything(promoted)
    result = reconcile(settings, promoted)
    assert (result.outcome, result.reason) == ("ignored", reason)
    assert everything(promoted) == before


def test_a_value_that_somebody_puts_by_hand_is_told_once_it_is_restored(
    learn: Learn, settings: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put_by_hand(CURRENT, arn("new"))
    push(aws)
    ends(aws)
    learn()
    assert facts(aws) == Facts(
        ledger=[("unknown", "old"), ("unknown", "new")],
        deployed="new",
        good="new",
        sent=[REFRESHED],
    )
    assert "set by unknown because: unknown" in aws.notifier.sent[0].body
    assert aws.notifier.sent[0].thread == "unknown"


# --- what nobody asked for ------------------------------------------------------------------------


def test_current_is_set_to_what_is_deployed_if_nobody_waits_for_what_it_holds(
    learn: Learn, settings: Settings, promoted: InMemoryAws
) -> None:
    """A run that had read the value before it was taken back has restored it."""
    ends(promoted, "Failed")
    learn()
    promoted.time += timedelta(minutes=1)
    restored = promoted.clusters.restore(arn("new"))
    promoted.stacks.all[STACK] = Stack(
        "UPDATE_COMPLETE", {"Cluster": restored}, {CURRENT: arn("new")}
    )
    for _ in range(3):
        learn()
    assert facts(promoted) == Facts(
        ledger=[*REVERTED, ("align", "new")], deployed="new", good="old", sent=[RUN_FAILED, DIFFERS]
    )
    assert present(promoted).reason == (
        f"{arn('new')} is deployed, which is not what current named"
    )


# --- what cannot be seen --------------------------------------------------------------------------


def in_progress(aws: InMemoryAws) -> None:
    aws.stacks.set_status("UPDATE_ROLLBACK_IN_PROGRESS")


def rollback_failed(aws: InMemoryAws) -> None:
    aws.stacks.set_status("UPDATE_ROLLBACK_FAILED")


def no_stack(aws: InMemoryAws) -> None:
    del aws.stacks.all[STACK]


def no_cluster(aws: InMemoryAws) -> None:
    aws.stacks.all[STACK] = aws.stacks.all[STACK]._replace(clusters={})


def another_cluster(aws: InMemoryAws) -> None:
    stack = aws.stacks.all[STACK]
    clusters = {**stack.clusters, "Second": aws.clusters.restore(arn("x"))}
    aws.stacks.all[STACK] = stack._replace(clusters=clusters)


def ambiguous(aws: InMemoryAws) -> None:
    """The value was taken back by hand in the minute in which the deploy action began."""
    began = aws.stacks.all[STACK]
    version = present(aws)
    moved = version._replace(number=3, value=arn("old"), note=None, labels=frozenset())
    action = aws.pipelines.executed[-1]
    aws.parameters.kept[CURRENT].append(moved._replace(modified=action.started))
    aws.stacks.all[STACK] = began._replace(resolved={})


@pytest.mark.parametrize("ended", ["Succeeded", "Failed"])
@pytest.mark.parametrize("name", ["acceptance-typo", f"{STACK}/Typo"])
def test_with_a_wrong_stack_name_nothing_is_taken_back_that_a_run_has_deployed(
    aws: InMemoryAws, name: str, ended: str
) -> None:
    """Otherwise the next run would replace the new data."""
    settings = Settings.from_environment(WITH_STACK | {"RDS_STACK_NAME": name})
    never_seen = [each._replace(labels=frozenset()) for each in aws.parameters.kept[CURRENT]]
    aws.parameters.kept[CURRENT] = never_seen
    promote(settings, aws, SUNDAY)
    ends(aws, ended, deploys=True)
    polls(settings, aws)
    assert facts(aws) == Facts(PROMOTED, "new", good=None, sent=[UNKNOWN])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (in_progress, None),
        (
            rollback_failed,
            "stack acceptance-data is UPDATE_ROLLBACK_FAILED: continue its rollback",
        ),
        (
            no_stack,
            (
                "there is no stack acceptance-data: it was deleted, renamed, or is in another account "
                "or Region; correct P_STACK_NAME"
            ),
        ),
        (
            no_cluster,
            (
                "there is no cluster in stack acceptance-data: it was deleted, renamed, or is in "
                "another account or Region; correct P_STACK_NAME"
            ),
        ),
        (
            another_cluster,
            (
                "P_STACK_NAME names several clusters; write one of acceptance-data/Cluster, "
                "acceptance-data/Second"
            ),
        ),
        (
            ambiguous,
            (
                "current was set at about the time when action Deploy of run run-2 began, or only "
                "later: what the action restored is uncertain"
            ),
        ),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_cannot_be_seen_moves_nothing_and_is_told_once_if_it_will_not_settle(
    settings: Settings, promoted: InMemoryAws, spoil: Arrange, message: str | None
) -> None:
    ends(promoted, "Failed", deploys=True)
    seen = promoted.stacks.all[STACK], list(promoted.parameters.kept[CURRENT])
    spoil(promoted)
    before = ledger(promoted)
    polls(settings, promoted, times=3)
    assert (ledger(promoted), good(promoted)) == (before, arn("old"))
    assert subjects(promoted) == ([UNKNOWN] if message else [])
    if message:
        assert f"it cannot be seen what is deployed: {message}." in promoted.notifier.sent[0].body
        (problem,) = [
            each for each in status(settings, promoted)["problems"] if "cannot be seen" in each
        ]
        assert problem == f"rds: it cannot be seen what is deployed: {message}."
    promoted.stacks.all[STACK], promoted.parameters.kept[CURRENT] = seen
    polls(settings, promoted)
    assert subjects(promoted)[-1] == FAILED_AFTER


def test_a_deploy_that_begins_between_the_look_and_the_put_has_the_value_put_again(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ends(promoted, "Failed")
    promoted.time += timedelta(minutes=2)
    waiting = push(promoted)
    meanwhile(promoted, "before", "put", lambda: promoted.stacks.set_status("UPDATE_IN_PROGRESS"))
    polls(settings, promoted)
    assert (ledger(promoted), subjects(promoted)) == ([*REVERTED, ("promote", "new")], [])
    promoted.pipelines.finish(PIPELINE, run=waiting)
    polls(settings, promoted)
    assert deployed(promoted) == "new"
    assert promoted.values()[CURRENT] == arn("new")
    assert [each.partition(" in ")[0] for each in subjects(promoted)] == ["refreshed"]


def test_a_change_set_that_waits_for_its_approval_has_nothing_taken_back_until_its_run_ends(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ends(promoted, "Failed")
    prepares_change_set(promoted, waiting := push(promoted))
    polls(settings, promoted)
    assert (ledger(promoted), subjects(promoted)) == (PROMOTED, [])
    under_way = status(settings, promoted)["pipeline"]["under_way"]
    assert under_way["restores"] == f"rds from {arn('new')}"
    promoted.pipelines.finish(PIPELINE, "Failed", run=waiting)
    polls(settings, promoted)
    assert facts(promoted) == taken_back(RUN_FAILED)


def test_a_change_set_that_is_prepared_between_the_look_and_the_put_has_the_value_put_again(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ends(promoted, "Failed")
    promoted.time += timedelta(minutes=2)
    meanwhile(promoted, "before", "put", lambda: prepares_change_set(promoted, push(promoted)))
    polls(settings, promoted)
    assert (ledger(promoted), subjects(promoted)) == ([*REVERTED, ("promote", "new")], [])


def test_a_change_set_of_what_is_deployed_restores_nothing_whatever_waits(
    settings: Settings, aws: InMemoryAws
) -> None:
    prepares_change_set(aws, push(aws))
    aws.time += timedelta(minutes=2)
    pinned(settings, aws)
    found = status(settings, aws)
    assert found["pipeline"]["under_way"]["restores"] is None
    assert found["databases"][0]["waiting"]


@pytest.mark.parametrize(
    ("status", "sent"), [("UPDATE_COMPLETE", FAILED_AFTER), ("UPDATE_ROLLBACK_COMPLETE", UNKNOWN)]
)
def test_of_two_values_the_stack_decides_unless_its_last_update_was_rolled_back(
    settings: Settings, promoted: InMemoryAws, status: str, sent: str
) -> None:
    ends(promoted, "Failed", deploys=True)
    ambiguous(promoted)
    promoted.stacks.all[STACK] = promoted.stacks.all[STACK]._replace(
        status=status, resolved={CURRENT: arn("new")}
    )
    reconcile(settings, promoted)
    assert subjects(promoted)[0] == sent


# --- the first promotion of all -------------------------------------------------------------------

DURING_FIRST = {
    "created": [],
    "placeholder": ["dummyvalue"],
    "by hand": [arn("old")],
    "both": ["dummyvalue", arn("old")],
}


@pytest.mark.parametrize("stack", ["none yet", "without a cluster", "not named"])
@pytest.mark.parametrize("values", DURING_FIRST.values(), ids=DURING_FIRST)
def test_a_first_promotion_that_fails_goes_back_to_the_value_before_it_or_to_none(
    aws: InMemoryAws, values: list[str], stack: str
) -> None:
    settings = Settings.from_environment(STAGE if stack == "not named" else WITH_STACK)
    aws.pipelines.pipelines[PIPELINE], aws.pipelines.executed = [], []
    aws.stacks.all = {STACK: Stack("CREATE_COMPLETE", {}, {})}
    if stack == "none yet":
        aws.stacks.all = {}
    aws.parameters.kept[CURRENT] = []
    aws.time -= timedelta(hours=1)
    for value in values:
        aws.parameters.put_by_hand(CURRENT, value)
    if not values:
        del aws.parameters.kept[CURRENT]
    aws.time = SUNDAY
    promote(settings, aws, SUNDAY)
    aws.time += timedelta(minutes=30)
    aws.pipelines.set_status(PIPELINE, "run-1", "Failed")
    polls(settings, aws, times=3)
    assert aws.values().get(CURRENT) == (values[-1] if values else None)
    assert not values or present(aws).note is None  # a value put by hand waits again
    assert subjects(aws) == [RUN_FAILED]


# --- several databases ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "sent"),
    [
        ("Succeeded", "refreshed in 30 min, data 6 h old (rds,docs)"),
        ("Failed", "REFRESH FAILED: pipeline run failed, taken back (rds,docs)"),
    ],
)
def test_databases_in_one_stack_share_their_run_and_one_notification(
    two: Settings, documents: InMemoryAws, ended: str, sent: str
) -> None:
    promote(two, documents, SUNDAY)
    ends(documents, ended)
    polls(two, documents)
    value = "docs-new" if ended == "Succeeded" else "docs-old"
    assert documents.values()[OTHER_CURRENT] == arn(value)
    assert documents.stacks.restored_from(OTHER_CURRENT) == arn(value)
    assert subjects(documents) == [sent]


def test_what_aws_denies_for_one_database_hinders_no_other(
    two: Settings, documents: InMemoryAws
) -> None:
    promote(two, documents, SUNDAY)
    ends(documents, "Failed")
    meant = AwsError("GetParameterHistory", CURRENT, "AccessDeniedException", "no")

    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "history") and documents.calls.count("history") == 1:
            raise meant

    documents.calls.clear()
    documents.interrupt = interrupt
    with pytest.raises(AwsError) as caught:
        reconcile(two, documents)
    assert caught.value is meant
    assert documents.values()[CURRENT] == arn("new")
    assert documents.values()[OTHER_CURRENT] == arn("docs-old")


# --- without a stack to look at -------------------------------------------------------------------


@pytest.fixture
def plain() -> Settings:
    return Settings.from_environment(STAGE)


@pytest.fixture
def unseen(plain: Settings) -> InMemoryAws:
    """The pipeline deploys with something that cannot be seen; tonight's run, run-2, has started."""
    aws = InMemoryAws(SUNDAY - timedelta(hours=16))
    aws.parameters.put_by_hand(PIPELINE_NAME, PIPELINE)
    aws.parameters.put_by_hand(CURRENT, arn("old"))
    aws.pipelines.pipelines[PIPELINE] = []
    aws.time += timedelta(hours=1)
    push(aws)
    ends(aws)
    aws.snapshots.all = [snapshot("new"), snapshot("old")]
    reconcile(plain, aws)
    aws.time = SUNDAY
    aws.parameters.put_by_hand(LATEST, arn("new"))
    assert promote(plain, aws, SUNDAY).execution_id == "run-2"
    return aws


@pytest.mark.parametrize(
    ("ended", "deploys", "expected"),
    [
        ("Succeeded", True, (PROMOTED, "new", [REFRESHED])),
        ("Succeeded", False, (REVERTED, "old", [NOTHING_RESTORED])),
        ("Failed", True, (PROMOTED, "old", [FAILED_AFTER])),
        ("Failed", False, (REVERTED, "old", [RUN_FAILED])),
    ],
)
def test_without_a_stack_the_newest_successful_deploy_action_decides(
    plain: Settings, unseen: InMemoryAws, ended: str, deploys: bool, expected: tuple[Any, ...]
) -> None:
    ends(unseen, ended, deploys=deploys)
    polls(plain, unseen, times=3)
    assert (ledger(unseen), good(unseen), subjects(unseen)) == (
        expected[0],
        arn(expected[1]),
        expected[2],
    )


# --- labels and calls -----------------------------------------------------------------------------


def test_labels_never_block_the_hundred_versions_that_parameter_store_keeps(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ends(promoted)
    polls(settings, promoted)
    for number in range(250):
        value = arn("new") if number % 60 == 0 else arn(f"pinned-{number}")
        version = put(promoted, CURRENT, value, Note("pin", KIM, ""), present(promoted).number)
        promoted.parameters.label(CURRENT, version, {f"somebodys-{version}"})
    polls(settings, promoted, times=3)
    assert good(promoted) == arn("new")
    assert len(promoted.parameters.kept[CURRENT]) == 100
    assert subjects(promoted) == [REFRESHED]


@pytest.mark.parametrize("hidden", [GOOD, "run-run-2"])
def test_a_label_that_is_not_listed_at_once_has_nothing_told_twice_in_one_poll(
    settings: Settings, promoted: InMemoryAws, hidden: str
) -> None:
    ends(promoted)
    label = promoted.parameters.label

    def lag(name: str, version: int, labels: set[str]) -> None:
        if hidden not in labels:
            label(name, version, labels)

    promoted.parameters.label = lag  # type: ignore[method-assign, assignment]
    reconcile(settings, promoted)
    assert subjects(promoted) == ([REFRESHED] if hidden == GOOD else [])
    promoted.parameters.label = label  # type: ignore[method-assign]
    polls(settings, promoted)
    assert (good(promoted), subjects(promoted)[-1]) == (arn("new"), REFRESHED)


def test_an_idle_reconcile_makes_six_requests_and_a_promotion_nine(
    settings: Settings, aws: InMemoryAws
) -> None:
    """The second look of a stack, for its resources, is a request of its own."""
    reconcile(settings, aws)
    assert aws.calls == ["get", "history", "runs", "find", "deployed"]
    aws.calls.clear()
    promote(settings, aws, SUNDAY)
    assert aws.calls == ["get", "find", "history", "runs", "find", "deployed", "put", "start"]
