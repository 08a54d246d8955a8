"""Aurora Refresh: the triggers. Each parses its event, calls one use case, and holds no rule."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from chalice.app import Chalice, CloudWatchEvent

from chalicelib import api, refresh
from chalicelib.aws import Aws
from chalicelib.errors import SettingsError
from chalicelib.ports import World
from chalicelib.settings import Settings

try:
    settings = Settings.from_environment(os.environ)
except SettingsError as error:
    # Chalice would print a stack trace for any other exception, which helps nobody mend a setting.
    sys.exit(str(error))

# Chalice logs under the app's name, too: its lines go through our logger, as JSON.
app = Chalice(app_name="aurora-refresh", configure_logs=False)
world = Aws(boto3.Session())
logger = Logger(service="aurora-refresh")


def scheduled(
    use_case: Callable[[Settings, World, datetime], refresh.Answer], event: CloudWatchEvent
) -> dict[str, Any]:
    """Run a scheduled use case; its answer is returned and logged with its grounds."""
    logger.set_correlation_id(event.event_id)
    time = datetime.fromisoformat(event.to_dict()["time"])
    answer = use_case(settings, world, time).to_json()
    logger.info("decision", function=use_case.__name__, scheduled=time.isoformat(), answer=answer)
    return answer


@app.schedule(str(settings.update_schedule), name="db-update-latest-snapshot-id")
def update_latest_snapshot_id(event: CloudWatchEvent) -> dict[str, Any]:
    return scheduled(refresh.update, event)


@app.schedule(str(settings.restore_schedule), name="db-restore-from-snapshot")
def restore_from_snapshot(event: CloudWatchEvent) -> dict[str, Any]:
    return scheduled(refresh.promote, event)


if settings.pin_api_enabled:
    app.register_blueprint(api.routes(settings, world))
