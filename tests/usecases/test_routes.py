"""The HTTP layer: each route takes a request, knows who signed it, and logs what was done.

What a field may be is decided in `triggers/validation.py`: see its unit tests.
"""

import json
import logging
from typing import Any

import pytest

from chalicelib.observability import JsonFormatter
from tests.fakes import arn
from tests.interruptions import refuse
from tests.stage import CURRENT
from tests.usecases.names import HOLD, KIM
from tests.usecases.night import Night, malformed
from tests.usecases.states import denied, hold_until

ROUTES: list[tuple[str, str, dict[str, Any] | None, str]] = [
    ("GET", "/status", None, "none"),
    ("GET", "/snapshots", None, "database"),
    ("GET", "/snapshots/current/history", None, "database"),
    ("PUT", "/snapshots/current", {"snapshot": "new", "deploy": True}, "database"),
    ("POST", "/snapshots/current/rollback", {}, "database"),
    ("PUT", "/hold", {"until": "2026-01-22"}, "none"),
    ("DELETE", "/hold", {}, "none"),
    ("POST", "/refresh", {}, "none"),
]
WRITES = [row[:3] for row in ROUTES if row[2] is not None]
every_write = pytest.mark.parametrize(("method", "path", "body"), WRITES)


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
def test_the_signer_is_recorded_as_the_actor(
    night: Night, method: str, path: str, body: dict[str, Any], caller: str | None, actor: str
) -> None:
    assert night.ask(method, path, body, caller)[0] == 200
    assert night.present(HOLD if path == "/hold" else CURRENT).actor == actor


@every_write
def test_a_malformed_request_is_refused_before_aws_is_asked(
    night: Night, method: str, path: str, body: dict[str, Any]
) -> None:
    assert night.ask(method, path, b"{") == malformed("the body is not JSON")
    status, answer = night.ask(method, path, body | {"by": "the boss"})
    assert (status, answer["Message"].split(";")[0]) == (400, 'unknown field "by"')
    status, answer = night.ask(method, path, body, media="text/plain")
    assert (status, answer["Code"]) == (415, "UnsupportedMediaType")
    assert night.aws.calls == []


@pytest.mark.parametrize(("method", "path", "body", "known"), ROUTES)
def test_an_unknown_query_parameter_is_refused_on_every_route(
    night: Night, method: str, path: str, body: dict[str, Any] | None, known: str
) -> None:
    for query in ("?dry_run", "?dry_run=1&dry_run=2"):
        expected = malformed(f'unknown query parameter "dry_run"; known: {known}')
        assert night.ask(method, path + query, body) == expected
    expected_status = 400 if known == "none" else 200
    assert night.ask(method, f"{path}?database=rds", body)[0] == expected_status


def test_the_query_or_the_body_names_the_database(night: Night) -> None:
    path, pin = "/snapshots/current?database=rds", {"snapshot": "new"}
    assert night.ask("PUT", f"{path}&database=rds", pin | {"database": "rds"})[0] == 200
    expected = malformed("the request names different databases")
    assert night.ask("PUT", path, pin | {"database": "docs"}) == expected
    two = Night(two=True)
    expected = malformed("database is missing: name one of rds, docs")
    assert two.ask("GET", "/snapshots") == expected
    history = two.ask("GET", "/snapshots/current/history?database=docs")[1]["history"]
    assert history[-1]["snapshot"] == arn("docs-old")


def test_each_action_is_one_log_line(caplog: pytest.LogCaptureFixture, night: Night) -> None:
    caplog.set_level(logging.INFO, "aurora-refresh")
    asked = {"snapshot": "new", "deploy": True, "reason": "test", "database": "rds"}
    _, answer = night.ask("PUT", "/snapshots/current", asked)
    _, refusal = night.ask("PUT", "/snapshots/current", asked | {"database": "x"})
    night.ask("GET", "/status")
    assert night.ask("GET", "/snapshots?database=x")[0] == 404
    denied("put")(night)
    status, failure = night.ask("PUT", "/hold", {"until": "2026-01-22"})
    denied("history")(night)
    night.ask("GET", "/status")
    lines = map(JsonFormatter().format, caplog.records)
    done, refused, failed, unread = map(json.loads, lines)
    assert (done["caller"], done["request"], done["answer"]) == (KIM, asked, answer)
    assert (refused["caller"], refused["request"]) == (KIM, asked | {"database": "x"})
    assert refused["refusal"] == refusal["Message"] == 'there is no database "x"; known: rds'
    assert failed["refusal"] == failure["Message"] == "put of it failed: AccessDeniedException: no"
    assert status == 500
    assert [each["level"] for each in (refused, failed, unread)] == ["INFO", "ERROR", "ERROR"]
    assert (unread["message"], unread["caller"]) == ("status", KIM)


def test_what_could_not_be_undone_is_part_of_the_answer(night: Night) -> None:
    refuse(night.aws, "start", then="put")
    status, answer = night.ask("PUT", "/snapshots/current", {"snapshot": "new", "deploy": True})
    denied_call = "of it failed: AccessDeniedException: no"
    cause = f"current was to be put back, because start {denied_call}"
    assert (status, answer["Message"]) == (500, f"put {denied_call}; {cause}")
