"""The simulation finds what it is there to find: each planted fault breaks a guarantee of its own.

A fault stands here if no other test finds it, or as one of its kind. Random histories find such faults
as well, some of them only after a thousand. The few steps that show a fault are written down here, so
that it is found at once, and never by luck.
"""

from collections.abc import Callable, Iterator, Mapping
from inspect import unwrap
from operator import methodcaller as step
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from chalicelib.domain import copies, deployment, ledger, ownership
from chalicelib.usecases import copies as copying
from chalicelib.usecases import current, deployments, promote, reconcile
from tests.simulation.account import Behaviour
from tests.simulation.histories import KEYS, Histories

Step = Callable[[Histories], object]

NIGHT = step("a_night_passes")
EVENINGS = step("some_nights_pass_without_a_promotion", 2)
SHARE = step("production_shares")
UPDATE = step("a_schedule_fires", "update")
POLL = step("time_passes", 30)


class Fault(NamedTuple):
    """A mistake in a module of the product, and a history that shows it."""

    module: ModuleType
    right: str
    wrong: str
    shown_by: Callable[[], None]


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


PLANTED: dict[str, Fault] = {
    # What is deployed, and what follows from it.
    "restored is not deployed if the run fails later": Fault(
        deployments,
        "return self._deployed(database, ledger)._replace(held=held)",
        "found = self._deployed(database, ledger)._replace(held=held)\n"
        "        failed = [run.execution_id for run in self._runs if run.status == 'Failed']\n"
        "        return Deployment(ledger[0].value) if found.maker in failed else found",
        history(step("a_night_passes", ends="Test")),
    ),
    "rollback runs restore nothing": Fault(
        deployments,
        "if self._pipeline\n",
        "if self._pipeline and not run.is_rollback\n",
        history(NIGHT, step("operator_pins", 0), step("somebody_acts_on_a_run", 0, "roll back")),
    ),
    "good before it is prepared": Fault(
        deployment, ' and state == "prepared"', "", history(NIGHT, prepares=True)
    ),
    "a failed preparation is no news": Fault(
        deployment,
        'if state == "not-prepared"',
        "if False",
        history(NIGHT, step("all_settles", prepared="FAILED"), prepares=True),
    ),
    "no notification is remembered": Fault(
        reconcile,
        "parameters.label(name, look.found.version.number, labels)",
        "pass",
        history(step("a_night_passes", ends="Test")),
    ),
    "no polls": Fault(
        reconcile,
        "return _reconcile(settings, aws, values, RECONCILE)",
        "return Result('ignored')",
        history(
            step("a_night_passes", ends=None),
            step("the_pipeline_goes_on", fate="fail"),
        ),
    ),
    "a waiting pin is not shown": Fault(
        deployment,
        "return bool(ledger) and not deployment.unknown and",
        "return False and",
        history(NIGHT, step("operator_pins", 0)),
    ),
    # Who moved it, and when it may be moved.
    "an inherited Description counts": Fault(
        ledger,
        "hashlib.sha256(value.encode()).hexdigest()[:16]",
        '"same"',
        history(NIGHT, SHARE, step("somebody_puts_by_hand", 0, 2, inherits=True), POLL),
    ),
    "two runs of ours": Fault(
        current,
        "busy = in_progress(self.runs)",
        "return",
        history(step("a_night_passes", meanwhile="busy")),
    ),
    "a value to be reverted is no matter": Fault(
        current,
        "again.check_in_line(each, ledger, reader.of(each, ledger))",
        "pass",
        history(
            NIGHT,
            step("operator_pins", 1, deploy=True),
            step("the_pipeline_goes_on", fate="fail"),
            step("operator_pins", 0, deploy=True),
        ),
    ),
    "a scheduled time is never spent": Fault(
        promote,
        "if self.request.is_scheduled and already_ran(ledger, actor, runs):",
        "if False:",
        history(step("a_night_passes", ends="Build", again=True)),
    ),
    "the window ignored": Fault(
        promote,
        "check_window(settings, aws.now())",
        "pass",
        history(step("a_night_passes", late=400)),
    ),
    "only the first database": Fault(
        promote,
        "        return moves\n",
        "        return dict([*moves.items()][:1])\n",
        history(NIGHT),
    ),
}

IN_COPIES: dict[str, Fault] = {
    "retention forgets current": Fault(
        copying,
        "ledger[-1].value if ledger else None",
        "None",
        with_copies(step("an_evening_comes"), step("operator_pins", -1), EVENINGS),
    ),
    "retention forgets the value before": Fault(
        copying,
        "        earlier_snapshot(ledger),\n",
        "",
        with_copies(
            step("an_evening_comes"),
            step("operator_pins", -1),
            step("operator_pins", 0),
            EVENINGS,
        ),
    ),
    "no retention": Fault(
        copying,
        "if not expired(copies, policy, kept=()):",
        "if True:",
        with_copies(EVENINGS, EVENINGS),
    ),
    "a copy in progress is deleted": Fault(
        copies,
        "copy for copy in copies if copy.snapshot.available]",
        "*copies]",
        with_copies(SHARE, UPDATE, SHARE, UPDATE, POLL),
    ),
    "managed by the tags alone": Fault(
        ownership,
        "or not arn.identifier.startswith(prefix)",
        "",
        with_copies(SHARE, step("somebody_forges_a_copy", 0, "name", "failed"), POLL),
    ),
    "a copy in progress is ignored": Fault(
        copies,
        "return newest if newest and newest.snapshot.in_progress else None",
        "return None",
        with_copies(step("an_evening_comes"), SHARE, UPDATE, step("a_schedule_fires", "promote")),
    ),
    "latest to an unfinished copy": Fault(
        copies,
        "if not copy_rejection(copy, policy)), None)",
        "if not copy.snapshot.failed), None)",
        with_copies(SHARE, UPDATE),
    ),
    "no second look at the copy": Fault(
        copying,
        "newest = newest_copy(copies, policy)",
        "newest = next((each.snapshot for each in copies if each.snapshot.arn == arn), None)",
        with_copies(
            step("an_evening_comes"),
            step("the_stage_is_deployed_with", KEYS[1]),
            step("a_schedule_fires", "promote"),
        ),
    ),
    "every share is copied": Fault(
        copying,
        "if not needs_copy(share, copies, policy):",
        "if False:",
        with_copies(step("an_evening_comes"), step("only_older_shares_are_left", 0), UPDATE),
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
