"""docs/openapi.yaml is true of the deployed API: each of its answers can be had, and has its schema.

Which requests are refused is decided by tests/test_openapi.py and tests/unit/test_validation.py, what is answered
in whatever state of the account by tests/usecases.
"""

import json
from collections import defaultdict
from itertools import product
from typing import Any
from urllib.parse import urlencode

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from demo.acceptance import PIPELINE, STAGE
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, Key, key_of
from tests.e2e.conftest import Night
from tests.test_openapi import OPERATIONS, resolved, validator_of

API = f"aurora-refresh-{STAGE}"
ADMIN, VISITOR = key_of(ACCEPTANCE), key_of(ACCEPTANCE, "visitor")
FORGED = Key(ACCEPTANCE, "admin", ADMIN.access_key_id, VISITOR.secret_access_key)

Route = tuple[str, str]

# A request that is in order, and one for what is unknown.
GOOD: dict[Route, dict[str, Any]] = {
    ("GET", "/status"): {},
    ("GET", "/snapshots"): {"query": {"database": "rds"}},
    ("GET", "/snapshots/current/history"): {},
    ("PUT", "/snapshots/current"): {"body": {"snapshot": "latest", "deploy": True}},
    ("POST", "/snapshots/current/rollback"): {"body": {"deploy": True}},
    ("POST", "/refresh"): {"body": {"outside_window": True}},
    ("PUT", "/hold"): {"body": {"until": "2099-01-22"}},
    ("DELETE", "/hold"): {},
}
UNKNOWN: dict[Route, dict[str, Any]] = {
    ("GET", "/snapshots"): {"query": {"database": "nowhere"}},
    ("GET", "/snapshots/current/history"): {"query": {"database": "nowhere"}},
    ("PUT", "/snapshots/current"): {"body": {"snapshot": "no-such-snapshot"}},
    ("POST", "/snapshots/current/rollback"): {"body": {"database": "nowhere"}},
}
HOLDS = [route for route in GOOD if route[1] == "/hold"]
STARTS = [route for route in GOOD if route[0] != "GET" and route not in HOLDS]


def test_every_documented_answer_can_be_had(night: Night) -> None:
    """Whoever is not signed, or not rightly, or may not call, reaches no route's function."""
    company, base = night.company, night.company.rest_url()
    had = defaultdict[Route, set[str]](set)

    def ask(
        route: Route, sent: dict[str, Any], key: Key | None = ADMIN, media: str = "application/json"
    ) -> None:
        method, path = route
        url = f"{base}{path}?{urlencode(sent.get('query', {}))}"
        body = json.dumps(sent["body"]).encode() if "body" in sent else None
        request = AWSRequest(method, url, {"Content-Type": media}, body)
        if key:
            SigV4Auth(key.credentials(), "execute-api", REGION).add_auth(request)
        answer = requests.request(method, url, data=body, headers=request.headers, timeout=60)
        status, documented = str(answer.status_code), OPERATIONS[route]["responses"]
        assert status in documented, answer.text
        schema = resolved(documented[status])["content"][answer.headers["Content-Type"]]["schema"]
        assert [each.message for each in validator_of(schema).iter_errors(answer.json())] == []
        assert "Traceback" not in answer.text
        had[route].add(status)

    ran = len(night.cloud.invocations(API))
    for (route, good), key in product(GOOD.items(), (None, FORGED, VISITOR, key_of(PRODUCTION))):
        ask(route, good, key)
    assert had == {route: {"403"} for route in OPERATIONS}
    assert len(night.cloud.invocations(API)) == ran  # none of them reached the function

    company.put(company.latest, night.new)
    company.put(company.current, night.pinned)  # so that there is something to roll back to
    for route, good in GOOD.items():
        ask(route, {**good, "query": {"unknown": "1"}})
        ask(route, good, media="text/plain")
    for route, request in UNKNOWN.items():
        ask(route, request)

    night.cloud.set_faults([{"operation": "*", "kind": "deny", "function": API, "times": 0}])
    for route, good in GOOD.items():
        ask(route, good)
    night.cloud.set_faults([])

    night.cloud.patch_pipeline(PIPELINE, hold=["Build"])
    night.push()
    for route in STARTS:
        ask(route, GOOD[route])
    night.cloud.patch_pipeline(PIPELINE, hold=[])

    functions = night.cloud.client("lambda")
    stage = functions.get_function_configuration(FunctionName=API)["Environment"]["Variables"]
    less = {name: value for name, value in stage.items() if name != "SSM_REFRESH_HOLD_NAME"}
    functions.update_function_configuration(FunctionName=API, Environment={"Variables": less})
    for route in HOLDS:
        ask(route, GOOD[route])
    functions.update_function_configuration(FunctionName=API, Environment={"Variables": stage})

    for route, good in GOOD.items():
        night.settle()
        ask(route, good)
    assert had == {each: found["responses"].keys() for each, found in OPERATIONS.items()}
