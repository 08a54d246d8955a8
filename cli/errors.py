"""Errors for people: what is wrong, and the next step."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from botocore import exceptions

from chalicelib.domain.errors import AwsError, SettingsError
from cli.output import Failure

_MISSING = (
    "This command needs a clone of the project with its tools: run make setup there. For the console, "
    "pipx inject aurora-refresh flask is enough. Missing: {}."
)

# The codes of AWS's services for credentials that are invalid or have expired.
_INVALID_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}
# botocore's exceptions for credentials that it cannot get.
_NO_CREDENTIALS = {
    "CredentialRetrieval",
    "NoCredentials",
    "PartialCredentials",
    "RefreshWithMFAUnsupported",
    "SSOTokenLoad",
    "TokenRetrieval",
    "UnauthorizedSSOToken",
}
# For example, because this machine's clock is wrong.
_INVALID_SIGNATURE = {"InvalidSignatureException", "SignatureDoesNotMatch"}
# What happens once a request was made, although no status is known.
_REQUESTED = {"Interrupted", "ResponseParser", "UnknownAnswer", "Unreachable"}
# The API may have been made anew since it was found.
_OTHER_API = {"ForbiddenException", "MissingAuthenticationTokenException"}
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_WRONG_USAGE = {
    "BadRequestError",  # of our API
    "InvalidRegion",
    "Malformed",
    "NoRegion",
    "ProfileNotFound",
    "StageNotFound",
}

_MAYBE_MADE = "if you asked for a change, it may have been made."
_SIGN_IN = "Sign in, for example with aws sso login, or set AWS_PROFILE."
_ASK_FOR_PERMISSION = (
    "Check that your profile belongs to the stage's account, and ask its owner for the missing permission. "
    "docs/operations.md and docs/rights.md have policies."
)
_NEXT_STEPS = {
    "StageNotFound": "Check the stage's name, your profile and your Region. A production stage has no API, and one "
    "with PIN_API_ENABLED=false has none either.",
    **dict.fromkeys(
        ("NoJson", "MissingAuthenticationTokenException"),
        "Check the address given with --url, which ends in the API's stage, such as /api, and your proxy.",
    ),
    "ResponseParser": "A proxy may have answered instead of AWS: check your proxy and VPN.",
    "ForbiddenException": "Check the stage or the address. If it is a domain of your own, check its mapping to the API. "
    "A VPC endpoint in your network, or a firewall, may have answered instead: try without the VPN.",
    "MissingDependency": "aws login needs another package: pipx inject aurora-refresh 'botocore[crt]'.",
    "Interrupted": f"Check the status: {_MAYBE_MADE}",
    "ConfigParse": "Correct that file.",
    "InvalidConfig": "Correct the profile.",
    "ProfileNotFound": "Name an existing profile with --profile or AWS_PROFILE.",
    "Unreachable": "Check your network, VPN and proxy, and AWS_CA_BUNDLE if that inspects TLS. Check the status first: "
    f"{_MAYBE_MADE}",
    "NoRegion": "Name the stage's Region with --region or AWS_DEFAULT_REGION.",
    "InvalidRegion": "Name the stage's Region with --region or AWS_DEFAULT_REGION.",
    "Malformed": "Check the command and the environment variables AWS_….",
    **dict.fromkeys(_INVALID_CREDENTIALS, _SIGN_IN),
    **dict.fromkeys(
        _INVALID_SIGNATURE, "Check your machine's clock, the Region and the secret key."
    ),
    **dict.fromkeys(DENIED, _ASK_FOR_PERMISSION),
    **dict.fromkeys(_NO_CREDENTIALS, _SIGN_IN),
    "403": _ASK_FOR_PERMISSION,
    "429": "Wait a moment, then try again.",
    **dict.fromkeys(
        ("500", "502", "503", "504"),
        f"Wait a minute, and check the status before you try again: {_MAYBE_MADE}",
    ),
}


class ApiError(Failure):
    """A refusal by AWS or the API; `status` is None without an answer, `next_step` may be empty."""

    def __init__(self, status: int | None, code: str, message: str) -> None:
        # A line break in what AWS quotes, such as a hold's reason, could imitate a line of ours.
        super().__init__(" ".join(message.split()))
        self.status, self.code = status, code
        self.next_step = _NEXT_STEPS.get(code) or _NEXT_STEPS.get(str(status), "")
        self.exit_code = 2 if code in _WRONG_USAGE else 1  # type: ignore[misc]
        # No request was made, as without credentials or a Region.
        is_local = status is None and code not in _REQUESTED
        self.may_pass_with_new_session = (
            is_local or code in _INVALID_CREDENTIALS | _INVALID_SIGNATURE | _OTHER_API
        )

    def format_message(self) -> str:
        """Return the message with the next step."""
        message = self.message if self.message.endswith(".") else f"{self.message}."
        return f"{message} {self.next_step}".strip()


def unknown_answer(missing: KeyError) -> ApiError:
    """Return the error for an answer of the API that lacks a field."""
    return ApiError(
        None,
        "UnknownAnswer",
        f"The answer has no {missing}: the address may belong to another API, or the stage may run another "
        "version than this command",
    )


def _failed_calls() -> tuple[type[Exception], ...]:
    from botocore.parsers import ResponseParserError  # which is slow to import

    return AwsError, exceptions.ClientError, exceptions.BotoCoreError, ResponseParserError


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise a failed AWS call as ApiError, in botocore's words."""
    try:
        yield
    except RuntimeError as error:
        if "refreshed credentials" not in str(error):  # botocore has no exception of its own for it
            raise
        raise ApiError(None, "CredentialRetrieval", str(error)) from error
    except _failed_calls() as error:
        cause = (isinstance(error, AwsError) and error.__cause__) or error
        if isinstance(cause, exceptions.ClientError):
            from chalicelib.aws.errors import code_and_message  # which is slow to import

            status = cause.response["ResponseMetadata"]["HTTPStatusCode"]
            raise ApiError(status, code_and_message(cause)[0], str(cause)) from error
        is_unreachable = isinstance(cause, (exceptions.ConnectionError, exceptions.HTTPClientError))
        name = "Unreachable" if is_unreachable else type(cause).__name__.removesuffix("Error")
        raise ApiError(None, name, str(cause)) from error


@contextmanager
def as_failures() -> Iterator[None]:
    """Raise what a user can do something about as Failure."""
    try:
        with translated_errors():
            yield
    except SettingsError as error:
        raise Failure(str(error)) from error
    except ModuleNotFoundError as error:
        raise Failure(_MISSING.format(error.name)) from error
    except BrokenPipeError:  # click ends silently
        raise
    except OSError as error:  # such as a full disk
        raise Failure(str(error)) from error
    except (KeyboardInterrupt, click.Abort, EOFError) as error:
        raise Failure("Stopped.") from error
