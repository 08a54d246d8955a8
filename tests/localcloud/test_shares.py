"""RDS's shared cluster snapshots and their keys, held to botocore's service model and the Aurora User Guide.

Listings and states are in tests/contract, quotas in tests/e2e/test_company.py, restores in
tests/e2e/test_main_pipeline.py.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.acceptance import nightly
from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud


def share(cloud: LocalCloud, identifier: str, **facts: Any) -> str:
    """Let production share a snapshot, and return its ARN."""
    taken = nightly("orders", datetime(2026, 1, 4, 1, tzinfo=UTC), identifier=identifier, **facts)
    (arn,) = cloud.seed_snapshots([taken])["arns"]
    return str(arn)


def copy(cloud: LocalCloud, source: str, **key: str) -> Any:
    return cloud.client("rds").copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=source, TargetDBClusterSnapshotIdentifier="copy", **key
    )["DBClusterSnapshot"]


def test_a_share_is_found_by_its_arn_and_only_if_shared_ones_are_asked_for(
    cloud: LocalCloud,
) -> None:
    """Reported: terraform-provider-aws #31897."""
    rds, arn = cloud.client("rds"), share(cloud, "nightly")
    rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    for identifier, more in ((arn, {}), ("nightly", {"IncludeShared": True})):
        with pytest.raises(ClientError, match="DBClusterSnapshotNotFoundFault"):
            rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=identifier, **more)


def lets(account: str, *actions: str, service: str = "rds") -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": [*actions],
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:ViaService": f"{service}.eu-west-1.amazonaws.com"}},
    }


USING = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey")


@pytest.mark.parametrize(
    ("statement", "usable"),
    [
        (lets(STRANGER, *USING), False),
        (lets(ACCEPTANCE, *USING[1:]), False),
        (lets(ACCEPTANCE, *USING), True),
        (lets(ACCEPTANCE, *USING, service="s3"), False),
    ],
)
def test_who_may_use_a_key_of_another_account_and_see_it_is_for_its_policy_to_say(
    cloud: LocalCloud, statement: dict[str, Any], usable: bool
) -> None:
    """ "Sharing encrypted snapshots", Aurora User Guide; DescribeKey, KMS API reference."""
    policy = {"Version": "2012-10-17", "Statement": [lets(PRODUCTION, "kms:*"), statement]}
    there = cloud.client("kms", PRODUCTION)
    key = there.create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"]
    arn = share(cloud, "nightly", kms_key_id=key)
    kms, own = cloud.client("kms"), cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    if usable:
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["AWSAccountId"] == PRODUCTION
        with pytest.raises(ClientError, match="InvalidParameterCombination"):
            copy(cloud, arn)  # CopyDBClusterSnapshot: a copy of it needs a key of one's own
        assert copy(cloud, arn, KmsKeyId=own)["KmsKeyId"] == own
    else:
        with pytest.raises(ClientError, match="no resource-based policy allows"):
            kms.describe_key(KeyId=key)
        with pytest.raises(ClientError, match="KMSKeyNotAccessibleFault"):
            copy(cloud, arn, KmsKeyId=own)
