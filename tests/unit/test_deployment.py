"""What a cluster was restored from, and what follows from it."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from chalicelib.domain import deployment as under_test
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
    is_waiting,
    last_deployed,
    makers_of,
    remembered,
    restored_from,
    verdict,
    versions_read_by,
)
from chalicelib.domain.ledger import Run, Version
from chalicelib.domain.reasons import Reason
from tests.ledgers import STACK, at, by_hand, deploy, pin, run, undo, version

CLUSTER = Cluster("cluster-ABC", at(5))


# --- a world in which it is known what the cluster was restored from ------------------------------


class Account:
    """A parameter, a pipeline, a stack and its cluster, whose three services' clocks differ.

    Times are minutes; what is `seen` of a time differs from it by the service's clock.
    """

    def __init__(self, ssm: float, codepipeline: float, rds: float) -> None:
        self.ssm, self.codepipeline, self.rds = ssm, codepipeline, rds
        self.now = 0.0
        self.puts = [(-60.0, by_hand(1, "a", -60 + ssm))]
        self.value, self.created = "a", -50.0
        self.resolved: str | None = "a"  # of the last update, if that was not rolled back
        self.runs: list[Run] = []
        self.actions: list[Action] = []
        self.deploying: tuple[int, float, float] | None = None  # a run, its begin and its look
        self.deployed: set[int] = set()
        self.rolled_back: set[int] = set()

    shows_rollbacks = False  # which would mislead

    def step(self, wait: float, choice: int, value: str, fraction: float) -> None:
        """Let time pass, and do one of the things that are possible then."""
        self.now += wait
        options: list[Callable[[], None]] = [lambda: self.put(value, None)]
        if self.deploying:
            options += [lambda: self.end("complete", fraction)] * 2
            options += [lambda: self.end("rolled back", fraction)] * 2
        elif len(self.runs) < 6:
            options.append(lambda: self.start("Webhook"))
        if not any(each.in_progress for each in self.runs):
            options += [lambda: self.order(value)] * 2
            options.append(lambda: self.start("ManualRollback"))
        for index, each in enumerate(self.runs):
            if each.in_progress and not self.deploying:
                status = "Succeeded" if fraction < 0.5 else "Failed"
                options.append(lambda i=index, s=status: self.change(i, s))  # type: ignore[misc]
                if index not in self.deployed:
                    options += [lambda i=index: self.begin(i, fraction / 4)] * 2  # type: ignore[misc]
            elif index in self.rolled_back:
                options.append(lambda i=index: self.change(i, "InProgress"))  # type: ignore[misc]
        options[choice % len(options)]()

    def __repr__(self) -> str:
        return f"Account({vars(self)})"

    def put(self, value: str, token: str | None) -> None:
        number, seen = len(self.puts) + 1, self.now + self.ssm
        made = version(number, value, seen, token) if token else pin(number, value, seen)
        self.puts.append((self.now, made))

    def order(self, value: str) -> None:
        self.put(value, f"token-{len(self.puts)}")
        self.now += 0.02
        self.start("StartPipelineExecution")

    def start(self, trigger: str) -> None:
        seen, is_rollback = self.now + self.codepipeline, trigger == "ManualRollback"
        name = f"run-{len(self.runs)}"
        self.runs.append(run(name, seen, "InProgress", seen, trigger, is_rollback=is_rollback))

    def change(self, index: int, status: str) -> None:
        self.rolled_back.discard(index)
        updated = at(self.now + self.codepipeline)
        self.runs[index] = self.runs[index]._replace(status=status, updated=updated)

    def begin(self, index: int, lag: float) -> None:
        self.deploying = index, self.now, self.now + lag

    def end(self, how: str, fraction: float) -> None:
        if self.deploying is None:
            return
        (index, begun, look), self.deploying = self.deploying, None
        self.now = max(self.now, look + 0.3)
        read = [made.value for time, made in self.puts if time <= look][-1]
        status = "Succeeded" if how == "complete" else "Failed"
        times = (begun + self.codepipeline, self.now + self.codepipeline)
        self.actions.append(deploy(self.runs[index].execution_id, *times, status))
        self.resolved = read if how == "complete" or self.shows_rollbacks else None
        if status == "Failed":
            self.change(index, "Failed")
            self.rolled_back.add(index)
            return
        self.deployed.add(index)
        if read != self.value:
            self.value, self.created = read, look + fraction * (self.now - look)

    @property
    def ledger(self) -> list[Version]:
        return [made for _, made in self.puts]

    def seen(self) -> Deployment:
        cluster = Cluster("cluster-ABC", at(self.created + self.rds))
        makers = under_test.makers_of(cluster, self.actions, STACK)
        return restored_from(self.ledger, cluster, self.resolved, makers, self.runs[::-1])

    def seen_without_stack(self) -> Deployment:
        return last_deployed(self.ledger, self.actions[::-1], self.runs[::-1])


# Two of them differ by 42 seconds at most, and a stack looks up to 15 seconds later.
clocks = st.floats(-0.35, 0.35)
steps = st.tuples(
    st.sampled_from([0.05, 0.3, 0.8, 1.5, 10.0]),
    st.integers(0, 11),
    st.sampled_from("abc"),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    account = Account(draw(clocks), draw(clocks), draw(clocks))
    for step in draw(st.lists(steps, min_size=4, max_size=16)):
        account.step(*step)
    account.end("complete", 0.5)
    return account


@settings(max_examples=500)
@given(accounts())
def test_what_is_seen_is_true_or_unknown(account: Account) -> None:
    seen = account.seen()
    if not seen.unknown:
        assert (seen.value, bool(seen.maker)) == (account.value, account.created > 0)
        assert seen.version in account.ledger
    alone = account.seen_without_stack()
    has_deployed = any(each.status == "Succeeded" for each in account.actions)
    assert alone.unknown or alone.value == (account.value if has_deployed else None)


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [(under_test, "CLOCK_TOLERANCE", timedelta()), (Account, "shows_rollbacks", True)],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, fault: object
) -> None:
    monkeypatch.setattr(where, name, fault)

    @settings(max_examples=5000, derandomize=True, database=None, phases=[Phase.generate])
    @given(accounts())
    def look(account: Account) -> None:
        seen = account.seen()
        assert seen.unknown or seen.value == account.value

    with pytest.raises(AssertionError):
        look()


def test_most_of_what_happens_is_seen() -> None:
    """An answer that is always unknown would be true as well."""
    unknown = []

    @settings(max_examples=300, derandomize=True, database=None)
    @given(accounts())
    def look(account: Account) -> None:
        if account.created > 0:
            unknown.append(bool(account.seen().unknown))

    look()
    assert len(unknown) > 50
    assert sum(unknown) < len(unknown) / 4


# --- the rules one by one -------------------------------------------------------------------------

A = by_hand(1, "a", -60)
B = version(2, "b", 0, "t")
C = pin(3, "c", 20)


def test_a_cluster_is_remembered_by_its_label() -> None:
    labelled = version(2, "b", 0, "t", "cluster-ABC", "run-r")
    assert remembered([A, labelled, C], CLUSTER) == Deployment(
        "b", labelled, "r", CLUSTER, is_remembered=True
    )
    assert remembered([A, B], CLUSTER) is None


@pytest.mark.parametrize(
    ("maker", "labels"),
    [("r", {"cluster-ABC", "run-r"}), (None, {"cluster-ABC", "run-unknown"})],
)
def test_a_version_remembers_its_cluster_and_the_run_that_made_it(
    maker: str | None, labels: set[str]
) -> None:
    assert Deployment("b", B, maker, CLUSTER).labels == labels
    assert Deployment("b", B, maker).labels == labels - {"cluster-ABC"}


@pytest.mark.parametrize(
    ("actions", "makers"),
    [
        ([], []),
        # Not while the cluster was created, which was at minute 5.
        ([deploy("r", 6.1)], []),
        ([deploy("r", -7, 3.9)], []),
        # The clocks of two services differ by up to a minute.
        ([deploy("r", 6)], ["r"]),
        ([deploy("r", -7, 4)], ["r"]),
        ([deploy("r", -7, 0, "InProgress")], ["r"]),
        # Side by side: the one that deploys the stack, or deploys at all.
        ([deploy("r", 0), deploy("network", 1, stack="network")], ["r"]),
        ([deploy("r", 0, stack=None), deploy("test", 1, stack=None, category="Test")], ["r"]),
        ([deploy("r", 0, stack=None, category="Build")], ["r"]),
        # One after the other: either of them.
        ([deploy("late", 5.5), deploy("early", 0, 4.5)], ["early", "late"]),
    ],
)
def test_the_makers_are_the_deploy_actions_during_which_the_cluster_was_created(
    actions: list[Action], makers: list[str]
) -> None:
    assert [each.execution_id for each in makers_of(CLUSTER, actions, STACK)] == makers


RUN = run("r", 0.1, ended=60)
NEXT = pin(3, "c", 1.5)  # as the deploy action of the following tests is about to read


@pytest.mark.parametrize(
    ("ledger", "resolved", "makers", "runs", "expected"),
    [
        # No deploy action: what the stack says, if current held it then, else what current held.
        ([A, B, C], "a", [], [], ("a", A, None)),
        ([A, B, C], "c", [], [], ("b", B, None)),
        ([A, B, C], None, [], [], ("b", B, None)),
        ([C], None, [], [], ("c", C, None)),
        # The deploy action tells the run, and what current held when it began.
        ([A, B, C], "c", [deploy("r", 2)], [RUN], ("b", B, "r")),
        # The same value twice is one value, and its newest version is what was restored.
        ([A, B, pin(3, "b", 1.5)], None, [deploy("r", 2)], [RUN], ("b", pin(3, "b", 1.5), "r")),
        # Of several values the stack decides, if its last update was not rolled back.
        ([A, B, NEXT], "b", [deploy("r", 2)], [RUN], ("b", B, "r")),
        ([A, B, NEXT], "c", [deploy("r", 2)], [RUN, run("p", -9, ended=1)], ("c", NEXT, "r")),
        ([A, B, NEXT], "a", [deploy("r", 2)], [RUN], None),
        ([A, B, NEXT], None, [deploy("r", 2)], [RUN], None),
        # A run reads nothing from before the version that it was started for.
        ([A, B, C], None, [deploy("r", 0.5)], [RUN], ("b", B, "r")),
        ([A, B, C], None, [deploy("r", 0.5)], [RUN._replace(trigger="Webhook")], None),
        # A change set reads when it is prepared.
        ([A, pin(2, "b", 1)], None, [deploy("r", 9, reads_since=0)], [], None),
        ([A, pin(2, "b", 1)], None, [deploy("r", 9)], [], ("b", pin(2, "b", 1), "r")),
        # Two may have made it: they read different values, or the first that worked has made it.
        ([A, C], None, [deploy("r", 10), deploy("p", 30)], [], None),
        ([A, C], "a", [deploy("r", 10), deploy("p", 30)], [], ("a", A, "r")),
        ([A, C], "c", [deploy("r", 10), deploy("p", 30)], [], ("c", C, "p")),
        ([A, B], None, [deploy("r", 10), deploy("p", 30)], [], ("b", B, "r")),
        ([A, B], None, [deploy("r", 10, 11, "Failed"), deploy("p", 30)], [], ("b", B, "p")),
        ([A, B], None, [deploy("r", 10, 11, "Failed")], [], ("b", B, "r")),
        (
            [A, B],
            None,
            [deploy("r", 10, 11, "Failed"), deploy("p", 12, status="InProgress")],
            [],
            ("b", B, "p"),
        ),
        # The history does not go back so far.
        ([C], "c", [deploy("r", 2)], [RUN], None),
    ],
)
def test_what_a_cluster_was_restored_from(
    ledger: list[Version],
    resolved: str | None,
    makers: list[Action],
    runs: list[Run],
    expected: tuple[str, Version, str | None] | None,
) -> None:
    found = restored_from(ledger, CLUSTER, resolved, makers, runs)
    if expected:
        assert found == Deployment(*expected, CLUSTER)
    else:
        assert found == Deployment(cluster=CLUSTER, unknown=found.unknown)
        assert found.unknown is not None
        assert f"action Deploy of run {makers[-1].execution_id}" in found.unknown


def test_a_deploy_action_may_read_what_is_put_within_a_minute() -> None:
    ledger = [
        by_hand(n, "abcde"[n], minute) for n, minute in enumerate([-60, -1.1, -0.9, 0.9, 1.1])
    ]
    assert versions_read_by(deploy("r", 0), ledger, []) == ledger[1:4]


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], Deployment()),
        ([deploy("r", 2, status="Failed")], Deployment()),
        ([deploy("r", 2, category="Build")], Deployment()),
        ([deploy("q", 30, status="Failed"), deploy("r", 2)], Deployment("b", B, "r")),
        ([deploy("p", 30), deploy("r", 2)], Deployment("c", C, "p")),
        ([deploy("r", -70)], None),
        ([deploy("r", 19.5)], None),
    ],
)
def test_without_a_stack_the_newest_successful_deploy_action_decides(
    actions: list[Action], expected: Deployment | None
) -> None:
    found = last_deployed([A, B, C], actions, [])
    assert found == (expected or Deployment(unknown=found.unknown))
    assert bool(found.unknown) is (expected is None)


@pytest.mark.parametrize(
    ("ledger", "runs", "expected"),
    [
        ([A, B], [run("r", 1), run("q", -59)], Deployment("b", B, "r")),
        ([A, B, C], [run("q", 25, "Failed"), run("r", 1, ended=10)], Deployment("b", B, "r")),
        ([A, B, C], [run("r", 5)], Deployment(unknown="current changed during it")),
        ([A, B], [run("r", 1, "InProgress")], Deployment(unknown="…", is_deploying=True)),
    ],
)
def test_a_pipeline_without_a_deploy_action_may_deploy_at_any_time_of_a_run(
    ledger: list[Version], runs: list[Run], expected: Deployment
) -> None:
    found = last_deployed(ledger, [deploy("r", 2, category="Build")], runs)
    assert found == expected._replace(unknown=found.unknown)
    assert bool(found.unknown) is bool(expected.unknown)


def test_without_a_stack_nothing_is_known_during_a_deploy_and_a_run_is_remembered() -> None:
    busy = last_deployed([A], [deploy("r", 2, status="InProgress"), deploy("q", 1)], [])
    assert busy == Deployment(unknown="a deploy action is in progress", is_deploying=True)
    labelled = version(1, "a", -60, None, "run-q")
    expected = Deployment("a", labelled, "q", is_remembered=True)
    for actions in ([deploy("q", 1)], []):  # whose records end one day
        assert last_deployed([labelled, pin(2, "b", 30)], actions, []) == expected


PREPARED = deploy("r", 2, category=PREPARES_CHANGE_SET)
EXECUTING = deploy("r", 9, status="InProgress", reads_since=2)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], None),
        ([PREPARED], B),
        ([PREPARED._replace(status="InProgress")], B),
        # Executed, but CloudFormation may not have begun.
        ([EXECUTING, PREPARED], B),
        ([EXECUTING._replace(status="Succeeded"), PREPARED], None),
        ([deploy("r", 30, category=PREPARES_CHANGE_SET), EXECUTING, PREPARED], C),
        # A deploy in one action is seen by the stack's status.
        ([deploy("r", 2, status="InProgress")], None),
        ([deploy("r", 2, status="InProgress", reads_since=2)], None),
        # Of another stack, or of none.
        ([PREPARED._replace(stack="network")], None),
        ([deploy("r", 30, stack="network"), PREPARED], B),
        ([deploy("r", 30, stack=None, category="Approval"), PREPARED], B),
    ],
)
def test_a_change_set_holds_what_current_was_until_it_is_executed(
    actions: list[Action], expected: Version | None
) -> None:
    runs = [run("r", 1, "InProgress")]
    assert held_by(actions, STACK, [A, B, C], runs) == expected
    of_any = [each._replace(stack="any") if each.stack == STACK else each for each in actions]
    if not any(each.stack == "network" for each in actions):
        assert held_by(of_any, None, [A, B, C], runs) == expected


def test_a_change_set_from_before_the_history_is_held_all_the_same() -> None:
    assert held_by([PREPARED], STACK, [C], []) == C


# --- what follows from it -------------------------------------------------------------------------

GOOD = by_hand(1, "a", -60, "cluster-OLD", "run-old", "good")
OLD = Deployment("a", GOOD, "old", Cluster("cluster-OLD", at(-50)), is_remembered=True)
NEW = Deployment("b", B, "r", CLUSTER, is_remembered=True)
NOTHING = Deployment()
LATER = at(90)
PUSH = run("push", 5, "Failed", 6, "Webhook")


def told(of: Version, *reasons: str) -> Version:
    return of._replace(labels=of.labels | {f"notified-{reason}" for reason in reasons})


def preparing(status: str) -> Deployment:
    return NEW._replace(preparation=Preparation(status, "arn"))


B_TOLD = told(B, "not-prepared")


@pytest.mark.parametrize(
    ("deployment", "ledger", "runs", "expected"),
    [
        (OLD, [], [], None),
        (OLD, [GOOD], [], None),
        # Restored: what people hear depends on how its run ended, and current stays.
        (NEW, [GOOD, B], [run("r", 1)], Verdict(None, B, run("r", 1))),
        *(
            (NEW, [GOOD, B], [run("r", 1, s)], Verdict(Reason.FAILED_AFTER_RESTORE, B, run("r", 1, s)))
            for s in ("Failed", "Stopped", "Cancelled")
        ),
        (NEW, [GOOD, B], [run("r", 1, "InProgress")], None),
        (NEW, [GOOD, told(B, "failed-after-restore")], [run("r", 1, "Failed")], None),
        # Once it is restored it is prepared, if it has to be: only then is it refreshed.
        (preparing("RUNNING"), [GOOD, B], [run("r", 1)], None),
        (preparing("PENDING_REDRIVE"), [GOOD, B_TOLD], [run("r", 1)], None),
        (preparing("SUCCEEDED"), [GOOD, B_TOLD], [run("r", 1)], Verdict(None, B_TOLD, run("r", 1))),
        *(
            (preparing(s), [GOOD, B], [run("r", 1)], Verdict(Reason.NOT_PREPARED, B, run("r", 1)))
            for s in ("FAILED", "TIMED_OUT", "ABORTED", "there is no state machine")
        ),
        (preparing("FAILED"), [GOOD, B_TOLD], [run("r", 1)], None),
        (
            preparing("FAILED"),
            [GOOD, told(B, "failed-after-restore")],
            [run("r", 1, "Failed")],
            Verdict(Reason.NOT_PREPARED, told(B, "failed-after-restore"), run("r", 1, "Failed")),
        ),
        # A pin that waited, restored by whichever run came.
        (
            Deployment("c", C, "push", CLUSTER),
            [GOOD, C],
            [run("push", 30, trigger="Webhook")],
            Verdict(None, C, run("push", 30, trigger="Webhook")),
        ),
        # Not restored: taken back, and people hear of it afterwards.
        (OLD, [GOOD, B], [run("r", 1)], Verdict(Reason.NOTHING_RESTORED, B, run("r", 1), put=True)),
        *(
            (OLD, [GOOD, B], [run("r", 1, s)], Verdict(Reason.RUN_FAILED, B, run("r", 1, s), put=True))
            for s in ("Failed", "Stopped", "Cancelled")
        ),
        (OLD, [GOOD, B], [], Verdict(Reason.RUN_FAILED, B, None, put=True)),
        (OLD, [GOOD, B], [PUSH], Verdict(Reason.RUN_FAILED, B, None, put=True)),
        (
            OLD,
            [GOOD, B, undo(3, "a", 40, action="revert")],
            [run("r", 1)],
            Verdict(Reason.NOTHING_RESTORED, B, run("r", 1)),
        ),
        (OLD, [GOOD, told(B, "run-failed"), undo(3, "a", 40, action="revert")], [], None),
        # While its own run is in progress, no other run's end moves anything.
        (OLD, [GOOD, B], [PUSH, run("r", 1, "InProgress")], None),
        # Somebody has moved on: whether a run that succeeded restored it before is not known.
        (OLD, [GOOD, B, C], [run("r", 1)], None),
        (
            OLD,
            [GOOD, B, C],
            [run("r", 1, "Failed")],
            Verdict(Reason.RUN_FAILED, B, run("r", 1, "Failed")),
        ),
        (OLD, [GOOD, version(2, "b", 0, "t", "run-r"), C], [run("r", 1, "Failed")], None),
        # A pin waits, and so does a put by hand.
        (OLD, [GOOD, C], [PUSH], None),
        (OLD, [GOOD, by_hand(2, "c")], [PUSH], None),
        # Nobody waits for it, and something else is deployed.
        (
            NEW,
            [GOOD, told(B, "refreshed"), undo(3, "a", 40)],
            [],
            Verdict(Reason.DEPLOYED_DIFFERS, undo(3, "a", 40), put=True),
        ),
        (
            NEW,
            [GOOD, B, undo(4, "b", 60, action="align")],
            [],
            Verdict(Reason.DEPLOYED_DIFFERS, undo(4, "b", 60, action="align")),
        ),
        (NEW, [GOOD, B, told(undo(4, "b", 60, action="align"), "deployed-differs")], [], None),
        # Unknown: nothing moves, and people hear of it if it will not settle by itself.
        (
            Deployment(unknown="UPDATE_ROLLBACK_FAILED"),
            [GOOD, B],
            [run("r", 1)],
            Verdict(Reason.DEPLOYED_UNKNOWN, B),
        ),
        (Deployment(unknown="…"), [GOOD, told(B, "deployed-unknown")], [run("r", 1)], None),
        (Deployment(unknown="UPDATE_IN_PROGRESS", is_deploying=True), [GOOD, B], [], None),
        # A change set that waits may still be executed: nothing moves, but news is told.
        (OLD._replace(held=B), [GOOD, B], [run("r", 1, "Failed")], None),
        (NEW._replace(held=A), [GOOD, B], [run("r", 1)], Verdict(None, B, run("r", 1))),
        # Nothing is deployed yet.
        (NOTHING, [B], [], Verdict(Reason.RUN_FAILED, B, None, put=True)),
        (NOTHING, [C, version(4, "b", 30, "t"), pin(5, "c", 40)], [run("r", 31)], Verdict(Reason.NOTHING_RESTORED, version(4, "b", 30, "t"), run("r", 31))),
        (NOTHING, [C], [], None),
        (NOTHING, [told(undo(4, "b", 60, action="align"), "deployed-differs")], [], None),
    ],
)  # fmt: skip
def test_the_verdict(
    deployment: Deployment, ledger: list[Version], runs: list[Run], expected: Verdict | None
) -> None:
    if deployment.version:  # as the ledger has it, with its labels
        restored = {each.number: each for each in ledger}.get(deployment.version.number)
        deployment = deployment._replace(version=restored)
    assert verdict(deployment, ledger, runs, LATER) == expected


@pytest.mark.parametrize("present", [B, version(3, "b", 80, "t2")])
def test_nothing_is_taken_back_while_a_run_may_still_be_started_for_it(present: Version) -> None:
    assert verdict(OLD, [GOOD, present], [], present.modified + timedelta(minutes=14)) is None
    assert verdict(OLD, [GOOD, present], [], present.modified + timedelta(minutes=15)) is not None


values = st.sampled_from("abc")
past = st.lists(
    st.tuples(
        st.sampled_from(["order", "order", "pin", "hand", "undo", "revert", "align"]),
        values,
        st.sampled_from(["", "Succeeded", "Failed", "InProgress"]),
    ),
    min_size=1,
    max_size=5,
)


def history(entries: Sequence[tuple[str, str, str]]) -> tuple[list[Version], list[Run]]:
    """Return a ledger and the runs of its orders, newest first."""
    ledger: list[Version] = []
    runs: list[Run] = []
    for number, (action, value, status) in enumerate(entries, 1):
        minute = 60 * number
        if action == "order":
            ledger.append(version(number, value, minute, f"t{number}"))
            if status:
                runs.append(run(f"r{number}", minute + 1, status))
        elif action == "hand":
            ledger.append(by_hand(number, value, minute))
        else:
            ledger.append(undo(number, value, minute, action=action))
    return ledger, runs[::-1]


@given(past, st.none() | st.integers(0, 4), st.integers(0, 5))
def test_verdicts_settle_and_notify_of_each_end_once(
    entries: list[tuple[str, str, str]], deployed: int | None, maker: int
) -> None:
    ledger, runs = history(entries)
    now = ledger[-1].modified + timedelta(hours=1)
    index = None if deployed is None else deployed % len(ledger)
    deployment = NOTHING
    if index is not None:
        name = f"r{maker}"
        ledger[index] = ledger[index]._replace(labels=frozenset({"cluster-ABC", f"run-{name}"}))
        deployment = Deployment(ledger[index].value, ledger[index], name, CLUSTER, True)
    order, notified = ledger[-1] if ledger[-1].token else None, []
    for _ in range(6):
        found = verdict(deployment, ledger, runs, now)
        if found is None:
            break
        position = next(i for i, each in enumerate(ledger) if each.number == found.version.number)
        if not found.put:
            notified.append((found.version.number, found.reason))
            labels = found.version.labels | {found.label}
            ledger[position] = found.version._replace(labels=labels)
            deployment = remembered(ledger, CLUSTER) or deployment
            continue
        earlier = [each for each in ledger if each.token != found.version.token]
        if deployment.value is None and not earlier:
            return  # the parameter is deleted
        action = "align" if found.reason is Reason.DEPLOYED_DIFFERS else "revert"
        value = deployment.value or earlier[-1].value
        made = undo(ledger[-1].number + 1, value, 60 * len(ledger) + 60, action=action)
        if deployment.value is None and earlier[-1].waits:
            made = made._replace(note=earlier[-1].note)
        ledger.append(made)
    else:
        pytest.fail(f"does not settle: {notified}")
    assert len(notified) == len(set(notified))
    present = ledger[-1]
    ended = not any(each.in_progress for each in runs)
    if ended and deployment.value is not None and not present.waits:
        assert present.value == deployment.value
    if order and ended and order.value != deployment.value and not order.run_id:
        assert [number for number, _ in notified].count(order.number) == 1


@pytest.mark.parametrize(
    ("deployment", "ledger", "expected"),
    [
        (OLD, [GOOD], False),
        (OLD, [GOOD, C], True),
        (NOTHING, [C], True),
        (NOTHING, [], False),
        (Deployment(unknown="…"), [GOOD, C], False),
    ],
)
def test_a_restore_waits_if_the_next_deployment_would_restore_something_else(
    deployment: Deployment, ledger: list[Version], *, expected: bool
) -> None:
    assert is_waiting(deployment, ledger) is expected


# --- in words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("UPDATE_IN_PROGRESS", True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", True),
        ("UPDATE_ROLLBACK_IN_PROGRESS", True),
        ("REVIEW_IN_PROGRESS", False),
        ("UPDATE_COMPLETE", False),
        ("UPDATE_ROLLBACK_FAILED", False),
    ],
)
def test_a_stack_is_deploying_while_an_update_is_in_progress(
    status: str, *, expected: bool
) -> None:
    assert Stack(status, {}, {}).is_deploying is expected


def test_a_stack_reference_is_written_as_the_setting() -> None:
    assert [str(StackReference("data")), str(StackReference("data", "Orders"))] == [
        *("data", "data/Orders")
    ]


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (Position("Build"), "in stage Build"),
        (
            Position("Approve", "Approval", at(0), "approval"),
            "waiting for approval in stage Approve, action Approval since 2026-01-04 04:00 UTC",
        ),
        (Position("Deploy", waits_for="the run before it"), "waiting for the run before it in stage Deploy"),
    ],
)  # fmt: skip
def test_a_position_is_told_in_words(position: Position, text: str) -> None:
    assert str(position) == text
