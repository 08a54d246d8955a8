"""IAM: how policies are evaluated, and the resources of calls.

The end-to-end tests show that the functions' own policies suffice and that each right in them is needed, also the
rights on keys, and that who may do nothing is refused.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.kms.models import kms_backends

from demo.acceptance import nightly
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.authorization import needs
from localcloud.client import LocalCloud
from localcloud.policies import Decision, NotRestored, decide
from localcloud.wire import Call

OWN = f"{REGION}:{ACCEPTANCE}"
PARAMETER = f"arn:aws:ssm:{OWN}:parameter"
SNAPSHOT = f"arn:aws:rds:{OWN}:cluster-snapshot"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], Decision.IMPLICIT_DENY),
        ([ALL | {"Action": "ssm:GetParameter"}], Decision.IMPLICIT_DENY),
        ([ALL | {"Resource": f"{PARAMETER}/other"}], Decision.IMPLICIT_DENY),
        ([ALL | {"Resource": f"{PARAMETER}/a.?"}], Decision.IMPLICIT_DENY),
        ([ALL | {"Action": "SSM:put*", "Resource": [f"{PARAMETER}/x", f"{PARAMETER}/a?b"]}], Decision.ALLOWED),
        ([ALL, ALL | {"Action": "ssm:Put*", "Effect": "Deny"}], Decision.EXPLICIT_DENY),
        ([ALL | {"Action": "ssm:Put*", "Effect": "Deny"}, ALL], Decision.EXPLICIT_DENY),
    ],
)  # fmt: skip
def test_deny_wins_then_allow_else_the_call_is_refused(
    statements: list[Any], decision: Decision
) -> None:
    """*Policy evaluation logic*, IAM User Guide."""
    assert decide([policy(*statements)], "ssm:PutParameter", f"{PARAMETER}/a-b") is decision


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ({"StringEquals": {"kms:ViaService": "rds"}}, True),
        ({"StringEquals": {"KMS:viaservice": ["sns", "rds"]}}, True),
        ({"StringEquals": {"kms:ViaService": "sns"}}, False),
        ({"StringLike": {"kms:ViaService": "r*"}}, True),
        ({"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/b", "alias/c"]}}, True),
        ({"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/c"}}, False),
    ],
)
def test_a_statement_whose_condition_is_not_met_does_not_apply(
    condition: Any, is_met: bool
) -> None:
    """*IAM JSON policy elements: Condition*: it does not turn an Allow into a Deny, as it does with moto."""
    context = {"kms:viaservice": ["rds"], "kms:resourcealiases": ["alias/a", "alias/b"]}
    guarded = ALL | {"Condition": condition}
    alone = decide([policy(guarded)], "kms:Decrypt", "*", context)
    assert alone is (Decision.ALLOWED if is_met else Decision.IMPLICIT_DENY)
    assert decide([policy(guarded, ALL)], "kms:Decrypt", "*", context) is Decision.ALLOWED


@pytest.mark.parametrize(
    "unknown",
    [
        {"Condition": {"DateGreaterThan": {"kms:ViaService": "x"}}},
        {"Condition": {"StringEquals": {"aws:TagKeys": "x"}}},
        {"Resource": "arn:aws:ssm:*:*:parameter/${aws:username}"},
    ],
)
def test_what_is_not_known_of_a_policy_is_an_error(unknown: dict[str, Any]) -> None:
    """Ignoring it could grant what AWS denies."""
    document = policy(ALL, ALL | {"Effect": "Deny", "Action": "ssm:*"} | unknown)
    with pytest.raises(NotRestored):
        decide([document], "ssm:PutParameter", "*")
    assert decide([document], "rds:DescribeDBClusters", "*") is Decision.ALLOWED


MADE = {"TargetDBClusterSnapshotIdentifier": "Made"}
TAGGED = {"Tags": [{"Key": "a", "Value": "b"}]}


@pytest.mark.parametrize(
    ("operation", "parameters", "needed"),
    [
        ("ssm:GetParameters", {"Names": ["/a", "b:3"]}, [f"{PARAMETER}/a", f"{PARAMETER}/b"]),
        ("ssm:DescribeParameters", {}, ["*"]),
        ("codepipeline:StartPipelineExecution", {"name": "main"}, [f"arn:aws:codepipeline:{OWN}:main"]),
        ("cloudformation:DescribeStacks", {"StackName": "main"}, [f"arn:aws:cloudformation:{OWN}:stack/main/*"]),
        ("rds:DescribeDBClusters", {"DBClusterIdentifier": "Orders"}, [f"arn:aws:rds:{OWN}:cluster:orders"]),
        ("rds:DescribeDBClusters", {}, [f"arn:aws:rds:{OWN}:cluster:*"]),
        ("rds:DescribeDBClusterSnapshots", {"DBClusterSnapshotIdentifier": "x"}, ["*"]),
        ("rds:CopyDBClusterSnapshot", {"SourceDBClusterSnapshotIdentifier": "rds:x", **MADE},
         [f"{SNAPSHOT}:rds:x", f"{SNAPSHOT}:made"]),
        ("sns:Publish", {"TopicArn": "arn:aws:sns:topic"}, ["arn:aws:sns:topic"]),
        ("s3:GetObject", {"Bucket": "b", "Key": "a/b"}, ["arn:aws:s3:::b/a/b"]),
        ("sts:GetCallerIdentity", {}, []),
    ],
)  # fmt: skip
def test_a_call_needs_its_action_on_its_resources(
    operation: str, parameters: dict[str, Any], needed: list[str]
) -> None:
    """*Service Authorization Reference*."""
    call = Call("AKIA", None, ACCEPTANCE, REGION, *operation.split(":"), parameters=parameters)
    assert needs(call) == [(operation, resource) for resource in needed]


def test_tags_on_creation_need_the_right_to_tag() -> None:
    """ "Granting permission to tag resources during creation", Aurora User Guide."""
    given = {"DBClusterSnapshotIdentifier": "made", "DBClusterIdentifier": "c", **TAGGED}
    call = Call("A", None, ACCEPTANCE, REGION, "rds", "CreateDBClusterSnapshot", parameters=given)
    assert needs(call)[-1] == ("rds:AddTagsToResource", f"{SNAPSHOT}:made")


def test_who_may_not_use_a_key_may_neither_copy_under_it_nor_publish_to_a_topic_under_it(
    cloud: LocalCloud,
) -> None:
    """ "Authorizing use of a customer managed key", Aurora User Guide; "Key management", SNS Developer Guide."""
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    topic = cloud.client("sns").create_topic(Name="t", Attributes={"KmsMasterKeyId": key})
    taken = nightly("orders", datetime(2026, 1, 3, tzinfo=UTC), account=ACCEPTANCE, kms_key_id=key)
    cloud.seed_snapshots([taken])
    may_all = policy(ALL, ALL | {"Effect": "Deny", "Action": "kms:*"})
    cloud.client("iam").put_user_policy(
        UserName="visitor", PolicyName="no-keys", PolicyDocument=json.dumps(may_all)
    )
    copied = {
        "SourceDBClusterSnapshotIdentifier": taken["identifier"],
        "TargetDBClusterSnapshotIdentifier": "copy",
        "KmsKeyId": key,
    }
    published = {"TopicArn": topic["TopicArn"], "Message": "m"}
    with pytest.raises(ClientError, match=f"KMSKeyNotAccessibleFault.*kms:CreateGrant on {key}"):
        cloud.client("rds", user="visitor").copy_db_cluster_snapshot(**copied)
    with pytest.raises(ClientError, match=f"KMSAccessDenied.*kms:GenerateDataKey on {key}"):
        cloud.client("sns", user="visitor").publish(**published)
    cloud.client("rds").copy_db_cluster_snapshot(**copied)
    cloud.client("sns").publish(**published)


def test_a_key_called_by_an_alias_is_decided_on_as_the_key() -> None:
    """ "Use aliases to control access to KMS keys", KMS Developer Guide."""
    backend = kms_backends[ACCEPTANCE][REGION]
    key = backend.create_key(None, "ENCRYPT_DECRYPT", "", "", None)
    backend.create_alias(key.id, "alias/copies")
    given = {"KeyId": "alias/copies"}
    call = Call("A", None, ACCEPTANCE, REGION, "kms", "DescribeKey", parameters=given)
    assert needs(call) == [("kms:DescribeKey", key.arn)]
