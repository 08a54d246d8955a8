"""What can go wrong.

Two kinds must never be confused. A *decision* not to act is a result: it is returned, logged and
counted, and a retry would decide the same. A *failed AWS call* is raised, so that Lambda retries
and its error alarm rings.
"""

from collections.abc import Sequence
from typing import NamedTuple

from chalicelib.domain.reasons import Reason


class RefreshError(Exception):
    """Base of everything that this application raises on purpose."""


class Problem(NamedTuple):
    """What is wrong with one setting, or with several that contradict each other.

    It is `missing` if a required value is, and `unknown` if the name is probably a typo.
    """

    names: tuple[str, ...]
    detail: str
    missing: bool = False
    unknown: bool = False

    def __str__(self) -> str:
        """Return the problem in words."""
        return f"{', '.join(self.names)} {self.detail}"


class SettingsError(RefreshError):
    """The stage's environment variables are wrong; `problems` has everything found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "The stage's settings are wrong:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
        )


class Refused(RefreshError):
    """A decision not to act; the message says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class NotFound(Refused):
    """A person's request names something that does not exist."""


# AWS's code if the oldest of a parameter's 100 versions bears a label and cannot be dropped.
VERSION_LIMIT = "ParameterMaxVersionLimitExceeded"


class AwsError(RefreshError):
    """An AWS call failed; names the operation, its subject and AWS's own code.

    `answered` is False if no reliable answer came, so that the call may have taken effect. `code`
    is then the client's name of the failure.
    """

    def __init__(
        self, operation: str, subject: str, code: str, message: str, *, answered: bool = True
    ) -> None:
        self.operation = operation
        self.subject = subject
        self.code = code
        self.message = message
        self.answered = answered
        super().__init__(f"{operation} of {subject} failed: {code}: {message}")


class UncertainError(AwsError):
    """Whether a run was started is unknown: only a retry with the same token will tell."""


class BusyError(RefreshError):
    """A restore is in progress or about to start; a later attempt may find none."""
