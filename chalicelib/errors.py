"""What can go wrong, in the words of the contract.

Two kinds must never be confused. A *decision* not to act is an answer: it is returned, logged and
counted, and trying again would decide the same. What AWS *did not do* is raised, so that Lambda's
own retries run and its error alarm rings.
"""


class RefreshError(Exception):
    """Base of everything this application raises on purpose."""


class SettingsError(RefreshError):
    """The stage's environment variables do not describe a refresh; carries every problem found."""

    def __init__(self, problems: list[str]) -> None:
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

    ``code`` is AWS's error code, or the client's own name of the failure where no answer came.
    """

    def __init__(self, operation: str, subject: str, code: str, message: str) -> None:
        self.operation = operation
        self.subject = subject
        self.code = code
        super().__init__(f"{operation} of {subject} failed: {code}: {message}")
