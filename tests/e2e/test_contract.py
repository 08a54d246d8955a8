"""docs/openapi.yaml is true of the deployed API: schemathesis asks, signed, and judges the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, Key, key_of
from localcloud.company import PIPELINE, STAGE, Company
from tests.e2e.conftest import PROJECT, Night

API = f"aurora-refresh-{STAGE}"
LATEST, CURRENT, HELD, PIPELINE_NAME = (
    "/acceptance/rds/latest-snapshot",
    "/acceptance/rds/current-snapshot",
    "/acceptance/refresh/hold",
    "/acceptance/cicd/main-pipeline-name",
)

CONFIG = SchemathesisConfig()
# The signature is ours to make: test_signatures.py is about wrong ones.
CONFIG.projects.default.generation.with_security_parameters = False

DOCUMENT = schemathesis.openapi.from_dict(
    yaml.safe_load((PROJECT / "docs/openapi.yaml").read_text()), config=CONFIG
)
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CHECKS = [
    not_a_server_error,
    *CONFORMANCE,
    negative_data_rejection,
    positive_data_acceptance,
]
LABELS = [each.ok().label for each in DOCUMENT.get_all_operations()]


def operation_of(label: str) -> Any:
    operation = DOCUMENT.find_operation_by_label(label)
    assert operation is not None
    return operation


class Signed(requests.auth.AuthBase):
    """Signs a request as botocore does."""

    def __init__(self, key: Key) -> None:
        self.signer = SigV4Auth(
            Credentials(key.access_key_id, key.secret_access_key), "execute-api", REGION
        )

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        signed = AWSRequest(request.method, request.url, data=body)
        self.signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


ADMIN = Signed(key_of(ACCEPTANCE))
VISITOR = Signed(key_of(ACCEPTANCE, "visitor"))


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


def cases(operation: Any) -> st.SearchStrategy[schemathesis.Case]:
    """Requests of an operation: the document's own examples, valid ones, and ones that are not."""
    kinds = [
        *DOCUMENT.get_strategies_from_examples(operation),
        operation.as_strategy(GenerationMode.POSITIVE),
        # Schemathesis makes up unknown parameters only where there are known ones.
        st.just(operation.Case(query={"unknown": "1"})),
    ]
    if operation.body or operation.query:
        kinds.append(operation.as_strategy(GenerationMode.NEGATIVE))
    return st.one_of(kinds)


def name_one_database(case: schemathesis.Case) -> None:
    """A schema cannot say that query and body, where both name a database, name the same."""
    query, body = case.query or {}, case.body
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and isinstance(body, dict) and {"database"} <= query.keys() & body.keys():
        body["database"] = query["database"]


# Not with schemathesis' own parametrize(): under pytest 9.2 all its tests have one and the same id,
# and tests that run side by side need their own.
@pytest.mark.parametrize("label", LABELS)
def test_whatever_is_asked_is_answered_as_documented(company: Company, label: str) -> None:
    operation = operation_of(label)
    base = company.cloud.rest_url()
    statuses: set[int] = set()

    @given(case=cases(operation))
    @settings(
        derandomize=True,
        # A request without any field has few variants.
        max_examples=20 if operation.body or operation.query else 5,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        name_one_database(case)
        answer = case.call_and_validate(base_url=base, auth=ADMIN, checks=CHECKS)
        statuses.add(answer.status_code)

    ask()
    # Without a success and a refusal it would have tested nothing.
    assert {200, 400} <= statuses


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


Request = dict[str, Any]

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


def asked(
    company: Company,
    label: str,
    request: Request,
    auth: Signed | None = ADMIN,
    headers: dict[str, str] | None = None,
) -> schemathesis.Response:
    """The answer to a request, which is as documented."""
    json_body = {"media_type": "application/json"} if "body" in request else {}
    case = operation_of(label).Case(**request, **json_body)
    return case.call_and_validate(
        base_url=company.cloud.rest_url(), auth=auth, headers=headers, checks=CONFORMANCE
    )


@pytest.mark.parametrize("label", LABELS)
def test_every_documented_answer_can_be_had(company: Company, label: str) -> None:
    def ask(request: Request, **how: Any) -> schemathesis.Response:
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
        ask(good, auth=None),
        ask(good, auth=VISITOR),
        *([ask(UNKNOWN[label])] if label in UNKNOWN else []),
        ask(good, headers={"Content-Type": "text/plain"}),
        ask(good),
    ]
    assert "Traceback" not in failed.text
    had = sorted({str(answer.status_code) for answer in answers})
    assert had == sorted(operation_of(label).definition.raw["responses"])


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
