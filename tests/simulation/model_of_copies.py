"""What must be so where a stage promotes copies, judged by which copies were seen being made.

A copy is known here because RDS was asked to make it, and never by its name or its tags.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.settings.acceptance import Settings
from tests.fakes import (
    ACCEPTANCE,
    COPIES_UNDER_WAY,
    PRODUCTION,
    InMemoryAws,
    InMemorySnapshots,
    arn,
)
from tests.simulation.model import ENGINES


class Made(NamedTuple):
    """A copy as RDS was asked for it: of which share, as it was then, and under which key."""

    source: Snapshot
    key: str

    @property
    def recency(self) -> tuple[datetime, str]:
        assert self.source.created
        return self.source.created, self.source.arn


class WatchedSnapshots(InMemorySnapshots):
    """Remembers what was copied and deleted; `judge` is asked before a snapshot is deleted.

    Whether RDS dates a copy by its data or by its making, and whether one may be available at once,
    is not documented.
    """

    def __init__(
        self, aws: InMemoryAws, judge: Callable[[str], None], *, keeps_date: bool, at_once: bool
    ) -> None:
        super().__init__(aws)
        self.judge = judge
        self.keeps_date, self.at_once = keeps_date, at_once
        self.seen: dict[str, Made] = {}
        self.deleted: set[str] = set()
        # The clusters for which there were too many copies, until a poll has asked again.
        self.refused: set[str] = set()

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        share, copied = self.get(source), arn(name, ACCEPTANCE)
        existed = self.get(copied)
        try:
            return super().copy(source, name, key, tags)
        except Refused as refused:
            if share and refused.reason is Reason.COPY_QUOTA:
                self.refused.add(share.cluster)
            raise
        finally:  # the process may be killed before it hears of its copy
            if share and not existed and self.get(copied):
                self.seen[copied] = Made(share, key)
                self.deleted.discard(copied)

    def delete(self, identifier: str) -> None:
        deleted = arn(identifier, ACCEPTANCE)
        found = self.get(deleted)
        if found:  # or another delivery was faster
            self.judge(deleted)
            # One that failed could not be restored, even if `current` named one like it before.
            self.deleted |= {deleted} if found.status == "available" else set()
        super().delete(identifier)

    @property
    def made(self) -> dict[str, Made]:
        """The copies that still exist."""
        return {each: made for each, made in self.seen.items() if self.get(each)}

    def get(self, value: str) -> Snapshot | None:
        return next((each for each in self.all if each.arn == value), None)

    def change(self, value: str, **facts: object) -> None:
        self.all = [each._replace(**facts) if each.arn == value else each for each in self.all]

    def lose(self, value: str) -> None:
        """Somebody deletes a snapshot by hand; a copy of it that is in progress fails."""
        self.all = [each for each in self.all if each.arn != value]
        self.tags.pop(value, None)
        self.fail(lambda made: made.source.arn == value)

    def fail(self, concerns: Callable[[Made], bool]) -> None:
        """Let the copies in progress fail that this concerns."""
        for copy, made in self.made.items():
            found = self.get(copy)
            if found and found.status == "copying" and concerns(made):
                self.change(copy, status="failed")


@dataclass(frozen=True)
class ModelOfCopies:
    """The account of a stage of which at least one database may have copies."""

    settings: Settings
    aws: InMemoryAws
    snapshots: WatchedSnapshots

    def latest(self, database: Database) -> str | None:
        return self.aws.values().get(database.latest_parameter)

    def shares(self, database: Database) -> list[Snapshot]:
        """The eligible shares, newest first."""
        found = [
            each
            for each in self.snapshots.all
            if not each.own and each.status == "available" and self._suits(each, database)
        ]
        return sorted(found, key=lambda each: (each.created, each.arn), reverse=True)

    @staticmethod
    def _suits(share: Snapshot, database: Database) -> bool:
        return (
            share.account == PRODUCTION
            and (share.engine, share.engine_version) == ENGINES[database.name]
            and share.created is not None
        )

    def copies(self, database: Database, *statuses: str) -> list[Snapshot]:
        """The database's copies in one of these states, under whichever key, newest data first."""
        made = self.snapshots.made
        found = [
            each
            for each in self.snapshots.all
            if each.arn in made
            and made[each.arn].source.cluster == database.name
            and each.status in statuses
        ]
        return sorted(found, key=lambda each: made[each.arn].recency, reverse=True)

    def usable(self, database: Database, *statuses: str) -> list[Snapshot]:
        """Those of them under the key that is set, of eligible shares."""
        assert database.copy_policy
        made = self.snapshots.made
        return [
            each
            for each in self.copies(database, *statuses)
            if made[each.arn].key == database.copy_policy.key
            and self._suits(made[each.arn].source, database)
        ]

    def pending(self, database: Database) -> str | None:
        """The newest copy, if it is in progress."""
        newest = next(iter(self.usable(database, "available", "copying")), None)
        return newest.arn if newest and newest.status == "copying" else None

    def due(self, database: Database) -> str | None:
        """What `latest` should name."""
        found = (
            self.usable(database, "available") if database.copy_policy else self.shares(database)
        )
        return found[0].arn if found else None

    def promotable(self, database: Database) -> str | None:
        """What the schedule may promote now, if anything."""
        latest = self.latest(database)
        if not (latest or "").startswith("arn:"):
            return None
        if database.copy_policy:
            value = None if self.pending(database) else self.due(database)
            taken = self.snapshots.made[value].source.created if value else None
        else:
            share = next((each for each in self.shares(database) if each.arn == latest), None)
            value, taken = latest, share.created if share else None
        return value if taken and self.aws.time - taken <= timedelta(days=14) else None

    def leading(self, database: Database) -> set[str | None]:
        """What `latest`, `current`, its value before and its last good version name."""
        versions = self.aws.parameters.kept.get(database.current_parameter, [])
        present = [each.value for each in versions[-1:]]
        before = [each.value for each in versions if each.value not in [*present, "dummyvalue"]]
        good = [each.value for each in versions if each.is_good]
        return {self.latest(database), *present, *before[-1:], *good}

    def is_beyond_number(self, database: Database, copy: str, *, at_least: bool) -> bool:
        """Whether enough newer copies are available; or at least as new ones."""
        assert database.copy_policy
        made = self.snapshots.made
        newer = [
            each.arn
            for each in self.copies(database, "available")
            if made[each.arn].recency > made[copy].recency
            or (at_least and each.arn != copy and made[each.arn].recency == made[copy].recency)
        ]
        return len(newer) >= database.copy_policy.keep

    def why_no_copy(self, database: Database) -> str | None:
        """Why the newest share has no copy; None if it has one or needs none."""
        assert database.copy_policy
        share = next(iter(self.shares(database)), None)
        if share is None:
            return "no-eligible-snapshot"
        made, wanted = self.snapshots.made, Made(share, database.copy_policy.key)
        of_share = [
            each
            for each in self.copies(database, "available", "copying", "failed")
            if (made[each.arn].recency, made[each.arn].key) == (wanted.recency, wanted.key)
        ]
        if any(each.status == "failed" for each in of_share):
            return "copy-failed"
        newest = self.usable(database, "available", "copying")[:1]
        if newest and made[newest[0].arn].recency >= wanted.recency:
            return None
        if self.snapshots.get(arn(database.copy_policy.name_for(share), ACCEPTANCE)):
            return "copy-name-taken"
        if share.arn in self.snapshots.unencrypted:
            return "copy-unencrypted"
        if wanted.key in self.snapshots.denied:
            return "copy-key-denied"
        in_progress = [each for each in self.snapshots.all if each.status == "copying"]
        return "copy-quota" if len(in_progress) >= COPIES_UNDER_WAY else "not asked for"
