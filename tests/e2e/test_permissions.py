"""What each function was seen to do, against what its role lets it do: neither less nor more.

One story is told in which every function does everything that it ever does, kills and lost answers aside.
Its calls, with the ARNs they touch, are weighed by moto's policy engine against the roles as deployed: an engine
that this project did not write, unlike the local cloud's own, which weighed the same calls when they were made.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.company import PIPELINE, STACK, Company
from tests.e2e.conftest import FOLLOW, RECONCILE, RESTORE, UPDATE, Night

API = "api_handler"
ROUTE = "/snapshots/current"
FUNCTIONS = {
    UPDATE: f"aurora-refresh-local-{UPDATE}",
    RESTORE: f"aurora-refresh-local-{RESTORE}",
    FOLLOW: f"aurora-refresh-local-{FOLLOW}",
    RECONCILE: f"aurora-refresh-local-{RECONCILE}",
    API: "aurora-refresh-local",
}
# Lambda itself writes a function's log, with the function's role; no code of ours ever calls these.
WRITTEN_BY_LAMBDA = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}

Grant = tuple[str, str]


class Record:
    """Each function's calls, as (action, ARN), and its role's policy document."""

    def __init__(self, company: Company, journal: Sequence[Mapping[str, Any]]) -> None:
        iam = company.cloud.client("iam")
        self.calls: dict[str, set[Grant]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        for function, deployed in FUNCTIONS.items():
            self.calls[function] = {
                (call["operation"], resource)
                for call in journal
                if call["function"] == deployed
                for resource in call["resources"]
            }
            role = f"aurora-refresh-local-{function}"
            (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
            assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
            self.policies[function] = iam.get_role_policy(RoleName=role, PolicyName=name)[
                "PolicyDocument"
            ]

    def allows(self, function: str, action: str, resource: str) -> bool:
        return permits(self.policies[function], action, resource)

    def grants(self, function: str) -> set[Grant]:
        """Every action with every resource that the role grants it on."""
        return {
            (action, resource)
            for statement in self.policies[function]["Statement"]
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def permits(
    policy: dict[str, Any], action: str, resource: str, circumstances: dict[str, str] | None = None
) -> bool:
    """The verdict of moto's engine, statement by statement: it takes an Allow whose condition is not met for a Deny.

    Of conditions it knows StringEquals, and takes what it is not told of for met.
    """
    verdicts = {
        (
            statement["Effect"],
            IAMPolicy(
                {"policy_document": json.dumps({"Statement": [statement]})}
            ).is_action_permitted(action, resource, incoming_condition_values=circumstances or {}),
        )
        for statement in policy["Statement"]
    }
    allowed, denied = ("Allow", PermissionResult.PERMITTED), ("Deny", PermissionResult.DENIED)
    return allowed in verdicts and denied not in verdicts


# --- the story ------------------------------------------------------------------------------------


def asked(night: Night, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    """The API's answer to a signed request."""
    answered, answer = night.cloud.signed(method, path, body)
    assert answered == status, answer
    return answer


def deny_starts(cloud: LocalCloud, times: int = 0) -> None:
    cloud.set_faults(
        [{"operation": "codepipeline:StartPipelineExecution", "kind": "deny", "times": times}]
    )


def settle(night: Night, status: str) -> None:
    """Wait until the night's run has ended, and its end was seen."""
    (run,) = night.runs()
    assert run["status"] == status
    night.poll()


def a_night_on_which_the_pipeline_is_busy(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.update()
    night.cloud.patch_pipeline(PIPELINE, hold=["Build"])
    night.cloud.client("codepipeline").start_pipeline_execution(name=PIPELINE)
    assert {record["status"] for record in night.restore()} == {"failed"}
    assert asked(night, "GET", "/status")["pipeline"]["under_way"]
    night.cloud.patch_pipeline(PIPELINE, hold=[])
    settle(night, "Succeeded")


def a_good_night_and_a_bad_one(next_night: Callable[[], Night]) -> None:
    """Parameter Store keeps a hundred versions, and does not drop the oldest while it has a label.

    The label then moves to a younger version of the same value, or is removed if there is none.
    """
    night = next_night()
    assert night.update()["outcome"] == "updated"
    night.restore()
    settle(night, "Succeeded")
    assert night.company.good() == night.new

    night = next_night()
    night.update()
    fill(night, "twin", "twin", "single", "labelled")
    deny_starts(night.cloud, times=1)
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed"])
    assert [record["status"] for record in night.restore()] == ["failed", "succeeded"]
    settle(night, "Failed")
    assert night.current() == night.old


def fill(night: Night, *oldest: str) -> None:
    """Give *current* a hundred versions, the last of which is deployed.

    The first and the last of the oldest ones have a label.
    """
    ssm, name = night.cloud.client("ssm"), night.company.current
    (cluster,) = night.cloud.client("rds").describe_db_clusters()["DBClusters"]
    (deployed,) = night.company.clusters().values()
    ssm.delete_parameter(Name=name)
    values = [*oldest, *(f"single {number}" for number in range(len(oldest), 99)), deployed]
    for value in values:
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    deployed_labels = [cluster["DbClusterResourceId"], "run-unknown"]
    for version, labels in ((1, ["good"]), (len(oldest), ["other"]), (100, deployed_labels)):
        ssm.label_parameter_version(Name=name, ParameterVersion=version, Labels=labels)


def an_operator_s_day(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.cloud.set_faults([{"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny"}])
    attempts = night.cloud.fire(UPDATE, night.two)
    assert [record["status"] for record in attempts] == ["failed", "succeeded"]
    asked(night, "GET", "/snapshots")
    asked(night, "GET", f"{ROUTE}/history")
    until = f"{night.two + timedelta(days=3):%Y-%m-%d}"
    asked(night, "PUT", "/hold", {"until": until})
    assert night.restore()[0]["payload"]["reason"] == "on-hold"
    asked(night, "DELETE", "/hold")
    assert asked(night, "POST", "/refresh", {})["outcome"] == "started"
    settle(night, "Succeeded")
    fill(night, "twin", "twin")
    asked(night, "PUT", ROUTE, {"snapshot": night.old})
    asked(night, "PUT", ROUTE, {"snapshot": "latest"})
    asked(night, "POST", f"{ROUTE}/rollback", {})
    assert night.current() == night.old


def a_first_promotion_without_a_run_leaves_no_parameter(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.update()
    ssm = night.cloud.client("ssm")
    ssm.delete_parameter(Name=night.company.current)
    deny_starts(night.cloud)
    assert {record["status"] for record in night.restore()} == {"failed"}
    asked(night, "PUT", ROUTE, {"snapshot": "latest", "deploy": True}, status=500)
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    night.cloud.set_faults([])
    ssm.put_parameter(Name=night.company.current, Value=night.old, Type="String")
    # Which data is deployed is looked up among the pipeline's actions again.
    asked(night, "GET", "/status")
    night.restore()
    settle(night, "Succeeded")


def a_first_run_that_fails_leaves_no_parameter(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.update()
    ssm, cloudformation = night.cloud.client("ssm"), night.cloud.client("cloudformation")
    ssm.delete_parameter(Name=night.company.current)
    cloudformation.delete_stack(StackName=STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed"])
    night.restore()
    settle(night, "Failed")
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    ssm.put_parameter(Name=night.company.current, Value=night.old, Type="String")
    run = night.cloud.client("codepipeline").start_pipeline_execution(name=PIPELINE)
    assert night.company.cloud.wait_for_run(run["pipelineExecutionId"], PIPELINE) == "Succeeded"


@pytest.fixture(scope="module")
def record(deployed: Company) -> Record:
    """What the whole story recorded."""
    journal: list[dict[str, Any]] = []

    def next_night(*, events: bool = True) -> Night:
        # A night begins with an empty journal.
        journal.extend(deployed.cloud.calls())
        return Night(deployed, events=events)

    a_night_on_which_the_pipeline_is_busy(next_night)
    an_operator_s_day(next_night)
    for events in (True, False):  # each end is seen by its event, and then by a poll alone
        next_one = partial(next_night, events=events)
        a_good_night_and_a_bad_one(next_one)
        a_first_promotion_without_a_run_leaves_no_parameter(next_one)
        a_first_run_that_fails_leaves_no_parameter(next_one)
    journal.extend(deployed.cloud.calls())
    return Record(deployed, journal)


# --- the proof ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_is_allowed_by_its_function_s_own_role(record: Record, function: str) -> None:
    assert record.calls[function]
    assert [call for call in record.calls[function] if not record.allows(function, *call)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_grant_is_used_on_the_very_resource(record: Record, function: str) -> None:
    unused = {
        action
        for action, resource in record.grants(function)
        # CloudFormation makes up the names of clusters.
        if not any(
            called == action and fnmatchcase(on, resource) for called, on in record.calls[function]
        )
    }
    assert unused == WRITTEN_BY_LAMBDA


def arn(service: str, resource: str, account: str = ACCEPTANCE, region: str = REGION) -> str:
    return f"arn:aws:{service}:{region}:{account}:{resource}"


LATEST = arn("ssm", "parameter/acceptance/rds/latest-snapshot")
CURRENT = arn("ssm", "parameter/acceptance/rds/current-snapshot")
PIPELINE_NAME = arn("ssm", "parameter/acceptance/cicd/main-pipeline-name")
HOLD = arn("ssm", "parameter/acceptance/refresh/hold")
MAIN = arn("codepipeline", PIPELINE)
STACK_ARN = arn("cloudformation", f"stack/{STACK}/0c8c4d70-0000-0000-0000-000000000000")
TOPIC = arn("sns", "aurora-refresh")
PARAMETERS = (LATEST, CURRENT, PIPELINE_NAME, HOLD)

# What nobody may do, although it is close to what somebody may.
NEIGHBOURS: list[Grant] = [
    *(
        (f"ssm:{action}", f"{resource}{suffix}")
        for action in ("GetParameters", "PutParameter", "DeleteParameter", "GetParameterHistory")
        for resource in PARAMETERS
        for suffix in ("-2", "/password")
    ),
    *(
        (f"ssm:{action}", arn("ssm", "parameter/acceptance/rds/current-snapshot", *where))
        for action in ("PutParameter", "DeleteParameter")
        for where in ((PRODUCTION, REGION), (ACCEPTANCE, "eu-west-2"))
    ),
    *(
        (f"ssm:{action}", CURRENT)
        for action in ("GetParametersByPath", "AddTagsToResource", "PutResourcePolicy")
    ),
    ("ssm:DeleteParameter", LATEST),
    ("ssm:DeleteParameter", HOLD),
    ("ssm:PutParameter", PIPELINE_NAME),
    *(
        (f"codepipeline:{action}", resource)
        for action in ("StartPipelineExecution", "ListPipelineExecutions")
        for resource in (
            f"{MAIN}-2",
            arn("codepipeline", "production-main"),
            arn("codepipeline", PIPELINE, PRODUCTION),
        )
    ),
    *(
        (f"codepipeline:{action}", MAIN)
        for action in (
            "StopPipelineExecution",
            "RetryStageExecution",
            "RollbackStage",
            "PutApprovalResult",
            "UpdatePipeline",
            "DeletePipeline",
        )
    ),
    *(
        (f"rds:{action}", arn("rds", f"cluster-snapshot:{name}", account))
        for action in ("DeleteDBClusterSnapshot", "ModifyDBClusterSnapshotAttribute")
        for name in ("orders-2026-01-03", "rds:acceptance-orders-2026-01-03")
        for account in (ACCEPTANCE, PRODUCTION)
    ),
    ("rds:DeleteDBCluster", arn("rds", "cluster:acceptance-orders")),
    ("rds:RestoreDBClusterFromSnapshot", arn("rds", "cluster:acceptance-orders")),
    ("rds:DescribeDBClusters", arn("rds", "cluster:acceptance-orders", PRODUCTION)),
    *(
        (f"cloudformation:{action}", STACK_ARN.replace(f"/{STACK}/", f"/{name}/"))
        for action in ("DescribeStacks", "ListStackResources")
        for name in (f"{STACK}-2", f"my-{STACK}")
    ),
    *(
        (f"cloudformation:{action}", STACK_ARN)
        for action in ("UpdateStack", "DeleteStack", "GetTemplate")
    ),
    ("sns:Publish", f"{TOPIC}-2"),
    ("sns:Publish", arn("sns", "aurora-refresh", PRODUCTION)),
    ("sns:Subscribe", TOPIC),
    ("iam:PassRole", f"arn:aws:iam::{ACCEPTANCE}:role/aurora-refresh-local-{RESTORE}"),
    ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION}:role/admin"),
    ("lambda:InvokeFunction", arn("lambda", f"function:aurora-refresh-local-{RESTORE}")),
    ("kms:Decrypt", arn("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab")),
    ("logs:PutLogEvents", arn("logs", "log-group:/aws/lambda/payments:log-stream:x")),
]
RECONCILES = [
    ("ssm:PutParameter", LATEST),
    ("ssm:PutParameter", HOLD),
    ("ssm:GetParameters", CURRENT),
    ("codepipeline:StartPipelineExecution", MAIN),
    ("codepipeline:GetPipelineState", MAIN),
]
# What a function may not do, although another one may.
OTHERS: dict[str, list[Grant]] = {
    UPDATE: [
        ("ssm:PutParameter", CURRENT),
        ("ssm:GetParameterHistory", CURRENT),
        ("ssm:GetParameters", HOLD),
        ("ssm:PutParameter", HOLD),
        ("codepipeline:ListPipelineExecutions", MAIN),
        ("codepipeline:StartPipelineExecution", MAIN),
        ("cloudformation:DescribeStacks", STACK_ARN),
        ("rds:DescribeDBClusters", arn("rds", "cluster:acceptance-orders")),
    ],
    RESTORE: [("ssm:PutParameter", LATEST), ("ssm:PutParameter", HOLD)],
    FOLLOW: RECONCILES,
    RECONCILE: RECONCILES,
    API: [("ssm:PutParameter", LATEST), ("sns:Publish", TOPIC)],
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_lies_beside_what_is_granted_is_denied(record: Record, function: str) -> None:
    wanted = NEIGHBOURS + OTHERS[function]
    assert [each for each in wanted if record.allows(function, *each)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_writes_another_one_s_log(record: Record, function: str) -> None:
    logs = {
        each: arn("logs", f"log-group:/aws/lambda/{name}:log-stream:x")
        for each, name in FUNCTIONS.items()
    }
    assert {each for each in logs if record.allows(function, "logs:PutLogEvents", logs[each])} == {
        function
    }
