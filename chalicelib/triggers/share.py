"""db-share-snapshot: take a snapshot of each cluster, to be shared."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import share

settings = context.production()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(str(settings.schedule.utc), name=functions.SHARE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    return context.report_scheduled(
        "share",
        settings.schedule,
        event,
        lambda time: share.share(settings, context.stage_name, context.aws, time),
    )
