"""Copies of production's snapshots under acceptance's own key. Pure.

A copy outlives the share that it was made from, and production's key. This application manages a copy
that bears its tags, which only this account can set; a name alone proves nothing.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chalicelib.domain import ownership
from chalicelib.domain.snapshots import Criteria, Rejection, Snapshot, SnapshotArn, rejection

PREFIX = "aurora-refresh-copy-"

SOURCE = "aurora-refresh:source"
# RDS may date a copy by its own making, but the age of the data counts.
TAKEN = "aurora-refresh:taken"

# The label of a version of `latest` while RDS has too many copies in progress to start another.
COPY_WANTED = "copy-wanted"


class CopyPolicy(NamedTuple):
    """Which snapshots of a database are copied, under which key, and how many copies to keep.

    Copies are `made_for` the parameter `latest`, whose name is unique in the account, so that two
    stages never manage each other's copies.
    """

    criteria: Criteria
    key: str
    keep: int
    made_for: str

    def name(self, source: str, taken: datetime) -> str:
        """Return the name of the copy of a snapshot, so that the copy is made only once.

        `source` is an ARN. Production may delete a snapshot and take another one of the same name:
        `taken` distinguishes them. Another key makes another copy.
        """
        moment = taken.astimezone(UTC).isoformat()
        return ownership.derived_name(PREFIX, source, moment, self.made_for, self.key)

    def tags(self, share: Snapshot) -> dict[str, str]:
        """Return the tags of the copy of an eligible share."""
        taken = share.taken.isoformat()
        return {ownership.MADE_FOR: self.made_for, TAKEN: taken, SOURCE: share.arn}

    def rejection(self, copy: Snapshot) -> Rejection | None:
        """Return the first rule that a copy breaks: the key's, or one of a share's."""
        if copy.identifier != self.name(copy.source or "", copy.taken):
            return Rejection("key", f"a copy under another key than {self.key}")
        return rejection(copy, self.criteria)


class ManagedCopies(list[Snapshot]):
    """A database's copies, whatever their state and key, newest data first.

    Each has the account of its `source` and is dated by its data, so that a share's rules apply.
    """

    def __init__(self, own: Iterable[Snapshot], policy: CopyPolicy) -> None:
        found = (copy for each in own if (copy := _read(each, policy)))
        super().__init__(sorted(found, key=_recency, reverse=True))
        self.policy = policy

    def newest(self) -> Snapshot | None:
        """Return the newest eligible copy."""
        return next((copy for copy in self if not self.policy.rejection(copy)), None)

    def pending(self) -> Snapshot | None:
        """Return the newest copy in progress, if it will be newer than every eligible one."""
        newest = next(self._promising(), None)
        return newest if newest and newest.in_progress else None

    def needs_copy_of(self, share: Snapshot) -> bool:
        """Return whether a share has to be copied: no copy of it or of newer data exists.

        A newer copy counts only if it can become `latest`: the criteria may have changed.
        """
        name = self.policy.name(share.arn, share.taken)
        return all(copy.identifier != name for copy in self) and all(
            _recency(copy) <= (share.taken, share.arn) for copy in self._promising()
        )

    def _promising(self) -> Iterator[Snapshot]:
        """Yield the copies that are eligible, and those that will be once they are available."""
        for copy in self:
            as_available = copy._replace(status="available")
            if (copy.available or copy.in_progress) and not self.policy.rejection(as_available):
                yield copy


def _recency(copy: Snapshot) -> tuple[datetime, str]:
    """The order of copies, as of shares: by the data's time, then by the share's ARN."""
    return copy.taken, copy.source or ""


def _read(own: Snapshot, policy: CopyPolicy) -> Snapshot | None:
    if not ownership.is_owned(own, PREFIX, policy.made_for):
        return None
    taken, source = _time(own.tags.get(TAKEN, "")), SnapshotArn.parse(own.tags.get(SOURCE, ""))
    if taken is None or source is None:
        return None
    # Anybody who may tag in this account could claim that a stranger's snapshot is production's, or
    # that its data is newer than any other. RDS says what a copy was made from, and no data is
    # newer than its copy, unless RDS rounds the times differently.
    is_newer = own.created is not None and taken >= own.created + timedelta(seconds=1)
    if is_newer or own.source not in (None, source.text):
        return None
    return own._replace(created=taken, account=source.account, source=source.text)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None
