"""The hold: a dated stop to scheduled promotion."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.hold import Hold

HOLD = Hold(date(2026, 1, 22), "release test", "arn:aws:iam::222222222222:user/tester")


def test_a_hold_is_read() -> None:
    text = (
        '{"until": "2026-01-22", "reason": "release test", '
        '"by": "arn:aws:iam::222222222222:user/tester"}'
    )
    assert Hold.read(text) == HOLD


def test_the_placeholder_is_no_hold() -> None:
    assert Hold.read("dummyvalue") is None


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "until thursday",
        "2026-01-22",
        "null",
        "{}",
        '{"until": "thursday", "reason": "", "by": ""}',
        '{"until": 20260122, "reason": "", "by": ""}',
        '{"until": "2026-01-22"}',
        "[" * 100_000,
    ],
)
def test_anything_unreadable_is_an_error_that_shows_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="not a hold such as"):
        Hold.read(text)


def test_a_hold_covers_the_days_before_its_until() -> None:
    assert HOLD.covers(date(2026, 1, 21))
    assert not HOLD.covers(date(2026, 1, 22))


@given(st.dates(), st.text(), st.text())
def test_a_hold_is_read_back_as_written(until: date, reason: str, by: str) -> None:
    assert Hold.read(Hold(until, reason, by).write()) == Hold(until, reason, by)


@given(st.text('{}"\\a'))
def test_a_hold_is_written_as_parameter_store_takes_it(reason: str) -> None:
    """Which takes no value that refers to a parameter: https://docs.aws.amazon.com/systems-manager/latest/userguide/what-is-a-parameter.html"""
    text = Hold(date(2026, 1, 22), reason, reason).write()
    assert "{{" not in text
    assert Hold.read(text) == Hold(date(2026, 1, 22), reason, reason)


def test_a_hold_is_written_as_people_read_it() -> None:
    assert Hold(date(2026, 1, 22), "Größe 🚀", "kim").write() == (
        '{"until": "2026-01-22", "reason": "Größe 🚀", "by": "kim"}'
    )
