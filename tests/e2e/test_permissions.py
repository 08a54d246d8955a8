"""What each function was seen to do, against what its role lets it do: neither less nor more.

In one story every function makes all its calls, apart from kills and lost answers. moto's policy engine
evaluates the deployed roles' policies for them and the ARNs they touch. This project did not write that engine; the
local cloud's own has decided on the same calls when they were made.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult

from demo.acceptance import PIPELINE, STACK, Company
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
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
        self.calls = {
            function: {
                (call["operation"], resource)
                for call in journal
                if call["function"] == deployed
                for resource in call["resources"]
            }
            for function, deployed in FUNCTIONS.items()
        }
        iam = company.cloud.client("iam")
        self.policies = {each: policy_of(iam, f"aurora-refresh-local-{each}") for each in FUNCTIONS}

    def allows(self, function: str, action: str, resource: str) -> bool:
        return permits(self.policies[function], action, resource)


def policy_of(iam: Any, role: str) -> dict[str, Any]:
    """Return the only policy of a role."""
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    found: dict[str, Any] = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return found


def grants(policy: dict[str, Any]) -> set[Grant]:
    """Return every action with every resource that it is granted on."""
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def permits(
    policy: dict[str, Any], action: str, resource: str, circumstances: dict[str, str] | None = None
) -> bool:
    """The verdict of moto's engine, statement by statement: it takes an Allow whose condition is not met for a Deny.

    Of conditions it knows StringEquals, and takes a condition without a value for met.
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


def deny_starts(cloud: LocalCloud, times: int = 0) -> None:
    start = "codepipeline:StartPipelineExecution"
    cloud.set_faults([{"operation": start, "kind": "deny", "times": times}])


def settle(night: Night, status: str) -> None:
    """Wait until the night's newest run has ended, and its end was seen."""
    newest, *_ = night.runs()
    assert newest["status"] == status
    night.poll()


def a_night_on_which_the_pipeline_is_busy(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.update()
    night.cloud.patch_pipeline(PIPELINE, hold=["Build"])
    night.push()
    assert {record["status"] for record in night.restore()} == {"failed"}
    assert night.ask("GET", "/status")["pipeline"]["under_way"]
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
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed in Build"])
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
    night.ask("GET", "/snapshots")
    night.ask("GET", f"{ROUTE}/history")
    until = f"{night.two + timedelta(days=3):%Y-%m-%d}"
    night.ask("PUT", "/hold", {"until": until})
    assert night.restore()[0]["payload"]["reason"] == "on-hold"
    night.ask("DELETE", "/hold")
    assert night.ask("POST", "/refresh", {})["outcome"] == "started"
    settle(night, "Succeeded")
    fill(night, "twin", "twin")
    night.ask("PUT", ROUTE, {"snapshot": night.old})
    night.ask("PUT", ROUTE, {"snapshot": "latest"})
    night.ask("POST", f"{ROUTE}/rollback", {})
    assert night.current() == night.old
    night.push()
    settle(night, "Succeeded")


def a_first_promotion_without_a_run_leaves_no_parameter(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.update()
    ssm = night.cloud.client("ssm")
    ssm.delete_parameter(Name=night.company.current)
    deny_starts(night.cloud)
    assert {record["status"] for record in night.restore()} == {"failed"}
    night.ask("PUT", ROUTE, {"snapshot": "latest", "deploy": True}, status=500)
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    night.cloud.set_faults([])
    night.put(night.company.current, night.old)
    # Which data is deployed is looked up among the pipeline's actions again.
    night.ask("GET", "/status")
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
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed in Build"])
    night.restore()
    settle(night, "Failed")
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    night.put(night.company.current, night.old)
    assert night.cloud.wait_for_run(night.push(), PIPELINE) == "Succeeded"


@pytest.fixture(scope="module")
def record(deployed: Company) -> Record:
    """What the whole story recorded."""
    journal: list[dict[str, Any]] = []
    deployed.cloud.clear_calls()  # other tests' nights are not its own

    def next_night() -> Night:
        # A night begins with an empty journal.
        journal.extend(deployed.cloud.calls())
        return Night(deployed)

    a_night_on_which_the_pipeline_is_busy(next_night)
    an_operator_s_day(next_night)
    a_good_night_and_a_bad_one(next_night)
    a_first_promotion_without_a_run_leaves_no_parameter(next_night)
    a_first_run_that_fails_leaves_no_parameter(next_night)
    journal.extend(deployed.cloud.calls())
    return Record(deployed, journal)


# --- the proof ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_is_allowed_by_its_function_s_own_role(record: Record, function: str) -> None:
    assert record.calls[function]
    assert [call for call in record.calls[function] if not record.allows(function, *call)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_grant_is_used_on_the_very_resource(record: Record, function: str) -> None:
    """An end is followed, or seen by a poll: two functions with the same grants and the same code."""
    calls = record.calls[function]
    if function in (FOLLOW, RECONCILE):
        calls = record.calls[FOLLOW] | record.calls[RECONCILE]
    unused = {
        action
        for action, resource in grants(record.policies[function])
        # CloudFormation makes up the names of clusters.
        if not any(called == action and fnmatchcase(on, resource) for called, on in calls)
    }
    assert unused == WRITTEN_BY_LAMBDA


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCEPTANCE}:{resource}"


LATEST = arn("ssm", "parameter/acceptance/rds/latest-snapshot")
CURRENT = arn("ssm", "parameter/acceptance/rds/current-snapshot")
HOLD = arn("ssm", "parameter/acceptance/refresh/hold")
MAIN = arn("codepipeline", PIPELINE)
STACK_ARN = arn("cloudformation", f"stack/{STACK}/0c8c4d70-0000-0000-0000-000000000000")
CLUSTER = arn("rds", "cluster:acceptance-orders")
SNAPSHOT = arn("rds", "cluster-snapshot:orders-2026-01-03")
TOPIC = arn("sns", "aurora-refresh")

# What nobody may do, although it is close to what somebody may; test_stage_policies.py has all grants.
NEIGHBOURS: list[Grant] = [
    ("ssm:PutParameter", f"{CURRENT}-2"),
    ("ssm:PutParameter", CURRENT.replace(ACCEPTANCE, PRODUCTION)),
    ("ssm:GetParameters", f"{LATEST}/password"),
    ("codepipeline:StartPipelineExecution", f"{MAIN}-2"),
    ("codepipeline:StopPipelineExecution", MAIN),
    ("rds:CopyDBClusterSnapshot", SNAPSHOT),
    ("rds:DeleteDBClusterSnapshot", SNAPSHOT),
    ("rds:RestoreDBClusterFromSnapshot", CLUSTER),
    ("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:rds!cluster-orders")),
    ("cloudformation:DescribeStacks", STACK_ARN.replace(f"/{STACK}/", f"/{STACK}-2/")),
    ("cloudformation:UpdateStack", STACK_ARN),
    ("sns:Publish", f"{TOPIC}-2"),
    ("sts:AssumeRole", f"arn:aws:iam::{PRODUCTION}:role/admin"),
    ("lambda:InvokeFunction", arn("lambda", f"function:aurora-refresh-local-{RESTORE}")),
    ("kms:Decrypt", arn("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab")),
    ("logs:PutLogEvents", arn("logs", "log-group:/aws/lambda/payments:log-stream:x")),
]
RECONCILES = [
    ("ssm:PutParameter", LATEST),
    ("ssm:PutParameter", HOLD),
    ("codepipeline:StartPipelineExecution", MAIN),
]
# What a function may not do, although another one may.
OTHERS: dict[str, list[Grant]] = {
    UPDATE: [
        ("ssm:PutParameter", CURRENT),
        ("ssm:PutParameter", HOLD),
        ("codepipeline:StartPipelineExecution", MAIN),
        ("rds:DescribeDBClusters", CLUSTER),
    ],
    RESTORE: [("ssm:PutParameter", LATEST), ("ssm:PutParameter", HOLD)],
    FOLLOW: RECONCILES,
    RECONCILE: RECONCILES,
    API: [("ssm:PutParameter", LATEST), ("sns:Publish", TOPIC)],
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_lies_beside_what_is_granted_is_denied(record: Record, function: str) -> None:
    logs = [
        ("logs:PutLogEvents", arn("logs", f"log-group:/aws/lambda/{name}:log-stream:x"))
        for other, name in FUNCTIONS.items()
        if other != function
    ]
    denied = [*NEIGHBOURS, *OTHERS[function], *logs]
    assert [each for each in denied if record.allows(function, *each)] == []
