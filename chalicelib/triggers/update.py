"""db-update-latest-snapshot-id: record the newest eligible share in *latest*."""

from chalicelib.triggers import context
from chalicelib.usecases.update_latest import update

settings = context.acceptance()
handler = context.scheduled(
    "update", settings.update_schedule, lambda time: update(settings, context.aws, time)
)
