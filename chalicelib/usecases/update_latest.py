"""Move the parameter `latest`: to the newest eligible share, or to the newest copy of one.

Databases are independent here, because nothing is restored from `latest`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import pairwise

from chalicelib.domain.copies import COPY_WANTED, ManagedCopies
from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.functions import RECONCILE, UPDATE
from chalicelib.domain.ledger import Note
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, refusal, unmoved
from chalicelib.domain.snapshots import Choice, Snapshot, choose
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import raise_errors, run_each
from chalicelib.usecases.copies import ensure_copy, expired_copies
from chalicelib.usecases.scheduled import (
    check_week,
    notify_failures,
    notify_refusals,
    scheduled_actor,
)

# Lambda's longest timeout.
RECENTLY = timedelta(minutes=15)


@notify_failures(UPDATE)
def update(settings: Settings, aws: Aws, scheduled: datetime) -> Result:
    """Record each database's newest eligible share in its parameter `latest`; raise AwsError.

    If the database has copies, start a copy of the share, and record the newest copy that is
    available: until then `latest` stays.
    """
    try:
        check_week(settings, scheduled)
    except Refused as refused:
        return refusal(refused, settings.databases, {})
    choices = choose(aws.snapshots.shared(), [each.criteria for each in settings.databases])
    look = _Look(aws, settings.databases, scheduled_actor(scheduled))
    chosen = zip(settings.databases, choices, strict=True)
    entries, failed = run_each(chosen, lambda each: look.update(*each))
    # With the refusals, which would otherwise be lost.
    raise_errors(failed, [entry.message for entry in entries if entry.message])
    return combine(entries)


def follow_copies(settings: Settings, aws: Aws) -> Result:
    """Finish what the update started; raise AwsError, or return it among the result's `errors`.

    Record a copy that has become available in `latest`. Start a copy that RDS refused to start
    during the update because others were in progress. Report a copy that failed and delete it, so
    that the next update starts anew. Delete the copies beyond the number to keep, but none that
    `latest` or `current` may still lead to.
    """
    databases = [each for each in settings.databases if each.copy_policy]
    look = _Look(aws, databases, RECONCILE)
    entries, failed = run_each(databases, look.follow)
    # An AwsError rings the alarm, but notifies nobody: this runs all day.
    result = combine(entries)
    notify_refusals(aws, RECONCILE, "its poll", result)
    # It comes after the notification: a kill between the two notifies twice, not never.
    _, unfinished = run_each(look.cleanup, lambda action: action())
    return result._replace(errors=(*failed, *unfinished))


def newest(database: Database, choice: Choice) -> Snapshot:
    """Return the share to record or copy for `latest`; raise Refused if none can be chosen."""
    if choice.ambiguous:
        raise Refused(
            Reason.AMBIGUOUS_CLUSTER,
            f"{database.name}: eligible snapshots come from several clusters "
            f"({', '.join(sorted(choice.clusters))}); set {database.setting('SOURCE_CLUSTER')}",
        )
    if choice.newest is None:
        rejected = ", ".join(f"{count} for {reason}" for reason, count in choice.rejected.items())
        raise Refused(
            Reason.NO_ELIGIBLE_SNAPSHOT,
            f"{database.name}: no shared snapshot is eligible; rejected: {rejected or 'none'}",
        )
    return choice.newest


class _Look:
    """The databases' parameters and this account's snapshots as read once, and the actor of the update.

    `cleanup` is what to do once people have been notified.
    """

    def __init__(self, aws: Aws, databases: Sequence[Database], actor: str) -> None:
        self.aws = aws
        self.actor = actor
        self.values = aws.parameters.get(
            [name for each in databases for name in (each.latest_parameter, each.current_parameter)]
        )
        has_copies = any(each.copy_policy for each in databases)
        self.own = list(aws.snapshots.own()) if has_copies else []
        self.shared = cache(lambda: list(aws.snapshots.shared()))
        self.cleanup: list[Callable[[], None]] = []

    def update(self, database: Database, choice: Choice) -> DatabaseResult:
        """Record what was chosen, or the newest copy, and start the copy that is needed."""
        entry = self._unchanged(database)._replace(rejected=dict(choice.rejected))
        policy = database.copy_policy
        try:
            share = newest(database, choice)
            found: Snapshot | None = share
            if policy:
                copies = ensure_copy(self.aws, policy, share, self.own)
                entry = entry._replace(copy=copies.pending())
                found = copies.newest()
        except Refused as refused:
            name = database.latest_parameter
            if refused.reason is Reason.COPY_QUOTA and name in self.values:
                # RDS has too many copies in progress: the poll retries.
                self.aws.parameters.label(name, self.values[name].version, {COPY_WANTED})
            return entry.refused(refused)
        return self._record(database, found, entry)

    def follow(self, database: Database) -> DatabaseResult:
        """Do what `follow_copies` does for one database, but leave the deletions to `cleanup`."""
        policy, name = database.copy_policy, database.latest_parameter
        assert policy is not None
        copies, refused = ManagedCopies(self.own, policy), None
        versions = self.aws.parameters.history(name)
        wanted = next((each for each in versions if COPY_WANTED in each.labels), None)
        if wanted:
            try:
                (choice,) = choose(self.shared(), [database.criteria])
                copies = ensure_copy(self.aws, policy, newest(database, choice), self.own)
            except Refused as error:
                refused = error
            # While there are too many copies, the next poll retries; the update has notified
            # people.
            if refused and refused.reason is Reason.COPY_QUOTA:
                refused = None
            else:
                unlabel = partial(self.aws.parameters.unlabel, name, wanted.number, {COPY_WANTED})
                self.cleanup.append(unlabel)
        entry = self._unchanged(database)._replace(copy=copies.pending())
        entry = self._record(database, copies.newest(), entry)
        failed = [copy for copy in copies if copy.failed]
        # A promotion, or a pin of `latest`, may have read an earlier value, and not put it yet.
        moved = self.aws.now() - RECENTLY
        recent = [old.value for old, new in pairwise(versions) if new.modified > moved]
        leading = (entry.latest, entry.previous, *recent)
        current = database.current_parameter
        deleted = [*expired_copies(self.aws, current, copies, leading), *failed]
        self.cleanup += [partial(self.aws.snapshots.delete, copy.identifier) for copy in deleted]
        if failed:
            sources = ", ".join(copy.source or "" for copy in failed)
            refused = Refused(Reason.COPY_FAILED, f"the copy of {sources} failed")
        if refused:
            entry = entry.refused(refused)
        return entry._replace(deleted=tuple(copy.arn for copy in deleted))

    def _unchanged(self, database: Database) -> DatabaseResult:
        entry = unmoved(database, self.values)
        return entry._replace(outcome="unchanged", previous=entry.latest)

    def _record(
        self, database: Database, found: Snapshot | None, entry: DatabaseResult
    ) -> DatabaseResult:
        if found is None:
            return entry
        if found.arn != entry.latest:
            what = "copy" if database.copy_policy else "share"
            note = Note("update", self.actor, f"newest eligible {what}")
            self.aws.parameters.put(database.latest_parameter, found.arn, note)
            entry = entry._replace(outcome="updated", latest=found.arn)
        return entry.with_age(found, self.aws.now())
