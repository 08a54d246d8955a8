"""RDS's shared cluster snapshots and their keys, held to botocore's service model and the Aurora User Guide.

Listings and states are in tests/contract, quotas in tests/e2e/test_company.py, restores in
tests/e2e/test_main_pipeline.py.
"""

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.policies import key_statements
from demo.acceptance import nightly
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, STRANGER
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


def test_a_share_is_found_by_its_arn_and_only_if_shares_are_asked_for(cloud: LocalCloud) -> None:
    """Reported: terraform-provider-aws #31897."""
    rds, arn = cloud.client("rds"), share(cloud, "nightly")
    rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    for identifier, more in ((arn, {}), ("nightly", {"IncludeShared": True})):
        with pytest.raises(ClientError, match="DBClusterSnapshotNotFoundFault"):
            rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=identifier, **more)


THROUGH_RDS, DIRECTLY = key_statements("aws", ACCEPTANCE, [REGION])
ALL = {**DIRECTLY, "Principal": {"AWS": f"arn:aws:iam::{PRODUCTION}:root"}, "Action": "kms:*"}


@pytest.mark.parametrize(
    ("statements", "visible", "usable"),
    [
        (key_statements("aws", STRANGER, [REGION]), False, False),
        ([THROUGH_RDS, DIRECTLY], True, True),
        ([THROUGH_RDS, DIRECTLY | {"Condition": THROUGH_RDS["Condition"]}], False, True),
        (key_statements("aws", ACCEPTANCE, ["us-east-1"]), True, False),
    ],
)
def test_who_may_use_a_key_of_another_account_and_see_it_is_for_its_policy_to_say(
    cloud: LocalCloud, statements: list[dict[str, Any]], visible: bool, usable: bool
) -> None:
    """ "Sharing encrypted snapshots", Aurora User Guide; DescribeKey, KMS API reference."""
    there = cloud.client("kms", PRODUCTION)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ALL, *statements]})
    key = there.create_key(Policy=policy)["KeyMetadata"]["Arn"]
    arn = share(cloud, "nightly", kms_key_id=key)
    kms, own = cloud.client("kms"), cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    with nullcontext() if visible else pytest.raises(ClientError, match="no resource-based policy"):
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["AWSAccountId"] == PRODUCTION
    # CopyDBClusterSnapshot: a copy needs a key of one's own.
    refusal = "InvalidParameterCombination" if usable else "KMSKeyNotAccessibleFault"
    with pytest.raises(ClientError, match=refusal):
        copy(cloud, arn)
    with nullcontext() if usable else pytest.raises(ClientError, match=refusal):
        assert copy(cloud, arn, KmsKeyId=own)["KmsKeyId"] == own
