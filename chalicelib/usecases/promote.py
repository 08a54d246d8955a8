"""Promotion: copy `latest` to `current` for every database and start the main pipeline.

The schedule asks for it, or a person. A decision not to act is returned; what AWS did not do is
raised after an undo, so that Lambda retries.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import BusyError, RefreshError, Refused, UncertainError
from chalicelib.domain.functions import RESTORE
from chalicelib.domain.ledger import Move, Note, Version, already_ran, next_move
from chalicelib.domain.parameters import Values, pipeline_name, snapshot_of, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Result, hours, refusal, unmoved
from chalicelib.domain.snapshots import Snapshot
from chalicelib.domain.steps import StepLog
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import (
    candidate,
    check_hold,
    check_pipeline_name,
    check_window,
    wrong_parameters,
)
from chalicelib.usecases.copies import ListOwn, check_first_copy, list_own_once
from chalicelib.usecases.current import (
    Pipeline,
    check_idle,
    deploy_or_revert,
    put_and_start,
    revert,
    revert_or_add_note,
)
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.scheduled import (
    check_week,
    notify_failures,
    scheduled_actor,
    scheduled_token,
)


class RefreshRequest(NamedTuple):
    """Who asks for a promotion and why, with the token of the run that it is to start."""

    note: Note
    outside_window: bool = False

    @classmethod
    def by_person(cls, actor: str, reason: str, *, outside_window: bool) -> "RefreshRequest":
        """Return a person's request, which has a run of its own."""
        return cls(Note("refresh", actor, reason, str(uuid.uuid4())), outside_window)

    @classmethod
    def by_schedule(cls, scheduled: datetime) -> "RefreshRequest":
        """Return the schedule's request: every delivery of one time has the same token."""
        actor, token = scheduled_actor(scheduled), scheduled_token(scheduled)
        return cls(Note("promote", actor, "newest eligible share", token))

    @property
    def is_scheduled(self) -> bool:
        """Whether the schedule asks, which has one run however often it does."""
        return self.note.action == "promote"


class _Plan(NamedTuple):
    """What the checks let through; `note` bears the token of the run to start."""

    pipeline: Pipeline
    snapshots: Sequence[Snapshot]
    moves: Mapping[Database, Move]
    note: Note


@notify_failures(RESTORE)
def promote(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Promote at a scheduled time; databases are promoted together or not at all.

    It is safe to run again after a kill, and for an event that is delivered twice. Raise AwsError
    and BusyError, after an undo of what this scheduled time has put.
    """
    request = RefreshRequest.by_schedule(scheduled)
    log = StepLog()
    values: Values = {}
    try:
        with log.step("week"):
            check_week(settings, scheduled)
        values = aws.parameters.get(settings.promotion_parameters)
        plan = _plan(settings, aws, values, request, log)
        _, execution_id = put_and_start(
            aws, plan.pipeline, plan.moves, plan.note, settings.databases
        )
    except UncertainError:
        raise  # the run may be on its way: the next attempt finds it, or starts it
    except Refused as refused:
        # An earlier attempt may have been killed after it had put its value.
        if _undo(settings, aws, values, request, refused):
            values = aws.parameters.get(settings.promotion_parameters)
        return refusal(_as_skip(refused), settings.databases, values, log.steps)
    except RefreshError as error:
        _undo(settings, aws, values, request, error)
        raise
    log.mark_done()
    return _started(settings, aws, values, plan, log, execution_id)


def refresh_now(
    settings: Settings, aws: Aws, request: RefreshRequest, *, dry_run: bool = False
) -> Result:
    """Do what the schedule would do now, whatever the week, because a person asks for it.

    A dry run writes nothing: its outcome is what would come of it, and it looks at every condition
    of time although one is not met. Raise AwsError and BusyError after an undo; a dry run reports
    BusyError.
    """
    log = StepLog(collect_all=dry_run)
    values = aws.parameters.get(settings.promotion_parameters)
    try:
        with log.step("week") as detail:
            detail("not checked: a person asks")
        plan = _plan(settings, aws, values, request, log)
        if dry_run:
            log.mark_planned()
            return _started(settings, aws, values, plan, log, None)
        _, execution_id = deploy_or_revert(
            aws, plan.pipeline, plan.moves, plan.note, settings.databases
        )
    except Refused as refused:
        if refused.reason is Reason.OVERRULED:
            raise
        return refusal(refused, settings.databases, values, log.steps)
    except BusyError as busy:
        if not dry_run:
            raise
        entries = tuple(unmoved(database, values) for database in settings.databases)
        return Result("failed", None, str(busy), entries, steps=log.steps)
    log.mark_done()
    return _started(settings, aws, values, plan, log, execution_id)


def _plan(
    settings: Settings, aws: Aws, values: Values, request: RefreshRequest, log: StepLog
) -> _Plan:
    """Do the checks, which write nothing; raise Refused, AwsError and BusyError."""
    own = list_own_once(aws)
    with log.step("window", time_based=True) as detail:
        detail(f"{'not checked: ' if request.outside_window else ''}{settings.window}")
        if not request.outside_window:
            check_window(settings, aws.now())
    with log.step("hold", time_based=True):
        check_hold(settings, values, aws.now())
    with log.step("parameters") as detail:
        name = _check_parameters(settings, own, values)
        detail(f"the pipeline is {name}")
    with log.step("snapshot") as detail:
        snapshots = [candidate(settings, aws, own, each, values) for each in settings.databases]
        detail(
            ", ".join(
                f"{each.name}: {found.arn}, {hours(found.age(aws.now()))} hours old"
                for each, found in zip(settings.databases, snapshots, strict=True)
            )
        )
    with log.step("new") as detail:
        # The ledgers come first: whoever moves `current` after this is found by its version.
        ledgers = {
            each: aws.parameters.history(each.current_parameter) for each in settings.databases
        }
        pipeline = Pipeline(name, aws.pipelines.runs(name))
        deployments = Deployments(aws, name, pipeline.runs)
        deployed = {each: deployments.of(each, ledger) for each, ledger in ledgers.items()}
        moves = _moves(snapshots, ledgers, deployed, pipeline, request)
        detail(", ".join(f"{each.name} moves to {move.value}" for each, move in moves.items()))
    with log.step("idle") as detail:
        written = [each for each, move in moves.items() if move.is_written]
        check_idle(aws, pipeline, [ledgers[each] for each in ledgers if each not in written])
        for database, deployment in deployed.items():
            if deployment.is_deploying:
                raise BusyError(f"{database.name}: {deployment.unknown}; try again when it ended")
        detail(f"no run of {name} is in progress")
    log.end_of_checks()
    # One run restores all moves: that of an invocation which was killed, if one was.
    token = next((move.token for move in moves.values() if move.is_written), request.note.token)
    return _Plan(pipeline, snapshots, moves, request.note._replace(token=token))


def _check_parameters(settings: Settings, own: ListOwn, values: Values) -> str:
    for wrong in wrong_parameters(settings, values):
        if wrong.reason is Reason.NO_LATEST:
            for database in settings.databases:
                if database.copy_policy and snapshot_of(values, database.latest_parameter) is None:
                    check_first_copy(own, database.copy_policy)
        raise wrong
    return check_pipeline_name(settings, values)


def _moves(
    snapshots: Sequence[Snapshot],
    ledgers: Mapping[Database, Sequence[Version]],
    deployed: Mapping[Database, Deployment],
    pipeline: Pipeline,
    request: RefreshRequest,
) -> dict[Database, Move]:
    """Return what is left to put; raise Refused if that is nothing."""
    moves: dict[Database, Move] = {}
    for (database, ledger), snapshot in zip(ledgers.items(), snapshots, strict=True):
        actor, token = request.note.actor, request.note.token
        assert token is not None
        if request.is_scheduled and already_ran(ledger, actor, pipeline.runs):
            raise Refused(Reason.NOTHING_NEW, "this scheduled time has had its run")
        if deployed[database].unknown or deployed[database].value != snapshot.arn:
            moves[database] = next_move(ledger, snapshot.arn, pipeline.runs, actor, token)
    if not moves:
        raise Refused(Reason.NOTHING_NEW, "the newest snapshot of every database is deployed")
    return moves


def _started(
    settings: Settings,
    aws: Aws,
    values: Values,
    plan: _Plan,
    log: StepLog,
    execution_id: str | None,
) -> Result:
    entries = []
    for database, snapshot in zip(settings.databases, plan.snapshots, strict=True):
        entry = unmoved(database, values).with_age(snapshot, aws.now())
        move = plan.moves.get(database)
        if move:
            entry = entry._replace(current=move.value, previous=move.previous)
        entries.append(entry)
    return Result("started", None, None, tuple(entries), execution_id, log.steps)


def _undo(
    settings: Settings, aws: Aws, values: Values, request: RefreshRequest, error: RefreshError
) -> bool:
    """Put back what this scheduled time has put; return whether there was anything."""
    name = pipeline_name(value_of(values, settings.pipeline_parameter))
    if name is None:
        return False  # whether a run was started for it cannot be known
    undo = revert if isinstance(error, Refused) else revert_or_add_note
    return undo(
        aws,
        settings.databases,
        Pipeline(name, ()),
        lambda each: each.is_promoted_by(request.note.actor),
        error,
    )


def _as_skip(refused: Refused) -> Refused:
    """A schedule that was overruled by an operator has nothing left to do."""
    if refused.reason is Reason.OVERRULED:
        return Refused(Reason.NOTHING_NEW, str(refused))
    return refused
