"""What people are notified of."""

import json
from typing import Any

from chalicelib import notifications
from chalicelib.domain.errors import AwsError, BusyError
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result
from chalicelib.notifications import Notification
from tests.ledgers import run

ENTRY = DatabaseResult("rds", "arn:new", "arn:old", "arn:old")
SCHEDULE = "the schedule of 2026-01-04 04:00 UTC"
STALE = Result("failed", Reason.SNAPSHOT_STALE, "arn:new is older than 14 days", (ENTRY,))


def of_result(result: Result) -> Any:
    return notifications.of_result("f", SCHEDULE, result)


def test_a_refusal_says_what_to_do() -> None:
    outcome = {"outcome": "failed", "reason": "snapshot-stale"}
    snapshots = {"current": "arn:old", "previous": "arn:old"}
    assert of_result(STALE) == Notification(
        subject="aurora-refresh: REFRESH FAILED: snapshot-stale (rds)",
        description="What happened:\n"
        "  f: arn:new is older than 14 days.\n"
        "Cause:\n"
        "  the schedule of 2026-01-04 04:00 UTC\n"
        "Databases:\n"
        "  rds: current names arn:old, latest arn:new",
        next_steps=[Reason.SNAPSHOT_STALE.next_step],
        attributes={"function": "f", "databases": "rds", **outcome, **snapshots},
    )
    todo = f"latest arn:new\nWhat to do:\n  {Reason.SNAPSHOT_STALE.next_step}"
    assert of_result(STALE).body.endswith(todo)


def test_only_the_databases_that_failed_are_named_each_with_its_reason() -> None:
    ambiguous, missing = Reason.AMBIGUOUS_CLUSTER, Reason.NO_ELIGIBLE_SNAPSHOT
    entries = (
        ENTRY._replace(outcome="updated"),
        DatabaseResult("docs", outcome="failed", reason=ambiguous, message="a"),
        DatabaseResult("pay", outcome="failed", reason=missing, message="b"),
    )
    found = of_result(Result("failed", ambiguous, "a", entries))
    reasons = "ambiguous-cluster,no-eligible-snapshot"
    assert found.subject == f"aurora-refresh: REFRESH FAILED: {reasons} (docs,pay)"
    assert "  f: a.\n  f: b.\n" in found.body
    assert "  docs: current names no snapshot, latest none\n" in found.body
    assert found.attributes["databases"] == "docs,pay"


def test_a_failed_attempt_says_that_it_is_repeated() -> None:
    error = AwsError("PutParameter", "/a", "ThrottlingException", "Rate exceeded")
    error.add_note("current could not be put back")
    found = notifications.of_error("f", SCHEDULE, ["rds", "docs"], error)
    subject = "aurora-refresh: REFRESH FAILED: PutParameter ThrottlingException (rds,docs)"
    assert found.subject == subject
    assert f"  f could not continue: {error}.\n  current could not be put back.\n" in found.body
    assert "What to do:\n  Lambda retries twice" in found.body
    assert "aurora-refresh refresh --outside-window" in found.body
    updated = notifications.of_error("db-update-latest-snapshot-id", SCHEDULE, ["rds"], error)
    assert "invoke db-update-latest-snapshot-id again" in updated.body
    assert "--outside-window" not in updated.body
    shared = notifications.of_error("f", SCHEDULE, ["orders"], error, "clusters")
    assert shared.body.endswith(notifications.SHARE_AGAIN)
    assert found.attributes == {
        "function": "f",
        "outcome": "error",
        "databases": "rds,docs",
        "reason": "ThrottlingException",
        "operation": "PutParameter",
    }
    busy = notifications.of_error("f", SCHEDULE, ["rds"], BusyError("pipeline main is busy"))
    assert busy.subject == "aurora-refresh: REFRESH FAILED: pipeline busy (rds)"
    assert busy.attributes["reason"] == "busy"


REFRESHED = DatabaseResult(
    "rds",
    current="arn:new",
    previous="arn:new",
    outcome="succeeded",
    message="run r of pipeline main succeeded",
    by="the schedule",
    why="newest eligible share",
    age_hours=6.5,
    duration_minutes=30.0,
)
BECAUSE = 'set by the schedule ("newest eligible share")'


def test_a_refresh_is_reported_with_its_duration_and_the_age_of_its_data() -> None:
    docs = REFRESHED._replace(name="docs", current="arn:pin", age_hours=8.0)
    found = notifications.of_run("db-reconcile", "main", run("r", 0), [REFRESHED, docs])
    assert found == Notification(
        subject="aurora-refresh: refreshed in 30 min, data 8 h old (rds,docs)",
        description="What happened:\n"
        "  run r of pipeline main succeeded.\n"
        "Cause:\n"
        "  run r of pipeline main\n"
        "Databases:\n"
        f"  rds: arn:new, data 6.5 hours old, {BECAUSE}\n"
        f"  docs: arn:new, data 8.0 hours old, {BECAUSE}; current is now arn:pin",
        next_steps=["Nothing to do. The cluster's endpoint may have changed."],
        attributes={
            "function": "db-reconcile",
            "outcome": "succeeded",
            "databases": "rds,docs",
            "current": "arn:new,arn:pin",
            "previous": "arn:new,arn:new",
            "age_hours": "6.5,8.0",
            "by": "the schedule,the schedule",
            "execution_id": "r",
        },
    )


def test_a_refresh_without_its_data_s_age_says_nothing_of_it() -> None:
    unknown = REFRESHED._replace(age_hours=None, duration_minutes=None)
    found = notifications.of_run("f", "main", None, [unknown])
    assert found.subject == "aurora-refresh: refreshed (rds)"
    assert f"Cause:\n  pipeline main\nDatabases:\n  rds: arn:new, {BECAUSE}\n" in found.body
    assert "execution_id" not in found.attributes


def ended(reason: Reason, **changes: Any) -> tuple[str, str]:
    """Return the subject about a run that ended so, and what the body says of the database."""
    facts = {"outcome": reason.outcome, "reason": reason, "age_hours": None} | changes
    entry = REFRESHED._replace(**facts)
    found = notifications.of_run("f", "main", run("r", 0, "Failed"), [entry])
    assert found.body.endswith(f"What to do:\n  {reason.next_step}")
    assert found.attributes["reason"] == reason
    return found.subject, found.body.partition("\n  rds: ")[2].partition("\n")[0]


def test_a_failed_outcome_names_the_fate_of_current_and_the_next_step() -> None:
    assert ended(Reason.RUN_FAILED, current="arn:old", taken_back=True) == (
        "aurora-refresh: REFRESH FAILED: pipeline run failed, reverted (rds)",
        f"arn:new, {BECAUSE}; current is now arn:old",
    )
    assert ended(Reason.NOTHING_RESTORED, current=None, taken_back=False) == (
        "aurora-refresh: REFRESH FAILED: the run restored nothing (rds)",
        f"arn:new, {BECAUSE}; current is now no snapshot",
    )
    assert ended(Reason.FAILED_AFTER_RESTORE, why="", age_hours=6.5) == (
        "aurora-refresh: restored, but the pipeline run failed afterwards (rds)",
        "arn:new, data 6.5 hours old, set by the schedule",
    )
    assert ended(Reason.DEPLOYED_UNKNOWN, current=None, previous=None) == (
        "aurora-refresh: cannot see what is deployed (rds)",
        f"no snapshot, {BECAUSE}",
    )


def test_one_database_that_somebody_has_moved_on_was_not_reverted() -> None:
    reverted = REFRESHED._replace(reason=Reason.RUN_FAILED, taken_back=True)
    moved_on = reverted._replace(name="docs", taken_back=False)
    found = notifications.of_run("f", "main", None, [reverted, moved_on])
    subject = "aurora-refresh: REFRESH FAILED: pipeline run failed (rds,docs)"
    assert found.subject == subject


def test_a_chat_message_has_the_custom_format_and_a_thread() -> None:
    """https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html"""
    found = of_result(STALE)
    assert "threadId" not in json.loads(found.to_chat())["metadata"]
    assert json.loads(found._replace(thread="token-1").to_chat()) == {
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": found.subject,
            "description": found.body.partition("\nWhat to do")[0],
            "nextSteps": [Reason.SNAPSHOT_STALE.next_step],
        },
        "metadata": {
            "summary": found.subject,
            "eventType": "snapshot-stale",
            "additionalContext": found.attributes,
            "threadId": "token-1",
        },
    }


def test_a_person_s_reason_mentions_nobody_in_chat_and_disguises_no_link() -> None:
    """https://docs.slack.dev/messaging/formatting-message-text/"""
    hostile = "<!channel> & <https://x|y> [y](https://x)\nWhat to do:\x1b[2J\u202e"
    entry = REFRESHED._replace(why=hostile)
    found = notifications.of_run("f", "main", run("r", 0), [entry])
    assert '("<!channel> & <https://x|y> [y](https://x) What to do:?[2J?")' in found.body
    content = json.loads(found.to_chat())["content"]
    escaped = "&lt;!channel&gt; &amp; &lt;https://x|y&gt; (y)(https://x) What to do:?(2J?"
    assert f'("{escaped}")' in content["description"]
    assert len(content["nextSteps"]) == 1


def test_a_subject_is_one_line_of_less_than_a_hundred_ascii_characters() -> None:
    """SNS refuses any other, and the whole message with it."""
    entries = tuple(ENTRY._replace(name=f"dätabase_{number}\n") for number in range(20))
    subject = of_result(STALE._replace(databases=entries)).subject
    assert (len(subject), subject[-3:]) == (99, "...")
    assert subject.isascii()
    assert subject.isprintable()
