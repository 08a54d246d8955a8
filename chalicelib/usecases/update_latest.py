"""What moves the parameter *latest*: the newest eligible share, or a copy of it under one's own key.

Databases are independent here, because nothing is restored from *latest*.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from chalicelib import notifications
from chalicelib.domain.copies import Copy, newest_copy, ours
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FOLLOW_COPIES, UPDATE
from chalicelib.domain.ledger import Note
from chalicelib.domain.results import (
    Result,
    Values,
    data_age,
    failed,
    of_databases,
    of_latest,
    refusal,
    snapshot_of,
)
from chalicelib.domain.snapshots import Choice, OwnSnapshot, Snapshot, choose
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import combine_errors, run_each
from chalicelib.usecases.copies import beyond_number, copies_with, progress
from chalicelib.usecases.scheduled import check_week, notify_failures

Json = dict[str, Any]


@notify_failures(UPDATE)
def update(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Record each database's newest eligible share in its parameter *latest*; raises AwsError.

    Where the database has copies, the share is copied first, and the newest copy recorded that is
    available: until then *latest* stays.
    """
    try:
        check_week(settings, scheduled)
    except Refused as refused:
        return refusal(refused, settings.databases, {})
    choices = choose(aws.snapshots.shared(), [each.criteria for each in settings.databases])
    values = _values(aws, settings.databases)
    own = list(aws.snapshots.own()) if settings.has_copies else []
    by = f"the schedule of {scheduled.isoformat()}"
    chosen = zip(settings.databases, choices, strict=True)
    entries, missed = run_each(chosen, lambda each: _update_one(aws, *each, values, own, by))
    if missed:
        raise _joined([error for _, error in missed], entries)
    return of_databases(entries)


def _update_one(
    aws: Aws,
    database: Database,
    choice: Choice,
    values: Values,
    own: Sequence[OwnSnapshot],
    by: str,
) -> Json:
    told = of_latest(database, values) | {"rejected": dict(choice.rejected)}
    try:
        share = newest(database, choice)
        if database.copy_policy:
            copies = copies_with(aws, database.copy_policy, share, own)
            return told | _record_copy(aws, database, copies, values, by)
    except Refused as refused:
        return told | failed(refused)
    return told | _record(aws, database, share, values, Note("update", by, "newest eligible share"))


def _joined(errors: Iterable[AwsError], entries: Iterable[Json]) -> AwsError:
    """What AWS did not do, which tells of what was refused, too: no answer will."""
    error = combine_errors(errors)
    for entry in entries:
        if entry["outcome"] == "failed":
            error.add_note(entry["message"])
    return error


def newest(database: Database, choice: Choice) -> Snapshot:
    """The snapshot to record in *latest*; raises Refused where none can be chosen."""
    if choice.ambiguous:
        raise Refused(
            "ambiguous-cluster",
            f"{database.name}: eligible snapshots come from several clusters "
            f"({', '.join(sorted(choice.clusters))}); set {database.name.upper()}_SOURCE_CLUSTER",
        )
    if choice.newest is None:
        rejected = ", ".join(f"{count} for {reason}" for reason, count in choice.rejected.items())
        raise Refused(
            "no-eligible-snapshot",
            f"{database.name}: no shared snapshot is eligible; rejected: {rejected or 'none'}",
        )
    return choice.newest


def _values(aws: Aws, databases: Sequence[Database]) -> Values:
    return aws.parameters.get(
        [name for each in databases for name in (each.latest_parameter, each.current_parameter)]
    )


def _record(aws: Aws, database: Database, found: Snapshot, values: Values, note: Note) -> Json:
    moved = found.arn != snapshot_of(values, database.latest_parameter)
    if moved:
        aws.parameters.put(database.latest_parameter, found.arn, note)
    told = {"outcome": "updated" if moved else "unchanged", "latest": found.arn}
    return told | data_age(found, aws.now())


def _record_copy(
    aws: Aws, database: Database, copies: Sequence[Copy], values: Values, by: str
) -> Json:
    assert database.copy_policy is not None
    told: Json = {"copy": progress(copies, database.copy_policy)}
    found = newest_copy(copies, database.copy_policy)
    if found:
        told |= _record(aws, database, found, values, Note("update", by, "newest eligible copy"))
    return told


def follow_copies(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Finish what the update asked for; raises AwsError.

    A copy that has become available becomes *latest*. One that failed is told of and deleted, so
    that the next update asks anew. Those beyond the number to keep are deleted, but none that
    *latest* or *current* may still lead to.
    """
    databases = [each for each in settings.databases if each.copy_policy]
    values = _values(aws, databases)
    own = list(aws.snapshots.own())
    by = f"the schedule of {scheduled.isoformat()}"
    let_go: list[Copy] = []
    entries, missed = run_each(
        databases, lambda each: _follow_one(aws, each, own, values, by, let_go)
    )
    # What AWS did not do is raised and rings the alarm, but is not told: this runs all day.
    notice = notifications.of_answer(FOLLOW_COPIES, by, of_databases(entries)) if entries else None
    if notice:
        aws.notifier.notify(notice)
    # After people were told: a kill between the two tells it twice, not never.
    _, kept = run_each(let_go, lambda copy: aws.snapshots.delete(copy.identifier))
    errors = [error for _, error in (*missed, *kept)]
    if errors:
        raise combine_errors(errors)
    return of_databases(entries)


def _follow_one(
    aws: Aws,
    database: Database,
    own: Sequence[OwnSnapshot],
    values: Values,
    by: str,
    let_go: list[Copy],
) -> Json:
    assert database.copy_policy is not None
    copies = ours(own, database.copy_policy)
    told = of_latest(database, values) | _record_copy(aws, database, copies, values, by)
    broken = [copy for copy in copies if copy.failed]
    # An operator's pin that has read *latest* before this moved it has not put it in *current* yet.
    latest = (told["latest"], told["previous"])
    deleted = [*beyond_number(aws, database, copies, latest), *broken]
    let_go += deleted
    if broken:
        sources = ", ".join(copy.source.text for copy in broken)
        told |= failed(Refused("copy-failed", f"the copy of {sources} failed"))
    return told | {"deleted": [copy.snapshot.arn for copy in deleted]}
