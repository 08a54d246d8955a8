"""What the schedules have in common: their weeks, and that people hear of what did not go as meant."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps

from chalicelib import notifications
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.results import Result
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings

UseCase = Callable[[Settings, Aws, datetime], Result]


def notify_failures(function: str) -> Callable[[UseCase], UseCase]:
    """Tells people of what was refused, and of what AWS did not do, which is raised again."""

    def decorate(use_case: UseCase) -> UseCase:
        @wraps(use_case)
        def telling(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
            cause = f"the schedule of {scheduled:%Y-%m-%d %H:%M} UTC"
            try:
                answer = use_case(settings, aws, scheduled)
            except AwsError as error:
                aws.notifier.notify(notifications.of_error(function, cause, settings, error))
                raise
            notice = notifications.of_answer(function, cause, answer)
            if notice:
                aws.notifier.notify(notice)
            return answer

        return telling

    return decorate


def check_week(settings: Settings, scheduled: datetime) -> None:
    """Raises Refused for a time that is not in an on-week, by the date in the window's zone."""
    day = settings.window.date_of(scheduled)
    cadence = settings.cadence
    if not cadence.is_on_week(day):
        raise Refused(
            "off-week",
            f"{day} is not in an on-week: every {cadence.every_weeks} weeks from {cadence.anchor}",
        )
