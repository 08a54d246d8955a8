"""What the two schedules ask for, decided by the pure rooms and carried out on AWS.

AWS and the clock come in as a World. Decisions not to act become answers; what AWS did not do is
raised, after an undo, so that Lambda's own retries run. People hear of both.
"""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from chalicelib import notices
from chalicelib.answers import Answer, Values, data_age, entry, refusal, shown, value_of
from chalicelib.current import carry_out, take_back
from chalicelib.errors import AwsError, Refused, UncertainError
from chalicelib.hold import PLACEHOLDER, Hold
from chalicelib.ledger import Move, Note, Run, in_progress, is_spent, next_move
from chalicelib.ports import World
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Choice, Snapshot, SnapshotArn, choose, rejection

# Tokens of scheduled runs are derived within this namespace, which was drawn once at random.
_SCHEDULED_RUNS = uuid.UUID("6f3b0b7e-52f5-4a3c-9c86-1e4d0c9c1a57")

# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
_PIPELINE_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")

UseCase = Callable[[Settings, World, datetime], Answer]


def _people_hear(function: str) -> Callable[[UseCase], UseCase]:
    """Tells people of what was refused, and of what AWS did not do, which is raised again."""

    def decorate(use_case: UseCase) -> UseCase:
        @wraps(use_case)
        def telling(settings: Settings, world: World, scheduled: datetime) -> Answer:
            cause = f"the schedule of {scheduled:%Y-%m-%d %H:%M} UTC"
            try:
                answer = use_case(settings, world, scheduled)
            except AwsError as error:
                world.people.tell(notices.of_error(function, cause, settings, error))
                raise
            notice = notices.of_answer(function, cause, answer)
            if notice:
                world.people.tell(notice)
            return answer

        return telling

    return decorate


# --- db-update-latest-snapshot-id -----------------------------------------------------------------


@_people_hear("db-update-latest-snapshot-id")
def update(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Record each database's newest eligible share in its parameter *latest*; raises AwsError.

    Databases are independent here, because nothing is restored from *latest*.
    """
    try:
        _check_week(settings, scheduled)
    except Refused as refused:
        return refusal(refused, settings.databases, {})
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
    before = value_of(values, database.latest_parameter)
    entry: dict[str, Any] = {
        "name": database.name,
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "latest": before,
        "current": value_of(values, database.current_parameter),
        "previous": before,
        "rejected": dict(choice.rejected),
    }
    try:
        newest = _newest(database, choice)
    except Refused as refused:
        return entry | {"outcome": "failed", "reason": refused.reason, "message": str(refused)}
    if newest.arn != before:
        note = Note("update", f"the schedule of {scheduled.isoformat()}", "newest eligible share")
        world.parameters.put(database.latest_parameter, newest.arn, note)
        entry["outcome"] = "updated"
    return entry | {"latest": newest.arn, **data_age(newest, world.now())}


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


@_people_hear("db-restore-from-snapshot")
def promote(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Copy *latest* to *current* for every database and start the main pipeline.

    The seven steps of section 4 of the contract, in its order. Databases are promoted together or
    not at all. Safe to run again after a kill, and for an event that is delivered twice. Raises
    AwsError for what AWS did not do, after putting back what this scheduled time had put.
    """
    by = f"the schedule of {scheduled.astimezone(UTC).isoformat()}"
    values: Values = {}
    try:
        _check_week(settings, scheduled)
        values = world.parameters.get(settings.promotion_parameters)
        return _promote(settings, world, values, by)
    except Refused as refused:
        # An attempt before this one may have been killed after it had put its value.
        if _taken_back(settings, world, values, by, refused):
            values = world.parameters.get(settings.promotion_parameters)
        return refusal(refused, settings.databases, values)
    except UncertainError:
        raise  # the run may be on its way: the next attempt will find it, or start it
    except AwsError as error:
        try:
            _taken_back(settings, world, values, by, error)
        except AwsError as second:
            error.add_note(f"current could not be put back: {second}")
        raise


def _promote(settings: Settings, world: World, values: Values, by: str) -> Answer:
    _check_window(settings, world.now())
    _check_hold(settings, values, world.now())
    pipeline = _check_names(settings, values)
    snapshots = [_candidate(settings, world, each, values) for each in settings.databases]
    runs = world.pipelines.runs(pipeline)
    moves = _moves(settings, world, values, snapshots, runs, by)
    _check_idle(pipeline, runs)
    note = Note("promote", by, "newest eligible share", _token(moves, by))
    _, execution_id = carry_out(world, pipeline, runs, moves, note)
    entries = []
    for database, snapshot in zip(settings.databases, snapshots, strict=True):
        told = entry(database, values) | data_age(snapshot, world.now())
        move = moves.get(database.current_parameter)
        if move:
            told |= {"current": move.value, "previous": move.previous}
        entries.append(told)
    return Answer("started", None, None, tuple(entries), execution_id)


def _taken_back(settings: Settings, world: World, values: Values, by: str, why: Exception) -> bool:
    """Whether anything had to be put back that this scheduled time had put."""
    pipeline = value_of(values, settings.pipeline_parameter)
    if pipeline is None:
        return False  # whether a run came for it cannot be known
    names = [each.current_parameter for each in settings.databases]
    return take_back(world, names, pipeline, lambda entry: entry.promoted(by), why)


def _check_week(settings: Settings, scheduled: datetime) -> None:
    day = settings.window.date_of(scheduled)
    cadence = settings.cadence
    if not cadence.is_on_week(day):
        raise Refused(
            "off-week",
            f"{day} is not in an on-week: every {cadence.every_weeks} weeks from {cadence.anchor}",
        )


def _check_window(settings: Settings, now: datetime) -> None:
    # By the clock and not by the event's time: a retry that comes hours late must not restore.
    if not settings.window.contains(now):
        raise Refused("outside-window", f"{now:%Y-%m-%d %H:%M} UTC is outside {settings.window}")


def _check_hold(settings: Settings, values: Values, now: datetime) -> None:
    text = value_of(values, settings.hold_parameter or "")
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


def _check_names(settings: Settings, values: Values) -> str:
    """The main pipeline's name; raises Refused where a parameter does not name what it should."""
    needed = [settings.pipeline_parameter, *(each.latest_parameter for each in settings.databases)]
    missing = [name for name in needed if name not in values]
    if missing:
        raise Refused("parameter-missing", f"no parameter {', '.join(missing)}")
    for database in settings.databases:
        value = values[database.latest_parameter].value
        arn = SnapshotArn.parse(value)
        if arn is None:
            raise Refused(
                "no-latest",
                f"{database.latest_parameter} holds {shown(value)}, not the ARN of a DB cluster "
                "snapshot",
            )
    pipeline = values[settings.pipeline_parameter].value
    if pipeline == PLACEHOLDER or not _PIPELINE_NAME.fullmatch(pipeline):
        raise Refused(
            "pipeline-missing",
            f"{settings.pipeline_parameter} holds {shown(pipeline)}, not a pipeline's name",
        )
    return pipeline


def _candidate(settings: Settings, world: World, database: Database, values: Values) -> Snapshot:
    """The snapshot that *latest* names, looked at again: hours may have passed since it was set."""
    value = values[database.latest_parameter].value
    arn = SnapshotArn.parse(value)
    assert arn is not None  # see _check_names
    if arn.account != database.wanted.account:
        # Not ours to ask AWS about.
        raise Refused(
            "not-eligible", f"{value}: account {arn.account}, wanted {database.wanted.account}"
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
    by: str,
) -> dict[str, Move]:
    """What is left to do, by parameter; raises Refused where that is nothing."""
    moves: dict[str, Move] = {}
    for database, snapshot in zip(settings.databases, snapshots, strict=True):
        name = database.current_parameter
        ledger = world.parameters.history(name) if name in values else []
        if is_spent(ledger, by, runs):
            raise Refused("nothing-new", "this scheduled time has had its run")
        move = next_move(ledger, snapshot.arn, runs, by, _scheduled_token(by))
        if move:
            moves[name] = move
    if not moves:
        raise Refused("nothing-new", "every database is on its newest snapshot")
    return moves


def _check_idle(pipeline: str, runs: Sequence[Run]) -> None:
    busy = in_progress(runs)
    if busy:
        # Not a decision: Lambda's retries may find the pipeline idle.
        raise AwsError(
            "StartPipelineExecution",
            f"pipeline {pipeline}",
            "PipelineBusy",
            f"run {busy.execution_id} is in progress",
        )


def _scheduled_token(by: str) -> str:
    """Every delivery of one scheduled time gets the same token, under whatever event id.

    EventBridge may deliver an event twice, and may fire a rule twice for one time.
    """
    return str(uuid.uuid5(_SCHEDULED_RUNS, by))


def _token(moves: Mapping[str, Move], by: str) -> str:
    """One run carries all moves: that of an invocation which was killed, if one was."""
    own = _scheduled_token(by)
    return next((move.token for move in moves.values() if move.token != own), own)
