"""db-reconcile: bring *current* in line with what is deployed, and finish copies."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.poll import poll

settings = context.acceptance()
blueprint, handler = context.scheduled(
    functions.RECONCILE, "reconcile", None, lambda _: poll(settings, context.aws)
)
