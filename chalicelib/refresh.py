"""The promotion that the schedule asks for, or a person by hand: decided by pure rooms, done on AWS.

AWS and the clock come in as a World. Decisions not to act become answers; what AWS did not do is
raised, after an undo, so that Lambda's own retries run. People hear of both.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from chalicelib.answers import (
    Answer,
    Values,
    age_hours,
    arn_of,
    data_age,
    entry,
    refusal,
    shown,
    snapshot_of,
    value_of,
)
from chalicelib.copying import check_first_copy, promotable_copy
from chalicelib.current import carry_out, carry_out_or_take_back, check_idle, take_back
from chalicelib.errors import AwsError, PipelineBusyError, Refused, UncertainError
from chalicelib.functions import RESTORE
from chalicelib.hold import PLACEHOLDER, Hold
from chalicelib.ledger import Move, Note, Run, is_spent, next_move
from chalicelib.ports import World
from chalicelib.scheduled import check_week, people_hear
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Snapshot, SnapshotArn, rejection
from chalicelib.walk import Walk

# Tokens of scheduled runs are derived within this namespace, which was drawn once at random.
_SCHEDULED_RUNS = uuid.UUID("6f3b0b7e-52f5-4a3c-9c86-1e4d0c9c1a57")

# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
_PIPELINE_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")


@people_hear(RESTORE)
def promote(settings: Settings, world: World, scheduled: datetime) -> Answer:
    """Copy *latest* to *current* for every database and start the main pipeline.

    The seven steps of section 4 of the contract, in its order. Databases are promoted together or
    not at all. Safe to run again after a kill, and for an event that is delivered twice. Raises
    AwsError for what AWS did not do, after putting back what this scheduled time had put.
    """
    by = f"the schedule of {scheduled.astimezone(UTC).isoformat()}"
    order = Order(Note("promote", by, "newest eligible share", _scheduled_token(by)))
    walk = Walk()
    values: Values = {}
    try:
        with walk.step("week"):
            check_week(settings, scheduled)
        values = world.parameters.get(settings.promotion_parameters)
        plan = _plan(settings, world, values, order, walk)
        _, execution_id = carry_out(world, plan.pipeline, plan.runs, plan.moves, plan.note)
        walk.done()
        return _started(settings, world, values, plan, walk, execution_id)
    except Refused as refused:
        # An attempt before this one may have been killed after it had put its value.
        if _taken_back(settings, world, values, by, refused):
            values = world.parameters.get(settings.promotion_parameters)
        return refusal(refused, settings.databases, values, walk.steps)
    except UncertainError:
        raise  # the run may be on its way: the next attempt will find it, or start it
    except AwsError as error:
        try:
            _taken_back(settings, world, values, by, error)
        except AwsError as second:
            error.add_note(f"current could not be put back: {second}")
        raise


class Order(NamedTuple):
    """Who wants the promotion and why, with the token of the run that it is to start."""

    note: Note
    outside_window: bool = False

    @classmethod
    def by_hand(cls, by: str, why: str, *, outside_window: bool) -> "Order":
        """A person's order, which has a run of its own."""
        return cls(Note("refresh", by, why, str(uuid.uuid4())), outside_window)

    @property
    def scheduled(self) -> bool:
        """The schedule's own: however often it comes, it has one run."""
        return self.note.action == "promote"


def refresh_now(settings: Settings, world: World, order: Order, *, dry_run: bool = False) -> Answer:
    """What the schedule would do now, whatever the week, because a person orders it.

    A dry run writes nothing: its outcome is what would come of it, and its conditions of time are
    all looked at, although one of them is not met. Raises AwsError, after putting back what was
    put, and of it PipelineBusyError, which a dry run answers.
    """
    walk = Walk(patient=dry_run)
    values = world.parameters.get(settings.promotion_parameters)
    try:
        with walk.step("week") as told:
            told("not minded: a person orders it")
        plan = _plan(settings, world, values, order, walk)
        if dry_run:
            walk.would()
            return _started(settings, world, values, plan, walk, None)
        _, execution_id = carry_out_or_take_back(
            world, plan.pipeline, plan.runs, plan.moves, plan.note
        )
    except Refused as refused:
        return refusal(refused, settings.databases, values, walk.steps)
    except PipelineBusyError as busy:
        if not dry_run:
            raise
        entries = tuple(entry(database, values) for database in settings.databases)
        return Answer("failed", None, str(busy), entries, steps=walk.steps)
    walk.done()
    return _started(settings, world, values, plan, walk, execution_id)


class _Plan(NamedTuple):
    """What the checks have let through; ``note`` bears the token of the run to start."""

    pipeline: str
    runs: Sequence[Run]
    snapshots: Sequence[Snapshot]
    moves: Mapping[str, Move]
    note: Note


def _plan(settings: Settings, world: World, values: Values, order: Order, walk: Walk) -> _Plan:
    """Steps 1 to 5, which write nothing; raises Refused, AwsError and PipelineBusyError."""
    with walk.step("window", of_time=True) as told:
        told(f"not minded: {settings.window}" if order.outside_window else str(settings.window))
        if not order.outside_window:
            _check_window(settings, world.now())
    with walk.step("hold", of_time=True) as told:
        _check_hold(settings, values, world.now())
    with walk.step("parameters") as told:
        pipeline = _check_names(settings, world, values)
        told(f"the pipeline is {pipeline}")
    with walk.step("snapshot") as told:
        snapshots = [candidate(settings, world, each, values) for each in settings.databases]
        told(
            ", ".join(
                f"{each.name}: {found.arn}, {age_hours(found, world.now())} hours old"
                for each, found in zip(settings.databases, snapshots, strict=True)
            )
        )
    with walk.step("new") as told:
        runs = world.pipelines.runs(pipeline)
        moves = _moves(settings, world, values, snapshots, runs, order)
        told(", ".join(f"{name} moves to {move.value}" for name, move in moves.items()))
    with walk.step("idle") as told:
        check_idle(pipeline, runs)
        told(f"no run of {pipeline} is in progress")
    walk.end_of_checks()
    note = order.note._replace(token=_token(moves, order))
    return _Plan(pipeline, runs, snapshots, moves, note)


def _started(
    settings: Settings,
    world: World,
    values: Values,
    plan: _Plan,
    walk: Walk,
    execution_id: str | None,
) -> Answer:
    entries = []
    for database, snapshot in zip(settings.databases, plan.snapshots, strict=True):
        told = entry(database, values) | data_age(snapshot, world.now())
        move = plan.moves.get(database.current_parameter)
        if move:
            told |= {"current": move.value, "previous": arn_of(move.previous)}
        entries.append(told)
    return Answer("started", None, None, tuple(entries), execution_id, walk.steps)


def _taken_back(settings: Settings, world: World, values: Values, by: str, why: Exception) -> bool:
    """Whether anything had to be put back that this scheduled time had put."""
    pipeline = value_of(values, settings.pipeline_parameter)
    if pipeline is None:
        return False  # whether a run came for it cannot be known
    names = [each.current_parameter for each in settings.databases]
    return take_back(world, names, pipeline, lambda entry: entry.promoted(by), why)


def _check_window(settings: Settings, now: datetime) -> None:
    # By the clock and not by the event's time: a retry that comes hours late must not restore.
    if not settings.window.contains(now):
        raise Refused("outside-window", f"{now:%Y-%m-%d %H:%M} UTC is outside {settings.window}")


def held(settings: Settings, values: Values, now: datetime) -> Hold | None:
    """The hold that covers today; raises ValueError for an unreadable one, which is one, too."""
    text = value_of(values, settings.hold_parameter or "")
    try:
        hold = Hold.read(text) if text is not None else None
    except ValueError as error:
        raise ValueError(
            f"{settings.hold_parameter} cannot be read, which counts as a hold: {error}"
        ) from error
    return hold if hold and hold.covers(settings.window.date_of(now)) else None


def _check_hold(settings: Settings, values: Values, now: datetime) -> None:
    try:
        hold = held(settings, values, now)
    except ValueError as error:
        raise Refused("on-hold", str(error)) from error
    if hold:
        raise Refused("on-hold", f"on hold until {hold.until} by {hold.by}: {hold.reason}")


def pipeline_name(settings: Settings, values: Values) -> str | None:
    """The main pipeline's name; None where its parameter does not hold one."""
    name = value_of(values, settings.pipeline_parameter)
    return name if name and name != PLACEHOLDER and _PIPELINE_NAME.fullmatch(name) else None


def wrong_names(settings: Settings, values: Values) -> Iterator[Refused]:
    """Every parameter that does not name what a promotion needs."""
    needed = [settings.pipeline_parameter, *(each.latest_parameter for each in settings.databases)]
    missing = [name for name in needed if name not in values]
    if missing:
        yield Refused("parameter-missing", f"no parameter {', '.join(missing)}")
    for database in settings.databases:
        value = value_of(values, database.latest_parameter)
        if value is not None and SnapshotArn.parse(value) is None:
            yield Refused(
                "no-latest",
                f"{database.latest_parameter} holds {shown(value)}, not the ARN of a DB cluster "
                "snapshot",
            )
    wrong = wrong_pipeline(settings, values)
    if wrong and settings.pipeline_parameter in values:
        yield wrong


def wrong_pipeline(settings: Settings, values: Values) -> Refused | None:
    """Why the parameter does not name the main pipeline."""
    name = value_of(values, settings.pipeline_parameter)
    if name is None:
        return Refused("parameter-missing", f"no parameter {settings.pipeline_parameter}")
    if pipeline_name(settings, values) is None:
        told = f"{settings.pipeline_parameter} holds {shown(name)}, not a pipeline's name"
        return Refused("pipeline-missing", told)
    return None


def _check_names(settings: Settings, world: World, values: Values) -> str:
    for wrong in wrong_names(settings, values):
        if wrong.reason == "no-latest":
            for database in settings.databases:
                if database.copying and snapshot_of(values, database.latest_parameter) is None:
                    check_first_copy(world, database.copying)
        raise wrong
    return values[settings.pipeline_parameter].value


def candidate(settings: Settings, world: World, database: Database, values: Values) -> Snapshot:
    """The snapshot that *latest* names, looked at again: hours may have passed since it was set.

    Raises Refused where the schedule would not promote it; and AwsError.
    """
    value = values[database.latest_parameter].value
    arn = SnapshotArn.parse(value)
    assert arn is not None  # see _check_names
    if database.copying:
        snapshot = promotable_copy(world, database.copying, value)
    else:
        snapshot = _promotable_share(world, database, arn)
    age = snapshot.age(world.now())
    if settings.max_age and age > settings.max_age:
        raise Refused(
            "snapshot-stale",
            f"{value} is {age.days} days old, the limit is {settings.max_age.days}",
        )
    return snapshot


def _promotable_share(world: World, database: Database, arn: SnapshotArn) -> Snapshot:
    if arn.account != database.wanted.account:
        # Not ours to ask AWS about.
        raise Refused(
            "not-eligible", f"{arn.text}: account {arn.account}, wanted {database.wanted.account}"
        )
    snapshot = world.snapshots.find(arn.text)
    if snapshot is None:
        raise Refused(
            "snapshot-gone", f"{arn.text} does not exist any more, or is no longer shared"
        )
    broken = rejection(snapshot, database.wanted)
    if broken:
        raise Refused("not-eligible", f"{arn.text}: {broken.detail}")
    return snapshot


def _moves(
    settings: Settings,
    world: World,
    values: Values,
    snapshots: Sequence[Snapshot],
    runs: Sequence[Run],
    order: Order,
) -> dict[str, Move]:
    """What is left to do, by parameter; raises Refused where that is nothing."""
    moves: dict[str, Move] = {}
    for database, snapshot in zip(settings.databases, snapshots, strict=True):
        name = database.current_parameter
        ledger = world.parameters.history(name) if name in values else []
        if order.scheduled and is_spent(ledger, order.note.by, runs):
            raise Refused("nothing-new", "this scheduled time has had its run")
        assert order.note.token is not None
        move = next_move(ledger, snapshot.arn, runs, order.note.by, order.note.token)
        if move:
            moves[name] = move
    if not moves:
        raise Refused("nothing-new", "every database is on its newest snapshot")
    return moves


def _scheduled_token(by: str) -> str:
    """Every delivery of one scheduled time gets the same token, under whatever event id.

    EventBridge may deliver an event twice, and may fire a rule twice for one time.
    """
    return str(uuid.uuid5(_SCHEDULED_RUNS, by))


def _token(moves: Mapping[str, Move], order: Order) -> str | None:
    """One run carries all moves: that of an invocation which was killed, if one was."""
    own = order.note.token
    return next((move.token for move in moves.values() if move.token != own), own)
