"""The smallest stage: what is required, and nothing else."""

import importlib
import logging
import sys
from types import ModuleType

import pytest

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


def import_app(monkeypatch: pytest.MonkeyPatch, **settings: str) -> ModuleType:
    """Import app.py as `chalice deploy` and Lambda do: with the stage in the environment."""
    for name, value in (STAGE | {"AWS_DEFAULT_REGION": "eu-west-1"} | settings).items():
        monkeypatch.setenv(name, value)
    forget_app()
    return importlib.import_module("app")


def forget_app() -> None:
    for name in [name for name in sys.modules if name == "app" or ".triggers" in name]:
        del sys.modules[name]
    logger = logging.getLogger("aurora-refresh")
    logger.handlers, logger.propagate = [], True  # it holds the old stdout
