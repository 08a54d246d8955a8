"""The simulation finds what it is there to find: each planted fault breaks a guarantee."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from chalicelib import notifications
from chalicelib.domain import copies, deployment, hold, ledger, ownership, snapshots
from chalicelib.domain.copies import Copy, CopyPolicy
from chalicelib.domain.deployment import Action, Deployment, Verdict
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Result
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.usecases import (
    checks,
    current,
    deployments,
    pin,
    promote,
    reconcile,
    status,
    under_way,
    update_latest,
)
from chalicelib.usecases import copies as copying
from chalicelib.usecases import poll as polling
from chalicelib.usecases.promote import _Attempt as Attempt
from chalicelib.usecases.update_latest import _Look as Look
from tests.simulation.histories import Histories
from tests.simulation.histories_of_copies import HistoriesOfCopies
from tests.usecases import test_interleavings as interleavings

Plant = Callable[[pytest.MonkeyPatch], None]

REAL_ACTIONS = deployments.Deployments._first_seen  # noqa: SLF001
REAL_NEXT_MOVE = ledger.next_move
REAL_OF_DEPLOYED = deployment._of_deployed  # noqa: SLF001
REAL_OF_ORDER = deployment._of_order  # noqa: SLF001
REAL_MOVES = Attempt._moves  # noqa: SLF001
REAL_OF = deployments.Deployments.of
REAL_CHECK = Attempt.check


def instead(wrong: Any, *places: tuple[Any, str]) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for owner, name in places:
            monkeypatch.setattr(owner, name, wrong)

    return plant


def nothing(*_: Any, **__: Any) -> None:
    """Leave a step out."""


def newest_run(version: Any, versions: Any, runs: Any) -> Any:
    """Take whichever run ended last for the version's own."""
    return runs[0] if runs and version.token else None


def deployed_by_success(self: Any, database: Any, versions: Any) -> Deployment:
    """Take what a run restored that failed afterwards for not deployed."""
    seen = REAL_OF(self, database, versions)
    run = next((each for each in self._runs if each.execution_id == seen.maker), None)
    if run is None or run.in_progress or run.succeeded:
        return seen
    before = [each for each in versions if each.value != seen.value]
    return seen._replace(value=before[-1].value, version=None) if before else seen


def no_rollback_runs(self: Any, *arguments: Any) -> Deployment:
    """Do not look for the deploy actions of rollback runs."""
    runs = [run for run in self._runs if not run.is_rollback]
    return REAL_ACTIONS(
        SimpleNamespace(_runs=runs, _pipeline=self._pipeline, _actions=self._actions), *arguments
    )


def order_is_good(seen: Any, versions: Any, runs: Any, now: Any) -> Iterator[Verdict]:
    """Mark what was to be restored good once its own run succeeds, whatever that deployed."""
    order = ledger.last_order(versions)
    run = ledger.own_run(order, versions, runs) if order else None
    if order and run and run.succeeded and not order.is_good:
        yield Verdict(None, order, run)
    yield from REAL_OF_ORDER(seen, versions, runs, now)


def present_is_good(seen: Any, versions: Any, runs: Any, now: Any) -> Iterator[Verdict]:
    """Mark the present version good once any run succeeds."""
    present, run = versions[-1], next(iter(runs), None)
    if run and run.succeeded and run.started > present.modified and not present.is_good:
        yield Verdict(None, present, run)
    yield from REAL_OF_ORDER(seen, versions, runs, now)


def success_is_enough(seen: Any, versions: Any, runs: Any, now: Any) -> Iterator[Verdict]:
    """Do not take back what a successful run did not restore."""
    found = REAL_OF_ORDER(seen, versions, runs, now)
    yield from (each for each in found if each.reason is not Reason.NOTHING_RESTORED)


def failed_is_good(seen: Any, runs: Any) -> Iterator[Verdict]:
    """Mark good what a failed run restored."""
    for each in REAL_OF_DEPLOYED(seen, runs):
        yield each._replace(reason=None)


def good_unprepared(seen: Any, runs: Any) -> Iterator[Verdict]:
    """Do not wait for the after-restore work."""
    yield from REAL_OF_DEPLOYED(seen._replace(preparation=None), runs)


def unprepared_is_no_news(seen: Any, runs: Any) -> Iterator[Verdict]:
    """Notify nobody of after-restore work that failed."""
    found = REAL_OF_DEPLOYED(seen, runs)
    yield from (each for each in found if each.reason is not Reason.NOT_PREPARED)


def any_move(versions: Any, value: str, runs: Any, actor: str, token: str) -> ledger.Move:
    """Write no version if `current` has this value already, whoever set it."""
    present = versions[-1] if versions else None
    if present and present.value == value:
        return ledger.Move(value, present.token or token, present, is_written=True)
    return REAL_NEXT_MOVE(versions, value, runs, actor, token)


def blind_put(aws: Any, name: str, value: str, note: Any, after: int) -> int:
    """Put without looking whether somebody has come in between."""
    return current._put(aws, name, value, note)  # noqa: SLF001


def no_second_look(self: Any, database: Any, versions: Any, value: str, note: Any) -> bool:
    """Do not look whether a deploy has begun since the first look."""
    current.put(self.aws, database.current_parameter, value, note, versions[-1].number)
    return True


def blind_delete(self: Any, database: Any, *_: Any) -> bool:
    """Delete without a second look at who has moved it, or undo as if the order had created it."""
    self.aws.parameters.delete(database.current_parameter)
    return True


def forget(pipeline: Any, look: Any) -> Any:
    """Do not remember what people were told."""
    return look.database, pipeline.aws.parameters.history(look.database.current_parameter)


def first_move_only(*arguments: Any) -> Any:
    """Promote one database, and let the others wait."""
    return dict(list(REAL_MOVES(*arguments).items())[:1])


def by_person_without(check: str) -> Any:
    """Leave one check out, for a person's request only."""

    def wrong(self: Any) -> Any:
        if self.request.is_scheduled:
            return REAL_CHECK(self)
        with patch.object(promote, check, nothing):
            return REAL_CHECK(self)

    return wrong


def closed_at_last_update(self: Action, instant: Any) -> bool:
    """Take an action in progress to be over when its record was last changed."""
    return bool(
        self.started - deployment.CLOCK_TOLERANCE
        <= instant
        <= self.updated + deployment.CLOCK_TOLERANCE
    )


IGNORED = Result("ignored")
OF_ORDER = (deployment, "_of_order")
OF_DEPLOYED = (deployment, "_of_deployed")
OWN_RUN = [(each, "own_run") for each in (ledger, deployment, deployments, current, status, pin)]

PLANTED: dict[str, Plant] = {
    # What the first edition did wrong, row by row.
    "restored is not deployed if the run fails later": instead(
        deployed_by_success, (deployments.Deployments, "of")
    ),
    "an order is good once its run succeeds": instead(order_is_good, OF_ORDER),
    "the present version is good once a run succeeds": instead(present_is_good, OF_ORDER),
    "what a failed run restored is good": instead(failed_is_good, OF_DEPLOYED),
    "rollback runs restore nothing": instead(
        no_rollback_runs, (deployments.Deployments, "_first_seen")
    ),
    "a waiting pin is not shown": instead(
        lambda *_: False, (status, "is_waiting"), (under_way, "is_waiting")
    ),
    "a skipped deploy stage is no matter": instead(success_is_enough, OF_ORDER),
    "long runs are not shown": instead(timedelta(days=9999), (status, "LONG_RUN")),
    "the newest run is everybody's own": instead(newest_run, *OWN_RUN),
    "no polls": instead(lambda *_: IGNORED, (polling, "reconcile")),
    # Who moved it.
    "an inherited Description counts": instead(lambda value: "same", (ledger, "_fingerprint")),
    "a put that does not look": instead(blind_put, (current, "put"), (pin, "put")),
    "present value, no version": instead(any_move, (pin, "next_move"), (promote, "next_move")),
    "an undo that deletes": instead(blind_delete, (current.Pipeline, "revert_one")),
    "a delete that does not look": instead(blind_delete, (current.Pipeline, "delete_created")),
    "nothing told is remembered": instead(forget, (reconcile, "_remember")),
    "two runs of ours": instead(nothing, (current.Pipeline, "check_idle")),
    "a run about to start is not minded": instead(lambda *_: False, (current, "may_be_starting")),
    # How it is seen, and corrected.
    "no second look": instead(no_second_look, (current.Pipeline, "put_back")),
    "a prepared change set is no matter": instead(nothing, (deployments, "held_by")),
    "nothing is taken back": instead(lambda *_: False, (reconcile, "_put_back")),
    "an action is over at its last update": instead(closed_at_last_update, (Action, "covers")),
    "all clocks agree": instead(
        timedelta(), *((each, "CLOCK_TOLERANCE") for each in (ledger, deployment, deployments))
    ),
    "a failed roll-back is no matter": instead((), (deployments, "ROLLBACK_FAILED")),
    # The after-restore work.
    "good before it is prepared": instead(good_unprepared, OF_DEPLOYED),
    "a failed preparation is no news": instead(unprepared_is_no_news, OF_DEPLOYED),
    # The schedule and its undo.
    "no undo": instead(lambda *_: False, (Attempt, "undo")),
    "a failed start by a person is not undone": instead(nothing, (current.Pipeline, "revert")),
    "a scheduled time is never spent": instead(lambda *_: False, (promote, "already_ran")),
    "the window ignored": instead(nothing, (promote, "check_window")),
    "the weeks ignored": instead(nothing, (promote, "check_week")),
    "the hold ignored": instead(nothing, (promote, "check_hold")),
    "a refresh by hand ignores the hold": instead(
        by_person_without("check_hold"), (Attempt, "check")
    ),
    "a hold that ends a day early": instead(
        lambda self, day: day < self.until - timedelta(days=1), (hold.Hold, "covers")
    ),
    "no second look at the snapshot": instead(nothing, (checks, "rejection")),
    "only the first database": instead(first_move_only, (Attempt, "_moves")),
    "ties by order": instead(lambda snapshot: snapshot.created, (snapshots, "_recency")),
    "a pin of anything": instead(nothing, (pin, "pin_rejection")),
    "nobody hears of decisions": instead(nothing, (notifications, "of_result")),
}
# What only two people who act at once can meet.
BETWEEN = {
    "a put that does not look",
    "a delete that does not look",
    "an undo that deletes",
    "a run about to start is not minded",
    "no second look",
    "no undo",
    "a failed start by a person is not undone",
}


# --- copies ---------------------------------------------------------------------------------------

REAL_EXPIRED = copies.expired
REAL_MANAGED = copies.managed_copies
REAL_NEWEST = copies.newest_copy
REAL_OWNED = ownership.owned
REAL_PROMOTABLE = copying.promotable_copy
REAL_READ = copies._read  # noqa: SLF001
REAL_UPDATE = Look.update


def retention_without(*forgotten: str) -> Plant:
    """Let the retention forget what one of its references leads to."""

    def expired_copies(aws: Any, database: Any, found: Any, latest: Any) -> list[Copy]:
        ledger = aws.parameters.history(database.current_parameter)
        good = copying.good_version(ledger)
        leading = {
            "latest": latest[0],
            "latest before": latest[1],
            "current": ledger[-1].value,
            "before": copying.earlier_snapshot(ledger),
            "good": good.value if good else None,
        }
        kept = [each for name, each in leading.items() if name not in forgotten and each]
        return REAL_EXPIRED(found, database.copy_policy, kept=kept)

    return instead(expired_copies, (update_latest, "expired_copies"))


def keeping(more: int) -> Any:
    """Keep another number of copies than was asked for."""

    def wrong(found: Sequence[Copy], policy: CopyPolicy, kept: Any) -> list[Copy]:
        return REAL_EXPIRED(found, policy._replace(keep=policy.keep + more), kept)

    return wrong


def by_name_only(snapshots: Iterable[OwnSnapshot], policy: CopyPolicy) -> list[Copy]:
    """Manage whatever bears the prefix."""
    found = []
    for own in snapshots:
        tags = ownership.tags(policy.made_for, own.snapshot.created) | {
            copies.SOURCE: own.snapshot.arn
        }
        found.append(own._replace(tags=tags | dict(own.tags), source=None))
    return REAL_MANAGED(found, policy)


def whatever_its_state(own: copying.ListOwn, policy: CopyPolicy, arn: str) -> Snapshot:
    """Promote the copy that `latest` names without a second look at it."""
    named = [each.snapshot for each in own() if each.snapshot.arn == arn]
    return named[0] if named else REAL_PROMOTABLE(own, policy, arn)


def what_latest_names(own: copying.ListOwn, policy: CopyPolicy, arn: str) -> Snapshot:
    """Promote no copy before the poll has recorded it."""
    found = copying.settled_copies(own, policy)
    named = [
        copy.snapshot for copy in found if copy.snapshot.available and copy.snapshot.arn == arn
    ]
    return named[0] if named else REAL_PROMOTABLE(own, policy, arn)


EXPIRED = (copying, "expired")
NEWEST = (update_latest, "newest_copy")
OWNED = (ownership, "owned")
PROMOTABLE = (checks, "promotable_copy")
READ = (copies, "_read")

IN_COPIES: dict[str, Plant] = {
    "retention forgets latest": retention_without("latest", "latest before"),
    "retention forgets what a pin of latest has just read": retention_without("latest before"),
    "retention forgets current": retention_without("current"),
    "retention forgets the value before": retention_without("before"),
    "retention forgets good": retention_without("good"),
    "retention by the number alone": retention_without(
        "latest", "latest before", "current", "before", "good"
    ),
    "no retention": instead(lambda *_: [], (update_latest, "expired_copies")),
    "one too few is kept": instead(keeping(-1), EXPIRED),
    "one too many is kept": instead(keeping(1), EXPIRED),
    "a copy in progress is deleted": instead(
        lambda found, policy, kept: [
            copy for copy in found[policy.keep :] if copy.snapshot.arn not in kept
        ],
        EXPIRED,
    ),
    "failed copies stay": instead(property(lambda self: False), (Snapshot, "failed")),
    "nobody hears of a failed copy": instead(nothing, (notifications, "of_result")),
    "managed by the name alone": instead(
        by_name_only, (update_latest, "managed_copies"), (copying, "managed_copies")
    ),
    "managed by the tags alone": instead(
        lambda own, prefix, made_for: REAL_OWNED(own, "", made_for), OWNED
    ),
    "managed for any stage": instead(
        lambda own, prefix, made_for: REAL_OWNED(own, prefix, own.tags.get(ownership.MADE_FOR, "")),
        OWNED,
    ),
    "a forged source": instead(
        lambda own, policy: REAL_READ(own._replace(source=None), policy), READ
    ),
    "data newer than its copy": instead(
        lambda own, policy: REAL_READ(
            own._replace(snapshot=own.snapshot._replace(created=None)), policy
        ),
        READ,
    ),
    "the age of the copy, not of its data": instead(
        lambda own, policy: (
            (copy := REAL_READ(own, policy)) and copy._replace(snapshot=own.snapshot)
        ),
        READ,
    ),
    "a copy in progress is ignored": instead(nothing, (copying, "pending_copy")),
    "latest to the share": instead(
        lambda self, database, choice: REAL_UPDATE(
            self, database._replace(copy_policy=None), choice
        ),
        (Look, "update"),
    ),
    "latest to a copy under any key": instead(
        lambda found, _: next((copy.snapshot for copy in found if copy.snapshot.available), None),
        NEWEST,
    ),
    "latest to an unfinished copy": instead(
        lambda found, _: next((copy.snapshot for copy in found if not copy.snapshot.failed), None),
        NEWEST,
    ),
    "latest to the oldest copy": instead(
        lambda found, policy: REAL_NEWEST(found[::-1], policy), NEWEST
    ),
    "a copy is requested twice": instead(
        lambda *_: copies.PREFIX + uuid.uuid4().hex, (CopyPolicy, "name")
    ),
    "the poll copies unasked": instead(
        lambda self, database: next(
            iter(self.aws.parameters.history(database.latest_parameter)), None
        ),
        (Look, "version_that_wants_a_copy"),
    ),
    "every share is copied": instead(lambda *_: True, (copying, "needs_copy")),
    "no second look at the copy": instead(whatever_its_state, PROMOTABLE),
    "only what latest names is promoted": instead(what_latest_names, PROMOTABLE),
    "one error stops all": instead(
        lambda items, action: ([action(item) for item in items], []), (update_latest, "run_each")
    ),
}


# --- what finds them ------------------------------------------------------------------------------


def histories(
    machine: type[RuleBasedStateMachine] = Histories, count: int = 1_000, steps: int = 30
) -> None:
    """Play the same histories each time, so that what is found does not depend on luck."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def histories_of_copies(count: int = 1_000) -> None:
    histories(HistoriesOfCopies, count, 15)


def all_interleavings() -> None:
    for mover in ("promote", "refresh", "take back"):
        for actor in ("hand", "pin and deploy", "promote", "deploy begins"):
            for history in interleavings.HISTORIES:
                for fails in (False, True)[: 1 + (mover != actor)]:
                    interleavings.test_whoever_comes_in_between_wins(mover, actor, history, fails)


FINDING = {
    **dict.fromkeys(PLANTED, histories),
    **dict.fromkeys(BETWEEN, all_interleavings),
    **dict.fromkeys(IN_COPIES, histories_of_copies),
}


@pytest.mark.parametrize("fault", PLANTED | IN_COPIES)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (PLANTED | IN_COPIES)[fault](monkeypatch)
    with pytest.raises(AssertionError):  # whichever guarantee breaks first
        FINDING[fault]()


def test_without_a_fault_nothing_is_found() -> None:
    histories(count=100)  # test_histories.py plays more
    all_interleavings()
    histories_of_copies(400)
