"""Versions of `current`, runs and deploy actions for tests; times are minutes from 04:00."""

from datetime import UTC, datetime, timedelta

from chalicelib.domain.deployment import Action
from chalicelib.domain.ledger import Note, Run, Version

SCHEDULE = "the schedule"
STACK = "acceptance-data"


def at(minute: float) -> datetime:
    return datetime(2026, 1, 4, 4, tzinfo=UTC) + timedelta(minutes=minute)


def version(
    number: int,
    value: str,
    minute: float = 0,
    token: str | None = None,
    *labels: str,
    action: str = "promote",
    actor: str = SCHEDULE,
) -> Version:
    note = Note(action, actor, "why", token)
    return Version(number, value, at(minute), note, frozenset(labels))


def by_hand(number: int, value: str, minute: float = 0, *labels: str) -> Version:
    return Version(number, value, at(minute), None, frozenset(labels))


def pin(number: int, value: str, minute: float = 0, *labels: str) -> Version:
    return version(number, value, minute, None, *labels, action="pin", actor="kim")


def undo(number: int, value: str, minute: float = 0, *labels: str, action: str = "undo") -> Version:
    return version(number, value, minute, None, *labels, action=action)


def run(
    name: str,
    minute: float,
    status: str = "Succeeded",
    ended: float | None = None,
    trigger: str | None = "StartPipelineExecution",
    *,
    is_rollback: bool = False,
) -> Run:
    """Return a run that took half an hour, unless said otherwise."""
    end = at(minute + 30 if ended is None else ended)
    return Run(name, status, at(minute), end, trigger, is_rollback)


def deploy(
    run_id: str,
    started: float,
    ended: float | None = None,
    status: str = "Succeeded",
    stack: str | None = STACK,
    *,
    category: str = "Deploy",
    reads_since: float | None = None,
) -> Action:
    """Return a deploy action that took ten minutes, unless said otherwise."""
    times = at(started), at(started + 10 if ended is None else ended)
    reads = None if reads_since is None else at(reads_since)
    return Action(run_id, "Deploy", "Deploy", status, *times, category, stack, reads)
