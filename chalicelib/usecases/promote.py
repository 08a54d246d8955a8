"""Promotion: copy `latest` to `current` for every database and start the main pipeline.

The schedule or a person asks for it. A decision not to act is returned. A failed AWS call is
raised after an undo, so that Lambda retries.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import BusyError, RefreshError, Refused
from chalicelib.domain.functions import RESTORE
from chalicelib.domain.ledger import Move, Note
from chalicelib.domain.parameters import Values, pipeline_name, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Result, Step, refusal, span, unmoved
from chalicelib.domain.snapshots import Snapshot
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import candidate, check_name, hold_today, wrong_parameters
from chalicelib.usecases.copies import list_own_once
from chalicelib.usecases.current import Pipeline, Undo
from chalicelib.usecases.scheduled import (
    check_week,
    notify_failures,
    scheduled_actor,
    scheduled_token,
)

CHECKS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle")
ACTIONS = ("put", "start")
HANDLED = "this scheduled time was already handled"


@notify_failures(RESTORE)
def promote(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Promote at a scheduled time; databases are promoted together or not at all.

    It is safe to run again after a kill, and for an event that is delivered twice. Raise AwsError
    and BusyError, after an undo of what this scheduled time has put.
    """
    # Every delivery of one time has the same token.
    actor, token = scheduled_actor(scheduled), scheduled_token(scheduled)
    note = Note("promote", actor, "newest eligible share", token)
    attempt = _Attempt(settings, aws, note, scheduled)
    try:
        run = attempt.check().put_and_start(attempt.moves, note)
    except RefreshError as error:
        # An earlier attempt may have been killed after it had put its value.
        found = attempt.undo(error)
        if not isinstance(error, Refused):
            raise
        if Undo.DONE in found:
            attempt.read()
        if error.reason is Reason.OVERRULED:  # an operator has set another value, which stays
            error = Refused(Reason.NOTHING_NEW, str(error))
        elif Undo.HANDLED in found and Undo.DONE not in found:
            error = Refused(Reason.NOTHING_NEW, HANDLED)
        return attempt.refusal(error)
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
    attempt = _Attempt(settings, aws, note, None, outside_window, collect_all=dry_run)
    try:
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
        return Result("failed", None, str(busy), databases, steps=tuple(attempt.steps.values()))
    return attempt.started(run)


@dataclass
class _Attempt:
    """One attempt at a promotion, the parameters as they were read, and what the checks found.

    `note` says who asks for it and why, with the token of the run to start; a person's request has
    no `scheduled` time. With `collect_all`, a refusal for reasons of time does not end the checks:
    every condition is looked at first.

    In `steps`, a check is `passed` or `refused`, an action `done` or `would do`, and a step that was
    not reached `not reached`.
    """

    settings: Settings
    aws: Aws
    note: Note
    scheduled: datetime | None
    outside_window: bool = False
    collect_all: bool = False
    values: Values = field(default_factory=dict)
    snapshots: dict[Database, Snapshot] = field(default_factory=dict)
    pipeline: Pipeline | None = None  # once its runs are listed
    deployed: dict[Database, Deployment] = field(default_factory=dict)
    moves: dict[Database, Move] = field(default_factory=dict)
    steps: dict[str, Step] = field(
        default_factory=lambda: {name: Step(name, "not reached", None) for name in CHECKS + ACTIONS}
    )
    deferred: Refused | BusyError | None = None

    def read(self) -> None:
        """Read the parameters; raise AwsError."""
        self.values = self.aws.parameters.get(self.settings.promotion_parameters)

    def check(self) -> Pipeline:
        """Do the checks, which write nothing; raise Refused, AwsError and BusyError."""
        self._step("week", self._week)
        self.read()
        self._step("window", self._window, time_based=True)
        self._step("hold", self._hold, time_based=True)
        self._step("parameters", self._parameters)
        self._step("snapshot", self._snapshot)
        self._step("new", self._new)
        self._step("idle", self._idle)
        if self.deferred:
            raise self.deferred
        assert self.pipeline is not None  # see _new
        return self.pipeline

    def _step(
        self, name: str, check: Callable[[], str | None], *, time_based: bool = False
    ) -> None:
        """Do a check and record its verdict; it returns the detail in words, or raises a refusal."""
        try:
            self.steps[name] = Step(name, "passed", check())
        except (Refused, BusyError) as refusal:
            self.steps[name] = Step(name, "refused", str(refusal))
            self.deferred = self.deferred or refusal
            if not (self.collect_all and time_based):
                raise self.deferred from None

    def _week(self) -> str | None:
        if self.scheduled is None:
            return "not checked: requested by a person"
        check_week(self.settings, self.scheduled)
        return None

    def _window(self) -> str:
        window, now = self.settings.window, self.aws.now()
        if self.outside_window:
            return f"not checked: {window}"
        # The clock counts, not the event's time: a retry that arrives hours late must not restore.
        if not window.contains(now):
            message = f"{now:%Y-%m-%d %H:%M} UTC is outside {window}"
            raise Refused(Reason.OUTSIDE_WINDOW, message)
        return str(window)

    def _hold(self) -> None:
        try:
            hold = hold_today(self.settings, self.values, self.aws.now())
        except ValueError as error:
            raise Refused(Reason.ON_HOLD, str(error)) from error
        if hold:
            message = f"on hold until {hold.until} by {hold.by}: {hold.reason}"
            raise Refused(Reason.ON_HOLD, message)

    def _parameters(self) -> str:
        _raise_all([*wrong_parameters(self.settings, self.values)])
        return f"the pipeline is {self.values[self.settings.pipeline_parameter].value}"

    def _snapshot(self) -> str:
        own, refused = list_own_once(self.aws), list[Refused]()
        for each in self.settings.databases:
            try:
                self.snapshots[each] = candidate(self.settings, self.aws, own, each, self.values)
            except Refused as refusal:
                refused.append(refusal)
        _raise_all(refused)
        return ", ".join(
            f"{each.name}: {found.arn}, {span(found.age(self.aws.now()))} old"
            for each, found in self.snapshots.items()
        )

    def _new(self) -> str:
        # Whoever moves `current` after this is found by its version.
        pipeline = Pipeline.main(self.settings, self.aws, self.values, self.settings.databases)
        self.pipeline = pipeline
        for database, snapshot in self.snapshots.items():
            ledger = pipeline.ledgers[database]
            deployment = self.deployed[database] = pipeline.of(database, ledger)
            if ledger.already_ran(self.note.token or ""):
                raise Refused(Reason.NOTHING_NEW, HANDLED)
            check_name(database, deployment, snapshot)
            if deployment.value != snapshot.arn or not ledger:
                now = self.aws.now()
                move = ledger.next_move(snapshot.arn, self.note.actor, now)
                self.moves[database] = move._replace(taken=snapshot.created)
        if not self.moves:
            raise Refused(
                Reason.NOTHING_NEW, "the newest snapshot of every database is already deployed"
            )
        return ", ".join(f"{each.name} moves to {move.value}" for each, move in self.moves.items())

    def _idle(self) -> str:
        assert self.pipeline is not None  # see _new
        self.pipeline.check_free(self.moves)
        for database, deployment in self.deployed.items():
            if deployment.is_deploying:
                problem = f"{database.name}: {deployment.unknown}; try again when it has ended"
                raise BusyError(problem)
        return f"no run of {self.pipeline.name} is in progress"

    def undo(self, error: RefreshError) -> set[Undo]:
        """Put back what this scheduled time has put; raise AwsError."""
        name = pipeline_name(value_of(self.values, self.settings.pipeline_parameter))
        if name is None:
            return set()  # whether a run was started for it cannot be known
        pipeline = self.pipeline or Pipeline(self.aws, name, ())
        return pipeline.revert(self.settings.databases, self.note.token or "", error)

    def refusal(self, refused: Refused) -> Result:
        """Return the result of a decision not to act."""
        return refusal(refused, self.settings.databases, self.values, tuple(self.steps.values()))

    def started(self, execution_id: str | None) -> Result:
        """Return the result of a run that was started, or would be."""
        verdict = "done" if execution_id else "would do"
        self.steps |= {name: Step(name, verdict, None) for name in ACTIONS}
        entries = []
        for database, snapshot in self.snapshots.items():
            entry = unmoved(database, self.values).with_age(snapshot, self.aws.now())
            if move := self.moves.get(database):
                entry = entry._replace(current=move.value, previous=move.previous)
            entries.append(entry)
        return Result(
            "started", None, None, tuple(entries), execution_id, tuple(self.steps.values())
        )


def _raise_all(refused: Sequence[Refused]) -> None:
    """Raise the refusals, if any, as one with the first one's reason, so that all can be corrected at once."""
    if refused:
        raise Refused(refused[0].reason, "; ".join(map(str, refused)))
