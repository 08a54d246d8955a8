"""What a cluster was restored from, and what follows from it, rule by rule.

Whether what is seen is true in any history is what the simulation asks.
"""

from collections.abc import Sequence

import pytest

from chalicelib.domain.deployment import (
    PREPARES_CHANGE_SET,
    Action,
    Cluster,
    Deployment,
    Position,
    Preparation,
    Stack,
    StackReference,
    Verdict,
    held_by,
    is_namesake,
    last_deployed,
    makers_of,
    restored_from,
    verdict,
)
from chalicelib.domain.ledger import UNKNOWN_RUN, Ledger, Run, Version
from chalicelib.domain.reasons import Reason
from tests.fakes import arn, snapshot
from tests.ledgers import STACK, at, by_hand, deploy, pin, run, undo, version

CLUSTER = Cluster("cluster-ABC", at(5))
A = by_hand(1, "a", -60)
B = version(2, "b", 0, "t")
C = pin(3, "c", 20)

SUCCEEDED, FAILED = run("r", 1), run("r", 1, "Failed")
IN_PROGRESS = run("r", 1, "InProgress")
SUPERSEDED, AFTER = run("r", 1, "Superseded", 9), run("after", 7, ended=20)
PUSH = run("push", 5, "Failed", 6, "Webhook")

NOTHING = Deployment()
UNKNOWN = Deployment(unknown="…")
BUSY = Deployment(unknown="…", is_deploying=True)


def without_words(found: Deployment) -> Deployment:
    """Return it without the explanation of what is unknown."""
    return found._replace(unknown=found.unknown and "…")


# --- what a cluster was restored from -------------------------------------------------------------


def makers(*actions: Action) -> list[str]:
    return [each.execution_id for each in makers_of(CLUSTER, actions, STACK)]


def test_the_makers_are_the_deploy_actions_during_which_the_cluster_was_created() -> None:
    """It was created at minute 5; the clocks of two services differ by up to a minute."""
    assert makers(deploy("r", 6)) == makers(deploy("r", -7, 4)) == ["r"]
    assert makers(deploy("r", 6.1)) == makers(deploy("r", -7, 3.9)) == []
    assert makers(deploy("r", -7, 0, "InProgress")) == ["r"]
    # One that was abandoned is still at work, unless another one deploys the stack at that time.
    assert makers(deploy("r", -7, 0, "Abandoned")) == ["r"]
    assert makers(deploy("r", -7, 0, "Abandoned"), deploy("next", 1)) == ["next"]
    # Side by side: the one that deploys the stack, or deploys at all.
    assert makers(deploy("r", 0), deploy("network", 1, stack="network")) == ["r"]
    testing = deploy("test", 1, stack=None, category="Test")
    assert makers(deploy("r", 0, stack=None), testing) == ["r"]
    # In a run that deploys the stack, no other action does.
    assert makers(deploy("r", -30), deploy("r", 0, stack=None, category="Test")) == []
    # Whoever waits for an approval makes nothing; somebody has updated the stack by hand.
    assert makers(deploy("r", 0, stack=None, category="Approval")) == []
    # One after the other: either of them.
    assert makers(deploy("late", 5.5), deploy("early", 0, 4.5)) == ["early", "late"]


RUN = run("r", 0.1, ended=60)
AT_2, R, P = deploy("r", 2), deploy("r", 10), deploy("p", 30)
R_FAILED, P_RUNNING = R._replace(status="Failed"), P._replace(status="InProgress")
ABANDONED = deploy("r", 2, status="Abandoned")
NEXT = pin(3, "c", 1.5)  # as an action that begins at minute 2 is about to read
SAME = pin(3, "b", 1.5)
SOON = pin(3, "c", 0.5)
FIRST = by_hand(1, "c", 20)
CORRECTED = undo(2, "a", 30)
LATE_CLOCK = pin(1, "c", 6)
IN_TIME = version(2, "b", 5)
READ_LATE, BUILD = pin(2, "b", 4), deploy("r", 0, 9, category="Build")


def made(of: Version, maker: str | None = None) -> Deployment:
    return Deployment(of.value, of, maker, CLUSTER)


UNSEEN = Deployment(cluster=CLUSTER, unknown="…")


@pytest.mark.parametrize(
    ("ledger", "resolved", "makers", "runs", "expected"),
    [
        # No deploy action: what the stack says, if current held it then, else what current held.
        ([A, B, C], "a", [], [], made(A)),
        ([A, IN_TIME, C], "c", [], [], made(IN_TIME)),
        # Parameter Store's clock may be ahead.
        ([LATE_CLOCK], None, [], [], made(LATE_CLOCK)),
        # The first value of a new parameter names what was there; the stack knows better.
        ([FIRST, pin(2, "d", 30)], None, [], [], made(FIRST)),
        ([FIRST, CORRECTED], "a", [], [], made(CORRECTED)),
        # A pin or an order does not tell what was there before it.
        ([pin(1, "c", 20)], None, [], [], Deployment(cluster=CLUSTER)),
        ([pin(1, "c", 20)], "c", [], [], Deployment("c", cluster=CLUSTER)),
        # The deploy action tells the run, and what current held when it began.
        ([A, B, C], "c", [AT_2], [RUN], made(B, "r")),
        # If somebody moved current on before the action began, it read the later version.
        ([A, B, SOON], None, [AT_2], [RUN], made(SOON, "r")),
        # The same value twice is one value, and its newest version is what was restored.
        ([A, B, SAME], None, [AT_2], [RUN], made(SAME, "r")),
        # Of several values the stack decides, if its last update was not rolled back.
        ([A, B, NEXT], "b", [AT_2], [RUN], made(B, "r")),
        ([A, B, NEXT], None, [AT_2], [RUN], UNSEEN),
        # A run reads nothing from before the version that it was started for.
        ([A, B, C], None, [deploy("r", 0.5)], [RUN], made(B, "r")),
        # A change set reads when it is prepared.
        ([A, pin(2, "b", 1)], None, [deploy("r", 9, reads_since=0)], [], UNSEEN),
        # Two may have made it: they read different values, or the first that worked has made it.
        ([A, C], None, [R, P], [], UNSEEN),
        ([A, C], "c", [R, P], [], made(C, "p")),
        ([A, B], None, [R, P], [], made(B, "r")),
        ([A, B], None, [R_FAILED, P_RUNNING], [], made(B, "p")),
        # The history does not go back so far.
        ([C], None, [], [], UNSEEN),
        ([FIRST], "c", [AT_2], [RUN], made(FIRST)),
        ([FIRST], None, [AT_2], [RUN], made(FIRST)),
        # A build runs a script, which may read current at any time before it makes the cluster.
        ([A, READ_LATE], "b", [BUILD], [], made(READ_LATE, "r")),
        ([A, READ_LATE], None, [BUILD], [], UNSEEN),
        # An abandoned action may have ended before somebody made it by hand, from a later value.
        ([A, B, pin(3, "c", 4)], None, [ABANDONED], [RUN], UNSEEN),
        ([A, B, pin(3, "c", 4)], "b", [ABANDONED], [RUN], made(B, "r")),
        ([A, B, pin(3, "b", 4)], None, [ABANDONED], [RUN], made(B, "r")),
        # An action that read something else than the stack did has not made it.
        ([A, B, IN_TIME], "a", [AT_2], [RUN], made(A)),
    ],
)
def test_what_a_cluster_was_restored_from(
    ledger: list[Version],
    resolved: str | None,
    makers: list[Action],
    runs: list[Run],
    expected: Deployment,
) -> None:
    assert without_words(restored_from(Ledger(ledger, runs), CLUSTER, resolved, makers)) == expected


def deployed(
    *actions: Action, runs: Sequence[Run] = (), ledger: Sequence[Version] = (A, B, C)
) -> Deployment:
    return without_words(last_deployed(Ledger(ledger, runs), actions))


def test_without_a_stack_the_newest_successful_deploy_action_decides() -> None:
    assert deployed(runs=[SUCCEEDED]) == NOTHING
    assert deployed(P, R) == Deployment("c", C, "p")
    assert deployed(deploy("q", 30, status="Failed"), R) == Deployment("b", B, "r")
    assert deployed(deploy("q", 30, status="InProgress"), R) == BUSY
    assert deployed(deploy("r", 19.5)) == UNKNOWN  # at the time of a put
    # From before the history, whose first value may have been put by hand since.
    assert deployed(deploy("r", -70), ledger=[A._replace(value=arn("a"))]) == UNKNOWN
    assert deployed(deploy("r", -70)) == Deployment("a", A)  # a placeholder
    assert deployed(deploy("r", -70), ledger=[B]) == UNKNOWN
    assert deployed(deploy("r", -70), ledger=[B._replace(number=1, value=arn("b"))]) == NOTHING
    # It is remembered, for CodePipeline's records end one day.
    known = version(1, "a", -60, None, "run-q")
    found = Deployment("a", known, "q", is_remembered=True)
    assert deployed(deploy("q", -9), ledger=[known, B]) == deployed(ledger=[known, B]) == found
    # Another run that deploys the same value restores nothing.
    assert deployed(deploy("later", -9), ledger=[known, B]) == found
    # A run that began earlier may deploy later.
    runs, known = [run("q", 5), run("p", 1)], version(2, "b", 0, None, "run-q")
    assert deployed(P, runs=runs, ledger=[A, known, C]) == Deployment("c", C, "p")


def test_a_pipeline_without_a_deploy_action_may_deploy_at_any_time_of_a_run() -> None:
    build = deploy("r", 2, category="Build")
    assert deployed(build) == NOTHING
    runs = [PUSH, run("r", 1, ended=10), run("old", -60)]
    assert deployed(build, runs=runs, ledger=[GOOD, B, C]) == Deployment("b", B, "r")
    assert deployed(build, runs=[run("r", 5)]) == UNKNOWN
    # What was seen counts on, if other runs' actions have pushed the deploy action off the list.
    found = Deployment("b", B_RESTORED, "r", is_remembered=True)
    for status in ("Failed", "Succeeded"):
        runs = [PUSH, run("r", 1, status), run("old", -60)]
        assert deployed(build, runs=runs, ledger=[GOOD, B_RESTORED, C]) == found
    # One that prepares a change set deploys only when it executes that.
    assert deployed(PREPARED, build, runs=[PUSH, run("r", 1, ended=10)]) == NOTHING


PREPARED = deploy("r", 2, category=PREPARES_CHANGE_SET)
EXECUTING = deploy("r", 9, status="InProgress", reads_since=2)


def held(*actions: Action, stack: str | None = STACK) -> Version | None:
    return held_by(actions, stack, Ledger([A, B, C], [IN_PROGRESS]))


def test_a_change_set_holds_what_current_was_until_it_is_executed() -> None:
    assert held(PREPARED) == B
    # Executed, but CloudFormation may not have begun.
    assert held(EXECUTING, PREPARED) == B
    assert held(EXECUTING._replace(status="Succeeded"), PREPARED) is None
    assert held(EXECUTING._replace(started=at(25), reads_since=at(2))) == B
    prepared_again = deploy("r", 30, category=PREPARES_CHANGE_SET)
    assert held(prepared_again, EXECUTING, PREPARED) == C
    # A deploy in one action has read it, too.
    assert held(deploy("r", 2, status="InProgress")) == B
    # Of another stack, or of none, or of any if the setting names none.
    assert held(PREPARED._replace(stack="network")) is None
    assert held(deploy("r", 30, stack=None, category="Approval"), PREPARED) == B
    assert held(PREPARED, stack=None) == B
    # The history does not go back so far.
    assert held_by([PREPARED], STACK, Ledger([C], [])) == C


# --- what follows from it -------------------------------------------------------------------------

GOOD = by_hand(1, "a", -60, "cluster-OLD", "run-old", "good")
OLD = Deployment("a", GOOD, "old", Cluster("cluster-OLD", at(-50)), is_remembered=True)
NEW = Deployment("b", B, "r", CLUSTER, is_remembered=True)
PINNED = Deployment("c", C, "push", CLUSTER)
B_GOOD = version(2, "b", 0, "t", "good")
B_RESTORED = version(2, "b", 0, "t", "run-r")
SAME_AS_A = version(2, "a", 0, "t")
REVERT = undo(3, "a", 40, action="revert")
UNDO = undo(3, "a", 40)
ALIGN = undo(4, "b", 60, action="align")
ORDER, AGAIN = version(4, "b", 30, "t"), pin(5, "c", 40)
LATER = run("r", 31)
REQUEST_UNDONE = [GOOD, B, version(3, "c", 20, "u", action="pin"), undo(4, "b", 21)]


def notified(of: Version, reason: str) -> Version:
    return of._replace(labels=of.labels | {f"notified-{reason}"})


def preparing(status: str) -> Deployment:
    return NEW._replace(preparation=Preparation(status, "arn"))


B_FAILED = notified(B, "failed-after-restore")
AGAIN_B = notified(B, "run-failed")
B_UNPREPARED = notified(B, "not-prepared")


@pytest.mark.parametrize(
    ("deployment", "ledger", "runs", "expected"),
    [
        (OLD, [], [], None),
        # Restored: the notification depends on how its run ended, and current stays.
        (NEW, [GOOD, B], [SUCCEEDED], Verdict(None, B, SUCCEEDED)),
        (NEW, [GOOD, B], [FAILED], Verdict(Reason.FAILED_AFTER_RESTORE, B, FAILED)),
        (NEW, [GOOD, B], [IN_PROGRESS], None),
        # A superseded run hands over.
        (NEW, [GOOD, B], [AFTER, SUPERSEDED], Verdict(None, B, AFTER)),
        # The first edition called it good, and put no other label.
        (NEW._replace(version=B_GOOD), [GOOD, B_GOOD], [SUCCEEDED], None),
        # Once it is restored it is prepared, if it has to be: only then is it refreshed.
        (preparing("RUNNING"), [GOOD, B], [SUCCEEDED], None),
        (preparing("SUCCEEDED"), [GOOD, B_UNPREPARED], [LATER], Verdict(None, B_UNPREPARED, LATER)),
        (preparing("FAILED"), [GOOD, B], [SUCCEEDED], Verdict(Reason.NOT_PREPARED, B, SUCCEEDED)),
        (preparing("FAILED"), [B_FAILED], [FAILED], Verdict(Reason.NOT_PREPARED, B_FAILED, FAILED)),
        # Not restored: reverted, and a notification is sent afterwards.
        (OLD, [GOOD, B], [SUCCEEDED], Verdict(Reason.NOTHING_RESTORED, B, SUCCEEDED, put=True)),
        (OLD, [GOOD, B], [FAILED], Verdict(Reason.RUN_FAILED, B, FAILED, put=True)),
        (OLD, [GOOD, B], [PUSH], Verdict(Reason.RUN_FAILED, B, put=True)),
        (OLD, [GOOD, B, REVERT], [SUCCEEDED], Verdict(Reason.NOTHING_RESTORED, B, SUCCEEDED)),
        # Somebody has retried its run, which could only read what current was reverted to.
        (OLD, [GOOD, notified(B, "run-failed"), REVERT], [SUCCEEDED], None),
        # Its run is no longer listed.
        (OLD, [GOOD, notified(B, "nothing-restored"), REVERT], [], None),
        (OLD, [GOOD, AGAIN_B], [FAILED], Verdict(Reason.RUN_FAILED, AGAIN_B, FAILED, put=True)),
        # While its own run is in progress, no other run's end moves anything.
        (OLD, [GOOD, B], [PUSH, IN_PROGRESS], None),
        # A later request was undone, as its run was not started.
        (OLD, REQUEST_UNDONE, [IN_PROGRESS], None),
        (OLD, REQUEST_UNDONE, [FAILED], Verdict(Reason.RUN_FAILED, B, FAILED, put=True)),
        # Somebody has moved on: whether a run that succeeded restored it before is not known.
        (OLD, [GOOD, B, C], [SUCCEEDED], None),
        (OLD, [GOOD, B, pin(3, "b", 40)], [FAILED], Verdict(Reason.RUN_FAILED, B, FAILED)),
        (OLD, [GOOD, B_RESTORED, C], [FAILED], None),
        # What was to be restored had been deployed already: that its run failed is no news any more.
        (PINNED, [GOOD, SAME_AS_A, C], [FAILED], None),
        # A pin waits.
        (OLD, [GOOD, C], [PUSH], None),
        # Nobody waits for it, and something else is deployed.
        (NEW, [GOOD, B, UNDO], [], Verdict(Reason.DEPLOYED_DIFFERS, UNDO, put=True)),
        (NEW, [GOOD, B, ALIGN], [], Verdict(Reason.DEPLOYED_DIFFERS, ALIGN)),
        # Unknown: nothing moves, and a notification is sent if it will not settle by itself.
        (UNKNOWN, [GOOD, B], [SUCCEEDED], Verdict(Reason.DEPLOYED_UNKNOWN, B)),
        (BUSY, [GOOD, B], [], None),
        # A change set that waits may still be executed: nothing moves, but news is sent.
        (OLD._replace(held=B), [GOOD, B], [FAILED], None),
        (NEW._replace(held=A), [GOOD, B], [SUCCEEDED], Verdict(None, B, SUCCEEDED)),
        # Nothing is deployed yet.
        (NOTHING, [B], [], Verdict(Reason.RUN_FAILED, B, put=True)),
        (NOTHING, [C, ORDER, AGAIN], [LATER], Verdict(Reason.NOTHING_RESTORED, ORDER, LATER)),
        (NOTHING, [notified(ALIGN, "deployed-differs")], [], None),
    ],
)
def test_the_verdict(
    deployment: Deployment, ledger: list[Version], runs: list[Run], expected: Verdict | None
) -> None:
    if deployment.version:  # as the ledger has it, with its labels
        restored = {each.number: each for each in ledger}.get(deployment.version.number)
        deployment = deployment._replace(version=restored)
    assert verdict(deployment, Ledger(ledger, runs), at(90)) == expected


def test_newer_data_has_the_deployed_one_s_name_only_if_a_known_run_has_restored_that() -> None:
    """What was put by hand may have been put after the restore."""
    newer = snapshot(created=at(1))
    restored = Deployment(newer.arn, by_hand(1, newer.arn), "r")
    assert is_namesake(newer, restored)
    assert not is_namesake(newer, restored._replace(maker=UNKNOWN_RUN))
    assert not is_namesake(newer, restored._replace(maker=None))


def test_a_stack_is_deploying_during_an_update_and_resolves_nothing_after_a_roll_back() -> None:
    assert Stack("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", {}, {}).is_deploying
    assert not Stack("UPDATE_ROLLBACK_FAILED", {}, {}).is_deploying
    assert not Stack("REVIEW_IN_PROGRESS", {}, {}).is_deploying
    stack = Stack("UPDATE_COMPLETE", {}, {"/current": "a"})
    assert stack.value_of("/current") == "a"
    assert stack._replace(status="UPDATE_ROLLBACK_COMPLETE").value_of("/current") is None


def test_references_overlap_if_they_may_name_the_same_cluster() -> None:
    orders = StackReference("data", "Orders")
    assert orders.overlaps(orders)
    assert orders.overlaps(StackReference("data"))
    assert not orders.overlaps(StackReference("data", "Billing"))
    assert not orders.overlaps(StackReference("other"))


def test_a_position_is_in_words() -> None:
    position = Position("Ask", "Yes", at(0), "a lock")
    expected = "waiting for a lock in stage Ask, action Yes since 2026-01-04 04:00 UTC"
    assert (str(position), str(Position("Ask"))) == (expected, "in stage Ask")
