"""Move `current` and start runs. No other module does, because what follows is destructive.

Parameter Store has no compare-and-set. Every put therefore checks the number of the version that it
made: if somebody else's version came in between, theirs is put back and wins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import is_foreign, verdict
from chalicelib.domain.errors import (
    VERSION_LIMIT,
    AwsError,
    BusyError,
    RefreshError,
    Refused,
    UncertainError,
)
from chalicelib.domain.ledger import (
    Ledger,
    Move,
    Note,
    Run,
    Version,
    accepted,
    in_progress,
    last_restored,
    newest_of,
    token_of,
)
from chalicelib.domain.parameters import Values, visible
from chalicelib.domain.reasons import Reason
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import raise_errors, run_each
from chalicelib.usecases.checks import pipeline_problem
from chalicelib.usecases.deployments import Deployments


class Undo(Enum):
    """The outcome of undoing a request, for one database."""

    NOTHING = auto()
    DONE = auto()
    HANDLED = auto()  # its run was started, or somebody has set another value since


class Pipeline(Deployments):
    """The main pipeline and its runs as listed once. Its methods change `current`."""

    @classmethod
    def main(
        cls, settings: Settings, aws: Aws, values: Values, databases: Iterable[Database] = ()
    ) -> "Pipeline":
        """Return the main pipeline; raise Refused if its parameter names none, and AwsError."""
        if problem := pipeline_problem(settings, values):
            raise problem
        return cls.listed(aws, values[settings.pipeline_parameter].value, databases)

    @classmethod
    def listed(cls, aws: Aws, name: str, databases: Iterable[Database] = ()) -> "Pipeline":
        """Return a pipeline with the ledgers of these databases; raise Refused and AwsError."""
        # The ledgers come first, so that a new version never seems to lack its run.
        histories = {each: aws.parameters.history(each.current_parameter) for each in databases}
        return cls(aws, name, aws.pipelines.runs(name), histories)

    def busy(self) -> str | None:
        """Return in words which run is in progress and where it is, if one is; raise AwsError and Refused."""
        run = in_progress(self.runs)
        return self.describe_run(run) if run else None

    def check_free(self, moves: Mapping[Database, Move]) -> None:
        """Raise BusyError unless a run that starts now restores the moves, and nothing else by surprise.

        Another one must not be in progress or about to start; and no other database may hold a value
        that the next poll corrects, or whose deployed snapshot is unknown. A waiting pin is meant to be restored.
        `put` detects a version that somebody adds after the ledgers were read.
        """
        if busy := self.busy():
            raise BusyError(f"pipeline {self.name} is busy: {busy}; try again when it has ended")
        now = self.aws.now()
        for database, ledger in self.ledgers.items():
            move = moves.get(database)
            if not ledger or (move and move.token):
                continue
            present, deployment = ledger[-1], None if move else self.of(database, ledger)
            if ledger.is_under_way(present, now):
                raise BusyError(
                    f"a run of {self.name} that {present.actor} requested at "
                    f"{present.modified:%Y-%m-%d %H:%M} UTC may be about to start; try again in a few "
                    "minutes"
                )
            if deployment is None:
                continue
            found = verdict(deployment, ledger, now)
            if found and found.put:
                raise BusyError(
                    f"the run would restore {database.name} from {visible(present.value)}, which "
                    "db-reconcile is about to correct; try again in a few minutes"
                )
            is_deployed = present.value == deployment.value
            if not is_deployed and is_foreign(present.value, database.criteria.account, deployment):
                raise BusyError(
                    f"the run would restore {database.name} from {present.value}, which is neither "
                    "production's nor this account's; pin another snapshot there, then try again"
                )
            if deployment.unknown and not (present.waits or present.run_id):
                raise BusyError(
                    f"the run might restore {database.name} from {visible(present.value)}: "
                    f"{deployment.unknown}; pin the snapshot to restore in {database.name}, then try "
                    "again"
                )

    def put_and_start(self, moves: Mapping[Database, Move], note: Note) -> str:
        """Put the moves, start the run, and return its execution id.

        Raise AwsError, Refused or BusyError; the caller undoes what was put.
        """
        token = token_of(moves, note)
        for database, move in moves.items():
            if move.token is None:  # not written yet
                name = database.current_parameter
                new = replace(note, token=token, taken=move.taken)
                put(self.aws, name, move.value, new, move.after)
        # If two requests for different databases both write, at least one detects the other.
        others = [each for each in self.ledgers if each not in moves]
        if others:
            Pipeline.listed(self.aws, self.name, others).check_free({})
        try:
            started = self.aws.pipelines.start(self.name, token)
        except AwsError as error:
            if error.answered:
                raise
            message = f"{error.message}; the run may have been started anyway"
            raise UncertainError(
                error.operation, error.subject, error.code, message, answered=False
            ) from error
        if started in {run.execution_id for run in self.runs}:
            raise Refused(Reason.NOTHING_NEW, f"run {started} was already started for this request")
        return started

    def deploy_or_revert(self, moves: Mapping[Database, Move], note: Note) -> str:
        """Do `put_and_start` for a person; undo what was put if no run was started for it."""
        try:
            return self.put_and_start(moves, note)
        except RefreshError as error:
            self.revert(moves, token_of(moves, note), error)
            raise

    def revert(self, databases: Iterable[Database], token: str, cause: RefreshError) -> set[Undo]:
        """Undo the put of the request with this token, made by any attempt, unless its run may have started.

        If it stayed, the next ordinary deployment would restore the database. Return the outcomes.
        Raise AwsError, which says the cause, once every database has been tried.
        """
        if isinstance(cause, UncertainError):
            return set()  # the next attempt, or poll, finds the run
        done, failed = run_each(databases, lambda each: self._revert_one(each, token, cause))
        raise_errors(failed, [f"current was to be put back, because {cause}"])
        return set(done)

    def _revert_one(self, database: Database, token: str, cause: RefreshError) -> Undo:
        versions = self.aws.parameters.history(database.current_parameter)
        if all(version.token != token for version in versions):
            return Undo.NOTHING
        ledger = Ledger(versions, self._runs_after(cause))
        present = ledger[-1]
        if ledger.already_ran(token):
            return Undo.HANDLED
        if present.token != token:
            return Undo.NOTHING
        before = next((each for each in reversed(accepted(ledger)) if each.token != token), None)
        if before is None:
            is_undone = self.delete_created(database, ledger)
        else:
            # A pin that was waiting keeps waiting.
            note = before.note if before.waits else Note("undo", present.actor, str(cause))
            is_undone = self.put_back(database, ledger, before.value, note)
        return Undo.DONE if is_undone else Undo.NOTHING

    def put_back(
        self, database: Database, ledger: Sequence[Version], value: str, note: Note | None
    ) -> bool:
        """Replace the present version, unless somebody else moves `current` or a deploy begins meanwhile.

        A deploy that began before the put may have read the previous version. That version is then
        put again, and the next poll decides. Return whether the value was replaced.
        """
        name, present = database.current_parameter, ledger[-1]
        try:
            number = put(self.aws, name, value, note, present.number)
            if self._is_being_read(database, ledger):
                put(self.aws, name, present.value, present.note, number)
                return False
        except Refused:  # overruled, or the pipeline was deleted meanwhile
            return False
        return True

    def delete_created(self, database: Database, ledger: Sequence[Version]) -> bool:
        """Delete a parameter that its failed order created, and return whether that was done.

        Parameter Store cannot compare and delete, so the last look is right before it. A parameter
        that somebody else has moved, or that a deploy is reading, stays.
        """
        if ledger[0].number != 1:
            return False  # older versions have been dropped, and then the parameter is not ours
        if self._is_being_read(database, ledger):
            return False
        again = self.aws.parameters.history(database.current_parameter)
        if not again or again[-1].number != ledger[-1].number:
            return False
        self.aws.parameters.delete(database.current_parameter)
        return True

    def _is_being_read(self, database: Database, ledger: Sequence[Version]) -> bool:
        """Return whether a deploy has begun, looking at the runs again."""
        again = Pipeline.listed(self.aws, self.name)
        found = again.of(database, Ledger(ledger, again.runs))
        return found.is_deploying or found.held is not None

    def _runs_after(self, cause: RefreshError) -> Sequence[Run]:
        """Return the runs, listed anew after a failed attempt."""
        try:
            return self.aws.pipelines.runs(self.name)
        except Refused:
            return []  # a pipeline that does not exist has no runs
        except AwsError:
            # AWS has answered that it starts no run, so the runs seen before will do.
            if self.runs and getattr(cause, "answered", True):
                return self.runs
            raise


def put(aws: Aws, name: str, value: str, note: Note | None, after: int) -> int:
    """Put a value after the version with that number, and return the new version's number.

    Raise AwsError, or Refused `overruled` if somebody else moved `current` in between. Of several
    who put at once, the first one wins, and the last one puts its value back.
    """
    number = _put(aws, name, value, note, after)
    if number != after + 1:
        ledger = aws.parameters.history(name)
        between = [each for each in accepted(ledger) if after < each.number < number]
        theirs = between[-1] if between else None
        token = note.token if note else None
        if theirs and (theirs.value, theirs.token) != (value, token):
            if ledger[-1].number == number:
                _put(aws, name, theirs.value, theirs.note, number)
            raise Refused(
                Reason.OVERRULED,
                f"{theirs.actor} set {name} to {visible(theirs.value)} in the meantime; that takes precedence",
            )
    return number


def _put(aws: Aws, name: str, value: str, note: Note | None, after: int) -> int:
    """Put a value; recover from a lost response and from the limit of 100 versions."""
    note = replace(note, after=after) if note else None
    try:
        return aws.parameters.put(name, value, note)
    except AwsError as error:
        if error.code == VERSION_LIMIT:
            _free_oldest(aws, name)
            return aws.parameters.put(name, value, note)
        if error.answered:
            raise
        ledger = aws.parameters.history(name)
        # With the reason truncated, as it was stored.
        written = Note.read(note.describe(value), value) if note else None
        if ledger and (ledger[-1].value, ledger[-1].note) == (value, written):
            return ledger[-1].number
        raise


def _free_oldest(aws: Aws, name: str) -> None:
    """Take the labels from the oldest of 100 versions, which Parameter Store would not drop.

    If they say what is deployed, a newer version with the same value inherits them.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
    """
    oldest, *newer = versions = aws.parameters.history(name)
    heir = newest_of(oldest.value, newer)
    if heir and last_restored(versions) == oldest:
        aws.parameters.label(name, heir.number, oldest.labels)
    else:
        aws.parameters.unlabel(name, oldest.number, oldest.labels)
