"""The history of current, and what a promotion has left to do."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.ledger import (
    Entry,
    Move,
    Note,
    Run,
    already_ran,
    earlier_values,
    newest_carried,
    newest_run_of,
    next_move,
    proven_value,
    revert_target,
)

FOUR = datetime(2026, 1, 4, 4, tzinfo=UTC)


def entry(version: int, value: str, minute: float = 0, token: str | None = None) -> Entry:
    note = Note("promote", "the schedule", "newest", token)
    return Entry(version, value, FOUR + timedelta(minutes=minute), note)


def back(version: int, value: str, minute: float) -> Entry:
    note = Note("undo", "the schedule", "it failed")
    return Entry(version, value, FOUR + timedelta(minutes=minute), note)


def pinned(version: int, value: str, minute: float) -> Entry:
    return Entry(version, value, FOUR + timedelta(minutes=minute), Note("pin", "kim", ""))


def run(minute: float, status: str = "Succeeded", ended: float | None = None) -> Run:
    """A run that started at that minute, and ended after half an hour or when told."""
    started = FOUR + timedelta(minutes=minute)
    end = started + timedelta(minutes=30) if ended is None else FOUR + timedelta(minutes=ended)
    return Run("run-1", status, started, end)


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


def test_a_caller_too_long_loses_its_end_as_well() -> None:
    assert len(Note("pin", "x" * 5000, "y" * 5000, "z" * 128).describe()) <= 1024


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
        '{"action": "pin", "by": "me", "why": "x", "token": 0}',
        '{"action": "pin", "by": "me", "why": "x", "token": false}',
        '{"action": "pin", "by": "me", "why": "x", "token": []}',
        '{"action": "pin", "by": "me", "why": "x", "token": {}}',
        '"action by why token"',
        "[" * 100_000,
    ],
)
def test_a_description_by_others_is_no_note(description: str) -> None:
    assert Note.read(description) is None


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
    assert newest_carried(ledger, run(0, ended=30)) == ledger[1]


def test_a_run_that_had_ended_by_then_carried_it_not() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 0.5)]
    assert newest_carried(ledger, run(0, "Failed", ended=0.4)) == ledger[0]
    assert newest_carried(ledger, run(0, "InProgress", ended=0.4)) == ledger[1]


def test_a_run_older_than_the_ledger_carries_nothing_of_it() -> None:
    assert newest_carried([entry(1, "a", 10)], run(0)) is None


# --- what is left to do ---------------------------------------------------------------------------

T = "the schedule"  # by which entry() has everything put


def test_a_parameter_that_does_not_exist_is_created() -> None:
    assert next_move([], "a", [], T, "t") == Move("a", None, "t")


def test_a_new_value_replaces_the_present_one() -> None:
    assert next_move([entry(1, "a", -60)], "b", [run(-30)], T, "t") == Move("b", "a", "t")


def test_what_a_run_has_carried_is_nothing_new() -> None:
    assert next_move([entry(1, "a", -60)], "a", [run(-30)], T, "t") is None


def test_a_failed_run_has_carried_it_too() -> None:
    """Whether it comes back is decided by whoever follows that run up, not by promoting again."""
    assert next_move([entry(1, "a", -60)], "a", [run(-30, "Failed")], T, "t") is None


def test_what_came_back_is_nothing_new_whether_or_not_a_run_came_since() -> None:
    assert next_move([entry(1, "a", -60), back(2, "a", 0)], "a", [run(-30)], T, "t") is None


def test_what_was_put_before_a_kill_is_taken_up_with_its_own_token() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "t")]
    assert next_move(ledger, "b", [run(-30)], T, "t") == Move("b", "a", "t", written=True)


def test_what_another_scheduled_time_put_is_put_again_and_started_with_its_token() -> None:
    """The ledger has to know this scheduled time as well, and the killed run may have started."""
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "killed")]
    assert next_move(ledger, "b", [run(-30)], "later", "t") == Move("b", "a", "killed")


def test_a_created_parameter_taken_up_after_a_kill_goes_back_to_nothing() -> None:
    assert next_move([entry(1, "b", 0, "t")], "b", [], T, "t") == Move("b", None, "t", written=True)


def test_a_scheduled_time_is_spent_once_a_run_has_carried_what_it_put() -> None:
    """Its run failed and current was put back: a late delivery must not start over."""
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "t"), back(3, "a", 20)]
    assert already_ran(ledger, T, [run(0.5, "Failed", ended=19)])
    assert not already_ran(ledger, "another time", [run(0.5, "Failed", ended=19)])


def test_a_pin_within_the_minute_does_not_give_the_scheduled_time_back() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", 0, "t"), pinned(3, "c", 0.5)]
    assert already_ran(ledger, T, [run(0.1, ended=30)])


def test_a_scheduled_time_that_was_undone_before_any_run_is_not_spent() -> None:
    """The later run carried what the undo put back, not what was promoted."""
    ledger = [entry(1, "a", -60, "-"), entry(2, "b", 0, "t"), back(3, "a", 1)]
    assert not already_ran(ledger[1:], T, [run(30)])


def test_an_undo_after_its_run_had_started_does_not_give_the_time_back() -> None:
    ledger = [entry(2, "b", 0, "t"), back(3, "a", 0.4)]
    assert already_ran(ledger, T, [run(0.1, ended=30)])


def test_the_way_back_skips_what_waited_for_a_run_that_never_came() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", -2, "t1"), entry(3, "c", 0, "t2")]
    assert revert_target(ledger, [run(-30)]) == "a"


def test_the_way_back_stops_at_what_a_run_has_deployed() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", -40, "t1"), entry(3, "c", 0, "t2")]
    assert revert_target(ledger, [run(-39)]) == "b"


def test_from_the_first_version_there_is_no_way_back() -> None:
    assert revert_target([entry(1, "a", 0, "t")], []) is None


def test_without_good_the_proven_value_is_the_one_before() -> None:
    assert proven_value([entry(1, "a"), entry(2, "b"), entry(3, "b")], []) == "a"
    assert proven_value([entry(1, "a")], []) is None


def test_a_successful_run_proves_its_version_before_the_label_says_so() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", -40), entry(3, "c", 0)]
    assert proven_value(ledger, [run(-39), run(-59)]) == "b"
    assert proven_value(ledger, [run(-39, "Failed"), run(-59)]) == "a"


def test_the_way_back_skips_what_a_failed_run_deployed() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", -40, "t1"), entry(3, "c", 0, "t2")]
    assert revert_target(ledger, [run(-39, "Failed")]) == "a"


def test_the_way_back_knows_what_is_good_without_its_run() -> None:
    good = Entry(2, "b", FOUR, Note("promote", "x", "y", "t1"), good=True)
    assert revert_target([entry(1, "a", -60), good, entry(3, "c", 0, "t2")], []) == "b"


def test_a_put_made_twice_is_undone_by_one_undo() -> None:
    ledger = [entry(1, "b", 0, "t"), entry(2, "b", 0, "t"), back(3, "a", 1)]
    assert not already_ran(ledger, T, [run(30)])


def test_a_value_that_an_operator_moved_on_is_spent() -> None:
    assert already_ran([entry(1, "b", 0, "t"), pinned(2, "c", 0.5)], T, [])
    assert already_ran([entry(1, "b", 0, "t"), back(2, "a", 1), pinned(3, "c", 2)], T, [])


def test_an_entry_by_others_is_by_unknown() -> None:
    stranger = Entry(1, "a", FOUR, None)
    assert (stranger.by, stranger.why, stranger.token) == ("unknown", "unknown", None)
    assert not stranger.came_back
    assert not stranger.promoted(T)


def test_earlier_values_are_those_that_differ_newest_first() -> None:
    ledger = [entry(number, value) for number, value in enumerate("abcbacc", 1)]
    assert list(earlier_values(ledger)) == ["a", "b", "b", "a"]
    assert list(earlier_values(ledger[:1])) == []
    assert list(earlier_values([])) == []


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_no_earlier_value_is_the_present_one(values: list[str]) -> None:
    told = list(earlier_values([entry(number, value) for number, value in enumerate(values, 1)]))
    assert values[-1] not in told
    assert told == [value for value in reversed(values) if value != values[-1]]


def test_the_run_of_a_version_is_the_newest_that_deploys_it_and_no_other() -> None:
    ledger = [entry(1, "a", -60), entry(2, "b", -40), entry(3, "c", 0)]
    runs = [run(-10), run(-39), run(-59)]
    assert [newest_run_of(each, ledger, runs) for each in ledger] == [runs[2], runs[0], None]
    assert newest_run_of(ledger[2], ledger, []) is None


def test_a_version_that_was_moved_on_before_any_run_has_none() -> None:
    ledger = [entry(1, "a", -2), entry(2, "b", -1)]
    assert newest_run_of(ledger[0], ledger, [run(0)]) is None
    assert newest_run_of(ledger[1], ledger, [run(0)]) == run(0)
