"""db-restore-from-snapshot: promote *latest* to *current* and start the main pipeline."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import promote

settings = context.acceptance()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(str(settings.restore_schedule.utc), name=functions.RESTORE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    return context.report_scheduled(
        "promote",
        settings.restore_schedule,
        event,
        lambda time: promote.promote(settings, context.aws, time),
    )
