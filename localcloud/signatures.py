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
    signed_headers: tuple[str, ...]
    signature: str


def verify(request: Request, body: bytes, service: str, region: str) -> Caller:
    """The caller who signed this request for that service and Region; Refused otherwise."""
    given = parse(request.headers.get("Authorization", ""))
    caller = identify(given.access_key_id, request.headers.get("X-Amz-Security-Token"))
    stamp = request.headers.get("X-Amz-Date", "")
    if (given.region, given.service, given.date) != (region, service, stamp[:8]):
        raise _invalid(f"Credential should be scoped to '{service}' in {region} on the signed day")
    now = datetime.fromtimestamp(clock.real_time(), UTC)
    if abs(datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) - now) > _SKEW:
        raise _invalid(f"Signature expired or not yet current: {stamp}, now {now:{_STAMP}}")
    amz = {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    if unsigned := {"host", "x-amz-date", *amz} - set(given.signed_headers):
        raise _invalid(f"{', '.join(unsigned)} must be a 'SignedHeader' in the AWS Authorization.")
    expected = _sign(request, body, caller.credentials, given)
    if not hmac.compare_digest(expected.encode(), given.signature.encode()):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided."
        )
    return caller


def parse(header: str) -> Authorization:
    """Take the header apart; Refused if it is absent, or not one of Signature Version 4."""
    if not header:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    given = dict[str, str]()
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        given[name] = value
    scope = given.get("Credential", "").split("/")
    if algorithm != _ALGORITHM or len(scope) != 5 or not given.get("Signature"):
        raise Refused("IncompleteSignatureException", f"Authorization={header} is incomplete")
    key, date, region, service, _ = scope
    signed_headers = tuple(given.get("SignedHeaders", "").split(";"))
    return Authorization(key, date, region, service, signed_headers, given["Signature"])


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
