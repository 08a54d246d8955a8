"""A real ``chalice deploy`` of this application into the local cloud."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib.domain.functions import RECONCILE, RESTORE, UPDATE
from cli.main import cli
from demo.acceptance import PIPELINE, STAGE, Company, Project, arn_of, copy_project, nightly
from localcloud.client import LocalCloud

PROJECT = Path(__file__).resolve().parents[2]
NewProject = Callable[[], Path]


def invoke(*words: str, environment: Mapping[str, str | None]) -> Result:
    """Run the command line in this process, which saves the start of another one."""
    shell = dict.fromkeys(os.environ) | environment
    done = CliRunner(env=shell).invoke(cli, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def run(project: Project, command: str, *words: str, **environment: str | None) -> Result:
    """Run a command on the project's stage."""
    where = ("--stage", project.stage, "--project", str(project.project))
    return invoke(command, *where, *words, environment=project.environment() | environment)


def answer_of(records: list[dict[str, Any]]) -> Any:
    """Return the answer of a function that succeeds at once."""
    (record,) = records
    assert record["status"] == "succeeded", record
    return record["payload"]


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> NewProject:
    """Copies the project; the copies share what Chalice installs into the package."""
    packages = tmp_path_factory.mktemp("packages")

    def make() -> Path:
        folder = tmp_path_factory.mktemp("project")
        copy_project(PROJECT, folder)
        (folder / ".chalice/deployments").symlink_to(packages)
        return folder

    return make


def deploy(cloud: LocalCloud, project: Path) -> Company:
    """Create the state before the first night, and deploy the stage that is configured in the project."""
    company = Company(cloud, project, run_seconds=0.1)
    company.found(datetime(2026, 1, 3, 12, tzinfo=UTC))
    company.chalice("deploy", "--stage", STAGE)
    return company


@pytest.fixture(scope="session")
def deployed(new_project: NewProject) -> Iterator[Company]:
    """A company that has deployed the application, in a cloud of its own: one for all nights."""
    with LocalCloud.start() as cloud:
        yield deploy(cloud, new_project())


_SUNDAYS = count(datetime(2026, 1, 4, tzinfo=UTC).toordinal(), 14)


class Night:
    """An on-week Sunday in the life of a deployed company, with a new snapshot to restore, and one to pin.

    Nights follow each other and leave their history behind, as they do in a real account, but no run and
    no pin that waits.
    """

    def __init__(self, company: Company) -> None:
        self.company = company
        self.cloud = company.cloud
        self.pipelines = self.cloud.client("codepipeline")
        self.cloud.set_faults([])
        self.cloud.set_seconds(retry=0.05)
        self.cloud.patch_pipeline(PIPELINE, loses_events=False, next_outcomes=[], hold=[])
        self.old = self.settle()
        company.notifications()  # by the clock of the night before: a queue forgets
        self.two = datetime.fromordinal(next(_SUNDAYS)).replace(hour=2, tzinfo=UTC)
        self.four = self.two + timedelta(hours=2)
        self.cloud.set_clock(self.two - timedelta(hours=1))
        self.poll()  # so that the functions know what is deployed
        company.notifications()
        newest = nightly("orders", self.two - timedelta(hours=6))
        older = nightly("orders", self.two - timedelta(days=3), identifier=f"pin-{self.two:%Y%m%d}")
        self.new, self.pinned = arn_of(newest), arn_of(older)
        self.cloud.set_clock(self.two)
        self.cloud.seed_snapshots([newest, older])
        self.cloud.clear_calls()

    def settle(self) -> str:
        """Wait until no run is in progress, have *current* hold what is deployed, and return that."""
        for run in self.listed_runs():
            if run["status"] == "InProgress":
                self.cloud.wait_for_run(run["pipelineExecutionId"], PIPELINE)
        self.cloud.wait_until_idle()
        (deployed,) = self.company.clusters().values()
        if self.current() != deployed:
            self.company.put(self.company.current, deployed)
        return deployed

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Return the API's answer to a signed request."""
        answered, answer = self.company.signed(method, path, body)
        assert answered == status, answer
        return answer

    def listed_runs(self) -> Any:
        """Return the pipeline's newest runs, the newest first."""
        listed = self.pipelines.list_pipeline_executions(pipelineName=PIPELINE)
        return listed["pipelineExecutionSummaries"]

    def push(self) -> Any:
        """Start an ordinary run, as a developer's commit does, and return its id."""
        return self.pipelines.start_pipeline_execution(name=PIPELINE)["pipelineExecutionId"]

    def update(self) -> Any:
        """02:00 comes; the answer of a function that succeeds at once."""
        self.cloud.set_clock(self.two)
        return answer_of(self.cloud.fire(UPDATE, self.two))

    def restore(self) -> list[dict[str, Any]]:
        """04:00 comes; a record for each attempt."""
        self.cloud.set_clock(self.four)
        return self.cloud.fire(RESTORE, self.four)

    def poll(self) -> Any:
        """A quarter of an hour passes; db-reconcile's answer."""
        self.cloud.set_clock(self.cloud.now() + timedelta(minutes=15))
        return answer_of(self.cloud.fire(RECONCILE, self.cloud.now()))

    def runs(self) -> list[dict[str, Any]]:
        """The pipeline's runs that this night started, once they have ended."""
        tonight = [run for run in self.listed_runs() if run["startTime"] >= self.two]
        for run in tonight:
            run["status"] = self.company.followed(run["pipelineExecutionId"])
        return tonight

    def current(self) -> str:
        return self.company.parameter(self.company.current)


@pytest.fixture
def night(deployed: Company) -> Night:
    return Night(deployed)
