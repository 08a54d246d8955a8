"""What an operator asks for by hand. AWS and the clock come in as a Aws."""

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import NotFound, Refused
from chalicelib.domain.ledger import Entry, Move, Note, Run, is_carried
from chalicelib.domain.results import Values, earlier_snapshot, snapshot_of
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.current import check_idle, deploy_or_revert, put
from chalicelib.usecases.promote import wrong_pipeline


class Pin(NamedTuple):
    """An operator's wish: ``snapshot`` is an ARN, an identifier, or ``latest``."""

    snapshot: str
    by: str
    why: str
    deploy: bool


def pin(settings: Settings, aws: Aws, database: Database, wish: Pin) -> dict[str, Any]:
    """Set *current* by hand, and start the pipeline where the wish says so.

    Raises NotFound for an unknown snapshot, Refused for one that must not be restored or a pipeline
    that cannot take it, and AwsError. Pinning what is pinned writes nothing.
    """
    values = _values(settings, aws, database)
    snapshot = _wished(aws, database, values, wish.snapshot)
    _check(snapshot, database)
    idle = _idle_pipeline(settings, aws, values) if wish.deploy else None
    note = Note("pin", wish.by, wish.why)
    return _move(aws, database.current_parameter, values, snapshot.arn, note, idle)


def rollback(
    settings: Settings, aws: Aws, database: Database, by: str, why: str, *, deploy: bool
) -> dict[str, Any]:
    """Set *current* back to the newest earlier snapshot that differs from the present one.

    Raises as ``pin`` does, but Refused, too, for a snapshot that is gone: nobody named it.
    """
    values = _values(settings, aws, database)
    idle = _idle_pipeline(settings, aws, values) if deploy else None
    name = database.current_parameter
    ledger = aws.parameters.history(name) if name in values else []
    unfinished = idle and ledger and _is_unfinished(ledger[-1], idle[1])
    target = ledger[-1].value if unfinished else earlier_snapshot(ledger)
    if target is None:
        raise Refused("nothing-earlier", f"{name} has held no other snapshot to go back to")
    snapshot = aws.snapshots.find(target)
    if snapshot is None:
        raise Refused("snapshot-gone", f"{target}, the one before, does not exist any more")
    _check(snapshot, database)
    return _move(aws, name, values, target, Note("rollback", by, why), idle)


def _is_unfinished(present: Entry, runs: Sequence[Run]) -> bool:
    """A rollback was killed before it started its run: one more step back would undo it."""
    rolled_back = present.note is not None and present.note.action == "rollback"
    return rolled_back and present.token is not None and not is_carried(present, runs)


def _values(settings: Settings, aws: Aws, database: Database) -> Values:
    return aws.parameters.get(
        [database.current_parameter, database.latest_parameter, settings.pipeline_parameter]
    )


def _check(snapshot: Snapshot, database: Database) -> None:
    broken = pin_rejection(snapshot, database.criteria)
    if broken:
        raise Refused("not-eligible", f"{snapshot.arn} cannot be pinned: {broken.detail}")


def _move(
    aws: Aws,
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
        versions, execution_id = _deploy(aws, name, values, arn, note, *idle)
    elif present and present.value == arn:
        versions = {}
    else:
        versions = {name: put(aws, name, arn, note)}
    return {
        "current": arn,
        "previous": snapshot_of(values, name),
        "version": versions.get(name, present.version if present else None),
        "execution_id": execution_id,
    }


def _deploy(
    aws: Aws,
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
        waiting = aws.parameters.history(name)[-1]
        if waiting.token and not is_carried(waiting, runs):
            token = waiting.token  # an invocation was killed before it started this run
    move = Move(arn, present.value if present else None, token, written)
    note = note._replace(token=token)
    return deploy_or_revert(aws, pipeline, runs, {name: move}, note)


def _wished(aws: Aws, database: Database, values: Values, wish: str) -> Snapshot:
    wish = wish.lower()  # as RDS does: it stores every identifier in lower case
    if wish == "latest":
        latest = snapshot_of(values, database.latest_parameter)
        if latest is None:
            raise Refused("no-latest", f"{database.latest_parameter} names no snapshot yet")
        wish = latest
        found = [aws.snapshots.find(latest)]
    elif SnapshotArn.parse(wish):
        found = [aws.snapshots.find(wish)]
    else:
        found = [*aws.snapshots.named(wish, database.criteria.account)]
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


def _idle_pipeline(settings: Settings, aws: Aws, values: Values) -> tuple[str, list[Run]]:
    wrong = wrong_pipeline(settings, values)
    if wrong:
        raise wrong
    pipeline = values[settings.pipeline_parameter].value
    runs = aws.pipelines.runs(pipeline)
    check_idle(pipeline, runs)
    return pipeline, runs
