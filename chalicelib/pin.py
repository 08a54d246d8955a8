"""What an operator asks for by hand. AWS and the clock come in as a World."""

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from chalicelib.answers import Values, earlier_snapshot, snapshot_of
from chalicelib.current import carry_out_or_take_back, check_idle, put
from chalicelib.errors import NotFound, Refused
from chalicelib.ledger import Entry, Move, Note, Run, is_carried
from chalicelib.ports import World
from chalicelib.refresh import wrong_pipeline
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Snapshot, SnapshotArn, pin_rejection


class Pin(NamedTuple):
    """An operator's wish: ``snapshot`` is an ARN, an identifier, or ``latest``."""

    snapshot: str
    by: str
    why: str
    deploy: bool


def pin(settings: Settings, world: World, database: Database, wish: Pin) -> dict[str, Any]:
    """Set *current* by hand, and start the pipeline where the wish says so.

    Raises NotFound for an unknown snapshot, Refused for one that must not be restored or a pipeline
    that cannot take it, and AwsError. Pinning what is pinned writes nothing.
    """
    values = _values(settings, world, database)
    snapshot = _wished(world, database, values, wish.snapshot)
    _check(snapshot, database)
    idle = _idle_pipeline(settings, world, values) if wish.deploy else None
    note = Note("pin", wish.by, wish.why)
    return _move(world, database.current_parameter, values, snapshot.arn, note, idle)


def rollback(
    settings: Settings, world: World, database: Database, by: str, why: str, *, deploy: bool
) -> dict[str, Any]:
    """Set *current* back to the newest earlier snapshot that differs from the present one.

    Raises as ``pin`` does, but Refused, too, for a snapshot that is gone: nobody named it.
    """
    values = _values(settings, world, database)
    idle = _idle_pipeline(settings, world, values) if deploy else None
    name = database.current_parameter
    ledger = world.parameters.history(name) if name in values else []
    unfinished = idle and ledger and _is_unfinished(ledger[-1], idle[1])
    target = ledger[-1].value if unfinished else earlier_snapshot(ledger)
    if target is None:
        raise Refused("nothing-earlier", f"{name} has held no other snapshot to go back to")
    snapshot = world.snapshots.find(target)
    if snapshot is None:
        raise Refused("snapshot-gone", f"{target}, the one before, does not exist any more")
    _check(snapshot, database)
    return _move(world, name, values, target, Note("rollback", by, why), idle)


def _is_unfinished(present: Entry, runs: Sequence[Run]) -> bool:
    """A rollback was killed before it started its run: one more step back would undo it."""
    rolled_back = present.note is not None and present.note.action == "rollback"
    return rolled_back and present.token is not None and not is_carried(present, runs)


def _values(settings: Settings, world: World, database: Database) -> Values:
    return world.parameters.get(
        [database.current_parameter, database.latest_parameter, settings.pipeline_parameter]
    )


def _check(snapshot: Snapshot, database: Database) -> None:
    broken = pin_rejection(snapshot, database.wanted)
    if broken:
        raise Refused("not-eligible", f"{snapshot.arn} cannot be pinned: {broken.detail}")


def _move(
    world: World,
    name: str,
    values: Values,
    arn: str,
    note: Note,
    idle: tuple[str, Sequence[Run]] | None,
) -> dict[str, Any]:
    """Put the value; and start the pipeline where an ``idle`` one is given, or neither."""
    present = values.get(name)
    execution_id = None
    if idle:
        versions, execution_id = _deploy(world, name, values, arn, note, *idle)
    elif present and present.value == arn:
        versions = {}
    else:
        versions = {name: put(world, name, arn, note)}
    return {
        "current": arn,
        "previous": snapshot_of(values, name),
        "version": versions.get(name, present.version if present else None),
        "execution_id": execution_id,
    }


def _deploy(
    world: World,
    name: str,
    values: Values,
    arn: str,
    note: Note,
    pipeline: str,
    runs: Sequence[Run],
) -> tuple[dict[str, int], str]:
    token = str(uuid.uuid4())
    present = values.get(name)
    written = present is not None and present.value == arn
    if written:
        waiting = world.parameters.history(name)[-1]
        if waiting.token and not is_carried(waiting, runs):
            token = waiting.token  # an invocation was killed before it started this run
    move = Move(arn, present.value if present else None, token, written)
    note = note._replace(token=token)
    return carry_out_or_take_back(world, pipeline, runs, {name: move}, note)


def _wished(world: World, database: Database, values: Values, wish: str) -> Snapshot:
    wish = wish.lower()  # as RDS does: it stores every identifier in lower case
    if wish == "latest":
        latest = snapshot_of(values, database.latest_parameter)
        if latest is None:
            raise Refused("no-latest", f"{database.latest_parameter} names no snapshot yet")
        wish = latest
        found = [world.snapshots.find(latest)]
    elif SnapshotArn.parse(wish):
        found = [world.snapshots.find(wish)]
    else:
        found = [*world.snapshots.named(wish, database.wanted.account)]
    known = [snapshot for snapshot in found if snapshot]
    if not known:
        raise NotFound("snapshot-gone", f"there is no snapshot {wish}, neither own nor shared")
    if len(known) > 1:
        raise Refused(
            "ambiguous-name",
            f"{wish} is the name of several snapshots; name one by its ARN: "
            + ", ".join(snapshot.arn for snapshot in known),
        )
    return known[0]


def _idle_pipeline(settings: Settings, world: World, values: Values) -> tuple[str, list[Run]]:
    wrong = wrong_pipeline(settings, values)
    if wrong:
        raise wrong
    pipeline = values[settings.pipeline_parameter].value
    runs = world.pipelines.runs(pipeline)
    check_idle(pipeline, runs)
    return pipeline, runs
