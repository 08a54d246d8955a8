"""What a use case returns: of several databases, and by which reason."""

from datetime import timedelta

import pytest

from chalicelib import notifications
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, hours


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [("unchanged updated", 1), ("succeeded updated failed", 2), ("failed failed", 0)],
)
def test_of_independent_databases_the_worst_outcome_is_the_result(
    outcomes: str, worst: int
) -> None:
    entries = tuple(
        DatabaseResult(f"db{n}", outcome=each, message=f"m{n}")
        for n, each in enumerate(outcomes.split())
    )
    assert combine(entries) == Result(entries[worst].outcome, None, f"m{worst}", entries)


def test_an_age_is_given_in_hours_to_one_decimal() -> None:
    assert [hours(timedelta(minutes=each)) for each in (2, 14 * 1440)] == [0.0, 336.0]


# --- the reason codes: what others rely on --------------------------------------------------------


def test_every_code_leads_to_a_failure_unless_nothing_was_to_be_done() -> None:
    assert {str(each): each.outcome for each in Reason if each.outcome != "failed"} == {
        "off-week": "skipped",
        "outside-window": "skipped",
        "on-hold": "skipped",
        "nothing-new": "skipped",
        "other-pipeline": "ignored",
    }


# The second line is what only a person's request meets with, whose answer says what to do.
SILENT = """
off-week nothing-new
ambiguous-name database-unknown hold-over no-hold-parameter nothing-earlier overruled
"""


@pytest.mark.parametrize("reason", [each for each in Reason if each.outcome != "ignored"])
def test_people_are_notified_of_a_reason_if_they_can_do_something_about_it(reason: Reason) -> None:
    result = Result(reason.outcome, reason, "why", (DatabaseResult("rds"),))
    notification = notifications.of_result("f", "the schedule", result)
    assert bool(notification) is (reason not in SILENT.split())
    if notification:
        assert notification.body.endswith(f"What to do:\n  {reason.next_step}")
