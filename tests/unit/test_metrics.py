"""What dashboards and alarms count."""

from typing import Any

import pytest

from chalicelib import observability
from chalicelib.domain.results import Result
from chalicelib.observability import Metric


def counted(use_case: str, outcome: str, reason: str | None, **facts: Any) -> list[Metric]:
    answer = Result(outcome, reason, None, ({"name": "rds", **facts},))
    return observability.result_metrics(use_case, answer.to_json())


@pytest.mark.parametrize(
    ("use_case", "outcome", "reason", "name"),
    [
        ("promote", "started", None, "RefreshStarted"),
        ("promote", "skipped", "on-hold", "RefreshSkipped"),
        ("promote", "failed", "no-latest", "RefreshFailed"),
        ("update", "failed", "no-eligible-snapshot", "RefreshFailed"),
        ("copies", "failed", "copy-failed", "RefreshFailed"),
        ("follow", "succeeded", None, "RefreshSucceeded"),
        ("follow", "failed", "run-failed", "RefreshFailed"),
    ],
)
def test_an_outcome_is_counted_by_database(
    use_case: str, outcome: str, reason: str | None, name: str
) -> None:
    assert counted(use_case, outcome, reason) == [Metric("rds", name, 1, "Count")]


@pytest.mark.parametrize(
    ("use_case", "outcome", "reason"),
    [
        ("promote", "skipped", "off-week"),
        ("update", "skipped", "off-week"),
        ("update", "updated", None),
        ("update", "unchanged", None),
        ("copies", "updated", None),
        ("copies", "unchanged", None),
        ("follow", "ignored", "other-pipeline"),
    ],
)
def test_what_was_not_due_or_is_no_refresh_is_not_counted(
    use_case: str, outcome: str, reason: str | None
) -> None:
    assert counted(use_case, outcome, reason) == []


def test_age_and_duration_are_measured() -> None:
    assert counted("follow", "succeeded", None, age_hours=6.5, duration_minutes=30.0) == [
        Metric("rds", "RefreshSucceeded", 1, "Count"),
        Metric("rds", "SnapshotAgeHours", 6.5, "None"),
        Metric("rds", "RefreshDurationMinutes", 30.0, "None"),
    ]


@pytest.mark.parametrize(
    ("use_case", "outcome", "more", "measured"),
    [
        ("update", "updated", {}, 1),
        ("update", "unchanged", {"copy": None}, 1),
        ("copies", "updated", {"copy": None}, 1),
        # The copy that is being made will be newer: an alarm would ring every time it takes a while.
        ("update", "unchanged", {"copy": {"progress": 40}}, 0),
        # It grows by the quarter of an hour, all fortnight.
        ("copies", "unchanged", {"copy": None}, 0),
    ],
)
def test_an_age_that_is_no_news_is_not_measured(
    use_case: str, outcome: str, more: dict[str, object], measured: int
) -> None:
    assert len(counted(use_case, outcome, None, age_hours=336.2, **more)) == measured


def test_one_databases_failure_is_not_anothers() -> None:
    entries = (
        {"name": "rds", "outcome": "updated", "age_hours": 6.5},
        {"name": "docs", "outcome": "failed"},
    )
    answer = Result("failed", "no-eligible-snapshot", None, entries)
    assert observability.result_metrics("update", answer.to_json()) == [
        Metric("rds", "SnapshotAgeHours", 6.5, "None"),
        Metric("docs", "RefreshFailed", 1, "Count"),
    ]


def test_an_attempt_that_raised_counts_for_every_database() -> None:
    assert observability.error_metrics(["rds", "docs"]) == [
        Metric("rds", "RefreshFailed", 1, "Count"),
        Metric("docs", "RefreshFailed", 1, "Count"),
    ]
