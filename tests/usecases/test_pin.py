"""PUT /snapshots/current: an operator sets *current* by hand."""

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.test import Client

from chalicelib import api
from chalicelib.errors import AwsError
from chalicelib.ledger import Note, Run
from chalicelib.settings import Settings
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME, STAGE

Put = Callable[..., tuple[int, Any]]

BY_HAND = Note("by hand", "somebody", "")


def client_of(settings: Settings, aws: InMemoryAws) -> Put:
    app = Chalice("test")
    app.register_blueprint(api.routes(settings, aws))
    client = Client(app)

    def put(body: Any, query: str = "", raw: bytes | None = None) -> tuple[int, Any]:
        with warnings.catch_warnings():
            # Chalice's test client lets everybody in and warns of it; that the route carries the
            # authorizer is held by test_app.py, and the refusal of strangers by the local cloud.
            warnings.simplefilter("ignore")
            response = client.http.put(
                f"/snapshots/current{query}",
                headers={"Content-Type": "application/json"},
                body=json.dumps(body).encode() if raw is None else raw,
            )
        return response.status_code, json.loads(response.body)

    return put


@pytest.fixture
def put(settings: Settings, aws: InMemoryAws) -> Iterator[Put]:
    return client_of(settings, aws)


def started(aws: InMemoryAws) -> int:
    return len(aws.pipelines.pipelines[PIPELINE]) - 1


# --- pinning --------------------------------------------------------------------------------------


def test_a_snapshot_is_pinned_by_its_arn(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": arn("new"), "reason": "regression of March"}) == (
        200,
        {"current": arn("new"), "previous": arn("old"), "version": 2, "execution_id": None},
    )
    entry = aws.parameters.kept[CURRENT][-1]
    assert entry.value == arn("new")
    assert entry.note == Note("pin", "unknown", "regression of March", None)
    assert started(aws) == 0


def test_a_snapshot_is_pinned_by_its_identifier(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": "new"})[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_latest_is_pinned_by_that_word(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": "latest"})[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_a_snapshot_of_any_age_is_pinned(put: Put, aws: InMemoryAws) -> None:
    ancient = snapshot("ancient", created=aws.time - timedelta(days=999))
    aws.snapshots.all.append(ancient)
    assert put({"snapshot": "ancient"})[0] == 200


def test_an_own_snapshot_of_another_cluster_is_pinned(put: Put, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("before-test", ACCEPTANCE, cluster="acceptance-orders"))
    assert put({"snapshot": "before-test"})[0] == 200
    assert aws.values()[CURRENT] == arn("before-test", ACCEPTANCE)


def test_pinning_what_is_pinned_changes_nothing(put: Put, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("old"))
    assert put({"snapshot": arn("old")}) == (
        200,
        {"current": arn("old"), "previous": arn("old"), "version": 1, "execution_id": None},
    )
    assert len(aws.parameters.kept[CURRENT]) == 1


def test_a_current_that_does_not_exist_is_created(put: Put, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    assert put({"snapshot": "new"}) == (
        200,
        {"current": arn("new"), "previous": None, "version": 1, "execution_id": None},
    )


def test_deploy_starts_the_pipeline_too(put: Put, aws: InMemoryAws) -> None:
    status, answer = put({"snapshot": "new", "deploy": True})
    assert (status, answer["execution_id"]) == (200, "run-2")
    token = aws.parameters.kept[CURRENT][-1].token
    assert token is not None
    assert aws.pipelines.start(PIPELINE, token) == "run-2"


def test_deploy_of_what_is_pinned_starts_the_pipeline_and_writes_nothing(
    put: Put, aws: InMemoryAws
) -> None:
    assert put({"snapshot": "old", "deploy": True}) == (
        200,
        {"current": arn("old"), "previous": arn("old"), "version": 1, "execution_id": "run-2"},
    )
    assert len(aws.parameters.kept[CURRENT]) == 1


def test_a_pin_makes_at_most_six_calls(put: Put, aws: InMemoryAws) -> None:
    aws.calls.clear()
    put({"snapshot": "new", "deploy": True})
    # Finding a snapshot by its name is two calls to AWS: as an own one and as a share.
    assert aws.calls == ["get", "named", "runs", "put", "start"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "status", "code", "message"),
    [
        (
            {"snapshot": "unheard-of"},
            404,
            "NotFoundError",
            "there is no snapshot unheard-of, neither own nor shared",
        ),
        (
            {"snapshot": arn("new", "999999999999")},
            404,
            "NotFoundError",
            f"there is no snapshot {arn('new', '999999999999')}, neither own nor shared",
        ),
        (
            {"snapshot": arn("hostile", "999999999999")},
            409,
            "ConflictError",
            (
                f"{arn('hostile', '999999999999')} cannot be pinned: "
                "account 999999999999, wanted 111111111111"
            ),
        ),
        (
            {"snapshot": "making"},
            409,
            "ConflictError",
            f"{arn('making')} cannot be pinned: status creating, wanted available",
        ),
        (
            {"snapshot": "twice"},
            409,
            "ConflictError",
            (
                "twice is the name of several snapshots; name one by its ARN: "
                f"{arn('twice')}, {arn('twice', ACCEPTANCE)}"
            ),
        ),
        (
            {"snapshot": "new", "database": "orders"},
            404,
            "NotFoundError",
            "there is no database 'orders'; known: rds",
        ),
    ],
)
def test_a_refused_pin_says_why_and_writes_nothing(
    put: Put, aws: InMemoryAws, wish: dict[str, Any], status: int, code: str, message: str
) -> None:
    aws.snapshots.all += [
        snapshot("hostile", "999999999999"),
        snapshot("making", status="creating"),
        snapshot("twice"),
        snapshot("twice", ACCEPTANCE),
    ]
    before = aws.values()
    assert put(wish) == (status, {"Code": code, "Message": message})
    assert aws.values() == before


@pytest.mark.parametrize("value", ["dummyvalue", None])
def test_latest_is_refused_while_there_is_none(
    put: Put, aws: InMemoryAws, value: str | None
) -> None:
    del aws.parameters.kept[LATEST]
    if value:
        aws.parameters.put(LATEST, value, BY_HAND)
    status, answer = put({"snapshot": "latest"})
    assert (status, answer["Message"]) == (409, f"{LATEST} names no snapshot yet")


def test_deploy_is_refused_while_a_run_is_in_progress_and_nothing_is_written(
    put: Put, aws: InMemoryAws
) -> None:
    aws.pipelines.pipelines[PIPELINE].append(Run("deploy-7", "InProgress", aws.time))
    before = aws.values()
    assert put({"snapshot": "new", "deploy": True}) == (
        409,
        {
            "Code": "ConflictError",
            "Message": "pipeline acceptance-main is busy with run deploy-7; try later",
        },
    )
    assert aws.values() == before


@pytest.mark.parametrize("name", ["missing", "somebody-elses"])
def test_deploy_is_refused_without_a_pipeline(put: Put, aws: InMemoryAws, name: str) -> None:
    del aws.parameters.kept[PIPELINE_NAME]
    if name != "missing":
        aws.parameters.put(PIPELINE_NAME, name, BY_HAND)
    before = aws.values()
    assert put({"snapshot": "new", "deploy": True})[0] == 409
    assert aws.values() == before


def test_a_run_that_cannot_be_started_puts_the_old_value_back(put: Put, aws: InMemoryAws) -> None:
    def fail(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            raise AwsError("StartPipelineExecution", "pipeline x", "Throttling", "Rate exceeded")

    aws.interrupt = fail
    status, answer = put({"snapshot": "new", "deploy": True})
    assert (status, answer["Message"]) == (
        500,
        "StartPipelineExecution of pipeline x failed: Throttling: Rate exceeded",
    )
    assert aws.values()[CURRENT] == arn("old")


# --- malformed requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"snapshot": NaN}', "the body is not JSON"),
        (b'["new"]', "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(put: Put, raw: bytes, message: str) -> None:
    assert put(None, raw=raw) == (400, {"Code": "BadRequestError", "Message": message})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "snapshot is ''"),
        ({"snapshot": 5}, "snapshot is 5: a str is wanted"),
        ({"snapshot": ""}, "snapshot is ''"),
        ({"snapshot": "a" * 256}, "snapshot is 'aaa"),
        ({"snapshot": "new snapshot"}, "snapshot is 'new snapshot'"),
        ({"snapshot": "new\n"}, "snapshot is 'new\\n'"),
        ({"snapshot": arn("new").replace("cluster-", "")}, "snapshot is 'arn:"),
        ({"snapshot": "new", "deploy": 1}, "deploy is 1: a bool is wanted"),
        ({"snapshot": "new", "deploy": "true"}, "deploy is 'true': a bool is wanted"),
        ({"snapshot": "new", "reason": None}, "reason is None: a str is wanted"),
        ({"snapshot": "new", "reason": "a" * 257}, "reason wants at most 256"),
        ({"snapshot": "new", "reason": "\x1b[2J"}, "reason wants at most 256"),
        ({"snapshot": "new", "reason": "\ud800"}, "reason wants at most 256"),
        ({"snapshot": "new", "force": True}, "unknown field 'force'"),
    ],
)
def test_a_malformed_field_is_named(
    put: Put, aws: InMemoryAws, body: dict[str, Any], told: str
) -> None:
    before = aws.values()
    status, answer = put(body)
    assert (status, answer["Code"]) == (400, "BadRequestError")
    assert told in answer["Message"]
    assert aws.values() == before


# --- several databases ----------------------------------------------------------------------------


@pytest.fixture
def put_two(aws: InMemoryAws) -> Put:
    settings = Settings.from_environment(
        STAGE
        | {
            "DATABASES": "RDS,DOCS",
            "SSM_DOCS_LATEST_SNAPSHOT_NAME": "/acceptance/docs/latest",
            "SSM_DOCS_CURRENT_SNAPSHOT_NAME": "/acceptance/docs/current",
            "DOCS_ENGINE": "docdb",
            "DOCS_ENGINE_VERSION": "5",
        }
    )
    return client_of(settings, aws)


def test_one_of_several_databases_must_be_named(put_two: Put) -> None:
    assert put_two({"snapshot": "new"}) == (
        400,
        {"Code": "BadRequestError", "Message": "database is missing: name one of rds, docs"},
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [("?database=rds", {}), ("", {"database": "rds"}), ("?database=rds", {"database": "rds"})],
)
def test_query_or_body_names_the_database(
    put_two: Put, aws: InMemoryAws, query: str, field: dict[str, str]
) -> None:
    assert put_two({"snapshot": "new", **field}, query)[0] == 200
    assert aws.values()[CURRENT] == arn("new")


def test_query_and_body_must_not_name_different_databases(put_two: Put) -> None:
    status, answer = put_two({"snapshot": "new", "database": "docs"}, "?database=rds")
    assert (status, answer["Message"]) == (400, "query and body name different databases")
