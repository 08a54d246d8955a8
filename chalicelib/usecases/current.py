"""The one door through which *current* is moved and a run is started.

What is behind it is destructive, so every way in is the same: the version's Description says who and
why, an answer that was lost is looked up, and what no run came for goes back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from chalicelib.domain.errors import (
    AwsError,
    PipelineBusyError,
    RefreshError,
    Refused,
    UncertainError,
    VersionLimitError,
)
from chalicelib.domain.ledger import (
    Entry,
    Move,
    Note,
    Run,
    good_elsewhere,
    in_progress,
    is_carried,
    revert_target,
)
from chalicelib.ports import Aws


class StartRefusedError(AwsError):
    """AWS answered that it does not start the run; ``runs`` are those seen just before."""

    runs: Sequence[Run]

    @classmethod
    def after(cls, error: AwsError, runs: Sequence[Run]) -> "StartRefusedError":
        """The refusal that ``error`` is."""
        refused = cls(error.operation, error.subject, error.code, error.message)
        refused.runs = runs
        return refused


def put(aws: Aws, name: str, value: str, note: Note) -> int:
    """Put a value; the version made. Raises AwsError.

    An answer that was lost is looked up, and the one label never blocks it: Parameter Store keeps
    100 versions, and refuses to drop the oldest while it bears a label.
    """
    try:
        return aws.parameters.put(name, value, note)
    except VersionLimitError:
        ledger = aws.parameters.history(name)
        if not ledger[0].good:
            raise  # somebody else's label is theirs to move
        elsewhere = good_elsewhere(ledger)
        if elsewhere:
            aws.parameters.mark_good(name, elsewhere.version)
        else:
            aws.parameters.unmark_good(name, ledger[0].version)
        return aws.parameters.put(name, value, note)
    except AwsError as error:
        if error.answered:
            raise
        ledger = aws.parameters.history(name)
        written = Note.read(note.describe())  # as long as Parameter Store takes it
        if ledger and (ledger[-1].value, ledger[-1].note) == (value, written):
            return ledger[-1].version
        raise


def deploy(
    aws: Aws, pipeline: str, runs: Sequence[Run], moves: Mapping[str, Move], note: Note
) -> tuple[dict[str, int], str]:
    """Put the moves and start the run; the versions made and the run's execution id.

    ``runs`` are those seen before. Raises AwsError, and Refused where the pipeline is gone or the
    token has had its run; the caller takes back what was put. But not after UncertainError: the
    run may be on its way, and the same token will tell.
    """
    assert note.token is not None
    versions = {
        name: put(aws, name, move.value, note) for name, move in moves.items() if not move.written
    }
    before = {run.execution_id for run in runs}
    try:
        started = aws.pipelines.start(pipeline, note.token)
    except AwsError as error:
        if error.answered:
            raise StartRefusedError.after(error, runs) from error
        started = _started_since(aws, pipeline, before, error)
    if started in before:
        raise Refused("nothing-new", f"{started} was started for this before")
    return versions, started


def _started_since(aws: Aws, pipeline: str, before: set[str], error: AwsError) -> str:
    """The run that a start whose answer was lost did start, or any other that carries the same."""
    try:
        now = aws.pipelines.runs(pipeline)
    except AwsError as unlisted:
        raise UncertainError.after(error) from unlisted
    started = next((run.execution_id for run in now if run.execution_id not in before), None)
    if started is None:
        raise error
    return started


def deploy_or_revert(
    aws: Aws, pipeline: str, runs: Sequence[Run], moves: Mapping[str, Move], note: Note
) -> tuple[dict[str, int], str]:
    """``deploy`` for a person, who tries again by hand: what no run came for is put back."""
    try:
        return deploy(aws, pipeline, runs, moves, note)
    except UncertainError:
        raise
    except RefreshError as error:
        try:
            revert(aws, moves, pipeline, lambda entry: entry.token == note.token, error)
        except AwsError as second:
            error.add_note(f"current could not be put back: {second}")
        raise


def check_idle(pipeline: str, runs: Iterable[Run]) -> None:
    """Raises PipelineBusyError where a run is in progress, which would carry what is put now."""
    busy = in_progress(runs)
    if busy:
        raise PipelineBusyError(pipeline, busy.execution_id)


def revert(
    aws: Aws,
    names: Iterable[str],
    pipeline: str,
    ours: Callable[[Entry], bool],
    why: Exception,
) -> bool:
    """Put back what is ``ours``, by whichever invocation it was put, if no run has come for it.

    Otherwise the next ordinary deployment, at noon, would restore the database. Says whether there
    was anything to put back. Every parameter is tried before AwsError is raised for one.
    """
    failures: list[AwsError] = []
    ledgers = {}
    for name in names:
        try:
            ledger = aws.parameters.history(name)
        except AwsError as error:
            failures.append(error)
            continue
        if ledger and ours(ledger[-1]):  # else never put, or moved on by somebody else since
            ledgers[name] = ledger
    runs = _runs(aws, pipeline, why) if ledgers else []
    done = False
    for name, ledger in ledgers.items():
        try:
            done |= _take_back_one(aws, name, ledger, runs, why)
        except AwsError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return done


def _take_back_one(
    aws: Aws, name: str, ledger: Sequence[Entry], runs: Sequence[Run], why: Exception
) -> bool:
    present = ledger[-1]
    if is_carried(present, runs):
        return False
    value = revert_target(ledger, runs)
    if value == present.value:
        return False  # a pin had waited with it, and waits on
    if value is not None:
        put(aws, name, value, Note("undo", present.by, str(why)))
        return True
    if ledger[0].version == 1 and all(entry.token for entry in ledger):
        aws.parameters.delete(name)  # there was none before us
        return True
    return False


def _runs(aws: Aws, pipeline: str, why: Exception) -> Sequence[Run]:
    try:
        return aws.pipelines.runs(pipeline)
    except Refused:
        return []  # a pipeline that does not exist has no runs
    except AwsError:
        if isinstance(why, StartRefusedError):
            return why.runs
        raise
