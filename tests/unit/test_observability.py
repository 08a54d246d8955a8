"""What the functions write to their log: JSON lines, and metrics among them."""

import json
import logging
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from chalicelib import observability
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import CopyProgress, DatabaseResult, Result
from chalicelib.observability import Metric

NOON = datetime.fromisoformat("2026-01-04T12:00:00+00:00")


@time_machine.travel(NOON, tick=False)
def test_a_line_has_its_standard_fields_and_those_that_were_given() -> None:
    record = logging.getLogger("x").makeRecord(
        "x", logging.INFO, __file__, 1, "pin of %s", ("a",), None
    )
    record.request = {"snapshot": "b\u202e\ud800", "when": NOON}
    assert json.loads(observability.JsonFormatter().format(record)) == {
        "level": "INFO",
        "timestamp": "2026-01-04T12:00:00+00:00",
        "service": "x",
        "message": "pin of a",
        "request": {"snapshot": "b\u202e\ud800", "when": "2026-01-04 12:00:00+00:00"},
    }


def test_a_line_is_one_line_of_ascii_whatever_it_says() -> None:
    record = logging.makeLogRecord({"msg": "two\nlines", "why": "\x1b[2J\u2028\u00e4"})
    line = observability.JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()


def test_an_exception_is_logged_with_its_traceback() -> None:
    try:
        raise ValueError("no")  # noqa: TRY301 (one is needed)
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    assert "ValueError: no" in json.loads(observability.JsonFormatter().format(record))["exception"]


def test_each_line_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lambda has a handler of its own at the root; and app.py may be imported again."""
    logging.getLogger().addHandler(root := logging.StreamHandler(sys.stdout))
    try:
        for _ in range(2):
            logger = observability.get_logger("test-of-logs")
        logger.info("once")
    finally:
        logging.getLogger().removeHandler(root)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "once"


@time_machine.travel(NOON + timedelta(milliseconds=5), tick=False)
def test_a_metric_is_a_line_in_cloudwatch_s_embedded_format(
    capsys: pytest.CaptureFixture[str],
) -> None:
    observability.emit(Metric("rds", "SnapshotAgeHours", 6.5, "None"), "acceptance")
    assert json.loads(capsys.readouterr().out) == {
        "_aws": {
            "Timestamp": 1767528000005,
            "CloudWatchMetrics": [
                {
                    "Namespace": "AuroraRefresh",
                    "Dimensions": [["stage"], ["stage", "database"]],
                    "Metrics": [{"Name": "SnapshotAgeHours", "Unit": "None"}],
                }
            ],
        },
        "stage": "acceptance",
        "database": "rds",
        "SnapshotAgeHours": [6.5],
    }


def counted(
    use_case: str, outcome: str, reason: Reason | None = None, **facts: Any
) -> list[Metric]:
    result = Result(outcome, reason, None, (DatabaseResult("rds", **facts),))
    return observability.result_metrics(use_case, result.to_json())


@pytest.mark.parametrize(
    ("use_case", "outcome", "reason", "name"),
    [
        ("promote", "started", None, "RefreshStarted"),
        ("promote", "skipped", Reason.ON_HOLD, "RefreshSkipped"),
        ("promote", "failed", Reason.NO_LATEST, "RefreshFailed"),
        ("update", "failed", Reason.NO_ELIGIBLE_SNAPSHOT, "RefreshFailed"),
        ("reconcile", "failed", Reason.COPY_FAILED, "RefreshFailed"),
        ("reconcile", "succeeded", None, "RefreshSucceeded"),
        ("reconcile", "failed", Reason.RUN_FAILED, "RefreshFailed"),
        ("promote", "skipped", Reason.OFF_WEEK, None),
        ("update", "skipped", Reason.OFF_WEEK, None),
        ("update", "updated", None, None),
        ("update", "unchanged", None, None),
        ("reconcile", "updated", None, None),
        ("reconcile", "unchanged", None, None),
        ("reconcile", "ignored", Reason.OTHER_PIPELINE, None),
    ],
)
def test_an_outcome_is_counted_by_database_if_it_is_one_of_a_refresh(
    use_case: str, outcome: str, reason: Reason | None, name: str | None
) -> None:
    expected = [Metric("rds", name, 1, "Count")] if name else []
    assert counted(use_case, outcome, reason) == expected


def test_age_and_duration_are_measured() -> None:
    assert counted("reconcile", "succeeded", age_hours=6.5, duration_minutes=30.0) == [
        Metric("rds", "RefreshSucceeded", 1, "Count"),
        Metric("rds", "SnapshotAgeHours", 6.5, "None"),
        Metric("rds", "RefreshDurationMinutes", 30.0, "None"),
    ]


@pytest.mark.parametrize(
    ("use_case", "outcome", "copy", "is_measured"),
    [
        ("update", "updated", None, True),
        ("update", "unchanged", None, True),
        ("reconcile", "updated", None, True),
        # The copy in progress is newer: an alarm would ring every time it takes a while.
        ("update", "unchanged", CopyProgress("c", "s", "copying", 40), False),
        # It grows by a quarter of an hour at each poll.
        ("reconcile", "unchanged", None, False),
    ],
)
def test_an_age_that_only_grows_until_a_copy_is_made_is_not_measured(
    use_case: str, outcome: str, copy: CopyProgress | None, *, is_measured: bool
) -> None:
    age = [Metric("rds", "SnapshotAgeHours", 336.2, "None")] if is_measured else []
    assert counted(use_case, outcome, age_hours=336.2, copy=copy) == age


def test_one_databases_failure_is_not_anothers() -> None:
    entries = (
        DatabaseResult("rds", outcome="updated", age_hours=6.5),
        DatabaseResult("docs", outcome="failed"),
    )
    result = Result("failed", Reason.NO_ELIGIBLE_SNAPSHOT, None, entries)
    assert observability.result_metrics("update", result.to_json()) == [
        Metric("rds", "SnapshotAgeHours", 6.5, "None"),
        Metric("docs", "RefreshFailed", 1, "Count"),
    ]


def test_a_failed_attempt_counts_for_every_database() -> None:
    assert observability.error_metrics(["rds", "docs"]) == [
        Metric("rds", "RefreshFailed", 1, "Count"),
        Metric("docs", "RefreshFailed", 1, "Count"),
    ]
