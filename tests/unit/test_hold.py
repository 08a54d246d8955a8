"""The hold: a dated stop to scheduled promotion."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.hold import Hold


def test_a_hold_is_written_as_people_read_it() -> None:
    hold = Hold(date(2026, 1, 22), "Größe 🚀", "kim")
    assert hold.write() == '{"until": "2026-01-22", "reason": "Größe 🚀", "by": "kim"}'
    assert Hold.read("dummyvalue") is None


LONE_SURROGATE = '{"until": "2026-01-22", "reason": "\\ud83d", "by": "kim"}'
UNREADABLE = ["until thursday", "null", "[" * 100_000, '{"until": "2026-01-22"}', LONE_SURROGATE]


@pytest.mark.parametrize("text", UNREADABLE)
def test_anything_unreadable_is_an_error_that_shows_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="not a hold such as"):
        Hold.read(text)


@given(st.dates(), st.text() | st.text('{}"\\a'), st.text())
def test_a_hold_is_read_back_as_parameter_store_takes_it(until: date, reason: str, by: str) -> None:
    """It takes no value that refers to a parameter: https://docs.aws.amazon.com/systems-manager/latest/userguide/what-is-a-parameter.html"""
    hold = Hold(until, reason, by)
    assert Hold.read(hold.write()) == hold
    assert "{{" not in hold.write()
