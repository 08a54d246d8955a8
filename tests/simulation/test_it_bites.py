"""The simulation finds what it is there to find: each planted fault breaks a guarantee of its own.

A fault stands here if no other test finds it, or as one of its kind. Random histories find such faults
as well, some of them only after a thousand. The few steps that show a fault are written down here, so
that it is found at once, and never by luck.
"""

from collections.abc import Callable
from operator import methodcaller as step
from typing import Any, NamedTuple

import pytest

from chalicelib.domain.ownership import is_owned
from chalicelib.domain.results import Result
from chalicelib.usecases.current import Pipeline
from tests.simulation.account import Behaviour
from tests.simulation.histories import Histories

Step = Callable[[Histories], object]

NIGHT = step("a_night_passes")
FAILS_LATE = step("a_night_passes", ends="Test")
EVENING = step("an_evening_comes")
EVENINGS = (EVENING, EVENING)
SHARE = step("production_shares")
LOSS = step("a_snapshot_breaks", 0, "deleted")
UPDATE = step("a_schedule_fires", "update")
PROMOTE = step("a_schedule_fires", "promote")
POLL = step("time_passes", 30)
PIN = step("operator_pins", 0)
PINS = (PIN, step("operator_pins", 1))
LATE_NIGHT = step("a_night_passes", late=400)
HELD_NIGHT, BUSY_NIGHT = (step("a_night_passes", meanwhile=each) for each in ("hold", "busy"))


def history(*steps: Step, **facts: Any) -> Callable[[], None]:
    """Return a history of a stage with these facts, after which everything comes to its end."""

    def play() -> None:
        stage = {"two": True, "stacks": "one", "prepares": False, "copied": [], "keep": "1"}
        machine = Histories()
        machine.begin(stage | facts, Behaviour(), "deployed")
        for each in (*steps, step("all_settles")):
            each(machine)
            machine.the_guarantees_hold()

    return play


def with_copies(*steps: Step) -> Callable[[], None]:
    """Return a history of a stage whose only database is copied."""
    return history(*steps, two=False, copied=["RDS"])


# --- what the product would do wrong --------------------------------------------------------------


def nothing(*_: object) -> None:
    """Do not check, or find nothing."""


put_and_start, set_up = Pipeline.put_and_start, Pipeline.__init__


class Fault(NamedTuple):
    """What in the product is wrong, what stands in its place, and a history that shows it."""

    target: str
    instead: object
    shown_by: Callable[[], None]


PLANTED: dict[str, Fault] = {
    # What is deployed, and what follows from it.
    "rollback runs restore nothing": Fault(
        "usecases.current.Pipeline.__init__",
        lambda self, aws, name, runs, *given: set_up(
            self, aws, name, [x for x in runs if not x.is_rollback], *given
        ),
        history(NIGHT, PIN, step("somebody_acts_on_a_run", 0, "roll back")),
    ),
    "what is not prepared is good": Fault(
        "domain.deployment.Preparation.state",
        "prepared",
        history(NIGHT, step("all_settles", prepared="FAILED"), prepares=True),
    ),
    "no notification is remembered": Fault(
        "usecases.reconcile._remember",
        lambda _, look, __: (look.database, look.ledger),
        history(FAILS_LATE),
    ),
    "no polls": Fault(
        "usecases.poll.reconcile",
        lambda *_: Result("ignored"),
        history(step("a_night_passes", ends=None), step("the_pipeline_goes_on", fate="fail")),
    ),
    "a waiting pin is not shown": Fault("usecases.status.is_waiting", nothing, history(NIGHT, PIN)),
    # Who moved it, and when it may be moved.
    "an inherited Description counts": Fault(
        "domain.ledger._fingerprint",
        lambda _: "same",
        history(NIGHT, SHARE, step("somebody_puts_by_hand", 0, 2, inherits=True), POLL),
    ),
    "two runs of ours": Fault("usecases.current.in_progress", nothing, history(BUSY_NIGHT)),
    "a value to be reverted is no matter": Fault(
        "usecases.current.verdict",
        nothing,
        history(
            NIGHT,
            step("operator_pins", 1, deploy=True),
            step("the_pipeline_goes_on", fate="fail"),
            step("operator_pins", 0, deploy=True),
        ),
    ),
    "the window ignored": Fault("usecases.promote._Attempt._window", nothing, history(LATE_NIGHT)),
    "the hold ignored": Fault("usecases.promote._Attempt._hold", nothing, history(HELD_NIGHT)),
    "only the first database": Fault(
        "usecases.current.Pipeline.put_and_start",
        lambda self, moves, *given: put_and_start(self, dict([*moves.items()][:1]), *given),
        history(NIGHT),
    ),
    # Which copies stay.
    "retention forgets good": Fault(
        "usecases.copies.good_version", nothing, with_copies(NIGHT, FAILS_LATE, *PINS, *EVENINGS)
    ),
    "no retention": Fault(
        "usecases.update_latest.expired_copies", lambda *_: [], with_copies(*EVENINGS, *EVENINGS)
    ),
    "managed by the tags alone": Fault(
        "domain.ownership.is_owned",
        lambda own, _, made_for: is_owned(own, "", made_for),
        with_copies(SHARE, step("somebody_forges_a_copy", 0, "failed"), POLL),
    ),
    # Which are made and promoted.
    "every share is copied": Fault(
        "domain.copies.ManagedCopies.needs_copy_of",
        lambda *_: True,
        with_copies(EVENING, *[LOSS] * 4, step("production_shares", hours=100), UPDATE),
    ),
    "latest to an unfinished copy": Fault(
        "domain.copies.CopyPolicy.rejection", nothing, with_copies(SHARE, UPDATE)
    ),
    "a copy in progress is ignored": Fault(
        "domain.copies.ManagedCopies.pending", nothing, with_copies(EVENING, SHARE, UPDATE, PROMOTE)
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_without_its_fault_a_history_breaks_no_guarantee(name: str) -> None:
    PLANTED[name].shown_by()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = PLANTED[name]
    monkeypatch.setattr(f"chalicelib.{fault.target}", fault.instead)
    with pytest.raises(AssertionError):  # whichever guarantee breaks first
        fault.shown_by()
