"""The deployed functions by Chalice's names of them, and what starts them that is no setting."""

APP = "aurora-refresh"

UPDATE = "db-update-latest-snapshot-id"
RESTORE = "db-restore-from-snapshot"
FOLLOW_PIPELINE = "db-follow-pipeline"
FOLLOW_COPIES = "db-follow-copies"

_NAMES = (UPDATE, RESTORE, FOLLOW_PIPELINE, FOLLOW_COPIES)

# A copy may take hours, and a look costs next to nothing.
COPIES_SCHEDULE = "rate(15 minutes)"

# https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
# A superseded run needs nothing: the newer run carries the version.
FINAL_STATES = ("SUCCEEDED", "FAILED", "STOPPED", "CANCELED")


def stage_of(deployed: str) -> str:
    """The stage that a function is of, by the name that Lambda has it under."""
    stage = deployed.removeprefix(f"{APP}-")
    for name in _NAMES:
        stage = stage.removesuffix(f"-{name}")
    return stage
