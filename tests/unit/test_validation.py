"""What a request may hold: anybody may send anything."""

import json
import string
import unicodedata
from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.triggers import validation as inputs
from chalicelib.triggers.validation import (
    HOLD,
    PIN,
    REFRESH,
    ROLLBACK,
    Field,
    check_query,
    database_name,
    echo,
    form_body,
    form_fields,
    json_body,
)
from tests.fakes import arn

ALL = {"pin": PIN, "rollback": ROLLBACK, "hold": HOLD, "refresh": REFRESH, "resume": ()}
NAMES = sorted({field.name for fields in ALL.values() for field in fields})

texts = st.text() | st.sampled_from(["new", "latest", "2026-01-22", "true", "", "x" * 300])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.sampled_from(NAMES) | texts, json_values, max_size=4)


def outcome(
    raw: bytes, fields: tuple[Field, ...], read: Callable[..., dict[str, Any]] = json_body
) -> dict[str, Any] | str:
    """The fields' values, or what is wrong in words; any other error is the reader's own."""
    try:
        return read(raw, fields)
    except UnicodeError:
        raise
    except ValueError as error:
        return str(error)


def problem(raw: bytes, fields: tuple[Field, ...]) -> str:
    told = outcome(raw, fields)
    assert isinstance(told, str)
    return told


# --- JSON -----------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(ALL)), st.binary() | json_objects.map(lambda o: json.dumps(o).encode())
)
def test_whatever_is_sent_gives_every_field_its_type_or_a_problem_in_words(
    action: str, raw: bytes
) -> None:
    fields = ALL[action]
    body = outcome(raw, fields)
    if isinstance(body, str):
        assert 0 < len(body) < 400
        assert not {"Cc", "Cf", "Cs"}.intersection(map(unicodedata.category, body))
        return
    assert list(body) == [field.name for field in fields]
    for field in fields:
        kind = date if field.name == "until" else field.kind
        assert isinstance(body[field.name], kind) or body[field.name] == field.default
    assert len(body.get("reason", "")) <= 256


@given(st.sampled_from(NAMES), json_values)
def test_a_problem_names_its_field(name: str, value: Any) -> None:
    fields = next(fields for fields in ALL.values() if name in {each.name for each in fields})
    told = outcome(json.dumps({name: value}).encode(), fields)
    if isinstance(told, str) and told != "the body is not JSON":  # as NaN is not
        assert told.startswith((f"{name} is ", "snapshot is missing", "until is missing"))


def test_what_is_left_out_has_its_default() -> None:
    assert json_body(b"{}", ROLLBACK) == {"reason": "", "deploy": False, "database": None}
    assert json_body(b"{}", REFRESH) == {"dry_run": False, "outside_window": False, "reason": ""}


def test_a_body_may_be_left_out_where_nothing_is_asked_for() -> None:
    assert json_body(b"", ()) == {}
    assert json_body(b"{}", ()) == {}
    assert problem(b"", REFRESH) == "the body is not JSON"


@pytest.mark.parametrize(
    "raw",
    [
        b" ",
        b"nul",
        b"{",
        b'{"reason": NaN}',
        b'{"reason": Infinity}',
        b'{"reason": -Infinity}',
        b'{"reason": "a\nb"}',
        b'{"reason": "a"} {}',
        b"{'reason': 'a'}",
        b'{"reason": 01}',
        b"\xff\xfe",
        b'{"reason": "\xff"}',
        b'{"deploy": ' + b"9" * 5_000 + b"}",
        b"[" * 8_192,
        b'{"a":' * 1_600,
    ],
    ids=range(15),
)
def test_what_is_no_json_is_told(raw: bytes) -> None:
    assert problem(raw, ROLLBACK) == "the body is not JSON"


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"a"', b"true", b'[["reason", "a"]]'])
def test_what_is_no_object_is_told(raw: bytes) -> None:
    assert problem(raw, ROLLBACK) == "the body is not a JSON object"


def test_the_largest_body_is_read_and_a_larger_one_is_not() -> None:
    assert json_body(b"{}" + b" " * 8_190, ROLLBACK)
    assert problem(b"{}" + b" " * 8_191, ROLLBACK) == "the body is larger than 8192 bytes"
    assert problem(b"x" * 8_193, ()) == "the body is larger than 8192 bytes"


def test_a_number_beyond_every_float_is_no_bool() -> None:
    assert problem(b'{"deploy": 1e999}', ROLLBACK) == (
        "deploy is Infinity: true or false is wanted"
    )


@pytest.mark.parametrize("value", ["0", "1", "0.0", "null", '"true"', '"false"', '""', "[]", "{}"])
def test_a_bool_is_true_or_false(value: str) -> None:
    told = problem(f'{{"deploy": {value}}}'.encode(), ROLLBACK)
    assert told.startswith("deploy is ")
    assert told.endswith(": true or false is wanted")


def test_a_field_that_stands_twice_is_no_field() -> None:
    assert problem(b'{"dry_run": true, "dry_run": false}', REFRESH) == (
        'field "dry_run" is written 2 times'
    )
    assert problem(b'{"x": 1, "x": 1, "x": 1}', ()) == 'field "x" is written 3 times'


def test_an_unknown_field_is_named_and_cut_short() -> None:
    assert problem(b'{"Reason": "a"}', ROLLBACK) == (
        'unknown field "Reason"; known: reason, deploy, database'
    )
    told = problem(json.dumps({"\x1b" * 500: 1}).encode(), ())
    assert told.startswith('unknown field "\\u001b')
    assert told.endswith("…; known: none")
    assert len(told) < 150


@given(st.text(max_size=300))
def test_a_reason_is_taken_as_it_is_or_not_at_all(reason: str) -> None:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}.intersection(map(unicodedata.category, reason))
    raw = json.dumps({"reason": reason}).encode()
    if hidden or len(reason) > 256:
        assert problem(raw, ROLLBACK).startswith("reason is ")
    else:
        assert json_body(raw, ROLLBACK)["reason"] == reason


def test_half_a_surrogate_pair_in_raw_bytes_is_seen() -> None:
    assert problem(b'{"reason": "\xed\xa0\x80"}', ROLLBACK).startswith('reason is "\\ud800": at')


@pytest.mark.parametrize(
    "wish", ["latest", "a", "A1", "a-b", "rds:orders-2026-01-04-05-00", "a" * 255]
)
def test_identifiers(wish: str) -> None:
    assert json_body(json.dumps({"snapshot": wish}).encode(), PIN)["snapshot"] == wish


@pytest.mark.parametrize(
    "wish",
    [
        *(
            "",
            "1a",
            "-a",
            "a-",
            "a--b",
            "a_b",
            "a b",
            "a\n",
            "é",
            "rds:",
            "a:b",
            "a" * 256,
            "a\x00",
        ),
        *("../../a", "*", "%41", "a" * 600, arn("a").replace("cluster-", ""), arn("a", "1")),
    ],
    ids=range(19),
)
def test_what_is_no_identifier_and_no_arn(wish: str) -> None:
    assert problem(json.dumps({"snapshot": wish}).encode(), PIN).startswith("snapshot is ")


# --- forms ----------------------------------------------------------------------------------------


def test_a_form_is_read_as_the_same_fields() -> None:
    raw = b"action=pin&snapshot=new&reason=two+words+%C3%A4&deploy=true&database=rds"
    assert form_body(raw, PIN) == {
        "snapshot": "new",
        "reason": "two words ä",
        "deploy": True,
        "database": "rds",
    }
    assert form_fields(raw)[0] == ("action", "pin")


def test_what_is_left_empty_in_a_form_is_left_out() -> None:
    assert form_body(b"action=rollback&reason=&database=", ROLLBACK) == {
        "reason": "",
        "deploy": False,
        "database": None,
    }
    assert str(outcome(b"action=hold&until=", HOLD, form_body)).startswith("until is missing")


@pytest.mark.parametrize("text", ["on", "1", "yes", "True", "TRUE", "true ", "null"])
def test_a_switch_of_a_form_that_is_neither_true_nor_false_is_no_no(text: str) -> None:
    """Somebody who sends dry_run=on must not get the real thing."""
    told = outcome(urlencode({"dry_run": text}).encode(), REFRESH, form_body)
    assert told == f'dry_run is "{text}": true or false is wanted'


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_switch_of_a_form_is_true_or_false(text: str, value: bool) -> None:
    assert form_body(f"dry_run={text}".encode(), REFRESH)["dry_run"] is value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"reason=\xc3\xa4", "the body is not a form"),
        (b"reason=%FF", "the body is not a form"),
        (b"reason=%ED%A0%80", "the body is not a form"),
        (b"&".join(b"a%d=1" % number for number in range(21)), "the body is not a form"),
        (b"reason=" + b"a" * 8_192, "the body is larger than 8192 bytes"),
        (b"reason=a&reason=b", 'field "reason" is written 2 times'),
        (b"force=true", 'unknown field "force"; known: action, reason, deploy, database'),
        (b"reason=a%0Ab", r'reason is "a\nb": at most 256'),
        (b'{"reason": "a=b"}', r'unknown field "{\"reason\": \"a"; known: action'),
    ],
    ids=range(9),
)
def test_a_malformed_form_is_told(raw: bytes, message: str) -> None:
    told = outcome(raw, ROLLBACK, form_body)
    assert str(told).startswith(message)


@given(st.sampled_from(sorted(ALL)), st.binary() | st.text(string.printable).map(str.encode))
def test_any_form_is_read_or_told(action: str, raw: bytes) -> None:
    told = outcome(raw, ALL[action], form_body)
    if isinstance(told, str):
        assert 0 < len(told) < 400
    else:
        assert list(told) == [field.name for field in ALL[action]]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=256))
def test_a_form_and_json_agree_on_a_reason(reason: str) -> None:
    form = urlencode({"reason": reason}).encode()
    if len(form) <= inputs.BODY_LIMIT:
        same = json.dumps({"reason": reason}).encode()
        assert outcome(form, ROLLBACK, form_body) == outcome(same, ROLLBACK)


# --- query ----------------------------------------------------------------------------------------


def test_the_one_database_need_not_be_named() -> None:
    assert database_name([], {}, ["rds"]) == "rds"
    assert database_name([], {"database": None}, ["rds"]) == "rds"


def test_one_of_several_must_be() -> None:
    with pytest.raises(ValueError, match="database is missing: name one of rds, docs"):
        database_name([], {}, ["rds", "docs"])
    assert database_name([("database", "docs")], {}, ["rds", "docs"]) == "docs"
    assert database_name([], {"database": "docs"}, ["rds", "docs"]) == "docs"


def test_a_database_that_is_named_emptily_is_not_left_out() -> None:
    assert database_name([("database", "")], {}, ["rds"]) == ""
    assert database_name([], {"database": ""}, ["rds"]) == ""


def test_two_names_for_one_database_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="the request names different databases"):
        database_name([("database", "rds")], {"database": ""}, ["rds"])


def test_an_unknown_query_parameter_is_named() -> None:
    check_query([("database", "a"), ("database", "b")], ["database"])
    check_query([], [])
    with pytest.raises(ValueError, match='unknown query parameter "dry_run, x"; known: none'):
        check_query([("dry_run", "true"), ("x", ""), ("x", "")], [])


# --- echo -----------------------------------------------------------------------------------------


@given(json_values)
def test_an_echo_is_short_and_plain(value: Any) -> None:
    text = echo(value) if not isinstance(value, dict) else echo(inputs._Pairs(value.items()))  # noqa: SLF001
    assert len(text) <= 81
    assert all(" " <= letter <= "~" or letter == "…" for letter in text)
