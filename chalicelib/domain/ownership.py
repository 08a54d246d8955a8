"""How this application recognizes the snapshots that it made: by a derived name and by tags.

Both are required: anybody may choose a name, but only this account can tag its own snapshots.
"""

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

from chalicelib.domain.snapshots import OwnSnapshot, Snapshot, SnapshotArn

MADE_FOR = "aurora-refresh:made-for"
# RDS may date a copy by its own making, but the age of the data counts.
TAKEN = "aurora-refresh:taken"


class Owned(NamedTuple):
    """A snapshot that this application made; `taken` is the time of its data."""

    snapshot: Snapshot
    identifier: str
    taken: datetime


def derived_name(prefix: str, *identity: str) -> str:
    """Return the only name for `identity`, so that a second attempt finds what the first one made.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
    """
    return prefix + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def tags(made_for: str, taken: datetime) -> dict[str, str]:
    """Return the tags by which `owned` recognizes a snapshot."""
    return {MADE_FOR: made_for, TAKEN: taken.isoformat()}


def owned(own: OwnSnapshot, prefix: str, made_for: str) -> Owned | None:
    """Return the snapshot if this application made it for `made_for`."""
    arn = SnapshotArn.parse(own.snapshot.arn)
    taken = _time(own.tags.get(TAKEN, ""))
    if (
        arn is None
        or taken is None
        or not arn.identifier.startswith(prefix)
        or own.tags.get(MADE_FOR) != made_for
    ):
        return None
    return Owned(own.snapshot, arn.identifier, taken)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None
