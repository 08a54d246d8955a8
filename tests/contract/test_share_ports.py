"""One suite for the fakes of production's use cases and for the real adapters, on the local cloud."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.rds import RdsSnapshots
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.shares import Cluster
from chalicelib.domain.snapshots import OwnSnapshot
from localcloud.client import LocalCloud
from localcloud.company import nightly
from tests.fakes import ACCEPTANCE, MANUAL_SNAPSHOTS, PRODUCTION, InMemoryAws, arn, snapshot

NOW = datetime(2026, 1, 3, 22, tzinfo=UTC)
TAGS = {"aurora-refresh:made-for": ACCEPTANCE, "aurora-refresh:taken": NOW.isoformat()}


@dataclass
class FakeStage:
    aws: InMemoryAws

    def key(self) -> str:
        return "key/own"

    def default_key(self) -> str:
        self.aws.keys.default.add("key/default")
        return "key/default"

    def cluster(self, name: str, key: str | None = None) -> None:
        self.aws.clusters.all[name] = Cluster(name, key)

    def stop(self, name: str) -> None:
        self.aws.clusters.busy.add(name)

    def have(self, name: str, **facts: Any) -> None:
        self.aws.snapshots.all.append(snapshot(name, own=True, **facts))

    def settle(self) -> None:
        self.aws.snapshots.settle()


@dataclass
class CloudStage:
    aws: BotoAws
    cloud: LocalCloud

    def key(self) -> str:
        made: str = self.cloud.client("kms", PRODUCTION).create_key()["KeyMetadata"]["Arn"]
        return made

    def default_key(self) -> str:
        kms = self.cloud.client("kms", PRODUCTION)
        made: str = kms.describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
        return made

    def cluster(self, name: str, key: str | None = None) -> None:
        self.cloud.client("rds", PRODUCTION).create_db_cluster(
            DBClusterIdentifier=name,
            Engine="aurora-postgresql",
            EngineVersion="15.4",
            MasterUsername="owner",
            MasterUserPassword="a-password-that-is-no-secret",
            **({"StorageEncrypted": True, "KmsKeyId": key} if key else {}),
        )

    def stop(self, name: str) -> None:
        rds = self.cloud.client("rds", PRODUCTION)
        rds.describe_db_clusters(DBClusterIdentifier=name)  # a look ends its creation
        rds.stop_db_cluster(DBClusterIdentifier=name)

    def have(self, name: str, **facts: Any) -> None:
        kind = "automated" if name.startswith("rds:") else "manual"
        facts = {"identifier": name, "shared_with": [], "snapshot_type": kind, **facts}
        self.cloud.seed_snapshots([nightly(facts.pop("cluster", "orders"), NOW, **facts)])

    def settle(self) -> None:
        for each in self.aws.snapshots.own():
            self.cloud.patch_snapshot(each.snapshot.arn, status="available")


Stage = FakeStage | CloudStage


@pytest.fixture(params=["fake", "real"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage(InMemoryAws(NOW, PRODUCTION))
    cloud: LocalCloud = request.getfixturevalue("cloud")
    cloud.set_clock(NOW)
    stage = CloudStage(aws_of(cloud), cloud)
    stage.have("any")
    cloud.patch_snapshot(arn("any"), copy_seconds=3600)
    cloud.client("rds", PRODUCTION).delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="any")
    return stage


def aws_of(cloud: LocalCloud) -> BotoAws:
    """Return AWS as a function in production has it."""
    environment = cloud.environment(PRODUCTION)
    create_client = partial(
        botocore.session.get_session().create_client,
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
    )
    return BotoAws(create_client, None)


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
    assert timedelta() <= created - NOW < timedelta(minutes=1)
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
        ask(aws_of(cloud))
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
