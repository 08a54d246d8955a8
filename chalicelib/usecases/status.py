"""What a tester or an operator asks: which data, how old, since when, why, and what comes next.

Nothing here writes. The answers are drawn from one look at the account, so that they agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, is_waiting
from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.ledger import Run, Version, earlier_snapshot, in_progress, own_run
from chalicelib.domain.parameters import (
    PLACEHOLDER,
    Values,
    arn_of,
    hidden,
    pipeline_name,
    snapshot_of,
    value_of,
)
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import hours
from chalicelib.domain.snapshots import Snapshot, choose, rejection
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import candidate, hold_today, wrong_parameters
from chalicelib.usecases.copies import ListOwn, described, list_own_once, settled_copies
from chalicelib.usecases.current import Pipeline, position_of
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.preparation import preparation_of
from chalicelib.usecases.under_way import will_restore
from chalicelib.usecases.update_latest import newest

# A Lambda function answers with at most 6 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SNAPSHOTS_LISTED = 2_000
LONG_RUN = timedelta(hours=2)

_NEVER = datetime.min.replace(tzinfo=UTC)

Json = dict[str, Any]


class _Look(NamedTuple):
    """One look at the account; `error` is why the pipeline's runs are unknown."""

    now: datetime
    values: Values
    ledgers: Mapping[Database, Sequence[Version]]
    pipeline: Pipeline | None
    deployed: Mapping[Database, Deployment]
    error: RefreshError | None

    @property
    def runs(self) -> Sequence[Run]:
        """The pipeline's runs, newest first."""
        return self.pipeline.runs if self.pipeline else ()


def status(settings: Settings, aws: Aws) -> Json:
    """Return which data is deployed, what comes next, and what is wrong; raise AwsError."""
    look = _look(settings, aws, settings.databases)
    problems = [_with_next_step(wrong) for wrong in wrong_parameters(settings, look.values)]
    if look.error:
        problems.append(_described(look.error))
    hold, restore = _hold(settings, look, problems)
    own = list_own_once(aws)
    databases = [_database(settings, aws, own, look, each, problems) for each in settings.databases]
    under_way = _under_way(aws, look, problems)
    problems += [*_failed_run(look), *_missed_refreshes(settings, look, hold)]
    return {
        "databases": databases,
        "hold": hold,
        "schedule": {
            "now": _time(look.now),
            "window": str(settings.window),
            "next_update": _time(settings.next_update(look.now)),
            "next_restore": _time(restore),
            "max_age_days": settings.max_age.days if settings.max_age else None,
        },
        "pipeline": {
            "name": pipeline_name(value_of(look.values, settings.pipeline_parameter)),
            "last_run": _run(look.runs[0]) if look.runs else None,
            "under_way": under_way,
        },
        "problems": problems,
    }


def history(settings: Settings, aws: Aws, database: Database) -> Json:
    """Return the versions of `current`, newest first, with each one's outcome; raise AwsError."""
    look = _look(settings, aws, [database])
    if isinstance(look.error, AwsError):
        raise look.error  # rather than show that no run restored anything
    return {"history": _history(look, database)}


def snapshots(aws: Aws, database: Database) -> Json:
    """Return the verdict on every share, newest first; raise AwsError."""
    shared = sorted(
        aws.snapshots.shared(), key=lambda each: (each.created or _NEVER, each.arn), reverse=True
    )
    (choice,) = choose(shared, [database.criteria])
    chosen, message = None, None
    try:
        chosen = newest(database, choice)
    except Refused as refused:
        message = str(refused)
    listed = shared[:SNAPSHOTS_LISTED]
    if chosen and chosen not in listed:
        listed.append(chosen)  # however many others are shared, hostile ones among them
    return {
        "snapshots": [_verdict(snapshot, database, chosen) for snapshot in listed],
        "omitted": len(shared) - len(listed),
        "message": message,
    }


def _look(settings: Settings, aws: Aws, databases: Sequence[Database]) -> _Look:
    values = aws.parameters.get(settings.promotion_parameters)
    ledgers = {each: aws.parameters.history(each.current_parameter) for each in databases}
    name = pipeline_name(value_of(values, settings.pipeline_parameter))
    pipeline, error = None, None
    try:
        pipeline = Pipeline(name, aws.pipelines.runs(name)) if name else None
    except RefreshError as unlisted:
        error = unlisted
    reader = Deployments(aws, name, pipeline.runs if pipeline else ())
    deployed = {each: _deployed(reader, each, ledger) for each, ledger in ledgers.items()}
    return _Look(aws.now(), values, ledgers, pipeline, deployed, error)


def _deployed(reader: Deployments, database: Database, ledger: Sequence[Version]) -> Deployment:
    try:
        return reader.of(database, ledger)
    except RefreshError as error:
        return Deployment(unknown=str(error))


def _hold(
    settings: Settings, look: _Look, problems: list[str]
) -> tuple[Json | None, datetime | None]:
    """Return the hold, and when the schedule promotes next."""
    try:
        hold = hold_today(settings, look.values, look.now)
    except ValueError as error:
        problems.append(f"{error}. Set a new hold, or lift it.")
        return {"until": None, "reason": str(error), "by": "unknown"}, None
    return hold.to_json() if hold else None, settings.next_restore(look.now, hold)


def _database(
    settings: Settings,
    aws: Aws,
    own: ListOwn,
    look: _Look,
    database: Database,
    problems: list[str],
) -> Json:
    ledger, deployment = look.ledgers[database], look.deployed[database]
    present = ledger[-1] if ledger else None
    latest = snapshot_of(look.values, database.latest_parameter)
    deployed = arn_of(deployment.value)
    made = deployment.cluster
    current = arn_of(present.value if present else None)
    facts: Json = {
        "name": database.name,
        "stack": database.stack.stack if database.stack else None,
        "latest": latest,
        "current": current,
        "previous": earlier_snapshot(ledger),
        "deployed": deployed,
        "deployed_since": _time(made.created) if made else None,
        "preparation": None,
        "created": None,
        "age_hours": None,
        "version": present.number if present else None,
        "since": _time(present.modified) if present else None,
        "action": present.action if present else None,
        "by": present.actor if present else None,
        "why": present.reason if present else None,
        "good": bool(present and present.is_good),
        "waiting": is_waiting(deployment, ledger),
    }
    found = [*_of_value(look, database), *_of_deployment(deployment)]
    try:
        facts["preparation"] = preparation = _preparation(aws, database, deployment)
        if preparation and preparation["state"] == "not-prepared":
            found.append(
                f"the data is not prepared: {preparation['execution']} is "
                f"{preparation['status']}. {Reason.NOT_PREPARED.next_step}"
            )
        shown = deployed or current
        snapshot = described(aws, own, database, shown) if shown else None
        if snapshot and snapshot.created:
            age = snapshot.age(look.now)
            facts |= {"created": snapshot.created.isoformat(), "age_hours": hours(age)}
            if deployed and settings.max_age and age > settings.max_age:
                found.append(
                    f"the deployed data is {age.days} days old, the limit is "
                    f"{settings.max_age.days}. Refresh with POST /refresh once a newer snapshot "
                    "is shared, or pin one with deploy."
                )
        if latest and latest != deployed:
            candidate(settings, aws, own, database, look.values)
        elif database.copy_policy:
            settled_copies(own, database.copy_policy)  # a newer one may be in progress
    except Refused as refused:
        found.append(f"latest would not be promoted: {_with_next_step(refused)}")
    except AwsError as error:
        found.append(f"{error}.")
    problems += [f"{database.name}: {each}" for each in found]
    return facts


def _preparation(aws: Aws, database: Database, deployment: Deployment) -> Json | None:
    found = preparation_of(aws, database, deployment)
    if found is None:
        return None
    return {"state": found.state, "status": found.status, "execution": found.execution_arn}


def _of_value(look: _Look, database: Database) -> Iterator[str]:
    name = database.current_parameter
    value = value_of(look.values, name)
    if value == PLACEHOLDER and any(arn_of(each.value) for each in look.ledgers[database]):
        yield (
            f"{name} was reset to {PLACEHOLDER}, which the next run of the pipeline would read: "
            "pin the snapshot that is deployed."
        )
    elif value not in (None, PLACEHOLDER) and arn_of(value) is None:
        yield (
            f"{name} holds {hidden(value)}, not the ARN of a DB cluster snapshot. The next run of "
            "the pipeline would read it: pin a snapshot."
        )


def _of_deployment(deployment: Deployment) -> Iterator[str]:
    if deployment.unknown and not deployment.is_deploying:
        yield f"it cannot be seen what is deployed: {deployment.unknown}."


def _under_way(aws: Aws, look: _Look, problems: list[str]) -> Json | None:
    run = in_progress(look.runs)
    if run is None or look.pipeline is None:
        return None
    restores = will_restore(look.ledgers, look.deployed)
    try:
        position = position_of(aws, look.pipeline, run)
    except RefreshError as error:
        problems.append(f"{error}.")
        position = None
    if look.now - run.started > LONG_RUN:
        problems.append(
            f"run {run.execution_id} of {look.pipeline.name} is in progress since "
            f"{_time(run.started)}"
            + (f", {position}" if position else "")
            + (f". When it goes on, it restores {restores}." if restores else ".")
        )
    where = position._asdict() if position else {}
    return {
        **_run(run),
        "stage": where.get("stage"),
        "action": where.get("action"),
        "waits_for": where.get("waits_for"),
        "restores": restores,
    }


def _failed_run(look: _Look) -> Iterator[str]:
    last = look.runs[0] if look.runs else None
    if last and look.pipeline and last.status in ("Failed", "Stopped", "Cancelled"):
        yield (
            f"the last run of {look.pipeline.name}, {last.execution_id}, ended as {last.status} at "
            f"{_time(last.updated)}. Open it to see why."
        )


def _missed_refreshes(settings: Settings, look: _Look, hold: Json | None) -> Iterator[str]:
    """Name the databases whose last scheduled refresh did not happen."""
    due = settings.last_restore(look.now - LONG_RUN)
    if due is None or hold or in_progress(look.runs):
        return
    for database, deployment in look.deployed.items():
        latest = look.values.get(database.latest_parameter)
        is_newest = latest and latest.value == deployment.value
        if deployment.cluster and deployment.cluster.created < due and not is_newest:
            yield (
                f"{database.name}: the refresh that was due at {_time(due)} did not happen. Look "
                "at the notifications and at the log of db-restore-from-snapshot."
            )


def _history(look: _Look, database: Database) -> list[Json]:
    ledger = look.ledgers[database]
    return [_entry(version, ledger, look.runs) for version in reversed(ledger)]


def _entry(version: Version, ledger: Sequence[Version], runs: Sequence[Run]) -> Json:
    own = own_run(version, ledger, runs)
    run = next((each for each in runs if each.execution_id == version.run_id), own)
    return {
        "version": version.number,
        "snapshot": _shown(version.value),
        "set": _time(version.modified),
        "action": version.action,
        "by": version.actor,
        "why": version.reason,
        "good": version.is_good,
        "result": version.result,
        "run": _run(run) if run else None,
    }


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


def _described(error: RefreshError) -> str:
    return _with_next_step(error) if isinstance(error, Refused) else f"{error}."


def _with_next_step(refused: Refused) -> str:
    return f"{refused}. {refused.reason.next_step}"


def _shown(value: str) -> str:
    return value if value == PLACEHOLDER or arn_of(value) else hidden(value)


def _time(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else None
