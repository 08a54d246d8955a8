"""db-reconcile: bring *current* in line with what is deployed, and finish copies."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.poll import poll

blueprint, handler = context.scheduled(
    __name__,
    functions.RECONCILE,
    "reconcile",
    context.acceptance(),
    None,
    lambda settings, aws, _: poll(settings, aws),
)
