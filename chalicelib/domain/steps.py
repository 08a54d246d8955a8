"""The steps of a promotion, walked in the contract's order, each with its verdict. Pure."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from chalicelib.domain.errors import PipelineBusyError, Refused

CHECKS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle")
DEEDS = ("put", "start")


class StepLog:
    """How far a promotion came; a ``collect_all`` one looks at every condition of time.

    The verdicts are ``passed`` and ``refused`` for a check, ``done`` and ``would do`` for a deed, and
    ``not reached``.
    """

    def __init__(self, *, collect_all: bool = False) -> None:
        self._patient = collect_all
        self._verdicts: dict[str, tuple[str, str | None]] = {}
        self._refused: Refused | PipelineBusyError | None = None

    @contextmanager
    def step(self, name: str, *, time_based: bool = False) -> Iterator[Callable[[str], None]]:
        """Within it stands what the step checks; it gives the function that tells its detail."""
        detail: list[str] = []
        try:
            yield detail.append
        except (Refused, PipelineBusyError) as refused:
            self._verdicts[name] = ("refused", str(refused))
            self._refused = self._refused or refused
            if not (self._patient and time_based):
                raise self._refused from None
        else:
            self._verdicts[name] = ("passed", detail[-1] if detail else None)

    def end_of_checks(self) -> None:
        """Raises the first refusal that patience had put off."""
        if self._refused:
            raise self._refused

    def done(self) -> None:
        """The deeds are done."""
        self._verdicts |= dict.fromkeys(DEEDS, ("done", None))

    def mark_planned(self) -> None:
        """The deeds would be done."""
        self._verdicts |= dict.fromkeys(DEEDS, ("would do", None))

    @property
    def steps(self) -> tuple[Mapping[str, str | None], ...]:
        """Every step with its verdict and the detail in words."""
        return tuple(
            {"step": name, "verdict": verdict, "detail": detail}
            for name in (*CHECKS, *DEEDS)
            for verdict, detail in [self._verdicts.get(name, ("not reached", None))]
        )
