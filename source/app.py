"""Aurora Refresh, production's side: the triggers, which hold no rule. ``chalicelib`` is a link to ../chalicelib."""

import os
import sys
from datetime import datetime
from typing import Any

import botocore.session
from chalice.app import Chalice, CloudWatchEvent

from chalicelib import observability as logs
from chalicelib.aws.clients import BotoAws
from chalicelib.domain.errors import SettingsError
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases import share as sharing_out

try:
    settings = ProductionSettings.from_environment(os.environ)
except SettingsError as error:
    # Chalice would print a stack trace for any other exception, which helps nobody mend a setting.
    sys.exit(str(error))

app = Chalice(app_name="aurora-refresh-source", configure_logs=False)
aws = BotoAws(botocore.session.get_session().create_client, settings.topic_arn)
logger = logs.logger("aurora-refresh")


@app.schedule(str(settings.schedule), name=sharing_out.SHARE)
def share_snapshot(event: CloudWatchEvent) -> dict[str, Any]:
    return answered(event, sharing_out.share(settings, aws, scheduled(event)))


@app.schedule(sharing_out.EVERY, name=sharing_out.FOLLOW_SHARES)
def follow_shares(event: CloudWatchEvent) -> dict[str, Any]:
    return answered(event, sharing_out.follow_shares(settings, aws, scheduled(event)))


def answered(event: CloudWatchEvent, answer: sharing_out.Result) -> dict[str, Any]:
    """The answer, once it is logged with its grounds."""
    told = answer.to_json()
    grounds = {"event": event.to_dict(), "answer": told}
    logger.info("decision", extra={"correlation_id": event.event_id, **grounds})
    return told


def scheduled(event: CloudWatchEvent) -> datetime:
    return datetime.fromisoformat(event.to_dict()["time"])
