"""A quiet on-week Sunday: one eligible share, both parameters set, the pipeline idle."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.ledger import Note, Run
from chalicelib.settings import Settings
from tests.fakes import InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME, STAGE


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(STAGE)


@pytest.fixture
def aws() -> InMemoryAws:
    """On Saturday *current* was ``old`` and had been carried; on Sunday at 04:00 *latest* is new."""
    aws = InMemoryAws(datetime(2026, 1, 3, 12, tzinfo=UTC))
    by_hand = Note("bootstrap", "setup", "", None)
    aws.parameters.put(PIPELINE_NAME, PIPELINE, by_hand)
    aws.parameters.put(CURRENT, arn("old"), by_hand)
    aws.time += timedelta(hours=1)
    aws.pipelines.pipelines[PIPELINE] = [Run("run-0", "Succeeded", aws.time, aws.time)]
    aws.snapshots.all = [snapshot("new"), snapshot("old", created=aws.time - timedelta(days=9))]
    aws.time = datetime(2026, 1, 4, 4, tzinfo=UTC)
    aws.parameters.put(LATEST, arn("new"), by_hand)
    aws.calls.clear()
    return aws
