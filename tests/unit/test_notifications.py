"""What people are told."""

import pytest

from chalicelib import notifications
from chalicelib.domain.errors import AwsError
from chalicelib.domain.results import Result
from chalicelib.notifications import Notification
from chalicelib.settings.acceptance import Settings
from tests.stage import STAGE

ENTRY = {"name": "rds", "latest": "arn:new", "current": "arn:old", "previous": "arn:old"}
SCHEDULE = "the schedule of 2026-01-04 04:00 UTC"

# Section 3 of the contract: what is decided, and told to people.
TOLD = {
    "no-eligible-snapshot",
    "ambiguous-cluster",
    "outside-window",
    "on-hold",
    "parameter-missing",
    "no-latest",
    "snapshot-gone",
    "not-eligible",
    "snapshot-stale",
    "pipeline-missing",
    "copy-pending",
    "copy-failed",
    "copy-quota",
    "copy-key-denied",
    "copy-unencrypted",
    "copy-name-taken",
}


def test_a_refusal_is_told_with_what_to_do() -> None:
    answer = Result("failed", "snapshot-stale", "arn:new is 15 days old, the limit is 14", (ENTRY,))
    assert notifications.of_answer("db-restore-from-snapshot", SCHEDULE, answer) == Notification(
        subject="aurora-refresh: REFRESH FAILED: snapshot-stale (rds)",
        body="What happened:\n"
        "  db-restore-from-snapshot decided not to act: arn:new is 15 days old, the limit is 14.\n"
        "Started by:\n"
        "  the schedule of 2026-01-04 04:00 UTC\n"
        "Databases:\n"
        "  rds: stays on arn:old, latest is arn:new\n"
        "What to do:\n"
        "  Check in production why no newer snapshot is shared; "
        "pin this one if its age is acceptable.",
        attributes={
            "function": "db-restore-from-snapshot",
            "outcome": "failed",
            "reason": "snapshot-stale",
            "databases": "rds",
            "current": "arn:old",
            "previous": "arn:old",
        },
    )


def test_only_the_databases_that_failed_are_named_and_each_with_its_reason() -> None:
    entries = (
        ENTRY | {"outcome": "updated", "reason": None, "message": None},
        ENTRY
        | {"name": "docs", "outcome": "failed", "reason": "ambiguous-cluster", "message": "a"},
        ENTRY
        | {"name": "pay", "outcome": "failed", "reason": "no-eligible-snapshot", "message": "b"},
    )
    answer = Result("failed", "ambiguous-cluster", "a", entries)
    notice = notifications.of_answer("db-update-latest-snapshot-id", SCHEDULE, answer)
    assert notice is not None
    assert notice.subject == (
        "aurora-refresh: REFRESH FAILED: ambiguous-cluster,no-eligible-snapshot (docs,pay)"
    )
    assert "decided not to act: a.\n" in notice.body
    assert "decided not to act: b.\n" in notice.body
    assert notice.attributes["databases"] == "docs,pay"


def test_a_skip_is_no_failure() -> None:
    answer = Result("skipped", "on-hold", "on hold until 2026-01-22 by kim: release", (ENTRY,))
    notice = notifications.of_answer("db-restore-from-snapshot", SCHEDULE, answer)
    assert notice is not None
    assert notice.subject == "aurora-refresh: refresh skipped: on-hold (rds)"


@pytest.mark.parametrize("reason", sorted(TOLD))
def test_every_reason_that_people_hear_says_what_to_do(reason: str) -> None:
    answer = Result("failed", reason, "why", (ENTRY,))
    notice = notifications.of_answer("f", SCHEDULE, answer)
    assert notice is not None
    assert len(notice.body.rsplit("What to do:\n", 1)[1]) > 20


def test_next_steps_are_kept_for_what_is_decided_and_nothing_else() -> None:
    assert set(notifications.NEXT_STEPS) == TOLD


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("skipped", "off-week"),
        ("skipped", "nothing-new"),
        ("started", None),
        ("updated", None),
        ("unchanged", None),
    ],
)
def test_what_nobody_could_mend_is_not_told(outcome: str, reason: str | None) -> None:
    assert notifications.of_answer("f", SCHEDULE, Result(outcome, reason, None, (ENTRY,))) is None


def test_what_aws_did_not_do_is_told() -> None:
    settings = Settings.from_environment(STAGE)
    error = AwsError("PutParameter", "/a", "ThrottlingException", "Rate exceeded")
    notice = notifications.of_error("db-restore-from-snapshot", SCHEDULE, settings, error)
    assert notice.subject == (
        "aurora-refresh: REFRESH FAILED: PutParameter ThrottlingException (rds)"
    )
    assert "PutParameter of /a failed: ThrottlingException: Rate exceeded" in notice.body
    assert notice.attributes == {
        "function": "db-restore-from-snapshot",
        "outcome": "error",
        "reason": "ThrottlingException",
        "operation": "PutParameter",
        "databases": "rds",
    }


def test_a_subject_is_one_line_of_at_most_a_hundred_ascii_characters() -> None:
    """SNS refuses any other, and with it the message."""
    entries = tuple(ENTRY | {"name": f"dätabase_{number}\n"} for number in range(20))
    notice = notifications.of_answer("f", SCHEDULE, Result("failed", "no-latest", "why", entries))
    assert notice is not None
    assert len(notice.subject) == 100
    assert notice.subject.isascii()
    assert notice.subject.isprintable()
    assert notice.subject.endswith("...")
