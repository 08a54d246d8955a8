"""The HTTP layer: what a request may be, whose it is, and what it answers."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st

from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import refuse
from tests.stage import CURRENT, PIPELINE, STAGE
from tests.usecases.conftest import (
    HOLD,
    KIM,
    READING,
    SUNDAY,
    Api,
    everything,
    hold_until,
    quiet_sunday,
    running,
    runs_started,
)

FORM = "application/x-www-form-urlencoded"
SAM = "arn:aws:iam::222222222222:user/sam"

READS = ["/snapshots/current/history", "/snapshots", "/status", "/"]
WRITES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/snapshots/current"): {"snapshot": "new", "deploy": True},
    ("POST", "/snapshots/current/rollback"): {},
    ("PUT", "/hold"): {"until": "2026-01-22"},
    ("DELETE", "/hold"): {},
    ("POST", "/refresh"): {},
}
IDS = [" ".join(each) for each in WRITES]
every_write = pytest.mark.parametrize(("method", "path"), list(WRITES), ids=IDS)


@pytest.fixture
def aws(aws: InMemoryAws) -> InMemoryAws:
    """There is something to roll back to, and a hold to lift."""
    aws.snapshots.all.append(snapshot("older"))
    aws.parameters.kept[CURRENT] = []
    for value in ("older", "old"):
        aws.parameters.put(CURRENT, arn(value), Note("bootstrap", "setup", ""))
    hold_until("2026-01-04")(aws)  # which is over
    aws.calls.clear()
    return aws


@pytest.fixture
def local(holdable: Settings, aws: InMemoryAws) -> Api:
    """`chalice local`, as the console runs it: nobody is signed in."""
    api = Api(holdable, aws, operator=SAM)
    api.caller = None
    return api


def submit(
    api: Api, fields: dict[str, str] | bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Send a form as a browser does that is on the console's own page."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    own = {"Content-Type": FORM, "Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}
    status, answered, page = api.send("POST", "/", body, own | (headers or {}))
    return status, answered, page.decode()


# --- who asked ------------------------------------------------------------------------------------


def authors(aws: InMemoryAws) -> set[str]:
    """Who has written since the account was set up."""
    written = [entry for kept in aws.parameters.kept.values() for entry in kept if entry.note]
    return {entry.by for entry in written} - {"setup", "somebody"}


@every_write
def test_who_signed_goes_into_the_ledger(
    holdable: Settings, aws: InMemoryAws, method: str, path: str
) -> None:
    assert Api(holdable, aws, operator=SAM)(method, path, WRITES[method, path])[0] == 200
    assert authors(aws) == {KIM}


@every_write
def test_in_local_mode_it_is_the_operator(
    local: Api, aws: InMemoryAws, method: str, path: str
) -> None:
    assert local(method, path, WRITES[method, path])[0] == 200
    assert authors(aws) == {SAM}


@every_write
def test_otherwise_it_is_unknown(
    holdable: Settings, aws: InMemoryAws, method: str, path: str
) -> None:
    nobody = Api(holdable, aws)
    nobody.caller = None
    assert nobody(method, path, WRITES[method, path])[0] == 200
    assert authors(aws) == {"unknown"}


@pytest.mark.parametrize("field", ["by", "caller", "operator", "userArn"])
@every_write
def test_nobody_names_himself(
    ask: Api, aws: InMemoryAws, method: str, path: str, field: str
) -> None:
    assert ask(method, path, WRITES[method, path] | {field: "the boss"})[0] == 400
    assert aws.calls == []


# --- malformed requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "the body is not JSON"),
        (b'{"reason": NaN}', "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"x" * 8_193, "the body is larger than 8192 bytes"),
        (b'{"x": 1, "x": 1}', 'field "x" is written 2 times'),
    ],
    ids=range(5),
)
@every_write
def test_a_malformed_body_is_told_on_every_route(
    ask: Api, aws: InMemoryAws, method: str, path: str, raw: bytes, message: str
) -> None:
    assert ask.raw(method, path, raw) == (400, {"Code": "BadRequestError", "Message": message})
    assert aws.calls == []


@pytest.mark.parametrize(("method", "path"), [each for each in WRITES if each[0] != "DELETE"])
def test_an_empty_body_is_no_json(ask: Api, aws: InMemoryAws, method: str, path: str) -> None:
    assert ask(method, path)[1]["Message"] == "the body is not JSON"
    assert aws.calls == []


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/status", "none"),
        ("GET", "/", "none"),
        ("GET", "/snapshots", "database"),
        ("GET", "/snapshots/current/history", "database"),
        ("PUT", "/hold", "none"),
        ("DELETE", "/hold", "none"),
        ("POST", "/refresh", "none"),
        ("PUT", "/snapshots/current", "database"),
        ("POST", "/snapshots/current/rollback", "database"),
    ],
)
def test_an_unknown_query_parameter_is_told_on_every_route(
    ask: Api, aws: InMemoryAws, method: str, path: str, known: str
) -> None:
    body = WRITES.get((method, path))
    for query in ("?dry_run=true", "?dry_run", "?dry_run=1&dry_run=2"):
        assert ask(method, path + query, body) == (
            400,
            {
                "Code": "BadRequestError",
                "Message": f'unknown query parameter "dry_run"; known: {known}',
            },
        )
    expected = 400 if known == "none" else 200
    assert ask.send(method, f"{path}?database=rds", json.dumps(body or {}).encode())[0] == expected


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
    answered, answer = ask("GET", path + query)
    assert (answered, answer.get("Message")) == (status, message)


@pytest.mark.parametrize("path", ["/snapshots", "/snapshots/current/history"])
def test_one_of_several_databases_must_be_named(
    two: Settings, documents: InMemoryAws, path: str
) -> None:
    assert Api(two, documents)("GET", path) == (
        400,
        {"Code": "BadRequestError", "Message": "database is missing: name one of rds, docs"},
    )


@pytest.mark.parametrize("media", [FORM, "text/plain", "multipart/form-data; boundary=x", ""])
@every_write
def test_only_json_is_taken(ask: Api, aws: InMemoryAws, method: str, path: str, media: str) -> None:
    body = json.dumps(WRITES[method, path]).encode()
    status, _, answer = ask.send(method, path, body, {"Content-Type": media})
    assert (status, json.loads(answer)["Code"]) == (415, "UnsupportedMediaType")
    assert aws.calls == []


def test_json_may_name_its_charset(ask: Api) -> None:
    media = {"Content-Type": "application/json; charset=utf-8"}
    assert ask("POST", "/refresh", {"dry_run": True}, media)[0] == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ("snapshot", "reason", "deploy", "database", "until", "dry_run", "outside_window")


@checked(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(WRITES)),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=3),
    st.booleans(),
)
def test_any_json_as_any_field_is_answered_and_a_refusal_changes_nothing(
    route: tuple[str, str], fields: dict[str, Any], sound: bool
) -> None:
    aws = quiet_sunday()
    ask = Api(Settings.from_environment(STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD}), aws)
    before = everything(aws)
    status, answer = ask(*route, (WRITES[route] if sound else {}) | fields)
    assert status in (200, 400, 404, 409)
    if status >= 400:
        assert sorted(answer) == ["Code", "Message"]
        assert everything(aws) == before
        assert set(aws.calls) <= READING


@checked(max_examples=100, deadline=None)
@given(st.sampled_from(list(WRITES)), st.binary(max_size=100))
def test_any_bytes_are_answered(route: tuple[str, str], raw: bytes) -> None:
    aws = quiet_sunday()
    ask = Api(Settings.from_environment(STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD}), aws)
    assert ask.raw(*route, raw)[0] in (200, 400, 409)


# --- the log --------------------------------------------------------------------------------------


@every_write
def test_each_deed_is_one_log_line_with_its_grounds(
    lines: Callable[[], list[dict[str, Any]]], ask: Api, method: str, path: str
) -> None:
    _, answer = ask(method, path, WRITES[method, path])
    (line,) = lines()
    answer.pop("dry_run", None)
    assert line["answer"].items() >= answer.items()
    assert line["caller"] == KIM
    assert line["wish"].items() >= WRITES[method, path].items()


@pytest.mark.parametrize("path", READS)
def test_looking_is_not_logged(
    lines: Callable[[], list[dict[str, Any]]], ask: Api, path: str
) -> None:
    ask.send("GET", path)
    assert lines() == []


# --- the protection of local mode -----------------------------------------------------------------

OWN = ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1", "[::1]"]
STRANGE = [
    *("attacker.example", "attacker.example:8000", "127.0.0.1.attacker.example", "localhost.evil"),
    *("127.0.0.2", "0.0.0.0.", "10.0.0.1:8000", "169.254.169.254", "[::2]", "[::ffff:10.0.0.1]"),
    *("127.0.0.1@attacker.example", "user:127.0.0.1@attacker.example", "", ":8000", "[", "[::1"),
    *("2130706433", "0x7f000001", "attacker.example/127.0.0.1", "attacker.example#@localhost"),
]


@pytest.mark.parametrize("host", OWN)
def test_the_loopback_address_is_served_by_all_its_names(
    local: Api, aws: InMemoryAws, host: str
) -> None:
    assert local.send("GET", "/status", headers={"Host": host})[0] == 200
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert local("PUT", "/hold", {"until": "2026-01-22"}, headers)[0] == 200
    assert submit(local, {"action": "resume"}, headers)[0] == 303


@pytest.mark.parametrize("host", STRANGE)
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("GET", "/"), *WRITES])
def test_a_name_that_was_made_to_lead_here_is_not_served(
    local: Api, aws: InMemoryAws, method: str, path: str, host: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"}
    status, _, answer = local.send(method, path, b"{}", headers)
    assert (status, json.loads(answer)) == (
        403,
        {
            "Code": "ForbiddenError",
            "Message": (
                f"host is {json.dumps(host)}: unsigned requests are for the loopback address only"
            ),
        },
    )
    assert aws.calls == []


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://attacker.example", "https://127.0.0.1:8000", "http://127.0.0.1"),
        *("http://127.0.0.1:8001", "http://localhost:8000", "http://127.0.0.1:8000/"),
        *("http://127.0.0.1:8000.attacker.example", "http://[::1]:8000", "file://"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [*WRITES, ("POST", "/")])
def test_another_page_writes_nothing(
    local: Api, aws: InMemoryAws, method: str, path: str, origin: str
) -> None:
    headers = {"Host": "127.0.0.1:8000", "Origin": origin, "Content-Type": FORM}
    status, _, answer = local.send(method, path, b"action=refresh", headers)
    assert (status, json.loads(answer)) == (
        403,
        {
            "Code": "ForbiddenError",
            "Message": f"origin is {json.dumps(origin)}: another page may not write here",
        },
    )
    assert aws.calls == []


@pytest.mark.parametrize("path", READS)
def test_what_another_page_cannot_read_it_may_ask_for(local: Api, path: str) -> None:
    """A link to the console from elsewhere works; no answer of it lets another origin read it."""
    headers = {"Host": "127.0.0.1:8000", "Origin": "http://attacker.example"}
    status, answered, _ = local.send("GET", path, headers=headers)
    assert status == 200
    assert not [name for name in answered if name.lower().startswith("access-control")]


def test_what_is_no_browser_may_leave_out_both(local: Api) -> None:
    assert local("PUT", "/hold", {"until": "2026-01-22"})[0] == 200
    assert local.send("POST", "/", b"action=resume", {"Content-Type": FORM})[0] == 303


def test_a_long_and_hostile_host_is_cut_short(local: Api) -> None:
    status, _, answer = local.send("GET", "/status", headers={"Host": "\x1b" * 9_999})
    assert (status, len(answer) < 300) == (403, True)
    assert b"\x1b" not in answer


@pytest.mark.parametrize("host", ["abc.execute-api.eu-west-1.amazonaws.com", "api.example.com"])
@every_write
def test_who_signed_is_never_hindered(ask: Api, method: str, path: str, host: str) -> None:
    headers = {"Host": host, "Origin": "null"}
    assert ask(method, path, WRITES[method, path], headers)[0] == 200
    assert ask("GET", "/status", None, headers)[0] == 200


# --- the console's forms --------------------------------------------------------------------------


def test_a_deployment_has_no_forms(ask: Api, aws: InMemoryAws) -> None:
    status, _, _ = ask.send("POST", "/", b"action=refresh", {"Content-Type": FORM})
    assert status == 405
    assert aws.calls == []
    assert b"<form" not in ask.send("GET", "/")[2]


def test_the_page_is_html_with_a_strict_policy(ask: Api, local: Api) -> None:
    for api in (ask, local):
        status, headers, page = api.send("GET", "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert page.startswith(b"<!DOCTYPE html>")


DEEDS: dict[str, tuple[dict[str, str], Callable[[InMemoryAws], object]]] = {
    "pin": (
        {"action": "pin", "snapshot": "new", "reason": "two words", "database": "rds"},
        lambda aws: (
            (aws.values()[CURRENT], aws.parameters.kept[CURRENT][-1].note)
            == (arn("new"), Note("pin", SAM, "two words"))
        ),
    ),
    "pin and deploy": (
        {"action": "pin", "snapshot": "new", "deploy": "true"},
        lambda aws: runs_started(aws) == 1,
    ),
    "rollback": (
        {"action": "rollback", "reason": ""},
        lambda aws: (
            (aws.values()[CURRENT], aws.parameters.kept[CURRENT][-1].note)
            == (arn("older"), Note("rollback", SAM, ""))
        ),
    ),
    "hold": (
        {"action": "hold", "until": "2026-01-22", "reason": "ä"},
        lambda aws: (
            json.loads(aws.values()[HOLD]) == {"until": "2026-01-22", "reason": "ä", "by": SAM}
        ),
    ),
    "resume": ({"action": "resume"}, lambda aws: aws.values()[HOLD] == "dummyvalue"),
    "refresh": (
        {"action": "refresh", "dry_run": ""},
        lambda aws: aws.parameters.kept[CURRENT][-1].by == SAM and runs_started(aws) == 1,
    ),
}


@pytest.mark.parametrize("deed", list(DEEDS))
def test_a_form_does_its_deed_and_leads_back(local: Api, aws: InMemoryAws, deed: str) -> None:
    fields, is_done = DEEDS[deed]
    status, headers, page = submit(local, fields)
    assert (status, headers["Location"], page) == (303, "/", "")
    assert is_done(aws)


def test_a_dry_run_is_a_page_and_writes_nothing(local: Api, aws: InMemoryAws) -> None:
    before = everything(aws)
    status, headers, page = submit(local, {"action": "refresh", "dry_run": "true"})
    assert (status, "Location" in headers) == (200, False)
    assert arn("new") in page
    assert everything(aws) == before
    assert set(aws.calls) <= READING


def test_a_refresh_that_was_not_done_is_a_page_that_says_why(local: Api, aws: InMemoryAws) -> None:
    aws.time = SUNDAY.replace(hour=12)
    status, _, page = submit(local, {"action": "refresh"})
    assert status == 200
    assert "2026-01-04 12:00 UTC is outside 00:00-07:00 UTC" in page
    assert submit(local, {"action": "refresh", "outside_window": "true"})[0] == 303


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"action": "pin", "snapshot": "unheard-of"}, 404, "there is no snapshot unheard-of"),
        ({"action": "pin", "snapshot": "new", "database": "x"}, 404, "there is no database"),
        ({"action": "hold", "until": "2026-01-04"}, 409, "which holds nothing"),
        ({"action": "hold", "until": "tomorrow"}, 400, "a date such as 2026-01-22 is wanted"),
        ({"action": "hold"}, 400, "until is missing"),
        ({"action": "resume", "reason": "go"}, 400, "unknown field"),
        ({"action": "drop"}, 400, "known: pin, rollback, refresh, hold, resume"),
        ({}, 400, "known: pin, rollback, refresh, hold, resume"),
        (b"snapshot=new&action=", 400, "known: pin, rollback, refresh, hold, resume"),
        (b"action=pin&snapshot=new&snapshot=old", 400, "is written 2 times"),
        (b"action=refresh&action=resume", 400, "is written 2 times"),
        (b"action=resume&action=resume", 400, "is written 2 times"),
        (b"action=pin&snapshot=n\xc3\xa4w", 400, "the body is not a form"),
        (b"action=pin&snapshot=%ff", 400, "the body is not a form"),
        (b"action=pin&reason=" + b"a" * 8_192, 400, "the body is larger than 8192 bytes"),
        (b'{"action": "resume"}', 400, "known: pin, rollback, refresh, hold, resume"),
        (b"action=refresh&dry_run=on", 400, "true or false is wanted"),
        (b"action=pin&snapshot=new&deploy=yes", 400, "true or false is wanted"),
        (b"", 400, "known: pin, rollback, refresh, hold, resume"),
    ],
    ids=range(19),
)
def test_a_refused_form_is_the_page_with_the_message_and_the_status(
    local: Api, aws: InMemoryAws, fields: dict[str, str] | bytes, status: int, message: str
) -> None:
    before = everything(aws)
    answered, headers, page = submit(local, fields)
    assert (answered, headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert message in page
    assert everything(aws) == before


def test_a_busy_pipeline_refuses_a_form(local: Api, aws: InMemoryAws) -> None:
    running()(aws)
    status, _, page = submit(local, {"action": "refresh"})
    assert status == 409
    assert "pipeline acceptance-main is busy with run deploy-7; try later" in page


def test_what_aws_did_not_do_is_a_page_too(local: Api, aws: InMemoryAws) -> None:
    refuse(aws, "put")
    status, _, page = submit(local, {"action": "hold", "until": "2026-01-22"})
    assert status == 500
    assert "put of it failed: AccessDeniedException: no" in page


def test_a_page_that_cannot_be_drawn_is_an_error_like_any_other(
    local: Api, aws: InMemoryAws
) -> None:
    refuse(aws, "get")
    for method, body in (("GET", b""), ("POST", b"action=resume")):
        status, _, answer = local.send(method, "/", body, {"Content-Type": FORM})
        if method == "GET":
            assert status == 415
            status, _, answer = local.send(method, "/")
        assert (status, json.loads(answer)["Code"]) == (500, "ChaliceViewError")


def test_a_hostile_message_does_the_page_no_harm(local: Api) -> None:
    status, _, page = submit(local, {"action": "<script>alert(1)</script>"})
    assert (status, "<script" in page) == (400, False)


def test_a_query_of_a_form_is_refused(local: Api, aws: InMemoryAws) -> None:
    own = {"Content-Type": FORM}
    status, _, page = local.send("POST", "/?dry_run=true", b"action=refresh", own)
    assert status == 400
    assert b"unknown query parameter" in page
    assert runs_started(aws) == 0


def test_json_is_no_form(local: Api, aws: InMemoryAws) -> None:
    assert local("POST", "/", {"action": "refresh"})[0] == 415
    assert aws.calls == []


@checked(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["action", *FIELDS]) | st.text(st.characters(codec="utf-8"), max_size=3),
        st.sampled_from(["pin", "refresh", "hold", "resume", "rollback", "true", "new"])
        | st.text(st.characters(codec="utf-8")),
        max_size=4,
    )
)
def test_any_form_is_answered_and_a_refusal_changes_nothing(fields: dict[str, str]) -> None:
    aws = quiet_sunday()
    settings = Settings.from_environment(STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD})
    api = Api(settings, aws, operator=SAM)
    api.caller = None
    before = everything(aws)
    status, _, _ = submit(api, fields)
    assert status in (200, 303, 400, 404, 409)
    if status != 303:
        assert everything(aws) == before
    assert len(aws.pipelines.pipelines[PIPELINE]) <= 2
