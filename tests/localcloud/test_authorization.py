"""IAM: how policies are evaluated.

The end-to-end tests show that the functions' own policies suffice and that each right in them is needed, also the
rights on keys, and that who may do nothing is refused.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.acceptance import nightly
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.policies import Decision, decide

PARAMETER = f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
ONE = {"Effect": "Allow", "Action": "SSM:put*", "Resource": [f"{PARAMETER}/x", f"{PARAMETER}/a?b"]}
NOT_PUT = {"Effect": "Deny", "Action": "ssm:Put*", "Resource": "*"}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def under(operator: str, key: str, *values: str) -> dict[str, Any]:
    return ALL | {"Condition": {operator: {key: [*values]}}}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], Decision.IMPLICIT_DENY),
        ([ALL | {"Action": "ssm:GetParameter"}], Decision.IMPLICIT_DENY),
        ([ALL | {"Resource": f"{PARAMETER}/a.?"}], Decision.IMPLICIT_DENY),
        ([ONE], Decision.ALLOWED),
        ([ALL, NOT_PUT], Decision.EXPLICIT_DENY),
        ([under("StringEquals", "KMS:viaservice", "sns", "rds")], Decision.ALLOWED),
        ([under("StringEquals", "kms:ViaService", "sns")], Decision.IMPLICIT_DENY),
        # It does not turn an Allow into a Deny, as it does with moto.
        ([under("StringEquals", "kms:ViaService", "sns"), ALL], Decision.ALLOWED),
        ([under("ForAnyValue:StringEquals", "kms:ResourceAliases", "b", "c")], Decision.ALLOWED),
        ([under("ForAnyValue:StringEquals", "kms:ResourceAliases", "c")], Decision.IMPLICIT_DENY),
    ],
)
def test_deny_wins_then_allow_if_its_condition_is_met_else_the_call_is_refused(
    statements: list[Any], decision: Decision
) -> None:
    """*Policy evaluation logic* and *IAM JSON policy elements: Condition*, IAM User Guide."""
    context = {"kms:viaservice": ["rds"], "kms:resourcealiases": ["a", "b"]}
    found = decide([policy(*statements)], "ssm:PutParameter", f"{PARAMETER}/a-b", context)
    assert found is decision


def test_copying_and_publishing_require_permission_for_the_key(cloud: LocalCloud) -> None:
    """ "Authorizing use of a customer managed key", Aurora User Guide; "Key management", SNS Developer Guide."""
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    topic = cloud.client("sns").create_topic(Name="t", Attributes={"KmsMasterKeyId": key})
    taken = nightly("orders", datetime(2026, 1, 3, tzinfo=UTC), account=ACCEPTANCE, kms_key_id=key)
    cloud.seed_snapshots([taken])
    no_keys = policy(ALL, {"Effect": "Deny", "Action": "kms:*", "Resource": "*"})
    cloud.client("iam").put_user_policy(
        UserName="visitor", PolicyName="no-keys", PolicyDocument=json.dumps(no_keys)
    )
    copied = {"SourceDBClusterSnapshotIdentifier": taken["identifier"], "KmsKeyId": key}
    copied |= {"TargetDBClusterSnapshotIdentifier": "copy"}
    with pytest.raises(ClientError, match=f"KMSKeyNotAccessibleFault.*kms:CreateGrant on {key}"):
        cloud.client("rds", user="visitor").copy_db_cluster_snapshot(**copied)
    with pytest.raises(ClientError, match=f"KMSAccessDenied.*kms:GenerateDataKey on {key}"):
        cloud.client("sns", user="visitor").publish(TopicArn=topic["TopicArn"], Message="m")


def test_the_data_api_needs_an_endpoint_and_rights_on_cluster_and_secret(cloud: LocalCloud) -> None:
    """*Using the Amazon RDS Data API*, "Controlling access to the RDS Data API", Aurora User Guide."""
    made = cloud.client("rds").create_db_cluster(
        DBClusterIdentifier="orders",
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )["DBCluster"]
    secret = made["MasterUserSecret"]["SecretArn"]
    arguments = {"resourceArn": made["DBClusterArn"], "secretArn": secret}
    visitor = cloud.client("rds-data", user="visitor")
    with pytest.raises(ClientError, match="HttpEndpointNotEnabledException"):
        cloud.client("rds-data").begin_transaction(**arguments)
    cloud.client("rds").enable_http_endpoint(ResourceArn=arguments["resourceArn"])
    own = {"Effect": "Allow", "Action": "rds-data:*", "Resource": arguments["resourceArn"]}
    for needed in ("rds-data:BeginTransaction", "secretsmanager:GetSecretValue"):
        with pytest.raises(ClientError, match=f"not authorized to perform: {needed}"):
            visitor.begin_transaction(**arguments)
        cloud.client("iam").put_user_policy(
            UserName="visitor", PolicyName="data", PolicyDocument=json.dumps(policy(own))
        )
