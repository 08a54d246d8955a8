"""Notifications: the outcome in the subject, a body to read, and attributes for filters.

Pure. People are notified of every refusal that they can do something about, of failed AWS calls,
and of how each refresh ended.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from chalicelib.domain.errors import AwsError, RefreshError
from chalicelib.domain.functions import UPDATE
from chalicelib.domain.ledger import Run
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import ClusterResult, DatabaseResult, Result
from chalicelib.domain.text import printable

# One line of less than 100 ASCII characters: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
SUBJECT_LIMIT = 99

SHARE_AGAIN = (
    "Then run db-share-snapshot again with the event of its schedule (docs/production.md)."
)
_RETRIES = (
    "Lambda retries twice within about three minutes; each attempt that fails sends a message like "
    "this. After the third one, look at the function's log."
)
_UPDATE_AGAIN = (
    "Once the cause is mended, invoke db-update-latest-snapshot-id again (docs/deploying.md): otherwise the refresh "
    "restores what latest names already."
)
_REFRESH_AGAIN = (
    "Once the cause is mended, or the pipeline's run has ended, aurora-refresh refresh --outside-window refreshes "
    "without waiting for the schedule."
)

# Otherwise a person's reason could mention a whole channel, or hide where a link leads, which Slack
# writes as <address|text> and Teams as [text](address).
# https://docs.slack.dev/messaging/formatting-message-text/
# https://learn.microsoft.com/en-us/microsoftteams/platform/task-modules-and-cards/cards/cards-format
_CHAT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "(", "]": ")"})

_SUBJECTS = {
    Reason.RUN_FAILED: "REFRESH FAILED: pipeline run failed",
    Reason.NOTHING_RESTORED: "REFRESH FAILED: the run restored nothing",
    Reason.FAILED_AFTER_RESTORE: "restored, but the pipeline run failed afterwards",
    Reason.NOT_PREPARED: "NOT PREPARED: do not use the data yet",
    Reason.DEPLOYED_DIFFERS: "the deployed data is not what was expected",
    Reason.DEPLOYED_UNKNOWN: "cannot see what is deployed",
}
_READY = "the data is ready, although its pipeline run failed"


class Notification(NamedTuple):
    """A message to people; `attributes` state the same facts for machines.

    Chat shows all messages of one `thread`, such as a refresh, together.
    """

    subject: str
    description: str
    next_steps: Sequence[str]
    attributes: Mapping[str, str]
    thread: str | None = None

    @property
    def body(self) -> str:
        """The text of an e-mail."""
        return "\n".join([self.description, *_section("What to do", self.next_steps)])

    def to_chat(self) -> str:
        """Return the message in the custom format of Amazon Q Developer in chat applications.

        https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
        """
        metadata = {
            "summary": self.subject,
            "eventType": self.attributes.get("reason") or self.attributes.get("outcome", ""),
            "additionalContext": dict(self.attributes),
        }
        if self.thread:
            metadata["threadId"] = self.thread
        content = {
            "textType": "client-markdown",
            "title": self.subject,
            "description": self.description.translate(_CHAT_ESCAPES),
            "nextSteps": [each.translate(_CHAT_ESCAPES) for each in self.next_steps],
        }
        return json.dumps(
            {"version": "1.0", "source": "custom", "content": content, "metadata": metadata},
            ensure_ascii=False,
        )


def of_result(function: str, cause: str, result: Result) -> Notification | None:
    """Return the notification of a refusal; None if the reasons have no next step."""
    entries: Sequence[DatabaseResult | ClusterResult] = result.clusters or result.databases
    concerned = [
        entry if entry.reason else entry._replace(reason=result.reason, message=result.message)
        for entry in entries
        if (entry.outcome or result.outcome) == result.outcome
    ]
    reasons = dict.fromkeys(each.reason for each in concerned if each.reason)
    if not any(reason.next_step for reason in reasons):
        return None
    what = "refresh skipped" if result.outcome == "skipped" else "REFRESH FAILED"
    next_steps = [reason.next_step for reason in reasons]
    if result.clusters:
        what, next_steps = "SHARING FAILED", [*next_steps, SHARE_AGAIN]
    messages = dict.fromkeys(each.message for each in concerned)
    return build(
        f"{what}: {','.join(reasons)} ({_names(concerned)})",
        [f"{function}: {each}." for each in messages],
        cause,
        next_steps,
        _attributes(function, result.outcome, result.reason, concerned),
        [
            f"{each.name}: current names {each.current or 'no snapshot'}, latest {each.latest or 'none'}"
            for each in concerned
            if isinstance(each, DatabaseResult)
        ],
    )


def of_error(
    function: str,
    cause: str,
    names: Sequence[str],
    error: RefreshError,
    concerned: str = "databases",
) -> Notification:
    """Return the notification of a failed attempt, which Lambda retries up to twice."""
    failed, code, facts = "pipeline", "busy", {}
    if isinstance(error, AwsError):
        failed, code, facts = error.operation, error.code, {"operation": error.operation}
    again = SHARE_AGAIN
    if concerned == "databases":
        again = _UPDATE_AGAIN if function == UPDATE else _REFRESH_AGAIN
    listed = ",".join(names)
    what = "REFRESH FAILED" if concerned == "databases" else "SHARING FAILED"
    return build(
        f"{what}: {failed} {code} ({listed})",
        [
            f"{function} could not continue: {error}.",
            *(f"{note}." for note in getattr(error, "__notes__", [])),
        ],
        cause,
        [_RETRIES, again],
        {"function": function, "outcome": "error", "reason": code, concerned: listed, **facts},
    )


def of_run(
    function: str, pipeline: str, run: Run | None, databases: Sequence[DatabaseResult]
) -> Notification:
    """Return the notification of a refresh's outcome; all `databases` have the same reason."""
    reason = databases[0].reason
    if reason is None:
        minutes = databases[0].duration_minutes
        ages = [each.age_hours for each in databases if each.age_hours is not None]
        subject = "refreshed" if minutes is None else f"refreshed in {minutes:.0f} min"
        subject += f", data {max(ages):.0f} h old" if ages else ""
        next_step = "Nothing to do. The cluster's endpoint may have changed."
    else:
        # Not if somebody has since moved one of them on.
        fate = ", reverted" if all(each.taken_back for each in databases) else ""
        is_ready = databases[0].outcome == "ignored"
        subject = _READY if is_ready else f"{_SUBJECTS[reason]}{fate}"
        next_step = reason.next_step
    cause = f"run {run.execution_id} of pipeline {pipeline}" if run else f"pipeline {pipeline}"
    attributes = _attributes(function, databases[0].outcome or "", reason, databases)
    return build(
        f"{subject} ({_names(databases)})",
        [f"{each}." for each in dict.fromkeys(e.message for e in databases)],
        cause,
        [next_step],
        attributes | ({"execution_id": run.execution_id} if run else {}),
        [_fate(each) for each in databases],
    )


def _fate(entry: DatabaseResult) -> str:
    because = f"set by {entry.by}" + (f' ("{entry.why}")' if entry.why else "")
    age = f", data {entry.age_hours} hours old" if entry.age_hours is not None else ""
    current, previous = (each or "no snapshot" for each in (entry.current, entry.previous))
    moved = f"; current is now {current}" if current != previous else ""
    return f"{entry.name}: {previous}{age}, {because}{moved}"


def _names(entries: Iterable[DatabaseResult | ClusterResult]) -> str:
    return ",".join(each.name for each in entries)


def _attributes(
    function: str,
    outcome: str,
    reason: Reason | None,
    entries: Sequence[DatabaseResult | ClusterResult],
) -> dict[str, str]:
    found = {"function": function, "outcome": outcome, "reason": str(reason or "")}
    kind = "databases" if isinstance(entries[0], DatabaseResult) else "clusters"
    found[kind] = _names(entries)
    for name in ("current", "previous", "age_hours", "by"):
        values = (getattr(entry, name, None) for entry in entries)
        found[name] = ",".join(str(value) for value in values if value is not None)
    return {name: value for name, value in found.items() if value}


def build(
    subject: str,
    happened: Sequence[str],
    cause: str,
    next_steps: Sequence[str],
    attributes: Mapping[str, str],
    databases: Sequence[str] = (),
) -> Notification:
    """Return a notification, with the subject truncated to the limit of SNS."""
    lines = [
        *_section("What happened", happened),
        *_section("Cause", [cause]),
        *_section("Databases", databases),
    ]
    text = re.sub("[^ -~]", "?", f"aurora-refresh: {subject}")
    if len(text) > SUBJECT_LIMIT:
        text = text[: SUBJECT_LIMIT - 3] + "..."
    return Notification(text, "\n".join(lines), next_steps, attributes)


def _section(title: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a part of the body, if it is not empty."""
    if texts:
        yield f"{title}:"
        # A line break in a person's reason could imitate one of our lines.
        yield from (f"  {printable(' '.join(text.split()))}" for text in texts)
