"""The main pipeline's runs, held to botocore's service model and the CodePipeline User Guide (the guide).

Failures before and after the deployment, skipped stages and automatic roll-backs are in tests/e2e/test_reconcile.py.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from time import monotonic, sleep
from typing import Any

import botocore.session
import botocore.validate
import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.company import arn_of, nightly
from localcloud.shares import RESTORED_FROM

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
MODEL = botocore.session.get_session().get_service_model("codepipeline")
NAME = "main"
NOTE = {
    "Type": "AWS::SSM::Parameter",
    "Properties": {"Name": "/note", "Type": "String", "Value": "1"},
}
NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def refused(operation: str, code: str) -> Any:
    """Expect an error that the operation's model knows."""
    assert code in {shape.error_code for shape in MODEL.operation_model(operation).error_shapes}
    return pytest.raises(ClientError, match=rf"\({code}\)")


def assert_modelled(answer: dict[str, Any], shape: str) -> None:
    """The answer has members of the model only, which its enumerations know."""
    botocore.validate.validate_parameters(
        {name: value for name, value in answer.items() if name != "ResponseMetadata"},
        MODEL.shape_for(shape),
    )


def eventually(condition: Callable[[], object]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


class Pipeline:
    """A pipeline that restores *current*, unless told otherwise."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = client(cloud, "codepipeline")

    def create(self, *parameters: str, **more: Any) -> None:
        databases = [{"parameter": name, "cluster": name.strip("/")} for name in parameters]
        self.cloud.create_pipeline(NAME, 0, databases, **more)

    def start(self, hold: str = "", **parameters: Any) -> str:
        """Start a run, and return it once it is held, if it is to be."""
        if hold:
            self.cloud.patch_pipeline(NAME, hold=[hold])
        answer = self.api.start_pipeline_execution(name=NAME, **parameters)
        if hold:
            self.cloud.wait_until_held(NAME, hold)
        return str(answer["pipelineExecutionId"])

    def go_on(self) -> None:
        self.cloud.patch_pipeline(NAME, hold=[])

    def ended(self, run: str) -> str:
        return self.cloud.wait_for_run(run, NAME)

    def stop(self, run: str, **more: Any) -> None:
        self.api.stop_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run, **more)

    def status(self, run: str) -> str:
        answer = self.api.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
        return str(answer["pipelineExecution"]["status"])

    def stages(self) -> dict[str, dict[str, Any]]:
        found = self.api.get_pipeline_state(name=NAME)["stageStates"]
        return {stage["stageName"]: stage for stage in found}

    def latest(self) -> dict[str, str]:
        """The status of the newest run in each stage that one has entered."""
        return {
            name: stage["latestExecution"]["status"]
            for name, stage in self.stages().items()
            if "latestExecution" in stage
        }

    def details(self, **wanted: str) -> list[dict[str, Any]]:
        answer = self.api.list_action_executions(pipelineName=NAME, filter=wanted)
        return list(answer["actionExecutionDetails"])

    def actions(self, run: str) -> list[tuple[str, str]]:
        """The run's action executions and their statuses, oldest first."""
        found = self.details(pipelineExecutionId=run)
        return [(each["actionName"], each["status"]) for each in reversed(found)]

    def share(self, identifier: str) -> str:
        """Let production share a snapshot, and write it to *current*."""
        snapshot = nightly("orders", NOON - timedelta(days=1), identifier=identifier)
        self.cloud.seed_snapshots([snapshot])
        client(self.cloud, "ssm").put_parameter(
            Name="/current", Value=arn_of(snapshot), Type="String", Overwrite=True
        )
        return arn_of(snapshot)

    def restored(self) -> list[str]:
        """The snapshots that acceptance's clusters were restored from."""
        found = client(self.cloud, "rds").describe_db_clusters()["DBClusters"]
        tags = [tag for cluster in found for tag in cluster["TagList"]]
        return sorted(tag["Value"] for tag in tags if tag["Key"] == RESTORED_FROM)

    def stack(self) -> str:
        (found,) = client(self.cloud, "cloudformation").describe_stacks(StackName=NAME)["Stacks"]
        return str(found["StackStatus"])


@pytest.fixture
def pipeline(cloud: LocalCloud) -> Pipeline:
    return Pipeline(cloud)


def test_equal_tokens_start_one_run(pipeline: Pipeline) -> None:
    """The model of ``clientRequestToken``."""
    pipeline.create()
    first = pipeline.start(clientRequestToken="2026-01-04-refresh")
    pipeline.ended(first)
    assert pipeline.start(clientRequestToken="2026-01-04-refresh") == first
    assert pipeline.start(clientRequestToken="2026-01-18-refresh") != first
    with refused("StartPipelineExecution", "ValidationException"):
        pipeline.start(clientRequestToken="arn:aws:events")


def test_a_run_is_superseded_only_while_it_waits_for_a_stage(pipeline: Pipeline) -> None:
    """The guide, "How executions are processed in SUPERSEDED mode": a stage is locked by one execution, and
    the one that waits for it gives way to a newer one that arrives."""
    pipeline.create()
    first = pipeline.start(hold="Deploy")
    second = pipeline.start()
    eventually(lambda: pipeline.stages()["Deploy"]["inboundExecutions"])
    (inbound,) = pipeline.stages()["Deploy"]["inboundExecutions"]
    assert inbound == {"pipelineExecutionId": second, "status": "InProgress"}

    third = pipeline.start()
    assert pipeline.ended(second) == "Superseded"
    pipeline.go_on()

    assert (pipeline.ended(third), pipeline.status(first)) == ("Succeeded", "Succeeded")
    assert pipeline.actions(second) == [("Source", "Succeeded"), ("Build", "Succeeded")]


def test_a_run_is_abandoned_at_once(pipeline: Pipeline) -> None:
    pipeline.create("/current")
    pipeline.share("first")
    run = pipeline.start(hold="Build")

    pipeline.stop(run, abandon=True)

    assert pipeline.status(run) == "Stopped"
    assert pipeline.actions(run) == [("Source", "Succeeded"), ("Build", "Abandoned")]
    assert pipeline.latest() == {"Source": "Succeeded", "Build": "Stopped"}


def test_a_stack_goes_on_being_deployed_when_its_action_is_abandoned(pipeline: Pipeline) -> None:
    """The guide, "How executions are stopped": abandoning can lead to out-of-sequence tasks. A run that
    comes next finds the stack in progress, which UpdateStack refuses."""
    pipeline.create("/current")
    arn = pipeline.share("first")
    run = pipeline.start(hold="Deploy:restoring")

    pipeline.stop(run, abandon=True)
    assert pipeline.ended(pipeline.start()) == "Failed"
    pipeline.go_on()

    eventually(lambda: pipeline.stack() == "CREATE_COMPLETE")
    assert (pipeline.restored(), pipeline.status(run)) == ([arn], "Stopped")


def test_a_run_stops_when_its_stage_has_come_to_its_end(pipeline: Pipeline) -> None:
    pipeline.create("/current")
    pipeline.share("first")
    run = pipeline.start(hold="Build")

    pipeline.stop(run)

    assert (pipeline.status(run), pipeline.latest()["Build"]) == ("Stopping", "Stopping")
    pipeline.go_on()
    assert pipeline.ended(run) == "Stopped"
    assert pipeline.actions(run)[-1] == ("Build", "Succeeded")
    with refused("StopPipelineExecution", "PipelineExecutionNotStoppableException"):
        pipeline.stop(run)


def test_state_and_actions_tell_which_run_is_where(pipeline: Pipeline) -> None:
    """The API reference of GetPipelineState and of ListActionExecutions, which is newest first."""
    pipeline.create("/current", stack="databases")
    pipeline.share("first")
    done = pipeline.start()
    pipeline.ended(done)
    begun = pipeline.start(hold="Build")

    state = pipeline.api.get_pipeline_state(name=NAME)

    assert_modelled(state, "GetPipelineStateOutput")
    assert [
        (stage["stageName"], latest["pipelineExecutionId"], latest["status"])
        for stage in state["stageStates"]
        if (latest := stage["latestExecution"])
    ] == [
        ("Source", begun, "Succeeded"),
        ("Build", begun, "InProgress"),
        ("Deploy", done, "Succeeded"),
        ("Test", done, "Succeeded"),
    ]
    details = pipeline.details()
    assert [(each["pipelineExecutionId"], each["actionName"]) for each in details] == [
        *((begun, name) for name in ("Build", "Source")),
        *((done, name) for name in ("Test", "Deploy", "Build", "Source")),
    ]
    assert_modelled(details[3], "ActionExecutionDetail")
    assert details[3]["input"]["actionTypeId"]["provider"] == "CloudFormation"
    assert details[3]["input"]["resolvedConfiguration"]["StackName"] == "databases"


def test_a_cluster_is_made_while_its_action_runs_from_what_the_parameter_holds_then(
    pipeline: Pipeline,
) -> None:
    """CloudFormation's guide, "Systems Manager parameter types": the value is fetched when the stack is
    updated, however long ago the run began. All times are the cloud's clock's."""
    cloud = pipeline.cloud
    cloud.set_clock(NOON)
    pipeline.create("/current")
    pipeline.share("first")
    run = pipeline.start(hold="Deploy")
    cloud.set_clock(NOON + timedelta(hours=1))
    second = pipeline.share("second")
    cloud.patch_pipeline(NAME, hold=["Deploy:restoring"])
    cloud.wait_until_held(NAME, "Deploy:restoring")
    assert pipeline.stack() == "CREATE_IN_PROGRESS"
    pipeline.go_on()
    pipeline.ended(run)

    (cluster,) = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    deploy = next(each for each in pipeline.details() if each["actionName"] == "Deploy")
    written = client(cloud, "ssm").get_parameter(Name="/current")["Parameter"]["LastModifiedDate"]
    assert pipeline.restored() == [second]
    assert deploy["startTime"] < written <= cluster["ClusterCreateTime"] <= deploy["lastUpdateTime"]


@pytest.mark.parametrize(("verdict", "ended"), [("Approved", "Succeeded"), ("Rejected", "Failed")])
def test_an_approval_is_given_or_refused_with_its_token(
    pipeline: Pipeline, verdict: str, ended: str
) -> None:
    """The API reference of PutApprovalResult, and the guide, "Approve or reject an approval action"."""
    pipeline.create(stages=["Source", "Approval", "Deploy"])
    given = {"pipelineName": NAME, "stageName": "Approval", "actionName": "Approval"}
    result = {"result": {"status": verdict, "summary": "by Jo"}}
    run = pipeline.start()

    def token() -> Any:
        (action,) = pipeline.stages()["Approval"]["actionStates"]
        return action.get("latestExecution", {}).get("token")

    eventually(token)
    with refused("PutApprovalResult", "InvalidApprovalTokenException"):
        pipeline.api.put_approval_result(**given, **result, token=run)
    pipeline.api.put_approval_result(**given, **result, token=token())

    assert pipeline.ended(run) == ended
    assert token() is None


def test_a_run_waits_at_a_disabled_transition(pipeline: Pipeline) -> None:
    """The API reference of DisableStageTransition: artifacts do not transition into the stage."""
    pipeline.create()
    deploy = {"pipelineName": NAME, "stageName": "Deploy", "transitionType": "Inbound"}
    pipeline.api.disable_stage_transition(**deploy, reason="not on a Friday")
    run = pipeline.start()
    eventually(lambda: pipeline.stages()["Deploy"]["inboundExecutions"])
    transition = pipeline.stages()["Deploy"]["inboundTransitionState"]
    assert transition == {"enabled": False, "disabledReason": "not on a Friday"}
    pipeline.api.enable_stage_transition(**deploy)
    assert pipeline.ended(run) == "Succeeded"


def test_a_failed_stage_is_retried_by_the_same_run(pipeline: Pipeline) -> None:
    """The guide, "Configuring stage retry"."""
    pipeline.create("/current", next_outcomes=["Failed in Deploy"])
    pipeline.share("first")
    run = pipeline.start()
    retry = {"pipelineName": NAME, "pipelineExecutionId": run, "stageName": "Deploy"}
    assert pipeline.ended(run) == "Failed"
    # A stack whose creation was rolled back can only be deleted.
    client(pipeline.cloud, "cloudformation").delete_stack(StackName=NAME)
    eventually(lambda: not client(pipeline.cloud, "cloudformation").describe_stacks()["Stacks"])

    answer = pipeline.api.retry_stage_execution(**retry, retryMode="FAILED_ACTIONS")

    assert (answer["pipelineExecutionId"], pipeline.ended(run)) == (run, "Succeeded")
    assert pipeline.actions(run)[2:] == [
        ("Deploy", "Failed"),
        ("Deploy", "Succeeded"),
        ("Test", "Succeeded"),
    ]
    with refused("RetryStageExecution", "StageNotRetryableException"):
        pipeline.api.retry_stage_execution(**retry, retryMode="FAILED_ACTIONS")


def test_a_rollback_runs_one_stage_with_the_targets_template_and_the_parameters_present_value(
    pipeline: Pipeline,
) -> None:
    """The guide, "Configuring stage rollback": a new execution with the target's revisions."""
    pipeline.create("/current")
    pipeline.share("first")
    target = pipeline.start()
    pipeline.ended(target)
    pipeline.cloud.patch_pipeline(NAME, template=json.dumps({"Resources": {"A": NOTE}}))
    pipeline.ended(pipeline.start())
    assert pipeline.restored() == []
    second = pipeline.share("second")

    run = pipeline.api.rollback_stage(
        pipelineName=NAME, targetPipelineExecutionId=target, stageName="Deploy"
    )["pipelineExecutionId"]

    assert (pipeline.ended(run), pipeline.restored()) == ("Succeeded", [second])
    assert pipeline.actions(run) == [("Deploy", "Succeeded")]
    answer = pipeline.api.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    assert_modelled(answer["pipelineExecution"], "PipelineExecution")
    assert answer["pipelineExecution"]["executionType"] == "ROLLBACK"
    assert answer["pipelineExecution"]["trigger"]["triggerType"] == "ManualRollback"


def test_a_reset_ends_every_run(pipeline: Pipeline) -> None:
    """Else the old run would deploy into the new cloud."""
    pipeline.create("/current")
    pipeline.start(hold="Deploy")
    pipeline.cloud.reset()
    pipeline.share("first")
    sleep(0.2)
    assert pipeline.restored() == []
    assert pipeline.api.list_pipelines()["pipelines"] == []


# --- events ---------------------------------------------------------------------------------------


def fails_and_is_retried(pipeline: Pipeline) -> str:
    pipeline.cloud.patch_pipeline(NAME, next_outcomes=["Failed in Test"])
    run = pipeline.start()
    pipeline.ended(run)
    pipeline.api.retry_stage_execution(
        pipelineName=NAME, stageName="Test", pipelineExecutionId=run, retryMode="FAILED_ACTIONS"
    )
    return run


def is_superseded(pipeline: Pipeline) -> str:
    pipeline.start(hold="Deploy")
    run = pipeline.start()
    eventually(lambda: pipeline.stages()["Deploy"]["inboundExecutions"])
    pipeline.start()
    return run


def is_stopped(pipeline: Pipeline) -> str:
    run = pipeline.start(hold="Build")
    pipeline.stop(run, abandon=True)
    return run


def is_cancelled(pipeline: Pipeline) -> str:
    """ "The pipeline's definition was updated before the pipeline execution could be completed"."""
    run = pipeline.start(hold="Build")
    definition = pipeline.api.get_pipeline(name=NAME)["pipeline"]
    pipeline.api.update_pipeline(pipeline=definition)
    assert pipeline.status(run) == "Cancelled"
    return run


STATES: dict[Callable[[Pipeline], str], list[str]] = {
    Pipeline.start: ["STARTED", "SUCCEEDED"],
    fails_and_is_retried: ["STARTED", "FAILED", "RESUMED", "SUCCEEDED"],
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
    pipeline.create()
    received("aws.codepipeline")
    run = deed(pipeline)
    pipeline.go_on()
    pipeline.ended(run)
    expected = sorted(STATES[deed])

    def events() -> list[dict[str, Any]]:
        found = received("aws.codepipeline")
        return [each for each in found if each["detail"]["execution-id"] == run]

    eventually(lambda: sorted(each["detail"]["state"] for each in events()) == expected)
    first = events()[0]
    assert first["detail"].pop("start-time").endswith("Z")
    assert first["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"]
    assert first["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert first["detail"] | {"state": ""} == {
        "pipeline": NAME,
        "execution-id": run,
        "state": "",
        "version": 1.0,
    }


def test_events_may_be_lost(
    pipeline: Pipeline, received: Callable[[str], list[dict[str, Any]]]
) -> None:
    """The EventBridge events reference: CodePipeline's events are delivered on a best-effort basis."""
    pipeline.create(loses_events=True)
    received("aws.codepipeline")
    pipeline.ended(pipeline.start())
    assert received("aws.codepipeline") == []
