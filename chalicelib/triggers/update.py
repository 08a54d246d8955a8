"""db-update-latest-snapshot-id: record the newest eligible share in *latest*."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.update_latest import update

settings = context.acceptance()
blueprint, handler = context.scheduled(
    functions.UPDATE,
    "update",
    settings.update_schedule,
    lambda time: update(settings, context.aws, time),
)
