"""The history of `current`, and what a promotion has left to do."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.ledger import (
    Ledger,
    Move,
    Note,
    Run,
    Version,
    earlier_snapshot,
    in_progress,
    last_order,
)
from tests.fakes import arn
from tests.ledgers import SCHEDULE, at, by_hand, pin, run, undo, version

# --- notes ----------------------------------------------------------------------------------------

short = st.text(max_size=30)


@given(st.builds(Note, short, short, short, st.none() | short), st.text(), st.text())
def test_a_note_counts_only_for_its_own_value(note: Note, value: str, other: str) -> None:
    """A put by hand may inherit the Description of the version before."""
    description = replace(note, taken=at(0)).describe(value)
    read = Note.read(description, value)
    assert (read, read and read.taken) == (note, at(0))
    assert other == value or Note.read(description, other) is None


def test_a_note_of_the_first_edition_counts_for_any_value() -> None:
    """It says nothing of the value, and dropping it would forget who set what is deployed."""
    description = '{"action": "pin", "by": "kim", "why": "test", "token": null}'
    assert Note.read(description, arn("a")) == Note("pin", "kim", "test")
    forged = description.replace("}", ', "taken": "0001-01-01T00:00:00+12:00"}')
    assert Note.read(forged, arn("a")) is None


@given(st.text("k:/_@é", max_size=10), st.text('"\\a', max_size=1100), short)
def test_a_description_fits_into_parameter_store_and_loses_only_the_end_of_its_reason(
    actor: str, reason: str, token: str
) -> None:
    description = Note("pin", actor * 100, reason, token).describe(arn("a"))
    written = Note.read(description, arn("a"))
    assert len(description) <= 1024
    assert written == Note("pin", (actor * 100)[-300:], written.reason, token)
    assert reason.startswith(written.reason.removesuffix("…"))
    assert written.reason == reason or written.reason.endswith("…")


def test_a_reason_is_cut_to_the_last_character_that_fits() -> None:
    description = Note("pin", "kim", "because " * 200, "token").describe(arn("a"))
    assert len(description) == 1024
    assert json.loads(description)["why"].endswith("…")


@pytest.mark.parametrize(
    "description",
    [
        *("", "restored by hand, ask Kim", "[]", "null", "[" * 100_000),
        '{"action": "pin", "by": "me", "why": "x"}',
        '{"action": "pin", "by": "me", "why": "x", "token": false}',
        '{"action": "pin", "by": "me", "why": "x", "token": null, "of": null}',
        '{"action": "pin", "by": "me", "why": "\\ud800", "token": null}',
    ],
)
def test_a_description_by_others_is_no_note(description: str) -> None:
    assert Note.read(description, "a") is None


# --- versions -------------------------------------------------------------------------------------


def test_an_undo_a_revert_and_an_alignment_correct_another_version() -> None:
    corrections = [undo(1, "a", action=action) for action in ("undo", "revert", "align")]
    versions = [version(1, "a", 0, "t"), pin(1, "a"), by_hand(1, "a"), *corrections]
    assert [each for each in versions if each.is_correction] == corrections


def test_the_outcome_of_a_version_is_read_from_its_labels() -> None:
    def result(*labels: str) -> str | None:
        return version(1, "a", 0, "t", *labels).result

    assert version(1, "a", 0, "t", "run-r1", "cluster-ABC").run_id == "r1"
    # Another version may have taken the label of the unknown run.
    assert version(1, "a", 0, "t", "cluster-ABC").run_id == "unknown"
    assert result("cluster-ABC") == "restored"
    both = ("notified-failed-after-restore", "notified-not-prepared", "notified-run-failed")
    assert result(*both) == "not-prepared"
    assert result("run-r1", "cluster-ABC") == "restored"
    assert result("good") == "refreshed"
    # Somebody else may have called it good, whose work has yet to be done.
    assert result("good", "work-due") is None
    # Its run was retried.
    assert result("notified-failed-after-restore", "notified-refreshed") == "refreshed"


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["InProgress", "Stopping", "Succeeded", "Failed", "Superseded"])
def test_a_run_is_in_progress_until_it_has_ended(status: str) -> None:
    of, goes_on = run("r", 0, status), status in ("InProgress", "Stopping")
    assert (of.in_progress, of.succeeded) == (goes_on, status == "Succeeded")
    assert in_progress([run("old", -60), of]) == (of if goes_on else None)


ORDER = version(2, "b", 0, "t")
LEDGER = [version(1, "a", -60), ORDER]


def started(*runs: Run, of: Version = ORDER, ledger: Sequence[Version] = LEDGER) -> str | None:
    """Return the id of the version's own run, of these newest first."""
    found = Ledger(ledger, runs).own_run(of)
    return found and found.execution_id


def test_the_run_of_a_version_is_the_first_that_was_started_for_it() -> None:
    # The clocks of two services differ by up to a minute.
    assert started(run("r", -1)) == "r"
    assert started(run("r", -1.1)) is None
    # Lambda's attempts are over after a quarter of an hour.
    assert started(run("r", 16)) == "r"
    assert started(run("r", 16.1)) is None
    # A short run that had ended before the put.
    assert started(run("r", -0.9, "Failed", ended=-0.1)) is None
    assert started(run("r", -0.9, "InProgress", ended=-0.1)) == "r"
    # Nobody starts these with a token.
    assert started(run("r", 1, trigger="Webhook")) is None
    assert started(run("r", 1, trigger=None)) == "r"  # AWS's answer may lack it
    assert started(run("r", 1, is_rollback=True)) is None
    # The first one, because nobody starts a second one while it is in progress.
    assert started(run("push", 3, trigger="Webhook"), run("second", 2), run("first", 1)) == "first"
    assert started(run("second", 9, "InProgress"), run("first", 1, "Failed", ended=5)) == "first"


def test_a_run_begun_just_before_the_put_is_somebody_else_s_unless_no_other_was_started() -> None:
    """It was not listed in time."""
    theirs, theirs_goes_on = run("x", -0.5, "Stopped", ended=0.5), run("x", -0.5, "InProgress")
    assert started(run("r", 1), theirs) == "r"
    assert started(run("r", 1, "InProgress"), theirs_goes_on) == "x"
    assert started(run("r", -0.2, "Failed"), theirs) == "r"


def test_a_superseded_run_hands_over_to_the_next_that_is_no_rollback_and_had_not_ended() -> None:
    assert started(run("push", 3, trigger="Webhook"), run("r", 1, "Superseded")) == "push"
    assert started(run("back", 3, is_rollback=True), run("r", 1, "Superseded")) is None
    assert started(run("c", 5), run("b", 3, "Superseded"), run("a", 1, "Superseded")) == "c"
    late = run("a", 1, "Superseded", ended=12)
    assert started(run("c", 9), run("b", 3, "Failed", ended=5), late) == "c"
    assert started(run("b", 3, "InProgress", ended=5), late) == "b"


def test_a_version_put_back_with_its_token_keeps_its_run() -> None:
    again = version(4, "b", 40, "t")
    ledger = [*LEDGER, undo(3, "a", 39), again]
    assert started(run("later", 41), run("own", 1), of=again, ledger=ledger) == "own"


@pytest.mark.parametrize(
    ("put_back", "expected"),
    [
        ([undo(3, "a", 1)], "second"),
        # An undo puts a pin that waited back as it was.
        ([version(3, "b", 0.5, "t"), pin(4, "a", 1)], "second"),
        ([pin(3, "c", 1)], "first"),
    ],
)
def test_an_undone_version_has_no_later_run(put_back: list[Version], expected: str) -> None:
    """Unless it is put again: the start was refused, and hours later the event comes again."""
    again = version(9, "b", 60, "t")
    ledger = [pin(1, "a", -60), ORDER, *put_back, again]
    for of in (ORDER, again):
        assert started(run("second", 60.5), run("first", 5), of=of, ledger=ledger) == expected


# --- orders and moves -----------------------------------------------------------------------------

NEXT = version(4, "c", 60, "t2")


def test_the_last_order_is_the_newest_that_was_not_undone() -> None:
    assert last_order([pin(1, "a"), by_hand(2, "b")]) is None
    assert last_order([*LEDGER, pin(3, "c", 1), by_hand(4, "d", 2)]) == ORDER
    assert last_order([*LEDGER, undo(3, "a", 1)]) is None
    assert last_order([*LEDGER, undo(3, "a", 1, action="revert")]) == ORDER
    # An undo puts back what was there before, perhaps an earlier order, of the same value even.
    assert last_order([*LEDGER, NEXT, undo(5, "b", 61)]) == ORDER
    # A put that was made twice is undone by one undo.
    twice = [version(number, "b", 60, "t2") for number in (3, 4)]
    assert last_order([*LEDGER, *twice, undo(5, "b", 61)]) == ORDER


def move(ledger: list[Version], *runs: Run, actor: str = SCHEDULE, minute: float = 14) -> Move:
    return Ledger(ledger, runs).next_move("b", actor, at(minute))


def test_a_move_continues_what_was_put_before_a_kill_and_else_puts_the_value() -> None:
    assert move([]) == Move("b", None)
    assert move(LEDGER[:1]) == Move("b", LEDGER[0])
    assert (move([]).after, move(LEDGER).after) == (0, 2)
    # Killed before the start: the next attempt continues with the same token.
    assert move(LEDGER) == Move("b", ORDER, "t")
    put_again = Move("b", ORDER)
    # Another scheduled time or person puts it again: the ledger has to know who did.
    assert move(LEDGER, actor="another time") == put_again
    # Its run has restored nothing.
    assert move(LEDGER, run("r", 1, "Failed")) == put_again
    # The run that is started now would not be recognised as its own.
    assert move(LEDGER, minute=15) == put_again
    # Somebody else has put the value.
    assert move([by_hand(1, "b")], actor="unknown") == Move("b", by_hand(1, "b"))


def ran(*later: Version, runs: Sequence[Run] = (), of: str = "t") -> bool:
    return Ledger([pin(1, "a", -60), ORDER, *later], runs).already_ran(of)


def test_a_scheduled_time_acts_until_it_had_its_run_or_somebody_moved_on() -> None:
    assert not ran()
    assert ran(runs=[run("r", 0.5)])
    assert not ran(runs=[run("r", 0.5)], of="another time")
    # It failed and was reverted: a late delivery must not start over.
    assert ran(undo(3, "a", 20, action="revert"), runs=[run("r", 0.5, "Failed", ended=19)])
    # A put that was made twice is undone by one undo.
    assert not ran(version(3, "b", 0.5, "t"), undo(4, "a", 1), runs=[run("r", 5)])
    # Its first attempt was undone, and its second had a run.
    assert ran(undo(3, "a", 1), version(4, "b", 3, "t"), runs=[run("r", 4)])
    # A retry must not overrule an operator.
    assert ran(pin(3, "c", 0.5))
    # A pin that an undo put back is nobody's move.
    assert not ran(pin(3, "a", 1))
    assert ran(pin(3, "a", 1), pin(4, "c", 2))
    # An order came just before the put, which put it back: a later delivery must leave it.
    theirs = [version(n, "a", n, "theirs", action="pin", actor="kim") for n in (1, 3)]
    assert Ledger([theirs[0], ORDER, theirs[1]], []).already_ran("t")


# --- earlier values -------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([arn("a"), arn("b"), arn("c"), "dummyvalue"])))
def test_the_earlier_snapshot_is_the_newest_one_that_differs(values: list[str]) -> None:
    ledger = [by_hand(number, value) for number, value in enumerate(values, 1)]
    others = [value for value in values if value not in (values[-1], "dummyvalue")]
    assert earlier_snapshot(ledger) == (others[-1] if others else None)
