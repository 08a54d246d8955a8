"""What can go wrong, in the words of the contract.

Two kinds must never be confused. A *decision* not to act is an answer: it is returned, logged and
counted, and trying again would decide the same. What AWS *did not do* is raised, so that Lambda's
own retries run and its error alarm rings.
"""

from collections.abc import Sequence
from typing import NamedTuple


class RefreshError(Exception):
    """Base of everything this application raises on purpose."""


class Problem(NamedTuple):
    """What is wrong with one setting, or with several that contradict each other."""

    names: tuple[str, ...]
    detail: str
    missing: bool = False

    def __str__(self) -> str:
        return f"{', '.join(self.names)} {self.detail}"


class SettingsError(RefreshError):
    """The stage's environment variables are wrong; `problems` has everything found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "These settings of the stage are wrong:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
        )


class Refused(RefreshError):
    """A decision not to act: ``reason`` is one of the contract's codes, the message says why."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class NotFound(Refused):
    """An operator named something that does not exist."""


class AwsError(RefreshError):
    """AWS did not do what it was asked: names the operation, what it was for, and AWS's own code.

    ``answered`` is False where no answer came, or none to rely on: the call may have taken effect.
    ``code`` is then the client's own name of the failure.
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


class PipelineBusyError(AwsError):
    """A run of the main pipeline is in progress; a retry may find it idle."""

    def __init__(self, pipeline: str, execution_id: str) -> None:
        told = f"pipeline {pipeline} is busy with run {execution_id}; try later"
        super().__init__("StartPipelineExecution", f"pipeline {pipeline}", "PipelineBusy", told)
        self.args = (told,)


class VersionLimitError(AwsError):
    """The oldest of a parameter's 100 versions bears a label and cannot be dropped."""


class UncertainError(AwsError):
    """It cannot be known whether a run was started: only the same token, tried again, will tell."""

    @classmethod
    def after(cls, error: AwsError) -> "UncertainError":
        """The uncertainty that an unanswered start leaves behind."""
        return cls(error.operation, error.subject, error.code, error.message, answered=False)
