"""db-update-latest-snapshot-id: record the newest eligible share in *latest*."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import update_latest

settings = context.acceptance()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(str(settings.update_schedule.utc), name=functions.UPDATE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    return context.report_scheduled(
        "update",
        settings.update_schedule,
        event,
        lambda time: update_latest.update(settings, context.aws, time),
    )
