"""db-restore-from-snapshot: promote *latest* to *current* and start the main pipeline."""

from chalicelib.triggers import context
from chalicelib.usecases.promote import promote

settings = context.acceptance()
handler = context.scheduled(
    "promote", settings.restore_schedule, lambda time: promote(settings, context.aws, time)
)
