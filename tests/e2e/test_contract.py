"""docs/openapi.yaml is true of the deployed API: each of its answers can be had, and has its schema.

Which requests are refused is decided by tests/test_openapi.py and tests/unit/test_validation.py, what is answered
in whatever state of the account by tests/usecases.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from demo.acceptance import PIPELINE, STAGE, Company
from localcloud.accounts import ACCEPTANCE, Key, key_of
from tests.e2e.conftest import Night, signed
from tests.test_openapi import OPERATIONS, resolved, validator_of

API = f"aurora-refresh-{STAGE}"
ADMIN, VISITOR = key_of(ACCEPTANCE), key_of(ACCEPTANCE, "visitor")


@pytest.fixture
def company(night: Night) -> Iterator[Company]:
    """*latest* is not deployed, there is a rollback to be had, and no hold."""
    night.company.put(night.company.latest, night.new)
    night.company.put(night.company.current, night.pinned)
    yield night.company
    night.company.put(night.company.variables["SSM_REFRESH_HOLD_NAME"], "dummyvalue")


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
    headers = signed(method, url, body, key, media) if key else {"Content-Type": media}
    answer = requests.request(method, url, data=body, headers=headers, timeout=60)
    documented = OPERATIONS[method, path]["responses"]
    assert str(answer.status_code) in documented, answer.text
    content = resolved(documented[str(answer.status_code)])["content"]
    schema = content[answer.headers["Content-Type"]]["schema"]
    assert [each.message for each in validator_of(schema).iter_errors(answer.json())] == []
    return answer


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
