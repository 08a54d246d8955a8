"""Promotion: copy `latest` to `current` for every database and start the main pipeline.

The schedule or a person asks for it. A decision not to act is returned. A failed AWS call is
raised after an undo, so that Lambda retries.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import BusyError, RefreshError, Refused
from chalicelib.domain.functions import RESTORE
from chalicelib.domain.ledger import Move, Note
from chalicelib.domain.parameters import Values, pipeline_name, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Result, hours, refusal, unmoved
from chalicelib.domain.snapshots import Snapshot
from chalicelib.domain.steps import StepLog
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import (
    candidate,
    check_hold,
    check_name,
    check_window,
    wrong_parameters,
)
from chalicelib.usecases.copies import list_own_once
from chalicelib.usecases.current import HANDLED, Pipeline
from chalicelib.usecases.scheduled import (
    check_week,
    notify_failures,
    scheduled_actor,
    scheduled_token,
)


@notify_failures(RESTORE)
def promote(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Promote at a scheduled time; databases are promoted together or not at all.

    It is safe to run again after a kill, and for an event that is delivered twice. Raise AwsError
    and BusyError, after an undo of what this scheduled time has put.
    """
    # Every delivery of one time has the same token.
    actor, token = scheduled_actor(scheduled), scheduled_token(scheduled)
    attempt = _Attempt(settings, aws, Note("promote", actor, "newest eligible share", token))
    try:
        with attempt.log.step("week"):
            check_week(settings, scheduled)
        attempt.read()
        pipeline = attempt.check()
        run = pipeline.put_and_start(attempt.moves, attempt.note)
    except RefreshError as error:
        refused = error if isinstance(error, Refused) else None
        is_overruled = refused is not None and refused.reason is Reason.OVERRULED
        try:
            # An earlier attempt may have been killed after it had put its value.
            if attempt.undo(error):
                attempt.read()
        except Refused as handled:  # an earlier attempt has started the run
            refused = refused if is_overruled else handled
        if refused is None:
            raise
        if is_overruled:  # an operator has set another value, which stays
            refused = Refused(Reason.NOTHING_NEW, str(refused))
        return attempt.refusal(refused)
    return attempt.started(run)


def refresh_now(
    settings: Settings,
    aws: Aws,
    *,
    actor: str,
    reason: str,
    outside_window: bool = False,
    dry_run: bool = False,
) -> Result:
    """Do what the schedule would do now, in any week, because a person asks for it.

    A dry run writes nothing, returns the outcome that a refresh would have, and checks every
    condition of time even if one is not met. Raise AwsError and BusyError after an undo; a dry run
    reports BusyError.
    """
    note = Note("refresh", actor, reason, str(uuid.uuid4()))
    attempt = _Attempt(settings, aws, note, outside_window, collect_all=dry_run)
    attempt.read()
    try:
        with attempt.log.step("week") as detail:
            detail("not checked: requested by a person")
        pipeline = attempt.check()
        if dry_run:
            return attempt.started(None)
        run = pipeline.deploy_or_revert(attempt.moves, note)
    except Refused as refused:
        if refused.reason is Reason.OVERRULED:
            raise
        return attempt.refusal(refused)
    except BusyError as busy:
        if not dry_run:
            raise
        databases = tuple(unmoved(each, attempt.values) for each in settings.databases)
        return Result("failed", None, str(busy), databases, steps=attempt.log.steps)
    return attempt.started(run)


class _Attempt:
    """One attempt at a promotion, the parameters as they were read, and what the checks found.

    `note` says who asks for it and why, with the token of the run to start.
    """

    def __init__(
        self,
        settings: Settings,
        aws: Aws,
        note: Note,
        outside_window: bool = False,
        collect_all: bool = False,
    ) -> None:
        self.settings = settings
        self.aws = aws
        self.note = note
        self.outside_window = outside_window
        self.values: Values = {}
        self.snapshots: Mapping[Database, Snapshot] = {}
        self.pipeline: Pipeline | None = None  # once its runs are listed
        self.moves: Mapping[Database, Move] = {}
        self.log = StepLog(collect_all=collect_all)

    def read(self) -> None:
        """Read the parameters; raise AwsError."""
        self.values = self.aws.parameters.get(self.settings.promotion_parameters)

    def check(self) -> Pipeline:
        """Do the checks, which write nothing; raise Refused, AwsError and BusyError."""
        settings, aws, log = self.settings, self.aws, self.log
        with log.step("window", time_based=True) as detail:
            detail(f"{'not checked: ' if self.outside_window else ''}{settings.window}")
            if not self.outside_window:
                check_window(settings, aws.now())
        with log.step("hold", time_based=True):
            check_hold(settings, self.values, aws.now())
        with log.step("parameters") as detail:
            if wrong := [*wrong_parameters(settings, self.values)]:
                reason = wrong[0].reason
                same = (str(each) for each in wrong if each.reason is reason)
                raise Refused(reason, "; ".join(same))
            detail(f"the pipeline is {self.values[settings.pipeline_parameter].value}")
        with log.step("snapshot") as detail:
            own = list_own_once(aws)
            self.snapshots = {
                each: candidate(settings, aws, own, each, self.values)
                for each in settings.databases
            }
            detail(
                ", ".join(
                    f"{each.name}: {found.arn}, {hours(found.age(aws.now()))} hours old"
                    for each, found in self.snapshots.items()
                )
            )
        with log.step("new") as detail:
            # Whoever moves `current` after this is found by its version.
            pipeline = Pipeline.main(settings, aws, self.values, settings.databases)
            self.pipeline = pipeline
            deployed = {each: pipeline.of(each, found) for each, found in pipeline.ledgers.items()}
            self.moves = self._moves(pipeline, deployed)
            detail(
                ", ".join(f"{each.name} moves to {move.value}" for each, move in self.moves.items())
            )
        with log.step("idle") as detail:
            pipeline.check_free(self.moves)
            for database, deployment in deployed.items():
                if deployment.is_deploying:
                    problem = f"{database.name}: {deployment.unknown}; try again when it has ended"
                    raise BusyError(problem)
            detail(f"no run of {pipeline.name} is in progress")
        log.end_of_checks()
        return pipeline

    def _moves(
        self, pipeline: Pipeline, deployed: Mapping[Database, Deployment]
    ) -> dict[Database, Move]:
        """Return the moves that are left to make; raise Refused if there are none."""
        moves: dict[Database, Move] = {}
        for database, snapshot in self.snapshots.items():
            ledger = pipeline.ledgers[database]
            if ledger.already_ran(self.note.token or ""):
                raise Refused(Reason.NOTHING_NEW, HANDLED)
            check_name(database, deployed[database], snapshot)
            is_deployed = deployed[database].value == snapshot.arn and bool(ledger)
            if deployed[database].unknown or not is_deployed:
                now = self.aws.now()
                moves[database] = ledger.next_move(snapshot.arn, self.note.actor, now)
        if not moves:
            raise Refused(
                Reason.NOTHING_NEW, "the newest snapshot of every database is already deployed"
            )
        return moves

    def undo(self, error: RefreshError) -> bool:
        """Put back what this scheduled time has put; return whether there was anything."""
        name = pipeline_name(value_of(self.values, self.settings.pipeline_parameter))
        if name is None:
            return False  # whether a run was started for it cannot be known
        pipeline = self.pipeline or Pipeline(self.aws, name, ())
        return pipeline.revert(self.settings.databases, self.note.token or "", error)

    def refusal(self, refused: Refused) -> Result:
        """Return the result of a decision not to act."""
        return refusal(refused, self.settings.databases, self.values, self.log.steps)

    def started(self, execution_id: str | None) -> Result:
        """Return the result of a run that was started, or would be."""
        self.log.mark_actions("done" if execution_id else "would do")
        entries = []
        for database, snapshot in self.snapshots.items():
            entry = unmoved(database, self.values).with_age(snapshot, self.aws.now())
            if move := self.moves.get(database):
                entry = entry._replace(current=move.value, previous=move.previous)
            entries.append(entry)
        return Result("started", None, None, tuple(entries), execution_id, self.log.steps)
