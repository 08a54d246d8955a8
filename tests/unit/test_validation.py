"""Requests, in which anybody may send anything.

Which texts a field takes is held against docs/openapi.yaml: see tests/test_openapi.py.
"""

import json
import unicodedata
from datetime import date
from typing import Any

from chalice.app import BadRequestError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.triggers.validation import HOLD, PIN, REFRESH, ROLLBACK, Field, echo, json_body

ALL = {"pin": PIN, "rollback": ROLLBACK, "hold": HOLD, "refresh": REFRESH, "resume": ()}
NAMES = sorted({field.name for fields in ALL.values() for field in fields})

texts = st.text() | st.sampled_from(["new", "latest", "2026-01-22", "true", "", "x" * 300])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.sampled_from(NAMES) | texts, json_values, max_size=4)
bodies = st.binary() | json_objects.map(lambda body: json.dumps(body).encode())


def outcome(raw: bytes, fields: tuple[Field, ...]) -> Any:
    """Return the fields' values or the problem; any other error is a fault of the reader."""
    try:
        return json_body(raw, fields)
    except BadRequestError as error:
        return str(error)


@given(st.sampled_from(sorted(ALL)), bodies)
def test_a_body_has_every_field_in_its_type_or_a_problem_in_words(action: str, raw: bytes) -> None:
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


def test_what_is_no_json_object_is_refused_but_no_body_has_no_fields() -> None:
    assert outcome(b"", ROLLBACK) == outcome(b"{}", ROLLBACK)
    # Python has no room for the last two.
    for raw in (b"nul", b"\xff", b"[" * 8_192, b'{"a": ' + b"9" * 5_000 + b"}"):
        assert outcome(raw, ROLLBACK) == "the body is not JSON"
    for raw in (b"[]", b"null", b'"a"', b'[["reason", "a"]]'):
        assert outcome(raw, ROLLBACK) == "the body is not a JSON object"


def test_the_message_names_the_field_its_value_and_what_is_expected() -> None:
    assert outcome(b'{"deploy": 1e999}', ROLLBACK) == "deploy is Infinity: write true or false"
    assert outcome(b'{"deploy": 0}', ROLLBACK) == "deploy is 0: write true or false"
    assert outcome(b'{"deploy": []}', ROLLBACK) == "deploy is an array: write true or false"
    assert outcome(b'{"deploy": {"a": 1}}', ROLLBACK) == "deploy is an object: write true or false"
    assert outcome(b'{"x": 1}', ()) == 'unknown field "x"; known: none'
    known = "reason, deploy, database"
    assert outcome(b'{"Reason": ""}', ROLLBACK) == f'unknown field "Reason"; known: {known}'
    right = "write the ARN or the identifier of a DB cluster snapshot, or latest"
    assert outcome(b"{}", PIN) == f"snapshot is missing: {right}"
    assert outcome(b'{"until": "x"}', HOLD) == 'until is "x": write a date such as 2026-01-22'
    # Half a surrogate pair, in raw bytes.
    invisible = outcome(b'{"reason": "\xed\xa0\x80"}', ROLLBACK)
    assert invisible.startswith('reason is "\\ud800": write at most 256 characters')


@given(st.text(max_size=200))
def test_an_echo_is_short_and_plain(value: str) -> None:
    text = echo(value)
    assert len(text) <= 81
    assert echo("x" * 78) == '"' + "x" * 78 + '"'
    assert all(" " <= letter <= "~" or letter == "…" for letter in text)
