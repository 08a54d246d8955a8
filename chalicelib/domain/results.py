"""What a function answers, and what is said of it elsewhere: section 3 of the contract. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import PLACEHOLDER
from chalicelib.domain.ledger import Entry, Parameter, earlier_values
from chalicelib.domain.snapshots import Snapshot, SnapshotArn

SKIPS = ("off-week", "outside-window", "on-hold", "nothing-new")

Values = Mapping[str, Parameter]


class Result(NamedTuple):
    """``message`` says ``reason`` in words; ``databases`` has an entry for each database."""

    outcome: str
    reason: str | None
    message: str | None
    databases: tuple[Mapping[str, Any], ...]
    execution_id: str | None = None
    steps: tuple[Mapping[str, str | None], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The answer as the contract writes it: an execution id only where there is a run.

        A promotion's has the verdict of each step.
        """
        answer: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "databases": [dict(database) for database in self.databases],
        }
        if self.execution_id:
            answer["execution_id"] = self.execution_id
        if self.steps:
            answer["steps"] = [dict(step) for step in self.steps]
        return answer


def refusal(
    refused: Refused,
    databases: Sequence[Database],
    values: Values,
    steps: tuple[Mapping[str, str | None], ...] = (),
) -> Result:
    """The answer that a decision not to act becomes."""
    return Result(
        "skipped" if refused.reason in SKIPS else "failed",
        refused.reason,
        str(refused),
        tuple(entry(database, values) for database in databases),
        steps=steps,
    )


def of_databases(entries: Sequence[Mapping[str, Any]]) -> Result:
    """The answer of databases that are independent, each with an outcome of its own.

    What went wrong for one must not hide behind what went well for another.
    """
    told = foremost(entries, ("failed", "updated", "unchanged"))
    return Result(told["outcome"], told["reason"], told["message"], tuple(entries))


def foremost(entries: Sequence[Mapping[str, Any]], outcomes: Sequence[str]) -> Mapping[str, Any]:
    """The first entry whose outcome stands before those of the others in ``outcomes``."""
    return min(entries, key=lambda entry: outcomes.index(entry["outcome"]))


def of_latest(database: Database, values: Values) -> dict[str, Any]:
    """A database's part of an answer about *latest*, as long as nothing was moved."""
    latest = snapshot_of(values, database.latest_parameter)
    return {
        "name": database.name,
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "latest": latest,
        "current": snapshot_of(values, database.current_parameter),
        "previous": latest,
    }


def failed(refused: Refused) -> dict[str, Any]:
    """What a decision not to act makes of a database's part of an answer about *latest*."""
    return {"outcome": "failed", "reason": refused.reason, "message": str(refused)}


def entry(database: Database, values: Values) -> dict[str, Any]:
    """A database's part of an answer, as long as nothing was moved."""
    current = snapshot_of(values, database.current_parameter)
    return {
        "name": database.name,
        "latest": snapshot_of(values, database.latest_parameter),
        "current": current,
        "previous": current,
    }


def data_age(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    """How old the data of an eligible snapshot is: when it was taken, and hours since."""
    created = now - snapshot.age(now)
    return {"created": created.isoformat(), "age_hours": age_hours(snapshot, now)}


def age_hours(snapshot: Snapshot, now: datetime) -> float:
    """Hours since an eligible snapshot was taken."""
    return round(snapshot.age(now).total_seconds() / 3600, 1)


def shown(value: str) -> str:
    """A value from outside as it may be told: a parameter may hold a secret by mistake."""
    if value == PLACEHOLDER or value.startswith("arn:"):
        return repr(value[:120])
    return hidden(value)


def hidden(value: str) -> str:
    """What may be told of a value that is not what it should be."""
    return f"something else, of {len(value)} characters"


def snapshot_of(values: Values, name: str) -> str | None:
    """The ARN of the snapshot that a parameter names, None where it names none."""
    return arn_of(value_of(values, name))


def arn_of(value: str | None) -> str | None:
    """A parameter's value, if it is what it should be: it may hold a secret by mistake."""
    return value if value and SnapshotArn.parse(value) else None


def earlier_snapshot(ledger: Sequence[Entry]) -> str | None:
    """Where a rollback goes: the newest earlier snapshot that differs from the present value."""
    return next(filter(SnapshotArn.parse, earlier_values(ledger)), None)


def value_of(values: Values, name: str) -> str | None:
    """What a parameter holds, None where it does not exist."""
    parameter = values.get(name)
    return parameter.value if parameter else None
