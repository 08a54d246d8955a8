"""RDS's shared cluster snapshots, compared with botocore's service model."""

import json
from collections.abc import Iterator
from functools import cache
from time import monotonic, sleep
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM

CUSTOMER_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DEFAULT_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:alias/aws/rds"
# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
MODEL = botocore.session.get_session().get_service_model("rds")


def snapshot(identifier: str = "nightly", **changes: Any) -> dict[str, Any]:
    return {
        "account": PRODUCTION,
        "identifier": identifier,
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": "2026-01-04T01:00:00+00:00",
        "status": "available",
        "shared_with": [ACCEPTANCE],
        **changes,
    }


def seed(cloud: LocalCloud, **changes: Any) -> str:
    arn: str = cloud.seed_snapshots([snapshot(**changes)])["arns"][0]
    return arn


def identifiers(answer: dict[str, Any]) -> set[str]:
    return {s["DBClusterSnapshotIdentifier"] for s in answer["DBClusterSnapshots"]}


def refused(operation: str, code: str, in_model: bool = True) -> Any:
    """Expect the error, which is one of the operation's own unless it is a common one."""
    own = {shape.error_code for shape in MODEL.operation_model(operation).error_shapes}
    assert (code in own) == in_model
    return pytest.raises(ClientError, match=rf"\({code}\)")


@pytest.fixture
def rds(cloud: LocalCloud) -> Any:
    return client(cloud, "rds")


@pytest.fixture
def key(cloud: LocalCloud) -> str:
    arn: str = client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
    return arn


def test_a_share_is_identified_by_its_arn_and_shows_no_tags(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)

    (shared,) = rds.describe_db_cluster_snapshots(SnapshotType="shared")["DBClusterSnapshots"]

    assert arn == f"arn:aws:rds:eu-west-1:{PRODUCTION}:cluster-snapshot:nightly"
    told = {
        "DBClusterSnapshotIdentifier": arn,
        "DBClusterSnapshotArn": arn,
        "SnapshotType": "shared",
        "Status": "available",
        "Engine": "aurora-postgresql",
        "EngineVersion": "15.4",
        "DBClusterIdentifier": "orders",
        "StorageEncrypted": False,
        "StorageEncryptionType": "none",
    }
    assert told.items() <= shared.items()
    assert shared["SnapshotCreateTime"].isoformat() == "2026-01-04T01:00:00+00:00"
    assert "TagList" not in shared
    assert "KmsKeyId" not in shared
    assert shared.keys() <= MODEL.shape_for("DBClusterSnapshot").members.keys()


def test_a_snapshot_without_create_time_is_listed_without_it(cloud: LocalCloud, rds: Any) -> None:
    seed(cloud, created=None, status="creating")

    (shared,) = rds.describe_db_cluster_snapshots(SnapshotType="shared")["DBClusterSnapshots"]

    assert shared["Status"] == "creating"
    assert "SnapshotCreateTime" not in shared


@pytest.mark.parametrize("engine", ["aurora-postgresql", "aurora-mysql", "docdb", "neptune"])
def test_every_engine_is_listed_and_restored(cloud: LocalCloud, rds: Any, engine: str) -> None:
    arn = seed(cloud, engine=engine, engine_version="8.0.1")

    (shared,) = rds.describe_db_cluster_snapshots(SnapshotType="shared")["DBClusterSnapshots"]
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="restored", SnapshotIdentifier=arn, Engine=engine, EngineVersion="8.0.1"
    )
    (cluster,) = rds.describe_db_clusters()["DBClusters"]

    assert (shared["Engine"], cluster["Engine"]) == (engine, engine)
    assert cluster["EngineVersion"] == "8.0.1"


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ({}, {"own", "rds:own"}),
        ({"IncludeShared": True}, {"own", "rds:own", "share"}),
        ({"SnapshotType": "manual"}, {"own"}),
        ({"SnapshotType": "manual", "IncludeShared": True}, {"own"}),
        ({"SnapshotType": "automated", "IncludeShared": True}, {"rds:own"}),
        ({"SnapshotType": "shared"}, {"share"}),
    ],
)
def test_a_listing_holds_what_its_type_and_includes_say(
    cloud: LocalCloud, rds: Any, query: dict[str, Any], seen: set[str]
) -> None:
    arns = cloud.seed_snapshots(
        [
            snapshot("own", account=ACCEPTANCE, shared_with=[]),
            snapshot("rds:own", account=ACCEPTANCE, shared_with=[], snapshot_type="automated"),
            snapshot("share"),
            snapshot("not-for-us", shared_with=[STRANGER]),
        ]
    )["arns"]
    names = {"share": arns[2]}

    answer = rds.describe_db_cluster_snapshots(**query)

    assert identifiers(answer) == {names.get(name, name) for name in seen}


def test_a_listing_comes_in_pages_and_in_no_order(cloud: LocalCloud, rds: Any) -> None:
    arns = cloud.seed_snapshots([snapshot(f"s{number:03}") for number in range(105)])["arns"]
    listed: list[str] = []
    sizes = []
    marker: dict[str, str] = {}
    while True:
        page = rds.describe_db_cluster_snapshots(SnapshotType="shared", **marker)
        listed += [s["DBClusterSnapshotArn"] for s in page["DBClusterSnapshots"]]
        sizes.append(len(page["DBClusterSnapshots"]))
        if "Marker" not in page:
            break
        marker = {"Marker": page["Marker"]}

    assert sizes == [100, 5]
    assert sorted(listed) == sorted(arns)
    assert listed not in (sorted(arns), sorted(arns, reverse=True))


def test_a_paginator_reads_on_although_snapshots_come_and_go(cloud: LocalCloud, rds: Any) -> None:
    arns = cloud.seed_snapshots([snapshot(f"s{number}") for number in range(60)])["arns"]

    def pages() -> Iterator[str]:
        paginator = rds.get_paginator("describe_db_cluster_snapshots")
        for page in paginator.paginate(SnapshotType="shared", PaginationConfig={"PageSize": 20}):
            listed = [s["DBClusterSnapshotArn"] for s in page["DBClusterSnapshots"]]
            cloud.patch_snapshot(listed[-1], shared_with=[])
            yield from listed

    assert sorted(pages()) == sorted(arns)


def test_a_share_is_found_by_arn_if_shared_ones_are_asked_for(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)

    for asking in ({"IncludeShared": True}, {"SnapshotType": "shared"}):
        found = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, **asking)
        assert identifiers(found) == {arn}
    for asking in ({}, {"SnapshotType": "manual", "IncludeShared": True}):
        with refused("DescribeDBClusterSnapshots", "DBClusterSnapshotNotFoundFault"):
            rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, **asking)


def test_a_share_is_not_found_by_its_bare_name(cloud: LocalCloud, rds: Any) -> None:
    seed(cloud)

    with refused("DescribeDBClusterSnapshots", "DBClusterSnapshotNotFoundFault"):
        rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="nightly", IncludeShared=True)


@pytest.mark.parametrize("account", [PRODUCTION, STRANGER])
def test_a_snapshot_not_shared_with_us_does_not_exist(
    cloud: LocalCloud, rds: Any, account: str
) -> None:
    arn = seed(cloud, account=account, shared_with=[])

    with refused("DescribeDBClusterSnapshots", "DBClusterSnapshotNotFoundFault"):
        rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    with refused("CopyDBClusterSnapshot", "DBClusterSnapshotNotFoundFault"):
        copy(rds, arn)
    with refused("RestoreDBClusterFromSnapshot", "DBClusterSnapshotNotFoundFault"):
        restore(rds, arn)


def test_an_automated_snapshot_is_described_only_with_its_type(cloud: LocalCloud, rds: Any) -> None:
    name = "rds:orders-2026-01-04-01-00"
    seed(cloud, account=ACCEPTANCE, identifier=name, snapshot_type="automated", shared_with=[])

    answer = rds.describe_db_cluster_snapshots(
        DBClusterSnapshotIdentifier=name, SnapshotType="automated"
    )
    assert identifiers(answer) == {name}
    with refused("DescribeDBClusterSnapshots", "DBClusterSnapshotNotFoundFault"):
        rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)


def test_a_share_is_known_in_its_own_region_only_and_copied_to_another(
    cloud: LocalCloud, rds: Any, key: str
) -> None:
    arn = seed(cloud, region="us-east-1", kms_key_id=CUSTOMER_KEY, kms_granted_to=[ACCEPTANCE])
    there = cloud.client("rds", region="us-east-1")

    assert arn.split(":")[3] == "us-east-1"
    assert identifiers(there.describe_db_cluster_snapshots(SnapshotType="shared")) == {arn}
    assert not identifiers(rds.describe_db_cluster_snapshots(SnapshotType="shared"))
    with refused("DescribeDBClusterSnapshots", "DBClusterSnapshotNotFoundFault"):
        rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    copied = copy(rds, arn, KmsKeyId=key, SourceRegion="us-east-1")
    assert (copied["SourceDBClusterSnapshotArn"], copied["KmsKeyId"]) == (arn, key)
    assert copied["DBClusterSnapshotArn"].split(":")[3] == "eu-west-1"
    assert not identifiers(there.describe_db_cluster_snapshots(SnapshotType="manual"))


def test_a_share_withdrawn_or_deleted_is_gone(cloud: LocalCloud, rds: Any) -> None:
    withdrawn, deleted = seed(cloud, identifier="withdrawn"), seed(cloud, identifier="deleted")

    owner = client(cloud, "rds", PRODUCTION)
    owner.modify_db_cluster_snapshot_attribute(
        DBClusterSnapshotIdentifier="withdrawn",
        AttributeName="restore",
        ValuesToRemove=[ACCEPTANCE],
    )
    owner.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="deleted")

    assert identifiers(rds.describe_db_cluster_snapshots(SnapshotType="shared")) == set()
    for arn in (withdrawn, deleted):
        with refused("RestoreDBClusterFromSnapshot", "DBClusterSnapshotNotFoundFault"):
            restore(rds, arn)


def test_only_an_available_snapshot_can_be_shared(cloud: LocalCloud) -> None:
    arn = seed(cloud, status="creating", shared_with=[])
    share = {
        "DBClusterSnapshotIdentifier": "nightly",
        "AttributeName": "restore",
        "ValuesToAdd": [ACCEPTANCE],
    }
    owner = client(cloud, "rds", PRODUCTION)

    with refused("ModifyDBClusterSnapshotAttribute", "InvalidDBClusterSnapshotStateFault"):
        owner.modify_db_cluster_snapshot_attribute(**share)
    cloud.patch_snapshot(arn, status="available")
    owner.modify_db_cluster_snapshot_attribute(**share)

    listed = client(cloud, "rds").describe_db_cluster_snapshots(SnapshotType="shared")
    assert identifiers(listed) == {arn}


@pytest.fixture
def owner(cloud: LocalCloud) -> Any:
    """Production's RDS."""
    return client(cloud, "rds", PRODUCTION)


def cluster(owner: Any, name: str = "orders", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = owner.create_db_cluster(
        DBClusterIdentifier=name,
        Engine="aurora-postgresql",
        EngineVersion="15.4",
        MasterUsername="owner",
        MasterUserPassword="a-password-that-is-no-secret",
        **more,
    )["DBCluster"]
    return answer


def take(owner: Any, name: str = "taken", of: str = "orders", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = owner.create_db_cluster_snapshot(
        DBClusterIdentifier=of, DBClusterSnapshotIdentifier=name, **more
    )["DBClusterSnapshot"]
    return answer


def manager(cloud: LocalCloud, key: str) -> str:
    described = client(cloud, "kms", PRODUCTION).describe_key(KeyId=key)["KeyMetadata"]
    told: str = described["KeyManager"]
    return told


def test_a_snapshot_taken_takes_its_time_and_is_of_its_cluster(
    cloud: LocalCloud, owner: Any
) -> None:
    cluster(owner)
    cloud.patch_snapshot(seed(cloud), copy_seconds=0.3)

    begun = take(owner, "Taken", Tags=[{"Key": "purpose", "Value": "sharing"}])
    deadline = monotonic() + 5
    while True:
        (done,) = owner.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="taken")[
            "DBClusterSnapshots"
        ]
        if done["Status"] == "available" or monotonic() > deadline:
            break
        sleep(0.05)

    assert (begun["Status"], begun["PercentProgress"]) == ("creating", 0)
    assert (done["Status"], done["PercentProgress"]) == ("available", 100)
    assert (done["DBClusterIdentifier"], done["EngineVersion"]) == ("orders", "15.4")
    assert (done["SnapshotType"], done["StorageEncrypted"]) == ("manual", False)
    assert done["TagList"] == [{"Key": "purpose", "Value": "sharing"}]


def test_a_snapshot_is_taken_only_of_what_there_is_and_under_a_new_and_proper_name(
    cloud: LocalCloud, owner: Any
) -> None:
    cluster(owner)
    take(owner)

    with refused("CreateDBClusterSnapshot", "DBClusterSnapshotAlreadyExistsFault"):
        take(owner, "TAKEN")
    with refused("CreateDBClusterSnapshot", "DBClusterNotFoundFault"):
        take(owner, of="nowhere")
    with refused("CreateDBClusterSnapshot", "InvalidParameterValue", in_model=False):
        take(owner, "no--name")
    owner.stop_db_cluster(DBClusterIdentifier="orders")
    with refused("CreateDBClusterSnapshot", "InvalidDBClusterStateFault"):
        take(owner, "later")


def test_a_cluster_and_its_snapshots_are_under_the_default_key_unless_it_names_another(
    cloud: LocalCloud, owner: Any
) -> None:
    own_key = client(cloud, "kms", PRODUCTION).create_key()["KeyMetadata"]["Arn"]
    default = cluster(owner, StorageEncrypted=True)["KmsKeyId"]
    cluster(owner, "billing", StorageEncrypted=True, KmsKeyId=own_key)

    listed = owner.describe_db_cluster_snapshots(SnapshotType="automated")["DBClusterSnapshots"]
    assert {each["DBClusterIdentifier"]: each["KmsKeyId"] for each in listed} == {
        "orders": default,
        "billing": own_key,
    }
    assert {each["Status"] for each in listed} == {"available"}
    assert (take(owner)["KmsKeyId"], take(owner, "b", "billing")["KmsKeyId"]) == (default, own_key)
    assert (manager(cloud, default), manager(cloud, own_key)) == ("AWS", "CUSTOMER")
    assert manager(cloud, "alias/aws/rds") == "AWS"


def lets(account: str, *actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    everybody = {"AWS": f"arn:aws:iam::{account}:root"}
    return {"Effect": effect, "Principal": everybody, "Action": [*actions], "Resource": "*", **more}


def through(service: str) -> dict[str, Any]:
    return {"StringEquals": {"kms:ViaService": f"{service}.eu-west-1.amazonaws.com"}}


USING = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey")


@pytest.mark.parametrize(
    ("statements", "usable"),
    [
        ([], False),
        ([lets(STRANGER, *USING)], False),
        ([lets(ACCEPTANCE, *USING[:2])], False),
        ([lets(ACCEPTANCE, *USING[1:])], False),
        ([lets(ACCEPTANCE, *USING)], True),
        ([lets(ACCEPTANCE, *USING[:1]), lets(ACCEPTANCE, *USING[1:])], True),
        ([lets(ACCEPTANCE, *USING, effect="Deny")], False),
        ([lets(ACCEPTANCE, "kms:*")], True),
        ([lets(ACCEPTANCE, *USING, Condition=through("rds"))], True),
        ([lets(ACCEPTANCE, *USING, Condition=through("s3"))], False),
    ],
)
def test_who_may_use_a_share_is_for_its_key_s_policy_to_say(
    cloud: LocalCloud, owner: Any, rds: Any, statements: list[dict[str, Any]], usable: bool
) -> None:
    policy = {"Version": "2012-10-17", "Statement": [lets(PRODUCTION, "kms:*"), *statements]}
    kms = client(cloud, "kms", PRODUCTION)
    key = kms.create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"]
    cluster(owner, StorageEncrypted=True, KmsKeyId=key)
    arn = take(owner)["DBClusterSnapshotArn"]
    cloud.patch_snapshot(arn, status="available", shared_with=[ACCEPTANCE])

    if usable:
        assert restore(rds, arn)["KmsKeyId"] == key
    else:
        with refused("RestoreDBClusterFromSnapshot", "KMSKeyNotAccessibleFault"):
            restore(rds, arn)


def test_a_share_of_a_cluster_under_the_default_key_is_of_no_use_until_it_is_copied(
    cloud: LocalCloud, owner: Any, rds: Any
) -> None:
    policy = {"Version": "2012-10-17", "Statement": [lets(ACCEPTANCE, *USING)]}
    key = client(cloud, "kms", PRODUCTION).create_key(Policy=json.dumps(policy))["KeyMetadata"][
        "Arn"
    ]
    cluster(owner, StorageEncrypted=True)
    arn = take(owner)["DBClusterSnapshotArn"]
    cloud.patch_snapshot(arn, status="available", shared_with=[ACCEPTANCE])

    with refused("RestoreDBClusterFromSnapshot", "KMSKeyNotAccessibleFault"):
        restore(rds, arn)
    copied = copy(owner, arn, KmsKeyId=key)["DBClusterSnapshotArn"]
    cloud.patch_snapshot(copied, status="available", shared_with=[ACCEPTANCE])
    assert restore(rds, copied)["KmsKeyId"] == key


def copy(rds: Any, source: str, target: str = "copy", **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=source,
        TargetDBClusterSnapshotIdentifier=target,
        **parameters,
    )["DBClusterSnapshot"]
    return answer


def restore(rds: Any, source: str, **parameters: Any) -> dict[str, Any]:
    values = {"Engine": "aurora-postgresql", "EngineVersion": "15.4", **parameters}
    answer: dict[str, Any] = rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="restored", SnapshotIdentifier=source, **values
    )["DBCluster"]
    return answer


def test_a_copy_takes_its_time_and_remembers_its_source(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)
    cloud.patch_snapshot(arn, copy_seconds=0.3)

    begun = copy(rds, arn, Tags=[{"Key": "purpose", "Value": "acceptance"}])
    deadline = monotonic() + 5
    while True:
        (done,) = rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="copy")[
            "DBClusterSnapshots"
        ]
        if done["Status"] == "available" or monotonic() > deadline:
            break
        sleep(0.05)

    assert (begun["Status"], begun["PercentProgress"]) == ("copying", 0)
    assert (done["Status"], done["PercentProgress"]) == ("available", 100)
    assert done["SourceDBClusterSnapshotArn"] == arn
    assert done["DBClusterSnapshotIdentifier"] == "copy"
    assert done["SnapshotType"] == "manual"
    assert done["TagList"] == [{"Key": "purpose", "Value": "acceptance"}]
    assert not done["StorageEncrypted"]


def test_a_copy_of_an_encrypted_share_is_under_a_key_of_ones_own(
    cloud: LocalCloud, rds: Any, key: str
) -> None:
    arn = seed(cloud, kms_key_id=CUSTOMER_KEY, kms_granted_to=[ACCEPTANCE])

    with refused("CopyDBClusterSnapshot", "InvalidParameterCombination", in_model=False):
        copy(rds, arn)
    copied = copy(rds, arn, KmsKeyId=key)

    assert (copied["KmsKeyId"], copied["StorageEncrypted"]) == (key, True)


def test_an_unencrypted_snapshot_is_not_copied_under_a_key(
    cloud: LocalCloud, rds: Any, key: str
) -> None:
    with refused("CopyDBClusterSnapshot", "InvalidParameterCombination", in_model=False):
        copy(rds, seed(cloud), KmsKeyId=key)


@pytest.mark.parametrize("encrypts", [True, False])
def test_a_share_under_sse_rds_is_encrypted_by_its_copy_or_refused(
    cloud: LocalCloud, rds: Any, key: str, encrypts: bool
) -> None:
    """The Aurora guide says the one, the API reference the other."""
    arn = seed(cloud, sse_rds=True)
    cloud.patch_snapshot(arn, encrypts_sse_rds=encrypts)

    if encrypts:
        copied = copy(rds, arn, KmsKeyId=key)
        assert (copied["KmsKeyId"], copied["StorageEncryptionType"]) == (key, "sse-kms")
    else:
        with refused("CopyDBClusterSnapshot", "InvalidParameterCombination", in_model=False):
            copy(rds, arn, KmsKeyId=key)
    again = copy(rds, arn, target="again")
    assert (again["StorageEncrypted"], again["StorageEncryptionType"]) == (False, "sse-rds")


def test_a_share_is_of_no_use_to_who_may_not_use_its_key(
    cloud: LocalCloud, rds: Any, key: str
) -> None:
    arn = seed(cloud, kms_key_id=CUSTOMER_KEY, kms_granted_to=[STRANGER])

    with refused("CopyDBClusterSnapshot", "KMSKeyNotAccessibleFault"):
        copy(rds, arn, KmsKeyId=key)
    with refused("RestoreDBClusterFromSnapshot", "KMSKeyNotAccessibleFault"):
        restore(rds, arn)
    cloud.patch_snapshot(arn, kms_granted_to=[ACCEPTANCE])
    assert restore(rds, arn)["KmsKeyId"] == CUSTOMER_KEY


@pytest.mark.parametrize("status", ["copying", "failed"])
def test_what_is_not_available_can_be_neither_copied_nor_restored(
    cloud: LocalCloud, rds: Any, status: str
) -> None:
    arn = seed(cloud, status=status)

    with refused("CopyDBClusterSnapshot", "InvalidDBClusterSnapshotStateFault"):
        copy(rds, arn)
    with refused("RestoreDBClusterFromSnapshot", "InvalidDBClusterSnapshotStateFault"):
        restore(rds, arn)
    cloud.patch_snapshot(arn, status="available")
    assert restore(rds, arn)["DBClusterIdentifier"] == "restored"


@pytest.mark.parametrize("target", ["1st", "a--b", "a" * 64])
def test_a_copy_needs_a_proper_name(cloud: LocalCloud, rds: Any, target: str) -> None:
    with refused("CopyDBClusterSnapshot", "InvalidParameterValue", in_model=False):
        copy(rds, seed(cloud), target)


def test_a_copy_needs_a_new_name_in_any_case(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)
    copy(rds, arn, "copy-1")

    with refused("CopyDBClusterSnapshot", "DBClusterSnapshotAlreadyExistsFault"):
        copy(rds, arn, "Copy-1")


def test_five_copies_may_be_under_way(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)
    cloud.patch_snapshot(arn, copy_seconds=60)
    copies = [copy(rds, arn, f"copy-{number}") for number in range(5)]

    with refused("CopyDBClusterSnapshot", "SnapshotQuotaExceeded"):
        copy(rds, arn, "copy-6")
    cloud.patch_snapshot(copies[0]["DBClusterSnapshotArn"], status="available")
    assert copy(rds, arn, "copy-6")["Status"] == "copying"


def test_a_hundred_manual_snapshots_are_allowed(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud)
    cloud.seed_snapshots([snapshot(f"own-{n}", account=ACCEPTANCE) for n in range(100)])

    with refused("CopyDBClusterSnapshot", "SnapshotQuotaExceeded"):
        copy(rds, arn)


def test_a_restored_cluster_remembers_its_snapshot(cloud: LocalCloud, rds: Any) -> None:
    arn = seed(cloud, kms_key_id=CUSTOMER_KEY, kms_granted_to=[ACCEPTANCE])

    restore(rds, arn, Tags=[{"Key": "stage", "Value": "acceptance"}])
    (cluster,) = rds.describe_db_clusters()["DBClusters"]

    assert cluster["TagList"] == [
        {"Key": "stage", "Value": "acceptance"},
        {"Key": RESTORED_FROM, "Value": arn},
    ]
    assert (cluster["StorageEncrypted"], cluster["KmsKeyId"]) == (True, CUSTOMER_KEY)


def test_a_restore_keeps_the_engine_and_goes_to_no_older_version(
    cloud: LocalCloud, rds: Any
) -> None:
    arn = seed(cloud)

    for changes in ({"Engine": "aurora-mysql"}, {"EngineVersion": "15.3"}):
        with refused("RestoreDBClusterFromSnapshot", "InvalidParameterCombination", in_model=False):
            restore(rds, arn, **changes)
    assert restore(rds, arn, EngineVersion="15.10")["EngineVersion"] == "15.10"
