"""The preconditions of a promotion. Status, pin and the doctor check them too."""

from collections.abc import Iterator
from datetime import datetime

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import Hold
from chalicelib.domain.parameters import Values, pipeline_name, value_of, visible
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import hours
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


def check_hold(settings: Settings, values: Values, now: datetime) -> None:
    """Raise Refused if promotion is on hold."""
    try:
        hold = hold_today(settings, values, now)
    except ValueError as error:
        raise Refused(Reason.ON_HOLD, str(error)) from error
    if hold:
        message = f"on hold until {hold.until} by {hold.by}: {hold.reason}"
        raise Refused(Reason.ON_HOLD, message)


def check_window(settings: Settings, now: datetime) -> None:
    """Raise Refused outside the maintenance window.

    The clock counts, not the event's time: a retry that arrives hours late must not restore.
    """
    if not settings.window.contains(now):
        message = f"{now:%Y-%m-%d %H:%M} UTC is outside {settings.window}"
        raise Refused(Reason.OUTSIDE_WINDOW, message)


def wrong_parameters(settings: Settings, values: Values) -> Iterator[Refused]:
    """Yield a refusal for each parameter that does not hold what a promotion needs."""
    if problem := pipeline_problem(settings, values):
        yield problem
    for database in settings.databases:
        name = database.latest_parameter
        value = value_of(values, name)
        if value is None:
            yield Refused(Reason.PARAMETER_MISSING, f"parameter not found: {name}")
        elif SnapshotArn.parse(value) is None:
            yield Refused(
                Reason.NO_LATEST,
                f"{name} holds {visible(value)}, not the ARN of a DB cluster snapshot",
            )


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
    """Return the snapshot that `latest` names, checked again, because hours may have passed.

    Raise Refused if the schedule would not promote it, and AwsError.
    """
    value = values[database.latest_parameter].value
    if database.copy_policy:
        snapshot = promotable_copy(own, database.copy_policy, value)
    else:
        snapshot = _promotable_share(aws, database, value)
    age = snapshot.age(aws.now())
    if settings.max_age and age > settings.max_age:
        raise Refused(
            Reason.SNAPSHOT_STALE,
            f"{snapshot.arn} is {hours(age)} hours old; the limit is {settings.max_age.days} days",
        )
    return snapshot


def _promotable_share(aws: Aws, database: Database, value: str) -> Snapshot:
    arn = SnapshotArn.parse(value)
    assert arn is not None  # see wrong_parameters
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
