"""The reason codes: what others rely on."""

import pytest

from chalicelib import notifications
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result

# What the functions return, by outcome.
RETURNED = {
    "skipped": "off-week outside-window on-hold nothing-new",
    "failed": (
        # update
        "no-eligible-snapshot ambiguous-cluster copy-failed copy-quota copy-key-denied "
        "copy-unencrypted copy-name-taken "
        # restore
        "parameter-missing no-latest snapshot-gone not-eligible snapshot-stale pipeline-missing "
        "copy-pending "
        # follow and reconcile
        "run-failed nothing-restored failed-after-restore not-prepared "
        "deployed-differs deployed-unknown "
        # production
        "cluster-missing cluster-busy default-key no-automated-snapshot automated-stale "
        "snapshot-quota name-taken share-failed"
    ),
    "ignored": "other-pipeline",
}
# What only a person's request meets with, whose answer says what to do.
ANSWERED = [
    "ambiguous-name",
    "database-unknown",
    "hold-over",
    "no-hold-parameter",
    "nothing-earlier",
    "overruled",
]
# What nobody needs to do anything about.
SILENT = {"off-week", "nothing-new", "other-pipeline", *ANSWERED}


def test_every_code_leads_to_the_outcome_that_others_rely_on() -> None:
    expected = {code: outcome for outcome, codes in RETURNED.items() for code in codes.split()}
    expected |= dict.fromkeys(ANSWERED, "failed")
    assert {reason.value: reason.outcome for reason in Reason} == expected


@pytest.mark.parametrize("reason", [each for each in Reason if each.outcome != "ignored"])
def test_people_are_notified_of_a_reason_if_they_can_do_something_about_it(reason: Reason) -> None:
    result = Result(reason.outcome, reason, "why", (DatabaseResult("rds"),))
    notification = notifications.of_result("f", "the schedule", result)
    if reason in SILENT:
        assert (notification, reason.next_step) == (None, "")
    else:
        assert notification is not None
        assert notification.body.endswith(f"What to do:\n  {reason.next_step}")
        assert len(reason.next_step) > 20


def test_a_reason_is_written_as_its_code() -> None:
    assert f"{Reason.ON_HOLD}" == Reason("on-hold") == "on-hold"
