"""What a use case returns: of several databases, and by which reason."""

from datetime import timedelta

import pytest

from chalicelib import notifications
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, hours


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        (("unchanged", "updated"), 1),
        (("succeeded", "updated", "failed"), 2),
        (("succeeded", "unchanged"), 0),
        (("failed", "failed"), 0),
    ],
)
def test_of_independent_databases_the_worst_outcome_is_the_result(
    outcomes: tuple[str, ...], worst: int
) -> None:
    entries = tuple(
        DatabaseResult(f"db{n}", outcome=each, message=f"m{n}") for n, each in enumerate(outcomes)
    )
    assert combine(entries) == Result(outcomes[worst], None, f"m{worst}", entries)


def test_an_age_is_given_in_hours_to_one_decimal() -> None:
    minutes = (0, 2, 90, 14 * 1440)
    assert [hours(timedelta(minutes=each)) for each in minutes] == [0.0, 0.0, 1.5, 336.0]


# --- the reason codes: what others rely on --------------------------------------------------------

SKIPPED = "off-week outside-window on-hold nothing-new"
FAILED = """
no-eligible-snapshot ambiguous-cluster copy-failed copy-quota copy-key-denied copy-unencrypted
copy-name-taken
parameter-missing no-latest snapshot-gone not-eligible snapshot-stale pipeline-missing copy-pending
run-failed nothing-restored failed-after-restore not-prepared deployed-differs deployed-unknown
cluster-missing cluster-busy default-key no-automated-snapshot automated-stale snapshot-quota
name-taken share-failed
"""
# What only a person's request meets with, whose answer says what to do.
ANSWERED = "ambiguous-name database-unknown hold-over no-hold-parameter nothing-earlier overruled"
# What nobody needs to do anything about.
SILENT = {"off-week", "nothing-new", *ANSWERED.split()}


def test_every_code_leads_to_the_outcome_that_others_rely_on() -> None:
    expected = dict.fromkeys(SKIPPED.split(), "skipped") | {"other-pipeline": "ignored"}
    expected |= dict.fromkeys([*FAILED.split(), *ANSWERED.split()], "failed")
    assert {str(reason): reason.outcome for reason in Reason} == expected


@pytest.mark.parametrize("reason", [each for each in Reason if each.outcome != "ignored"])
def test_people_are_notified_of_a_reason_if_they_can_do_something_about_it(reason: Reason) -> None:
    result = Result(reason.outcome, reason, "why", (DatabaseResult("rds"),))
    notification = notifications.of_result("f", "the schedule", result)
    assert bool(notification) is (reason not in SILENT)
    if notification:
        assert notification.body.endswith(f"What to do:\n  {reason.next_step}")
        assert len(reason.next_step) > 20
