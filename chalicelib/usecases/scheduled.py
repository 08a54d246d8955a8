"""What the scheduled use cases have in common: their weeks, and notifications of failures."""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import wraps

from chalicelib import notifications
from chalicelib.domain.errors import RefreshError, Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Result
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings

UseCase = Callable[[Settings, Aws, datetime], Result]

# Tokens of scheduled times are derived within this namespace, which was drawn once at random.
_SCHEDULED_TIMES = uuid.UUID("6f3b0b7e-52f5-4a3c-9c86-1e4d0c9c1a57")


def scheduled_actor(scheduled: datetime) -> str:
    """Return the name of a scheduled time, the same for every delivery of it."""
    return f"the schedule of {scheduled:%Y-%m-%d %H:%M} UTC"


def scheduled_token(scheduled: datetime) -> str:
    """Return the token of the run that a scheduled time starts."""
    # Not from the actor's words: across an upgrade, a retry has to find the token of the first attempt.
    return str(uuid.uuid5(_SCHEDULED_TIMES, f"the schedule of {scheduled.isoformat()}"))


def notify_failures(function: str) -> Callable[[UseCase], UseCase]:
    """Notify people of refusals, and of errors, which are raised again."""

    def decorate(use_case: UseCase) -> UseCase:
        @wraps(use_case)
        def notifying(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
            cause, thread = scheduled_actor(scheduled), scheduled_token(scheduled)
            try:
                result = use_case(settings, aws, scheduled)
            except RefreshError as error:
                notification = notifications.of_error(function, cause, settings.names, error)
                aws.notifier.notify(notification._replace(thread=thread))
                raise
            notify_refusals(aws, function, cause, result, thread)
            return result

        return notifying

    return decorate


def notify_refusals(
    aws: Aws, function: str, cause: str, result: Result, thread: str | None = None
) -> None:
    """Notify people of a decision not to act that they can do something about."""
    found = notifications.of_result(function, cause, result)
    if found:
        aws.notifier.notify(found._replace(thread=thread))


def check_week(settings: Settings, scheduled: datetime) -> None:
    """Raise Refused if a time is not in an on-week, by the date in the window's zone."""
    day = settings.window.date_of(scheduled)
    cadence = settings.cadence
    if not cadence.is_on_week(day):
        raise Refused(
            Reason.OFF_WEEK,
            f"{day} is not in an on-week: every {cadence.every_weeks} weeks from {cadence.anchor}",
        )
