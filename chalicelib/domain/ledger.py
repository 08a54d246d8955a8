"""The history of a ``current`` parameter, read as the ledger of the refresh. Pure.

There is no other store: Parameter Store keeps each version's value, time and Description, and the
Description tells who moved ``current``, why, and which pipeline run was to carry it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
DESCRIPTION_LIMIT = 1024
_BY_LIMIT = 300  # a caller's ARN is shorter

# The clocks of two services differ, and a pipeline needs longer than this to reach its deployment.
CARRY_TOLERANCE = timedelta(minutes=1)


class Parameter(NamedTuple):
    """A parameter's value and the version that holds it."""

    value: str
    version: int


class Note(NamedTuple):
    """Why a version was written; ``token`` is that of the pipeline run which is to carry it."""

    action: str
    by: str
    why: str
    token: str | None = None

    def describe(self) -> str:
        """The note as JSON, its reason cut where Parameter Store's limit asks for it."""
        note = self._replace(by=self.by[:_BY_LIMIT])
        while len(text := json.dumps(note._asdict(), ensure_ascii=False)) > DESCRIPTION_LIMIT:
            excess = len(text) - DESCRIPTION_LIMIT
            note = note._replace(why=note.why[: max(0, len(note.why) - excess - 1)] + "…")
        return text

    @classmethod
    def read(cls, description: str) -> "Note | None":
        """The note in ``description``, or None where somebody else wrote it."""
        try:
            fields = json.loads(description)
            action, by, why, token = (fields[key] for key in ("action", "by", "why", "token"))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        told = [action, by, why] if token is None else [action, by, why, token]
        if not all(isinstance(text, str) for text in told):
            return None
        return cls(action, by, why, token)


class Entry(NamedTuple):
    """One version of ``current``; ``note`` is None where this application did not write it.

    ``good``: it is the last version that a successful run carried.
    """

    version: int
    value: str
    modified: datetime
    note: Note | None
    good: bool = False

    @property
    def by(self) -> str:
        """Who set this version, as far as is known."""
        return self.note.by if self.note else "unknown"

    @property
    def why(self) -> str:
        """Why this version was set, as far as is known."""
        return self.note.why if self.note else "unknown"

    @property
    def token(self) -> str | None:
        """The token of the run that was to carry this version, if one was."""
        return self.note.token if self.note else None

    def promoted(self, by: str) -> bool:
        """The scheduled time that ``by`` tells put this version."""
        return self.note is not None and (self.note.action, self.note.by) == ("promote", by)

    @property
    def came_back(self) -> bool:
        """An earlier value was put back, because what came after it was not to be."""
        return self.note is not None and self.note.action in ("undo", "revert")


class Run(NamedTuple):
    """One execution of the main pipeline, its status as CodePipeline names it."""

    execution_id: str
    status: str
    started: datetime
    updated: datetime

    @property
    def in_progress(self) -> bool:
        """The run may still deploy, or still be undoing what it began."""
        return self.status in ("InProgress", "Stopping")


def in_progress(runs: Iterable[Run]) -> Run | None:
    """A run which the pipeline is busy with."""
    return next((run for run in runs if run.in_progress), None)


class Move(NamedTuple):
    """What is left to do to make ``value`` one database's current snapshot.

    ``token`` is that of the run to start. ``written``: an earlier attempt has put the value.
    """

    value: str
    previous: str | None
    token: str
    written: bool = False


def next_move(
    ledger: Sequence[Entry], value: str, runs: Sequence[Run], by: str, token: str
) -> Move | None:
    """What the promotion ``by`` a scheduled time has left to do; None: nothing.

    ``ledger`` is oldest first. Deciding from it, and not from what this invocation remembers, is
    what lets an invocation that was killed be run again.
    """
    if not ledger:
        return Move(value, None, token)
    present = ledger[-1]
    if present.value != value:
        return Move(value, present.value, token)
    if present.came_back or is_carried(present, runs):
        return None
    # Whoever put it was to start a run, and may have done so: the same token finds that run. What
    # another one put is put again, so that the ledger knows this scheduled time.
    waiting = present.token or token
    return Move(value, revert_target(ledger, runs), waiting, written=present.promoted(by))


def already_ran(ledger: Sequence[Entry], by: str, runs: Sequence[Run]) -> bool:
    """Whether the scheduled time has had its run: one that carried what was put ``by`` it.

    What was undone before a run started is not what that run was for. A value that somebody has
    moved on since is spent as well: a retry must not overrule an operator.
    """
    for index, entry in enumerate(ledger):
        if not entry.promoted(by):
            continue
        # A put whose answer was lost may have been made twice.
        later = [each for each in ledger[index + 1 :] if not each.promoted(by)]
        if any(not each.came_back for each in later):
            return True
        undone = later[0].modified if later else None
        if any(carries(run, entry) and not (undone and undone <= run.started) for run in runs):
            return True
    return False


def carries(run: Run, entry: Entry) -> bool:
    """Whether a version was set before the run started, or within the minute after.

    A run that had ended by then cannot have carried it.
    """
    return entry.modified <= run.started + CARRY_TOLERANCE and (
        run.in_progress or entry.modified <= run.updated
    )


def is_carried(entry: Entry, runs: Iterable[Run]) -> bool:
    """Whether any of the runs carries the version."""
    return any(carries(run, entry) for run in runs)


def newest_carried(ledger: Sequence[Entry], run: Run) -> Entry | None:
    """The version that the run deploys: the newest of those that it carries."""
    return next((entry for entry in reversed(ledger) if carries(run, entry)), None)


def revert_target(ledger: Sequence[Entry], runs: Iterable[Run]) -> str | None:
    """The value before the present one; none whose run never came, or failed."""
    deployed = [newest_carried(ledger, run) for run in runs if run.status == "Succeeded"]
    return next(
        (
            entry.value
            for entry in reversed(ledger[:-1])
            if entry.token is None or entry.good or entry in deployed
        ),
        None,
    )


def good_entry(ledger: Sequence[Entry]) -> Entry | None:
    """The last version that a successful run carried."""
    return next((entry for entry in ledger if entry.good), None)


def good_elsewhere(ledger: Sequence[Entry]) -> Entry | None:
    """The newest version that can bear the oldest one's label, for it holds the same value."""
    return next((entry for entry in reversed(ledger[1:]) if entry.value == ledger[0].value), None)


def newly_good(ledger: Sequence[Entry], run: Run) -> Entry | None:
    """The version that the successful ``run`` proves good; None where that is no news.

    Events come out of order: an older run's success must not move the label back.
    """
    carried = newest_carried(ledger, run)
    good = good_entry(ledger)
    if carried is None or (good and good.version >= carried.version):
        return None
    return carried


def proven_entry(ledger: Sequence[Entry], runs: Iterable[Run]) -> Entry | None:
    """The newest version that is proven: by the label, or by a run whose event is still to come."""
    proven = [newest_carried(ledger, run) for run in runs if run.status == "Succeeded"]
    known = [entry for entry in (good_entry(ledger), *proven) if entry]
    return max(known, key=lambda entry: entry.version, default=None)


def earlier_values(ledger: Sequence[Entry]) -> Iterator[str]:
    """The earlier values that differ from the present one, newest first."""
    return (entry.value for entry in reversed(ledger) if entry.value != ledger[-1].value)


def newest_run_of(entry: Entry, ledger: Sequence[Entry], runs: Iterable[Run]) -> Run | None:
    """The newest of the runs that deploy this very version; ``runs`` are newest first."""
    return next((run for run in runs if newest_carried(ledger, run) == entry), None)


def proven_value(ledger: Sequence[Entry], runs: Iterable[Run]) -> str | None:
    """The value to go back to from the present one: the proven one, or else the one before."""
    proven = proven_entry(ledger, runs)
    return proven.value if proven else next(earlier_values(ledger), None)
