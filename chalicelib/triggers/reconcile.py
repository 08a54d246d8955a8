"""db-reconcile: bring *current* in line with what is deployed, and finish copies."""

from chalicelib.triggers import context
from chalicelib.usecases.poll import poll

settings = context.acceptance()
handler = context.scheduled("reconcile", None, lambda _: poll(settings, context.aws))
