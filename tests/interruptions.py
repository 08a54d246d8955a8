"""Faults on the way to AWS: a process that dies, calls that are refused, answers that are lost."""

from collections.abc import Callable
from datetime import timedelta

from chalicelib.domain.errors import AwsError
from chalicelib.domain.results import Result
from chalicelib.usecases.batch import raise_errors
from tests.fakes import InMemoryAws


def raised(result: Result) -> Result:
    """Raise the errors of a result, as the trigger does that has reported it."""
    raise_errors(result.errors)
    return result


class Killed(BaseException):
    """The process died: nothing of it runs any more, no handler either."""


def refuse(aws: InMemoryAws, operation: str, then: str = "", *, answered: bool = True) -> None:
    """Let AWS refuse every call of this operation, and from the first one on those of another."""
    aws.calls.clear()

    def interrupt(when: str, called: str) -> None:
        if when == "before" and called in (operation, then if operation in aws.calls else ""):
            raise AwsError(called, "it", "AccessDeniedException", "no", answered=answered)

    aws.interrupt = interrupt


def meanwhile(
    aws: InMemoryAws, when: str, operation: str, happens: Callable[[], object], nth: int = 1
) -> None:
    """Let something happen once, before or after the nth call of the operation."""
    aws.calls.clear()

    def interrupt(at_when: str, at_operation: str) -> None:
        if (at_when, at_operation) == (when, operation) and aws.calls.count(operation) == nth:
            aws.interrupt = lambda when, operation: None
            happens()

    aws.interrupt = interrupt


def calm(aws: InMemoryAws, minutes: float = 1) -> None:
    """Let nothing go wrong any more; the next attempt comes a minute later."""
    aws.interrupt = lambda when, operation: None
    aws.time += timedelta(minutes=minutes)
