"""Cluster snapshots that one account shares with another, as RDS lists, copies and restores them.

moto lists a shared snapshot as if it were the caller's own, all on one page, and can neither copy nor restore
it. This module restores the following, from the RDS API reference (botocore's ``rds`` model) and the Aurora User
Guide's *Sharing a DB cluster snapshot* and *Copying a DB cluster snapshot*:

- a share's identifier is its whole ARN, its type is ``shared``, and its tags are not visible;
- listings have pages (``MaxRecords``, ``Marker``) and no particular order;
- a share is found only by its ARN, and only if shared snapshots are requested;
- taking a snapshot takes a while; the cluster must be available, and its key is the snapshot's;
- a copy takes a while and is dated by its making; it needs a key of the caller's own if the share is encrypted,
  and must have none if it is not; at most five may be in progress;
- an encrypted share can be used only by accounts that may use its key (``keys.py``);
- a snapshot that is not ``available`` can be neither copied, shared nor restored.

DocumentDB clusters and snapshots, which AWS serves with the same API, exist as well. A restored cluster has the tag
:data:`RESTORED_FROM`, which AWS does not set, so that a test can see its source. Public snapshots and filters are
not supported.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import moto.rds.urls
from botocore import xform_name
from moto.core.responses import ActionResult
from moto.core.utils import get_service_model, utcnow
from moto.rds.exceptions import (
    DBClusterNotFoundError,
    DBClusterSnapshotAlreadyExistsError,
    DBClusterSnapshotNotFoundError,
    InvalidDBClusterSnapshotStateFault,
    InvalidDBClusterStateFault,
    InvalidParameterCombination,
    KMSKeyNotAccessibleFault,
    RDSClientError,
    SnapshotQuotaExceededFault,
)
from moto.rds.models import DBCluster, DBClusterSnapshot, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from localcloud import accounts, clock, keys, rows
from localcloud.controls import control

RESTORED_FROM = "local:restored-from"
MANUAL_SNAPSHOTS_PER_REGION = 100
COPIES_IN_PROGRESS_PER_REGION = 5

# moto requires a password for every cluster; it is never read.
_UNREAD = "a-password-that-is-no-secret"


class Snapshot(DBClusterSnapshot):
    """A cluster snapshot with a state: it may be in progress, have no create time yet, or have failed.

    ``ready`` is the time at which it is complete, on the monotonic clock, which is independent of the cloud's
    clock.
    """

    created: Any
    kms_key_id: Any

    def __init__(
        self,
        backend: RDSBackend,
        cluster: DBCluster,
        name: str,
        *,
        created: datetime | None,
        status: str,
        kms_key_id: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(backend, cluster, name, kms_key_id=kms_key_id, **more)
        self.created = created
        self.status = status
        self.encrypted = self.storage_encrypted = kms_key_id is not None
        self.kms_key_id = kms_key_id
        self.storage_encryption_type = "sse-kms" if kms_key_id else "none"
        self.source_db_cluster_snapshot_arn: str | None = None

    @property
    def status(self) -> str:
        """``copying`` or ``creating`` until it is complete."""
        if self.ready <= monotonic():
            self.status = "available"
        return self._status

    @status.setter
    def status(self, value: str) -> None:
        self._status, self.ready = value, math.inf
        self.percent_progress = 100 if value == "available" else 0


class SharingRDSBackend(RDSBackend):
    """moto's RDS of one account and Region, with other accounts' shares as on AWS."""

    @property
    def _url_module(self) -> Any:
        # moto looks for a service's URLs next to the backend's module, which is not moto's own here.
        return moto.rds.urls

    def create_db_cluster_snapshot(
        self,
        db_cluster_identifier: str,
        db_cluster_snapshot_identifier: str,
        snapshot_type: str = "manual",
        tags: list[dict[str, str]] | None = None,
    ) -> DBClusterSnapshot:
        """CreateDBClusterSnapshot; an automated one, which moto requests itself, is complete at once."""
        cluster = self.clusters.get(db_cluster_identifier.lower())
        if cluster is None:
            raise DBClusterNotFoundError(db_cluster_identifier)
        # In moto, a cluster is being created until somebody describes it.
        if cluster.status not in ("available", "creating"):
            raise InvalidDBClusterStateFault(f"{db_cluster_identifier} is {cluster.status}")
        snapshot = self.add(
            cluster,
            db_cluster_snapshot_identifier,
            created=utcnow(),
            status="creating" if snapshot_type == "manual" else "available",
            snapshot_type=snapshot_type,
            kms_key_id=cluster.kms_key_id if cluster.storage_encrypted else None,
            tags=tags,
        )
        rows.databases.copy(cluster, snapshot)
        return snapshot

    def add(self, cluster: DBCluster, name: str, **facts: Any) -> Snapshot:
        """Add a snapshot if its name is valid and new and the quota allows it; a manual one takes a while."""
        name, manual = name.lower(), facts.get("snapshot_type", "manual") == "manual"
        if name in self.cluster_snapshots:
            raise DBClusterSnapshotAlreadyExistsError(name)
        snapshot = Snapshot(self, cluster, name, **facts)
        if manual:
            self._validate_db_identifier(name)
            own = [each.snapshot_type for each in [*self.cluster_snapshots.values()]]
            if own.count("manual") >= MANUAL_SNAPSHOTS_PER_REGION:
                raise SnapshotQuotaExceededFault
            snapshot.ready = monotonic() + clock.seconds["copy"]
        self.cluster_snapshots[name] = snapshot
        return snapshot

    def restore_db_cluster_from_snapshot(
        self, from_snapshot_id: str, overrides: dict[str, Any]
    ) -> DBCluster:
        """RestoreDBClusterFromSnapshot, from an own snapshot or, by ARN, from a share.

        ``overrides`` are the operation's parameters. An engine version older than the snapshot's is refused.
        """
        source = self.usable(from_snapshot_id)
        given = {xform_name(name): value for name, value in overrides.items() if value}
        engine = given["engine"]
        # Without a version, the Region's default is used; for DocumentDB this is not documented.
        default = source.engine_version
        if engine == source.engine != "docdb":
            default = DBCluster.default_engine_version(engine)
        version = given.get("engine_version", default)
        if given["db_cluster_identifier"] in self.clusters:
            raise RDSClientError("DBClusterAlreadyExistsFault", "DB Cluster already exists")
        if engine != source.engine or _numbers(version) < _numbers(source.engine_version):
            raise InvalidParameterCombination(
                f"Cannot restore a snapshot of {source.engine} {source.engine_version} to {engine} {version}."
            )
        key = self.key_arn(given["kms_key_id"]) if "kms_key_id" in given else source.kms_key_id
        origin = {"Key": RESTORED_FROM, "Value": source.arn}
        restored = self.create_db_cluster(
            {
                "master_username": source.master_username,
                "master_user_password": _UNREAD,
                "allocated_storage": source.allocated_storage,
                "database_name": source.cluster.database_name,
                **given,
                "engine_version": version,
                "storage_encrypted": key is not None,
                "tags": [*given.get("tags", []), origin],
            }
        )
        # moto, which types it as a string, gives even an unencrypted cluster a key.
        vars(restored)["kms_key_id"] = key
        rows.databases.copy(source, restored)
        return restored

    def create_db_cluster(self, kwargs: dict[str, Any]) -> DBCluster:
        """CreateDBCluster, also for DocumentDB; under the default key if no other is given."""
        if kwargs.get("storage_encrypted"):
            key = kwargs.get("kms_key_id") or keys.DEFAULT
            kwargs = {**kwargs, "kms_key_id": self.key_arn(key)}
        cluster = _cluster(self, **kwargs)
        # moto enables it for Serverless v1 only.
        vars(cluster)["_enable_http_endpoint"] = kwargs.get("enable_http_endpoint")
        self.clusters[cluster.db_cluster_identifier] = cluster
        cluster.save_automated_backup()
        return cluster

    def key_arn(self, key: str) -> str:
        """Return the ARN of a key by its ARN, id or alias; raise KMSKeyNotAccessibleFault if there is none."""
        return self._validate_kms_key(key)

    def source_of_copy(self, identifier: str) -> DBClusterSnapshot:
        """Return the snapshot to copy, which may be in another Region if it is given by its ARN."""
        parts = identifier.split(":")
        region = parts[3] if len(parts) == 7 else self.region_name
        backend: Any = rds_backends[self.account_id][region]
        source: DBClusterSnapshot = backend.usable(identifier)
        return source

    def listing(self, kind: str | None, with_shared: bool) -> Iterator[DBClusterSnapshot]:
        """Yield the own snapshots of a type, and other accounts' snapshots that are shared with this one."""
        if kind != "shared":
            for own in list(self.cluster_snapshots.values()):
                if kind in (None, own.snapshot_type):
                    yield own
        if kind == "shared" or (with_shared and kind is None):
            for account, regions in list(rds_backends.items()):
                # ``in`` and ``[]`` would create a backend for an account that has none.
                backend = regions.get(self.region_name)
                if account != self.account_id and backend is not None:
                    for other in list(backend.cluster_snapshots.values()):
                        readers = other.attributes["restore"]
                        if other.snapshot_type == "manual" and self.account_id in readers:
                            yield other

    def is_named(self, snapshot: DBClusterSnapshot, identifier: str) -> bool:
        """Return whether this is the name or ARN of an own snapshot, or the ARN of another account's."""
        is_own = snapshot.account_id == self.account_id
        name = snapshot.db_cluster_snapshot_identifier if is_own else snapshot.arn
        return identifier in (name, snapshot.arn)

    def usable(self, identifier: str) -> DBClusterSnapshot:
        """Return the snapshot to copy, share or restore; raise an error if it cannot be used."""
        known = self.listing(None, with_shared=True)
        source = next((each for each in known if self.is_named(each, identifier)), None)
        if source is None:
            raise DBClusterSnapshotNotFoundError(identifier)
        if source.status != "available":
            raise InvalidDBClusterSnapshotStateFault(
                f"DB cluster snapshot {identifier} is in {source.status} state, but expected available."
            )
        key = source.kms_key_id if source.account_id != self.account_id else None
        if key and not keys.lets_use(key, self.account_id):
            raise KMSKeyNotAccessibleFault(key)
        return source


class SharingRDSResponse(RDSResponse):
    """moto's RDS API, with the operations and parameters that moto lacks."""

    backend: Any

    def describe_db_cluster_snapshots(self) -> ActionResult:
        """DescribeDBClusterSnapshots: one page.

        The model says: "If this identifier is for an automated snapshot, the SnapshotType parameter must also be
        specified".
        """
        kind, with_shared = self.params.get("SnapshotType"), self.params.get("IncludeShared", False)
        found = list(self.backend.listing(kind, with_shared))
        if identifier := self.params.get("DBClusterSnapshotIdentifier"):
            found = [each for each in found if self.backend.is_named(each, identifier)]
            if not found or (kind is None and found[0].snapshot_type != "manual"):
                raise DBClusterSnapshotNotFoundError(identifier)
        if cluster := self.params.get("DBClusterIdentifier"):
            if cluster not in self.backend.clusters:
                raise DBClusterNotFoundError(cluster)
            found = [each for each in found if each.db_cluster_identifier == cluster]
        size, after = self.params.get("MaxRecords", 100), self.params.get("Marker", "")
        rest = sorted((place, each) for each in found if (place := _place(each)) > after)
        return ActionResult(
            {
                "DBClusterSnapshots": [self._seen(each) for _, each in rest[:size]],
                "Marker": rest[size - 1][0] if len(rest) > size else None,
            }
        )

    def copy_db_cluster_snapshot(self) -> ActionResult:
        """CopyDBClusterSnapshot, from an own snapshot or, by ARN, from a share.

        The error codes are the operation's own if its model has one. It has none for a missing or forbidden
        KmsKeyId, for which the common InvalidParameterCombination stands in, nor for the sixth copy in
        progress, for which SnapshotQuotaExceeded does.
        """
        backend, key = self.backend, self.params.get("KmsKeyId")
        source = backend.source_of_copy(self.params["SourceDBClusterSnapshotIdentifier"])
        if source.encrypted and source.account_id != backend.account_id and not key:
            raise InvalidParameterCombination(
                "KmsKeyId must be specified to copy an encrypted snapshot shared by another account."
            )
        if key and not source.encrypted:
            raise InvalidParameterCombination(
                "KmsKeyId can't be specified to copy an unencrypted snapshot."
            )
        key = backend.key_arn(key) if key else source.kms_key_id
        copying = sum(each.status == "copying" for each in [*backend.cluster_snapshots.values()])
        if copying >= COPIES_IN_PROGRESS_PER_REGION:
            raise SnapshotQuotaExceededFault
        copy = backend.add(
            source.cluster,
            self.params["TargetDBClusterSnapshotIdentifier"],
            created=utcnow(),
            status="copying",
            kms_key_id=key,
            tags=self.params.get("Tags"),
        )
        copy.source_db_cluster_snapshot_arn = source.arn
        rows.databases.copy(source, copy)
        return ActionResult({"DBClusterSnapshot": copy})

    def modify_db_cluster_snapshot_attribute(self) -> ActionResult:
        """ModifyDBClusterSnapshotAttribute, for an available snapshot."""
        self.backend.usable(self.params["DBClusterSnapshotIdentifier"])
        return super().modify_db_cluster_snapshot_attribute()

    def _seen(self, snapshot: DBClusterSnapshot) -> dict[str, Any]:
        """Return a snapshot as this account sees it; as the model's members, which is faster for moto."""
        shape: Any = get_service_model("rds").shape_for("DBClusterSnapshot")
        seen = {member: getattr(snapshot, xform_name(member), None) for member in shape.members}
        shared = {"DBClusterSnapshotIdentifier": snapshot.arn, "SnapshotType": "shared"}
        is_own = snapshot.account_id == self.backend.account_id
        return seen if is_own else seen | shared | {"TagList": None}

    def enable_http_endpoint(self) -> ActionResult:
        """EnableHttpEndpoint, which moto lacks."""
        arn = self.params["ResourceArn"]
        vars(self.backend.clusters[arn.rpartition(":")[2]])["_enable_http_endpoint"] = True
        return ActionResult({"ResourceArn": arn, "HttpEndpointEnabled": True})


def install() -> None:
    """Replace moto's backend with the one that knows shares."""
    rds_backends.backend = SharingRDSBackend


@control
def seed_snapshots(snapshots: list[dict[str, Any]]) -> dict[str, Any]:
    """Create cluster snapshots that were taken some time ago; return their ARNs in the same order.

    Another account can use an encrypted one (``kms_key_id``) if it is in ``kms_granted_to``. One with ``rows``
    holds the present data of its cluster, any other one nothing. ``region`` is given if it is not the
    usual one.
    """
    arns = []
    for facts in snapshots:
        backend: Any = rds_backends[facts["account"]][facts.get("region", accounts.REGION)]
        identifier, key = facts["identifier"], facts.get("kms_key_id")
        cluster = _cluster(  # the account may not have it, or not any longer
            backend,
            db_cluster_identifier=facts["cluster"],
            engine=facts["engine"],
            engine_version=facts["engine_version"],
            master_username="owner",
            master_user_password=_UNREAD,
        )
        seeded = Snapshot(
            backend,
            cluster,
            identifier,
            created=_utc(facts["created"]),
            status=facts.get("status", "available"),
            snapshot_type=facts.get("snapshot_type", "manual"),
            kms_key_id=key,
        )
        seeded.attributes["restore"] = list(facts.get("shared_with", []))
        backend.cluster_snapshots[identifier] = seeded
        if "kms_granted_to" in facts:
            keys.grant(str(key), facts["kms_granted_to"])
        if facts.get("rows"):
            rows.databases.copy(rows.find_cluster(facts["cluster"], facts["account"]), seeded)
        arns.append(seeded.arn)
    return {"arns": arns}


@control
def patch_snapshot(arn: str, **change: Any) -> None:
    """Change a snapshot's ``status``, or the accounts it is ``shared_with``."""
    _, _, _, region, account, _, name = arn.split(":", 6)
    snapshot: Any = rds_backends[account][region].cluster_snapshots[name]
    if "status" in change:
        snapshot.status = change["status"]
    if "shared_with" in change:
        snapshot.attributes["restore"] = list(change["shared_with"])


def _cluster(backend: RDSBackend, **properties: Any) -> DBCluster:
    """Return a new cluster; its engine may be ``docdb``, which moto's RDS does not accept."""
    if properties["engine"] != "docdb":
        return DBCluster(backend, **properties)
    # Any engine that moto accepts will do: the differences between the engines are set below.
    port = properties.get("port") or 27017
    cluster = DBCluster(backend, **{**properties, "engine": "aurora-postgresql", "port": port})
    cluster.engine = "docdb"
    return cluster


def _utc(text: str | None) -> datetime | None:
    """Return a naive time in UTC, as moto uses them."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) if text else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _place(snapshot: DBClusterSnapshot) -> str:
    """Return a sort key for a listing that is stable, and unrelated to the snapshot's name and time."""
    name = f"{snapshot.account_id}:{snapshot.db_cluster_snapshot_identifier}"
    return hashlib.sha256(name.encode()).hexdigest()
