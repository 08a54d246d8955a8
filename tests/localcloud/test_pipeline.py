"""The main pipeline's runs, held to botocore's service model and the CodePipeline User Guide (the guide).

Tokens are in tests/contract, approvals, retries and skipped stages in tests/e2e/test_reconcile.py.
"""

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


def test_a_run_that_waits_for_a_stage_is_superseded_and_each_change_of_state_is_an_event(
    pipeline: Pipeline,
) -> None:
    """The guide, *How executions are processed in SUPERSEDED mode* and "Pipeline-level state change events"."""
    cloud = pipeline.cloud
    permit(cloud, "events", create_rule(cloud, EventPattern='{"source": ["aws.codepipeline"]}'))
    pipeline.start(hold="Build")
    run = pipeline.start()

    def waits() -> bool:
        _, build, *_ = pipeline.api.get_pipeline_state(name=NAME)["stageStates"]
        return bool(build["inboundExecutions"])

    wait_until(waits, "a run to wait for Build")
    pipeline.start()
    assert pipeline.ended(run) == "Superseded"
    pipeline.go_on()

    def events() -> list[dict[str, Any]]:
        received = [record["event"] for record in cloud.invocations("probe")]
        return [each for each in received if each["detail"]["execution-id"] == run]

    wait_until(lambda: len(events()) == 2, "both events to be delivered")
    # In no promised order.
    assert sorted(each["detail"]["state"] for each in events()) == ["STARTED", "SUPERSEDED"]
    first = events()[0]
    assert first["detail"].pop("start-time").endswith("Z")
    assert first["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"]
    assert first["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert first["detail"].keys() == {"pipeline", "execution-id", "state", "version"}
