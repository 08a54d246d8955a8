"""Bring `current` in line with what is deployed, and notify people of each refresh's outcome.

It acts on what it finds, not on events: calling it twice, late, or with no event at all ends the
same, because EventBridge delivers CodePipeline's events on a best-effort basis. What people were
notified of is remembered by labels. No pipeline is ever started here.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from chalicelib import notifications
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import (
    UNKNOWN,
    Deployment,
    Preparation,
    Verdict,
    recovered,
    verdict,
)
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FOLLOW_PIPELINE, RECONCILE
from chalicelib.domain.ledger import (
    GOOD,
    UNKNOWN_RUN,
    WORK_DUE,
    Ledger,
    Note,
    Run,
    Version,
    last_restored,
    run_label,
    was_there_before,
)
from chalicelib.domain.parameters import arn_of, snapshot_of, value_of, visible
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, hours
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import run_each
from chalicelib.usecases.copies import time_of_data
from chalicelib.usecases.current import Pipeline
from chalicelib.usecases.preparation import prepare

# Label, correct, read again: three rounds suffice; the limit only ends an endless exchange.
_MAX_ROUNDS = 6
# A cluster that the pipeline has restored this recently is prepared, even if it was there before.
_RECENT = timedelta(days=1)


class _Look(NamedTuple):
    """One look at a database, and the verdict to notify people of."""

    database: Database
    ledger: Ledger
    deployment: Deployment
    found: Verdict

    @property
    def is_news(self) -> bool:
        """Whether to notify people: not of data that was there before."""
        version = self.found.version
        if self.found.reason:
            return self.found.label not in version.labels
        if was_there_before(version, self.ledger):
            return False
        before = last_restored([each for each in self.ledger if each.number < version.number])
        return not (before and before.value == version.value) or bool(self.deployment.cluster)

    @property
    def is_prepared(self) -> bool:
        """Whether the data is ready for testers although its run has failed."""
        preparation = self.deployment.preparation
        is_done = preparation is not None and preparation.is_done
        return is_done and self.found.reason is Reason.FAILED_AFTER_RESTORE

    @property
    def is_ready(self) -> bool:
        """Whether data is prepared whose failed run people were notified of."""
        return self.is_prepared and WORK_DUE not in self.found.version.labels

    @property
    def before(self) -> Version | None:
        """The newest version that waits for a run, or that one has restored."""
        return next((each for each in reversed(self.ledger) if each.waits or each.run_id), None)


def reconcile(settings: Settings, aws: Aws, ended: str | None = None) -> Result:
    """Reconcile whatever has happened; raise AwsError.

    An AwsError of one database does not stop the others: it is among the result's `errors`. So is
    the refusal if the pipeline is unknown.
    `ended` is the pipeline of which a run has ended, which may be another one; the poll has None.
    """
    function = RECONCILE if ended is None else FOLLOW_PIPELINE
    values = aws.parameters.get(settings.promotion_parameters)
    if ended and value_of(values, settings.pipeline_parameter) != ended:
        return Result("ignored", message=f"{ended} is not the main pipeline")
    # Read the ledgers before listing the runs, so that a new version never seems to lack its run.
    read, errors = run_each(
        settings.databases, lambda each: (each, aws.parameters.history(each.current_parameter))
    )
    try:
        pipeline = Pipeline.main(settings, aws, values)
    except Refused as refused:
        # Until somebody corrects it, nothing is put back and nobody is notified: the error alarm stays on.
        return Result("ignored", refused.reason, str(refused), errors=(*errors, refused))
    ledgers = [(each, Ledger(found, pipeline.runs)) for each, found in read]
    results: list[DatabaseResult] = []
    notified: set[tuple[Database, Verdict]] = set()
    while ledgers:
        looks, uncorrected = run_each(ledgers, lambda each: _correct(pipeline, errors, *each))
        # Parameter Store may not list a label at once.
        to_notify = [look for look in looks if look and (look.database, look.found) not in notified]
        notified |= {(look.database, look.found) for look in to_notify}
        entries, lost = _notify(pipeline, function, to_notify)
        results += entries
        notified_of = [(look, look in lost) for look in to_notify]
        ledgers, unlabelled = run_each(notified_of, lambda each: _remember(pipeline, *each))
        errors.extend([*uncorrected, *unlabelled])
    latest = {each.name: snapshot_of(values, each.latest_parameter) for each in settings.databases}
    results = [each._replace(latest=latest[each.name]) for each in results]
    in_line = Result("ignored", None, "everything is in line")
    return (combine(results) if results else in_line)._replace(errors=tuple(errors))


def _correct(
    pipeline: Pipeline, errors: list[AwsError], database: Database, ledger: Ledger
) -> _Look | None:
    """Remember what is deployed, correct `current`, and return the verdict to notify people of.

    An AwsError of the preparation is added to `errors` and stops neither.
    """
    parameters = pipeline.aws.parameters
    for _ in range(_MAX_ROUNDS):
        deployment = pipeline.of(database, ledger)
        if deployment.is_remembered:
            deployment = _prepared(pipeline.aws, database, deployment, errors)
        for notified, label in recovered(deployment, ledger):
            parameters.unlabel(database.current_parameter, notified.number, {label})
        found = verdict(deployment, ledger, pipeline.aws.now())
        if deployment.version and not deployment.is_remembered:
            _label(pipeline.aws, database, deployment, deployment.version, ledger)
        elif found is None:
            return None
        else:
            look = _Look(database, ledger, deployment, found)
            # If the version created the parameter, there is nothing to put back.
            if not found.put or (deployment.value is None and look.before is None):
                return look
            if not _put_back(pipeline, look):
                return None  # somebody has moved on, or a deploy has begun: the next poll decides
        ledger = pipeline.read_again(database)
    return None


def _prepared(
    aws: Aws, database: Database, deployment: Deployment, errors: list[AwsError]
) -> Deployment:
    """Return what is deployed with its preparation, which is started if that is due."""
    try:
        preparation = prepare(aws, database, deployment)
    except AwsError as error:
        errors.append(error)
        preparation = Preparation(UNKNOWN)
    return deployment._replace(preparation=preparation)


def _label(
    aws: Aws,
    database: Database,
    deployment: Deployment,
    version: Version,
    ledger: Sequence[Version],
) -> None:
    """Remember the cluster that was restored from a version, its run, and that work on it is due."""
    labels, cluster = {run_label(deployment.maker or UNKNOWN_RUN)}, deployment.cluster
    if cluster:
        labels.add(cluster.resource_id)
    is_in_use = version.is_good or was_there_before(version, ledger)
    was_there = is_in_use and not version.cluster_labels
    is_recent = cluster is not None and aws.now() - cluster.created < _RECENT
    if database.after_restore and ((is_recent and deployment.maker) or not was_there):
        labels |= {WORK_DUE}
    if version.cluster_labels:
        # Remove the labels of an earlier cluster that was restored from the same version.
        earlier = version.outcome_labels - labels
        aws.parameters.unlabel(database.current_parameter, version.number, earlier)
    elif version.run_id and cluster:
        labels = {cluster.resource_id}  # P_STACK_NAME was set after the restore
    aws.parameters.label(database.current_parameter, version.number, labels)


def _put_back(pipeline: Pipeline, look: _Look) -> bool:
    action = "align" if look.found.reason is Reason.DEPLOYED_DIFFERS else "revert"
    note: Note | None = Note(action, RECONCILE, _message(pipeline, look))
    value, before = look.deployment.value, look.before
    if value is None:  # nothing is deployed yet
        assert before is not None  # see _correct
        value = before.value
        note = before.note if before.waits else note
    return pipeline.put_back(look.database, look.ledger, value, note)


def _notify(
    pipeline: Pipeline, function: str, looks: Sequence[_Look]
) -> tuple[list[DatabaseResult], list[_Look]]:
    """Notify people once for all databases of a run with the same verdict.

    Return the entries of the result, and the looks whose notification was lost.
    """
    groups: dict[tuple[Reason | None, Run | None, bool], list[_Look]] = {}
    for look in looks:
        if look.is_news:
            key = (look.found.reason, look.found.run, look.is_ready)
            groups.setdefault(key, []).append(look)
    results, lost = list[DatabaseResult](), list[_Look]()
    for (reason, run, _), group in groups.items():
        where = "" if reason is Reason.NOT_PREPARED else _failed_action(pipeline, run)
        entries = [_entry(pipeline, look, where) for look in group]
        notification = notifications.of_run(function, pipeline.name, run, entries)
        version = group[0].found.version
        thread = version.token or version.actor
        if not pipeline.aws.notifier.notify(notification._replace(thread=thread)):
            lost += group
        results += entries
    return results, lost


def _failed_action(pipeline: Pipeline, run: Run | None) -> str:
    """Return in which stage and action a run failed, if it can be looked up."""
    if run is None or run.succeeded:
        return ""
    try:
        actions = pipeline.aws.pipelines.actions(pipeline.name, run.execution_id)
    except AwsError:
        return ""  # the message is clear without it
    failed = (action for action in actions if action.status == "Failed")
    last = max(failed, key=lambda each: each.updated, default=None)
    return f", in stage {last.stage}, action {last.name}" if last else ""


def _entry(pipeline: Pipeline, look: _Look, where: str) -> DatabaseResult:
    version, run, reason = look.found.version, look.found.run, look.found.reason
    present = look.ledger[-1]
    outcome = reason.outcome if reason else "succeeded"
    entry = DatabaseResult(
        look.database.name,
        current=arn_of(present.value),
        previous=arn_of(version.value),
        outcome="ignored" if look.is_ready else outcome,
        reason=reason,
        message=_message(pipeline, look) + where + _readiness(look),
        version=version.number,
        by=version.actor,
        why=version.reason,
        execution_id=run.execution_id if run else None,
    )
    if reason in (Reason.RUN_FAILED, Reason.NOTHING_RESTORED):
        current = None if look.found.put else entry.current
        # False if somebody else has set `current` since.
        taken_back = look.deployment.value is None or present.is_correction
        return entry._replace(current=current, taken_back=taken_back)
    if run is None or reason not in (None, Reason.FAILED_AFTER_RESTORE):
        return entry
    is_prepared = reason is None and look.deployment.preparation is not None
    ended = pipeline.aws.now() if is_prepared else run.updated
    taken = time_of_data(pipeline.aws, look.database, version)
    return entry._replace(
        duration_minutes=round((ended - run.started).total_seconds() / 60, 1),
        age_hours=hours(ended - taken) if taken else None,
    )


def _message(pipeline: Pipeline, look: _Look) -> str:
    found, deployment = look.found, look.deployment
    if found.reason is Reason.DEPLOYED_UNKNOWN:
        return f"cannot determine what is deployed: {deployment.unknown}"
    if found.reason is Reason.NOT_PREPARED:
        assert deployment.preparation is not None  # see verdict
        return f"the data is NOT prepared: {deployment.preparation}"
    if found.reason is Reason.DEPLOYED_DIFFERS:
        return f"{visible(deployment.value or '')} is deployed, but current named another snapshot"
    if found.run is None:
        return f"no run of pipeline {pipeline.name} was started for this value"
    ending = {
        None: "succeeded",
        Reason.NOTHING_RESTORED: "succeeded, but restored nothing",
        Reason.FAILED_AFTER_RESTORE: f"restored the database, and ended as {found.run.status}",
        Reason.RUN_FAILED: f"restored nothing, and ended as {found.run.status}",
    }[found.reason]
    return f"run {found.run.execution_id} of pipeline {pipeline.name} {ending}"


def _readiness(look: _Look) -> str:
    """Return whether data is ready for testers although its run has failed."""
    if look.found.reason is not Reason.FAILED_AFTER_RESTORE or look.deployment.preparation is None:
        return ""
    return "; the data is prepared" if look.is_prepared else "; the data is NOT prepared yet"


def _remember(pipeline: Pipeline, look: _Look, is_lost: bool) -> tuple[Database, Ledger]:
    """Remember that people were notified, and return the ledger as it is then.

    Call this after notifying: a kill in between then notifies twice rather than never. A failure whose
    notification `is_lost` is not labelled, so that the next poll notifies people; a success is not repeated.
    """
    name = look.database.current_parameter
    if look.found.put and pipeline.delete_created(look.database, look.ledger):
        # The version had created the parameter, and nothing is deployed.
        return look.database, Ledger((), ())
    if is_lost and look.found.reason:
        return look.database, look.ledger
    version = look.found.version
    labels = {look.found.label} | ({GOOD} if look.found.reason is None else set())
    pipeline.aws.parameters.label(name, version.number, labels)
    if look.is_prepared:  # people were notified of both
        pipeline.aws.parameters.unlabel(name, version.number, {WORK_DUE})
    return look.database, pipeline.read_again(look.database)
