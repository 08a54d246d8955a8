"""RDS's shared cluster snapshots and their keys, held to botocore's service model and the Aurora User Guide.

States are in tests/contract, quotas in tests/e2e/test_company.py, restores in tests/e2e/test_main_pipeline.py.
"""

import json
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud

CUSTOMER_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DEFAULT_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:alias/aws/rds"
# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)


def snapshot(identifier: str = "nightly", **changes: Any) -> dict[str, Any]:
    return {
        "account": PRODUCTION,
        "identifier": identifier,
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": "2026-01-04T01:00:00+00:00",
        "shared_with": [ACCEPTANCE],
        **changes,
    }


def copy(cloud: LocalCloud, source: str, **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client(cloud, "rds").copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=source,
        TargetDBClusterSnapshotIdentifier="copy",
        **parameters,
    )["DBClusterSnapshot"]
    return answer


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ({}, {"own", "rds:own"}),
        ({"IncludeShared": True}, {"own", "rds:own", "share"}),
        ({"SnapshotType": "manual", "IncludeShared": True}, {"own"}),
        ({"SnapshotType": "automated", "IncludeShared": True}, {"rds:own"}),
        ({"SnapshotType": "shared"}, {"share"}),
    ],
)
def test_a_listing_holds_what_its_type_and_includes_say_a_share_by_its_arn_and_without_tags(
    cloud: LocalCloud, query: dict[str, Any], seen: set[str]
) -> None:
    """The model of DescribeDBClusterSnapshots; the identifier is awslabs/aurora-snapshot-tool's to know."""
    share = cloud.seed_snapshots(
        [
            snapshot("share"),
            snapshot("own", account=ACCEPTANCE, shared_with=[]),
            snapshot("rds:own", account=ACCEPTANCE, shared_with=[], snapshot_type="automated"),
            snapshot("not-for-us", shared_with=[STRANGER]),
        ]
    )["arns"][0]

    found = client(cloud, "rds").describe_db_cluster_snapshots(**query)["DBClusterSnapshots"]

    names = {each["DBClusterSnapshotIdentifier"] for each in found}
    assert names == {share if name == "share" else name for name in seen}
    shared = [each for each in found if each["DBClusterSnapshotArn"] == share]
    assert [(each["SnapshotType"], "TagList" in each) for each in shared] == [
        ("shared", False) for _ in shared
    ]


def test_a_listing_comes_in_pages_and_in_no_order(cloud: LocalCloud) -> None:
    """``MaxRecords`` and ``Marker`` of the model, which promises no order."""
    arns = cloud.seed_snapshots([snapshot(f"s{number:03}") for number in range(105)])["arns"]
    paginator = client(cloud, "rds").get_paginator("describe_db_cluster_snapshots")
    pages = [
        [each["DBClusterSnapshotArn"] for each in page["DBClusterSnapshots"]]
        for page in paginator.paginate(SnapshotType="shared")
    ]
    listed = [arn for page in pages for arn in page]
    assert [len(page) for page in pages] == [100, 5]
    assert sorted(listed) == sorted(arns)
    assert listed not in (sorted(arns), sorted(arns, reverse=True))


def test_a_share_is_found_by_its_arn_and_only_if_shared_ones_are_asked_for(
    cloud: LocalCloud,
) -> None:
    """Reported: terraform-provider-aws #31897."""
    rds = client(cloud, "rds")
    (arn,) = cloud.seed_snapshots([snapshot()])["arns"]
    rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    for identifier, more in ((arn, {}), ("nightly", {"IncludeShared": True})):
        with pytest.raises(ClientError, match="DBClusterSnapshotNotFoundFault"):
            rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=identifier, **more)


def test_a_copy_has_a_key_if_its_source_is_encrypted_and_only_then(cloud: LocalCloud) -> None:
    """The model of CopyDBClusterSnapshot."""
    plain, encrypted = cloud.seed_snapshots(
        [
            snapshot("plain"),
            snapshot("encrypted", kms_key_id=CUSTOMER_KEY, kms_granted_to=[ACCEPTANCE]),
        ]
    )["arns"]
    key = client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
    for source, parameters in ((plain, {"KmsKeyId": key}), (encrypted, {})):
        with pytest.raises(ClientError, match="InvalidParameterCombination"):
            copy(cloud, source, **parameters)
    assert copy(cloud, encrypted, KmsKeyId=key)["KmsKeyId"] == key


def test_a_restore_without_a_version_takes_the_region_s_default(cloud: LocalCloud) -> None:
    """EngineVersion in the model of RestoreDBClusterFromSnapshot; moto's default is 12.7."""
    rds = client(cloud, "rds")
    arns = cloud.seed_snapshots([snapshot("old", engine_version="11.9"), snapshot("new")])["arns"]
    request = {"DBClusterIdentifier": "c", "Engine": "aurora-postgresql"}
    with pytest.raises(ClientError, match=r"15\.4 to aurora-postgresql 12\.7"):
        rds.restore_db_cluster_from_snapshot(SnapshotIdentifier=arns[1], **request)
    restored = rds.restore_db_cluster_from_snapshot(SnapshotIdentifier=arns[0], **request)
    assert restored["DBCluster"]["EngineVersion"] == "12.7"


def lets(account: str, *actions: str, **more: Any) -> dict[str, Any]:
    everybody = {"AWS": f"arn:aws:iam::{account}:root"}
    return {
        "Effect": "Allow",
        "Principal": everybody,
        "Action": [*actions],
        "Resource": "*",
        **more,
    }


def through(service: str) -> dict[str, Any]:
    return {"StringEquals": {"kms:ViaService": f"{service}.eu-west-1.amazonaws.com"}}


USING = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey")


@pytest.mark.parametrize(
    ("statements", "usable"),
    [
        ([lets(STRANGER, *USING)], False),
        ([lets(ACCEPTANCE, *USING[1:])], False),
        ([lets(ACCEPTANCE, *USING)], True),
        ([lets(ACCEPTANCE, "kms:*")], True),
        ([lets(ACCEPTANCE, "kms:*"), lets(ACCEPTANCE, "kms:D*", Effect="Deny")], False),
        ([lets(ACCEPTANCE, *USING, Condition=through("rds"))], True),
        ([lets(ACCEPTANCE, *USING, Condition=through("s3"))], False),
    ],
)
def test_who_may_use_a_key_of_another_account_and_see_it_is_for_its_policy_to_say(
    cloud: LocalCloud, statements: list[dict[str, Any]], usable: bool
) -> None:
    """ "Sharing encrypted snapshots", Aurora User Guide; DescribeKey, KMS API reference."""
    policy = {"Version": "2012-10-17", "Statement": [lets(PRODUCTION, "kms:*"), *statements]}
    there = client(cloud, "kms", PRODUCTION)
    key = there.create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"]
    (arn,) = cloud.seed_snapshots([snapshot(kms_key_id=key)])["arns"]
    kms, own = client(cloud, "kms"), client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
    if usable:
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["AWSAccountId"] == PRODUCTION
        assert copy(cloud, arn, KmsKeyId=own)["KmsKeyId"] == own
    else:
        with pytest.raises(ClientError, match="no resource-based policy allows"):
            kms.describe_key(KeyId=key)
        with pytest.raises(ClientError, match="KMSKeyNotAccessibleFault"):
            copy(cloud, arn, KmsKeyId=own)


def test_nobody_else_s_may_use_a_default_key_which_says_that_aws_manages_it(
    cloud: LocalCloud,
) -> None:
    """ "Sharing encrypted snapshots"; *AWS managed keys*, KMS Developer Guide."""
    granted = {"kms_key_id": DEFAULT_KEY, "kms_granted_to": [ACCEPTANCE]}
    (arn,) = cloud.seed_snapshots([snapshot(**granted)])["arns"]
    with pytest.raises(ClientError, match="KMSKeyNotAccessibleFault"):
        copy(cloud, arn, KmsKeyId=client(cloud, "kms").create_key()["KeyMetadata"]["Arn"])
    default = client(cloud, "kms").describe_key(KeyId="alias/aws/rds")["KeyMetadata"]
    assert default["KeyManager"] == "AWS"
