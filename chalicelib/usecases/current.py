"""Move `current` and start runs. No other module does, because what follows is destructive.

Parameter Store has no compare-and-set. Every put therefore checks the number of the version that it
made: if somebody else's version came in between, theirs is put back and wins.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, Position, verdicts
from chalicelib.domain.errors import (
    VERSION_LIMIT,
    AwsError,
    BusyError,
    RefreshError,
    Refused,
    UncertainError,
)
from chalicelib.domain.ledger import (
    Move,
    Note,
    Run,
    Version,
    in_progress,
    is_under_way,
    newest_of,
    own_run,
)
from chalicelib.domain.parameters import Values, visible
from chalicelib.domain.reasons import Reason
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import raise_errors, run_each
from chalicelib.usecases.checks import check_pipeline_name
from chalicelib.usecases.deployments import Deployments

IsOurs = Callable[[Version], bool]


class Pipeline(NamedTuple):
    """The main pipeline and its runs, newest first, as listed once. Its methods change `current`."""

    aws: Aws
    name: str
    runs: Sequence[Run]

    @classmethod
    def main(cls, settings: Settings, aws: Aws, values: Values) -> "Pipeline":
        """Return the main pipeline; raise Refused if its parameter names none, and AwsError."""
        name = check_pipeline_name(settings, values)
        return cls(aws, name, aws.pipelines.runs(name))

    def position_of(self, run: Run) -> Position | None:
        """Return where a run in progress is; raise AwsError and Refused."""
        return self.aws.pipelines.positions(self.name).get(run.execution_id)

    def deployments(self) -> Deployments:
        """Return a reader of what the pipeline's runs have deployed."""
        return Deployments(self.aws, self.name, self.runs)

    def check_idle(self, ledgers: Iterable[Sequence[Version]]) -> None:
        """Raise BusyError if a run that would restore the new value is in progress or about to start.

        Read the ledgers before listing the runs: `put` detects a version that somebody adds later.
        """
        busy = in_progress(self.runs)
        if busy:
            position = self.position_of(busy)
            raise BusyError(
                f"pipeline {self.name} is busy with run {busy.execution_id}, started "
                f"{busy.started:%Y-%m-%d %H:%M} UTC"
                + (f", {position}" if position else "")
                + "; try again when it has ended"
            )
        for ledger in filter(None, ledgers):
            present = ledger[-1]
            if is_under_way(present, ledger, self.runs, self.aws.now()):
                raise BusyError(
                    f"a run of {self.name} that {present.actor} requested at "
                    f"{present.modified:%Y-%m-%d %H:%M} UTC may be about to start; try again in a few "
                    "minutes"
                )

    def check_in_line(
        self, database: Database, ledger: Sequence[Version], deployment: Deployment
    ) -> None:
        """Raise BusyError if a run would restore a database from a value that nobody requested.

        The next poll corrects such a value, unless the deployed snapshot is unknown. A waiting pin
        was requested.
        """
        if any(each.put for each in verdicts(deployment, ledger, self.runs, self.aws.now())):
            raise BusyError(
                f"the run would restore {database.name} from {visible(ledger[-1].value)}, which "
                "db-reconcile is about to correct; try again in a few minutes"
            )
        if deployment.unknown and not (ledger[-1].waits or ledger[-1].run_id):
            raise BusyError(
                f"the run might restore {database.name} from {visible(ledger[-1].value)}: "
                f"{deployment.unknown}; pin the snapshot to restore in {database.name}, then try again"
            )

    def check_others(self, moves: Iterable[Database], databases: Iterable[Database]) -> None:
        """Raise BusyError if the run would also restore a database that is not in `moves`.

        `databases` are all of the stage. If two requests for different databases are both put, at
        least one of them detects the other here.
        """
        ledgers = {
            each: self.aws.parameters.history(each.current_parameter)
            for each in databases
            if each not in moves
        }
        if not ledgers:
            return
        again = self._listed_again()
        again.check_idle(ledgers.values())
        reader = again.deployments()
        for each, ledger in ledgers.items():
            again.check_in_line(each, ledger, reader.of(each, ledger))

    def put_and_start(
        self, moves: Mapping[Database, Move], note: Note, databases: Sequence[Database]
    ) -> tuple[dict[Database, int], str]:
        """Put the moves, start the run, and return the versions made and the run's execution id.

        `databases` are all of the stage. Raise AwsError, Refused or BusyError; the caller undoes what
        was put. UncertainError means that the run may have been started: undo nothing.
        """
        assert note.token is not None
        versions = {
            database: put(self.aws, database.current_parameter, move.value, note, move.after)
            for database, move in moves.items()
            if not move.is_written
        }
        self.check_others(moves, databases)
        try:
            started = self.aws.pipelines.start(self.name, note.token)
        except AwsError as error:
            if error.answered:
                raise
            message = f"{error.message}; the run may have been started anyway"
            raise UncertainError(
                error.operation, error.subject, error.code, message, answered=False
            ) from error
        if started in {run.execution_id for run in self.runs}:
            raise Refused(Reason.NOTHING_NEW, f"run {started} was already started for this request")
        return versions, started

    def deploy_or_revert(
        self, moves: Mapping[Database, Move], note: Note, databases: Sequence[Database]
    ) -> tuple[dict[Database, int], str]:
        """Do `put_and_start` for a person; undo what was put if no run was started for it."""
        try:
            return self.put_and_start(moves, note, databases)
        except UncertainError:
            raise
        except RefreshError as error:
            self.revert_or_add_note(moves, lambda each: each.token == note.token, error)
            raise

    def revert_or_add_note(
        self, databases: Iterable[Database], is_ours: IsOurs, error: RefreshError
    ) -> bool:
        """Do `revert`; if that fails, add a note to the error that led to it."""
        try:
            return self.revert(databases, is_ours, error)
        except RefreshError as second:
            error.add_note(f"current could not be put back: {second}")
            return False

    def revert(self, databases: Iterable[Database], is_ours: IsOurs, cause: RefreshError) -> bool:
        """Undo the put of this request, made by any attempt, if no run was started for it.

        If it stayed, the next ordinary deployment would restore the database. Return whether
        anything was undone. Raise AwsError once every database has been tried.
        """
        ledgers, unread = run_each(
            databases, lambda each: (each, self.aws.parameters.history(each.current_parameter))
        )
        found = [(each, ledger) for each, ledger in ledgers if ledger and is_ours(ledger[-1])]
        again = self._listed_after(cause) if found else self
        done, unmoved = run_each(found, lambda each: again.revert_one(*each, is_ours, cause))
        raise_errors([*unread, *unmoved])
        return any(done)

    def revert_one(
        self, database: Database, ledger: Sequence[Version], is_ours: IsOurs, cause: RefreshError
    ) -> bool:
        """Put back the present version, unless a run was started for it."""
        present = ledger[-1]
        if present.run_id or own_run(present, ledger, self.runs):
            return False
        before = next((each for each in reversed(ledger) if not is_ours(each)), None)
        if before is None:
            return self.delete_created(database, ledger)
        # A pin that was waiting keeps waiting.
        note = before.note if before.waits else Note("undo", present.actor, str(cause))
        return self.put_back(database, ledger, before.value, note)

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
        found = self._listed_again().deployments().of(database, ledger)
        return found.is_deploying or found.held is not None

    def _listed_again(self) -> "Pipeline":
        return self._replace(runs=self.aws.pipelines.runs(self.name))

    def _listed_after(self, cause: RefreshError) -> "Pipeline":
        """Return the pipeline with its runs listed anew, after a failed start."""
        try:
            return self._listed_again()
        except Refused:
            return self._replace(runs=[])  # a pipeline that does not exist has no runs
        except AwsError:
            # AWS has answered that it starts no run, so the runs seen before will do.
            if isinstance(cause, AwsError) and cause.answered:
                return self
            raise


def put(aws: Aws, name: str, value: str, note: Note | None, after: int) -> int:
    """Put a value after the version with that number, and return the new version's number.

    Raise AwsError, or Refused `overruled` if somebody else moved `current` in between.
    """
    number = _put(aws, name, value, note)
    if number != after + 1:
        ledger = aws.parameters.history(name)
        theirs = next((each for each in reversed(ledger) if each.number < number), None)
        token = note.token if note else None
        if theirs and (theirs.value, theirs.token) != (value, token):
            if ledger[-1].number == number:
                _put(aws, name, theirs.value, theirs.note)
            raise Refused(
                Reason.OVERRULED,
                f"{theirs.actor} set {name} to {visible(theirs.value)} in the meantime; that takes precedence",
            )
    return number


def _put(aws: Aws, name: str, value: str, note: Note | None) -> int:
    """Put a value; recover from a lost response and from the limit of 100 versions."""
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

    A newer version with the same value inherits them, unless it has its own.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
    """
    oldest, *newer = aws.parameters.history(name)
    heir = newest_of(oldest.value, newer)
    if heir and heir.run_id is None:
        aws.parameters.label(name, heir.number, oldest.labels)
    else:
        aws.parameters.unlabel(name, oldest.number, oldest.labels)
