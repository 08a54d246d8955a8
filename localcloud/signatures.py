"""Signature Version 4, verified as AWS does: who signed this request?

Restores *Create a signed AWS API request* and *Troubleshoot Signature Version 4* (IAM User Guide). The
signature is computed anew with botocore's own signer over the request as it was received, and compared in
constant time. The body counts by its bytes, whatever ``x-amz-content-sha256`` says of it. The date counts by
the world's clock, as the signer's machine does not follow the cloud's.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPMessage
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    CreateAccessKeyFailure,
    IAMUserAccessKey,
    create_access_key,
)
from moto.iam.models import get_account_id_from, iam_backends
from moto.sts.models import sts_backends
from werkzeug.wrappers import Request

from localcloud import clock

_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW = timedelta(minutes=5)
_STAMP = "%Y%m%dT%H%M%SZ"


class Refused(Exception):
    """The request is not let in; ``code`` is the exception's name as AWS gives it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Caller:
    """Who signed: an IAM user or a role's session."""

    account: str
    arn: str
    user_id: str
    access_key_id: str
    policies: tuple[Any, ...]


def verify(request: Request, body: bytes, service: str, region: str) -> Caller:
    """The caller who signed this request for that service and Region; Refused in AWS's words otherwise."""
    given = _parse(request.headers.get("Authorization", ""))
    access_key_id, date, *scope = given["Credential"].split("/")
    key = _key(access_key_id, request)
    if scope != [region, service, "aws4_request"]:
        raise _invalid(
            f"Credential should be scoped to a valid region, and to correct service: '{service}'. "
        )
    _check_date(request.headers.get("X-Amz-Date", ""), date)
    signed = given["SignedHeaders"].split(";")
    if "host" not in signed or "x-amz-date" not in signed:
        raise _invalid(
            "'Host' or ':authority' and 'X-Amz-Date' must be 'SignedHeaders' in the AWS Authorization."
        )
    expected = _sign(request, body, key, signed, service, region)
    if not hmac.compare_digest(expected, given["Signature"]):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )
    return Caller(
        key.account_id, key.arn, _user_id(key), access_key_id, tuple(key.collect_policies())
    )


def _parse(header: str) -> dict[str, str]:
    if not header:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    given = dict[str, str]()
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if equals:
            given[name] = value
    missing = [n for n in ("Credential", "Signature", "SignedHeaders") if not given.get(n)]
    if algorithm != _ALGORITHM or missing or given["Credential"].count("/") != 4:
        wanted = " ".join(
            f"Authorization header requires '{name}' parameter."
            for name in missing or ("Credential",)
        )
        raise Refused("IncompleteSignatureException", f"{wanted} Authorization={header}")
    return given


def _key(access_key_id: str, request: Request) -> IAMUserAccessKey | AssumedRoleAccessKey:
    account = get_account_id_from(access_key_id)
    try:
        return create_access_key(account, "aws", access_key_id, request.headers)  # type: ignore[arg-type]
    except CreateAccessKeyFailure:
        raise Refused(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ) from None


def _check_date(stamp: str, scope_date: str) -> None:
    try:
        signed = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(
            "IncompleteSignatureException",
            f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.",
        ) from None
    if not stamp.startswith(scope_date):
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope_date}' != '{stamp[:8]}', from '{stamp}'."
        )
    now = datetime.fromtimestamp(clock.real_time(), UTC)
    if signed < now - _SKEW:
        raise _invalid(
            f"Signature expired: {stamp} is now earlier than "
            f"{now - _SKEW:{_STAMP}} ({now:{_STAMP}} - 5 min.)"
        )
    if signed > now + _SKEW:
        raise _invalid(
            f"Signature not yet current: {stamp} is still later than "
            f"{now + _SKEW:{_STAMP}} ({now:{_STAMP}} + 5 min.)"
        )


class _ReceivedSigV4Auth(SigV4Auth):
    """botocore's signer for a request that comes in: it signs what the sender has signed."""

    def __init__(self, credentials: Any, service: str, region: str, signed: list[str]) -> None:
        super().__init__(credentials, service, region)
        self._signed = signed

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        headers = HTTPMessage()
        for name in self._signed:
            for value in request.headers.get_all(name, [""]):
                headers[name] = value
        return headers

    def payload(self, request: AWSRequest) -> str:
        return hashlib.sha256(request.data or b"").hexdigest()


def _sign(
    request: Request,
    body: bytes,
    key: IAMUserAccessKey | AssumedRoleAccessKey,
    signed: list[str],
    service: str,
    region: str,
) -> str:
    # As received: the path that WSGI hands on is decoded already.
    received = AWSRequest(
        request.method,
        f"http://{request.host}{request.environ['REQUEST_URI']}",
        headers=dict(request.headers),
        data=body,
    )
    received.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = _ReceivedSigV4Auth(key.create_credentials(), service, region, signed)
    if "X-Amz-Content-SHA256" in received.headers:
        # botocore would take the header's word for it.
        received.headers.replace_header("X-Amz-Content-SHA256", auth.payload(received))
    string_to_sign = auth.string_to_sign(received, auth.canonical_request(received))
    return auth.signature(string_to_sign, received)


def _user_id(key: IAMUserAccessKey | AssumedRoleAccessKey) -> str:
    if isinstance(key, IAMUserAccessKey):
        name = key.arn.rpartition("/")[2]
        return str(iam_backends[key.account_id]["aws"].get_user(name).id)
    sessions = sts_backends[key.account_id]["aws"].assumed_roles
    return next(s.user_id for s in sessions if s.arn == key.arn)


def _invalid(message: str) -> Refused:
    return Refused("InvalidSignatureException", message)
