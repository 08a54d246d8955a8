"""db-reconcile: bring *current* in line with what is deployed, and finish copies."""

from typing import Any

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases import poll

settings = context.acceptance()
blueprint = Blueprint(__name__)


@context.scheduled_event_only
@blueprint.schedule(functions.POLL, name=functions.RECONCILE)
def handler(event: CloudWatchEvent) -> dict[str, Any]:
    return context.report("reconcile", event, lambda: poll.poll(settings, context.aws))
