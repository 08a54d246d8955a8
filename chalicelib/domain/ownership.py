"""How this application recognizes the snapshots that it made: by a derived name and by tags.

Both are required: anybody may choose a name, but only this account can tag its own snapshots.
"""

import hashlib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from chalicelib.domain.snapshots import Snapshot

MADE_FOR = "aurora-refresh:made-for"
# RDS may date a copy by its own making, but the age of the data counts.
TAKEN = "aurora-refresh:taken"


def derived_name(prefix: str, *identity: str) -> str:
    """Return the only name for `identity`, so that a second attempt finds what the first one made.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
    """
    return prefix + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def tags(made_for: str, taken: datetime) -> dict[str, str]:
    """Return the tags by which `owned` recognizes a snapshot."""
    return {MADE_FOR: made_for, TAKEN: taken.isoformat()}


def owned(own: Snapshot, prefix: str, made_for: str) -> Snapshot | None:
    """Return the snapshot, dated by its data, if this application made it for `made_for`."""
    taken = _time(own.tags.get(TAKEN, ""))
    is_managed = own.identifier.startswith(prefix) and own.tags.get(MADE_FOR) == made_for
    return own._replace(created=taken) if taken and is_managed else None


def expired(found: Iterable[Snapshot], keep: int, needed: Collection[str] = ()) -> list[Snapshot]:
    """Return the available ones beyond the number to keep, except those that are `needed`.

    They are newest first.
    """
    available = [each for each in found if each.available]
    return [each for each in available[keep:] if each.arn not in needed]


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None
