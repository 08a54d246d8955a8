"""What each function was seen to do, against what its role lets it do: neither less nor more.

In one story every function makes all its calls, apart from kills and lost answers. The local cloud refuses what the
calling function's own role does not allow, and moto's policy engine, which this project did not write, must agree.
tests/cli/test_stage_policies.py lists each grant by hand.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

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
from demo.acceptance import PIPELINE, STACK, STAGE, Company, nightly
from localcloud.accounts import ACCEPTANCE
from localcloud.policies import listed
from tests.e2e.conftest import Night

ROUTE = "/snapshots/current"
DENIED_STARTS = {"operation": "codepipeline:StartPipelineExecution", "kind": "deny", "times": 0}
# Lambda writes a function's log; RDS evaluates tags, and RDS and SNS use a key, with the call that they come with.
OF_KEYS = ("kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey*")
USED_BY_AWS = ("logs:", "rds:AddTagsToResource", *OF_KEYS)

Grant = tuple[str, str]


def calls_of(journal: Sequence[Mapping[str, Any]], function: str) -> set[Grant]:
    """Return what a deployed function has called, as actions and ARNs."""
    made = [call for call in journal if call["function"] == function]
    return {(call["operation"], resource) for call in made for resource in call["resources"]}


def policy_of(iam: Any, role: str) -> Any:
    """Return the only policy of a role."""
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]


def unused(policy: dict[str, Any], calls: set[Grant]) -> set[Grant]:
    """Return the grants, each an action on a resource, that none of the calls needed."""
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if not action.startswith(USED_BY_AWS)
        # CloudFormation makes up the names of clusters.
        if not any(called == action and fnmatchcase(on, resource) for called, on in calls)
    }


def permits(policy: dict[str, Any], action: str, resource: str) -> bool:
    """The verdict of moto's engine, statement by statement: it takes an Allow whose condition is not met for a Deny."""
    documents = [json.dumps({"Statement": [statement]}) for statement in policy["Statement"]]
    engines = [IAMPolicy({"policy_document": document}) for document in documents]
    verdicts = [engine.is_action_permitted(action, resource) for engine in engines]
    return PermissionResult.PERMITTED in verdicts


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
    night.cloud.set_clock(night.four + timedelta(hours=3))
    assert "did not happen" in str(night.ask("GET", "/status")["problems"])


def a_bad_night(next_night: Callable[[], Night]) -> None:
    """Parameter Store keeps a hundred versions, and does not drop the oldest while it has a label.

    The labels of what is deployed then move to a younger version of the same value, others are removed.
    """
    night = next_night()
    night.update()
    fill(night, "labelled", "one", "labelled too")
    night.cloud.set_faults([DENIED_STARTS | {"times": 1}])
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed in Build"])
    assert [record["status"] for record in night.restore()] == ["failed", "succeeded"]
    settle(night, "Failed")
    assert night.current() == night.old


def fill(night: Night, *others: str) -> None:
    """Give *current* a hundred versions: the oldest and the last are what is deployed, others come between.

    The oldest has labels, and so have the first and the last of the others.
    """
    ssm, name = night.cloud.client("ssm"), night.company.current
    (cluster,) = night.cloud.client("rds").describe_db_clusters()["DBClusters"]
    (deployed,) = night.company.clusters().values()
    ssm.delete_parameter(Name=name)
    values = [deployed, *others, *(f"single {n}" for n in range(len(others) + 1, 99)), deployed]
    for value in values:
        night.company.put(name, value)
    deployed_labels = [cluster["DbClusterResourceId"], "run-unknown"]
    for version, labels in ((1, deployed_labels), (2, ["a"]), (len(others) + 1, ["b"])):
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
    # How old an own snapshot's data is has to be looked up.
    mine = nightly("orders", night.two, account=ACCEPTANCE, identifier="mine", shared_with=[])
    night.cloud.seed_snapshots([mine])
    night.ask("PUT", ROUTE, {"snapshot": "mine", "deploy": True})
    settle(night, "Succeeded")
    fill(night, "labelled")
    night.ask("PUT", ROUTE, {"snapshot": night.old})
    night.ask("PUT", ROUTE, {"snapshot": "latest"})
    night.ask("POST", f"{ROUTE}/rollback", {})
    assert night.current() == night.old


def a_first_promotion_that_fails_leaves_no_parameter(next_night: Callable[[], Night]) -> None:
    """Its run does not start; then nothing is deployed any more, and the run fails."""
    night = next_night()
    night.update()
    ssm, cloudformation = night.cloud.client("ssm"), night.cloud.client("cloudformation")
    ssm.delete_parameter(Name=night.company.current)
    night.cloud.set_faults([DENIED_STARTS])
    assert {record["status"] for record in night.restore()} == {"failed"}
    night.ask("PUT", ROUTE, {"snapshot": "latest", "deploy": True}, status=500)
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []

    night.cloud.set_faults([])
    night.cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed in Build"])
    cloudformation.delete_stack(StackName=STACK)
    waiter = cloudformation.get_waiter("stack_delete_complete")
    waiter.wait(StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    night.restore()
    settle(night, "Failed")
    assert ssm.get_parameters(Names=[night.company.current])["Parameters"] == []
    night.company.put(night.company.current, night.old)
    night.push()
    settle(night, "Succeeded")


def test_each_role_allows_its_function_s_calls_and_every_grant_is_used(deployed: Company) -> None:
    """Each on the very resource. A call that is not allowed fails, and the story with it."""
    journal: list[dict[str, Any]] = []
    deployed.cloud.clear_calls()  # other tests' nights are not its own

    def next_night() -> Night:
        # A night begins with an empty journal.
        journal.extend(deployed.cloud.calls())
        return Night(deployed)

    a_night_on_which_the_pipeline_is_busy(next_night)
    an_operator_s_day(next_night)
    a_bad_night(next_night)
    a_first_promotion_that_fails_leaves_no_parameter(next_night)
    journal.extend(deployed.cloud.calls())
    functions = (UPDATE, RESTORE, FOLLOW_PIPELINE, RECONCILE, API)
    calls = {each: calls_of(journal, deployed_name(STAGE, each)) for each in functions}
    # An end is followed, or seen by a poll: two functions with the same grants and the same code.
    calls[FOLLOW_PIPELINE] = calls[RECONCILE] = calls[FOLLOW_PIPELINE] | calls[RECONCILE]
    iam = deployed.cloud.client("iam")
    for function, made in calls.items():
        policy = policy_of(iam, role_name(STAGE, function))
        assert [call for call in made if not permits(policy, *call)] == []
        assert unused(policy, made) == set()
