"""Copies of production's snapshots under acceptance's own key: which are ours, and which may go.

Pure: no AWS, no clock. A copy outlives the share that it was made of, and production's key. What makes one
ours are its tags, which only this account can set, and never its name alone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from chalicelib.domain import ownership
from chalicelib.domain.snapshots import (
    Criteria,
    OwnSnapshot,
    Rejection,
    Snapshot,
    SnapshotArn,
    rejection,
)

PREFIX = "aurora-refresh-copy-"

SOURCE = "aurora-refresh:source"


class CopyPolicy(NamedTuple):
    """How a database's copies are made: of what is ``wanted``, under ``key``; ``keep`` of them stay.

    They are ``made_for`` its parameter *latest*, whose name is unique within the account, so that
    two stages never take one another's copies for their own.
    """

    criteria: Criteria
    key: str
    keep: int
    made_for: str

    def name(self, source: str, taken: datetime) -> str:
        """The one name of the copy of the snapshot ``source``, an ARN, so that it is made once.

        Production may delete a snapshot and take another one under its name: ``taken`` tells the two apart.
        """
        # Another key makes another copy: what it asks for is that none is promoted under the old one.
        moment = taken.astimezone(UTC).isoformat()
        return ownership.derived_name(PREFIX, source, moment, self.made_for, self.key)

    def name_for(self, share: Snapshot) -> str:
        """The name of the copy of an eligible share."""
        assert share.created is not None  # an eligible snapshot has one
        return self.name(share.arn, share.created)

    def tags(self, share: Snapshot) -> dict[str, str]:
        """What tells later that the copy is ours, and of what it was made."""
        assert share.created is not None  # an eligible snapshot has one
        return ownership.tags(self.made_for, share.created) | {SOURCE: share.arn}


class Copy(NamedTuple):
    """A copy of ours. ``snapshot.created`` is when its data was taken; ``progress`` in percent."""

    snapshot: Snapshot
    identifier: str
    source: SnapshotArn
    progress: int

    @property
    def under_way(self) -> bool:
        """RDS is still copying, which can take hours."""
        return self.snapshot.status in ("copying", "creating")

    @property
    def available(self) -> bool:
        """The copy can be restored."""
        return self.snapshot.status == "available"

    @property
    def failed(self) -> bool:
        """The copy came to nothing: its source or a key went away meanwhile."""
        return self.snapshot.status == "failed"

    @property
    def taken(self) -> datetime:
        """When its data was."""
        assert self.snapshot.created is not None  # see ours
        return self.snapshot.created

    @property
    def recency(self) -> tuple[datetime, str]:
        """As among shares: the newest data wins, and a tie goes to the greater ARN."""
        return self.taken, self.source.text


def ours(snapshots: Iterable[OwnSnapshot], copying: CopyPolicy) -> list[Copy]:
    """The copies made for this database, whatever their state and key, newest data first."""
    found = [copy for each in snapshots if (copy := _read(each, copying))]
    return sorted(found, key=lambda copy: copy.recency, reverse=True)


def _read(own: OwnSnapshot, copying: CopyPolicy) -> Copy | None:
    owned = ownership.owned(own, PREFIX, copying.made_for)
    source = SnapshotArn.parse(own.tags.get(SOURCE, ""))
    if owned is None or source is None:
        return None
    # Whoever may tag in this account could call a stranger's snapshot production's, or its data newer than
    # all that will ever come. RDS tells what a copy is of, and no data is newer than its copy.
    made = own.snapshot.created
    if own.source not in (None, source.text) or (made and owned.taken > made):
        return None
    return Copy(own.snapshot._replace(created=owned.taken), owned.identifier, source, own.progress)


def copy_rejection(copy: Copy, copying: CopyPolicy) -> Rejection | None:
    """The first rule that the copy breaks: those of a share, its source's account for its own.

    One under another key is refused as ``key``, which no share can be.
    """
    if copy.identifier != copying.name(copy.source.text, copy.taken):
        return Rejection("key", f"a copy under another key than {copying.key}")
    return rejection(copy.snapshot._replace(account=copy.source.account), copying.criteria)


def newest_copy(copies: Sequence[Copy], copying: CopyPolicy) -> Snapshot | None:
    """The newest copy that is eligible; ``copies`` are newest first."""
    return next((copy.snapshot for copy in copies if not copy_rejection(copy, copying)), None)


def pending_copy(copies: Sequence[Copy], copying: CopyPolicy) -> Copy | None:
    """The newest copy under way, if it will be newer than every eligible one."""
    newest = next(_promising(copies, copying), None)
    return newest if newest and newest.under_way else None


def _promising(copies: Iterable[Copy], copying: CopyPolicy) -> Iterator[Copy]:
    """The copies that are eligible, and those that will be once they are available."""
    for copy in copies:
        as_available = copy._replace(snapshot=copy.snapshot._replace(status="available"))
        if (copy.available or copy.under_way) and not copy_rejection(as_available, copying):
            yield copy


def is_wanted(share: Snapshot, copies: Sequence[Copy], copying: CopyPolicy) -> bool:
    """Whether ``share`` is to be copied: no copy of it, nor of anything newer, exists or is made.

    A newer one counts only if it can become *latest*: the stage may want another cluster by now.
    """
    name = copying.name_for(share)
    return all(copy.identifier != name for copy in copies) and all(
        copy.recency <= (share.created, share.arn) for copy in _promising(copies, copying)
    )


def superfluous(copies: Sequence[Copy], copying: CopyPolicy, kept: Collection[str]) -> list[Copy]:
    """The copies beyond the number to keep, newest first, without those whose ARNs are ``kept``."""
    done = [copy for copy in copies if copy.available]
    return [copy for copy in done[copying.keep :] if copy.snapshot.arn not in kept]
