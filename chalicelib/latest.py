"""What moves the parameter *latest*: the newest eligible share, or a copy of it under one's own key.

Databases are independent here, because nothing is restored from *latest*.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from chalicelib import notices
from chalicelib.alone import each_alone, joined
from chalicelib.answers import (
    Answer,
    Values,
    data_age,
    failed,
    of_databases,
    of_latest,
    refusal,
    snapshot_of,
)
from chalicelib.copies import Copy, newest_copy, ours
from chalicelib.copying import beyond_number, copies_with, progress
from chalicelib.errors import AwsError, Refused
from chalicelib.functions import FOLLOW_COPIES, UPDATE
from chalicelib.ledger import Note
from chalicelib.ports import World
from chalicelib.scheduled import check_week, people_hear
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Choice, OwnSnapshot, Snapshot, choose

Json = dict[str, Any]


@people_hear(UPDATE)
def update(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Record each database's newest eligible share in its parameter *latest*; raises AwsError.

    Where the database has copies, the share is copied first, and the newest copy recorded that is
    available: until then *latest* stays.
    """
    try:
        check_week(settings, scheduled)
    except Refused as refused:
        return refusal(refused, settings.databases, {})
    choices = choose(world.snapshots.shared(), [each.wanted for each in settings.databases])
    values = _values(world, settings.databases)
    own = list(world.snapshots.own()) if settings.has_copies else []
    by = f"the schedule of {scheduled.isoformat()}"
    chosen = zip(settings.databases, choices, strict=True)
    entries, missed = each_alone(chosen, lambda each: _update_one(world, *each, values, own, by))
    if missed:
        raise _joined([error for _, error in missed], entries)
    return of_databases(entries)


def _update_one(
    world: World,
    database: Database,
    choice: Choice,
    values: Values,
    own: Sequence[OwnSnapshot],
    by: str,
) -> Json:
    told = of_latest(database, values) | {"rejected": dict(choice.rejected)}
    try:
        share = newest(database, choice)
        if database.copying:
            copies = copies_with(world, database.copying, share, own)
            return told | _record_copy(world, database, copies, values, by)
    except Refused as refused:
        return told | failed(refused)
    return told | _record(
        world, database, share, values, Note("update", by, "newest eligible share")
    )


def _joined(errors: Iterable[AwsError], entries: Iterable[Json]) -> AwsError:
    """What AWS did not do, which tells of what was refused, too: no answer will."""
    error = joined(errors)
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


def _values(world: World, databases: Sequence[Database]) -> Values:
    return world.parameters.get(
        [name for each in databases for name in (each.latest_parameter, each.current_parameter)]
    )


def _record(world: World, database: Database, found: Snapshot, values: Values, note: Note) -> Json:
    moved = found.arn != snapshot_of(values, database.latest_parameter)
    if moved:
        world.parameters.put(database.latest_parameter, found.arn, note)
    told = {"outcome": "updated" if moved else "unchanged", "latest": found.arn}
    return told | data_age(found, world.now())


def _record_copy(
    world: World, database: Database, copies: Sequence[Copy], values: Values, by: str
) -> Json:
    assert database.copying is not None
    told: Json = {"copy": progress(copies, database.copying)}
    found = newest_copy(copies, database.copying)
    if found:
        told |= _record(world, database, found, values, Note("update", by, "newest eligible copy"))
    return told


def follow_copies(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Finish what the update asked for; raises AwsError.

    A copy that has become available becomes *latest*. One that failed is told of and deleted, so
    that the next update asks anew. Those beyond the number to keep are deleted, but none that
    *latest* or *current* may still lead to.
    """
    databases = [each for each in settings.databases if each.copying]
    values = _values(world, databases)
    own = list(world.snapshots.own())
    by = f"the schedule of {scheduled.isoformat()}"
    let_go: list[Copy] = []
    entries, missed = each_alone(
        databases, lambda each: _follow_one(world, each, own, values, by, let_go)
    )
    # What AWS did not do is raised and rings the alarm, but is not told: this runs all day.
    notice = notices.of_answer(FOLLOW_COPIES, by, of_databases(entries)) if entries else None
    if notice:
        world.people.tell(notice)
    # After people were told: a kill between the two tells it twice, not never.
    _, kept = each_alone(let_go, lambda copy: world.snapshots.delete(copy.identifier))
    errors = [error for _, error in (*missed, *kept)]
    if errors:
        raise joined(errors)
    return of_databases(entries)


def _follow_one(
    world: World,
    database: Database,
    own: Sequence[OwnSnapshot],
    values: Values,
    by: str,
    let_go: list[Copy],
) -> Json:
    assert database.copying is not None
    copies = ours(own, database.copying)
    told = of_latest(database, values) | _record_copy(world, database, copies, values, by)
    broken = [copy for copy in copies if copy.failed]
    # An operator's pin that has read *latest* before this moved it has not put it in *current* yet.
    latest = (told["latest"], told["previous"])
    deleted = [*beyond_number(world, database, copies, latest), *broken]
    let_go += deleted
    if broken:
        sources = ", ".join(copy.source.text for copy in broken)
        told |= failed(Refused("copy-failed", f"the copy of {sources} failed"))
    return told | {"deleted": [copy.snapshot.arn for copy in deleted]}
