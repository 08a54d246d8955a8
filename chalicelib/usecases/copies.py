"""Copies of production's shares: start them, follow them, and find the expired ones.

Nothing here waits for RDS, which may copy for hours.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache

from chalicelib.domain.copies import CopyPolicy, ManagedCopies
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import (
    Version,
    earlier_snapshot,
    good_version,
    last_order,
    last_restored,
)
from chalicelib.domain.ownership import expired
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot
from chalicelib.ports import Aws

ListOwn = Callable[[], Sequence[Snapshot]]


def list_own_once(aws: Aws) -> ListOwn:
    """Return a function that lists this account's snapshots, at its first call only."""
    return cache(lambda: list(aws.snapshots.own()))


def ensure_copy(
    aws: Aws, policy: CopyPolicy, share: Snapshot, own: Sequence[Snapshot]
) -> ManagedCopies:
    """Start the copy of a share if it is needed, and return all copies.

    Raise Refused for what only a person can resolve, and AwsError.
    """
    name = policy.name(share.arn, share.taken)
    copies = ManagedCopies(own, policy)
    if any(copy.identifier == name and copy.failed for copy in copies):
        raise Refused(Reason.COPY_FAILED, f"the copy of {share.arn} failed")
    if not copies.needs_copy_of(share):
        return copies
    made = aws.snapshots.copy(share.arn, name, policy.key, policy.tags(share))
    copies = ManagedCopies([*own, made] if made else aws.snapshots.own(), policy)
    if not any(copy.identifier == name for copy in copies):
        # Two deliveries may both have asked; but a snapshot without our tags is not ours.
        raise Refused(
            Reason.COPY_NAME_TAKEN, f"snapshot {name} exists but lacks this application's tags"
        )
    return copies


def promotable_copy(own: ListOwn, policy: CopyPolicy) -> Snapshot | None:
    """Return the newest eligible copy, even if the poll has not recorded it in `latest` yet.

    Raise Refused while a newer copy is in progress, and AwsError.
    """
    copies = ManagedCopies(own(), policy)
    pending = copies.pending()
    if pending:
        raise Refused(
            Reason.COPY_PENDING,
            f"the copy of {pending.source} is {pending.status}, {pending.progress} % done",
        )
    return copies.newest()


def described(aws: Aws, own: ListOwn, database: Database, arn: str) -> Snapshot | None:
    """Return this account's or a shared snapshot, with `created` as the time of its data; raise AwsError."""
    if database.copy_policy:
        for copy in ManagedCopies(own(), database.copy_policy):
            if copy.arn == arn:
                return copy  # RDS may date a copy by its own making
    return aws.snapshots.find(arn)


def time_of_data(aws: Aws, database: Database, version: Version) -> datetime | None:
    """Return when the data of a version was taken; None if nobody knows."""
    if version.taken:
        return version.taken
    with suppress(AwsError):
        found = described(aws, list_own_once(aws), database, version.value)
        return found.created if found else None
    return None


def expired_copies(
    aws: Aws, current_parameter: str, copies: ManagedCopies, latest: Sequence[str | None]
) -> list[Snapshot]:
    """Return the copies beyond the number to keep that no parameter or run refers to; raise AwsError.

    `latest` are the values of that parameter which may still be in use.
    """
    if not expired(copies, copies.policy.keep):
        return []
    # Read just before anything is deleted: an operator may have pinned a copy meanwhile.
    ledger = aws.parameters.history(current_parameter)
    good = good_version(ledger)
    restored = last_restored(ledger)
    ordered = last_order(ledger)  # its run may be restoring it whatever current names by now
    leading = (
        *latest,
        ledger[-1].value if ledger else None,
        earlier_snapshot(ledger),
        *(each.value for each in (good, restored, ordered) if each),
    )
    return expired(copies, copies.policy.keep, [arn for arn in leading if arn])
