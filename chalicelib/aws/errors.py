"""Failed AWS calls as this application's own exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib.domain.errors import AwsError

# In the metadata of an answer: an earlier attempt of the same call got none, or a server error.
LOST_ATTEMPT = "LostAttempt"


@contextmanager
def translate_errors(operation: str, subject: str, *, ignored: str | None = None) -> Iterator[None]:
    """Raise a failed call as an AwsError that names the operation and its subject.

    An error of the code `ignored` ends the block and is suppressed.
    """
    try:
        yield
    except ClientError as error:
        code, message = code_and_message(error)
        if code == ignored:
            return
        # A server error (5xx) does not prove that the call had no effect.
        metadata = error.response.get("ResponseMetadata", {})
        answered = metadata.get("HTTPStatusCode", 400) < 500 and LOST_ATTEMPT not in metadata
        raise AwsError(operation, subject, code, message, answered=answered) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise AwsError(
            operation, subject, type(error).__name__, str(error), answered=False
        ) from error


def code_and_message(error: ClientError) -> tuple[str, str]:
    """Return AWS's own code and message, which a service in trouble may leave out."""
    details = error.response.get("Error", {})
    return details.get("Code") or "Unknown", details.get("Message") or "no message"
