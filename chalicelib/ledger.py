"""The history of a ``current`` parameter, read as the ledger of the refresh. Pure.

There is no other store: Parameter Store keeps each version's value, time and Description, and the
Description tells who moved ``current``, why, and which pipeline run was to carry it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
DESCRIPTION_LIMIT = 1024

# The clocks of two services differ, and a pipeline needs longer than this to reach its deployment.
CARRY_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Note:
    """Why a version was written; ``token`` is that of the pipeline run which is to carry it."""

    action: str
    by: str
    why: str
    token: str | None = None

    def describe(self) -> str:
        """The note as JSON, its reason cut where Parameter Store's limit asks for it."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        excess = len(text) - DESCRIPTION_LIMIT
        if excess <= 0:
            return text
        return replace(self, why=self.why[: -excess - 1] + "…").describe()

    @classmethod
    def read(cls, description: str) -> "Note | None":
        """The note in ``description``, or None where somebody else wrote it."""
        try:
            fields = json.loads(description)
            action, by, why, token = (fields[key] for key in ("action", "by", "why", "token"))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if not all(isinstance(text, str) for text in (action, by, why, token or "")):
            return None
        return cls(action, by, why, token)


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of ``current``; ``note`` is None where this application did not write it."""

    version: int
    value: str
    modified: datetime
    note: Note | None

    @property
    def token(self) -> str | None:
        """The token of the run that was to carry this version, if one was."""
        return self.note.token if self.note else None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of the main pipeline, its status as CodePipeline names it."""

    execution_id: str
    status: str
    started: datetime

    @property
    def in_progress(self) -> bool:
        """The run may still deploy, or still be undoing what it began."""
        return self.status in ("InProgress", "Stopping")


@dataclass(frozen=True, slots=True)
class Move:
    """What is left to do to make ``value`` one database's current snapshot.

    ``previous`` is what an undo goes back to, None where the parameter did not exist. ``written``:
    an earlier invocation has put the value and no run has carried it yet. ``undoable`` is False
    for a value that an operator pinned: it stays, whatever becomes of the run.
    """

    value: str
    previous: str | None
    token: str
    written: bool = False
    undoable: bool = True


def next_move(ledger: Sequence[Entry], value: str, runs: Iterable[Run], token: str) -> Move | None:
    """What a promotion of ``value`` under ``token`` has left to do; None: nothing.

    ``ledger`` is oldest first. Deciding from it, and not from what this invocation remembers, is
    what lets an invocation that was killed be run again, and an event be delivered twice.
    """
    runs = tuple(runs)
    carried = {entry.version for run in runs if (entry := newest_carried(ledger, run))}
    if any(entry.token == token and entry.version in carried for entry in ledger):
        return None
    if not ledger:
        return Move(value, None, token)
    present = ledger[-1]
    if present.value != value:
        return Move(value, present.value, token)
    if present.version in carried:
        return None
    return Move(
        value,
        next((entry.value for entry in reversed(ledger) if entry.value != value), None),
        present.token or token,
        written=True,
        undoable=present.token is not None,
    )


def newest_carried(ledger: Sequence[Entry], run: Run) -> Entry | None:
    """The newest version that was set before ``run`` started, or within the minute after."""
    limit = run.started + CARRY_TOLERANCE
    return next((entry for entry in reversed(ledger) if entry.modified <= limit), None)
