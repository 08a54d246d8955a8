"""What dashboards and alarms count, drawn from the answers. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib.answers import Answer


class Measure(NamedTuple):
    """One value of a CloudWatch metric for one database; ``unit`` as CloudWatch names it."""

    database: str
    name: str
    value: float
    unit: str


_COUNTED = {
    ("promote", "started"): "RefreshStarted",
    ("promote", "skipped"): "RefreshSkipped",
    ("promote", "failed"): "RefreshFailed",
    ("update", "failed"): "RefreshFailed",
    ("copies", "failed"): "RefreshFailed",
    ("follow", "succeeded"): "RefreshSucceeded",
    ("follow", "failed"): "RefreshFailed",
}


def of_answer(use_case: str, answer: Answer) -> list[Measure]:
    """What an answer counts, for each database in it.

    An off-week skips nothing that was due, so it does not count.
    """
    measures = []
    for entry in answer.databases:
        outcome = entry.get("outcome", answer.outcome)
        counted = _COUNTED.get((use_case, outcome))
        if counted and answer.reason != "off-week":
            measures.append(Measure(entry["name"], counted, 1, "Count"))
        if "age_hours" in entry and not _waits(use_case, outcome, entry):
            measures.append(Measure(entry["name"], "SnapshotAgeHours", entry["age_hours"], "None"))
        if "duration_minutes" in entry:
            minutes = entry["duration_minutes"]
            measures.append(Measure(entry["name"], "RefreshDurationMinutes", minutes, "None"))
    return measures


def _waits(use_case: str, outcome: str, entry: Mapping[str, Any]) -> bool:
    """Whether the data's age is no news: it grows all day, until the copy is made that replaces it."""
    return bool(entry.get("copy")) or (use_case, outcome) == ("copies", "unchanged")


def of_error(databases: list[str]) -> list[Measure]:
    """What an attempt counts in which AWS did not do what it was asked."""
    return [Measure(name, "RefreshFailed", 1, "Count") for name in databases]
