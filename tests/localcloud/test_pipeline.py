"""The main pipeline's runs, held to botocore's service model and the CodePipeline User Guide (the guide).

Tokens are in tests/contract, approvals, retries, roll-backs and skipped stages in
tests/e2e/test_reconcile.py.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.acceptance import arn_of, nightly
from demo.pipeline import create_pipeline
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud, wait_until
from localcloud.shares import RESTORED_FROM
from tests.localcloud.probe import create_rule, permit

NAME = "main"
NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


class Pipeline:
    """A pipeline that restores *current*."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = cloud.client("codepipeline")
        database = {"parameter": "/current", "cluster": "orders"}
        create_pipeline(cloud, NAME, [database], run_seconds=0)

    def start(self, hold: str = "") -> str:
        """Start a run, and return it once it is held, if it is to be."""
        if hold:
            self.cloud.patch_pipeline(NAME, hold=[hold])
        answer = self.api.start_pipeline_execution(name=NAME)
        if hold:
            self.cloud.wait_until_held(NAME, hold)
        return str(answer["pipelineExecutionId"])

    def go_on(self) -> None:
        self.cloud.patch_pipeline(NAME, hold=[])

    def ended(self, run: str) -> str:
        return self.cloud.wait_for_run(run, NAME)

    def share(self, identifier: str) -> str:
        """Let production share a snapshot, and write it to *current*."""
        snapshot = nightly("orders", NOON - timedelta(days=1), identifier=identifier)
        self.cloud.seed_snapshots([snapshot])
        self.cloud.client("ssm").put_parameter(
            Name="/current", Value=arn_of(snapshot), Type="String", Overwrite=True
        )
        return arn_of(snapshot)


@pytest.fixture
def pipeline(cloud: LocalCloud) -> Pipeline:
    return Pipeline(cloud)


def test_a_cluster_is_made_while_its_action_runs_from_what_the_parameter_holds_then(
    pipeline: Pipeline,
) -> None:
    """CloudFormation's guide, "Systems Manager parameter types": the value is fetched when the stack is
    updated, however long ago the run began. All times are the cloud's clock's."""
    cloud = pipeline.cloud
    cloud.set_clock(NOON)
    pipeline.share("first")
    run = pipeline.start(hold="Deploy")
    cloud.set_clock(NOON + timedelta(hours=1))
    second = pipeline.share("second")
    pipeline.go_on()
    pipeline.ended(run)

    (cluster,) = cloud.client("rds").describe_db_clusters()["DBClusters"]
    actions = pipeline.api.list_action_executions(pipelineName=NAME)["actionExecutionDetails"]
    deploy = next(each for each in actions if each["actionName"] == "Deploy")
    written = cloud.client("ssm").get_parameter(Name="/current")["Parameter"]["LastModifiedDate"]
    assert {"Key": RESTORED_FROM, "Value": second} in cluster["TagList"]
    assert deploy["startTime"] < written <= cluster["ClusterCreateTime"] <= deploy["lastUpdateTime"]


def superseded(pipeline: Pipeline) -> str:
    """*How executions are processed in SUPERSEDED mode*: one that waits for a stage gives way to a newer one."""
    pipeline.start(hold="Build")
    waiting = pipeline.start()

    def waits() -> bool:
        _, build, *_ = pipeline.api.get_pipeline_state(name=NAME)["stageStates"]
        return bool(build["inboundExecutions"])

    wait_until(waits, "a run to wait for Build")
    pipeline.start()
    return waiting


def stopped(pipeline: Pipeline) -> str:
    run = pipeline.start(hold="Build")
    pipeline.api.stop_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    return run


def cancelled(pipeline: Pipeline) -> str:
    """ "The structure of the pipeline was updated" while it ran."""
    run = pipeline.start(hold="Build")
    pipeline.api.update_pipeline(pipeline=pipeline.api.get_pipeline(name=NAME)["pipeline"])
    return run


@pytest.mark.parametrize(
    ("deed", "status", "states"),
    [
        (superseded, "Superseded", ["STARTED", "SUPERSEDED"]),
        (stopped, "Stopped", ["STARTED", "STOPPED", "STOPPING"]),
        (cancelled, "Cancelled", ["CANCELED", "STARTED"]),
    ],
)
def test_each_change_of_state_is_an_event(
    pipeline: Pipeline, deed: Callable[[Pipeline], str], status: str, states: list[str]
) -> None:
    """The guide, "Pipeline-level state change events"; they are delivered in no promised order."""
    cloud = pipeline.cloud
    permit(cloud, "events", create_rule(cloud, EventPattern='{"source": ["aws.codepipeline"]}'))
    run = deed(pipeline)
    pipeline.go_on()
    assert pipeline.ended(run) == status

    def events() -> list[dict[str, Any]]:
        received = [record["event"] for record in cloud.invocations("probe")]
        return [each for each in received if each["detail"]["execution-id"] == run]

    wait_until(lambda: len(events()) >= len(states), f"{states} to be delivered")
    assert sorted(each["detail"]["state"] for each in events()) == states
    first = events()[0]
    assert first["detail"].pop("start-time").endswith("Z")
    assert first["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"]
    assert first["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert first["detail"].keys() == {"pipeline", "execution-id", "state", "version"}
