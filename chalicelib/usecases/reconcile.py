"""Bring `current` in line with what is deployed, and notify people of each refresh's outcome.

It goes by what is there, not by events: calling it twice, late, or with no event at all ends the
same, because EventBridge delivers CodePipeline's events on a best-effort basis. What people were
notified of is remembered by labels. No pipeline is ever started here.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
"""

from collections.abc import Sequence
from typing import NamedTuple

from chalicelib import notifications
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, Verdict, verdict
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FOLLOW_PIPELINE, RECONCILE
from chalicelib.domain.ledger import GOOD, Note, Run, Version, good_version
from chalicelib.domain.parameters import Values, arn_of, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, hours
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import raise_errors, run_each
from chalicelib.usecases.copies import described, list_own_once
from chalicelib.usecases.current import Pipeline, delete_created, main_pipeline, put_back
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.preparation import prepare

# Seen the first time, corrected, looked at again: no database needs more.
_MAX_ROUNDS = 6


class _Look(NamedTuple):
    """One look at a database, and the verdict to notify people of."""

    database: Database
    ledger: Sequence[Version]
    deployment: Deployment
    found: Verdict

    @property
    def subject(self) -> tuple[Database, Verdict]:
        """What people are notified of."""
        return self.database, self.found


def follow(settings: Settings, aws: Aws, pipeline: str) -> Result:
    """Reconcile when a run of a pipeline has ended, if it is the main pipeline; raise AwsError."""
    values = aws.parameters.get([settings.pipeline_parameter])
    if value_of(values, settings.pipeline_parameter) != pipeline:
        message = f"{pipeline} is not the main pipeline"
        return Result("ignored", Reason.OTHER_PIPELINE, message)
    return _reconcile(settings, aws, values, FOLLOW_PIPELINE)


def reconcile(settings: Settings, aws: Aws) -> Result:
    """Reconcile whatever has happened; raise AwsError once every database has been tried."""
    values = aws.parameters.get([settings.pipeline_parameter])
    return _reconcile(settings, aws, values, RECONCILE)


def _reconcile(settings: Settings, aws: Aws, values: Values, function: str) -> Result:
    # The ledgers come before the runs, so that no version can seem to have no run.
    read, unread = run_each(
        settings.databases, lambda each: (each, aws.parameters.history(each.current_parameter))
    )
    failed: list[tuple[object, AwsError]] = [*unread]
    try:
        pipeline = main_pipeline(settings, aws, values)
    except Refused as refused:
        # The status shows it, and a promotion notifies people.
        return Result("ignored", refused.reason, str(refused))
    reader = Deployments(aws, pipeline.name, pipeline.runs)
    ledgers: Sequence[tuple[Database, Sequence[Version]]] = read
    results: list[DatabaseResult] = []
    notified: set[tuple[Database, Verdict]] = set()
    while ledgers:
        looks, uncorrected = run_each(ledgers, lambda each: _correct(aws, *each, pipeline, reader))
        # Parameter Store may not list a label at once.
        to_notify = [look for look in looks if look and look.subject not in notified]
        notified.update(look.subject for look in to_notify)
        results += _notify(aws, function, pipeline, to_notify)
        ledgers, unlabelled = run_each(to_notify, lambda each: _remember(aws, pipeline, each))
        failed += [*uncorrected, *unlabelled]
    raise_errors(failed)
    return combine(results) if results else Result("ignored", None, "everything is in line")


def _correct(
    aws: Aws,
    database: Database,
    ledger: Sequence[Version],
    pipeline: Pipeline,
    reader: Deployments,
) -> _Look | None:
    """Remember what is deployed, correct `current`, and return the verdict to notify people of."""
    for _ in range(_MAX_ROUNDS):
        deployment = reader.of(database, ledger)
        if deployment.is_remembered:
            deployment = deployment._replace(preparation=prepare(aws, database, deployment))
        found = verdict(deployment, ledger, pipeline.runs, aws.now())
        if deployment.version and not deployment.is_remembered:
            labels = deployment.labels
            aws.parameters.label(database.current_parameter, deployment.version.number, labels)
        elif found is None:
            return None
        elif not found.put or _creates(found, ledger, deployment):
            return _Look(database, ledger, deployment, found)
        elif not _put_back(aws, database, ledger, deployment, found, pipeline):
            return None  # somebody has moved on, or a deploy has begun: the next poll decides
        ledger = aws.parameters.history(database.current_parameter)
    return None


def _creates(found: Verdict, ledger: Sequence[Version], deployment: Deployment) -> bool:
    """Return whether the version created the parameter, so that there is nothing to put back."""
    return deployment.value is None and _before(found.version, ledger) is None


def _before(version: Version, ledger: Sequence[Version]) -> Version | None:
    """Return the newest earlier version that is not one more order without a restore."""
    earlier = (each for each in reversed(ledger) if each.number < version.number)
    return next((each for each in earlier if each.waits or each.run_id), None)


def _put_back(
    aws: Aws,
    database: Database,
    ledger: Sequence[Version],
    deployment: Deployment,
    found: Verdict,
    pipeline: Pipeline,
) -> bool:
    action = "align" if found.reason is Reason.DEPLOYED_DIFFERS else "revert"
    note: Note | None = Note(action, RECONCILE, _message(found, pipeline, deployment))
    value = deployment.value
    if value is None:  # nothing is deployed yet
        before = _before(found.version, ledger)
        assert before is not None  # see _creates
        value = before.value
        note = before.note if before.waits else note
    return put_back(aws, database, ledger, value, note, pipeline)


def _notify(
    aws: Aws, function: str, pipeline: Pipeline, looks: Sequence[_Look]
) -> list[DatabaseResult]:
    """Notify people once for all databases of a run with the same verdict."""
    groups: dict[tuple[Reason | None, Run | None], list[_Look]] = {}
    for look in filter(_is_news, looks):
        groups.setdefault((look.found.reason, look.found.run), []).append(look)
    results = []
    for (_, run), group in groups.items():
        where = _failed_action(aws, pipeline, run)
        entries = [_entry(aws, pipeline, look, where) for look in group]
        notification = notifications.of_run(function, pipeline.name, run, entries)
        version = group[0].found.version
        aws.notifier.notify(notification.in_thread(version.token or version.actor))
        results += entries
    return results


def _is_news(look: _Look) -> bool:
    """Return whether people should hear of it: not of data that was there before."""
    version, before = look.found.version, good_version(look.ledger)
    if look.found.reason:
        return look.found.label not in version.labels
    return before.value != version.value if before else version.is_ours


def _failed_action(aws: Aws, pipeline: Pipeline, run: Run | None) -> str | None:
    """Return the stage and action in which a run failed, if it can be looked up."""
    if run is None or run.succeeded:
        return None
    try:
        actions = aws.pipelines.actions(pipeline.name, run.execution_id)
    except AwsError:
        return None  # the message is clear without it
    failed = [action for action in actions if action.status == "Failed"]
    if not failed:
        return None
    last = max(failed, key=lambda each: each.updated)
    return f"stage {last.stage}, action {last.name}"


def _entry(aws: Aws, pipeline: Pipeline, look: _Look, where: str | None) -> DatabaseResult:
    version, run, reason = look.found.version, look.found.run, look.found.reason
    message = _message(look.found, pipeline, look.deployment) + (f", in {where}" if where else "")
    entry = DatabaseResult(
        look.database.name,
        current=arn_of(look.ledger[-1].value),
        previous=arn_of(version.value),
        outcome=reason.outcome if reason else "succeeded",
        reason=reason,
        message=message,
        version=version.number,
        by=version.actor,
        why=version.reason,
        execution_id=run.execution_id if run else None,
    )
    if reason in (Reason.RUN_FAILED, Reason.NOTHING_RESTORED):
        present = look.ledger[-1]
        current = None if look.found.put else entry.current
        # Otherwise somebody else has moved on.
        taken_back = look.deployment.value is None or present.is_correction
        return entry._replace(current=current, taken_back=taken_back)
    if run is None or reason not in (None, Reason.FAILED_AFTER_RESTORE):
        return entry
    minutes = round((run.updated - run.started).total_seconds() / 60, 1)
    return entry._replace(duration_minutes=minutes, age_hours=_age_hours(aws, look, run))


def _age_hours(aws: Aws, look: _Look, run: Run) -> float | None:
    """Return how old the data was when the run ended; None once the snapshot is gone."""
    try:
        snapshot = described(aws, list_own_once(aws), look.database, look.found.version.value)
    except AwsError:
        return None  # good to know, but nothing to fail for
    return hours(snapshot.age(run.updated)) if snapshot and snapshot.created else None


def _message(found: Verdict, pipeline: Pipeline, deployment: Deployment) -> str:
    match found.reason:
        case Reason.DEPLOYED_UNKNOWN:
            return f"it cannot be seen what is deployed: {deployment.unknown}"
        case Reason.NOT_PREPARED:
            assert deployment.preparation is not None  # see verdict
            execution = deployment.preparation.execution_arn or "the after-restore work"
            return f"the data is NOT prepared: {execution}: {deployment.preparation.status}"
        case Reason.DEPLOYED_DIFFERS:
            return f"{deployment.value} is deployed, which is not what current named"
    if found.run is None:
        return f"no run of pipeline {pipeline.name} was started for it"
    run = f"run {found.run.execution_id} of pipeline {pipeline.name}"
    match found.reason:
        case None:
            return f"{run} succeeded"
        case Reason.NOTHING_RESTORED:
            return f"{run} succeeded, but restored nothing"
        case Reason.FAILED_AFTER_RESTORE:
            return f"{run} restored the database, and ended as {found.run.status}"
        case _:
            return f"{run} restored nothing, and ended as {found.run.status}"


def _remember(aws: Aws, pipeline: Pipeline, look: _Look) -> tuple[Database, Sequence[Version]]:
    """Remember that people were notified, and return the ledger as it is then.

    It comes after the notification: a kill between the two notifies twice, not never.
    """
    name, version = look.database.current_parameter, look.found.version
    if look.found.put and delete_created(aws, look.database, look.ledger, pipeline):
        return look.database, []  # it had created the parameter, and nothing is deployed
    labels = {look.found.label} | ({GOOD} if look.found.reason is None else set())
    aws.parameters.label(name, version.number, labels)
    return look.database, aws.parameters.history(name)
