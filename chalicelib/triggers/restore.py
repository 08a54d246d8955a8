"""db-restore-from-snapshot: promote *latest* to *current* and start the main pipeline."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import promote

settings = context.acceptance()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(str(settings.restore_schedule), name=functions.RESTORE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    time = context.scheduled_time(event)
    return context.report("promote", event, lambda: promote.promote(settings, context.aws, time))
