"""The Lambda functions: their names, their modules, and the triggers that no setting configures."""

APP = "aurora-refresh"

UPDATE = "db-update-latest-snapshot-id"
RESTORE = "db-restore-from-snapshot"
FOLLOW_PIPELINE = "db-follow-pipeline"
RECONCILE = "db-reconcile"
SHARE = "db-share-snapshot"
FOLLOW_SHARES = "db-follow-shares"
API = "api_handler"  # as Chalice names it; Lambda's name is in deployed_name

# The module of each function in chalicelib.triggers.
TRIGGERS = {
    UPDATE: "update",
    RESTORE: "restore",
    FOLLOW_PIPELINE: "follow_pipeline",
    RECONCILE: "reconcile",
    SHARE: "share",
    FOLLOW_SHARES: "follow_shares",
}

# How often a function checks on RDS or the pipeline, which may take hours.
POLL = "rate(15 minutes)"

# The events of runs that have ended. A superseded run is followed by the run that superseded it.
# https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
RUN_ENDED = {
    "source": ["aws.codepipeline"],
    "detail-type": ["CodePipeline Pipeline Execution State Change"],
    "detail": {"state": ["SUCCEEDED", "FAILED", "STOPPED", "CANCELED"]},
}


def deployed_name(stage: str, function: str) -> str:
    """Return Lambda's name of a function. Chalice names the API's after app and stage only."""
    return f"{APP}-{stage}" if function == API else f"{APP}-{stage}-{function}"


def stage_of(deployed: str) -> str:
    """Return the stage of a deployed function, given the name that Lambda knows it by."""
    stage = deployed.removeprefix(f"{APP}-")
    for name in TRIGGERS:
        stage = stage.removesuffix(f"-{name}")
    return stage
