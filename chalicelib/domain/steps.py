"""The steps of a promotion in their order, each with its verdict. Pure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib.domain.errors import BusyError, Refused
from chalicelib.domain.results import Step

CHECKS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle")
ACTIONS = ("put", "start")


class StepLog:
    """Records the verdict of each step of a promotion.

    A check is `passed` or `refused`, an action `done` or `would do`, and a step that was not
    reached `not reached`. With `collect_all`, a refusal for reasons of time does not end the
    checks: every condition is looked at first.
    """

    def __init__(self, *, collect_all: bool = False) -> None:
        self._collect_all = collect_all
        self._steps = {name: Step(name, "not reached", None) for name in (*CHECKS, *ACTIONS)}
        self._refusal: Refused | BusyError | None = None

    @contextmanager
    def step(self, name: str, *, time_based: bool = False) -> Iterator[Callable[[str], None]]:
        """Record the verdict of the check in the block; yield a function that takes its detail."""
        details: list[str] = []
        try:
            yield details.append
        except (Refused, BusyError) as refusal:
            self._steps[name] = Step(name, "refused", str(refusal))
            self._refusal = self._refusal or refusal
            if not (self._collect_all and time_based):
                raise self._refusal from None
        else:
            self._steps[name] = Step(name, "passed", details[-1] if details else None)

    def end_of_checks(self) -> None:
        """Raise the first deferred refusal."""
        if self._refusal:
            raise self._refusal

    def mark_actions(self, verdict: str) -> None:
        """Record the verdict of all actions."""
        self._steps |= {name: Step(name, verdict, None) for name in ACTIONS}

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step with its verdict."""
        return tuple(self._steps.values())
