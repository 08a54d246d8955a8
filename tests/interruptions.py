"""Faults on the way to AWS: a process that dies, calls that are refused, answers that are lost."""

from collections.abc import Callable
from datetime import timedelta

from chalicelib.domain.errors import AwsError
from tests.fakes import InMemoryAws


class Killed(BaseException):
    """The process died: nothing of it runs any more, no handler either."""


def kill(aws: InMemoryAws, when: str, operation: str) -> None:
    """Let the process die before or after the first call of the operation."""

    def die() -> None:
        raise Killed

    meanwhile(aws, when, operation, die)


def refuse(aws: InMemoryAws, *operations: str) -> None:
    """Let AWS refuse every call of these operations."""

    def interrupt(when: str, operation: str) -> None:
        if when == "before" and operation in operations:
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    aws.interrupt = interrupt


def lose(aws: InMemoryAws, when: str, *operations: str) -> None:
    """Lose the answers to these, which never arrived (before) or took effect (after)."""

    def interrupt(at_when: str, operation: str) -> None:
        if at_when == when and operation in operations:
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

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
