"""db-update-latest-snapshot-id: record the newest eligible share in *latest*."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import update_latest

settings = context.acceptance()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(str(settings.update_schedule), name=functions.UPDATE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    time = context.scheduled_time(event)
    return context.report(
        "update", event, lambda: update_latest.update(settings, context.aws, time)
    )
