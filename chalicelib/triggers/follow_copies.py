"""db-follow-copies: record finished copies in *latest* and delete expired ones."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import update_latest

settings = context.acceptance()
blueprint = Blueprint(__name__)


@blueprint.schedule(functions.POLL, name=functions.FOLLOW_COPIES)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    time = context.scheduled_time(event)
    return context.report(
        "copies", event, lambda: update_latest.follow_copies(settings, context.aws, time)
    )


handler = context.scheduled_event_only(handler)
