"""Which of production's snapshots are managed, shared and expired. Pure: no AWS, no clock."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chalicelib.domain import ownership
from chalicelib.domain.errors import Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot

PREFIX = "aurora-refresh-share-"
# AWS takes one automated snapshot a day. Taking it may last hours, and the backup window may move.
OLDEST_AUTOMATED = timedelta(hours=36)
# RDS gives a snapshot its time once it is made.
_BEING_MADE = datetime.max.replace(tzinfo=UTC)


class SharePolicy(NamedTuple):
    """Share the newest `keep` snapshots of each cluster with `account`, and delete older ones.

    `key` encrypts the copy that is shared if the cluster's own key admits no other account. `stage`
    tells the snapshots of several production stages in one account apart.
    """

    stage: str
    account: str
    key: str | None
    keep: int

    @property
    def made_for(self) -> str:
        """The value of the ownership tag."""
        return f"{self.account}/{self.stage}"

    def name(self, cluster: str, scheduled: datetime) -> str:
        """Return the name of the cluster's snapshot for a scheduled time, so that it is taken once."""
        return ownership.derived_name(PREFIX, cluster, scheduled.isoformat(), self.made_for)

    @property
    def tags(self) -> dict[str, str]:
        """The tag by which `is_owned` recognizes a snapshot."""
        return {ownership.MADE_FOR: self.made_for}


def managed_shares(
    snapshots: Iterable[Snapshot], cluster: str, policy: SharePolicy
) -> list[Snapshot]:
    """Return the cluster's snapshots that the stage made, in any state, newest first."""
    shares = [
        each
        for each in snapshots
        if each.cluster == cluster and ownership.is_owned(each, PREFIX, policy.made_for)
    ]
    return sorted(shares, key=lambda each: (each.created or _BEING_MADE, each.arn), reverse=True)


def newest_automated(cluster: str, snapshots: Iterable[Snapshot], now: datetime) -> Snapshot:
    """Return the newest automated snapshot that can be copied; raise Refused if there is none.

    Acceptance may date the copy by its making, so its source must be nearly as new.
    """
    usable = (each for each in snapshots if each.available and each.created)
    newest = max(usable, key=lambda each: each.taken, default=None)
    if newest is None:
        message = f"{cluster} has no available automated snapshot to copy"
        raise Refused(Reason.NO_AUTOMATED_SNAPSHOT, message)
    if newest.age(now) > OLDEST_AUTOMATED:
        raise Refused(
            Reason.AUTOMATED_STALE,
            f"the newest automated snapshot of {cluster}, {newest.arn}, was taken at "
            f"{newest.taken.astimezone(UTC):%Y-%m-%d %H:%M} UTC, more than 36 hours ago: acceptance "
            "would treat its copy as newer than it is",
        )
    return newest
