"""What the scheduled use cases have in common: their weeks, and notifications of failures."""

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


def notify_failures(function: str) -> Callable[[UseCase], UseCase]:
    """Notify people of refusals, and of errors, which are raised again."""

    def decorate(use_case: UseCase) -> UseCase:
        @wraps(use_case)
        def notifying(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
            cause = f"the schedule of {scheduled:%Y-%m-%d %H:%M} UTC"
            try:
                result = use_case(settings, aws, scheduled)
            except RefreshError as error:
                aws.notifier.notify(notifications.of_error(function, cause, settings.names, error))
                raise
            notification = notifications.of_result(function, cause, result)
            if notification:
                aws.notifier.notify(notification)
            return result

        return notifying

    return decorate


def check_week(settings: Settings, scheduled: datetime) -> None:
    """Raise Refused if a time is not in an on-week, by the date in the window's zone."""
    day = settings.window.date_of(scheduled)
    cadence = settings.cadence
    if not cadence.is_on_week(day):
        raise Refused(
            Reason.OFF_WEEK,
            f"{day} is not in an on-week: every {cadence.every_weeks} weeks from {cadence.anchor}",
        )
