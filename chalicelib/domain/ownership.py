"""What marks a snapshot as made by this application: its name, derived from what it is for, and its tags.

Pure. Anybody may choose a name, while only this account can tag its own snapshots: one without the
other marks nothing.
"""

import hashlib
from datetime import datetime
from typing import NamedTuple

from chalicelib.domain.snapshots import OwnSnapshot, SnapshotArn

MADE_FOR = "aurora-refresh:made-for"
# RDS dates a copy by its own making, and the age that counts is that of the data.
TAKEN = "aurora-refresh:taken"


class Mark(NamedTuple):
    """``taken`` is when the marked snapshot's data was."""

    identifier: str
    taken: datetime


def derived_name(prefix: str, *identity: str) -> str:
    """The one name for ``identity``, so that a second attempt finds what the first one made.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
    """
    return prefix + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def tags(made_for: str, taken: datetime) -> dict[str, str]:
    """What tells later that a snapshot is ours."""
    return {MADE_FOR: made_for, TAKEN: taken.isoformat()}


def mark(own: OwnSnapshot, prefix: str, made_for: str) -> Mark | None:
    """The mark of a snapshot of ours; None for every other."""
    arn = SnapshotArn.parse(own.snapshot.arn)
    taken = _time(own.tags.get(TAKEN, ""))
    if (
        arn is None
        or taken is None
        or not arn.identifier.startswith(prefix)
        or own.tags.get(MADE_FOR) != made_for
    ):
        return None
    return Mark(arn.identifier, taken)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None
