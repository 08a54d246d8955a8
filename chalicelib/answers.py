"""What a function answers, and what is said of it elsewhere: section 3 of the contract. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.errors import Refused
from chalicelib.hold import PLACEHOLDER
from chalicelib.ledger import Parameter
from chalicelib.settings import Database
from chalicelib.snapshots import Snapshot

SKIPS = ("off-week", "outside-window", "on-hold", "nothing-new")

Values = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Answer:
    """``message`` says ``reason`` in words; ``databases`` has an entry for each database."""

    outcome: str
    reason: str | None
    message: str | None
    databases: tuple[Mapping[str, Any], ...]
    execution_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as the contract writes it: an execution id only where there is a run."""
        answer: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "databases": [dict(database) for database in self.databases],
        }
        if self.execution_id:
            answer["execution_id"] = self.execution_id
        return answer


def refusal(refused: Refused, databases: Sequence[Database], values: Values) -> Answer:
    """The answer that a decision not to act becomes."""
    return Answer(
        "skipped" if refused.reason in SKIPS else "failed",
        refused.reason,
        str(refused),
        tuple(entry(database, values) for database in databases),
    )


def entry(database: Database, values: Values) -> dict[str, Any]:
    """A database's part of an answer, as long as nothing was moved."""
    current = value_of(values, database.current_parameter)
    return {
        "name": database.name,
        "latest": value_of(values, database.latest_parameter),
        "current": current,
        "previous": current,
    }


def data_age(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    """How old the data of an eligible snapshot is: when it was taken, and hours since."""
    age = snapshot.age(now)
    return {"created": (now - age).isoformat(), "age_hours": round(age.total_seconds() / 3600, 1)}


def shown(value: str) -> str:
    """A value from outside as it may be told: a parameter may hold a secret by mistake."""
    if value == PLACEHOLDER or value.startswith("arn:"):
        return repr(value[:120])
    return f"something else, of {len(value)} characters"


def value_of(values: Values, name: str) -> str | None:
    """What a parameter holds, None where it does not exist."""
    parameter = values.get(name)
    return parameter.value if parameter else None
