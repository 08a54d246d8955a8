"""What becomes of a run of the main pipeline: followed through to the end.

A successful run proves the version that it carried. A failed one leaves a value in *current* which the
next ordinary deployment, at noon, would restore: so it goes back. No pipeline is ever started here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chalicelib import notifications
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FINAL_STATES, FOLLOW_PIPELINE
from chalicelib.domain.ledger import (
    Entry,
    Note,
    Run,
    good_entry,
    newest_carried,
    newly_good,
    proven_entry,
    proven_value,
)
from chalicelib.domain.results import Result
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.copies import described
from chalicelib.usecases.current import put

Ledgers = Mapping[str, Sequence[Entry]]


class Ended(NamedTuple):
    """A pipeline's event that a run has come to an end."""

    pipeline: str
    execution_id: str
    state: str


def follow(settings: Settings, aws: Aws, ended: Ended) -> Result:
    """Mark what the run proved good, or put back what it did not; raises AwsError.

    Events come twice and out of order: only the history of *current* and the run's own record
    decide. Strangers' pipelines are ignored.
    """
    cause = f"run {ended.execution_id} of pipeline {ended.pipeline}"
    proven: dict[str, Entry] = {}
    try:
        run, runs = _run(settings, aws, ended)
        ledgers = {
            database.name: aws.parameters.history(database.current_parameter)
            for database in settings.databases
        }
        if run.status == "Succeeded":
            proven = {
                name: good for name, ledger in ledgers.items() if (good := newly_good(ledger, run))
            }
            answer = _after_success(settings, aws, run, ledgers, proven, cause)
        else:
            answer = _after_failure(settings, aws, run, runs, ledgers, cause)
    except Refused as refused:
        return Result("ignored", refused.reason, str(refused), ())
    except AwsError as error:
        aws.notifier.notify(notifications.of_error(FOLLOW_PIPELINE, cause, settings, error))
        raise
    if answer.databases:
        aws.notifier.notify(notifications.of_run(FOLLOW_PIPELINE, cause, answer))
    for database in settings.databases:
        if database.name in proven:
            # The label moves after people were told: a kill between the two tells it twice, not never.
            aws.parameters.mark_good(database.current_parameter, proven[database.name].version)
    return answer


def _run(settings: Settings, aws: Aws, ended: Ended) -> tuple[Run, list[Run]]:
    """The run's own record, and all; raises Refused where there is nothing to follow."""
    if ended.state not in FINAL_STATES:
        raise Refused("not-final", f"{ended.state} needs nothing")
    values = aws.parameters.get([settings.pipeline_parameter])
    name = values.get(settings.pipeline_parameter)
    if name is None or name.value != ended.pipeline:
        raise Refused("other-pipeline", f"{ended.pipeline} is not the main pipeline")
    runs = aws.pipelines.runs(ended.pipeline)
    run = next((run for run in runs if run.execution_id == ended.execution_id), None)
    if run is None:
        raise Refused("unknown-run", f"{ended.execution_id} is not among the latest runs")
    if run.status == "Superseded":
        raise Refused("not-final", "a newer run carries the version")
    if run.in_progress:
        # The record lags behind the event, or somebody has resumed the run meanwhile.
        raise AwsError(
            "ListPipelineExecutions", f"run {run.execution_id}", run.status, "it has not ended yet"
        )
    return run, runs


def _after_success(
    settings: Settings,
    aws: Aws,
    run: Run,
    ledgers: Ledgers,
    proven: Mapping[str, Entry],
    cause: str,
) -> Result:
    """What the run brought that was not there before; an ordinary deployment brings nothing."""
    minutes = round((run.updated - run.started).total_seconds() / 60, 1)
    entries = []
    for database in settings.databases:
        name, ledger = database.name, ledgers[database.name]
        entry = proven.get(name)
        if entry and _is_news(entry, good_entry(ledger)):
            entries.append(
                {"name": name, "current": entry.value, "version": entry.version}
                | _who_and_why(entry)
                | _age(aws, database, entry, run.updated)
                | {"duration_minutes": minutes, "since": ledger[-1].value}
            )
    message = f"{cause} succeeded after {minutes} minutes"
    return Result("succeeded", None, message, tuple(entries), run.execution_id)


def _is_news(proven: Entry, before: Entry | None) -> bool:
    """Nor does the first run to be followed, of what was there before this application."""
    return proven.value != before.value if before else proven.note is not None


def _age(aws: Aws, database: Database, entry: Entry, when: datetime) -> dict[str, Any]:
    """How old the data was when the run ended; unknown once the snapshot is gone."""
    try:
        snapshot = described(aws, database, entry.value)
    except AwsError:
        return {}  # nice to know, and nothing to fail for
    if snapshot is None or snapshot.created is None:
        return {}
    return {"age_hours": round(snapshot.age(when).total_seconds() / 3600, 1)}


def _after_failure(
    settings: Settings,
    aws: Aws,
    run: Run,
    runs: Sequence[Run],
    ledgers: Ledgers,
    cause: str,
) -> Result:
    """Put back what a promotion, or a pin with ``deploy``, had set; a pin that waits stays."""
    message = f"{cause} ended as {run.status}"
    note = Note("revert", FOLLOW_PIPELINE, message)
    entries = []
    for database in settings.databases:
        ledger = ledgers[database.name]
        carried = newest_carried(ledger, run)
        if carried is None or carried == proven_entry(ledger, runs):
            continue
        current = carried.value
        back = next((entry for entry in ledger if entry.note == note), None)
        if back:
            current = back.value  # by an attempt that may have been killed before it told
        elif carried != ledger[-1]:
            continue  # moved on by somebody else since
        elif carried.token:
            current = proven_value(ledger, runs) or current
            if current != carried.value:
                put(aws, database.current_parameter, current, note)
        elif not _waits(carried):
            continue
        entries.append(
            {"name": database.name, "current": current, "previous": carried.value}
            | _who_and_why(carried)
        )
    reason = "run-failed" if entries else None
    return Result("failed", reason, message, tuple(entries), run.execution_id)


def _waits(entry: Entry) -> bool:
    return entry.note is not None and entry.note.action in ("pin", "rollback")


def _who_and_why(entry: Entry) -> dict[str, Any]:
    return {"by": entry.by, "why": entry.why}
