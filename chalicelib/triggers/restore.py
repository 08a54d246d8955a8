"""db-restore-from-snapshot: promote *latest* to *current* and start the main pipeline."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.promote import promote

blueprint, handler = context.scheduled(
    __name__, functions.RESTORE, "promote", context.acceptance().restore_schedule, promote
)
