"""The verbs of AWS that only the app in production uses, in the words of ``ports_source.py``."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws import (
    Aws,
    RdsSnapshots,
    asking,
    to_own_snapshot,
    to_snapshot,
    to_tags,
)
from chalicelib.errors import Refused
from chalicelib.sharing import Cluster
from chalicelib.snapshots import OwnSnapshot, Snapshot

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_rds import RDSClient

_READERS = "restore"  # RDS's name of the accounts that may copy and restore a snapshot


class RdsSourceSnapshots(RdsSnapshots):
    """Snapshots that are taken to be shared."""

    def automated(self, cluster: str) -> Iterator[Snapshot]:
        """The automated snapshots of a cluster of this account; raises AwsError."""
        pages = self._client.get_paginator("describe_db_cluster_snapshots").paginate(
            SnapshotType="automated",
            DBClusterIdentifier=cluster,
            PaginationConfig={"PageSize": 100},
        )
        with asking("DescribeDBClusterSnapshots", f"the automated snapshots of {cluster}"):
            for page in pages:
                yield from map(to_snapshot, page["DBClusterSnapshots"])

    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        """Ask for a snapshot, which takes a while; None where one of that name exists.

        Raises AwsError, and Refused for what only people can mend.
        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
        """
        told = self._client.exceptions
        with asking("CreateDBClusterSnapshot", cluster):
            try:
                taken = self._client.create_db_cluster_snapshot(
                    DBClusterIdentifier=cluster,
                    DBClusterSnapshotIdentifier=name,
                    Tags=to_tags(tags),
                )
            except told.DBClusterSnapshotAlreadyExistsFault:
                return None
            except told.SnapshotQuotaExceededFault as error:
                raise Refused("snapshot-quota", _no_snapshot(cluster, error)) from error
            except told.InvalidDBClusterStateFault as error:
                raise Refused("cluster-busy", _no_snapshot(cluster, error)) from error
        return to_own_snapshot(taken["DBClusterSnapshot"], tags)

    def readers(self, identifier: str) -> Collection[str]:
        """The accounts that an own manual snapshot is shared with; raises AwsError."""
        with asking("DescribeDBClusterSnapshotAttributes", identifier):
            described = self._client.describe_db_cluster_snapshot_attributes(
                DBClusterSnapshotIdentifier=identifier
            )["DBClusterSnapshotAttributesResult"]
        return {
            account
            for attribute in described["DBClusterSnapshotAttributes"]
            if attribute["AttributeName"] == _READERS
            for account in attribute["AttributeValues"]
        }

    def share(self, identifier: str, account: str) -> None:
        """Let an account copy and restore an own manual snapshot; raises AwsError.

        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBClusterSnapshotAttribute.html
        """
        with asking("ModifyDBClusterSnapshotAttribute", identifier):
            self._client.modify_db_cluster_snapshot_attribute(
                DBClusterSnapshotIdentifier=identifier,
                AttributeName=_READERS,
                ValuesToAdd=[account],
            )

    def unshare(self, identifier: str, account: str) -> None:
        """Take that from it again; raises AwsError."""
        with asking("ModifyDBClusterSnapshotAttribute", identifier):
            self._client.modify_db_cluster_snapshot_attribute(
                DBClusterSnapshotIdentifier=identifier,
                AttributeName=_READERS,
                ValuesToRemove=[account],
            )


def _no_snapshot(cluster: str, error: ClientError) -> str:
    return f"RDS takes no snapshot of {cluster}: {error.response['Error']['Message']}"


class RdsClusters:
    """DescribeDBClusters.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusters.html
    """

    def __init__(self, client: "RDSClient") -> None:
        self._client = client

    def find(self, name: str) -> Cluster | None:
        """The cluster of that name; raises AwsError."""
        with asking("DescribeDBClusters", name):
            try:
                (listed,) = self._client.describe_db_clusters(DBClusterIdentifier=name)[
                    "DBClusters"
                ]
            except self._client.exceptions.DBClusterNotFoundFault:
                return None
        return Cluster(name, listed.get("KmsKeyId") if listed.get("StorageEncrypted") else None)


class KmsKeys:
    """DescribeKey.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html
    """

    def __init__(self, client: "KMSClient") -> None:
        self._client = client

    def is_default(self, key: str) -> bool:
        """Whether AWS manages the key; raises AwsError."""
        with asking("DescribeKey", key):
            try:
                described = self._client.describe_key(KeyId=key)["KeyMetadata"]
            except self._client.exceptions.NotFoundException:
                return False  # RDS tells whoever uses it
        return described.get("KeyManager") == "AWS"


class SourceAws(Aws):
    """The SourceWorld of ``ports_source.py``."""

    @cached_property
    def snapshots(self) -> RdsSourceSnapshots:
        return RdsSourceSnapshots(self._rds)

    @cached_property
    def clusters(self) -> RdsClusters:
        return RdsClusters(self._rds)

    @cached_property
    def keys(self) -> KmsKeys:
        return KmsKeys(self.client("kms"))

    @cached_property
    def _rds(self) -> "RDSClient":
        client: RDSClient = self.client("rds", lists=True)
        return client
