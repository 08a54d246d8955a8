"""docs/openapi.yaml is true of the deployed API: each of its answers can be had, and has its schema.

Which requests are refused is decided by tests/test_openapi.py and tests/unit/test_validation.py.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from demo.acceptance import PIPELINE, STAGE, Company
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, Key, key_of
from tests.e2e.conftest import Night
from tests.test_openapi import OPERATIONS, resolved, validator_of

API = f"aurora-refresh-{STAGE}"
LATEST, CURRENT, HELD, PIPELINE_NAME = (
    "/acceptance/rds/latest-snapshot",
    "/acceptance/rds/current-snapshot",
    "/acceptance/refresh/hold",
    "/acceptance/cicd/main-pipeline-name",
)
ADMIN, VISITOR = key_of(ACCEPTANCE), key_of(ACCEPTANCE, "visitor")


@pytest.fixture(scope="module")
def stock(deployed: Company) -> Night:
    """A night whose snapshots there are to choose from."""
    return Night(deployed)


@pytest.fixture
def company(stock: Night) -> Iterator[Company]:
    """*latest* is not deployed, there is a rollback to be had, no hold, and the pipeline is idle."""
    is_deployed = stock.settle() == stock.new
    stock.put(LATEST, stock.pinned if is_deployed else stock.new)
    # Or its history would become long.
    stock.cloud.client("ssm").delete_parameters(Names=[CURRENT])
    for value in (stock.old, stock.pinned):
        stock.put(CURRENT, value)
    yield stock.company
    stock.put(HELD, "dummyvalue")
    stock.put(PIPELINE_NAME, PIPELINE)


Request = dict[str, Any]


def asked(
    company: Company,
    label: str,
    request: Request,
    key: Key | None = ADMIN,
    media: str = "application/json",
) -> requests.Response:
    """Return the answer to a request, which is as documented."""
    method, path = label.split()
    url = f"{company.rest_url()}{path}?{urlencode(request.get('query', {}))}"
    body = json.dumps(request["body"]).encode() if "body" in request else None
    signed = AWSRequest(method, url, {"Content-Type": media}, body)
    if key:
        SigV4Auth(key.credentials(), "execute-api", REGION).add_auth(signed)
    answer = requests.request(method, url, data=body, headers=dict(signed.headers), timeout=60)
    documented = OPERATIONS[method, path]["responses"]
    assert str(answer.status_code) in documented, answer.text
    content = resolved(documented[str(answer.status_code)])["content"]
    schema = content[answer.headers["Content-Type"]]["schema"]
    assert [each.message for each in validator_of(schema).iter_errors(answer.json())] == []
    return answer


# --- each documented answer can be had ------------------------------------------------------------


@contextmanager
def as_usual(company: Company) -> Iterator[None]:
    yield


@contextmanager
def denied(company: Company) -> Iterator[None]:
    """AWS denies the function everything."""
    company.cloud.set_faults([{"operation": "*", "kind": "deny", "function": API, "times": 0}])
    yield
    company.cloud.set_faults([])


@contextmanager
def busy(company: Company) -> Iterator[None]:
    """A run of the pipeline is in progress."""
    company.cloud.patch_pipeline(PIPELINE, hold=["Build"])
    pipelines = company.cloud.client("codepipeline")
    run = pipelines.start_pipeline_execution(name=PIPELINE)["pipelineExecutionId"]
    yield
    pipelines.stop_pipeline_execution(pipelineName=PIPELINE, pipelineExecutionId=run)
    company.cloud.patch_pipeline(PIPELINE, hold=[])
    company.followed(run)


@contextmanager
def without_holds(company: Company) -> Iterator[None]:
    """The stage has no parameter for holds."""
    functions = company.cloud.client("lambda")
    stage = functions.get_function_configuration(FunctionName=API)["Environment"]["Variables"]
    less = {name: value for name, value in stage.items() if name != "SSM_REFRESH_HOLD_NAME"}
    functions.update_function_configuration(FunctionName=API, Environment={"Variables": less})
    yield
    functions.update_function_configuration(FunctionName=API, Environment={"Variables": stage})


# A request that is in order, and what makes each other answer of it.
GOOD: dict[str, Request] = {
    "GET /status": {},
    "GET /snapshots": {"query": {"database": "rds"}},
    "GET /snapshots/current/history": {},
    "PUT /snapshots/current": {"body": {"snapshot": "latest", "deploy": True}},
    "POST /snapshots/current/rollback": {"body": {"deploy": True}},
    "POST /refresh": {"body": {"outside_window": True}},
    "PUT /hold": {"body": {"until": "2099-01-22"}},
    "DELETE /hold": {},
}
UNKNOWN: dict[str, Request] = {
    "GET /snapshots": {"query": {"database": "nowhere"}},
    "GET /snapshots/current/history": {"query": {"database": "nowhere"}},
    "PUT /snapshots/current": {"body": {"snapshot": "no-such-snapshot"}},
    "POST /snapshots/current/rollback": {"body": {"database": "nowhere"}},
}
REFUSING = {
    "PUT /snapshots/current": busy,
    "POST /snapshots/current/rollback": busy,
    "POST /refresh": busy,
    "PUT /hold": without_holds,
    "DELETE /hold": without_holds,
}


@pytest.mark.parametrize("label", [" ".join(operation) for operation in OPERATIONS])
def test_every_documented_answer_can_be_had(company: Company, label: str) -> None:
    def ask(request: Request, **how: Any) -> requests.Response:
        return asked(company, label, request, **how)

    good = GOOD[label]
    with REFUSING.get(label, as_usual)(company):
        refused = [ask(good)] if label in REFUSING else []
    with denied(company):
        failed = ask(good)
    answers = [
        *refused,
        failed,
        ask({**good, "query": {"unknown": "1"}}),
        ask(good, key=None),
        ask(good, key=VISITOR),
        *([ask(UNKNOWN[label])] if label in UNKNOWN else []),
        ask(good, media="text/plain"),
        ask(good),
    ]
    assert "Traceback" not in failed.text
    method, path = label.split()
    had = {str(answer.status_code) for answer in answers}
    assert had == OPERATIONS[method, path]["responses"].keys()


# --- whatever state the account is in -------------------------------------------------------------

SNAPSHOT = f"arn:aws:rds:{REGION}:{PRODUCTION}:cluster-snapshot"
SECRET = "hunter2-was-written-into-the-wrong-parameter"
STATES: dict[str, dict[str, str | None]] = {
    "before the first night": {LATEST: "dummyvalue", CURRENT: "dummyvalue"},
    "no parameter was ever made": {LATEST: None, CURRENT: None, HELD: None},
    "a secret in the wrong place": {LATEST: SECRET, CURRENT: SECRET},
    "a snapshot that is gone": {LATEST: f"{SNAPSHOT}:gone", CURRENT: f"{SNAPSHOT}:gone-before"},
    "held": {HELD: '{"until": "2099-02-22", "reason": "<b>", "by": "ada"}'},
    "an unreadable hold": {HELD: "until Thursday"},
    "no such pipeline": {PIPELINE_NAME: "no-such-pipeline"},
}
# Without the pipeline's runs these cannot say what became of a version.
NEEDS_RUNS = {"history", "dry run", "history after"}


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_reported_as_documented(company: Company, stock: Night, state: str) -> None:
    ssm = company.cloud.client("ssm")
    for name, value in STATES[state].items():
        ssm.delete_parameters(Names=[name])  # with its history
        if value is not None:
            stock.put(name, value)
    dry = {"body": {"dry_run": True, "outside_window": True}}
    pinned = {"body": {"snapshot": stock.pinned}}
    answers = {
        "status": asked(company, "GET /status", {}),
        "history": asked(company, "GET /snapshots/current/history", {}),
        "snapshots": asked(company, "GET /snapshots", {}),
        "dry run": asked(company, "POST /refresh", dry),
        "pin": asked(company, "PUT /snapshots/current", pinned),
        "history after": asked(company, "GET /snapshots/current/history", {}),
    }
    failed = {name for name, answer in answers.items() if answer.status_code != 200}
    assert failed == (NEEDS_RUNS if PIPELINE_NAME in STATES[state] else set())
    assert [name for name, answer in answers.items() if SECRET in answer.text] == []
