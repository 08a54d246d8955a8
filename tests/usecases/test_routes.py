"""The HTTP layer: what a request may be, who signed it, and what is logged of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chalice import Chalice
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st

from chalicelib.settings.acceptance import Settings
from chalicelib.triggers import api
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import refuse
from tests.stage import CURRENT
from tests.usecases.conftest import (
    HOLD,
    KIM,
    READING,
    WITH_STACK,
    Api,
    Arrange,
    everything,
    failed,
    hold_until,
    malformed,
    quiet_sunday,
    refused,
)

READS = ["/snapshots/current/history", "/snapshots", "/status"]
WRITES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/snapshots/current"): {"snapshot": "new", "deploy": True},
    ("POST", "/snapshots/current/rollback"): {},
    ("PUT", "/hold"): {"until": "2026-01-22"},
    ("DELETE", "/hold"): {},
    ("POST", "/refresh"): {},
}
every_write = pytest.mark.parametrize(
    ("method", "path"), list(WRITES), ids=[" ".join(each) for each in WRITES]
)


@pytest.fixture
def aws(aws: InMemoryAws) -> InMemoryAws:
    """There is something to roll back to, and a hold to lift."""
    aws.snapshots.all.append(snapshot("older"))
    aws.parameters.kept[CURRENT][:0] = [
        aws.parameters.kept[CURRENT][0]._replace(value=arn("older"))
    ]
    hold_until("2026-01-04")(aws)  # which is over
    aws.calls.clear()
    return aws


@pytest.mark.parametrize(("caller", "actor"), [(KIM, KIM), (None, "unknown")])
@every_write
def test_whoever_signed_is_named_in_the_description(
    settings: Settings, aws: InMemoryAws, method: str, path: str, caller: str | None, actor: str
) -> None:
    ask = Api(settings, aws, caller)
    assert ask(method, path, WRITES[method, path])[0] == 200
    name = HOLD if path == "/hold" else CURRENT
    assert aws.parameters.kept[name][-1].actor == actor


@pytest.mark.parametrize("field", ["by", "caller", "userArn"])
@every_write
def test_nobody_can_name_somebody_else(
    ask: Api, aws: InMemoryAws, method: str, path: str, field: str
) -> None:
    assert ask(method, path, WRITES[method, path] | {field: "the boss"})[0] == 400
    assert aws.calls == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b'{"reason": NaN}', "the body is not JSON"),
        (b"[" * 8_192, "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b"x" * 8_193, "the body is larger than 8192 bytes"),
        (b'{"x": 1, "x": 1}', 'field "x" occurs 2 times'),
    ],
    ids=range(8),
)
@every_write
def test_a_malformed_body_is_refused_on_every_route(
    ask: Api, aws: InMemoryAws, method: str, path: str, raw: bytes, message: str
) -> None:
    assert ask.raw(method, path, raw) == malformed(message)
    assert aws.calls == []


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/status", "none"),
        ("GET", "/snapshots", "database"),
        ("GET", "/snapshots/current/history", "database"),
        ("PUT", "/hold", "none"),
        ("DELETE", "/hold", "none"),
        ("POST", "/refresh", "none"),
        ("PUT", "/snapshots/current", "database"),
        ("POST", "/snapshots/current/rollback", "database"),
    ],
)
def test_an_unknown_query_parameter_is_refused_on_every_route(
    ask: Api, aws: InMemoryAws, method: str, path: str, known: str
) -> None:
    body = WRITES.get((method, path))
    for query in ("?dry_run=true", "?dry_run", "?dry_run=1&dry_run=2"):
        assert ask(method, path + query, body) == malformed(
            f'unknown query parameter "dry_run"; known: {known}'
        )
    expected = 400 if known == "none" else 200
    assert ask.raw(method, f"{path}?database=rds", json.dumps(body or {}).encode())[0] == expected


@pytest.mark.parametrize("path", ["/snapshots", "/snapshots/current/history"])
@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?database=rds&database=rds", 200, None),
        ("?database=rds&database=docs", 400, "the request names different databases"),
        ("?database=docs", 404, 'there is no database "docs"; known: rds'),
        ("?database=RDS", 404, 'there is no database "RDS"; known: rds'),
        ("?database=", 404, 'there is no database ""; known: rds'),
        ("?database=%1b%5b2J", 404, 'there is no database "\\u001b[2J"; known: rds'),
    ],
)
def test_the_database_of_a_reading_route(
    ask: Api, path: str, query: str, status: int, message: str | None
) -> None:
    found, answer = ask("GET", path + query)
    assert (found, answer.get("Message")) == (status, message)


@pytest.mark.parametrize("path", ["/snapshots", "/snapshots/current/history"])
def test_one_of_several_databases_must_be_named(
    two: Settings, documents: InMemoryAws, path: str
) -> None:
    expected = malformed("database is missing: name one of rds, docs")
    assert Api(two, documents)("GET", path) == expected


@pytest.mark.parametrize("media", ["application/x-www-form-urlencoded", "text/plain", ""])
@every_write
def test_only_json_is_accepted(
    ask: Api, aws: InMemoryAws, method: str, path: str, media: str
) -> None:
    body = json.dumps(WRITES[method, path]).encode()
    status, answer = ask.raw(method, path, body, {"Content-Type": media})
    assert (status, answer["Code"], aws.calls) == (415, "UnsupportedMediaType", [])


def test_json_may_name_its_charset(ask: Api) -> None:
    media = {"Content-Type": "application/json; charset=utf-8"}
    assert ask.raw("POST", "/refresh", b'{"dry_run": true}', media)[0] == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ("snapshot", "reason", "deploy", "database", "until", "dry_run", "outside_window")


@checked(max_examples=200)
@given(
    st.sampled_from(list(WRITES)),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=3),
    st.booleans(),
)
def test_any_json_as_any_field_is_answered_and_a_refusal_changes_nothing(
    route: tuple[str, str], fields: dict[str, Any], is_sound: bool
) -> None:
    aws = quiet_sunday()
    ask = Api(Settings.from_environment(WITH_STACK), aws)
    before = everything(aws)
    status, answer = ask(*route, (WRITES[route] if is_sound else {}) | fields)
    assert status in (200, 400, 404, 409)
    if status >= 400:
        assert sorted(answer) == ["Code", "Message"]
        assert everything(aws) == before
        assert set(aws.calls) <= READING


def test_a_body_with_half_of_a_surrogate_pair_is_malformed(
    settings: Settings, aws: InMemoryAws
) -> None:
    app = Chalice("test")
    app.register_blueprint(api.routes(settings, aws))
    event = {
        "httpMethod": "PUT",
        "headers": {"content-type": "application/json"},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": "\ud800",
        "requestContext": {"httpMethod": "PUT", "resourcePath": "/hold", "identity": {}},
    }
    answer = app(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])["Message"]) == (
        400,
        "the body is not JSON",
    )


@pytest.mark.parametrize(
    ("arrange", "method", "path", "body", "answer"),
    [
        (None, *("PUT", "/hold"), {"until": "2026-01-22", "reason": "ä"}, None),
        (None, *("PUT", "/snapshots/current"), {"snapshot": "new", "deploy": True}, None),
        (None, *("POST", "/refresh"), {"dry_run": True}, None),
        (
            None,
            *("PUT", "/snapshots/current"),
            {"snapshot": "new", "database": "x"},
            (404, {"Code": "NotFoundError", "Message": 'there is no database "x"; known: rds'}),
        ),
        (
            lambda aws: refuse(aws, "put"),
            *("PUT", "/hold"),
            {"until": "2026-01-22"},
            failed("put of it failed: AccessDeniedException: no"),
        ),
        (
            None,
            *("PUT", "/hold"),
            {"until": "2026-01-04"},
            refused(
                "until is 2026-01-04, which holds nothing: today is 2026-01-04; name a later day"
            ),
        ),
    ],
)
def test_each_action_is_one_log_line_with_its_grounds(
    lines: Callable[[], list[dict[str, Any]]],
    ask: Api,
    aws: InMemoryAws,
    arrange: Arrange | None,
    method: str,
    path: str,
    body: dict[str, Any],
    answer: tuple[int, dict[str, str]] | None,
) -> None:
    if arrange:
        arrange(aws)
    found = ask(method, path, body)
    (line,) = lines()
    assert (line["caller"], line["request"].items() >= body.items()) == (KIM, True)
    if answer:
        assert (found, line["refusal"]) == (answer, answer[1]["Message"])
    else:
        assert (found[0], line["answer"].items() >= found[1].items()) == (200, True)


@pytest.mark.parametrize("path", READS)
def test_looking_is_not_logged(
    lines: Callable[[], list[dict[str, Any]]], ask: Api, path: str
) -> None:
    assert ask("GET", path)[0] == 200
    assert lines() == []
