"""The history of current, and what a promotion has left to do."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.ledger import Entry, Move, Note, Run, newest_carried, next_move

FOUR = datetime(2026, 1, 4, 4, tzinfo=UTC)


def entry(version: int, value: str, minute: float = 0, token: str | None = None) -> Entry:
    note = Note("promote", "the schedule", "newest", token)
    return Entry(version, value, FOUR + timedelta(minutes=minute), note)


def run(minute: float, status: str = "Succeeded") -> Run:
    return Run("run-1", status, FOUR + timedelta(minutes=minute))


@given(st.text(), st.text(), st.text(), st.none() | st.text(min_size=1, max_size=128))
def test_a_note_is_read_back_as_written(action: str, by: str, why: str, token: str | None) -> None:
    note = Note(action[:20], by[:100], why[:100], token and token[:36])
    assert Note.read(note.describe()) == note


def test_a_note_too_long_for_parameter_store_loses_the_end_of_its_reason() -> None:
    note = Note("pin", "arn:aws:iam::222222222222:user/operator", "because " * 200, "token")
    text = note.describe()
    assert len(text) == 1024
    assert json.loads(text)["why"].endswith("…")
    assert Note.read(text).token == "token"


def test_a_reason_of_quotes_which_json_doubles_still_fits() -> None:
    assert len(Note("pin", "me", '"' * 1000).describe()) <= 1024


@pytest.mark.parametrize(
    "description",
    [
        "",
        "restored by hand, ask Kim",
        "[]",
        "1",
        "null",
        "{}",
        '{"action": "pin", "by": "me", "why": "x"}',
        '{"action": 1, "by": "me", "why": "x", "token": null}',
        '{"action": "pin", "by": "me", "why": "x", "token": 5}',
        "[" * 100_000,
    ],
)
def test_a_description_by_others_is_no_note(description: str) -> None:
    assert Note.read(description) is None


def test_an_entry_without_a_note_has_no_token() -> None:
    assert Entry(1, "a", FOUR, None).token is None


@pytest.mark.parametrize(
    ("status", "in_progress"),
    [
        ("InProgress", True),
        ("Stopping", True),
        ("Succeeded", False),
        ("Failed", False),
        ("Stopped", False),
        ("Superseded", False),
        ("Cancelled", False),
    ],
)
def test_a_run_is_in_progress_until_it_has_ended(status: str, in_progress: bool) -> None:
    assert run(0, status).in_progress is in_progress


def test_a_run_carries_what_was_set_before_it_and_within_the_minute_after() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 1), entry(3, "c", 1.01)]
    assert newest_carried(ledger, run(0)) == ledger[1]


def test_a_run_older_than_the_ledger_carries_nothing_of_it() -> None:
    assert newest_carried([entry(1, "a", 10)], run(0)) is None


def test_a_parameter_that_does_not_exist_is_created() -> None:
    assert next_move([], "a", [], "t") == Move("a", None, "t")


def test_a_new_value_replaces_the_present_one() -> None:
    assert next_move([entry(1, "a", -60)], "b", [run(-30)], "t") == Move("b", "a", "t")


def test_what_a_run_has_carried_is_nothing_new() -> None:
    assert next_move([entry(1, "a", -60)], "a", [run(-30)], "t") is None


def test_a_failed_run_has_carried_it_too() -> None:
    """Whether it comes back is decided by whoever follows that run up, not by promoting again."""
    assert next_move([entry(1, "a", -60)], "a", [run(-30, "Failed")], "t") is None


def test_what_was_put_before_a_kill_is_taken_up_with_its_own_token() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "killed")]
    assert next_move(ledger, "b", [run(-30)], "t") == Move("b", "a", "killed", written=True)


def test_a_created_parameter_taken_up_after_a_kill_goes_back_to_nothing() -> None:
    assert next_move([entry(1, "b", 0, "t")], "b", [], "t") == Move("b", None, "t", written=True)


def test_a_pin_that_waits_for_a_run_is_started_but_never_undone() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 0, token=None)]
    assert next_move(ledger, "b", [], "t") == Move("b", "a", "t", written=True, undoable=False)


def test_a_scheduled_time_that_was_carried_is_not_promoted_again() -> None:
    """Its run failed and current was put back: a late delivery must not start over."""
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "t"), entry(3, "a", 20)]
    assert next_move(ledger, "b", [run(0.5, "Failed")], "t") is None
    assert next_move(ledger, "b", [run(0.5, "Failed")], "next time") == Move("b", "a", "next time")


def test_a_scheduled_time_that_was_undone_is_promoted_again() -> None:
    """The later run carried what the undo put back, not what was promoted."""
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "t"), entry(3, "a", 1)]
    assert next_move(ledger, "b", [run(30)], "t") == Move("b", "a", "t")
