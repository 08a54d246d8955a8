"""The smallest stage: what is required, and nothing else."""

STAGE = {
    "SOURCE_ACCOUNT": "111111111111",
    "SSM_MAIN_CICD_NAME": "/acceptance/cicd/main-pipeline-name",
    "SSM_RDS_LATEST_SNAPSHOT_NAME": "/acceptance/rds/latest-snapshot",
    "SSM_RDS_CURRENT_SNAPSHOT_NAME": "/acceptance/rds/current-snapshot",
    "RDS_ENGINE": "aurora-postgresql",
    "RDS_ENGINE_VERSION": "15",
}

PIPELINE_NAME = STAGE["SSM_MAIN_CICD_NAME"]
LATEST = STAGE["SSM_RDS_LATEST_SNAPSHOT_NAME"]
CURRENT = STAGE["SSM_RDS_CURRENT_SNAPSHOT_NAME"]
PIPELINE = "acceptance-main"

# A second database, beside the first, which the same run of the pipeline refreshes.
OTHER_LATEST = "/acceptance/docs/latest"
OTHER_CURRENT = "/acceptance/docs/current"
TWO = STAGE | {
    "DATABASES": "RDS,DOCS",
    "SSM_DOCS_LATEST_SNAPSHOT_NAME": OTHER_LATEST,
    "SSM_DOCS_CURRENT_SNAPSHOT_NAME": OTHER_CURRENT,
    "DOCS_ENGINE": "docdb",
    "DOCS_ENGINE_VERSION": "5",
}
