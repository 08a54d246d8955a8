"""The main pipeline's runs, held to botocore's service model and the CodePipeline User Guide (the guide).

Tokens are in tests/contract, approvals, retries, roll-backs and skipped stages in
tests/e2e/test_reconcile.py.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from time import monotonic, sleep
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.acceptance import arn_of, nightly
from demo.pipeline import create_pipeline
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
NAME = "main"
UNKNOWN = "00000000-0000-0000-0000-000000000000"
NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def eventually(condition: Callable[[], object]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


class Pipeline:
    """A pipeline that restores *current*."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = client(cloud, "codepipeline")
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

    def wait_until_one_waits(self) -> None:
        """Wait until a run waits for Deploy."""

        def waiting() -> Any:
            found = self.api.get_pipeline_state(name=NAME)["stageStates"]
            return next(each for each in found if each["stageName"] == "Deploy")[
                "inboundExecutions"
            ]

        eventually(waiting)

    def share(self, identifier: str) -> str:
        """Let production share a snapshot, and write it to *current*."""
        snapshot = nightly("orders", NOON - timedelta(days=1), identifier=identifier)
        self.cloud.seed_snapshots([snapshot])
        client(self.cloud, "ssm").put_parameter(
            Name="/current", Value=arn_of(snapshot), Type="String", Overwrite=True
        )
        return arn_of(snapshot)


@pytest.fixture
def pipeline(cloud: LocalCloud) -> Pipeline:
    return Pipeline(cloud)


def test_a_run_is_superseded_only_while_it_waits_for_a_stage(pipeline: Pipeline) -> None:
    """The guide, "How executions are processed in SUPERSEDED mode": a stage is locked by one execution, and
    the one that waits for it gives way to a newer one that arrives."""
    pipeline.share("first")
    first = pipeline.start(hold="Deploy")
    second = pipeline.start()
    pipeline.wait_until_one_waits()

    third = pipeline.start()
    assert pipeline.ended(second) == "Superseded"
    pipeline.go_on()

    assert (pipeline.ended(third), pipeline.ended(first)) == ("Succeeded", "Succeeded")


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

    (cluster,) = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    actions = pipeline.api.list_action_executions(pipelineName=NAME)["actionExecutionDetails"]
    deploy = next(each for each in actions if each["actionName"] == "Deploy")
    written = client(cloud, "ssm").get_parameter(Name="/current")["Parameter"]["LastModifiedDate"]
    assert {"Key": RESTORED_FROM, "Value": second} in cluster["TagList"]
    assert deploy["startTime"] < written <= cluster["ClusterCreateTime"] <= deploy["lastUpdateTime"]


@pytest.mark.parametrize(
    ("operation", "change", "code"),
    [
        ("retry_stage_execution", {"stageName": "None"}, "StageNotFoundException"),
        ("retry_stage_execution", {"pipelineExecutionId": ""}, "NotLatestPipelineExecutionException"),
        ("retry_stage_execution", {"stageName": "Source"}, "StageNotRetryableException"),
        ("rollback_stage", {"stageName": "None"}, "StageNotFoundException"),
        ("rollback_stage", {"targetPipelineExecutionId": ""}, "PipelineExecutionNotFoundException"),
        ("rollback_stage", {}, "UnableToRollbackStageException"),
        ("stop_pipeline_execution", {}, "PipelineExecutionNotStoppableException"),
    ],
)  # fmt: skip
def test_an_operation_that_the_state_of_a_run_does_not_permit_is_refused(
    pipeline: Pipeline, operation: str, change: dict[str, str], code: str
) -> None:
    """The errors of the operations' models; the run has failed in Build."""
    pipeline.cloud.patch_pipeline(NAME, next_outcomes=["Failed"])
    run = pipeline.start()
    pipeline.ended(run)
    usual = {
        "retry_stage_execution": {"stageName": "Build", "retryMode": "ALL_ACTIONS"},
        "rollback_stage": {"stageName": "Build", "targetPipelineExecutionId": run},
        "stop_pipeline_execution": {},
    }
    request = {"pipelineExecutionId": run, **usual[operation], **change}
    if operation == "rollback_stage":
        del request["pipelineExecutionId"]
    given = {"pipelineName": NAME, **{key: value or UNKNOWN for key, value in request.items()}}
    with pytest.raises(ClientError, match=code):
        getattr(pipeline.api, operation)(**given)


def test_a_stage_that_is_running_is_neither_retried_nor_rolled_back(pipeline: Pipeline) -> None:
    """UnableToRollbackStageException, "the stage is currently running", and StageNotRetryableException."""
    pipeline.share("first")
    target = pipeline.start()
    assert pipeline.ended(target) == "Succeeded"
    run = pipeline.start(hold="Build")
    stage = {"pipelineName": NAME, "stageName": "Build"}
    with pytest.raises(ClientError, match="UnableToRollbackStageException"):
        pipeline.api.rollback_stage(**stage, targetPipelineExecutionId=target)
    with pytest.raises(ClientError, match="StageNotRetryableException"):
        pipeline.api.retry_stage_execution(
            **stage, pipelineExecutionId=run, retryMode="ALL_ACTIONS"
        )
    pipeline.api.stop_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    with pytest.raises(ClientError, match="DuplicatedStopRequestException"):
        pipeline.api.stop_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)


def test_a_stage_is_not_rolled_back_to_a_run_of_another_structure(pipeline: Pipeline) -> None:
    """UnableToRollbackStageException, "the pipeline version has changed since the target"."""
    pipeline.share("first")
    target = pipeline.start()
    pipeline.ended(target)
    pipeline.api.update_pipeline(pipeline=pipeline.api.get_pipeline(name=NAME)["pipeline"])
    with pytest.raises(ClientError, match="UnableToRollbackStageException"):
        pipeline.api.rollback_stage(
            pipelineName=NAME, stageName="Deploy", targetPipelineExecutionId=target
        )


# --- events ---------------------------------------------------------------------------------------


def is_superseded(pipeline: Pipeline) -> str:
    pipeline.start(hold="Deploy")
    run = pipeline.start()
    pipeline.wait_until_one_waits()
    pipeline.start()
    return run


def is_stopped(pipeline: Pipeline) -> str:
    run = pipeline.start(hold="Build")
    pipeline.api.stop_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    return run


def is_cancelled(pipeline: Pipeline) -> str:
    """ "The pipeline's definition was updated before the pipeline execution could be completed"."""
    run = pipeline.start(hold="Build")
    definition = pipeline.api.get_pipeline(name=NAME)["pipeline"]
    pipeline.api.update_pipeline(pipeline=definition)
    return run


STATES: dict[Callable[[Pipeline], str], list[str]] = {
    is_superseded: ["STARTED", "SUPERSEDED"],
    is_stopped: ["STARTED", "STOPPING", "STOPPED"],
    is_cancelled: ["STARTED", "CANCELED"],
}


@pytest.mark.parametrize("deed", STATES, ids=lambda each: each.__name__)
def test_each_change_of_state_is_an_event(
    pipeline: Pipeline,
    received: Callable[[str], list[dict[str, Any]]],
    deed: Callable[[Pipeline], str],
) -> None:
    """The guide, "Pipeline-level state change events"; they are delivered in no promised order."""
    pipeline.share("first")
    received("aws.codepipeline")
    run = deed(pipeline)
    pipeline.go_on()
    pipeline.ended(run)

    def events() -> list[dict[str, Any]]:
        found = received("aws.codepipeline")
        return [each for each in found if each["detail"]["execution-id"] == run]

    eventually(lambda: sorted(each["detail"]["state"] for each in events()) == sorted(STATES[deed]))
    first = events()[0]
    assert first["detail"].pop("start-time").endswith("Z")
    assert first["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"]
    assert first["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert first["detail"].keys() == {"pipeline", "execution-id", "state", "version"}
