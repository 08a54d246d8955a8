"""Failed AWS calls as this application's own exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import AwsError


@contextmanager
def translate_errors(operation: str, subject: str, *, ignored: str | None = None) -> Iterator[None]:
    """Raise a failed call as an AwsError that names the operation and its subject.

    An error of the code `ignored` ends the block and is suppressed.
    """
    try:
        yield
    except ClientError as error:
        details = error.response["Error"]
        if details["Code"] == ignored:
            return
        # A server error (5xx) does not prove that the call had no effect.
        answered = error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
        raise AwsError(
            operation, subject, details["Code"], details["Message"], answered=answered
        ) from error
    except BotoCoreError as error:
        raise AwsError(
            operation, subject, type(error).__name__, str(error), answered=False
        ) from error
