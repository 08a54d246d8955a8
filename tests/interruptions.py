"""What goes wrong on the way to AWS: a process that dies, calls that are refused, answers lost."""

from datetime import timedelta

from chalicelib.domain.errors import AwsError
from tests.fakes import InMemoryAws


class Killed(BaseException):
    """The process died: nothing of it runs any more, no handler either."""


def kill(aws: InMemoryAws, when: str, operation: str, nth: int = 1) -> None:
    """The process dies before or after the nth call of the operation."""

    def interrupt(at_when: str, at_operation: str) -> None:
        if (at_when, at_operation) == (when, operation) and aws.calls.count(operation) == nth:
            raise Killed

    aws.calls.clear()
    aws.interrupt = interrupt


def refuse(aws: InMemoryAws, *operations: str, code: str = "AccessDeniedException") -> None:
    """AWS answers that it does not do these."""

    def interrupt(when: str, operation: str) -> None:
        if when == "before" and operation in operations:
            raise AwsError(operation, "it", code, "no")

    aws.interrupt = interrupt


def lose(aws: InMemoryAws, when: str, *operations: str) -> None:
    """No answer comes to these, which never arrived (before) or took effect (after)."""

    def interrupt(at_when: str, operation: str) -> None:
        if at_when == when and operation in operations:
            raise AwsError(operation, "it", "ReadTimeoutError", "", answered=False)

    aws.interrupt = interrupt


def calm(aws: InMemoryAws, minutes: float = 1) -> None:
    """Nothing goes wrong any more; the next attempt comes a minute later."""
    aws.interrupt = lambda when, operation: None
    aws.time += timedelta(minutes=minutes)
