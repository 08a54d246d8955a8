"""db-follow-pipeline: act on the end of a run of the main pipeline."""

from chalicelib.domain.results import Json
from chalicelib.triggers import context
from chalicelib.usecases.reconcile import reconcile

settings = context.acceptance()


def handler(event: Json, _: object) -> Json:
    """Reconcile when CodePipeline reports that a run has ended; without an event, as the poll does."""
    result = reconcile(settings, context.aws, event.get("detail", {}).get("pipeline"))
    return context.report("reconcile", event, result)
