"""Whoever is not signed, or not rightly, or may not call, reaches no route's function."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, STRANGER, Key, key_of
from localcloud.client import send
from localcloud.company import STAGE, Company
from tests.e2e.conftest import PROJECT

DOCUMENT: dict[str, Any] = yaml.safe_load((PROJECT / "docs/openapi.yaml").read_text())
ROUTES = [
    (method.upper(), path, "requestBody" in operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
EACH_ROUTE = pytest.mark.parametrize(
    ("method", "path", "has_body"), ROUTES, ids=[f"{method} {path}" for method, path, _ in ROUTES]
)
ADMIN = key_of(ACCEPTANCE)
API = f"aurora-refresh-{STAGE}"


class Wish:
    """A request to a route as its caller means it; ``signed`` adds the signature."""

    def __init__(self, base: str, method: str, path: str, has_body: bool) -> None:
        self.base = base
        self.method = method
        self.path = path
        self.body = json.dumps({}).encode() if has_body else b""
        self.headers = {"Content-Type": "application/json"} if has_body else {}

    def signed(
        self,
        key: Key = ADMIN,
        region: str = REGION,
        service: str = "execute-api",
        at: datetime | None = None,
        method: str | None = None,
        path: str | None = None,
    ) -> dict[str, str]:
        """The request's headers with a signature, which is right but for what is told."""
        url = self.base + (path or self.path)
        request = AWSRequest(method or self.method, url, dict(self.headers), self.body)
        credentials = Credentials(key.access_key_id, key.secret_access_key)
        auth = SigV4Auth(credentials, service, region)
        auth.add_auth(request)
        if at:
            # Signed at another time, and rightly so: the date is part of what is signed.
            request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
            del request.headers["Authorization"]
            del request.headers["X-Amz-Date"]
            request.headers["X-Amz-Date"] = request.context["timestamp"]
            text = auth.string_to_sign(request, auth.canonical_request(request))
            auth._inject_signature_to_request(request, auth.signature(text, request))  # noqa: SLF001
        return dict(request.headers)

    def send(
        self, headers: dict[str, str], query: str = "", body: bytes | None = None
    ) -> tuple[int, str]:
        """What the endpoint answers, to the request or to one that was changed on its way."""
        sent = self.body if body is None else body
        return send(self.method, self.base + self.path + query, sent or None, headers)


def minutes(count: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=count)


def altered(headers: dict[str, str]) -> dict[str, str]:
    """The signature's last character is another."""
    signature = headers["Authorization"]
    return {**headers, "Authorization": signature[:-1] + ("1" if signature[-1] == "0" else "0")}


WRONG: dict[str, Callable[[Wish], tuple[int, str]]] = {
    "unsigned": lambda wish: wish.send(wish.headers),
    "no signature": lambda wish: wish.send({**wish.headers, "Authorization": "AWS4-HMAC-SHA256"}),
    "a password": lambda wish: wish.send({**wish.headers, "Authorization": "Basic YWRtaW46eA=="}),
    "altered signature": lambda wish: wish.send(altered(wish.signed())),
    "wrong secret": lambda wish: wish.send(
        wish.signed(Key(ACCEPTANCE, "admin", ADMIN.access_key_id, "x" * 40))
    ),
    "unknown key": lambda wish: wish.send(
        wish.signed(Key(ACCEPTANCE, "admin", "AKIA" + "X" * 16, ADMIN.secret_access_key))
    ),
    "for another Region": lambda wish: wish.send(wish.signed(region="us-east-1")),
    "for another service": lambda wish: wish.send(wish.signed(service="ssm")),
    "stale": lambda wish: wish.send(wish.signed(at=minutes(-16))),
    "not yet": lambda wish: wish.send(wish.signed(at=minutes(16))),
    "tampered body": lambda wish: wish.send(wish.signed(), body=wish.body + b" "),
    "tampered path": lambda wish: wish.send(wish.signed(path="/elsewhere")),
    "tampered method": lambda wish: wish.send(wish.signed(method="PATCH")),
    "tampered query": lambda wish: wish.send(wish.signed(), query="?database=rds"),
    "without permission": lambda wish: wish.send(wish.signed(key_of(ACCEPTANCE, "visitor"))),
    "production's": lambda wish: wish.send(wish.signed(key_of(PRODUCTION))),
    "a stranger's": lambda wish: wish.send(wish.signed(key_of(STRANGER))),
}


@pytest.fixture(scope="module")
def base(deployed: Company) -> str:
    url = deployed.cloud.rest_url()
    assert url is not None
    return url


@EACH_ROUTE
def test_a_wrong_caller_is_refused_and_never_reaches_the_function(
    deployed: Company, base: str, method: str, path: str, has_body: bool
) -> None:
    wish = Wish(base, method, path, has_body)
    ran = len(deployed.cloud.invocations(API))
    deployed.cloud.clear_calls()
    answers = {how: send_wrongly(wish) for how, send_wrongly in WRONG.items()}
    assert {how: status for how, (status, _) in answers.items()} == dict.fromkeys(WRONG, 403)
    assert {tuple(json.loads(text)) for _, text in answers.values()} <= {("message",), ("Message",)}
    assert deployed.cloud.calls() == []
    assert len(deployed.cloud.invocations(API)) == ran


@EACH_ROUTE
def test_the_same_request_rightly_signed_reaches_it(
    deployed: Company, base: str, method: str, path: str, has_body: bool
) -> None:
    """Without this the test above would hold of an endpoint that refuses everything."""
    wish = Wish(base, method, path, has_body)
    ran = len(deployed.cloud.invocations(API))
    status, _ = wish.send(wish.signed())
    assert status != 403
    assert len(deployed.cloud.invocations(API)) == ran + 1
