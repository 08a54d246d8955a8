"""The simulation finds what it is there to find: each planted fault breaks a guarantee of its own.

Random histories find such faults as well, some of them only after a thousand. The few steps that show
a fault are written down here, so that it is found at once, and never by luck.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from inspect import unwrap
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from chalicelib import notifications
from chalicelib.domain import copies, deployment, ledger, ownership
from chalicelib.usecases import (
    checks,
    current,
    deployments,
    pin,
    promote,
    reconcile,
    scheduled,
    status,
    update_latest,
)
from chalicelib.usecases import copies as copying
from tests.simulation.account import Behaviour
from tests.simulation.histories import KEYS, Histories
from tests.usecases import test_interleavings as interleavings


class Fault(NamedTuple):
    """A mistake in a module of the product: the wrong text instead of the right one."""

    module: ModuleType
    right: str
    wrong: str
    shown_by: Callable[[], None]


Step = tuple[Any, ...]


def history(
    *steps: Step, behaviour: Behaviour | None = None, begins: str = "deployed", **facts: Any
) -> Callable[[], None]:
    """Return a history of these steps, each the name of a method of `Histories` and its arguments."""

    def play() -> None:
        stage = {"two": True, "stacks": "one", "prepares": False, "copied": [], "keep": "1"}
        machine = Histories()
        machine.begin(stage | facts, behaviour or Behaviour(), begins)
        for name, *arguments in [*steps, SETTLES]:
            getattr(machine, name)(*arguments)
            machine.the_guarantees_hold()

    return play


def with_copies(*steps: Step, **facts: Any) -> Callable[[], None]:
    """Return a history of a stage whose only database is copied."""
    return history(*steps, **{"two": False, "copied": ["RDS"]} | facts)


def between(
    mover: str, actor: str, begins: str = "deployed", *, refused: bool = False
) -> Callable[[], None]:
    """Return all interleavings of two who act at once; perhaps the mover's start is refused."""
    test = interleavings.test_whoever_comes_in_between_wins
    return partial(test, mover, actor, begins, refused)


def night(
    ends: str | None = "succeed",
    *,
    late: int = 0,
    meanwhile: str | None = None,
    again: bool = False,
) -> Step:
    return ("a_night_passes", late, [], meanwhile, ends, again)


def goes_on(which: int = 0, fate: str = "ok", minutes: int = 0) -> Step:
    """Let one of the live runs and updates go on; nobody hears of its end."""
    return ("the_pipeline_goes_on", which, fate, "nothing", minutes, "lost", [])


def share(*facts: Any) -> Step:
    return ("production_shares", 0, 0, *(facts or [{}]))


def pins(which: int, *, deploy: bool = False) -> Step:
    return ("operator_pins", which, deploy, None)


def fires(function: str, *attempts: Step) -> Step:
    return ("a_schedule_fires", function, 0, [*attempts], True)


def copies_end(how: str) -> Step:
    return ("copies_end", None, how)


def key(which: int) -> Step:
    return ("the_stage_is_deployed_with", KEYS[which])


BOTH = ("update", "promote")
SETTLES: Step = ("all_settles", True)
UPDATE: Step = fires("update")
EVENING: Step = ("an_evening_comes",)
EVENINGS: Step = ("some_nights_pass_without_a_promotion", 2)
PUSH: Step = ("a_run_begins", "Webhook")
HALF_AN_HOUR: Step = ("time_passes", 30)
REFRESHES: Step = ("operator_refreshes", True, [None], None)

# Histories that show several faults.
REFRESHED = history(night())
FAILED_AFTER_RESTORE = history(night("Test"))
ON_HOLD = history(night(meanwhile="hold"))
TOO_LATE = history(night(late=400))
COPIED = with_copies(EVENINGS)
COPY_PINNED = with_copies(EVENING, pins(-1), EVENINGS)
FORGED = with_copies(share(), ("somebody_forges_a_copy", 0, "name", "failed"), HALF_AN_HOUR)
COPY_FAILED = with_copies(share(), UPDATE, copies_end("failed"), HALF_AN_HOUR)

PLANTED: dict[str, Fault] = {
    # How it is seen what is deployed.
    "restored is not deployed if the run fails later": Fault(
        deployments,
        "return self._deployed(database, ledger)._replace(held=held)",
        "found = self._deployed(database, ledger)._replace(held=held)\n"
        "        failed = [run.execution_id for run in self._runs if run.status == 'Failed']\n"
        "        return Deployment(ledger[0].value) if found.maker in failed else found",
        FAILED_AFTER_RESTORE,
    ),
    "rollback runs restore nothing": Fault(
        deployments,
        "if self._pipeline\n",
        "if self._pipeline and not run.is_rollback\n",
        history(night(), pins(0), ("somebody_acts_on_a_run", 0, "roll back")),
    ),
    "all clocks agree": Fault(
        ledger,
        "version.modified <= run.started + CLOCK_TOLERANCE",
        "version.modified <= run.started",
        history(night("wait"), HALF_AN_HOUR, behaviour=Behaviour(ssm_clock=timedelta(seconds=20))),
    ),
    "the newest run is everybody's own": Fault(
        ledger,
        "found = [run for run in reversed(runs) if _may_be_started_for(run, version, undone)]",
        "found = [*runs[:1]]",
        history(night("beside")),
    ),
    "the run begun just before a put is its own": Fault(
        ledger,
        "for run in earlier if run.in_progress",
        "for run in earlier[:0]",
        history(
            share(),
            ("a_run_begins", "StartPipelineExecution"),
            pins(-1, deploy=True),
            ("somebody_acts_on_a_run", 0, "stop"),
            ("a_bad_poll_comes", []),
            behaviour=Behaviour(listing_lag=timedelta(seconds=20)),
        ),
    ),
    "a failed roll-back is no matter": Fault(
        deployments,
        'if stack.status.endswith("ROLLBACK_FAILED"):',
        "if False:",
        history(night("Deploy")),
    ),
    "a prepared change set is no matter": Fault(
        deployments,
        "held = self._held(database, ledger)",
        "held = None",
        history(
            *(night("wait"), PUSH, goes_on(1), goes_on(0, "fail"), *[goes_on(0)] * 3),
            *(PUSH, *[goes_on(1)] * 3, HALF_AN_HOUR),
            behaviour=Behaviour(change_sets=True),
        ),
    ),
    # What follows from it.
    "a skipped deploy stage is no matter": Fault(
        deployment,
        "if is_present or is_taken_back or (run and not run.succeeded):",
        "if not run or not run.succeeded:",
        history(night("skip"), stacks="unknown"),
    ),
    "good before it is prepared": Fault(
        deployment, ' and state == "prepared"', "", history(night(), prepares=True)
    ),
    "a failed preparation is no news": Fault(
        deployment,
        'if state == "not-prepared"',
        "if False",
        history(night(), ("all_settles", True, "FAILED"), prepares=True),
    ),
    "no second look": Fault(
        current,
        "if self._is_being_read(database, ledger):\n                put(",
        "if False:\n                put(",
        between("take back", "deploy begins"),
    ),
    "no notification is remembered": Fault(
        reconcile,
        "parameters.label(name, look.found.version.number, labels)",
        "pass",
        FAILED_AFTER_RESTORE,
    ),
    "no polls": Fault(
        reconcile,
        "return _reconcile(settings, aws, values, RECONCILE)",
        "return Result('ignored')",
        history(night(None), goes_on(0, "fail")),
    ),
    "a waiting pin is not shown": Fault(
        deployment,
        "return bool(ledger) and not deployment.unknown and",
        "return False and",
        history(night(), pins(0)),
    ),
    "long runs are not shown": Fault(
        status,
        "if each.in_progress and self.now - each.started > LONG_RUN:",
        "if False:",
        history(PUSH, ("time_passes", 1440)),
    ),
    # Who moved it.
    "an inherited Description counts": Fault(
        ledger,
        "hashlib.sha256(value.encode()).hexdigest()[:16]",
        '"same"',
        history(night(), share(), ("somebody_puts_by_hand", 0, 2, True), HALF_AN_HOUR),
    ),
    "a put that does not look": Fault(
        current, "if number != after + 1:", "if False:", between("promote", "pin")
    ),
    "present value, no version": Fault(
        ledger,
        "(present.value, present.actor) == (value, actor)\n        and own_run(present, ledger, runs)"
        " is None",
        "present.value == value",
        history(night(None), goes_on(0, "fail"), REFRESHES),
    ),
    "a delete that does not look": Fault(
        current,
        "if not again or again[-1].number != ledger[-1].number:",
        "if False:",
        between("promote", "hand", "no parameter", refused=True),
    ),
    "two runs of ours": Fault(
        current, "busy = in_progress(self.runs)", "return", history(night(meanwhile="busy"))
    ),
    "a run about to start is not minded": Fault(
        current,
        "may_be_starting(present, self.aws.now())",
        "False",
        between("promote", "pin and deploy"),
    ),
    "a value to be reverted is no matter": Fault(
        current,
        "again.check_in_line(each, ledger, reader.of(each, ledger))",
        "pass",
        history(night(), pins(1, deploy=True), goes_on(0, "fail"), pins(0, deploy=True)),
    ),
    # The schedule, people, and the undo of both.
    "no undo": Fault(
        promote, "if name is None:", "if True:", between("promote", "hand", refused=True)
    ),
    "a scheduled time is never spent": Fault(
        promote,
        "if self.request.is_scheduled and already_ran(ledger, actor, runs):",
        "if False:",
        history(night("Build", again=True)),
    ),
    "the window ignored": Fault(promote, "check_window(settings, aws.now())", "pass", TOO_LATE),
    "the weeks ignored": Fault(
        scheduled,
        "if not cadence.is_on_week(day):",
        "if False:",
        history(night(), share(), *[("a_schedule_fires", each, 0, [], False) for each in BOTH]),
    ),
    "the hold ignored": Fault(
        promote, "check_hold(settings, self.values, aws.now())", "pass", ON_HOLD
    ),
    "no second look at the snapshot": Fault(
        checks,
        "broken = rejection(snapshot, database.criteria)",
        "broken = None",
        history(night(meanwhile="broken")),
    ),
    "only the first database": Fault(
        promote, "        return moves\n", "        return dict([*moves.items()][:1])\n", REFRESHED
    ),
    "a pin of anything": Fault(
        pin,
        "broken = pin_rejection(snapshot, database.criteria)",
        "broken = None",
        history(share({"engine_version": "99.1"}), pins(-1)),
    ),
    "nobody hears of decisions": Fault(
        notifications, 'if result.outcome not in ("skipped", "failed")', "if True", TOO_LATE
    ),
}

IN_COPIES: dict[str, Fault] = {
    # Which copies stay.
    "retention forgets latest": Fault(
        copying,
        "        *latest,\n",
        "",
        with_copies(EVENING, key(1), share(), UPDATE, key(0), copies_end("available")),
    ),
    "retention forgets what a pin of latest has just read": Fault(
        update_latest,
        "leading = (entry.latest, entry.previous, *recent)",
        "leading = (entry.latest,)",
        with_copies(("operator_pins_latest", 0, "put")),
    ),
    "retention forgets current": Fault(
        copying, "ledger[-1].value if ledger else None", "None", COPY_PINNED
    ),
    "retention forgets the value before": Fault(
        copying,
        "        earlier_snapshot(ledger),\n",
        "",
        with_copies(EVENING, pins(-1), pins(0), EVENINGS),
    ),
    "retention forgets good": Fault(
        copying,
        "(good, restored, ordered)",
        "(restored, ordered)",
        with_copies(night(), night("Test"), pins(0), pins(1), EVENINGS),
    ),
    "retention forgets what is deployed": Fault(
        copying,
        "(good, restored, ordered)",
        "(good, ordered)",
        with_copies(night(), night("Test"), night("Build"), pins(0), pins(1), EVENINGS),
    ),
    "retention forgets what a run was started for": Fault(
        copying,
        "(good, restored, ordered)",
        "(good, restored)",
        with_copies(night(), night("Build"), pins(0), pins(1), EVENINGS),
    ),
    "no retention": Fault(
        copying,
        "if not expired(copies, policy, kept=()):",
        "if True:",
        with_copies(EVENING, EVENINGS),
    ),
    "one too few is kept": Fault(
        copies, "done[policy.keep :]", "done[policy.keep - 1 :]", with_copies(EVENINGS, keep="2")
    ),
    "a copy in progress is deleted": Fault(
        copies,
        "copy for copy in copies if copy.snapshot.available]",
        "*copies]",
        with_copies(share(), UPDATE, share(), UPDATE, HALF_AN_HOUR),
    ),
    "nobody hears of a failed copy": Fault(
        update_latest, "if notification:", "if False:", COPY_FAILED
    ),
    # Which are ours.
    "managed by the tags alone": Fault(
        ownership, "or not arn.identifier.startswith(prefix)", "", FORGED
    ),
    # Which are made.
    "two snapshots of one name have one copy": Fault(
        copies,
        "source, moment, self",
        "source, self",
        with_copies(EVENING, share({}, True), UPDATE),
    ),
    "the poll copies unasked": Fault(
        update_latest,
        "next((each for each in versions if COPY_WANTED in each.labels), None)",
        "versions[0]",
        with_copies(share(), HALF_AN_HOUR),
    ),
    "every share is copied": Fault(
        copying,
        "if not needs_copy(share, copies, policy):",
        "if False:",
        with_copies(EVENING, ("only_older_shares_are_left", 0), UPDATE),
    ),
    "one error stops all": Fault(
        update_latest,
        "run_each(chosen, lambda each: look.update(*each))",
        "[look.update(*each) for each in chosen], []",
        history(
            share(),
            ("production_shares", 1, 0, {}),
            fires("update", ("refuse", "before", "copy", 1)),
            copied=["RDS", "DOCS"],
        ),
    ),
    # Which are promoted.
    "a copy in progress is ignored": Fault(
        copies,
        "return newest if newest and newest.snapshot.in_progress else None",
        "return None",
        with_copies(EVENING, share(), UPDATE, fires("promote")),
    ),
    "latest to an unfinished copy": Fault(
        copies,
        "if not copy_rejection(copy, policy)), None)",
        "if not copy.snapshot.failed), None)",
        with_copies(share(), UPDATE),
    ),
    "no second look at the copy": Fault(
        copying,
        "newest = newest_copy(copies, policy)",
        "newest = next((each.snapshot for each in copies if each.snapshot.arn == arn), None)",
        with_copies(EVENING, key(1), fires("promote")),
    ),
}


def plant(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every function of the module the code that it has with the wrong text."""
    text = Path(str(fault.module.__file__)).read_text()
    assert text.count(fault.right) == 1, f"{fault.module.__name__} has changed: {fault.right}"
    wrong: dict[str, Any] = {"__name__": fault.module.__name__}
    exec(compile(text.replace(fault.right, fault.wrong), "planted", "exec"), wrong)  # noqa: S102
    functions = dict(_functions(vars(fault.module), fault.module.__name__))
    for name, function in _functions(wrong, fault.module.__name__):
        monkeypatch.setattr(functions[name], "__code__", function.__code__)


def _functions(namespace: Mapping[str, Any], module: str) -> Iterator[tuple[str, FunctionType]]:
    for value in namespace.values():
        function = unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
        if getattr(value, "__module__", None) == module and isinstance(value, type):
            yield from _functions(vars(value), module)
        elif isinstance(function, FunctionType) and function.__module__ == module:
            yield function.__qualname__, function


@pytest.mark.parametrize("name", PLANTED | IN_COPIES)
def test_without_its_fault_a_history_breaks_no_guarantee(name: str) -> None:
    (PLANTED | IN_COPIES)[name].shown_by()


@pytest.mark.parametrize("name", PLANTED | IN_COPIES)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = (PLANTED | IN_COPIES)[name]
    plant(fault, monkeypatch)
    with pytest.raises(AssertionError):  # whichever guarantee breaks first
        fault.shown_by()
