"""The use cases: what the triggers ask for, decided by the pure rooms and carried out on AWS.

``update`` and ``promote`` answer the schedules, ``pin`` answers an operator. AWS and the clock come
in as a World. Decisions not to act become answers; what AWS did not do is raised, after an undo.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.errors import AwsError, NotFound, RefreshError, Refused
from chalicelib.hold import Hold
from chalicelib.ledger import Move, Note, Run, next_move
from chalicelib.ports import Parameter, World
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Choice, Snapshot, SnapshotArn, choose, pin_rejection, rejection

_SKIPS = ("off-week", "outside-window", "on-hold", "nothing-new")

# Tokens of scheduled runs are derived within this namespace, which was drawn once at random.
_SCHEDULED_RUNS = uuid.UUID("6f3b0b7e-52f5-4a3c-9c86-1e4d0c9c1a57")

Values = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scheduled function answers: section 3 of the contract.

    ``message`` says ``reason`` in words; ``databases`` has an entry for each database.
    """

    outcome: str
    reason: str | None
    message: str | None
    databases: tuple[Mapping[str, Any], ...]
    execution_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as the contract writes it: an execution id only where a run was started."""
        answer: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "databases": [dict(database) for database in self.databases],
        }
        if self.execution_id:
            answer["execution_id"] = self.execution_id
        return answer


# --- db-update-latest-snapshot-id -----------------------------------------------------------------


def update(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Record each database's newest eligible share in its parameter *latest*; raises AwsError.

    Databases are independent here, because nothing is restored from *latest*.
    """
    try:
        _check_week(settings, scheduled)
    except Refused as refusal:
        return _refusal(refusal, settings, {})
    choices = choose(world.snapshots.shared(), [each.wanted for each in settings.databases])
    values = world.parameters.get(
        [
            name
            for each in settings.databases
            for name in (each.latest_parameter, each.current_parameter)
        ]
    )
    entries = [
        _update_one(world, database, choice, values, scheduled)
        for database, choice in zip(settings.databases, choices, strict=True)
    ]
    # What went wrong for one database must not hide behind what went well for another.
    told = next(
        entry
        for outcome in ("failed", "updated", "unchanged")
        for entry in entries
        if entry["outcome"] == outcome
    )
    return Answer(told["outcome"], told["reason"], told["message"], tuple(entries))


def _update_one(
    world: World, database: Database, choice: Choice, values: Values, scheduled: datetime
) -> dict[str, Any]:
    before = _value(values, database.latest_parameter)
    entry: dict[str, Any] = {
        "name": database.name,
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "latest": before,
        "current": _value(values, database.current_parameter),
        "previous": before,
        "rejected": dict(choice.rejected),
    }
    try:
        newest = _newest(database, choice)
    except Refused as refusal:
        return entry | {"outcome": "failed", "reason": refusal.reason, "message": str(refusal)}
    if newest.arn != before:
        note = Note("update", f"the schedule of {scheduled.isoformat()}", "newest eligible share")
        world.parameters.put(database.latest_parameter, newest.arn, note)
        entry["outcome"] = "updated"
    return entry | {"latest": newest.arn, **_data_age(newest, world.now())}


def _newest(database: Database, choice: Choice) -> Snapshot:
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


# --- db-restore-from-snapshot ---------------------------------------------------------------------


def promote(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Copy *latest* to *current* for every database and start the main pipeline.

    The seven steps of section 4 of the contract, in its order. Databases are promoted together or
    not at all. Safe to run again after a kill, and for an event that is delivered twice. Raises
    AwsError for what AWS did not do, after putting back what was put.
    """
    values: Values = {}
    try:
        _check_week(settings, scheduled)
        _check_window(settings, world.now())
        values = world.parameters.get(settings.promotion_parameters)
        _check_hold(settings, values, world.now())
        _check_present(settings, values)
        snapshots = [_candidate(settings, world, each, values) for each in settings.databases]
        pipeline = values[settings.pipeline_parameter].value
        runs = world.pipelines.runs(pipeline)
        moves = _moves(settings, world, values, snapshots, runs, _scheduled_token(scheduled))
        _check_idle(pipeline, runs)
        note = Note(
            "promote",
            f"the schedule of {scheduled.isoformat()}",
            "newest eligible share",
            _token(moves),
        )
        _, execution_id = _carry_out(world, pipeline, runs, moves, note)
    except Refused as refusal:
        return _refusal(refusal, settings, values)
    entries = [
        _entry(database, values) | {"current": snapshot.arn, **_data_age(snapshot, world.now())}
        for database, snapshot in zip(settings.databases, snapshots, strict=True)
    ]
    return Answer("started", None, None, tuple(entries), execution_id)


def _check_week(settings: Settings, scheduled: datetime) -> None:
    day = settings.window.date_of(scheduled)
    if not settings.cadence.is_on_week(day):
        raise Refused("off-week", f"{day} is not in an on-week of {settings.cadence}")


def _check_window(settings: Settings, now: datetime) -> None:
    # By the clock and not by the event's time: a retry that comes hours late must not restore.
    if not settings.window.contains(now):
        raise Refused("outside-window", f"{now:%Y-%m-%d %H:%M} UTC is outside {settings.window}")


def _check_hold(settings: Settings, values: Values, now: datetime) -> None:
    text = _value(values, settings.hold_parameter or "")
    if text is None:
        return
    try:
        hold = Hold.read(text)
    except ValueError as error:
        raise Refused(
            "on-hold", f"{settings.hold_parameter} cannot be read, which counts as a hold: {error}"
        ) from error
    if hold and hold.covers(settings.window.date_of(now)):
        raise Refused("on-hold", f"on hold until {hold.until} by {hold.by}: {hold.reason}")


def _check_present(settings: Settings, values: Values) -> None:
    needed = [settings.pipeline_parameter, *(each.latest_parameter for each in settings.databases)]
    missing = [name for name in needed if name not in values]
    if missing:
        raise Refused("parameter-missing", f"no parameter {', '.join(missing)}")


def _candidate(settings: Settings, world: World, database: Database, values: Values) -> Snapshot:
    """The snapshot that *latest* names, looked at again: hours may have passed since it was set."""
    value = values[database.latest_parameter].value
    arn = SnapshotArn.parse(value)
    if arn is None:
        raise Refused(
            "no-latest",
            f"{database.latest_parameter} holds {value!r}, not the ARN of a DB cluster snapshot",
        )
    if arn.account != database.wanted.account:
        raise Refused(
            "not-eligible",
            f"{value}: account {arn.account}, wanted {database.wanted.account}",
        )
    snapshot = world.snapshots.find(value)
    if snapshot is None:
        raise Refused("snapshot-gone", f"{value} does not exist any more, or is no longer shared")
    broken = rejection(snapshot, database.wanted)
    if broken:
        raise Refused("not-eligible", f"{value}: {broken.detail}")
    age = snapshot.age(world.now())
    if settings.max_age and age > settings.max_age:
        raise Refused(
            "snapshot-stale",
            f"{value} is {age.days} days old, the limit is {settings.max_age.days}",
        )
    return snapshot


def _moves(
    settings: Settings,
    world: World,
    values: Values,
    snapshots: Sequence[Snapshot],
    runs: Sequence[Run],
    token: str,
) -> dict[str, Move]:
    """What is left to do, by parameter; raises Refused where that is nothing."""
    moves: dict[str, Move] = {}
    for database, snapshot in zip(settings.databases, snapshots, strict=True):
        name = database.current_parameter
        ledger = world.parameters.history(name) if name in values else []
        move = next_move(ledger, snapshot.arn, runs, token)
        if move:
            moves[name] = move
    if not moves:
        raise Refused("nothing-new", "every database is on its newest snapshot")
    return moves


def _check_idle(pipeline: str, runs: Sequence[Run]) -> None:
    busy = _in_progress(runs)
    if busy:
        # Not a decision: Lambda's retries may find the pipeline idle.
        raise AwsError(
            "StartPipelineExecution",
            f"pipeline {pipeline}",
            "PipelineBusy",
            f"run {busy.execution_id} is in progress",
        )


def _in_progress(runs: Sequence[Run]) -> Run | None:
    return next((run for run in runs if run.in_progress), None)


def _scheduled_token(scheduled: datetime) -> str:
    """Every delivery of one scheduled time gets the same token, under whatever event id.

    EventBridge may deliver an event twice, and may fire a rule twice for one time.
    """
    return str(uuid.uuid5(_SCHEDULED_RUNS, scheduled.isoformat()))


def _token(moves: Mapping[str, Move]) -> str:
    """One run carries all moves: a killed invocation's token, if one was, else this one's."""
    return min(moves.values(), key=lambda move: not move.written).token


# --- pin ------------------------------------------------------------------------------------------


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

    present = values.get(database.current_parameter)
    token = str(uuid.uuid4())
    note = Note("pin", wish.by, wish.why, token if wish.deploy else None)
    name = database.current_parameter
    moves: dict[str, Move] = {}
    if present is None or present.value != snapshot.arn:
        moves[name] = Move(snapshot.arn, present.value if present else None, token)
    execution_id = None
    if wish.deploy:
        pipeline, runs = _idle_pipeline(settings, world, values)
        versions, execution_id = _carry_out(world, pipeline, runs, moves, note)
    else:
        versions = {
            name: world.parameters.put(name, move.value, note) for name, move in moves.items()
        }
    return {
        "current": snapshot.arn,
        "previous": present.value if present else None,
        "version": versions.get(name, present.version if present else None),
        "execution_id": execution_id,
    }


def _wished(world: World, database: Database, values: Values, wish: str) -> Snapshot:
    if wish == "latest":
        latest = _value(values, database.latest_parameter)
        if latest is None or SnapshotArn.parse(latest) is None:
            raise Refused("no-latest", f"{database.latest_parameter} names no snapshot yet")
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
    busy = _in_progress(runs)
    if busy:
        raise Refused(
            "pipeline-busy", f"pipeline {pipeline} is busy with run {busy.execution_id}; try later"
        )
    return pipeline, runs


# --- the one door through which current is moved and a run started --------------------------------


def _carry_out(
    world: World, pipeline: str, runs: Sequence[Run], moves: Mapping[str, Move], note: Note
) -> tuple[dict[str, int], str]:
    """Put the moves and start the run; the versions made and the run's execution id.

    Where that fails, every parameter gets its old value back before the error is raised. ``runs``
    are those seen before anything was put.
    """
    assert note.token is not None
    versions: dict[str, int] = {}
    try:
        for name, move in moves.items():
            if not move.written:
                versions[name] = world.parameters.put(name, move.value, note)
    except AwsError as error:
        _undo(world, moves, note, error)
        raise
    try:
        return versions, world.pipelines.start(pipeline, note.token)
    except RefreshError as error:
        # A call that failed may have taken effect all the same, its answer lost: undoing would
        # then take the new value away from the run that is to restore it.
        started = _started_since(world, pipeline, runs)
        if started:
            return versions, started
        _undo(world, moves, note, error)
        raise


def _started_since(world: World, pipeline: str, runs: Sequence[Run]) -> str | None:
    before = {run.execution_id for run in runs}
    try:
        now = world.pipelines.runs(pipeline)
    except RefreshError:
        return None  # the start's own error is the one to raise
    return next((run.execution_id for run in now if run.execution_id not in before), None)


def _undo(world: World, moves: Mapping[str, Move], note: Note, error: RefreshError) -> None:
    """Put back what was put, by whichever invocation; raises AwsError where that fails, too."""
    undoable = {name: move for name, move in moves.items() if move.undoable}
    values = world.parameters.get(list(undoable))
    for name, move in undoable.items():
        if _value(values, name) != move.value:
            continue  # never put, or moved on by somebody else since
        if move.previous is None:
            world.parameters.delete(name)
        else:
            world.parameters.put(name, move.previous, Note("undo", note.by, str(error)))


# --- what answers are made of ---------------------------------------------------------------------


def _refusal(refusal: Refused, settings: Settings, values: Values) -> Answer:
    return Answer(
        "skipped" if refusal.reason in _SKIPS else "failed",
        refusal.reason,
        str(refusal),
        tuple(_entry(database, values) for database in settings.databases),
    )


def _entry(database: Database, values: Values) -> dict[str, Any]:
    current = _value(values, database.current_parameter)
    return {
        "name": database.name,
        "latest": _value(values, database.latest_parameter),
        "current": current,
        "previous": current,
    }


def _data_age(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    age = snapshot.age(now)
    return {"created": (now - age).isoformat(), "age_hours": round(age.total_seconds() / 3600, 1)}


def _value(values: Values, name: str) -> str | None:
    parameter = values.get(name)
    return parameter.value if parameter else None
