"""Copies of production's shares under one's own key: asked for, looked at again, and let go.

Nothing here waits for RDS, which copies for hours. AWS comes in as a Aws.
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.domain.copies import (
    Copy,
    CopyPolicy,
    copy_rejection,
    is_wanted,
    newest_copy,
    ours,
    pending_copy,
    superfluous,
)
from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.ledger import good_entry
from chalicelib.domain.results import earlier_snapshot
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.ports import Aws

Json = dict[str, Any]


def copies_with(
    aws: Aws, copying: CopyPolicy, share: Snapshot, own: Sequence[OwnSnapshot]
) -> list[Copy]:
    """The database's copies, newest data first, once that of ``share`` is asked for if it must be.

    Raises Refused for what only people can mend, and AwsError.
    """
    name = copying.name_for(share)
    copies = ours(own, copying)
    if any(copy.identifier == name and copy.failed for copy in copies):
        raise Refused("copy-failed", f"the copy of {share.arn} failed")
    if not is_wanted(share, copies, copying):
        return copies
    made = aws.snapshots.copy(share.arn, name, copying.key, copying.tags(share))
    copies = ours([*own, made] if made else aws.snapshots.own(), copying)
    if not any(copy.identifier == name for copy in copies):
        # Two deliveries may both have asked; but what is not ours is neither promoted nor deleted.
        raise Refused("copy-name-taken", f"there is a snapshot {name}, which has no tags of ours")
    return copies


def progress(copies: Sequence[Copy], copying: CopyPolicy) -> Json | None:
    """How far the copy is that the database waits for; None where it waits for none."""
    pending = pending_copy(copies, copying)
    if pending is None:
        return None
    return {
        "arn": pending.snapshot.arn,
        "source": pending.source.text,
        "status": pending.snapshot.status,
        "progress": pending.progress,
    }


def settled_copies(aws: Aws, copying: CopyPolicy) -> list[Copy]:
    """The database's copies, newest data first; raises Refused while it waits for one, and AwsError."""
    copies = ours(aws.snapshots.own(), copying)
    pending = pending_copy(copies, copying)
    if pending:
        raise Refused(
            "copy-pending",
            f"the copy of {pending.source.text} is {pending.snapshot.status}, "
            f"{pending.progress} % done",
        )
    return copies


def promotable_copy(aws: Aws, copying: CopyPolicy, arn: str) -> Snapshot:
    """The newest copy, which *latest* names, or will when the poll has seen it.

    Raises Refused where there is none that may be promoted, in the words of what *latest* names; and
    AwsError.
    """
    copies = settled_copies(aws, copying)
    newest = newest_copy(copies, copying)
    if newest:
        return newest
    copy = next((each for each in copies if each.snapshot.arn == arn), None)
    if copy is None:
        raise Refused(
            "not-eligible", f"{arn} is no copy of ours under {copying.key}, as the stage asks for"
        )
    broken = copy_rejection(copy, copying)
    assert broken is not None  # or it were the newest
    raise Refused("not-eligible", f"{arn}: {broken.detail}")


def check_first_copy(aws: Aws, copying: CopyPolicy) -> None:
    """Raises Refused where *latest* names no copy yet, but will as soon as one is made, and AwsError."""
    newest = newest_copy(settled_copies(aws, copying), copying)
    if newest:
        raise Refused("copy-pending", f"{newest.arn} is available, and not recorded in latest yet")


def described(aws: Aws, database: Database, arn: str) -> Snapshot | None:
    """The own or shared snapshot, ``created`` when its data was taken; raises AwsError."""
    if database.copy_policy:
        for copy in ours(aws.snapshots.own(), database.copy_policy):
            if copy.snapshot.arn == arn:
                return copy.snapshot  # which RDS dates by its own making
    return aws.snapshots.find(arn)


def beyond_number(
    aws: Aws, database: Database, copies: Sequence[Copy], latest: Sequence[str | None]
) -> list[Copy]:
    """The copies that nothing leads to any more, beyond the number to keep; raises AwsError.

    ``latest`` are the values of that parameter to which something may still lead.
    """
    copying = database.copy_policy
    assert copying is not None
    if not superfluous(copies, copying, kept=()):
        return []
    # Read just before anything is deleted: an operator may have pinned one meanwhile.
    ledger = aws.parameters.history(database.current_parameter)
    good = good_entry(ledger)
    leading = (
        *latest,
        ledger[-1].value if ledger else None,
        earlier_snapshot(ledger),
        good.value if good else None,
    )
    return superfluous(copies, copying, kept=[arn for arn in leading if arn])
