"""What every trigger shares: the stage's settings, AWS, and the reporting of each decision."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import boto3

from chalicelib import observability, settings
from chalicelib.aws.clients import BotoAws
from chalicelib.domain import functions
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.results import Json, Result
from chalicelib.domain.schedule import Expression, scheduled_minute
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases.batch import raise_errors

try:
    stage = settings.load(os.environ)
except SettingsError as error:
    # Chalice prints a stack trace for any other exception, which helps nobody correct a setting.
    sys.exit(str(error))

stage_name = functions.stage_of(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"))
aws: Aws = BotoAws(
    boto3.Session().client,
    stage.topic_arn,
    stage.chat_topic_arn,
    stage.source_region,
    stage_name,
)
logger = observability.get_logger(functions.APP)
_EXAMPLE_EVENT = '{"detail-type": "Scheduled Event", "time": "2026-01-04T04:00:00Z"}'


def acceptance() -> Settings:
    """Return the settings of an acceptance stage."""
    assert isinstance(stage, Settings)
    return stage


def production() -> ProductionSettings:
    """Return the settings of a production stage."""
    assert isinstance(stage, ProductionSettings)
    return stage


def report(use_case: str, event: Json, result: Result) -> Json:
    """Log the result of a use case with its grounds, count it, and return it as JSON.

    Raise the first of its errors, with the others as notes, so that Lambda retries and the alarm
    rings.
    """
    answer = result.to_json()
    if result.databases or result.clusters or not result.errors:  # otherwise nothing was decided
        grounds = {"use_case": use_case, "event": event, "answer": answer}
        logger.info("decision", extra={"correlation_id": event.get("id"), **grounds})
    for metric in observability.result_metrics(answer):
        observability.emit(metric, stage_name)
    raise_errors(result.errors)
    return answer


def scheduled(
    use_case: str, schedule: Expression | None, call: Callable[[datetime], Result]
) -> Callable[[Any, Any], Json]:
    """Return the handler of a scheduled function; without a schedule it polls.

    It calls the use case with the event's time, ignores a time that is not due in a zone, and raises
    ValueError for another one.
    """

    def handler(event: Any, _: Any) -> Json:
        time = _time_of(event)
        if schedule is None or schedule.is_due(time):
            return report(use_case, event, call(time))
        message = f"{time:%Y-%m-%d %H:%M} UTC is not a time of {schedule}"
        if time not in schedule.utc.fires_on(time.date()):
            # Otherwise a rule that somebody changed would be ignored for ever, and no alarm go off.
            raise ValueError(f"{message}, nor one at which its rule fires: deploy the stage again")
        return report(use_case, event, Result("ignored", None, message))

    return handler


def _time_of(event: Any) -> datetime:
    """Return the time of a scheduled event; raise ValueError for another one, and say what to send."""
    with suppress(KeyError, TypeError, ValueError):
        if event["detail-type"] == "Scheduled Event":
            return scheduled_minute(event["time"])
    raise ValueError(
        f"this function takes an EventBridge scheduled event; send {_EXAMPLE_EVENT}, with the time "
        "that the schedule is for"
    )
