"""Verify Signature Version 4 as AWS does, and find out who signed a request.

Restores *Create a signed AWS API request* and *Troubleshoot Signature Version 4* (IAM User Guide): botocore's
signer signs the received request again. The date is compared with real time, because the signer's machine does
not follow the cloud's clock.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.client import HTTPMessage
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from werkzeug.wrappers import Request

from localcloud import clock
from localcloud.identities import Caller, Refused, identify

_SKEW = timedelta(minutes=5)
_STAMP = "%Y%m%dT%H%M%SZ"


def parse(request: Request) -> tuple[str, str, str, str]:
    """Return the access key id, date, Region and service in the header ``Authorization``.

    Raise Refused if it is absent, or not one of Signature Version 4.
    """
    given = request.authorization
    if given is None:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    scope = (given.get("Credential") or "").split("/")
    if len(scope) != 5 or not given.get("Signature"):
        raise Refused("IncompleteSignatureException", f"Authorization={given} is incomplete")
    key, date, region, service, _ = scope
    return key, date, region, service


def verify(request: Request, service: str, region: str) -> Caller:
    """Return the caller who signed the request for this service and Region; raise Refused otherwise."""
    key, *scope = parse(request)
    given: Any = request.authorization
    signed_headers = (given.get("SignedHeaders") or "").split(";")
    caller = identify(key, request.headers.get("X-Amz-Security-Token"))
    stamp = request.headers.get("X-Amz-Date", "")
    if scope != [stamp[:8], region, service]:
        raise _invalid(f"Credential should be scoped to '{service}' in {region} on the signed day")
    now = datetime.fromtimestamp(clock.real_time(), UTC)
    if abs(datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) - now) > _SKEW:
        raise _invalid(f"Signature expired or not yet current: {stamp}, now {now:{_STAMP}}")
    body = sha256(request.get_data()).hexdigest()
    if request.headers.get("X-Amz-Content-SHA256", body) != body:
        raise _invalid("X-Amz-Content-SHA256 is not the hash of the body")
    must = {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    if unsigned := (must | {"host"}) - set(signed_headers):
        raise _invalid(f"{', '.join(sorted(unsigned))} must be signed headers")
    signer = _Signer(caller.credentials, service, region)
    if signer.sign(request, signed_headers) != given.get("Signature"):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided."
        )
    return caller


class _Signer(SigV4Auth):
    """botocore's signer, which signs the headers that the sender of a received request has signed."""

    def sign(self, request: Request, signed_headers: list[str]) -> str:
        self._signed = signed_headers
        # The path as received, because WSGI decodes it.
        url = f"http://{request.host}{request.environ['REQUEST_URI']}"
        received = AWSRequest(request.method, url, dict(request.headers), request.get_data())
        received.context["timestamp"] = request.headers["X-Amz-Date"]
        text: Any = self.string_to_sign(received, self.canonical_request(received))
        return str(self.signature(text, received))

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        headers = HTTPMessage()
        for name in self._signed:
            for value in request.headers.get_all(name, [""]):
                headers[name] = value
        return headers


def _invalid(message: str) -> Refused:
    return Refused("InvalidSignatureException", message)
