"""Whoever is not signed, or not rightly, or may not call, reaches no route's function; who does is named."""

import json
from hashlib import sha256
from typing import Any

import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from demo.acceptance import STAGE, Company
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, STRANGER, Key, key_of
from localcloud.client import send
from tests.e2e.conftest import PROJECT, Night

DOCUMENT: dict[str, Any] = yaml.safe_load((PROJECT / "docs/openapi.yaml").read_text())
ROUTES = [
    (method.upper(), path, "requestBody" in operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
ADMIN = key_of(ACCEPTANCE)
API = f"aurora-refresh-{STAGE}"
JSON = {"Content-Type": "application/json"}


def signed(
    method: str, url: str, body: bytes, key: Key = ADMIN, service: str = "execute-api"
) -> dict[str, str]:
    """Return the headers of a request, with its signature."""
    request = AWSRequest(method, url, dict(JSON), body)
    SigV4Auth(key.credentials(), service, REGION).add_auth(request)
    return dict(request.headers)


def signed_with(
    method: str, url: str, body: bytes, headers: dict[str, str], unsigned: str = ""
) -> dict[str, str]:
    """Return the headers of a request, and a signature of all of them but one."""

    class Signer(SigV4Auth):
        def headers_to_sign(self, request: AWSRequest) -> Any:
            found = super().headers_to_sign(request)
            del found[unsigned]
            return found

    request = AWSRequest(method, url, JSON | headers, body)
    Signer(ADMIN.credentials(), "execute-api", REGION).add_auth(request)
    return dict(request.headers)


def altered(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers with another last character of the signature."""
    signature = headers["Authorization"]
    return headers | {"Authorization": signature[:-1] + ("1" if signature[-1] == "0" else "0")}


@pytest.mark.parametrize(("method", "path", "has_body"), ROUTES)
def test_a_wrong_caller_is_refused_and_never_reaches_the_function(
    deployed: Company, method: str, path: str, has_body: bool
) -> None:
    url = f"{deployed.rest_url()}{path}"
    body = b"[]" if has_body else b""  # which is refused behind the signature
    right = signed(method, url, body)
    wrong = {
        "unsigned": JSON,
        "a password": JSON | {"Authorization": "Basic YWRtaW46eA=="},
        "altered signature": altered(right),
        "unknown key": signed(
            method, url, body, Key(ACCEPTANCE, "admin", "AKIA" + "X" * 16, ADMIN.secret_access_key)
        ),
        "wrong secret": signed(
            method, url, body, Key(ACCEPTANCE, "admin", ADMIN.access_key_id, "x" * 40)
        ),
        "for another service": signed(method, url, body, service="ssm"),
        "for another method": signed("PATCH", url, body),
        "for another path": signed(method, f"{url}/elsewhere", body),
        "for another query": signed(method, f"{url}?database=rds", body),
        "for another body": signed(method, url, body + b" "),
        "for another body, of which it has the hash": signed_with(
            method, url, body + b" ", {"X-Amz-Content-SHA256": sha256(body + b" ").hexdigest()}
        ),
        "host not signed": signed_with(method, url, body, {}, unsigned="host"),
        "date not signed": signed_with(method, url, body, {}, unsigned="x-amz-date"),
        "without permission": signed(method, url, body, key_of(ACCEPTANCE, "visitor")),
        "production's": signed(method, url, body, key_of(PRODUCTION)),
        "a stranger's": signed(method, url, body, key_of(STRANGER)),
    }
    ran = len(deployed.cloud.invocations(API))
    deployed.cloud.clear_calls()
    answers = {how: send(method, url, body or None, headers) for how, headers in wrong.items()}
    assert {how: status for how, (status, _) in answers.items()} == dict.fromkeys(wrong, 403)
    assert {tuple(json.loads(text)) for _, text in answers.values()} <= {("message",), ("Message",)}
    assert deployed.cloud.calls() == []
    assert len(deployed.cloud.invocations(API)) == ran

    # Or all of this would hold of an endpoint that refuses everything.
    status, _ = send(method, url, body or None, right)
    assert status in (200, 400)
    assert len(deployed.cloud.invocations(API)) == ran + 1


def test_a_signed_pin_moves_current_and_says_who_did(night: Night) -> None:
    name = night.new.rsplit(":", 1)[1]
    body = {"snapshot": name, "reason": "why not"}
    status, answer = night.company.signed("PUT", "/snapshots/current", body)
    assert (status, answer["current"]) == (200, night.new)
    versions = night.cloud.client("ssm").get_parameter_history(Name=night.company.current)
    newest = versions["Parameters"][-1]
    note = json.loads(newest["Description"])
    assert (newest["Value"], note["by"]) == (night.new, f"arn:aws:iam::{ACCEPTANCE}:user/admin")
    assert len(night.calls(API)) <= 6
