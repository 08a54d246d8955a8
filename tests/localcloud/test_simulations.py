"""Compared with the IAM API reference: SimulatePrincipalPolicy."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from localcloud.client import LocalCloud

ROLE = "arn:aws:iam::222222222222:role/probe"
MINE = "arn:aws:ssm:eu-west-1:222222222222:parameter/mine"
OTHER = "arn:aws:ssm:eu-west-1:222222222222:parameter/other"
MODEL = botocore.session.get_session().get_service_model("iam")


@pytest.fixture
def iam(cloud: LocalCloud) -> Any:
    """IAM with a role that may read all parameters and put one, but not if it has a label."""
    iam = cloud.client("iam")
    iam.create_role(RoleName="probe", AssumeRolePolicyDocument="{}")
    allow(iam, "ssm:PutParameter", MINE)
    allow(iam, "ssm:Get*", "*", name="reading")
    return iam


def allow(
    iam: Any, action: str, resource: str, name: str = "putting", effect: str = "Allow"
) -> None:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="probe", PolicyName=name, PolicyDocument=document)


def decisions(iam: Any, actions: list[str], *resources: str) -> list[tuple[str, str, str]]:
    given = {"ResourceArns": list(resources)} if resources else {}
    answer = iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=actions, **given)
    assert not answer["IsTruncated"]
    return [
        (each["EvalActionName"], each["EvalResourceName"], each["EvalDecision"])
        for each in answer["EvaluationResults"]
    ]


def test_each_action_is_decided_on_each_resource_by_all_of_the_role_s_policies(iam: Any) -> None:
    assert decisions(iam, ["ssm:PutParameter", "ssm:GetParameters"], MINE, OTHER) == [
        ("ssm:PutParameter", MINE, "allowed"),
        ("ssm:PutParameter", OTHER, "implicitDeny"),
        ("ssm:GetParameters", MINE, "allowed"),
        ("ssm:GetParameters", OTHER, "allowed"),
    ]


def test_without_a_resource_every_resource_is_asked_for(iam: Any) -> None:
    assert decisions(iam, ["ssm:PutParameter", "ssm:GetParameters"]) == [
        ("ssm:PutParameter", "*", "implicitDeny"),
        ("ssm:GetParameters", "*", "allowed"),
    ]


def test_a_deny_of_an_attached_policy_is_explicit(iam: Any) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Deny", "Action": "*", "Resource": MINE},
    }
    policy = iam.create_policy(PolicyName="guard", PolicyDocument=json.dumps(document))
    iam.attach_role_policy(RoleName="probe", PolicyArn=policy["Policy"]["Arn"])
    assert decisions(iam, ["ssm:GetParameters"], MINE, OTHER) == [
        ("ssm:GetParameters", MINE, "explicitDeny"),
        ("ssm:GetParameters", OTHER, "allowed"),
    ]


def test_the_decisions_are_those_of_the_model_and_nothing_is_done(
    cloud: LocalCloud, iam: Any
) -> None:
    known = set(MODEL.shape_for("PolicyEvaluationDecisionType").enum)
    assert {each[2] for each in decisions(iam, ["ssm:PutParameter"], MINE, OTHER)} <= known
    assert cloud.client("ssm").get_parameters(Names=["/mine"])["Parameters"] == []


def test_many_results_come_in_pages(iam: Any) -> None:
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=ROLE,
        ActionNames=["ssm:PutParameter", "ssm:GetParameters"],
        ResourceArns=[f"{MINE}/{number}" for number in range(3)],
        PaginationConfig={"PageSize": 4},
    )
    assert [len(page["EvaluationResults"]) for page in pages] == [4, 2]


@pytest.mark.parametrize(
    ("entries", "decision"),
    [
        ([], "implicitDeny"),
        ([("kms:ResourceAliases", "stringList", ["alias/a", "alias/b"])], "allowed"),
        ([("kms:resourcealiases", "stringList", ["alias/a"])], "implicitDeny"),
    ],
)
def test_conditions_are_weighed_in_the_circumstances_that_are_told(
    iam: Any, entries: list[tuple[str, str, list[str]]], decision: str
) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "kms:CreateGrant",
        "Resource": "*",
        "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/b"]}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="probe", PolicyName="keys", PolicyDocument=document)
    answer = iam.simulate_principal_policy(
        PolicySourceArn=ROLE,
        ActionNames=["kms:CreateGrant"],
        ContextEntries=[
            {"ContextKeyName": name, "ContextKeyType": kind, "ContextKeyValues": values}
            for name, kind, values in entries
        ],
    )
    assert [each["EvalDecision"] for each in answer["EvaluationResults"]] == [decision]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"PolicySourceArn": f"{ROLE}-2"}, "NoSuchEntity"),
        ({"ActionNames": ["PutParameter"]}, "InvalidInput"),
        # What AWS takes and the local cloud does not know must not be passed over.
        ({"PolicySourceArn": "arn:aws:iam::222222222222:user/admin"}, "InvalidInput"),
        ({"PermissionsBoundaryPolicyInputList": ["{}"]}, "InvalidInput"),
    ],
)
def test_what_cannot_be_answered_is_refused(iam: Any, given: dict[str, Any], code: str) -> None:
    asked = {"PolicySourceArn": ROLE, "ActionNames": ["ssm:PutParameter"], **given}
    with pytest.raises(ClientError, match=rf"\({code}\)"):
        iam.simulate_principal_policy(**asked)
