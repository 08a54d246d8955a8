"""db-follow-shares: share finished snapshots and delete expired ones."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import share

settings = context.production()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(functions.POLL, name=functions.FOLLOW_SHARES)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    time = context.scheduled_time(event)
    return context.report(
        "share",
        event,
        lambda: share.follow_shares(settings, context.stage_name, context.aws, time),
    )
