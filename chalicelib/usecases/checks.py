"""The preconditions of a promotion that status, pin and the doctor check too."""

from collections.abc import Iterator
from datetime import date, datetime

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, is_namesake
from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import Hold
from chalicelib.domain.parameters import Values, pipeline_name, value_of, visible
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, rejection
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.copies import ListOwn, promotable_copy


def hold_today(settings: Settings, values: Values, now: datetime) -> Hold | None:
    """Return the hold that covers today; raise ValueError for an unreadable one, which counts."""
    text = value_of(values, settings.hold_parameter or "")
    try:
        hold = Hold.read(text) if text is not None else None
    except ValueError as error:
        raise ValueError(
            f"{settings.hold_parameter} cannot be read, which counts as a hold: {error}"
        ) from error
    return hold if hold and hold.covers(settings.window.date_of(now)) else None


def next_restore(settings: Settings, now: datetime, hold: Hold | None) -> datetime | None:
    """Return when the schedule promotes next, with regard to a hold; None for a rate."""
    return settings.restores.next_run(now, hold.until if hold else date.min)


def check_name(database: Database, deployment: Deployment, snapshot: Snapshot) -> None:
    """Raise Refused for newer data under the deployed snapshot's name: CloudFormation would see no change."""
    if is_namesake(snapshot, deployment):
        raise Refused(
            Reason.NOT_ELIGIBLE,
            f"{snapshot.arn} is newer than the snapshot of this name that is deployed, so CloudFormation would "
            "restore nothing: give each snapshot a name of its own, or set "
            f"{database.setting('COPY_KMS_KEY_ID')}",
        )


def wrong_parameters(settings: Settings, values: Values) -> Iterator[Refused]:
    """Yield a refusal for each parameter without which nothing is promoted."""
    if problem := pipeline_problem(settings, values):
        yield problem
    for name in (database.latest_parameter for database in settings.databases):
        if name not in values:
            yield Refused(Reason.PARAMETER_MISSING, f"parameter not found: {name}")


def pipeline_problem(settings: Settings, values: Values) -> Refused | None:
    """Return why the parameter does not hold the main pipeline's name; None if it does."""
    name = settings.pipeline_parameter
    value = value_of(values, name)
    if value is None:
        return Refused(Reason.PARAMETER_MISSING, f"parameter not found: {name}")
    if pipeline_name(value) is None:
        message = f"{name} holds {visible(value)}, not a pipeline's name"
        return Refused(Reason.PIPELINE_MISSING, message)
    return None


def candidate(
    settings: Settings, aws: Aws, own: ListOwn, database: Database, values: Values
) -> Snapshot:
    """Return the newest copy, or the share that `latest` names, which is checked again after hours.

    Raise Refused if the schedule would not promote it, and AwsError.
    """
    copy = promotable_copy(own, database.copy_policy) if database.copy_policy else None
    snapshot = copy or _named_share(aws, database, values[database.latest_parameter].value)
    age = snapshot.age(aws.now())
    if settings.max_age and age > settings.max_age:
        raise Refused(
            Reason.SNAPSHOT_STALE,
            f"{snapshot.arn} is older than the limit of {settings.max_age.days} days",
        )
    return snapshot


def _named_share(aws: Aws, database: Database, value: str) -> Snapshot:
    arn = SnapshotArn.parse(value)
    if arn is None:
        problem = f"holds {visible(value)}, not the ARN of a DB cluster snapshot"
        raise Refused(Reason.NO_LATEST, f"{database.latest_parameter} {problem}")
    if database.copy_policy:
        key = database.copy_policy.key
        problem = f"{value} is not an eligible copy that this stage made under {key}"
        raise Refused(Reason.NOT_ELIGIBLE, problem)
    if arn.account != database.criteria.account:
        # Do not ask AWS about a stranger's snapshot.
        raise Refused(
            Reason.NOT_ELIGIBLE,
            f"{value}: account {arn.account}, expected {database.criteria.account}",
        )
    snapshot = aws.snapshots.find(value)
    if snapshot is None:
        raise Refused(Reason.SNAPSHOT_GONE, f"{value} no longer exists or is no longer shared")
    broken = rejection(snapshot, database.criteria)
    if broken:
        raise Refused(Reason.NOT_ELIGIBLE, f"{value}: {broken.detail}")
    return snapshot
