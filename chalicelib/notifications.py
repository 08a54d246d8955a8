"""What people are told: a subject that says it all, a body for a person, attributes for machines.

Pure. People hear of every decision not to act that they could mend, of what AWS did not do, and of
how each refresh ended.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib.domain.errors import AwsError
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings

# One line of printable ASCII: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
SUBJECT_LIMIT = 100

# Every night that is not an on-week, and every event that comes twice, decides these.
UNTOLD = ("off-week", "nothing-new")

NEXT_STEPS = {
    "no-eligible-snapshot": "Check in production that its snapshots of the wanted engine and version "
    "are still taken and shared with this account; GET /snapshots shows each one's verdict.",
    "ambiguous-cluster": "Set P_SOURCE_CLUSTER of the database to the one cluster to restore, and "
    "deploy.",
    "outside-window": "Nothing, if this was a late delivery. Otherwise move RESTORE_SCHEDULE into "
    "MAINTENANCE_WINDOW, and deploy.",
    "on-hold": "Nothing, if the hold is still wanted. Otherwise lift it: DELETE /hold, or "
    "set its parameter to dummyvalue.",
    "parameter-missing": "Create the parameter, or correct its name in the stage and deploy.",
    "no-latest": "Check why db-update-latest-snapshot-id has not recorded a snapshot.",
    "snapshot-gone": "Check in production why the snapshot was deleted or is no longer shared, "
    "then pin another one.",
    "not-eligible": "Check who changed the parameter or the snapshot, then pin an eligible one.",
    "snapshot-stale": "Check in production why no newer snapshot is shared; pin this one if its age "
    "is acceptable.",
    "copy-pending": "Wait until the copy is available, which db-follow-copies records in latest; then "
    "refresh by hand, POST /refresh, or leave it to the next schedule.",
    "copy-failed": "Check that production still has the snapshot, and lets this account use its key; "
    "the next run of db-update-latest-snapshot-id asks for the copy anew.",
    "copy-quota": "RDS keeps 100 manual cluster snapshots in a Region, and copies five at a time: delete "
    "what nobody needs, or wait; then run db-update-latest-snapshot-id again. For more than five databases "
    "have it run several times in the night: UPDATE_SCHEDULE, e.g. cron(0 0,1,2 ? * SUN *).",
    "copy-key-denied": "Let the function's role use P_COPY_KMS_KEY_ID and production's key in both keys' "
    "policies, as docs/copies.md says. A snapshot under production's default key aws/rds "
    "cannot be copied: it wants a customer-managed key there.",
    "copy-unencrypted": "Leave P_COPY_KMS_KEY_ID out, or move production's data into a cluster under a "
    "customer-managed key.",
    "copy-name-taken": "Look who made that snapshot; delete or rename it.",
    "pipeline-missing": "Correct the pipeline's name in its parameter.",
}


class Notification(NamedTuple):
    """A message to people; ``attributes`` tell the same facts to machines."""

    subject: str
    body: str
    attributes: Mapping[str, str]


def of_answer(function: str, cause: str, answer: Result) -> Notification | None:
    """Tells a decision not to act; None for one that nobody needs to hear of."""
    if answer.outcome not in ("skipped", "failed") or answer.reason in UNTOLD:
        return None
    # An update decides for each database by itself, and gives each its own reason.
    concerned = tuple(
        entry
        for entry in answer.databases
        if entry.get("outcome", answer.outcome) == answer.outcome
    )
    answer = answer._replace(databases=concerned)
    grounds = {
        entry.get("message", answer.message): entry.get("reason", answer.reason)
        for entry in concerned
    }
    what = "refresh skipped" if answer.outcome == "skipped" else "REFRESH FAILED"
    return notice(
        f"{what}: {','.join(dict.fromkeys(grounds.values()))} ({_names(answer)})",
        {
            "What happened": [f"{function} decided not to act: {each}." for each in grounds],
            "Started by": cause,
            "Databases": [
                f"{entry['name']}: stays on {entry['current'] or 'no snapshot'}, latest is "
                f"{entry['latest'] or 'none'}"
                for entry in answer.databases
            ],
            "What to do": [NEXT_STEPS[each] for each in dict.fromkeys(grounds.values())],
        },
        _attributes(function, answer),
    )


def of_error(function: str, cause: str, settings: Settings, error: AwsError) -> Notification:
    """Tells what AWS did not do, in this attempt; Lambda makes up to two more."""
    databases = ",".join(database.name for database in settings.databases)
    return not_done("REFRESH FAILED", function, cause, {"databases": databases}, error)


def not_done(
    what: str, function: str, cause: str, concerned: Mapping[str, str], error: AwsError
) -> Notification:
    """Tells for what is ``concerned``, by its kind, that ``what`` happened: AWS did not do its part."""
    return notice(
        f"{what}: {error.operation} {error.code} ({', '.join(concerned.values())})",
        {
            "What happened": [
                f"{function} could not go on: {error}.",
                *(f"{note}." for note in getattr(error, "__notes__", [])),
            ],
            "Started by": cause,
            "What to do": "Lambda tries twice more, within about three minutes. If no other message "
            "follows that says it went well, look at the function's log.",
        },
        {
            "function": function,
            "outcome": "error",
            "reason": error.code,
            "operation": error.operation,
            **concerned,
        },
    )


def of_run(function: str, cause: str, answer: Result) -> Notification:
    """Tells how the run of a refresh ended."""
    if answer.outcome == "succeeded":
        ages = [entry["age_hours"] for entry in answer.databases if "age_hours" in entry]
        age = f", data {max(ages):.0f} h old" if ages else ""
        subject = f"refreshed in {answer.databases[0]['duration_minutes']:.0f} min{age}"
        next_step = "Nothing. The cluster's endpoint may have changed."
    else:
        back = any(entry["current"] != entry["previous"] for entry in answer.databases)
        fate = "taken back" if back else "current stays"
        subject = f"REFRESH FAILED: pipeline run failed, {fate}"
        next_step = (
            f"Look at {cause} to see why it failed. What was taken back is promoted again by the "
            "next schedule that is due, or pin it by hand."
        )
    return notice(
        f"{subject} ({_names(answer)})",
        {
            "What happened": f"{answer.message}.",
            "Databases": [_fate(entry) for entry in answer.databases],
            "What to do": next_step,
        },
        _attributes(function, answer),
    )


def _fate(entry: Mapping[str, Any]) -> str:
    why = f"set by {entry['by']} because: {entry['why']}"
    if "duration_minutes" in entry:
        age = f", data {entry['age_hours']} hours old" if "age_hours" in entry else ""
        moved = entry["since"] != entry["current"]
        since = f"; current was moved to {entry['since']} since: the next run restores it"
        return f"{entry['name']}: now on {entry['current']}{age}, {why}{since if moved else ''}"
    if entry["current"] != entry["previous"]:
        return f"{entry['name']}: went back to {entry['current']} from {entry['previous']}, {why}"
    return f"{entry['name']}: stays on {entry['current']}, which the next run restores, {why}"


def _facts(answer: Result, name: str) -> str:
    """A fact of each database, in the order of their names."""
    return ",".join(str(entry[name]) for entry in answer.databases if entry.get(name) is not None)


def _names(answer: Result) -> str:
    return ",".join(entry["name"] for entry in answer.databases)


def _attributes(function: str, answer: Result) -> dict[str, str]:
    found = {
        "function": function,
        "outcome": answer.outcome,
        "reason": answer.reason,
        "databases": _names(answer),
        "execution_id": answer.execution_id,
        "current": _facts(answer, "current"),
        "previous": _facts(answer, "previous"),
        "age_hours": _facts(answer, "age_hours"),
        "by": _facts(answer, "by"),
    }
    return {name: value for name, value in found.items() if value}


def notice(
    subject: str, parts: Mapping[str, str | list[str]], attributes: Mapping[str, str]
) -> Notification:
    """A notice of named parts, its subject as SNS allows it."""
    lines = []
    for name, part in parts.items():
        lines += [
            f"{name}:",
            *(f"  {line}" for line in ([part] if isinstance(part, str) else part)),
        ]
    text = re.sub("[^ -~]", "?", f"aurora-refresh: {subject}")
    if len(text) > SUBJECT_LIMIT:
        text = text[: SUBJECT_LIMIT - 3] + "..."
    return Notification(text, "\n".join(lines), attributes)
