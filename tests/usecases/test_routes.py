"""The HTTP layer: each route takes a request, knows who signed it, and logs what was done.

What a field may be is decided in `triggers/validation.py`: see its unit tests.
"""

import json
import logging
from typing import Any

import pytest

from chalicelib.observability import JsonFormatter
from tests.fakes import arn
from tests.stage import CURRENT
from tests.usecases.night import HOLD, KIM, Night, malformed
from tests.usecases.states import Arrange, denied, hold_until

READS = {"/status": "none", "/snapshots": "database", "/snapshots/current/history": "database"}
WRITES: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("PUT", "/snapshots/current"): ({"snapshot": "new", "deploy": True}, "database"),
    ("POST", "/snapshots/current/rollback"): ({}, "database"),
    ("PUT", "/hold"): ({"until": "2026-01-22"}, "none"),
    ("DELETE", "/hold"): ({}, "none"),
    ("POST", "/refresh"): ({}, "none"),
}
every_write = pytest.mark.parametrize(
    ("method", "path", "body"), [(*route, body) for route, (body, _) in WRITES.items()]
)


@pytest.fixture
def night() -> Night:
    """There is something to roll back to, and a hold to lift."""
    night = Night()
    night.offer("older")
    older = night.aws.parameters.kept[CURRENT][0]._replace(value=arn("older"))
    night.aws.parameters.kept[CURRENT][:0] = [older]
    hold_until("2026-01-04")(night)  # which is over
    night.aws.calls.clear()
    return night


@pytest.mark.parametrize(("caller", "actor"), [(KIM, KIM), (None, "unknown")])
@every_write
def test_whoever_signed_is_named_in_the_description(
    night: Night, method: str, path: str, body: dict[str, Any], caller: str | None, actor: str
) -> None:
    assert night.ask(method, path, body, caller)[0] == 200
    assert night.present(HOLD if path == "/hold" else CURRENT).actor == actor


@every_write
def test_a_malformed_request_is_refused_before_aws_is_asked(
    night: Night, method: str, path: str, body: dict[str, Any]
) -> None:
    assert night.ask_raw(method, path, b"{") == malformed("the body is not JSON")
    assert night.ask_raw(method, path, "\ud800") == malformed("the body is not JSON")
    status, answer = night.ask(method, path, body | {"by": "the boss"})
    assert (status, answer["Message"].split(";")[0]) == (400, 'unknown field "by"')
    text = json.dumps(body).encode()
    status, answer = night.ask_raw(method, path, text, media="text/plain")
    assert (status, answer["Code"]) == (415, "UnsupportedMediaType")
    assert night.aws.calls == []


@pytest.mark.parametrize(
    ("method", "path", "body", "known"),
    [
        *(("GET", path, None, known) for path, known in READS.items()),
        *((*route, body, known) for route, (body, known) in WRITES.items()),
    ],
)
def test_an_unknown_query_parameter_is_refused_on_every_route(
    night: Night, method: str, path: str, body: dict[str, Any] | None, known: str
) -> None:
    for query in ("?dry_run=true", "?dry_run", "?dry_run=1&dry_run=2"):
        expected = malformed(f'unknown query parameter "dry_run"; known: {known}')
        assert night.ask(method, path + query, body) == expected
    expected_status = 400 if known == "none" else 200
    assert night.ask(method, f"{path}?database=rds", body)[0] == expected_status


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "arrange", "refusal"),
    [
        ("PUT", "/snapshots/current", {"snapshot": "new", "deploy": True}, None, None),
        ("POST", "/refresh", {"dry_run": True}, None, None),
        (
            *("PUT", "/snapshots/current", {"snapshot": "new", "database": "x"}, None),
            'there is no database "x"; known: rds',
        ),
        (
            *("PUT", "/hold", {"until": "2026-01-22"}, denied("put")),
            "put of it failed: AccessDeniedException: no",
        ),
    ],
)
def test_each_action_is_one_log_line_with_its_grounds(
    caplog: pytest.LogCaptureFixture,
    night: Night,
    method: str,
    path: str,
    body: dict[str, Any],
    arrange: Arrange | None,
    refusal: str | None,
) -> None:
    caplog.set_level(logging.INFO, "aurora-refresh")
    if arrange:
        arrange(night)
    status, answer = night.ask(method, path, body)
    (line,) = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert (line["caller"], line["request"].items() >= body.items()) == (KIM, True)
    if refusal:
        assert (line["refusal"], answer["Message"]) == (refusal, refusal)
    else:
        assert (status, line["answer"].items() >= answer.items()) == (200, True)


@pytest.mark.parametrize("path", READS)
def test_looking_is_not_logged(caplog: pytest.LogCaptureFixture, night: Night, path: str) -> None:
    caplog.set_level(logging.INFO, "aurora-refresh")
    assert night.ask("GET", path)[0] == 200
    assert caplog.records == []
