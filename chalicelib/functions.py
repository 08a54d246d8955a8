"""The deployed functions by Chalice's names of them, and what starts them that is no setting."""

UPDATE = "db-update-latest-snapshot-id"
RESTORE = "db-restore-from-snapshot"
FOLLOW_PIPELINE = "db-follow-pipeline"
FOLLOW_COPIES = "db-follow-copies"

# A copy may take hours, and a look costs next to nothing.
COPIES_SCHEDULE = "rate(15 minutes)"

# https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
# A superseded run needs nothing: the newer run carries the version.
FINAL_STATES = ("SUCCEEDED", "FAILED", "STOPPED", "CANCELED")
