"""db-follow-pipeline: act on the end of a run of the main pipeline."""

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.domain import functions
from chalicelib.domain.results import Json
from chalicelib.triggers import context
from chalicelib.usecases.reconcile import reconcile

settings = context.acceptance()
blueprint = Blueprint(__name__)


@blueprint.on_cw_event(
    {
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"state": list(functions.FINAL_STATES)},
    },
    name=functions.FOLLOW_PIPELINE,
)
def handler(event: CloudWatchEvent) -> Json:
    result = reconcile(settings, context.aws, event.detail["pipeline"])
    return context.report("reconcile", event, result)
