"""RDS: DB cluster snapshots and DB clusters, DocumentDB's and Neptune's included."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.errors import code_and_message, translate_errors
from chalicelib.domain.deployment import Cluster
from chalicelib.domain.errors import Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot, SnapshotArn

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_rds.type_defs import DBClusterSnapshotTypeDef, DBClusterTypeDef, TagTypeDef

# The snapshot attribute that lists the accounts which may copy and restore the snapshot.
_RESTORE_ATTRIBUTE = "restore"
_OWN_TYPES = ("manual", "automated", "awsbackup")
_TYPE_OF_PREFIX = {"rds": "automated", "awsbackup": "awsbackup"}

_NOT_FOUND = "DBClusterSnapshotNotFoundFault"
_COPY_REFUSALS = {
    "SnapshotQuotaExceeded": Reason.COPY_QUOTA,
    "KMSKeyNotAccessibleFault": Reason.COPY_KEY_DENIED,
    _NOT_FOUND: Reason.SNAPSHOT_GONE,
    "InvalidDBClusterSnapshotStateFault": Reason.SNAPSHOT_GONE,
    # RDS's answer to a KmsKeyId for a snapshot that it counts as unencrypted.
    "InvalidParameterCombination": Reason.COPY_UNENCRYPTED,
}
_TAKE_REFUSALS = {
    "SnapshotQuotaExceeded": Reason.SNAPSHOT_QUOTA,
    "InvalidDBClusterStateFault": Reason.CLUSTER_BUSY,
}


class RdsSnapshots:
    """The `Snapshots` port, with AwsError for whatever fails.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusterSnapshots.html
    """

    def __init__(self, client: "RDSClient", source: "RDSClient | None" = None) -> None:
        """Take a client of the own Region, and one of the Region in which production shares."""
        self._client = client
        self._source = source or client

    def shared(self) -> Iterator[Snapshot]:
        # How filters act on shared snapshots is undocumented, so every snapshot is read.
        listed = self._list("the shared snapshots", self._source, SnapshotType="shared")
        return map(to_snapshot, listed)

    def own(self) -> Iterator[Snapshot]:
        for listed in self._list("the own snapshots", self._client, SnapshotType="manual"):
            tags = {tag["Key"]: tag["Value"] for tag in listed.get("TagList", [])}
            yield _to_own_snapshot(listed, tags)

    def automated(self, cluster: str) -> Iterator[Snapshot]:
        subject = f"the automated snapshots of {cluster}"
        typed = {"SnapshotType": "automated", "DBClusterIdentifier": cluster}
        return map(to_snapshot, self._list(subject, self._client, **typed))

    def find(self, arn: str) -> Snapshot | None:
        parsed = SnapshotArn.parse(arn)
        for client in (self._client, self._source):
            if parsed and parsed.region == client.meta.region_name:
                return self._describe(client, arn)
        return None  # a Region knows only its own snapshots

    def named(self, identifier: str, account: str) -> list[Snapshot]:
        # A shared snapshot is listed and found by its ARN only, never by its short name. Only
        # manual snapshots, whose names have no prefix, can be shared.
        meta = self._source.meta
        arn = f"arn:{meta.partition}:rds:{meta.region_name}:{account}:cluster-snapshot:{identifier}"
        found = [self._describe(self._client, identifier)]
        if ":" not in identifier:
            found.append(self._describe(self._source, arn))
        return [snapshot for snapshot in found if snapshot]

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> Snapshot | None:
        """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html"""
        parsed = SnapshotArn.parse(source)
        # With it, botocore adds the presigned URL that GovCloud's Regions need and others ignore.
        elsewhere: Any = (
            {"SourceRegion": parsed.region}
            if parsed and parsed.region != self._client.meta.region_name
            else {}
        )
        action = f"copy {source}"
        with self._refusals("CopyDBClusterSnapshot", source, name, action, _COPY_REFUSALS):
            copied = self._client.copy_db_cluster_snapshot(
                SourceDBClusterSnapshotIdentifier=source,
                TargetDBClusterSnapshotIdentifier=name,
                KmsKeyId=key,
                Tags=_to_tags(tags),
                **elsewhere,
            )
            return _to_own_snapshot(copied["DBClusterSnapshot"], tags)
        return None

    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> Snapshot | None:
        """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html"""
        action = f"take a snapshot of {cluster}"
        with self._refusals("CreateDBClusterSnapshot", cluster, name, action, _TAKE_REFUSALS):
            taken = self._client.create_db_cluster_snapshot(
                DBClusterIdentifier=cluster,
                DBClusterSnapshotIdentifier=name,
                Tags=_to_tags(tags),
            )
            return _to_own_snapshot(taken["DBClusterSnapshot"], tags)
        return None

    def delete(self, identifier: str) -> None:
        """https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-delete-snapshot.html"""
        with translate_errors("DeleteDBClusterSnapshot", identifier, ignored=_NOT_FOUND):
            self._client.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=identifier)

    def shared_with(self, identifier: str) -> Collection[str]:
        with translate_errors("DescribeDBClusterSnapshotAttributes", identifier):
            result = self._client.describe_db_cluster_snapshot_attributes(
                DBClusterSnapshotIdentifier=identifier
            )["DBClusterSnapshotAttributesResult"]
        return {
            account
            for attribute in result["DBClusterSnapshotAttributes"]
            if attribute["AttributeName"] == _RESTORE_ATTRIBUTE
            for account in attribute["AttributeValues"]
        }

    def share(self, identifier: str, account: str) -> None:
        """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBClusterSnapshotAttribute.html"""
        with translate_errors("ModifyDBClusterSnapshotAttribute", identifier):
            self._client.modify_db_cluster_snapshot_attribute(
                DBClusterSnapshotIdentifier=identifier,
                AttributeName=_RESTORE_ATTRIBUTE,
                ValuesToAdd=[account],
            )

    @contextmanager
    def _refusals(
        self, operation: str, subject: str, name: str, action: str, reasons: Mapping[str, Reason]
    ) -> Iterator[None]:
        """Raise Refused for a code that only a person can resolve; end the block if the name exists."""
        with translate_errors(operation, subject, ignored="DBClusterSnapshotAlreadyExistsFault"):
            try:
                yield
            except ClientError as error:
                code, message = code_and_message(error)
                if code not in reasons:
                    raise
                # Another delivery, or a first attempt whose response was lost, may have made it.
                # RDS may then refuse this request: the cluster is busy, or a quota is used up.
                if self._describe(self._client, name):
                    return
                raise Refused(reasons[code], f"RDS refused to {action}: {message}") from error

    def _list(
        self, subject: str, client: "RDSClient", **arguments: Any
    ) -> "Iterator[DBClusterSnapshotTypeDef]":
        pages = client.get_paginator("describe_db_cluster_snapshots").paginate(
            **arguments, PaginationConfig={"PageSize": 100}
        )
        with translate_errors("DescribeDBClusterSnapshots", subject):
            for page in pages:
                yield from page["DBClusterSnapshots"]

    def _describe(self, client: "RDSClient", identifier: str) -> Snapshot | None:
        # Pass the type for automated and AWS Backup snapshots; a share is found only without a type.
        prefix, separator, _ = identifier.rpartition(":cluster-snapshot:")[2].partition(":")
        snapshot_type = _TYPE_OF_PREFIX.get(prefix) if separator else None
        lookup: dict[str, Any] = (
            {"SnapshotType": snapshot_type} if snapshot_type else {"IncludeShared": True}
        )
        with translate_errors("DescribeDBClusterSnapshots", identifier, ignored=_NOT_FOUND):
            listed = client.describe_db_cluster_snapshots(
                DBClusterSnapshotIdentifier=identifier, **lookup
            )
            return next(map(to_snapshot, listed["DBClusterSnapshots"]), None)
        return None


class RdsClusters:
    """The `Clusters` port, with AwsError for whatever fails.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusters.html
    """

    def __init__(self, client: "RDSClient") -> None:
        self._client = client

    def describe(self, identifier: str) -> Cluster | None:
        with translate_errors("DescribeDBClusters", identifier, ignored="DBClusterNotFoundFault"):
            answer = self._client.describe_db_clusters(DBClusterIdentifier=identifier)
            return next(map(_to_cluster, answer["DBClusters"]), None)
        return None


def _to_cluster(listed: "DBClusterTypeDef") -> Cluster | None:
    if "ClusterCreateTime" not in listed:
        return None
    return Cluster(
        listed["DbClusterResourceId"],
        listed["ClusterCreateTime"],
        listed["DBClusterIdentifier"],
        listed["DBClusterArn"],
        listed.get("Endpoint"),
        listed.get("Port"),
        listed["Engine"],
        listed.get("MasterUserSecret", {}).get("SecretArn"),
        listed.get("KmsKeyId") if listed.get("StorageEncrypted") else None,
        listed.get("Status") == "creating",
    )


def to_snapshot(listed: "DBClusterSnapshotTypeDef") -> Snapshot:
    """Convert one entry of DescribeDBClusterSnapshots."""
    arn = listed["DBClusterSnapshotArn"]
    parsed = SnapshotArn.parse(arn)
    return Snapshot(
        arn=arn,
        account=parsed.account if parsed else "",
        cluster=listed.get("DBClusterIdentifier", ""),
        engine=listed.get("Engine", ""),
        engine_version=listed.get("EngineVersion", ""),
        status=listed.get("Status", ""),
        created=listed.get("SnapshotCreateTime"),
        # Anything uncertain counts as shared, because the rules for own snapshots are laxer. The
        # identifier of a share is its ARN.
        own=listed.get("SnapshotType") in _OWN_TYPES
        and listed.get("DBClusterSnapshotIdentifier") != arn,
    )


def _to_own_snapshot(listed: "DBClusterSnapshotTypeDef", tags: Mapping[str, str]) -> Snapshot:
    return to_snapshot(listed)._replace(
        tags=tags,
        progress=listed.get("PercentProgress", 0),
        source=listed.get("SourceDBClusterSnapshotArn"),
    )


def _to_tags(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": name, "Value": value} for name, value in tags.items()]
