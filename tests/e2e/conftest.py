"""A real ``chalice deploy`` of this application into the local cloud."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from localcloud.client import LocalCloud
from localcloud.company import PIPELINE, STAGE, Company, arn_of, configure, copy_project, nightly

PROJECT = Path(__file__).resolve().parents[2]
UPDATE = "db-update-latest-snapshot-id"
RESTORE = "db-restore-from-snapshot"
FOLLOW = "db-follow-pipeline"
RECONCILE = "db-reconcile"


@pytest.fixture(scope="module")
def new_company(
    running_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Company]:
    """Founds a company in a cloud that is as at its start, its stage changed as told.

    ``answers`` are given to ``aurora-refresh configure``, and drawn from the cloud that they are for.
    """

    def found(
        answers: Callable[[LocalCloud], dict[str, str]] | None = None, **variables: str
    ) -> Company:
        running_cloud.reset()
        folder = tmp_path_factory.mktemp("project")
        copy_project(PROJECT, folder)
        file = folder / ".chalice/config.json"
        config = json.loads(file.read_text())
        config["stages"][STAGE]["environment_variables"].update(variables)
        file.write_text(json.dumps(config))
        if answers:
            configure(folder, **answers(running_cloud))
        company = Company(running_cloud, folder, run_seconds=0.4)
        company.found(datetime(2026, 1, 3, 12, tzinfo=UTC))
        return company

    return found


@pytest.fixture(scope="module")
def deployed(new_company: Callable[..., Company]) -> Company:
    """A company that has deployed the application; one for all nights of a module."""
    company = new_company()
    company.chalice("deploy", "--stage", STAGE)
    return company


_SUNDAYS = count(datetime(2026, 1, 4, tzinfo=UTC).toordinal(), 14)


class Night:
    """An on-week Sunday in the life of a deployed company, with a new snapshot to restore.

    Nights follow each other and leave their history behind, as they do in a real account. Without
    ``events``, EventBridge loses those of the pipeline.
    """

    def __init__(self, company: Company, *, events: bool = True) -> None:
        self.company = company
        self.cloud = company.cloud
        self.events = events
        self.cloud.patch_pipeline(PIPELINE, loses_events=not events)
        company.notifications()  # by the clock of the night before: a queue forgets
        self.two = datetime.fromordinal(next(_SUNDAYS)).replace(hour=2, tzinfo=UTC)
        self.four = self.two + timedelta(hours=2)
        self.old = company.parameter(company.current)
        newest = nightly("orders", self.two - timedelta(hours=6))
        self.new = arn_of(newest)
        self.cloud.set_clock(self.two)
        self.cloud.seed_snapshots([newest])
        self.cloud.set_faults([])
        self.cloud.set_retries([0.05, 0.05])
        self.cloud.clear_calls()

    def update(self) -> dict[str, Any]:
        """02:00 comes; the answer of a function that succeeds at once."""
        self.cloud.set_clock(self.two)
        (record,) = self.cloud.fire(UPDATE, self.two)
        assert record["status"] == "succeeded", record
        answer: dict[str, Any] = record["payload"]
        return answer

    def restore(self) -> list[dict[str, Any]]:
        """04:00 comes; a record for each attempt."""
        self.cloud.set_clock(self.four)
        return self.cloud.fire(RESTORE, self.four)

    def poll(self) -> dict[str, Any]:
        """A quarter of an hour passes; db-reconcile's answer."""
        self.cloud.set_clock(self.cloud.now() + timedelta(minutes=15))
        (record,) = self.cloud.fire(RECONCILE, self.cloud.now())
        assert record["status"] == "succeeded", record
        answer: dict[str, Any] = record["payload"]
        return answer

    def runs(self) -> list[dict[str, Any]]:
        """The pipeline's runs that this night started, once they have ended."""
        listed = self.cloud.client("codepipeline").list_pipeline_executions(pipelineName=PIPELINE)[
            "pipelineExecutionSummaries"
        ]
        tonight = [run for run in listed if run["startTime"] >= self.two]
        for run in tonight:
            execution_id = run["pipelineExecutionId"]
            run["status"] = self.cloud.wait_for_run(execution_id, PIPELINE)
            if self.events:
                self.company.followed(execution_id)
        return tonight

    def subjects(self) -> list[str]:
        """Return the subjects of this night's notifications."""
        return [message["Subject"] for message in self.company.notifications()]

    def current(self) -> str:
        return self.company.parameter(self.company.current)

    def calls(self, function: str) -> list[str]:
        """The function's AWS calls of this night."""
        return [call["operation"] for call in self.cloud.calls(function)]


@pytest.fixture
def night(deployed: Company) -> Night:
    return Night(deployed)
