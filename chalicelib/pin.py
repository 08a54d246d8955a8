"""What an operator asks for by hand. AWS and the clock come in as a World."""

import uuid
from dataclasses import dataclass
from typing import Any

from chalicelib.answers import Values, value_of
from chalicelib.current import carry_out, put, take_back
from chalicelib.errors import NotFound, RefreshError, Refused, UncertainError
from chalicelib.ledger import Move, Note, Run, in_progress, is_carried
from chalicelib.ports import World
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Snapshot, SnapshotArn, pin_rejection


@dataclass(frozen=True, slots=True)
class Pin:
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
    names = [database.current_parameter, database.latest_parameter, settings.pipeline_parameter]
    values = world.parameters.get(names)
    snapshot = _wished(world, database, values, wish.snapshot)
    broken = pin_rejection(snapshot, database.wanted)
    if broken:
        raise Refused("not-eligible", f"{snapshot.arn} cannot be pinned: {broken.detail}")

    name = database.current_parameter
    present = values.get(name)
    execution_id = None
    if wish.deploy:
        versions, execution_id = _deploy(settings, world, name, values, snapshot.arn, wish)
    elif present and present.value == snapshot.arn:
        versions = {}
    else:
        versions = {name: put(world, name, snapshot.arn, Note("pin", wish.by, wish.why))}
    return {
        "current": snapshot.arn,
        "previous": present.value if present else None,
        "version": versions.get(name, present.version if present else None),
        "execution_id": execution_id,
    }


def _deploy(
    settings: Settings, world: World, name: str, values: Values, arn: str, wish: Pin
) -> tuple[dict[str, int], str]:
    """Put the wished value and start the pipeline, or neither."""
    pipeline, runs = _idle_pipeline(settings, world, values)
    token = str(uuid.uuid4())
    present = values.get(name)
    moves = {}
    if present is None or present.value != arn:
        moves[name] = Move(arn, present.value if present else None, token)
    else:
        waiting = world.parameters.history(name)[-1]
        if waiting.token and not is_carried(waiting, runs):
            token = waiting.token  # an invocation was killed before it started this run
    note = Note("pin", wish.by, wish.why, token)
    try:
        return carry_out(world, pipeline, runs, moves, note)
    except UncertainError:
        raise
    except RefreshError as error:
        take_back(world, [name], pipeline, lambda entry: entry.token == token, error)
        raise


def _wished(world: World, database: Database, values: Values, wish: str) -> Snapshot:
    wish = wish.lower()  # as RDS does: it stores every identifier in lower case
    if wish == "latest":
        latest = value_of(values, database.latest_parameter)
        if latest is None or SnapshotArn.parse(latest) is None:
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
    if settings.pipeline_parameter not in values:
        raise Refused("parameter-missing", f"no parameter {settings.pipeline_parameter}")
    pipeline = values[settings.pipeline_parameter].value
    runs = world.pipelines.runs(pipeline)
    busy = in_progress(runs)
    if busy:
        raise Refused(
            "pipeline-busy", f"pipeline {pipeline} is busy with run {busy.execution_id}; try later"
        )
    return pipeline, runs
