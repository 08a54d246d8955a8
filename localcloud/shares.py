"""Cluster snapshots that one account shares with another, as RDS lists, copies and restores them.

moto knows that a snapshot is shared, but answers as if it were the caller's own, all in one page, and can
neither copy nor restore it. What is restored here, from the RDS API reference (botocore's ``rds`` model)
and the Aurora User Guide's *Sharing a DB cluster snapshot* and *Copying a DB cluster snapshot*:

- a share's identifier is its whole ARN, its type is ``shared``, and its tags cannot be seen;
- listings come in pages (``MaxRecords`` 20 to 100, ``Marker``) and in no order anybody may rely on;
- a share is found by ARN only, and only by who asks for shared ones;
- a snapshot taken takes a while, of a cluster that is available, and is under the cluster's key;
- a copy takes a while, or none; it is dated by its making, or as its source is; it needs a key of the
  caller's own if the share is encrypted; and no more than five may be under way;
- a copy under a key of what is under an AWS-owned key (SSE-RDS), as the Aurora guide has it, is encrypted,
  or refused as the API reference has it for what is not;
- an encrypted share is of use only to the accounts that may use its key, too; nobody else's can be let use
  the default key ``aws/rds``;
- a snapshot that is not ``available`` can be neither copied nor restored.

DocumentDB clusters and snapshots, which AWS serves from the same API, exist as well. A restored cluster
bears the tag :data:`RESTORED_FROM`, which AWS does not set, so that a test can ask where it came from.
"""

import base64
import functools
import hashlib
import heapq
import json
import re
import zlib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, ClassVar

import moto.rds.urls
from botocore import xform_name
from moto.core.responses import ActionResult
from moto.core.utils import get_service_model
from moto.kms.models import KmsBackend, kms_backends
from moto.rds.exceptions import (
    DBClusterNotFoundError,
    DBClusterSnapshotAlreadyExistsError,
    DBClusterSnapshotNotFoundError,
    InvalidDBClusterSnapshotStateFault,
    InvalidDBClusterStateFault,
    InvalidDBSnapshotIdentifier,
    InvalidParameterCombination,
    InvalidParameterValue,
    KMSKeyNotAccessibleFault,
    RDSClientError,
    SnapshotQuotaExceededFault,
)
from moto.rds.models import DBCluster, DBClusterSnapshot, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from localcloud import accounts, rows

_DEFAULT_KEY = "alias/aws/rds"
RESTORED_FROM = "local:restored-from"

MANUAL_SNAPSHOTS_PER_REGION = 100
COPIES_IN_PROGRESS_PER_REGION = 5
DEFAULT_COPY_SECONDS = 1.0

_TYPES = {"automated", "manual", "shared", "public", "awsbackup"}
_STATUSES = {"creating", "copying", "available", "failed"}
_IDENTIFIER = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*")
_EVERYBODY = "all"
# moto wants one of every cluster; nobody can ever read it.
_UNREAD = "a-password-that-is-no-secret"


class DocumentDBCluster(DBCluster):
    """A cluster of the engine ``docdb``, which moto's RDS does not accept."""

    def __init__(self, backend: RDSBackend, **properties: Any) -> None:
        port = properties.get("port") or 27017
        # Any engine that moto accepts does: what differs between the engines is put right below.
        super().__init__(backend, **{**properties, "engine": "aurora-postgresql", "port": port})
        self.engine = "docdb"
        self.engine_version = properties.get("engine_version") or "5.0.0"


class Snapshot(DBClusterSnapshot):
    """A cluster snapshot with a state: it may be under way, have no create time yet, or have failed.

    Args:
        created: when it was taken, naive UTC as in all of moto; None while RDS does not say.
        kms_key_id: the key it is encrypted under; None for an unencrypted one.
        kms_granted_to: the other accounts that the key's owner lets use the key.
        source_arn: of what it is a copy.
        is_sse_rds: whether it is under a key that AWS owns, which does not count as encrypted.
        copied_at: for one that is made now, the reading of the monotonic clock, which the cloud's clock does
            not move, at which it will be complete.
    """

    _status: str
    created: Any
    kms_key_id: Any

    def __init__(
        self,
        backend: RDSBackend,
        cluster: DBCluster,
        snapshot_id: str,
        *,
        created: datetime | None,
        status: str,
        snapshot_type: str = "manual",
        kms_key_id: str | None = None,
        kms_granted_to: Collection[str] = (),
        tags: list[dict[str, str]] | None = None,
        source_arn: str | None = None,
        is_sse_rds: bool = False,
        copied_at: float = 0.0,
    ) -> None:
        super().__init__(backend, cluster, snapshot_id, snapshot_type, tags or [], kms_key_id)
        self.created = created
        self.status = status
        self.encrypted = self.storage_encrypted = kms_key_id is not None
        self.kms_key_id = kms_key_id
        self.kms_granted_to = frozenset(kms_granted_to)
        self.storage_encryption_type = (
            "sse-kms" if kms_key_id else "sse-rds" if is_sse_rds else "none"
        )
        self.percent_progress = 100 if status == "available" else 0
        self.source_db_cluster_snapshot_arn = source_arn
        self._copied_at = copied_at

    @property
    def status(self) -> str:
        """``copying`` or ``creating`` until its time has come."""
        if self._status in ("copying", "creating") and 0.0 < self._copied_at <= monotonic():
            self._status = "available"
            self.percent_progress = 100
        return self._status

    @status.setter
    def status(self, value: str) -> None:
        self._status = value


class SharedSnapshot:
    """Another account's snapshot as it looks from here; everything not said otherwise is the original's."""

    snapshot_type = "shared"
    tag_list = None

    def __init__(self, original: DBClusterSnapshot) -> None:
        self._original = original
        self.db_cluster_snapshot_identifier = original.arn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class SharingRDSBackend(RDSBackend):
    """moto's RDS of one account and Region, which sees other accounts' shares as AWS shows them."""

    #: How many seconds of real time a copy takes, or a snapshot.
    copy_seconds: ClassVar[float] = DEFAULT_COPY_SECONDS
    #: Whether a copy has its source's create time, and whether what is under SSE-RDS can be copied under a
    #: key: AWS's samples and guides say either.
    copies_keep_date: ClassVar[bool] = False
    encrypts_sse_rds: ClassVar[bool] = True

    @property
    def _url_module(self) -> Any:
        # moto finds a service's URLs beside its backend's module, which for this one is not moto's.
        return moto.rds.urls

    def page_of_db_cluster_snapshots(
        self,
        *,
        cluster: str | None,
        identifier: str | None,
        snapshot_type: str | None,
        filters: dict[str, list[str]],
        include_shared: bool,
        include_public: bool,
        max_records: int,
        marker: str | None,
    ) -> tuple[list[Any], str | None]:
        """One page of DescribeDBClusterSnapshots, and the marker of the next one if there is one.

        Raises:
            RDSClientError: DBClusterSnapshotNotFoundFault for an identifier, DBClusterNotFoundFault for a
                cluster that is not there; InvalidParameterValue and InvalidParameterCombination.
        """
        if cluster and identifier:
            raise InvalidParameterCombination(
                "DBClusterIdentifier can't be used in conjunction with DBClusterSnapshotIdentifier."
            )
        if snapshot_type is not None and snapshot_type not in _TYPES:
            raise InvalidParameterValue(f"Invalid snapshot type: {snapshot_type}")
        if not 20 <= max_records <= 100:
            raise InvalidParameterValue(
                f"Invalid value {max_records} for MaxRecords. Must be between 20 and 100"
            )
        after = _place_of(marker) if marker else ""
        if cluster and cluster not in self.clusters:
            raise DBClusterNotFoundError(cluster)

        with_shared = snapshot_type == "shared" or (include_shared and snapshot_type is None)
        with_public = snapshot_type == "public" or (include_public and snapshot_type is None)
        if identifier:
            found = self._visible(identifier, snapshot_type, with_shared, with_public)
            candidates = iter((found,))
        else:
            candidates = self._listing(snapshot_type, with_shared, with_public)
        if cluster:
            filters = {**filters, "db-cluster-id": [cluster]}
        if filters:
            views = {s.db_cluster_snapshot_arn: s for s in map(self._seen_from_here, candidates)}
            candidates = iter(self._filter_resources(views, filters, DBClusterSnapshot).values())

        # Only the page is put in order and made presentable, not all there is: 20,000 shares are 200 pages.
        rest = (s for s in candidates if _place(s) > after)
        page = heapq.nsmallest(max_records + 1, rest, key=_place)
        next_marker = _marker(_place(page[-2])) if len(page) > max_records else None
        return [self._seen_from_here(s) for s in page[:max_records]], next_marker

    def copy_db_cluster_snapshot(
        self,
        source_db_cluster_snapshot_identifier: str,
        target_db_cluster_snapshot_identifier: str,
        kms_key_id: str | None = None,
        copy_tags: bool = False,
        tags: list[dict[str, str]] | None = None,
        **_: Any,
    ) -> DBClusterSnapshot:
        """CopyDBClusterSnapshot, from an own snapshot or, by ARN, from a share.

        The codes are the operation's own where its model has one. It has none for "KmsKeyId is required"
        and "must not be given", which are answered with the common InvalidParameterCombination, nor for
        the sixth copy under way, which is answered with SnapshotQuotaExceeded.
        """
        target = target_db_cluster_snapshot_identifier
        if len(target) > 63 or not _IDENTIFIER.fullmatch(target):
            raise InvalidDBSnapshotIdentifier(target, "TargetDBClusterSnapshotIdentifier")
        source = self._source_of_copy(source_db_cluster_snapshot_identifier)
        if source.encrypted and source.account_id != self.account_id and not kms_key_id:
            raise InvalidParameterCombination(
                "KmsKeyId must be specified to copy an encrypted snapshot shared by another account."
            )
        is_sse_rds = getattr(source, "storage_encryption_type", None) == "sse-rds"
        if kms_key_id and not (source.encrypted or (is_sse_rds and self.encrypts_sse_rds)):
            raise InvalidParameterCombination(
                "KmsKeyId can't be specified to copy an unencrypted snapshot."
            )
        key = self.key_arn(kms_key_id) if kms_key_id else source.kms_key_id
        if target in self.cluster_snapshots:
            raise DBClusterSnapshotAlreadyExistsError(target)
        self._keep_quotas()
        if copy_tags and not tags and source.account_id == self.account_id:
            tags = source.tags
        copy = Snapshot(
            self,
            source.cluster,
            target,
            created=(
                source.created if self.copies_keep_date else datetime.now(UTC).replace(tzinfo=None)
            ),
            status="copying",
            kms_key_id=key,
            is_sse_rds=is_sse_rds and not key,
            tags=tags,
            source_arn=source.arn,
            copied_at=monotonic() + self.copy_seconds,
        )
        self.cluster_snapshots[target] = copy
        rows.databases.share(source, copy)
        return copy

    def create_db_cluster_snapshot(
        self,
        db_cluster_identifier: str,
        db_cluster_snapshot_identifier: str,
        snapshot_type: str = "manual",
        tags: list[dict[str, str]] | None = None,
    ) -> DBClusterSnapshot:
        """CreateDBClusterSnapshot; an automated one, which moto asks for, is there at once."""
        name, manual = db_cluster_snapshot_identifier.lower(), snapshot_type == "manual"
        if manual and (len(name) > 63 or not _IDENTIFIER.fullmatch(name)):
            raise InvalidDBSnapshotIdentifier(name, "DBClusterSnapshotIdentifier")
        cluster = self.clusters.get(db_cluster_identifier.lower())
        if cluster is None:
            raise DBClusterNotFoundError(db_cluster_identifier)
        if name in self.cluster_snapshots:
            raise DBClusterSnapshotAlreadyExistsError(name)
        if manual:
            # moto has a cluster in creation until somebody looks at it.
            if cluster.status not in ("available", "creating"):
                raise InvalidDBClusterStateFault(
                    f"DB cluster {cluster.db_cluster_identifier} is in {cluster.status} state, but "
                    "expected available."
                )
            self._keep_quota()
        snapshot = Snapshot(
            self,
            cluster,
            name,
            created=datetime.now(UTC).replace(tzinfo=None),
            status="creating" if manual else "available",
            snapshot_type=snapshot_type,
            kms_key_id=cluster.kms_key_id if cluster.storage_encrypted else None,
            tags=tags,
            copied_at=monotonic() + self.copy_seconds,
        )
        self.cluster_snapshots[name] = snapshot
        rows.databases.copy(cluster, snapshot)
        return snapshot

    def delete_db_cluster_snapshot(self, db_snapshot_identifier: str) -> DBClusterSnapshot:
        """DeleteDBClusterSnapshot, with its data."""
        snapshot = super().delete_db_cluster_snapshot(db_snapshot_identifier)
        rows.databases.drop(snapshot.arn)
        return snapshot

    def delete_db_cluster(
        self, cluster_identifier: str, snapshot_name: str | None = None
    ) -> DBCluster:
        """DeleteDBCluster, with its data."""
        cluster = super().delete_db_cluster(cluster_identifier, snapshot_name)
        rows.databases.drop(cluster.arn)
        return cluster

    def modify_db_cluster_snapshot_attribute(
        self,
        db_cluster_snapshot_identifier: str,
        attribute_name: str,
        values_to_add: list[str] | None = None,
        values_to_remove: list[str] | None = None,
    ) -> dict[str, list[str]]:
        """ModifyDBClusterSnapshotAttribute: only what is ``available`` can be shared."""
        snapshot = self.find(db_cluster_snapshot_identifier)
        if values_to_add and snapshot.status != "available":
            raise InvalidDBClusterSnapshotStateFault(
                f"DB cluster snapshot {db_cluster_snapshot_identifier} is in {snapshot.status} "
                "state, but expected available."
            )
        return super().modify_db_cluster_snapshot_attribute(
            db_cluster_snapshot_identifier, attribute_name, values_to_add, values_to_remove
        )

    def restore_db_cluster_from_snapshot(
        self, from_snapshot_id: str, overrides: dict[str, Any]
    ) -> DBCluster:
        """RestoreDBClusterFromSnapshot, from an own snapshot or, by ARN, from a share.

        ``overrides`` are the operation's parameters in snake case. Without an engine version the Region's
        default is taken (moto's is old), and none older than the snapshot's is accepted.
        """
        source = self._usable(from_snapshot_id)
        identifier = overrides["db_cluster_identifier"]
        if identifier in self.clusters:
            raise RDSClientError("DBClusterAlreadyExistsFault", "DB Cluster already exists")
        engine = overrides["engine"]
        if engine != source.engine:
            raise InvalidParameterCombination(
                f"The engine {engine} is not compatible with the snapshot's engine {source.engine}."
            )
        version = overrides.get("engine_version") or _default_version(engine)
        if _numbers(version) < _numbers(source.engine_version):
            raise InvalidParameterCombination(
                f"Cannot restore a snapshot of {engine} {source.engine_version} to {version}."
            )
        key = overrides.get("kms_key_id")
        if key:
            key = self.key_arn(key)
        encrypted = bool(key or source.encrypted)
        restored = self.create_db_cluster(
            {
                "master_username": source.master_username,
                "master_user_password": _UNREAD,
                "allocated_storage": source.allocated_storage,
                "database_name": source.cluster.database_name,
                **{name: value for name, value in overrides.items() if value},
                "engine_version": version,
                "storage_encrypted": encrypted,
                "tags": [
                    *(overrides.get("tags") or []),
                    {"Key": RESTORED_FROM, "Value": source.arn},
                ],
            }
        )
        # Where moto, which types it as a string, names a key for what is not encrypted at all.
        vars(restored)["kms_key_id"] = (key or source.kms_key_id) if encrypted else None
        rows.databases.copy(source, restored)
        return restored

    def create_db_cluster(self, kwargs: dict[str, Any]) -> DBCluster:
        """CreateDBCluster, for DocumentDB, too; under the default key where it names no other."""
        if kwargs.get("storage_encrypted"):
            key = kwargs.get("kms_key_id") or _DEFAULT_KEY
            kwargs = {**kwargs, "kms_key_id": self.key_arn(key)}
        if kwargs["engine"] != "docdb":
            made = super().create_db_cluster(kwargs)
            set_http_endpoint(made, enabled=bool(kwargs.get("enable_http_endpoint")))
            return made
        cluster = DocumentDBCluster(self, **kwargs)
        self.clusters[cluster.db_cluster_identifier] = cluster
        cluster.save_automated_backup()
        return cluster

    def key_arn(self, key: str) -> str:
        """The ARN of a key given by ARN, id or alias; KMSKeyNotAccessibleFault if there is none."""
        return self._validate_kms_key(key)

    @staticmethod
    def is_default_key(key: str) -> bool:
        """Whether AWS manages the key, which nobody can be let use but through the service."""
        return key.endswith(_DEFAULT_KEY) or getattr(_key(key), "key_manager", None) == "AWS"

    def source_key(self, identifier: str) -> str | None:
        """The key of a snapshot that the caller may copy; None where there is none."""
        return self._source_of_copy(identifier).kms_key_id

    def _source_of_copy(self, identifier: str) -> DBClusterSnapshot:
        """What may be copied here, also from another Region by its ARN."""
        parts = identifier.split(":")
        region = parts[3] if len(parts) == 7 else self.region_name
        backend: Any = rds_backends[self.account_id][region]
        source: DBClusterSnapshot = backend._usable(identifier)  # noqa: SLF001
        return source

    def seed(self, snapshot: dict[str, Any], cluster: DBCluster) -> str:
        """Put a snapshot in place that AWS would have taken some time ago; returns its ARN."""
        identifier = snapshot["identifier"]
        if identifier in self.cluster_snapshots:
            raise ValueError(f"there is already a snapshot {identifier} in {self.account_id}")
        seeded = Snapshot(
            self,
            cluster,
            identifier,
            created=_utc(snapshot["created"]),
            status=_known_status(snapshot.get("status", "available")),
            snapshot_type=snapshot.get("snapshot_type", "manual"),
            kms_key_id=snapshot.get("kms_key_id"),
            kms_granted_to=snapshot.get("kms_granted_to", ()),
            is_sse_rds=snapshot.get("sse_rds", False),
        )
        seeded.attributes["restore"] = list(snapshot.get("shared_with", []))
        self.cluster_snapshots[identifier] = seeded
        if snapshot.get("rows"):
            rows.databases.copy(rows.cluster_of(snapshot), seeded)
        return seeded.arn

    def _listing(
        self, snapshot_type: str | None, with_shared: bool, with_public: bool
    ) -> Iterator[Any]:
        if snapshot_type not in ("shared", "public"):
            for own in list(self.cluster_snapshots.values()):
                if snapshot_type is None or own.snapshot_type == snapshot_type:
                    yield own
        if not with_shared and not with_public:
            return
        for account, regions in list(rds_backends.items()):
            # Not ``in`` nor ``[]``, which would make a backend where the account has none.
            backend = regions.get(self.region_name)
            if account == self.account_id or backend is None:
                continue
            for other in list(backend.cluster_snapshots.values()):
                if self._is_shared(other, with_shared, with_public):
                    yield other

    def _is_shared(self, snapshot: DBClusterSnapshot, with_shared: bool, with_public: bool) -> bool:
        readers = snapshot.attributes["restore"]
        return snapshot.snapshot_type == "manual" and (
            (with_shared and self.account_id in readers) or (with_public and _EVERYBODY in readers)
        )

    def find(
        self, identifier: str, *, with_shared: bool = True, with_public: bool = True
    ) -> DBClusterSnapshot:
        """An own snapshot by name or ARN, or another account's by ARN."""
        owner, name = self.account_id, identifier
        if identifier.startswith("arn:"):
            parts = identifier.split(":", 6)
            if len(parts) != 7 or parts[2] != "rds" or parts[5] != "cluster-snapshot":
                raise InvalidParameterValue(f"Invalid snapshot identifier:  {identifier}")
            if parts[3] != self.region_name or parts[4] not in rds_backends:
                raise DBClusterSnapshotNotFoundError(identifier)
            owner, name = parts[4], parts[6]
        found = rds_backends[owner][self.region_name].cluster_snapshots.get(name)
        if found is None or (
            owner != self.account_id and not self._is_shared(found, with_shared, with_public)
        ):
            raise DBClusterSnapshotNotFoundError(identifier)
        return found

    def _visible(
        self, identifier: str, snapshot_type: str | None, with_shared: bool, with_public: bool
    ) -> DBClusterSnapshot:
        """The snapshot of a description by identifier.

        The model: "If this identifier is for an automated snapshot, the SnapshotType parameter must also
        be specified."
        """
        found = self.find(identifier, with_shared=with_shared, with_public=with_public)
        if found.account_id == self.account_id and found.snapshot_type != (
            snapshot_type or "manual"
        ):
            raise DBClusterSnapshotNotFoundError(identifier)
        return found

    def _seen_from_here(self, snapshot: Any) -> Any:
        if isinstance(snapshot, SharedSnapshot) or snapshot.account_id == self.account_id:
            return snapshot
        return SharedSnapshot(snapshot)

    def _usable(self, identifier: str) -> DBClusterSnapshot:
        """The snapshot to copy or to restore from."""
        source = self.find(identifier)
        if source.status != "available":
            raise InvalidDBClusterSnapshotStateFault(
                f"DB cluster snapshot {identifier} is in {source.status} state, but expected available."
            )
        if source.account_id != self.account_id and source.encrypted:
            granted = self.account_id in getattr(source, "kms_granted_to", ())
            granted = granted or _lets_use(_key(source.kms_key_id), self.account_id)
            if not granted or self.is_default_key(source.kms_key_id):
                raise KMSKeyNotAccessibleFault(source.kms_key_id)
        return source

    def _keep_quotas(self) -> None:
        self._keep_quota()
        copying = sum(s.status == "copying" for s in list(self.cluster_snapshots.values()))
        if copying >= COPIES_IN_PROGRESS_PER_REGION:
            raise SnapshotQuotaExceededFault

    def _keep_quota(self) -> None:
        own = list(self.cluster_snapshots.values())
        if sum(s.snapshot_type == "manual" for s in own) >= MANUAL_SNAPSHOTS_PER_REGION:
            raise SnapshotQuotaExceededFault


class SharingRDSResponse(RDSResponse):
    """moto's RDS API with DescribeDBClusterSnapshots' remaining parameters."""

    def describe_db_cluster_snapshots(self) -> ActionResult:
        """Answer one page."""
        backend: Any = self.backend
        snapshots, marker = backend.page_of_db_cluster_snapshots(
            cluster=self.params.get("DBClusterIdentifier"),
            identifier=self.params.get("DBClusterSnapshotIdentifier"),
            snapshot_type=self.params.get("SnapshotType"),
            filters={f["Name"]: f["Values"] for f in self.params.get("Filters", [])},
            include_shared=self.params.get("IncludeShared", False),
            include_public=self.params.get("IncludePublic", False),
            max_records=self.params.get("MaxRecords", 100),
            marker=self.params.get("Marker"),
        )
        # Handed over as the model's members, which spares moto a search of the objects.
        shape: Any = get_service_model("rds").shape_for("DBClusterSnapshot")
        answer = [
            {member: getattr(s, xform_name(member), None) for member in shape.members}
            for s in snapshots
        ]
        return ActionResult({"DBClusterSnapshots": answer, "Marker": marker})

    def enable_http_endpoint(self) -> ActionResult:
        """EnableHttpEndpoint, which moto leaves out."""
        return self._set_http_endpoint(enabled=True)

    def disable_http_endpoint(self) -> ActionResult:
        """DisableHttpEndpoint."""
        return self._set_http_endpoint(enabled=False)

    def _set_http_endpoint(self, *, enabled: bool) -> ActionResult:
        arn = self.params["ResourceArn"]
        name = arn.rpartition(":")[2]
        if name not in self.backend.clusters:
            raise RDSClientError("ResourceNotFoundFault", f"{arn} not found")
        set_http_endpoint(self.backend.clusters[name], enabled=enabled)
        return ActionResult({"ResourceArn": arn, "HttpEndpointEnabled": enabled})


def set_http_endpoint(cluster: DBCluster, *, enabled: bool) -> None:
    """Let the Data API reach a cluster or not; moto knows Serverless v1 only."""
    vars(cluster)["_enable_http_endpoint"] = enabled


def install() -> None:
    """Put the bridge in moto's RDS's place."""
    rds_backends.backend = SharingRDSBackend
    KmsBackend._generate_default_keys = _generate_default_key  # type: ignore  # noqa: PGH003, SLF001
    moto.rds.urls.url_paths["{0}/$"] = SharingRDSResponse.dispatch


def reset() -> None:
    """Let copies be made as usual again; the snapshots themselves are moto's to forget."""
    SharingRDSBackend.copy_seconds = DEFAULT_COPY_SECONDS
    SharingRDSBackend.copies_keep_date = False
    SharingRDSBackend.encrypts_sse_rds = True


def _seed_snapshots(snapshots: list[dict[str, Any]]) -> dict[str, Any]:
    """POST: the snapshots' ARNs, in the order given."""
    clusters: dict[tuple[str, ...], DBCluster] = {}
    arns = []
    for snapshot in snapshots:
        account, region = snapshot["account"], snapshot.get("region", accounts.REGION)
        backend: Any = rds_backends[account][region]
        names = ("cluster", "engine", "engine_version")
        kind = (account, region, *(snapshot[name] for name in names))
        if kind not in clusters:
            clusters[kind] = _source_cluster(backend, *kind[2:])
        arns.append(backend.seed(snapshot, clusters[kind]))
    return {"arns": arns}


def _patch_snapshot(change: dict[str, Any]) -> dict[str, Any]:
    """PATCH: what happens to a snapshot without anybody calling an API; or how copies are made."""
    if "copy_seconds" in change:
        SharingRDSBackend.copy_seconds = float(change["copy_seconds"])
    for name in ("copies_keep_date", "encrypts_sse_rds"):
        if name in change:
            setattr(SharingRDSBackend, name, change[name])
    if "arn" not in change:
        return {}
    arn = change["arn"]
    _, _, _, region, account, _, name = arn.split(":", 6)
    snapshot: Any = rds_backends[account][region].cluster_snapshots[name]
    if "status" in change:
        snapshot.status = _known_status(change["status"])
    if "created" in change:
        snapshot.created = _utc(change["created"])
    if "kms_granted_to" in change:
        snapshot.kms_granted_to = frozenset(change["kms_granted_to"])
    if "shared_with" in change:
        snapshot.attributes["restore"] = list(change["shared_with"])
    return {"arn": arn, "status": snapshot.status}


ROUTES = {
    ("POST", "/_cloud/snapshots"): _seed_snapshots,
    ("PATCH", "/_cloud/snapshots"): _patch_snapshot,
}


def _source_cluster(backend: RDSBackend, name: str, engine: str, version: str) -> DBCluster:
    """The cluster that seeded snapshots were taken of; it is not, or no longer, among the account's."""
    kind = DocumentDBCluster if engine == "docdb" else DBCluster
    return kind(
        backend,
        db_cluster_identifier=name,
        engine=engine,
        engine_version=version,
        master_username="owner",
        master_user_password=_UNREAD,
    )


def _known_status(status: str) -> str:
    if status not in _STATUSES:
        raise ValueError(f"a snapshot's status is one of {sorted(_STATUSES)}, not {status}")
    return status


def _utc(text: str | None) -> datetime | None:
    """Naive UTC, as moto keeps its times; a time without a zone is taken to be UTC."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


_moto_default_key = KmsBackend._generate_default_keys  # noqa: SLF001


def _generate_default_key(backend: KmsBackend, alias_name: str) -> str | None:
    """A service's default key, which AWS manages; moto takes it for the customer's."""
    made = _moto_default_key(backend, alias_name)
    if made:
        backend.keys[made].key_manager = "AWS"
    return made


def _key(key: str) -> Any:
    """The key of KMS with this ARN; None where there is none, as of one that was seeded."""
    arn = key.split(":")
    if len(arn) != 6:
        return None
    return kms_backends[arn[4]][arn[3]].keys.get(arn[5].removeprefix("key/"))


def _lets_use(key: Any, account: str) -> bool:
    """Whether the key's policy lets another account copy and restore what is encrypted under it.

    "Sharing encrypted snapshots", Aurora User Guide.
    """
    statements = json.loads(key.policy)["Statement"] if key else []
    principals = {account, f"arn:aws:iam::{account}:root"}
    allowed: set[str] = set()
    for statement in statements:
        # All that is asked here is asked through RDS; no other condition is known to be met.
        met = statement.get("Condition") in (None, _through_rds(key))
        named = statement["Principal"]["AWS"]
        if statement["Effect"] == "Allow" and met and principals & set(_listed(named)):
            allowed |= set(_listed(statement["Action"]))
    return "kms:*" in allowed or {"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"} <= allowed


def _through_rds(key: Any) -> dict[str, Any]:
    region = key.arn.split(":")[3]
    return {"StringEquals": {"kms:ViaService": f"rds.{region}.amazonaws.com"}}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _default_version(engine: str) -> str:
    return "5.0.0" if engine == "docdb" else DBCluster.default_engine_version(engine)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _place(snapshot: Any) -> str:
    """Where a snapshot stands in a listing: always the same place, and unrelated to its name and time."""
    return _shuffled(snapshot.backend.account_id, snapshot.db_cluster_snapshot_identifier)


@functools.cache
def _shuffled(account: str, identifier: str) -> str:
    return hashlib.sha256(f"{account}:{identifier}".encode()).hexdigest()


def _marker(place: str) -> str:
    return base64.urlsafe_b64encode(f"{place}.{zlib.crc32(place.encode()):08x}".encode()).decode()


def _place_of(marker: str) -> str:
    try:
        place, _, check = base64.urlsafe_b64decode(marker).decode().partition(".")
    except ValueError:  # not Base64, or not of characters that are
        place = check = ""
    if check != f"{zlib.crc32(place.encode()):08x}":
        raise InvalidParameterValue("The specified marker is not valid.")
    return place
