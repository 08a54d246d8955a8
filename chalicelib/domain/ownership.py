"""How this application recognizes the snapshots that it made: by a derived name and by a tag.

Both are required: anybody may choose a name, but only this account can tag its own snapshots.
"""

import hashlib
from collections.abc import Collection, Iterable

from chalicelib.domain.snapshots import Snapshot

MADE_FOR = "aurora-refresh:made-for"


def derived_name(prefix: str, *identity: str) -> str:
    """Return the only name for `identity`, so that a second attempt finds what the first one made.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
    """
    return prefix + hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def is_owned(own: Snapshot, prefix: str, made_for: str) -> bool:
    """Return whether this application made the snapshot for `made_for`."""
    return own.identifier.startswith(prefix) and own.tags.get(MADE_FOR) == made_for


def expired(found: Iterable[Snapshot], keep: int, needed: Collection[str] = ()) -> list[Snapshot]:
    """Return the available ones beyond the number to keep, except those that are `needed`.

    They are newest first.
    """
    available = [each for each in found if each.available]
    return [each for each in available[keep:] if each.arn not in needed]
