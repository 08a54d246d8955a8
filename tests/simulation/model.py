"""What must be so, told from an account's bare history, without the product's own functions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.ledger import Entry, Run
from chalicelib.domain.snapshots import Snapshot
from chalicelib.settings.acceptance import Settings
from tests.fakes import PRODUCTION, InMemoryAws
from tests.stage import PIPELINE

HOLD = "/acceptance/hold"
ENGINES = {"rds": ("aurora-postgresql", "15.4"), "docs": ("docdb", "5.0.0")}
ANCHOR = date(2026, 1, 4)
ACTIONS = ("promote", "refresh", "pin", "rollback", "undo", "revert")
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Model:
    """The stage's account as it is now, and what each question and each wish must come to."""

    settings: Settings
    aws: InMemoryAws

    @property
    def runs(self) -> list[Run]:
        """Oldest first."""
        return self.aws.pipelines.pipelines[PIPELINE]

    @property
    def busy(self) -> bool:
        return any(run.status == "InProgress" for run in self.runs)

    @property
    def shared(self) -> list[Snapshot]:
        """In the order in which they came."""
        return [each for each in self.aws.snapshots.all if not each.own]

    def present(self, name: str) -> Entry:
        return self.aws.parameters.kept[name][-1]

    def latest(self, database: Database) -> str | None:
        return self.aws.values().get(database.latest_parameter)

    # --- what runs did ---

    def read_by(self, run: Run, name: str) -> Entry | None:
        """A run deploys what *current* held a minute after its start, or when it ended sooner."""
        then = self._reads_at(run)
        return next(
            (e for e in reversed(self.aws.parameters.kept[name]) if e.modified <= then), None
        )

    @staticmethod
    def _reads_at(run: Run) -> datetime:
        minute_later = run.started + timedelta(minutes=1)
        return minute_later if run.status == "InProgress" else min(minute_later, run.updated)

    def had_run(self, entry: Entry) -> bool:
        return any(entry.modified <= self._reads_at(run) for run in self.runs)

    def deployed(self, name: str) -> str | None:
        """What the newest successful run deployed."""
        successful = [run for run in self.runs if run.status == "Succeeded"]
        entry = self.read_by(successful[-1], name) if successful else None
        return entry.value if entry else None

    def waits(self, name: str) -> bool:
        """The next run would restore something else than what acceptance is on."""
        deployed, present = self.deployed(name), self.present(name)
        under_way = any(
            run.status == "InProgress" and present.modified <= self._reads_at(run)
            for run in self.runs
        )
        return deployed is not None and present.value != deployed and not under_way

    def left_behind(self, name: str) -> bool:
        """A run was to carry *current*, and none came: somebody was killed."""
        present = self.present(name)
        return bool(present.note and present.note.token) and not self.had_run(present)

    def came_to_nothing(self, name: str) -> bool:
        """Neither a run that succeeded carries what was to be deployed, nor one under way."""
        present = self.present(name)
        return bool(present.note and present.note.token) and not any(
            present.modified <= self._reads_at(run)
            for run in self.runs
            if run.status in ("Succeeded", "InProgress")
        )

    def before_what_came_to_nothing(self, name: str) -> str:
        """The newest earlier value that somebody set to wait, or that a run brought."""
        brought = [self.read_by(run, name) for run in self.runs if run.status == "Succeeded"]
        return next(
            entry.value
            for entry in self.aws.parameters.kept[name][-2::-1]
            if not (entry.note and entry.note.token) or entry in brought
        )

    # --- what an operator's wish comes to ---

    def rollback_goes_to(self, name: str) -> str | None:
        values = [entry.value for entry in self.aws.parameters.kept[name]]
        for value in reversed(values):
            if value != values[-1] and value.startswith("arn:"):
                return value
        return None

    def rollback_deploys(self, name: str) -> str | None:
        """One that was killed before its run is completed, not gone back from."""
        present = self.present(name)
        killed = self.left_behind(name) and present.note and present.note.action == "rollback"
        return present.value if killed else self.rollback_goes_to(name)

    def rollback(self, database: Database, value: str | None, *, deploy: bool) -> str:
        if deploy and self.busy:
            return "busy"
        if value is None:
            return "nothing-earlier"
        return self.pin(database, value, deploy=deploy, unknown="snapshot-gone")

    def pin(self, database: Database, value: str, *, deploy: bool, unknown: str) -> str:
        share = self._share(value)
        if share is None:
            return unknown
        if not self.pinnable(share, database):
            return "not-eligible"
        return "busy" if deploy and self.busy else "done"

    def due(self, database: Database) -> str | None:
        """What a promotion would put."""
        return self.latest(database)

    def refresh(self, *, outside_window: bool) -> str:
        """The outcome, or the reason why it is not ``started``."""
        if not outside_window and self.aws.time.hour >= 7:
            return "outside-window"
        if self.hold():
            return "on-hold"
        latest = [self.latest(database) for database in self.settings.databases]
        if None in latest:
            return self._no_latest()
        for database in self.settings.databases:
            refusal = self._not_promotable(database, self.due(database) or "")
            if refusal:
                return refusal
        if not any(self._is_new(database) for database in self.settings.databases):
            return "nothing-new"
        return "busy" if self.busy else "started"

    def _no_latest(self) -> str:
        return "parameter-missing"

    def _not_promotable(self, database: Database, value: str) -> str | None:
        share = self._share(value)
        if share is None:
            return "snapshot-gone"
        if not self.eligible(share, database):
            return "not-eligible"
        assert share.created
        return "snapshot-stale" if self.aws.time - share.created > timedelta(days=14) else None

    def _is_new(self, database: Database) -> bool:
        """Another value, or one that no run has come for since it was set, or set again."""
        present = self.present(database.current_parameter)
        if present.value != self.due(database):
            return True
        if present.note and present.note.action in ("undo", "revert"):
            runs = (self.read_by(run, database.current_parameter) for run in self.runs)
            return not any(entry and entry.value == present.value for entry in runs)
        return not self.had_run(present)

    def eligible(self, share: Snapshot, database: Database) -> bool:
        return (
            share.account == PRODUCTION
            and share.status == "available"
            and (share.engine, share.engine_version) == ENGINES[database.name]
            and share.created is not None
        )

    def pinnable(self, share: Snapshot, database: Database) -> bool:
        return self.eligible(share, database)

    def _taken(self, share: Snapshot, database: Database) -> datetime | None:
        """When its data was."""
        return share.created

    def _share(self, value: str) -> Snapshot | None:
        return next((share for share in self.aws.snapshots.all if share.arn == value), None)

    # --- the calendar ---

    def hold(self) -> Any:
        """What holds promotion today: the parameter's JSON, ``UNREADABLE``, or None."""
        text = self.aws.values().get(HOLD, "dummyvalue")
        if text == "dummyvalue":
            return None
        try:
            hold = json.loads(text)
            over = self.aws.time.date() >= date.fromisoformat(hold["until"])
        except (ValueError, TypeError):
            return UNREADABLE
        return None if over else hold

    def next_sunday_at(self, hour: int, not_before: str = "") -> str:
        """The first such hour to come that lies on a Sunday of an on-week."""
        when = datetime(2026, 1, 4, hour, tzinfo=self.aws.time.tzinfo)
        while when <= self.aws.time or str(when.date()) < not_before:
            when += timedelta(days=14)
        return when.isoformat()

    def next_restore(self) -> str | None:
        hold = self.hold()
        if hold == UNREADABLE:
            return None
        return self.next_sunday_at(4, hold["until"] if hold else "")

    # --- what whoever looks must see ---

    def status(self) -> dict[str, Any]:
        """All of it but the sentences."""
        hold = self.hold()
        return {
            "databases": [self._database(database) for database in self.settings.databases],
            "hold": hold if hold != UNREADABLE else {"until": None},
            "schedule": {
                "now": self.aws.time.isoformat(),
                "window": "00:00-07:00 UTC",
                "next_update": self.next_sunday_at(2),
                "next_restore": self.next_restore(),
            },
            "pipeline": {
                "name": PIPELINE,
                "last_run": _told(self.runs[-1]) if self.runs else None,
            },
        }

    def _database(self, database: Database) -> dict[str, Any]:
        name = database.current_parameter
        present = self.present(name)
        deployed = self.deployed(name)
        share = self._share(deployed or present.value)
        created = self._taken(share, database) if share else None
        hours = (self.aws.time - created) / timedelta(hours=1) if created else None
        return {
            "name": database.name,
            "latest": self.latest(database),
            "current": present.value,
            "previous": self.rollback_goes_to(name),
            "deployed": deployed,
            "created": created.isoformat() if created else None,
            "age_hours": round(hours, 1) if hours is not None else None,
            "version": present.version,
            "since": present.modified.isoformat(),
            "action": present.note.action if present.note else "unknown",
            "by": present.by,
            "why": present.why,
            "good": present.good,
            "waiting": self.waits(name),
        }

    def problems(self) -> Iterator[str]:
        """A part of each sentence that people must read; there must be no other one."""
        yield from self._wrong_names()
        if self.hold() == UNREADABLE:
            yield HOLD
        for database in self.settings.databases:
            if self._is_refused(database):
                yield "would not be promoted"
            if self.left_behind(database.current_parameter):
                yield "no run has carried"
        if self.runs and self.runs[-1].status in ("Failed", "Stopped", "Cancelled"):
            yield self.runs[-1].execution_id

    def _wrong_names(self) -> Iterator[str]:
        if any(self.latest(database) is None for database in self.settings.databases):
            yield "no parameter"

    def _is_refused(self, database: Database) -> bool:
        latest = self.latest(database)
        if latest is None or latest == self.present(database.current_parameter).value:
            return False
        return self._not_promotable(database, latest) is not None

    def history(self, database: Database) -> dict[str, Any]:
        name = database.current_parameter
        last_run = {}
        for run in self.runs:
            entry = self.read_by(run, name)
            if entry:
                last_run[entry.version] = _told(run)
        return {
            "history": [
                {
                    "version": entry.version,
                    "snapshot": entry.value,
                    "set": entry.modified.isoformat(),
                    "action": entry.note.action if entry.note else "unknown",
                    "by": entry.by,
                    "why": entry.why,
                    "good": entry.good,
                    "run": last_run.get(entry.version),
                }
                for entry in reversed(self.aws.parameters.kept[name])
            ]
        }

    def shares(self, database: Database) -> list[tuple[str, bool, bool]]:
        """Every share, newest first: its ARN, whether it is eligible, and whether it is chosen."""
        dated = [share for share in self.shared if share.created]
        newest = sorted(dated, key=lambda share: (share.created, share.arn), reverse=True)
        undated = [share for share in self.shared if not share.created]
        undated.sort(key=lambda share: share.arn, reverse=True)
        chosen = next((share for share in newest if self.eligible(share, database)), None)
        return [
            (share.arn, self.eligible(share, database), share == chosen)
            for share in newest + undated
        ]


def _told(run: Run) -> dict[str, str]:
    return {
        "execution_id": run.execution_id,
        "status": run.status,
        "started": run.started.isoformat(),
        "updated": run.updated.isoformat(),
    }
