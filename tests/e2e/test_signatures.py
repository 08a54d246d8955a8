"""Whoever is not signed, or not rightly, or may not call, reaches no route's function."""

import json

import pytest

from demo.acceptance import STAGE, Company
from localcloud.accounts import ACCEPTANCE, PRODUCTION, Key, key_of
from localcloud.client import send
from tests.e2e.conftest import signed
from tests.test_openapi import OPERATIONS

ADMIN = key_of(ACCEPTANCE)
UNKNOWN = Key(ACCEPTANCE, "admin", "AKIA" + "X" * 16, ADMIN.secret_access_key)
API = f"aurora-refresh-{STAGE}"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_wrong_caller_is_refused_and_never_reaches_the_function(
    deployed: Company, method: str, path: str
) -> None:
    url = f"{deployed.rest_url()}{path}"
    # Which is refused behind the signature.
    body = b"[]" if "requestBody" in OPERATIONS[method, path] else b""
    right = signed(method, url, body, ADMIN)
    wrong: dict[str, dict[str, str]] = {
        "unsigned": JSON,
        "a password": JSON | {"Authorization": "Basic YWRtaW46eA=="},
        "unknown key": signed(method, url, body, UNKNOWN),
        "for another method": signed("PATCH", url, body, ADMIN),
        "for another path": signed(method, f"{url}/elsewhere", body, ADMIN),
        "for another body": signed(method, url, body + b" ", ADMIN),
        "without permission": signed(method, url, body, key_of(ACCEPTANCE, "visitor")),
        "production's": signed(method, url, body, key_of(PRODUCTION)),
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
