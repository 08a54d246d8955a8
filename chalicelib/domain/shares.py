"""Production's snapshots that are taken to be shared: of what, which are ours, and which may go.

Pure: no AWS, no clock. It is the counterpart of ``copies.py``, in the account at the other end.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chalicelib.domain import ownership as marks
from chalicelib.domain.errors import Refused
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot

PREFIX = "aurora-refresh-share-"
# AWS takes an automated snapshot every day; it may take some hours, and the backup window be moved.
OLDEST_AUTOMATED = timedelta(hours=36)


class Cluster(NamedTuple):
    """A DB cluster of this account; ``key`` None: its storage is under no key of KMS."""

    name: str
    key: str | None


class SharePolicy(NamedTuple):
    """With whom snapshots are shared; ``keep`` of each cluster's stay.

    ``key`` is what a copy is made under where the cluster's own key can let nobody else in.
    """

    account: str
    key: str | None
    keep: int

    def name(self, cluster: str, scheduled: datetime) -> str:
        """The one name of the cluster's snapshot of that schedule, so that it is taken once."""
        return marks.derived_name(
            PREFIX, cluster, scheduled.astimezone(UTC).isoformat(), self.account
        )

    def tags(self, taken: datetime) -> dict[str, str]:
        """What tells later that the snapshot is ours, and how old its data is."""
        return marks.tags(self.account, taken)


class Share(NamedTuple):
    """A snapshot of ours, shared or not yet. ``taken`` is when its data was."""

    snapshot: Snapshot
    identifier: str
    taken: datetime

    @property
    def under_way(self) -> bool:
        """RDS is still making it, which can take hours."""
        return self.snapshot.status in ("creating", "copying")

    @property
    def available(self) -> bool:
        """It can be shared."""
        return self.snapshot.status == "available"

    @property
    def failed(self) -> bool:
        """It came to nothing."""
        return self.snapshot.status == "failed"


def ours(snapshots: Iterable[OwnSnapshot], cluster: str, sharing: SharePolicy) -> list[Share]:
    """The snapshots taken of this cluster to be shared, whatever their state, newest data first."""
    found = [
        Share(own.snapshot, mark.identifier, mark.taken)
        for own in snapshots
        if own.snapshot.cluster == cluster
        and (mark := marks.mark(own, PREFIX, sharing.account)) is not None
    ]
    return sorted(found, key=_recency, reverse=True)


def _recency(share: Share) -> tuple[datetime, datetime, str]:
    return share.taken, share.snapshot.created or share.taken, share.identifier


def named(identifier: str, shares: Iterable[Share]) -> Share | None:
    """The one of that name."""
    return next((each for each in shares if each.identifier == identifier), None)


def of_the_same(data: datetime, shares: Iterable[Share]) -> Share | None:
    """The one that already has, or will have, the data taken then."""
    return next((each for each in shares if each.taken == data and not each.failed), None)


def kept(shares: Sequence[Share], sharing: SharePolicy) -> list[Share]:
    """Those to be shared: the newest available ones; ``shares`` are newest first."""
    return [share for share in shares if share.available][: sharing.keep]


def superfluous(shares: Sequence[Share], sharing: SharePolicy) -> list[Share]:
    """The available ones beyond the number to keep, newest first."""
    return [share for share in shares if share.available][sharing.keep :]


def check_key(cluster: Cluster, sharing: SharePolicy) -> str:
    """The key to copy a cluster's snapshot to that is under the default key; raises Refused."""
    if sharing.key is None:
        raise Refused(
            "default-key",
            f"{cluster.name} is encrypted under this account's default key aws/rds, which no other "
            "account can be let use: a share of it is of no use, and SHARE_KMS_KEY_ID is not set",
        )
    return sharing.key


def newest_automated(cluster: str, snapshots: Iterable[Snapshot], now: datetime) -> Snapshot:
    """The newest of the cluster's automated snapshots that can be copied; raises Refused.

    Acceptance dates a copy by its making, so what is copied must be nearly as new.
    """
    usable = [
        (each.created, each.arn, each)
        for each in snapshots
        if each.status == "available" and each.created
    ]
    if not usable:
        raise Refused(
            "no-automated-snapshot",
            f"{cluster} has no automated snapshot that is available, of which to make a copy",
        )
    created, arn, newest = max(usable)
    if now - created > OLDEST_AUTOMATED:
        raise Refused(
            "automated-stale",
            f"the newest automated snapshot of {cluster}, {arn}, is of "
            f"{created.astimezone(UTC):%Y-%m-%d %H:%M} UTC, more than 36 hours ago: a copy would be "
            "taken for newer data than it has",
        )
    return newest
