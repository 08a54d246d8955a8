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
from botocore.credentials import Credentials
from werkzeug.wrappers import Request

from localcloud import clock
from localcloud.identities import Caller, Refused, identify

_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW = timedelta(minutes=5)
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Authorization:
    """The header ``Authorization``, taken apart."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str


def verify(request: Request, body: bytes, service: str, region: str) -> Caller:
    """The caller who signed this request for that service and Region; Refused in AWS's words otherwise."""
    given = parse(request.headers.get("Authorization", ""))
    caller = identify(given.access_key_id, request.headers.get("X-Amz-Security-Token"))
    if (given.region, given.service, given.terminator) != (region, service, "aws4_request"):
        raise _invalid(
            f"Credential should be scoped to a valid region, and to correct service: '{service}'. "
        )
    _check_date(request.headers.get("X-Amz-Date", ""), given.date)
    _check_signed_headers(request, given.signed_headers)
    expected = _sign(request, body, caller.credentials, given)
    if not hmac.compare_digest(expected.encode(), given.signature.encode()):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )
    return caller


def parse(header: str) -> Authorization:
    """Take the header apart; Refused if it is absent, or not one of Signature Version 4."""
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
    access_key_id, date, region, service, terminator = given["Credential"].split("/")
    signed_headers = tuple(given["SignedHeaders"].split(";"))
    return Authorization(
        *(access_key_id, date, region, service, terminator), signed_headers, given["Signature"]
    )


def _check_date(stamp: str, scope_date: str) -> None:
    try:
        signed = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(
            "IncompleteSignatureException",
            f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.",
        ) from None
    if scope_date != stamp[:8]:
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


def _check_signed_headers(request: Request, signed: tuple[str, ...]) -> None:
    """``host``, the date, and every ``x-amz-*`` header there is must be covered by the signature."""
    if "host" not in signed or "x-amz-date" not in signed:
        raise _invalid(
            "'Host' or ':authority' and 'X-Amz-Date' must be 'SignedHeaders' in the AWS Authorization."
        )
    for name, _ in request.headers:
        if name.lower().startswith("x-amz-") and name.lower() not in signed:
            raise _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


class _ReceivedSigV4Auth(SigV4Auth):
    """botocore's signer for a request that comes in: it signs what the sender has signed."""

    def __init__(self, credentials: Credentials, given: Authorization) -> None:
        super().__init__(credentials, given.service, given.region)
        self._signed = given.signed_headers

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        headers = HTTPMessage()
        for name in self._signed:
            for value in request.headers.get_all(name, [""]):
                headers[name] = value
        return headers

    def payload(self, request: AWSRequest) -> str:
        return hashlib.sha256(request.data or b"").hexdigest()


def _sign(request: Request, body: bytes, credentials: Credentials, given: Authorization) -> str:
    # As received: the path that WSGI hands on is decoded already.
    received = AWSRequest(
        request.method,
        f"http://{request.host}{request.environ['REQUEST_URI']}",
        headers=dict(request.headers),
        data=body,
    )
    received.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = _ReceivedSigV4Auth(credentials, given)
    if "X-Amz-Content-SHA256" in received.headers:
        # botocore would take the header's word for it.
        received.headers.replace_header("X-Amz-Content-SHA256", auth.payload(received))
    string_to_sign: Any = auth.string_to_sign(received, auth.canonical_request(received))
    return str(auth.signature(string_to_sign, received))


def _invalid(message: str) -> Refused:
    return Refused("InvalidSignatureException", message)
