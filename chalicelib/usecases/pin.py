"""Set `current` by hand: to a snapshot that a person names, or back to the previous one."""

import uuid
from dataclasses import replace

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import NotFound, RefreshError, Refused
from chalicelib.domain.ledger import Ledger, Move, Note, earlier_snapshot, last_restored
from chalicelib.domain.parameters import Values, snapshot_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Json
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import check_name
from chalicelib.usecases.current import Pipeline, put


def pin(
    settings: Settings,
    aws: Aws,
    database: Database,
    *,
    actor: str,
    reason: str,
    deploy: bool = False,
    snapshot: str | None = None,
) -> Json:
    """Set `current` to a snapshot because a person asks for it, and start the pipeline with `deploy`.

    `snapshot` is an ARN, an identifier, or `latest`. None means the newest earlier snapshot that
    differs from the present one: a rollback.

    With `deploy`, a version is written even if `current` already has this value, so that the ledger
    shows the request. Without it, nothing is written if the value is already pinned.

    Return what `current` holds now and held before, and the run that restores it: the one that was
    started, or else `under_way` one in progress, which restores what `current` holds when it deploys.

    Raise NotFound for an unknown snapshot; Refused for one that must not be restored, a pipeline
    that does not exist, or a `current` that somebody else moved meanwhile; BusyError and AwsError.
    """
    values = aws.parameters.get([database.latest_parameter, settings.pipeline_parameter])
    # Before the runs are listed, for the look-up takes a while.
    named = None if snapshot is None else _find(aws, database, values, snapshot)
    pipeline = Pipeline.main(settings, aws, values, settings.databases) if deploy else None
    name = database.current_parameter
    ledger = pipeline.ledgers[database] if pipeline else Ledger(aws.parameters.history(name), ())
    found = named or _earlier(aws, database, ledger, deploy=deploy)
    _check(settings, found, database)
    restored = last_restored(ledger)
    # Without a run, it may be put back to withdraw a pin that waits.
    if restored and (pipeline or ledger[-1].value == found.arn):
        check_name(database, Deployment(restored.value, restored, restored.run_id), found)
    taken = None if found.own else found.created  # RDS may date an own copy by its making
    note = Note("rollback" if snapshot is None else "pin", actor, reason, taken=taken)
    run, busy = None, None
    if pipeline:
        move = ledger.next_move(found.arn, actor, aws.now())._replace(taken=taken)
        pipeline.check_free({database: move})
        note = replace(note, token=str(uuid.uuid4()))
        run = pipeline.deploy_or_revert({database: move}, note)
        number = move.after + (move.token is None)
    else:
        move = Move(found.arn, ledger[-1] if ledger else None)
        number, present = move.after, move.present
        is_pinned = (
            present
            and present.value == found.arn
            and present.token is None
            and not present.is_correction
        )
        if not is_pinned:
            number = put(aws, name, found.arn, note, move.after)
        try:
            if busy := Pipeline.main(settings, aws, values).busy():
                busy += ": if it has yet to read current, it restores this snapshot"
        except RefreshError as error:  # the pin itself is done
            busy = f"cannot determine whether a run is in progress: {error}"
    return {
        "current": found.arn,
        "previous": move.previous,
        "version": number,
        "execution_id": run,
        "under_way": busy,
    }


def _earlier(aws: Aws, database: Database, ledger: Ledger, *, deploy: bool) -> Snapshot:
    """Return the snapshot to roll back to; one that is gone is Refused, because nobody named it."""
    target, present = earlier_snapshot(ledger), ledger[-1] if ledger else None
    if deploy and present and present.action == "rollback":
        # If it was killed before it started its run, one step more would go forward again.
        target = present.value if ledger.is_under_way(present, aws.now()) else target
    if target is None:
        name = database.current_parameter
        raise Refused(Reason.NOTHING_EARLIER, f"{name} has no earlier snapshot to roll back to")
    snapshot = aws.snapshots.find(target)
    if snapshot is None:
        raise Refused(Reason.SNAPSHOT_GONE, f"the previous snapshot, {target}, no longer exists")
    return snapshot


def _check(settings: Settings, snapshot: Snapshot, database: Database) -> None:
    broken = pin_rejection(snapshot, database.criteria)
    region = settings.source_region
    if region and (not snapshot.own or f":rds:{region}:" in snapshot.arn):
        problem = (
            f"production shares in {region}, so this stage restores snapshots of its own account and "
            "Region only; pin latest or another one of these"
        )
    elif broken:
        problem = broken.detail
    else:
        return
    raise Refused(Reason.NOT_ELIGIBLE, f"{snapshot.arn} cannot be pinned: {problem}")


def _find(aws: Aws, database: Database, values: Values, asked: str) -> Snapshot:
    """Return the only snapshot that a request names."""
    name = asked.lower()  # RDS stores every identifier in lower case
    if name == "latest":
        latest = snapshot_of(values, database.latest_parameter)
        if latest is None:
            message = f"{database.latest_parameter} names no snapshot yet"
            raise Refused(Reason.NO_LATEST, message)
        name = latest
    if SnapshotArn.parse(name):
        snapshot = aws.snapshots.find(name)
        known = [snapshot] if snapshot else []
    else:
        known = aws.snapshots.named(name, database.criteria.account)
    if not known:
        others = f"none that {database.criteria.account} shares with it is called"
        message = f"no snapshot of this account, and {others} {name}"
        raise NotFound(Reason.SNAPSHOT_GONE, message)
    if len(known) > 1:
        raise Refused(
            Reason.AMBIGUOUS_NAME,
            f"several snapshots are named {name}; give the ARN of one: "
            + ", ".join(snapshot.arn for snapshot in known),
        )
    return known[0]
