"""What a tester or an operator asks: which data, how old, since when, why, and what comes next.

Nothing here writes. The answers are drawn from one look at the account, so that they agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.hold import PLACEHOLDER
from chalicelib.domain.ledger import Entry, Run, carries, is_carried, newest_run_of, proven_entry
from chalicelib.domain.results import (
    Values,
    arn_of,
    data_age,
    earlier_snapshot,
    hidden,
    snapshot_of,
    value_of,
)
from chalicelib.domain.snapshots import Snapshot, choose, rejection
from chalicelib.notifications import NEXT_STEPS
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.copies import described, settled_copies
from chalicelib.usecases.promote import candidate, held, pipeline_name, wrong_names
from chalicelib.usecases.update_latest import newest

# A Lambda answers with at most 6 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SNAPSHOTS_LISTED = 2_000

_NEVER = datetime.min.replace(tzinfo=UTC)

Json = dict[str, Any]


def status(settings: Settings, aws: Aws) -> Json:
    """Which data acceptance is on, what comes next, and what is wrong; raises AwsError."""
    return _status(settings, aws, _look(settings, aws, settings.databases))


def history(settings: Settings, aws: Aws, database: Database) -> Json:
    """Who moved *current* when and why, and what became of it, newest first; raises AwsError."""
    look = _look(settings, aws, [database])
    if isinstance(look.untold, AwsError):
        raise look.untold  # rather than to tell that no run carried anything
    return {"history": _history(look, database)}


def snapshots(aws: Aws, databases: Sequence[Database]) -> dict[str, Json]:
    """By database, the verdict on every share, newest first; raises AwsError."""
    shared = sorted(
        aws.snapshots.shared(), key=lambda each: (each.created or _NEVER, each.arn), reverse=True
    )
    choices = choose(shared, [each.criteria for each in databases])
    verdicts = {}
    for database, choice in zip(databases, choices, strict=True):
        chosen, message = None, None
        try:
            chosen = newest(database, choice)
        except Refused as refused:
            message = str(refused)
        listed = shared[:SNAPSHOTS_LISTED]
        if chosen and chosen not in listed:
            listed.append(chosen)  # however many others are shared, hostile ones among them
        verdicts[database.name] = {
            "snapshots": [_verdict(snapshot, database, chosen) for snapshot in listed],
            "omitted": len(shared) - len(listed),
            "message": message,
        }
    return verdicts


def console(settings: Settings, aws: Aws) -> Json:
    """All of it, for the page; raises AwsError."""
    look = _look(settings, aws, settings.databases)
    told = _status(settings, aws, look)
    try:
        verdicts = snapshots(aws, settings.databases)
    except AwsError as error:
        told["problems"].append(f"{error}.")
        verdicts = {}
    nothing: Json = {"snapshots": [], "omitted": 0, "message": None}
    return {
        "status": told,
        "databases": {
            each.name: {"history": _history(look, each), **verdicts.get(each.name, nothing)}
            for each in settings.databases
        },
    }


class _Look(NamedTuple):
    """One look at the account; ``untold`` is why AWS did not list the pipeline's runs."""

    now: datetime
    values: Values
    ledgers: Mapping[str, Sequence[Entry]]
    pipeline: str | None
    runs: Sequence[Run]
    untold: RefreshError | None

    @property
    def is_complete(self) -> bool:
        """The pipeline's runs are known, so that one that is not there has not been."""
        return self.pipeline is not None and self.untold is None


def _look(settings: Settings, aws: Aws, databases: Sequence[Database]) -> _Look:
    values = aws.parameters.get(settings.promotion_parameters)
    ledgers = {
        each.name: aws.parameters.history(each.current_parameter)
        if each.current_parameter in values
        else []
        for each in databases
    }
    pipeline = pipeline_name(settings, values)
    runs: Sequence[Run] = []
    untold = None
    try:
        if pipeline:
            runs = aws.pipelines.runs(pipeline)
    except RefreshError as error:
        untold = error
    return _Look(aws.now(), values, ledgers, pipeline, runs, untold)


def _status(settings: Settings, aws: Aws, look: _Look) -> Json:
    problems = [_mendable(wrong) for wrong in wrong_names(settings, look.values)]
    if isinstance(look.untold, Refused):
        problems.append(_mendable(look.untold))
    elif look.untold:
        problems.append(f"{look.untold}.")
    hold: Json | None = None
    restore = None
    try:
        holding = held(settings, look.values, look.now)
        hold = holding.to_json() if holding else None
        restore = settings.next_restore(look.now, holding)
    except ValueError as error:
        problems.append(f"{error}. Set a new hold, or lift it.")
        hold = {"until": None, "reason": str(error), "by": "unknown"}
    databases = [_database(settings, aws, look, each, problems) for each in settings.databases]
    problems += _failed(look)
    problems += _misplaced(settings, look)
    return {
        "databases": databases,
        "hold": hold,
        "schedule": {
            "now": _time(look.now),
            "window": str(settings.window),
            "next_update": _time(settings.next_update(look.now)),
            "next_restore": _time(restore),
        },
        "pipeline": {
            "name": look.pipeline,
            "last_run": _run(look.runs[0]) if look.runs else None,
        },
        "problems": problems,
    }


def _database(
    settings: Settings, aws: Aws, look: _Look, database: Database, problems: list[str]
) -> Json:
    ledger = look.ledgers[database.name]
    present = ledger[-1] if ledger else None
    proven = proven_entry(ledger, look.runs)
    current = arn_of(present.value if present else None)
    deployed = arn_of(proven.value if proven else None)
    latest = snapshot_of(look.values, database.latest_parameter)
    restoring = present and any(run.in_progress and carries(run, present) for run in look.runs)
    waiting = bool(deployed and present and current != deployed and not restoring)
    told = {
        "name": database.name,
        "latest": latest,
        "current": current,
        "previous": earlier_snapshot(ledger),
        "deployed": deployed,
        "created": None,
        "age_hours": None,
        "version": present.version if present else None,
        "since": _time(present.modified) if present else None,
        "action": _action(present) if present else None,
        "by": present.by if present else None,
        "why": present.why if present else None,
        "good": bool(present and present.good),
        "waiting": waiting,
    }
    try:
        data = deployed or current
        snapshot = described(aws, database, data) if data else None
        if snapshot and snapshot.created:
            told |= data_age(snapshot, look.now)
        if latest and latest != current:
            candidate(settings, aws, database, look.values)
        elif database.copy_policy:
            settled_copies(aws, database.copy_policy)  # a newer one, or the first, may be under way
    except Refused as refused:
        problems.append(f"{database.name}: latest would not be promoted: {_mendable(refused)}")
    except AwsError as error:
        problems.append(f"{database.name}: {error}.")
    if (
        present
        and present.token
        and look.is_complete
        and not (present.good or is_carried(present, look.runs))
    ):
        problems.append(
            f"{database.name}: no run has carried {current}, which was to be deployed: the next run "
            "restores it. Refresh again to complete it, or roll back."
        )
    return told


def _mendable(refused: Refused) -> str:
    return f"{refused}. {NEXT_STEPS[refused.reason]}"


def _failed(look: _Look) -> Iterator[str]:
    if look.runs and look.runs[0].status in ("Failed", "Stopped", "Cancelled"):
        run = look.runs[0]
        yield (
            f"the last run of {look.pipeline}, {run.execution_id}, ended as {run.status} at "
            f"{_time(run.updated)}. Look there to see why."
        )


def _misplaced(settings: Settings, look: _Look) -> Iterator[str]:
    for database in settings.databases:
        name = database.current_parameter
        value = value_of(look.values, name)
        if value not in (None, PLACEHOLDER) and snapshot_of(look.values, name) is None:
            yield (
                f"{name} holds {hidden(value)}, not the ARN of a DB cluster snapshot. The next run "
                "of the pipeline would read it: pin a snapshot."
            )


def _history(look: _Look, database: Database) -> list[Json]:
    ledger = look.ledgers[database.name]
    entries = []
    for entry in reversed(ledger):
        run = newest_run_of(entry, ledger, look.runs)
        entries.append(
            {
                "version": entry.version,
                "snapshot": _told(entry.value),
                "set": _time(entry.modified),
                "action": _action(entry),
                "by": entry.by,
                "why": entry.why,
                "good": entry.good,
                "run": _run(run) if run else None,
            }
        )
    return entries


def _verdict(snapshot: Snapshot, database: Database, chosen: Snapshot | None) -> Json:
    broken = rejection(snapshot, database.criteria)
    return {
        "arn": snapshot.arn,
        "created": _time(snapshot.created),
        "cluster": snapshot.cluster,
        "engine": snapshot.engine,
        "engine_version": snapshot.engine_version,
        "status": snapshot.status,
        "eligible": broken is None,
        "reason": broken.reason if broken else None,
        "detail": broken.detail if broken else None,
        "chosen": snapshot == chosen,
    }


def _run(run: Run) -> Json:
    return {
        "execution_id": run.execution_id,
        "status": run.status,
        "started": _time(run.started),
        "updated": _time(run.updated),
    }


def _action(entry: Entry) -> str:
    return entry.note.action if entry.note else "unknown"


def _told(value: str) -> str:
    return value if value == PLACEHOLDER or arn_of(value) else hidden(value)


def _time(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else None
