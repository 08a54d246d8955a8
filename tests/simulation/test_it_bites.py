"""The simulation finds what it is there to find: each planted fault breaks some guarantee."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chalicelib import follow, ledger, notices, refresh, snapshots
from chalicelib.errors import Refused
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


def blind_take_back(world: Any, names: Any, pipeline: str, ours: Any, why: Any) -> bool:
    """Puts back what is ours without asking whether a run has come for it."""
    for name in names:
        entries = world.parameters.history(name)
        if entries and ours(entries[-1]) and len(entries) > 1:
            world.parameters.put(name, entries[-2].value, ledger.Note("undo", "x", "x"))
    return True


def first_move_only(*arguments: Any) -> Any:
    """One database is promoted, and the others wait."""
    return dict(list(REAL_MOVES(*arguments).items())[:1])


REAL_MOVES = refresh._moves  # noqa: SLF001
REAL_TAKEN_BACK = refresh._taken_back  # noqa: SLF001

PLANTED: dict[str, Plant] = {
    "no undo": instead(refresh, "_taken_back", untaken),
    "no undo when a retry is refused": instead(refresh, "_taken_back", untaken_once_refused),
    "an undo that does not look for a run": instead(refresh, "take_back", blind_take_back),
    "a token from the clock": instead(refresh, "_scheduled_token", lambda by: str(uuid.uuid4())),
    "a scheduled time is never spent": instead(refresh, "is_spent", lambda *_: False),
    "nothing is taken up after a kill": instead(refresh, "next_move", next_move_by_value),
    "the window ignored": instead(refresh, "_check_window", nothing),
    "the weeks ignored": instead(refresh, "_check_week", nothing),
    "the hold ignored": instead(refresh, "_check_hold", nothing),
    "no second look at the snapshot": instead(refresh, "rejection", nothing),
    "a busy pipeline ignored": instead(refresh, "_check_idle", nothing),
    "only the first database": instead(refresh, "_moves", first_move_only),
    "ties by order": instead(snapshots, "_recency", lambda snapshot: snapshot.created),
    "followed without carrying": instead(follow, "newest_carried", present_version),
    "good moves back": instead(follow, "newly_good", newest_good),
    "a failed run's value stays": instead(follow, "put", nothing),
    "nobody hears of decisions": instead(notices, "of_answer", nothing),
}


def histories() -> None:
    """The same histories each time, so that what is found does not depend on luck."""
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=300,
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
