"""What must be so where a stage promotes copies, told from what was seen being copied.

A copy is known here because the request for it was seen, and never by its name or its tags.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.database import Database
from chalicelib.domain.snapshots import Snapshot
from tests.fakes import (
    ACCEPTANCE,
    COPIES_UNDER_WAY,
    PRODUCTION,
    InMemoryAws,
    InMemorySnapshots,
    arn,
)
from tests.simulation.model import ENGINES, Model


@dataclass(frozen=True)
class Made:
    """A copy as it was asked for: of which share, as that was then, and under which key."""

    source: Snapshot
    key: str

    @property
    def recency(self) -> tuple[datetime, str]:
        assert self.source.created
        return self.source.created, self.source.arn


class WatchedSnapshots(InMemorySnapshots):
    """Remembers which snapshots were made as copies; ``judge`` hears what is to be deleted."""

    def __init__(self, aws: InMemoryAws) -> None:
        super().__init__(aws)
        self.made: dict[str, Made] = {}
        self.judge: Callable[[str], None] = lambda deleted: None

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> object:  # type: ignore[override]
        """As RDS does, and seen: the process may be killed before it hears of its copy."""
        share = next((each for each in self.all if each.arn == source), None)
        before = {each.arn for each in self.all}
        try:
            return super().copy(source, name, key, tags)
        finally:
            copied = arn(name, ACCEPTANCE)
            if share and copied not in before and any(each.arn == copied for each in self.all):
                self.made[copied] = Made(share, key)

    def delete(self, identifier: str) -> None:
        """As RDS does, once the wish has been judged."""
        self.judge(arn(identifier, ACCEPTANCE))
        super().delete(identifier)

    def lose(self, lost: str) -> None:
        """Somebody deletes it by hand."""
        self.all = [each for each in self.all if each.arn != lost]
        self.tags.pop(lost, None)


@dataclass(frozen=True)
class ModelOfCopies(Model):
    """The account of a stage of which at least one database has copies."""

    @property
    def made(self) -> dict[str, Made]:
        """The copies that are still there."""
        assert isinstance(self.aws.snapshots, WatchedSnapshots)
        present = {each.arn for each in self.aws.snapshots.all}
        return {each: made for each, made in self.aws.snapshots.made.items() if each in present}

    def copies(self, database: Database, *statuses: str) -> list[Snapshot]:
        """Its copies in one of these states, under whichever key, newest data first."""
        made = self.made
        found = [
            each
            for each in self.aws.snapshots.all
            if each.arn in made
            and made[each.arn].source.engine == ENGINES[database.name][0]
            and each.status in statuses
        ]
        return sorted(found, key=lambda each: made[each.arn].recency, reverse=True)

    def usable(self, database: Database, *statuses: str) -> list[Snapshot]:
        """Those under the key that the stage asks for now, of a share that was production's."""
        assert database.copy_policy
        made = self.made
        return [
            each
            for each in self.copies(database, *statuses)
            if made[each.arn].key == database.copy_policy.key
            and made[each.arn].source.account == PRODUCTION
            and self.eligible(made[each.arn].source, database)
        ]

    def as_new_as(
        self, database: Database, copy: Snapshot, *, strictly: bool = False
    ) -> list[Snapshot]:
        """The available copies of the same data or newer, itself among them; or only the newer."""
        own = self.made[copy.arn].recency
        return [
            each
            for each in self.copies(database, "available")
            if (recency := self.made[each.arn].recency) > own or (recency == own and not strictly)
        ]

    def pending(self, database: Database) -> Snapshot | None:
        """The newest copy, where RDS has not finished it."""
        newest = next(iter(self.usable(database, "available", "copying")), None)
        return newest if newest and newest.status == "copying" else None

    def referenced(self, database: Database) -> set[str]:
        """What *latest*, *current*, the value before and the label lead to."""
        kept = self.aws.parameters.kept
        values = [entry.value for entry in kept[database.current_parameter]]
        before = [value for value in values if value != values[-1] and value.startswith("arn:")]
        good = [entry.value for entry in kept[database.current_parameter] if entry.is_good]
        latest = [entry.value for entry in kept.get(database.latest_parameter, [])[-1:]]
        return {values[-1], *before[-1:], *good, *latest}

    def newest_share(self, database: Database) -> Snapshot | None:
        eligible = [share for share in self.shared if self.eligible(share, database)]
        return max(eligible, key=lambda each: (each.created, each.arn), default=None)

    def why_no_copy(self, database: Database) -> str | None:
        """Why the newest share is neither copied nor being copied; None where it is, or need not be."""
        assert database.copy_policy
        share = self.newest_share(database)
        if share is None:
            return "no-eligible-snapshot"
        made = self.made
        of_share = [
            each
            for each in self.copies(database, "available", "copying", "failed")
            if (made[each.arn].source.arn, made[each.arn].key)
            == (share.arn, database.copy_policy.key)
        ]
        if any(each.status == "failed" for each in of_share):
            return "copy-failed"
        assert share.created
        newest = self.usable(database, "available", "copying")[:1]
        if newest and made[newest[0].arn].recency >= (share.created, share.arn):
            return None
        name = arn(database.copy_policy.name_for(share), ACCEPTANCE)
        if any(each.arn == name for each in self.aws.snapshots.all):
            return "copy-name-taken"
        if share.arn in self.aws.snapshots.unencrypted:
            return "copy-unencrypted"
        if database.copy_policy.key in self.aws.snapshots.denied:
            return "copy-key-denied"
        under_way = [each for each in self.aws.snapshots.all if each.status == "copying"]
        return "copy-quota" if len(under_way) >= COPIES_UNDER_WAY else "not asked for"

    def is_promotable(self, database: Database, value: str) -> bool:
        if not database.copy_policy:
            return super().is_promotable(database, value)
        return self.is_promotable_copy(database, value)

    def is_promotable_copy(self, database: Database, value: str) -> bool:
        """An available copy of ours of a share of production's, its data not too old."""
        return (
            not self.pending(database)
            and any(each.arn == value for each in self.usable(database, "available"))
            and self.aws.time - self.made[value].recency[0] <= timedelta(days=14)
        )

    # --- what differs from a stage without copies ---

    def latest(self, database: Database) -> str | None:
        value = super().latest(database)
        return value if value != "dummyvalue" else None

    def due(self, database: Database) -> str | None:
        """The newest copy, whether or not the poll has recorded it."""
        latest = self.latest(database)
        usable = self.usable(database, "available") if database.copy_policy else []
        return usable[0].arn if latest and usable else latest

    def pinnable(self, share: Snapshot, database: Database) -> bool:
        return self.eligible(share._replace(account=PRODUCTION) if share.own else share, database)
