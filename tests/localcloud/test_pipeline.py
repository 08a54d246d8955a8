"""The main pipeline's runs, held to botocore's service model and the CodePipeline User Guide (the guide)."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import botocore.session
import botocore.validate
import pytest
from botocore.exceptions import ClientError

from localcloud import pipeline, rules
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
MODEL = botocore.session.get_session().get_service_model("codepipeline")
NAME = "main"
SHORT = 0.1
NOTE = {
    "Type": "AWS::SSM::Parameter",
    "Properties": {"Name": "/note", "Type": "String", "Value": "1"},
}


def refused(operation: str, code: str) -> Any:
    """Expect an error that the operation's model knows."""
    assert code in {shape.error_code for shape in MODEL.operation_model(operation).error_shapes}
    return pytest.raises(ClientError, match=rf"\({code}\)")


@pytest.fixture
def codepipeline(cloud: LocalCloud) -> Any:
    return client(cloud, "codepipeline")


def create(cloud: LocalCloud, run_seconds: float = SHORT, *parameters: str, **more: Any) -> None:
    databases = [{"parameter": name, "cluster": name.strip("/")} for name in parameters]
    cloud.create_pipeline(NAME, run_seconds, databases, **more)


def start(codepipeline: Any, **parameters: Any) -> str:
    run: str = codepipeline.start_pipeline_execution(name=NAME, **parameters)["pipelineExecutionId"]
    return run


def status(codepipeline: Any, run: str) -> str:
    answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    found: str = answer["pipelineExecution"]["status"]
    return found


def seed(cloud: LocalCloud, identifier: str, **changes: Any) -> str:
    snapshot = {
        "account": PRODUCTION,
        "identifier": identifier,
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": "2026-01-04T01:00:00+00:00",
        "shared_with": [ACCEPTANCE],
    }
    arn: str = cloud.seed_snapshots([snapshot | changes])["arns"][0]
    return arn


def put(cloud: LocalCloud, name: str, value: str) -> None:
    client(cloud, "ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


def clusters(cloud: LocalCloud) -> dict[str, str]:
    """The acceptance clusters: identifier → the snapshot it was restored from."""
    found = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    return {
        cluster["DBClusterIdentifier"]: next(
            (tag["Value"] for tag in cluster["TagList"] if tag["Key"] == RESTORED_FROM), ""
        )
        for cluster in found
    }


def stages(codepipeline: Any) -> dict[str, dict[str, Any]]:
    found = codepipeline.get_pipeline_state(name=NAME)["stageStates"]
    return {stage["stageName"]: stage for stage in found}


def latest(codepipeline: Any) -> dict[str, str]:
    """The status of the newest run in each stage that one has entered."""
    return {
        name: stage["latestExecution"]["status"]
        for name, stage in stages(codepipeline).items()
        if "latestExecution" in stage
    }


def actions(codepipeline: Any, run: str) -> list[tuple[str, str]]:
    """The run's action executions and their statuses, oldest first."""
    found = codepipeline.list_action_executions(
        pipelineName=NAME, filter={"pipelineExecutionId": run}
    )["actionExecutionDetails"]
    return [(each["actionName"], each["status"]) for each in reversed(found)]


def eventually(condition: Callable[[], object]) -> None:
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


def listed(codepipeline: Any) -> list[dict[str, Any]]:
    answer = codepipeline.list_pipeline_executions(pipelineName=NAME)
    found: list[dict[str, Any]] = answer["pipelineExecutionSummaries"]
    return found


def stack(cloud: LocalCloud, name: str = NAME) -> dict[str, Any]:
    (found,) = client(cloud, "cloudformation").describe_stacks(StackName=name)["Stacks"]
    return dict(found)


def assert_modelled(answer: dict[str, Any], shape: str) -> None:
    """The answer has members of the model only, which its enumerations know."""
    botocore.validate.validate_parameters(
        {name: value for name, value in answer.items() if name != "ResponseMetadata"},
        MODEL.shape_for(shape),
    )


def run(cloud: LocalCloud) -> str:
    return cloud.wait_for_run(start(client(cloud, "codepipeline")), NAME)


def test_a_run_takes_its_time(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    execution = start(codepipeline)
    begun = status(codepipeline, execution)
    ended = cloud.wait_for_run(execution, NAME)
    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]

    assert (begun, ended) == ("InProgress", "Succeeded")
    assert summary["lastUpdateTime"] > summary["startTime"]
    assert summary["trigger"] == {
        "triggerType": "StartPipelineExecution",
        "triggerDetail": f"arn:aws:iam::{ACCEPTANCE}:user/admin",
    }
    assert summary.keys() <= MODEL.shape_for("PipelineExecutionSummary").members.keys()
    assert {begun, ended} <= set(MODEL.shape_for("PipelineExecutionStatus").enum)
    assert UUID(execution)


def test_a_run_keeps_time_by_the_clouds_clock(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)
    cloud.set_clock(datetime(2026, 1, 4, 4, tzinfo=UTC))
    run(cloud)

    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]
    assert f"{summary['startTime'].astimezone(UTC):%Y-%m-%d %H}" == "2026-01-04 04"


def test_equal_tokens_start_one_run(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    first = start(codepipeline, clientRequestToken="2026-01-04-refresh")
    cloud.wait_for_run(first, NAME)
    again = start(codepipeline, clientRequestToken="2026-01-04-refresh")
    other = start(codepipeline, clientRequestToken="2026-01-18-refresh")

    assert again == first
    assert other != first
    answer = codepipeline.list_pipeline_executions(pipelineName=NAME)
    assert len(answer["pipelineExecutionSummaries"]) == 2


def test_equal_tokens_start_one_run_even_at_once(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    with ThreadPoolExecutor(8) as pool:
        started = pool.map(lambda _: start(codepipeline, clientRequestToken="same"), range(16))

    assert len(set(started)) == 1


@pytest.mark.parametrize("token", ["arn:aws:events", "with space", "x" * 129])
def test_a_token_is_made_of_letters_digits_and_hyphens(
    cloud: LocalCloud, codepipeline: Any, token: str
) -> None:
    create(cloud)
    shape = MODEL.shape_for("ClientRequestToken")
    assert (shape.metadata["pattern"], shape.metadata["max"]) == ("^[a-zA-Z0-9-]+$", 128)

    with refused("StartPipelineExecution", "ValidationException"):
        start(codepipeline, clientRequestToken=token)


def test_a_pipeline_that_is_not_there_is_not_found(codepipeline: Any) -> None:
    with refused("StartPipelineExecution", "PipelineNotFoundException"):
        start(codepipeline)
    with refused("ListPipelineExecutions", "PipelineNotFoundException"):
        codepipeline.list_pipeline_executions(pipelineName=NAME)


def test_a_start_is_refused_once_if_so_ordered(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)
    cloud.patch_pipeline(NAME, start_error="ConflictException")

    with refused("StartPipelineExecution", "ConflictException"):
        start(codepipeline)
    assert cloud.wait_for_run(start(codepipeline), NAME) == "Succeeded"


def test_runs_are_listed_newest_first_and_in_pages(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 0)
    runs = []
    for _ in range(5):
        runs.append(start(codepipeline))
        cloud.wait_for_run(runs[-1], NAME)

    pages = list(
        codepipeline.get_paginator("list_pipeline_executions").paginate(
            pipelineName=NAME, PaginationConfig={"PageSize": 2}
        )
    )

    listed = [[s["pipelineExecutionId"] for s in p["pipelineExecutionSummaries"]] for p in pages]
    assert listed == [runs[:2:-1], runs[2:0:-1], runs[:1]]


def test_a_page_of_runs_is_asked_for_properly(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    with refused("ListPipelineExecutions", "ValidationException"):
        codepipeline.list_pipeline_executions(pipelineName=NAME, maxResults=101)
    for token in ("bm9uZQ==", "ü"):
        with refused("ListPipelineExecutions", "InvalidNextTokenException"):
            codepipeline.list_pipeline_executions(pipelineName=NAME, nextToken=token)


def test_a_new_value_replaces_the_cluster(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    first, second = seed(cloud, "first"), seed(cloud, "second")

    put(cloud, "/current", first)
    assert run(cloud) == "Succeeded"
    before = clusters(cloud)
    put(cloud, "/current", second)
    assert run(cloud) == "Succeeded"
    after = clusters(cloud)

    assert list(before.values()) == [first]
    assert list(after.values()) == [second]
    assert before.keys().isdisjoint(after)
    assert all(name.startswith("main-current-") for name in (*before, *after))


def test_a_cluster_that_is_protected_from_deletion_stays_beside_the_new_one(
    cloud: LocalCloud,
) -> None:
    create(cloud, SHORT, "/current")
    first, second = seed(cloud, "first"), seed(cloud, "second")
    put(cloud, "/current", first)
    run(cloud)
    (old,) = clusters(cloud)
    client(cloud, "rds").modify_db_cluster(DBClusterIdentifier=old, DeletionProtection=True)

    put(cloud, "/current", second)

    assert run(cloud) == "Succeeded"
    assert sorted(clusters(cloud).values()) == [first, second]


def test_the_same_value_leaves_the_cluster_alone(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    put(cloud, "/current", seed(cloud, "first"))
    run(cloud)
    before = clusters(cloud)

    assert run(cloud) == "Succeeded"
    assert clusters(cloud) == before


@pytest.mark.parametrize("value", [None, "dummyvalue", "unavailable", "default-key"])
def test_a_value_that_cannot_be_restored_fails_the_run_and_changes_nothing(
    cloud: LocalCloud, codepipeline: Any, value: str | None
) -> None:
    """All or nothing, as a stack's update is: the first database's new cluster goes again."""
    create(cloud, SHORT, "/first", "/second")
    kept = seed(cloud, "kept")
    put(cloud, "/first", kept)
    put(cloud, "/second", kept)
    run(cloud)
    before = clusters(cloud)
    values = {
        "unavailable": lambda: seed(cloud, "unavailable", status="copying"),
        "default-key": lambda: seed(cloud, "default-key", kms_key_id="alias/aws/rds"),
    }

    put(cloud, "/first", seed(cloud, "new"))
    if value is None:
        client(cloud, "ssm").delete_parameter(Name="/second")
    else:
        put(cloud, "/second", values.get(value, lambda: value)())
    execution = start(codepipeline)

    assert cloud.wait_for_run(execution, NAME) == "Failed"
    assert clusters(cloud) == before
    answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=execution)
    assert answer["pipelineExecution"]["statusSummary"]


def test_a_run_may_fail_before_or_after_it_deploys(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)
    cloud.patch_pipeline(NAME, next_outcomes=["Failed", "FailedAfterDeploy"])

    assert run(cloud) == "Failed"
    assert clusters(cloud) == {}
    assert run(cloud) == "Failed"
    assert list(clusters(cloud).values()) == [arn]
    assert run(cloud) == "Succeeded"


def test_a_run_is_superseded_only_while_it_waits_for_a_stage(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The guide, "How executions are processed in SUPERSEDED mode": a stage is locked by one execution, and
    the one that waits for it gives way to a newer one that arrives."""
    create(cloud, 0, hold=["Deploy"])
    first = start(codepipeline)
    cloud.wait_until_held(NAME, "Deploy")
    second = start(codepipeline)
    eventually(lambda: stages(codepipeline)["Deploy"].get("inboundExecution"))
    inbound = stages(codepipeline)["Deploy"]["inboundExecution"]
    assert inbound == {"pipelineExecutionId": second, "status": "InProgress", "type": "STANDARD"}

    third = start(codepipeline)
    assert cloud.wait_for_run(second, NAME) == "Superseded"
    cloud.patch_pipeline(NAME, hold=[])

    assert cloud.wait_for_run(third, NAME) == "Succeeded"
    assert status(codepipeline, first) == "Succeeded"
    assert actions(codepipeline, second) == [("Source", "Succeeded"), ("Build", "Succeeded")]


def test_queued_runs_enter_a_stage_in_the_order_of_their_start(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The guide, "How executions are processed in QUEUED mode"."""
    create(cloud, 0, mode="QUEUED", hold=["Deploy"])
    runs = []
    for waiting in range(3):
        runs.append(start(codepipeline))
        eventually(lambda: len(stages(codepipeline)["Deploy"]["inboundExecutions"]) == waiting)  # noqa: B023
        cloud.wait_until_held(NAME, "Deploy")

    cloud.patch_pipeline(NAME, hold=[])

    assert {cloud.wait_for_run(each, NAME) for each in runs} == {"Succeeded"}
    listed = codepipeline.list_action_executions(pipelineName=NAME)["actionExecutionDetails"]
    entered = [each["pipelineExecutionId"] for each in listed if each["actionName"] == "Test"]
    assert entered == runs[::-1]


def test_a_run_is_abandoned_at_once(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 0, "/current", hold=["Build"])
    put(cloud, "/current", seed(cloud, "first"))
    execution = start(codepipeline)
    cloud.wait_until_held(NAME, "Build")

    codepipeline.stop_pipeline_execution(
        pipelineName=NAME, pipelineExecutionId=execution, abandon=True, reason="not today"
    )

    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]
    assert summary["status"] == "Stopped"
    assert summary["stopTrigger"] == {"reason": "not today"}
    assert actions(codepipeline, execution) == [("Source", "Succeeded"), ("Build", "Abandoned")]
    assert latest(codepipeline) == {"Source": "Succeeded", "Build": "Stopped"}
    assert clusters(cloud) == {}


def test_a_stack_goes_on_being_deployed_when_its_action_is_abandoned(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The guide, "How executions are stopped": abandoning can lead to out-of-sequence tasks. A run that
    comes next finds the stack in progress, which UpdateStack refuses."""
    create(cloud, 0, "/current", hold=["Deploy:restoring"])
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)
    execution = start(codepipeline)
    cloud.wait_until_held(NAME, "Deploy:restoring")

    codepipeline.stop_pipeline_execution(
        pipelineName=NAME, pipelineExecutionId=execution, abandon=True
    )
    assert run(cloud) == "Failed"
    cloud.patch_pipeline(NAME, hold=[])

    eventually(lambda: stack(cloud)["StackStatus"] == "CREATE_COMPLETE")
    assert list(clusters(cloud).values()) == [arn]
    assert status(codepipeline, execution) == "Stopped"


def test_a_run_stops_when_its_stage_has_come_to_its_end(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    create(cloud, 0, "/current", hold=["Build"])
    put(cloud, "/current", seed(cloud, "first"))
    execution = start(codepipeline)
    cloud.wait_until_held(NAME, "Build")
    stop = {"pipelineName": NAME, "pipelineExecutionId": execution}

    codepipeline.stop_pipeline_execution(**stop)

    assert status(codepipeline, execution) == "Stopping"
    with refused("StopPipelineExecution", "DuplicatedStopRequestException"):
        codepipeline.stop_pipeline_execution(**stop)
    assert latest(codepipeline)["Build"] == "Stopping"
    cloud.patch_pipeline(NAME, hold=[])
    assert cloud.wait_for_run(execution, NAME) == "Stopped"
    assert actions(codepipeline, execution)[-1] == ("Build", "Succeeded")
    assert clusters(cloud) == {}
    with refused("StopPipelineExecution", "PipelineExecutionNotStoppableException"):
        codepipeline.stop_pipeline_execution(**stop)


def test_the_state_tells_which_run_is_in_which_stage(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 0)
    done = start(codepipeline)
    cloud.wait_for_run(done, NAME)
    cloud.patch_pipeline(NAME, hold=["Build"])
    begun = start(codepipeline)
    cloud.wait_until_held(NAME, "Build")

    state = codepipeline.get_pipeline_state(name=NAME)

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
    (building,) = state["stageStates"][1]["actionStates"]
    assert building["latestExecution"]["status"] == "InProgress"


def test_actions_are_listed_newest_first_in_pages_with_what_they_were_given(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The API reference of ListActionExecutions."""
    create(cloud, 0, "/current", stack="databases")
    put(cloud, "/current", seed(cloud, "first"))
    runs = [start(codepipeline)]
    cloud.wait_for_run(runs[0], NAME)
    runs.append(start(codepipeline))
    cloud.wait_for_run(runs[1], NAME)

    pages = codepipeline.get_paginator("list_action_executions").paginate(
        pipelineName=NAME, PaginationConfig={"PageSize": 3}
    )
    found = [each for page in pages for each in page["actionExecutionDetails"]]

    names = ["Test", "Deploy", "Build", "Source"]
    assert [(each["pipelineExecutionId"], each["actionName"]) for each in found] == [
        (run, name) for run in reversed(runs) for name in names
    ]
    deploy = found[5]
    assert_modelled(deploy, "ActionExecutionDetail")
    assert deploy["input"]["actionTypeId"]["provider"] == "CloudFormation"
    assert deploy["input"]["resolvedConfiguration"]["StackName"] == "databases"
    assert deploy["input"]["region"] == REGION
    url = deploy["output"]["executionResult"]["externalExecutionUrl"]
    assert url.endswith(f"stackId={stack(cloud, 'databases')['StackId']}")
    with refused("ListActionExecutions", "PipelineExecutionNotFoundException"):
        actions(codepipeline, "00000000-0000-0000-0000-000000000000")


def test_a_cluster_is_made_while_its_action_runs_from_what_the_parameter_holds_then(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """CloudFormation's guide, "Systems Manager parameter types": the value is fetched when the stack is
    updated, however long ago the run began. All times are the cloud's clock's."""
    noon = datetime(2026, 1, 4, 12, tzinfo=UTC)
    cloud.set_clock(noon)
    create(cloud, 0, "/current", hold=["Deploy"])
    put(cloud, "/current", seed(cloud, "first"))
    execution = start(codepipeline)
    cloud.wait_until_held(NAME, "Deploy")
    cloud.set_clock(noon + timedelta(hours=1))
    second = seed(cloud, "second")
    put(cloud, "/current", second)
    cloud.patch_pipeline(NAME, hold=["Deploy:restoring"])
    cloud.wait_until_held(NAME, "Deploy:restoring")
    assert stack(cloud)["StackStatus"] == "CREATE_IN_PROGRESS"
    cloud.patch_pipeline(NAME, hold=[])
    cloud.wait_for_run(execution, NAME)

    (cluster,) = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    listed = codepipeline.list_action_executions(pipelineName=NAME)["actionExecutionDetails"]
    deploy = next(each for each in listed if each["actionName"] == "Deploy")
    written = client(cloud, "ssm").get_parameter(Name="/current")["Parameter"]["LastModifiedDate"]
    assert list(clusters(cloud).values()) == [second]
    assert deploy["startTime"] < written <= cluster["ClusterCreateTime"] <= deploy["lastUpdateTime"]
    assert timedelta() <= written - noon - timedelta(hours=1) < timedelta(minutes=1)
    assert re.fullmatch("cluster-[A-Z0-9]{26}", cluster["DbClusterResourceId"])


def test_an_approval_is_given_or_refused_with_its_token(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The API reference of PutApprovalResult, and the guide, "Approve or reject an approval action"."""
    create(cloud, 0, stages=["Source", "Approval", "Deploy"])
    approval = {"pipelineName": NAME, "stageName": "Approval", "actionName": "Approval"}

    def answer(verdict: str) -> tuple[str, dict[str, Any]]:
        execution = start(codepipeline)
        eventually(lambda: latest(codepipeline).get("Approval") == "InProgress")
        eventually(lambda: "token" in state()["latestExecution"])
        given = approval | {"result": {"status": verdict, "summary": "by Jo"}}
        with refused("PutApprovalResult", "InvalidApprovalTokenException"):
            codepipeline.put_approval_result(**given, token=execution)
        given["token"] = state()["latestExecution"]["token"]
        codepipeline.put_approval_result(**given)
        with refused("PutApprovalResult", "ApprovalAlreadyCompletedException"):
            codepipeline.put_approval_result(**given)
        return cloud.wait_for_run(execution, NAME), state()["latestExecution"]

    def state() -> dict[str, Any]:
        (found,) = stages(codepipeline)["Approval"]["actionStates"]
        return dict(found)

    ended, approved = answer("Approved")
    assert (ended, approved["status"], approved["summary"]) == ("Succeeded", "Succeeded", "by Jo")
    ended, rejected = answer("Rejected")
    assert (ended, rejected["status"]) == ("Failed", "Failed")


def test_a_run_waits_at_a_disabled_transition(cloud: LocalCloud, codepipeline: Any) -> None:
    """The API reference of DisableStageTransition: artifacts do not transition into the stage."""
    create(cloud, 0)
    deploy = {"pipelineName": NAME, "stageName": "Deploy", "transitionType": "Inbound"}
    codepipeline.disable_stage_transition(**deploy, reason="not on a Friday")
    execution = start(codepipeline)
    eventually(lambda: stages(codepipeline)["Deploy"].get("inboundExecution"))

    transition = stages(codepipeline)["Deploy"]["inboundTransitionState"]
    assert (transition["enabled"], transition["disabledReason"]) == (False, "not on a Friday")
    assert transition["lastChangedBy"].endswith("user/admin")
    codepipeline.enable_stage_transition(**deploy)

    assert cloud.wait_for_run(execution, NAME) == "Succeeded"
    assert stages(codepipeline)["Deploy"]["inboundTransitionState"]["enabled"]


def test_a_stage_may_be_skipped_and_a_later_one_fail(cloud: LocalCloud, codepipeline: Any) -> None:
    """The guide, "Configure conditions for a stage": a Skip result leaves the stage out, and the run goes
    on."""
    create(cloud, 0, "/current", next_outcomes=["Skip Deploy", "Failed in Test"])
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)

    skipping = start(codepipeline)
    assert cloud.wait_for_run(skipping, NAME) == "Succeeded"
    assert "Deploy" not in dict(actions(codepipeline, skipping))
    assert latest(codepipeline)["Deploy"] == "Skipped"
    assert clusters(cloud) == {}
    assert run(cloud) == "Failed"
    assert (latest(codepipeline)["Deploy"], latest(codepipeline)["Test"]) == ("Succeeded", "Failed")
    assert list(clusters(cloud).values()) == [arn]


def test_a_failed_stage_is_retried_by_the_same_run(cloud: LocalCloud, codepipeline: Any) -> None:
    """The guide, "Configuring stage retry"; "Latest" is taken to mean the latest attempt."""
    databases = [
        {"parameter": "/current", "cluster": "one"},
        {"parameter": "/current", "cluster": "two", "stack": "other"},
    ]
    cloud.create_pipeline(NAME, 0, databases, next_outcomes=["Failed in Deploy-other"])
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)
    execution = start(codepipeline)
    retry = {"pipelineName": NAME, "pipelineExecutionId": execution, "stageName": "Deploy"}
    assert cloud.wait_for_run(execution, NAME) == "Failed"
    with refused("RetryStageExecution", "NotLatestPipelineExecutionException"):
        codepipeline.retry_stage_execution(
            **retry | {"stageName": "Test"}, retryMode="FAILED_ACTIONS"
        )
    # A stack whose creation was rolled back can only be deleted.
    client(cloud, "cloudformation").delete_stack(StackName="other")
    eventually(lambda: len(client(cloud, "cloudformation").describe_stacks()["Stacks"]) == 1)

    answer = codepipeline.retry_stage_execution(**retry, retryMode="FAILED_ACTIONS")

    assert answer["pipelineExecutionId"] == execution
    assert cloud.wait_for_run(execution, NAME) == "Succeeded"
    assert actions(codepipeline, execution) == [
        ("Source", "Succeeded"),
        ("Build", "Succeeded"),
        ("Deploy", "Succeeded"),
        ("Deploy-other", "Failed"),
        ("Deploy-other", "Succeeded"),
        ("Test", "Succeeded"),
    ]
    last = {"pipelineExecutionId": execution, "startTimeRange": "Latest"}
    found = codepipeline.list_action_executions(
        pipelineName=NAME, filter={"latestInPipelineExecution": last}
    )["actionExecutionDetails"]
    assert [each["actionName"] for each in found] == ["Test", "Deploy-other"]
    with refused("RetryStageExecution", "StageNotRetryableException"):
        codepipeline.retry_stage_execution(**retry, retryMode="ALL_ACTIONS")


def test_a_rollback_runs_one_stage_with_the_targets_template_and_the_parameters_present_value(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The guide, "Configuring stage rollback": a new execution with the target's revisions."""
    create(cloud, 0, "/current")
    first, second = seed(cloud, "first"), seed(cloud, "second")
    put(cloud, "/current", first)
    target = start(codepipeline)
    cloud.wait_for_run(target, NAME)
    cloud.patch_pipeline(NAME, template=json.dumps({"Resources": {"A": NOTE}}))
    run(cloud)
    assert clusters(cloud) == {}
    put(cloud, "/current", second)
    rollback = {"pipelineName": NAME, "targetPipelineExecutionId": target}

    execution = codepipeline.rollback_stage(**rollback, stageName="Deploy")["pipelineExecutionId"]

    assert cloud.wait_for_run(execution, NAME) == "Succeeded"
    assert list(clusters(cloud).values()) == [second]
    assert actions(codepipeline, execution) == [("Deploy", "Succeeded")]
    answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=execution)
    found = answer["pipelineExecution"]
    assert_modelled(found, "PipelineExecution")
    assert (found["executionType"], found["trigger"]["triggerType"], found["rollbackMetadata"]) == (
        "ROLLBACK",
        "ManualRollback",
        {"rollbackTargetPipelineExecutionId": target},
    )
    assert stages(codepipeline)["Deploy"]["latestExecution"]["type"] == "ROLLBACK"
    for stage, to in (("Source", target), ("Deploy", execution)):
        with refused("RollbackStage", "UnableToRollbackStageException"):
            codepipeline.rollback_stage(
                pipelineName=NAME, stageName=stage, targetPipelineExecutionId=to
            )


def test_a_stage_can_roll_itself_back_when_it_fails(cloud: LocalCloud, codepipeline: Any) -> None:
    """The guide, "Configure a stage for automatic rollback": to the last execution that succeeded there."""
    deploy = {"name": "Deploy", "onFailure": {"result": "ROLLBACK"}}
    create(cloud, 0, "/current", stages=["Source", deploy])
    put(cloud, "/current", seed(cloud, "first"))
    good = start(codepipeline)
    cloud.wait_for_run(good, NAME)
    second = seed(cloud, "second")
    put(cloud, "/current", second)
    cloud.patch_pipeline(NAME, next_outcomes=["Failed in Deploy"])

    failed = start(codepipeline)
    assert cloud.wait_for_run(failed, NAME) == "Failed"
    eventually(lambda: len(listed(codepipeline)) == 3)
    summary = listed(codepipeline)[0]

    assert_modelled(summary, "PipelineExecutionSummary")
    assert summary["executionType"] == "ROLLBACK"
    assert summary["rollbackMetadata"] == {"rollbackTargetPipelineExecutionId": good}
    assert summary["trigger"]["triggerType"] == "AutomatedRollback"
    assert cloud.wait_for_run(summary["pipelineExecutionId"], NAME) == "Succeeded"
    # The failed update was rolled back; the roll-back run resolved the parameter anew.
    assert list(clusters(cloud).values()) == [second]


def test_a_changed_structure_cancels_the_runs_in_progress(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    """The API reference of PipelineExecution: "Cancelled: The pipeline's definition was updated before the
    pipeline execution could be completed"."""
    create(cloud, 0, hold=["Build"])
    execution = start(codepipeline)
    cloud.wait_until_held(NAME, "Build")

    definition = codepipeline.get_pipeline(name=NAME)["pipeline"]
    del definition["stages"][1]
    codepipeline.update_pipeline(pipeline=definition)

    assert status(codepipeline, execution) == "Cancelled"
    assert run(cloud) == "Succeeded"


def test_a_listing_of_runs_may_lag_behind(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 0)
    run(cloud)
    assert [each["status"] for each in listed(codepipeline)] == ["Succeeded"]
    cloud.patch_pipeline(NAME, listing_lag=2)

    execution = start(codepipeline)
    assert cloud.wait_for_run(execution, NAME) == "Succeeded"

    assert [len(listed(codepipeline)) for _ in range(4)] == [1, 1, 2, 2]


def test_a_reset_ends_every_run(cloud: LocalCloud, codepipeline: Any) -> None:
    """Else the old run would deploy into the new cloud."""
    create(cloud, 0.4, "/current")
    start(codepipeline)

    cloud.reset()
    put(cloud, "/current", seed(cloud, "first"))
    sleep(0.6)

    assert clusters(cloud) == {}
    assert codepipeline.list_pipelines()["pipelines"] == []


def test_the_pipeline_has_its_service_role(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    definition = codepipeline.get_pipeline(name=NAME)["pipeline"]
    role = client(cloud, "iam").get_role(RoleName=f"{NAME}-service-role")["Role"]

    assert definition["roleArn"] == role["Arn"]
    names = ["Source", "Build", "Deploy", "Test"]
    assert [stage["name"] for stage in definition["stages"]] == names
    assert "codepipeline.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"])


def test_the_control_surface_refuses_nonsense(cloud: LocalCloud) -> None:
    create(cloud)

    with pytest.raises(ValueError, match="already"):
        create(cloud)
    with pytest.raises(ValueError, match="outcome"):
        cloud.patch_pipeline(NAME, next_outcomes=["Exploded"])
    with pytest.raises(ValueError, match="no pipeline"):
        cloud.patch_pipeline("other", run_seconds=1)


class TestEvents:
    """In this process, as events are put on the bus rather than answered."""

    @pytest.fixture
    def events(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        published: list[dict[str, Any]] = []

        def publish(account: str, region: str, event: dict[str, Any]) -> None:
            assert (account, region) == (ACCEPTANCE, REGION)
            published.append(event)

        monkeypatch.setattr(rules, "publish", publish)
        return published

    @pytest.fixture
    def backend(self) -> Any:
        backend = pipeline.RunningCodePipelineBackend(REGION, ACCEPTANCE)
        kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        stages = [
            {"name": name, "actions": [{"name": name, "actionTypeId": kind}]}
            for name in ("Source", "Build")
        ]
        backend.pipelines[NAME] = pipeline.CodePipeline(
            ACCEPTANCE, REGION, {"name": NAME, "stages": stages}
        )
        backend.behaviour(NAME).run_seconds = 0
        return backend

    def begin(self, backend: Any, **behaviour: Any) -> Any:
        for name, value in behaviour.items():
            setattr(backend.behaviour(NAME), name, value)
        token = f"token-{len(backend.pipelines[NAME].executions)}"
        return backend.pipelines[NAME].executions[backend.start_run(NAME, None, token, "")]

    def release(self, backend: Any) -> None:
        with backend.behaviour(NAME).changed:
            backend.behaviour(NAME).hold = set()
            backend.behaviour(NAME).changed.notify_all()

    @staticmethod
    def states(events: list[dict[str, Any]], run: Any) -> list[str]:
        return [
            event["detail"]["state"]
            for event in events
            if event["detail"]["execution-id"] == run.pipeline_execution_id
        ]

    def test_an_event_has_the_documented_form(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        execution = self.begin(backend)
        execution.thread.join()

        started, succeeded = events
        assert UUID(started.pop("id")) != UUID(succeeded.pop("id"))
        for event, state in ((started, "STARTED"), (succeeded, "SUCCEEDED")):
            assert event.pop("time").endswith("Z")
            start_time = event["detail"].pop("start-time")
            assert (start_time[10], start_time[-5], start_time[-1]) == ("T", ".", "Z")
            assert event == {
                "version": "0",
                "detail-type": "CodePipeline Pipeline Execution State Change",
                "source": "aws.codepipeline",
                "account": ACCEPTANCE,
                "region": REGION,
                "resources": [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"],
                "detail": {
                    "pipeline": NAME,
                    "execution-id": execution.pipeline_execution_id,
                    "state": state,
                    "version": 1.0,
                },
            }

    def test_a_failure_and_a_retry_are_announced(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        """The guide, "CodePipeline events": RESUMED when a failed execution has been retried."""
        execution = self.begin(backend, next_outcomes=["Failed in Build"])
        execution.thread.join()
        backend.retry_stage(NAME, "Build", execution.pipeline_execution_id, "FAILED_ACTIONS")
        execution.thread.join()

        assert self.states(events, execution) == ["STARTED", "FAILED", "RESUMED", "SUCCEEDED"]

    def test_being_superseded_is_announced(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        runs = [self.begin(backend, hold={"Source"}) for _ in range(3)]
        self.release(backend)
        for execution in runs:
            execution.thread.join()

        assert [self.states(events, execution) for execution in runs] == [
            ["STARTED", "SUCCEEDED"],
            ["STARTED", "SUPERSEDED"],
            ["STARTED", "SUCCEEDED"],
        ]

    @pytest.mark.parametrize("abandon", [True, False])
    def test_stopping_is_announced(
        self, backend: Any, events: list[dict[str, Any]], abandon: bool
    ) -> None:
        execution = self.begin(backend, hold={"Build"})
        backend.stop_run(NAME, execution.pipeline_execution_id, abandon, None)
        self.release(backend)
        execution.thread.join()

        assert self.states(events, execution) == ["STARTED", "STOPPING", "STOPPED"]

    def test_being_cancelled_is_announced(self, backend: Any, events: list[dict[str, Any]]) -> None:
        execution = self.begin(backend, hold={"Build"})
        backend.update_pipeline(backend.pipelines[NAME].pipeline)
        self.release(backend)
        execution.thread.join()

        assert self.states(events, execution) == ["STARTED", "CANCELED"]

    def test_a_forgotten_run_says_nothing_more(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        execution = self.begin(backend, hold={"Build"})
        backend.reset()

        assert not execution.thread.is_alive()
        assert backend.pipelines == {}
        assert self.states(events, execution) == ["STARTED"]

    @pytest.mark.parametrize(
        ("kind", "announced"),
        [
            ("lost", ["STARTED", "STARTED", "SUCCEEDED"]),
            ("late", ["STARTED", "STARTED", "SUCCEEDED"]),
            ("twice", ["STARTED", "SUCCEEDED", "SUCCEEDED", "STARTED", "SUCCEEDED"]),
        ],
    )
    def test_an_event_may_be_lost_late_or_delivered_twice(
        self, backend: Any, events: list[dict[str, Any]], kind: str, announced: list[str]
    ) -> None:
        """The EventBridge events reference: CodePipeline's events are delivered on a best-effort basis."""
        fault = {"kind": kind, "times": 1, "states": ["SUCCEEDED", "FAILED"]}
        backend.behaviour(NAME).event_faults = [fault]
        for _ in range(2):
            self.begin(backend).thread.join()

        assert [event["detail"]["state"] for event in events] == announced
        late = backend.behaviour(NAME).late_events
        assert [event["detail"]["state"] for event in late] == ["SUCCEEDED"] * (kind == "late")

    def test_a_run_whose_action_raises_fails(
        self, backend: Any, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it was: the next run must not wait for ever."""

        def burst(_: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(backend.runner, "_perform", burst)
        execution = self.begin(backend)
        execution.thread.join()

        assert (execution.status, execution.status_summary) == ("Failed", "OSError: no space left")
        assert self.states(events, execution) == ["STARTED", "FAILED"]
