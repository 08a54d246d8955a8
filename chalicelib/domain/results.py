"""What a use case returns, before it is written as JSON. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import RefreshError, Refused
from chalicelib.domain.parameters import Values, snapshot_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot

Json = dict[str, Any]

_DAY = timedelta(days=1)
# The result of databases or clusters that are independent is that of the one that comes first here.
_SEVERITY = ("failed", "succeeded", "updated", "asked", "shared", "unchanged", "ignored")


class DatabaseResult(NamedTuple):
    """One database's part of a result.

    `outcome`, `reason` and `message` are its own if the databases are independent of each other.
    `copy` is the one that the database waits for. `created` is when the data was taken, `age_hours`
    how old it is, or was when the refresh ended.
    `taken_back` is true if `current` was moved back from `previous`.
    """

    name: str
    latest: str | None = None
    current: str | None = None
    previous: str | None = None
    outcome: str | None = None
    reason: Reason | None = None
    message: str | None = None
    created: datetime | None = None
    age_hours: float | None = None
    rejected: Mapping[str, int] | None = None
    copy: Snapshot | None = None
    deleted: tuple[str, ...] | None = None
    version: int | None = None
    by: str | None = None
    why: str | None = None
    execution_id: str | None = None
    duration_minutes: float | None = None
    taken_back: bool | None = None

    def to_json(self) -> Json:
        """Return what is known, and always the three snapshots."""
        always = {"latest", "current", "previous"}
        fields = {k: v for k, v in self._asdict().items() if v is not None or k in always}
        if self.created:
            fields["created"] = self.created.isoformat()
        if self.copy:
            shown = ("arn", "source", "status", "progress")
            fields["copy"] = {name: getattr(self.copy, name) for name in shown}
        if self.deleted is not None:
            fields["deleted"] = list(self.deleted)
        return fields

    def refused(self, refused: Refused) -> "DatabaseResult":
        """Return the result after a decision not to act on this database."""
        return self._replace(
            outcome=refused.reason.outcome, reason=refused.reason, message=str(refused)
        )

    def with_age(self, snapshot: Snapshot, now: datetime) -> "DatabaseResult":
        """Return the result with the age of an eligible snapshot's data."""
        age = snapshot.age(now)
        return self._replace(created=now - age, age_hours=hours(age))


class ClusterResult(NamedTuple):
    """The outcome for one cluster; `snapshots` names the snapshots concerned, by what was done."""

    name: str
    outcome: str
    reason: Reason | None = None
    message: str | None = None
    snapshots: Mapping[str, str | list[str]] = {}

    def to_json(self) -> Json:
        """Return the entry of the result's JSON."""
        fields = self._asdict()
        snapshots = fields.pop("snapshots")
        return {**fields, **snapshots}


class Step(NamedTuple):
    """One step of a promotion: its verdict, and the detail in words."""

    step: str
    verdict: str
    detail: str | None


class Result(NamedTuple):
    """The outcome of a use case, with its databases, or a production stage's clusters.

    `message` says `reason` in words. `errors` are to be raised once the result has been reported.
    """

    outcome: str
    reason: Reason | None = None
    message: str | None = None
    databases: tuple[DatabaseResult, ...] = ()
    execution_id: str | None = None
    steps: tuple[Step, ...] = ()
    clusters: tuple[ClusterResult, ...] = ()
    errors: tuple[RefreshError, ...] = ()

    def to_json(self) -> Json:
        """Return the result with an execution id only if a run was started."""
        fields: Json = {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "clusters" if self.clusters else "databases": [
                each.to_json() for each in self.clusters or self.databases
            ],
        }
        if self.execution_id:
            fields["execution_id"] = self.execution_id
        if self.steps:
            fields["steps"] = [step._asdict() for step in self.steps]
        return fields


def refusal(
    refused: Refused,
    databases: Sequence[Database],
    values: Values,
    steps: tuple[Step, ...] = (),
) -> Result:
    """Return the result of a decision not to act on any database."""
    return Result(
        refused.reason.outcome,
        refused.reason,
        str(refused),
        tuple(unmoved(database, values) for database in databases),
        steps=steps,
    )


def combine(
    databases: Iterable[DatabaseResult] = (), clusters: Iterable[ClusterResult] = ()
) -> Result:
    """Return the result of databases, or clusters, that are independent of each other.

    What failed for one must not hide behind what succeeded for another.
    """
    result = Result("", databases=tuple(databases), clusters=tuple(clusters))
    entries: list[DatabaseResult | ClusterResult] = [*result.databases, *result.clusters]
    worst = min(entries, key=lambda each: _SEVERITY.index(each.outcome or ""), default=result)
    return result._replace(outcome=worst.outcome or "", reason=worst.reason, message=worst.message)


def unmoved(database: Database, values: Values) -> DatabaseResult:
    """Return a database's result as long as `current` has not moved."""
    current = snapshot_of(values, database.current_parameter)
    return DatabaseResult(
        database.name, snapshot_of(values, database.latest_parameter), current, current
    )


def count(number: int, unit: str) -> str:
    """Return a number with its unit."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def span(duration: timedelta) -> str:
    """Return a duration in its largest unit, rounded down: 47 hours, 2 days."""
    sizes = {"day": _DAY, "hour": _DAY / 24, "minute": _DAY / 1440}
    unit = next((unit for unit, size in sizes.items() if duration >= 2 * size), "minute")
    return count(duration // sizes[unit], unit)


def hours(age: timedelta) -> float:
    """Return an age in hours, to one decimal."""
    return round(age.total_seconds() / 3600, 1)
