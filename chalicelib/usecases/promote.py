"""The promotion that the schedule asks for, or a person by hand: decided by pure rooms, done on AWS.

AWS and the clock come in as a Aws. Decisions not to act become answers; what AWS did not do is
raised, after an undo, so that Lambda's own retries run. People hear of both.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, PipelineBusyError, Refused, UncertainError
from chalicelib.domain.functions import RESTORE
from chalicelib.domain.hold import PLACEHOLDER, Hold
from chalicelib.domain.ledger import Move, Note, Run, already_ran, next_move
from chalicelib.domain.results import (
    Result,
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
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, rejection
from chalicelib.domain.steps import StepLog
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.copies import check_first_copy, promotable_copy
from chalicelib.usecases.current import check_idle, deploy, deploy_or_revert, revert
from chalicelib.usecases.scheduled import check_week, notify_failures

# Tokens of scheduled runs are derived within this namespace, which was drawn once at random.
_SCHEDULED_RUNS = uuid.UUID("6f3b0b7e-52f5-4a3c-9c86-1e4d0c9c1a57")

# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
_PIPELINE_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")


@notify_failures(RESTORE)
def promote(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Copy *latest* to *current* for every database and start the main pipeline.

    The seven steps of section 4 of the contract, in its order. Databases are promoted together or
    not at all. Safe to run again after a kill, and for an event that is delivered twice. Raises
    AwsError for what AWS did not do, after putting back what this scheduled time had put.
    """
    by = f"the schedule of {scheduled.astimezone(UTC).isoformat()}"
    order = RefreshRequest(Note("promote", by, "newest eligible share", _scheduled_token(by)))
    walk = StepLog()
    values: Values = {}
    try:
        with walk.step("week"):
            check_week(settings, scheduled)
        values = aws.parameters.get(settings.promotion_parameters)
        plan = _plan(settings, aws, values, order, walk)
        _, execution_id = deploy(aws, plan.pipeline, plan.runs, plan.moves, plan.note)
        walk.done()
        return _started(settings, aws, values, plan, walk, execution_id)
    except Refused as refused:
        # An attempt before this one may have been killed after it had put its value.
        if _taken_back(settings, aws, values, by, refused):
            values = aws.parameters.get(settings.promotion_parameters)
        return refusal(refused, settings.databases, values, walk.steps)
    except UncertainError:
        raise  # the run may be on its way: the next attempt will find it, or start it
    except AwsError as error:
        try:
            _taken_back(settings, aws, values, by, error)
        except AwsError as second:
            error.add_note(f"current could not be put back: {second}")
        raise


class RefreshRequest(NamedTuple):
    """Who wants the promotion and why, with the token of the run that it is to start."""

    note: Note
    outside_window: bool = False

    @classmethod
    def by_hand(cls, by: str, why: str, *, outside_window: bool) -> "RefreshRequest":
        """A person's order, which has a run of its own."""
        return cls(Note("refresh", by, why, str(uuid.uuid4())), outside_window)

    @property
    def scheduled(self) -> bool:
        """The schedule's own: however often it comes, it has one run."""
        return self.note.action == "promote"


def refresh_now(
    settings: Settings, aws: Aws, order: RefreshRequest, *, dry_run: bool = False
) -> Result:
    """What the schedule would do now, whatever the week, because a person orders it.

    A dry run writes nothing: its outcome is what would come of it, and its conditions of time are
    all looked at, although one of them is not met. Raises AwsError, after putting back what was
    put, and of it PipelineBusyError, which a dry run answers.
    """
    walk = StepLog(collect_all=dry_run)
    values = aws.parameters.get(settings.promotion_parameters)
    try:
        with walk.step("week") as told:
            told("not minded: a person orders it")
        plan = _plan(settings, aws, values, order, walk)
        if dry_run:
            walk.mark_planned()
            return _started(settings, aws, values, plan, walk, None)
        _, execution_id = deploy_or_revert(aws, plan.pipeline, plan.runs, plan.moves, plan.note)
    except Refused as refused:
        return refusal(refused, settings.databases, values, walk.steps)
    except PipelineBusyError as busy:
        if not dry_run:
            raise
        entries = tuple(entry(database, values) for database in settings.databases)
        return Result("failed", None, str(busy), entries, steps=walk.steps)
    walk.done()
    return _started(settings, aws, values, plan, walk, execution_id)


class _Plan(NamedTuple):
    """What the checks have let through; ``note`` bears the token of the run to start."""

    pipeline: str
    runs: Sequence[Run]
    snapshots: Sequence[Snapshot]
    moves: Mapping[str, Move]
    note: Note


def _plan(
    settings: Settings, aws: Aws, values: Values, order: RefreshRequest, walk: StepLog
) -> _Plan:
    """Steps 1 to 5, which write nothing; raises Refused, AwsError and PipelineBusyError."""
    with walk.step("window", time_based=True) as told:
        told(f"not minded: {settings.window}" if order.outside_window else str(settings.window))
        if not order.outside_window:
            _check_window(settings, aws.now())
    with walk.step("hold", time_based=True) as told:
        _check_hold(settings, values, aws.now())
    with walk.step("parameters") as told:
        pipeline = _check_names(settings, aws, values)
        told(f"the pipeline is {pipeline}")
    with walk.step("snapshot") as told:
        snapshots = [candidate(settings, aws, each, values) for each in settings.databases]
        told(
            ", ".join(
                f"{each.name}: {found.arn}, {age_hours(found, aws.now())} hours old"
                for each, found in zip(settings.databases, snapshots, strict=True)
            )
        )
    with walk.step("new") as told:
        runs = aws.pipelines.runs(pipeline)
        moves = _moves(settings, aws, values, snapshots, runs, order)
        told(", ".join(f"{name} moves to {move.value}" for name, move in moves.items()))
    with walk.step("idle") as told:
        check_idle(pipeline, runs)
        told(f"no run of {pipeline} is in progress")
    walk.end_of_checks()
    note = order.note._replace(token=_token(moves, order))
    return _Plan(pipeline, runs, snapshots, moves, note)


def _started(
    settings: Settings,
    aws: Aws,
    values: Values,
    plan: _Plan,
    walk: StepLog,
    execution_id: str | None,
) -> Result:
    entries = []
    for database, snapshot in zip(settings.databases, plan.snapshots, strict=True):
        told = entry(database, values) | data_age(snapshot, aws.now())
        move = plan.moves.get(database.current_parameter)
        if move:
            told |= {"current": move.value, "previous": arn_of(move.previous)}
        entries.append(told)
    return Result("started", None, None, tuple(entries), execution_id, walk.steps)


def _taken_back(settings: Settings, aws: Aws, values: Values, by: str, why: Exception) -> bool:
    """Whether anything had to be put back that this scheduled time had put."""
    pipeline = value_of(values, settings.pipeline_parameter)
    if pipeline is None:
        return False  # whether a run came for it cannot be known
    names = [each.current_parameter for each in settings.databases]
    return revert(aws, names, pipeline, lambda entry: entry.promoted(by), why)


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


def _check_names(settings: Settings, aws: Aws, values: Values) -> str:
    for wrong in wrong_names(settings, values):
        if wrong.reason == "no-latest":
            for database in settings.databases:
                if database.copy_policy and snapshot_of(values, database.latest_parameter) is None:
                    check_first_copy(aws, database.copy_policy)
        raise wrong
    return values[settings.pipeline_parameter].value


def candidate(settings: Settings, aws: Aws, database: Database, values: Values) -> Snapshot:
    """The snapshot that *latest* names, looked at again: hours may have passed since it was set.

    Raises Refused where the schedule would not promote it; and AwsError.
    """
    value = values[database.latest_parameter].value
    arn = SnapshotArn.parse(value)
    assert arn is not None  # see _check_names
    if database.copy_policy:
        snapshot = promotable_copy(aws, database.copy_policy, value)
    else:
        snapshot = _promotable_share(aws, database, arn)
    age = snapshot.age(aws.now())
    if settings.max_age and age > settings.max_age:
        raise Refused(
            "snapshot-stale",
            f"{value} is {age.days} days old, the limit is {settings.max_age.days}",
        )
    return snapshot


def _promotable_share(aws: Aws, database: Database, arn: SnapshotArn) -> Snapshot:
    if arn.account != database.criteria.account:
        # Not ours to ask AWS about.
        raise Refused(
            "not-eligible", f"{arn.text}: account {arn.account}, wanted {database.criteria.account}"
        )
    snapshot = aws.snapshots.find(arn.text)
    if snapshot is None:
        raise Refused(
            "snapshot-gone", f"{arn.text} does not exist any more, or is no longer shared"
        )
    broken = rejection(snapshot, database.criteria)
    if broken:
        raise Refused("not-eligible", f"{arn.text}: {broken.detail}")
    return snapshot


def _moves(
    settings: Settings,
    aws: Aws,
    values: Values,
    snapshots: Sequence[Snapshot],
    runs: Sequence[Run],
    order: RefreshRequest,
) -> dict[str, Move]:
    """What is left to do, by parameter; raises Refused where that is nothing."""
    moves: dict[str, Move] = {}
    for database, snapshot in zip(settings.databases, snapshots, strict=True):
        name = database.current_parameter
        ledger = aws.parameters.history(name) if name in values else []
        if order.scheduled and already_ran(ledger, order.note.by, runs):
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


def _token(moves: Mapping[str, Move], order: RefreshRequest) -> str | None:
    """One run carries all moves: that of an invocation which was killed, if one was."""
    own = order.note.token
    return next((move.token for move in moves.values() if move.token != own), own)
