"""Requests, in which anybody may send anything."""

import json
import unicodedata
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.triggers import validation
from chalicelib.triggers.validation import (
    HOLD,
    PIN,
    REFRESH,
    ROLLBACK,
    Field,
    echo,
    json_body,
)

ALL = {"pin": PIN, "rollback": ROLLBACK, "hold": HOLD, "refresh": REFRESH, "resume": ()}
NAMES = sorted({field.name for fields in ALL.values() for field in fields})

texts = st.text() | st.sampled_from(["new", "latest", "2026-01-22", "true", "", "x" * 300])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.sampled_from(NAMES) | texts, json_values, max_size=4)


def outcome(raw: bytes, fields: tuple[Field, ...]) -> dict[str, Any] | str:
    """Return the fields' values or the problem; any other error is a fault of the reader."""
    try:
        return json_body(raw, fields)
    except UnicodeError:
        raise
    except ValueError as error:
        return str(error)


def problem(raw: bytes, fields: tuple[Field, ...]) -> str:
    found = outcome(raw, fields)
    assert isinstance(found, str)
    return found


# --- JSON -----------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(ALL)), st.binary() | json_objects.map(lambda o: json.dumps(o).encode())
)
def test_any_body_has_every_field_in_its_type_or_a_problem_in_words(
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
    found = outcome(json.dumps({name: value}).encode(), fields)
    if isinstance(found, str) and found != "the body is not JSON":  # as NaN is not
        assert found.startswith((f"{name} is ", "snapshot is missing", "until is missing"))


def test_a_field_that_is_left_out_has_its_default() -> None:
    assert json_body(b"{}", ROLLBACK) == {"reason": "", "deploy": False, "database": None}
    assert json_body(b"{}", REFRESH) == {"dry_run": False, "outside_window": False, "reason": ""}


def test_a_body_without_fields_may_be_left_out() -> None:
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
def test_a_body_that_is_not_json_is_refused(raw: bytes) -> None:
    assert problem(raw, ROLLBACK) == "the body is not JSON"


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"a"', b"true", b'[["reason", "a"]]'])
def test_a_body_that_is_not_an_object_is_refused(raw: bytes) -> None:
    assert problem(raw, ROLLBACK) == "the body is not a JSON object"


def test_the_largest_body_is_read_and_a_larger_one_is_not() -> None:
    assert json_body(b"{}" + b" " * 8_190, ROLLBACK)
    assert problem(b"{}" + b" " * 8_191, ROLLBACK) == "the body is larger than 8192 bytes"
    assert problem(b"x" * 8_193, ()) == "the body is larger than 8192 bytes"


def test_a_number_beyond_every_float_is_not_a_bool() -> None:
    assert problem(b'{"deploy": 1e999}', ROLLBACK) == ("deploy is Infinity: write true or false")


@pytest.mark.parametrize("value", ["0", "1", "0.0", "null", '"true"', '"false"', '""', "[]", "{}"])
def test_a_bool_is_true_or_false(value: str) -> None:
    found = problem(f'{{"deploy": {value}}}'.encode(), ROLLBACK)
    assert found.startswith("deploy is ")
    assert found.endswith(": write true or false")


def test_a_field_that_occurs_twice_is_refused() -> None:
    assert problem(b'{"dry_run": true, "dry_run": false}', REFRESH) == (
        'field "dry_run" occurs 2 times'
    )
    assert problem(b'{"x": 1, "x": 1, "x": 1}', ()) == 'field "x" occurs 3 times'


def test_an_unknown_field_is_named_and_cut_short() -> None:
    assert problem(b'{"Reason": "a"}', ROLLBACK) == (
        'unknown field "Reason"; known: reason, deploy, database'
    )
    found = problem(json.dumps({"\x1b" * 500: 1}).encode(), ())
    assert found.startswith('unknown field "\\u001b')
    assert found.endswith("…; known: none")
    assert len(found) < 150


# Letters and marks that are drawn as nothing, which no category says.
# https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point
@pytest.mark.parametrize("letter", ["\u3164", "\u2800", "\u115f", "\ufe0f", "\u200b", "\u202e"])
def test_a_reason_with_an_invisible_character_is_refused(letter: str) -> None:
    raw = json.dumps({"reason": f"restore {letter}test"}).encode()
    assert problem(raw, ROLLBACK).startswith('reason is "restore \\u')


def test_half_a_surrogate_pair_in_raw_bytes_is_refused() -> None:
    assert problem(b'{"reason": "\xed\xa0\x80"}', ROLLBACK).startswith(
        'reason is "\\ud800": write at'
    )


# --- query ----------------------------------------------------------------------------------------


# --- echo -----------------------------------------------------------------------------------------


@given(json_values)
def test_an_echo_is_short_and_plain(value: Any) -> None:
    text = echo(value) if not isinstance(value, dict) else echo(validation._Pairs(value.items()))  # noqa: SLF001
    assert len(text) <= 81
    assert all(" " <= letter <= "~" or letter == "…" for letter in text)
