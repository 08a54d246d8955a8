"""One suite for the fakes of production's use cases and for the real adapters, on the local cloud."""

from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.rds import RdsSnapshots
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.shares import Cluster
from chalicelib.domain.snapshots import OwnSnapshot
from localcloud.client import LocalCloud
from tests.contract.stages import TAKEN, CloudStage, FakeStage, Stage, clients_of
from tests.fakes import ACCEPTANCE, MANUAL_SNAPSHOTS, PRODUCTION, InMemoryAws, arn, snapshot

TAGS = {"aurora-refresh:made-for": ACCEPTANCE, "aurora-refresh:taken": TAKEN.isoformat()}


@pytest.fixture(params=["fake", "real"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage(InMemoryAws(TAKEN, PRODUCTION))
    cloud: LocalCloud = request.getfixturevalue("cloud")
    cloud.set_clock(TAKEN)
    aws = BotoAws(clients_of(cloud, PRODUCTION), None)
    stage = CloudStage(aws, cloud, PRODUCTION)
    stage.have("any")
    cloud.patch_snapshot(arn("any"), copy_seconds=3600)
    cloud.client("rds", PRODUCTION).delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="any")
    return stage


def listed(stage: Stage) -> list[OwnSnapshot]:
    return sorted(stage.aws.snapshots.own(), key=lambda own: own.snapshot.arn)


# --- clusters and keys ----------------------------------------------------------------------------


def test_a_cluster_has_its_key(stage: Stage) -> None:
    key = stage.key()
    stage.cluster("plain")
    stage.cluster("secret", key)
    assert stage.aws.clusters.find("plain") == Cluster("plain", None)
    assert stage.aws.clusters.find("secret") == Cluster("secret", key)


def test_an_unknown_cluster_is_not_found(stage: Stage) -> None:
    assert stage.aws.clusters.find("none") is None


def test_only_a_default_key_is_managed_by_aws(stage: Stage) -> None:
    assert stage.aws.keys.is_aws_managed(stage.default_key())
    assert not stage.aws.keys.is_aws_managed(stage.key())


def test_a_key_that_does_not_exist_is_not_managed_by_aws(stage: Stage) -> None:
    # RDS reports it to whoever uses it.
    assert not stage.aws.keys.is_aws_managed("alias/none")


# --- taking ---------------------------------------------------------------------------------------


def test_a_snapshot_of_a_cluster_is_started_with_its_tags(stage: Stage) -> None:
    stage.cluster("orders")
    made = stage.aws.snapshots.take("orders", "share-1", TAGS)
    assert made is not None
    created = made.snapshot.created
    assert created is not None
    assert timedelta() <= created - TAKEN < timedelta(minutes=1)
    expected = snapshot("share-1", own=True, status="creating", created=created)
    assert made == OwnSnapshot(expected, TAGS, 0)
    assert [(own.snapshot, dict(own.tags)) for own in listed(stage)] == [(expected, TAGS)]


def test_a_name_is_used_once_and_its_snapshot_stays_as_it_is(stage: Stage) -> None:
    stage.cluster("orders")
    stage.aws.snapshots.take("orders", "share-1", TAGS)
    before = listed(stage)
    assert stage.aws.snapshots.take("orders", "share-1", {"other": "tags"}) is None
    assert listed(stage) == before


def test_too_many_snapshots_are_refused(stage: Stage) -> None:
    stage.cluster("orders")
    for number in range(MANUAL_SNAPSHOTS):
        stage.have(f"n{number}")
    with pytest.raises(Refused, match=r"^RDS refused to take a snapshot of orders: ") as caught:
        stage.aws.snapshots.take("orders", "share-1", TAGS)
    assert caught.value.reason == "snapshot-quota"


def test_no_snapshot_is_taken_of_a_cluster_that_is_not_available(stage: Stage) -> None:
    stage.cluster("orders")
    stage.stop("orders")
    with pytest.raises(Refused, match=r"^RDS refused to take a snapshot of orders: ") as caught:
        stage.aws.snapshots.take("orders", "share-1", TAGS)
    assert caught.value.reason == "cluster-busy"
    assert listed(stage) == []


def test_automated_snapshots_are_listed_by_their_cluster(stage: Stage) -> None:
    for name in ("orders", "billing"):
        stage.cluster(name)
    stage.have("rds:orders-a")
    stage.have("rds:billing-a", cluster="billing")
    stage.have("orders-by-hand")
    found = stage.aws.snapshots.automated("orders")
    # The local cloud takes one of each cluster by itself.
    seen = [each for each in found if not each.arn.endswith("-22-00")]
    assert seen == [snapshot("rds:orders-a", own=True)]


def test_an_automated_snapshot_is_copied_under_another_key(stage: Stage) -> None:
    key = stage.key()
    stage.cluster("orders", stage.default_key())
    if isinstance(stage, FakeStage):
        stage.have("rds:orders-a")
    (automated,) = stage.aws.snapshots.automated("orders")
    made = stage.aws.snapshots.copy(automated.arn, "share-1", key, TAGS)
    assert made is not None
    assert (made.snapshot.arn, made.snapshot.cluster) == (arn("share-1"), "orders")
    assert (made.snapshot.status, made.snapshot.own) == ("copying", True)
    assert [own.tags for own in listed(stage)] == [TAGS]


# --- sharing --------------------------------------------------------------------------------------


def test_a_snapshot_is_shared_and_unshared(stage: Stage) -> None:
    stage.have("share-1")
    stage.have("share-2")
    snapshots = stage.aws.snapshots
    assert set(snapshots.shared_with("share-1")) == set()
    snapshots.share("share-1", ACCEPTANCE)
    snapshots.share("share-1", ACCEPTANCE)
    snapshots.share("share-1", "333333333333")
    assert set(snapshots.shared_with("share-1")) == {ACCEPTANCE, "333333333333"}
    snapshots.unshare("share-1", ACCEPTANCE)
    assert set(snapshots.shared_with("share-1")) == {"333333333333"}
    assert set(snapshots.shared_with("share-2")) == set()


# --- the real adapters alone -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("rds:DescribeDBClusters", lambda aws: aws.clusters.find("orders")),
        ("rds:CreateDBClusterSnapshot", lambda aws: aws.snapshots.take("orders", "n", TAGS)),
        ("rds:DescribeDBClusterSnapshots", lambda aws: list(aws.snapshots.automated("orders"))),
        ("rds:DescribeDBClusterSnapshotAttributes", lambda aws: aws.snapshots.shared_with("n")),
        ("rds:ModifyDBClusterSnapshotAttribute", lambda aws: aws.snapshots.share("n", "1")),
        ("rds:ModifyDBClusterSnapshotAttribute", lambda aws: aws.snapshots.unshare("n", "1")),
        ("kms:DescribeKey", lambda aws: aws.keys.is_aws_managed("alias/aws/rds")),
    ],
    ids=["find", "take", "automated", "shared_with", "share", "unshare", "is_aws_managed"],
)
def test_a_refused_call_is_an_error_that_names_the_operation(
    cloud: LocalCloud, operation: str, ask: Any
) -> None:
    cloud.set_faults([{"operation": operation, "kind": "deny", "times": 0}])
    with pytest.raises(AwsError, match=r"AccessDenied") as caught:
        ask(BotoAws(clients_of(cloud, PRODUCTION), None))
    assert f"{caught.value.operation}" == operation.partition(":")[2]


def test_only_the_attribute_restore_lists_accounts() -> None:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    attributes = [
        {"AttributeName": "restore", "AttributeValues": [ACCEPTANCE]},
        {"AttributeName": "of next year", "AttributeValues": ["333333333333"]},
    ]
    with Stubber(boto3.client("rds", "eu-west-1", **keys)) as rds:
        rds.add_response(
            "describe_db_cluster_snapshot_attributes",
            {"DBClusterSnapshotAttributesResult": {"DBClusterSnapshotAttributes": attributes}},
            {"DBClusterSnapshotIdentifier": "share-1"},
        )
        assert RdsSnapshots(rds.client).shared_with("share-1") == {ACCEPTANCE}
