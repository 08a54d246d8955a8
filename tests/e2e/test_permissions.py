"""What each function was seen to do, against what its role lets it do: neither less nor more.

In one story every function makes all its calls, apart from kills and lost answers. moto's policy engine
evaluates the deployed roles' policies for them and the ARNs they touch. This project did not write that engine; the
local cloud's own has decided on the same calls when they were made.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult

from chalicelib.domain.functions import (
    API,
    FOLLOW_PIPELINE,
    RECONCILE,
    RESTORE,
    UPDATE,
    deployed_name,
)
from cli.stacks import role_name
from demo.acceptance import PIPELINE, STACK, STAGE, Company
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud
from localcloud.policies import listed
from tests.e2e.conftest import Night

ROUTE = "/snapshots/current"
FUNCTIONS = (UPDATE, RESTORE, FOLLOW_PIPELINE, RECONCILE, API)
# Lambda writes a function's log; RDS evaluates tags, and uses a key, with the call that they come with.
USED_BY_AWS = ("logs:", "kms:CreateGrant", "rds:AddTagsToResource")

Grant = tuple[str, str]


class Record(NamedTuple):
    """Each function's calls, and its role's policy document."""

    calls: dict[str, set[Grant]]
    policies: dict[str, dict[str, Any]]


def calls_of(journal: Sequence[Mapping[str, Any]], function: str) -> set[Grant]:
    """Return what a deployed function has called, as actions and ARNs."""
    return {
        (call["operation"], resource)
        for call in journal
        if call["function"] == function
        for resource in call["resources"]
    }


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


def unused(policy: dict[str, Any], calls: set[Grant]) -> set[Grant]:
    """Return the grants that none of the calls needed."""
    return {
        (action, resource)
        for action, resource in grants(policy)
        if not action.startswith(USED_BY_AWS)
        # CloudFormation makes up the names of clusters.
        if not any(called == action and fnmatchcase(on, resource) for called, on in calls)
    }


def permits(policy: dict[str, Any], action: str, resource: str) -> bool:
    """The verdict of moto's engine, statement by statement: it takes an Allow whose condition is not met for a Deny.

    Of conditions it knows StringEquals, and takes a condition without a value for met.
    """
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    documents = [json.dumps({"Statement": [statement]}) for statement in policy["Statement"]]
    engines = [IAMPolicy({"policy_document": document}) for document in documents]
    verdicts = [engine.is_action_permitted(action, resource) for engine in engines]
    return PermissionResult.PERMITTED in verdicts


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
    night.cloud.patch_pipeline(PIPELINE, hold=["Build"], page_size=1)
    busy = night.push()
    night.push()  # it waits for the first one, which is listed on a later page
    assert [record["status"] for record in night.restore()] == ["failed"] * 3
    assert night.ask("GET", "/status")["pipeline"]["under_way"]["execution_id"] == busy
    night.cloud.patch_pipeline(PIPELINE, hold=[], page_size=100)
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
        night.company.put(name, value)
    deployed_labels = [cluster["DbClusterResourceId"], "run-unknown"]
    for version, labels in ((1, ["good"]), (len(oldest), ["other"]), (100, deployed_labels)):
        ssm.label_parameter_version(Name=name, ParameterVersion=version, Labels=labels)


def an_operator_s_day(next_night: Callable[[], Night]) -> None:
    night = next_night()
    night.cloud.set_faults([{"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny"}])
    attempts = night.cloud.fire(UPDATE, night.two)
    assert [record["status"] for record in attempts] == ["failed", "succeeded"]
    night.ask("PUT", "/hold", {"until": "2099-01-01"})
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


def a_first_promotion_that_fails_leaves_no_parameter(next_night: Callable[[], Night]) -> None:
    """Its run does not start; then nothing is deployed any more, and the run fails."""
    night = next_night()
    night.update()
    ssm, cloudformation = night.cloud.client("ssm"), night.cloud.client("cloudformation")
    ssm.delete_parameter(Name=night.company.current)
    deny_starts(night.cloud)
    assert {record["status"] for record in night.restore()} == {"failed"}
    night.ask("PUT", ROUTE, {"snapshot": "latest", "deploy": True}, status=500)
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []

    night.cloud.set_faults([])
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed in Build"])
    cloudformation.delete_stack(StackName=STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    night.restore()
    settle(night, "Failed")
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    night.company.put(night.company.current, night.old)
    # Which data is deployed is looked up among the pipeline's actions again.
    night.push()
    settle(night, "Succeeded")
    night.ask("GET", "/status")


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
    a_first_promotion_that_fails_leaves_no_parameter(next_night)
    journal.extend(deployed.cloud.calls())
    iam = deployed.cloud.client("iam")
    return Record(
        {each: calls_of(journal, deployed_name(STAGE, each)) for each in FUNCTIONS},
        {each: policy_of(iam, role_name(STAGE, each)) for each in FUNCTIONS},
    )


# --- the proof ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_is_allowed_by_its_function_s_own_role(record: Record, function: str) -> None:
    calls, policy = record.calls[function], record.policies[function]
    assert calls
    assert [call for call in calls if not permits(policy, *call)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_grant_is_used_on_the_very_resource(record: Record, function: str) -> None:
    """An end is followed, or seen by a poll: two functions with the same grants and the same code."""
    calls = record.calls[function]
    if function in (FOLLOW_PIPELINE, RECONCILE):
        calls = record.calls[FOLLOW_PIPELINE] | record.calls[RECONCILE]
    assert unused(record.policies[function], calls) == set()


def neighbours(action: str, resource: str) -> list[Grant]:
    """Return the same on what has a similar name, or is another account's."""
    similar = re.sub(r"(?=[:/]\*$|$)", "-2", resource, count=1)
    return [(action, similar), (action, resource.replace(ACCEPTANCE, PRODUCTION))]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_lies_beside_what_is_granted_is_denied(record: Record, function: str) -> None:
    """So is what another function may do: its log, its parameters, and starting runs.

    No action is a pattern, so what is not granted is denied; test_stage_policies.py has all grants.
    """
    policy = record.policies[function]
    own = grants(policy)
    assert [action for action, _ in own if "*" in action] == []
    on_all = {grant for grant in own if grant[1] == "*"}
    assert on_all <= {("rds:DescribeDBClusterSnapshots", "*")}
    others = {grant for each in record.policies.values() for grant in grants(each)} - own
    assert len(others) > len(FUNCTIONS)
    beside = [each for grant in own - on_all for each in neighbours(*grant)]
    assert [each for each in (*beside, *others) if permits(policy, *each)] == []
