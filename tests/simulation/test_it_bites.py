"""The simulation finds what it is there to find: each planted fault breaks some guarantee."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chalicelib import notifications
from chalicelib.domain import hold, ledger, snapshots
from chalicelib.domain.errors import Refused
from chalicelib.usecases import current, follow, pin
from chalicelib.usecases import promote as refresh
from chalicelib.usecases import status as overview
from tests.simulation.histories import Histories

Plant = Callable[[pytest.MonkeyPatch], None]


def instead(room: Any, name: str, wrong: Any) -> Plant:
    return lambda monkeypatch: monkeypatch.setattr(room, name, wrong)


def nothing(*arguments: Any) -> None:
    """A step that is left out."""


def next_move_by_value(entries: Any, value: str, runs: Any, by: str, token: str) -> Any:
    """Promotes whatever differs, and takes nothing up that was left behind."""
    if entries and entries[-1].value == value:
        return None
    return ledger.Move(value, entries[-1].value if entries else None, token)


def newest_good(entries: Any, run: Any) -> Any:
    """Whatever a successful run carried becomes good, in the order of the events."""
    return ledger.newest_carried(entries, run)


def present_version(entries: Any, run: Any) -> Any:
    """As if every run carried whatever is current when its event comes."""
    return entries[-1]


def untaken(*arguments: Any) -> bool:
    """Nothing is ever put back."""
    return False


def untaken_once_refused(*arguments: Any) -> bool:
    """Put back only when AWS failed, not when a retry must not go on."""
    if isinstance(arguments[-1], Refused):
        return False
    return REAL_TAKEN_BACK(*arguments)


def blind_take_back(aws: Any, names: Any, pipeline: str, ours: Any, why: Any) -> bool:
    """Puts back what is ours without asking whether a run has come for it."""
    for name in names:
        entries = aws.parameters.history(name)
        if entries and ours(entries[-1]) and len(entries) > 1:
            aws.parameters.put(name, entries[-2].value, ledger.Note("undo", "x", "x"))
    return True


def first_move_only(*arguments: Any) -> Any:
    """One database is promoted, and the others wait."""
    return dict(list(REAL_MOVES(*arguments).items())[:1])


def by_hand_without(check: str) -> Any:
    """A person's order, and only a person's, skips one check."""

    def plan(settings: Any, aws: Any, values: Any, order: Any, walk: Any) -> Any:
        if order.scheduled:
            return REAL_PLAN(settings, aws, values, order, walk)
        with patch.object(refresh, check, nothing):
            return REAL_PLAN(settings, aws, values, order, walk)

    return plan


def eager_dry_run(settings: Any, aws: Any, values: Any, plan: Any, walk: Any, run: Any) -> Any:
    """Puts what it was only asked about."""
    for name, move in plan.moves.items():
        aws.parameters.put(name, move.value, plan.note)
    return REAL_STARTED(settings, aws, values, plan, walk, run)


def impatient_dry_run(*, collect_all: bool = False) -> Any:
    """Does not look on where a condition of time is not met, and then forgets it."""
    walk = REAL_WALK(collect_all=collect_all)
    walk.end_of_checks = nothing  # type: ignore[method-assign]
    return walk


def oldest_snapshot(entries: Any) -> Any:
    """Back to where it all began."""
    values = [entry.value for entry in entries if entry.value != entries[-1].value]
    return next(filter(snapshots.SnapshotArn.parse, values), None)


def snapshot_before(entries: Any) -> Any:
    """Back to the version before, whatever it holds."""
    return entries[-2].value if len(entries) > 1 else None


def present_entry(entries: Any, runs: Any) -> Any:
    """What is current is taken for what acceptance is on."""
    return entries[-1] if entries else None


def any_good_entry(entries: Any, runs: Any) -> Any:
    """Only the label counts, not a run whose event is still to come."""
    return ledger.good_entry(entries)


def newest_carrying_run(entry: Any, entries: Any, runs: Any) -> Any:
    """A run of a later version is told of an earlier one, too."""
    return next((run for run in runs if ledger.carries(run, entry)), None)


def curious_look(settings: Any, aws: Any, databases: Any) -> Any:
    """Whoever looks marks the present version good."""
    look = REAL_LOOK(settings, aws, databases)
    for database in databases:
        entries = look.ledgers[database.name]
        aws.parameters.mark_good(database.current_parameter, entries[-1].version)
    return look


def a_day_short(held: Any, day: Any) -> bool:
    """The hold ends one day before its day."""
    return bool(day < held.until - timedelta(days=1))


REAL_LOOK = overview._look  # noqa: SLF001
REAL_MOVES = refresh._moves  # noqa: SLF001
REAL_PLAN = refresh._plan  # noqa: SLF001
REAL_STARTED = refresh._started  # noqa: SLF001
REAL_TAKEN_BACK = refresh._taken_back  # noqa: SLF001
REAL_WALK = refresh.StepLog

PLANTED: dict[str, Plant] = {
    "no undo": instead(refresh, "_taken_back", untaken),
    "no undo when a retry is refused": instead(refresh, "_taken_back", untaken_once_refused),
    "an undo that does not look for a run": instead(refresh, "revert", blind_take_back),
    "a token from the clock": instead(refresh, "_scheduled_token", lambda by: str(uuid.uuid4())),
    "a scheduled time is never spent": instead(refresh, "already_ran", lambda *_: False),
    "nothing is taken up after a kill": instead(refresh, "next_move", next_move_by_value),
    "the window ignored": instead(refresh, "_check_window", nothing),
    "the weeks ignored": instead(refresh, "check_week", nothing),
    "the hold ignored": instead(refresh, "_check_hold", nothing),
    "no second look at the snapshot": instead(refresh, "rejection", nothing),
    "a busy pipeline ignored": instead(refresh, "check_idle", nothing),
    "only the first database": instead(refresh, "_moves", first_move_only),
    "ties by order": instead(snapshots, "_recency", lambda snapshot: snapshot.created),
    "followed without carrying": instead(follow, "newest_carried", present_version),
    "good moves back": instead(follow, "newly_good", newest_good),
    "a failed run's value stays": instead(follow, "put", nothing),
    "nobody hears of decisions": instead(notifications, "of_answer", nothing),
    "a refresh by hand ignores the hold": instead(refresh, "_plan", by_hand_without("_check_hold")),
    "a refresh by hand ignores the window": instead(
        refresh, "_plan", by_hand_without("_check_window")
    ),
    "a dry run that puts": instead(refresh, "_started", eager_dry_run),
    "a dry run that forgets a refusal": instead(refresh, "StepLog", impatient_dry_run),
    "an operator's failed start is not taken back": instead(current, "revert", nothing),
    "a rollback to the oldest": instead(pin, "earlier_snapshot", oldest_snapshot),
    "a rollback to the present value": instead(pin, "earlier_snapshot", snapshot_before),
    "a rollback or pin beside a run": instead(pin, "check_idle", nothing),
    "a rollback or pin of anything": instead(pin, "pin_rejection", nothing),
    "a hold that ends a day early": instead(hold.Hold, "covers", a_day_short),
    "a waiting pin is called deployed": instead(overview, "proven_entry", present_entry),
    "deployed by the label alone": instead(overview, "proven_entry", any_good_entry),
    "any run is said to restore": instead(overview, "carries", lambda *_: True),
    "a run is told of every version before": instead(
        overview, "newest_run_of", newest_carrying_run
    ),
    "a look that writes": instead(overview, "_look", curious_look),
}


def histories() -> None:
    """The same histories each time, so that what is found does not depend on luck."""
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=250,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[fault](monkeypatch)
    with pytest.raises(Exception):  # noqa: B017, PT011 (whichever guarantee breaks first)
        histories()


def test_without_a_fault_nothing_is_found() -> None:
    histories()
