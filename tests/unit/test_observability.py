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
from chalicelib.domain.results import DatabaseResult, Result
from chalicelib.observability import Metric

NOON = datetime.fromisoformat("2026-01-04T12:00:00+00:00")


@time_machine.travel(NOON, tick=False)
def test_a_line_is_one_line_of_ascii_with_its_standard_fields_and_those_that_were_given() -> None:
    facts = {"name": "x", "levelname": "INFO", "msg": "pin of %s\n", "args": ("\u00e4",)}
    request = {"snapshot": "\x1b[2J\u2028\ud800", "when": NOON}
    failure = {"exc_info": (ValueError, ValueError("no"), None)}
    record = logging.makeLogRecord({**facts, **failure, "request": request})
    line = observability.JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "level": "INFO",
        "timestamp": "2026-01-04T12:00:00+00:00",
        "service": "x",
        "message": "pin of \u00e4\n",
        "request": {"snapshot": "\x1b[2J\u2028\ud800", "when": "2026-01-04 12:00:00+00:00"},
        "exception": "ValueError: no",
    }


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
def test_a_metric_is_a_line_in_the_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    observability.emit(Metric("rds", "SnapshotAgeHours", 6.5, "None"), "acceptance")
    definition = {
        "Namespace": "AuroraRefresh",
        "Dimensions": [["stage"], ["stage", "database"]],
        "Metrics": [{"Name": "SnapshotAgeHours", "Unit": "None"}],
    }
    assert json.loads(capsys.readouterr().out) == {
        "_aws": {"Timestamp": 1767528000005, "CloudWatchMetrics": [definition]},
        "stage": "acceptance",
        "database": "rds",
        "SnapshotAgeHours": [6.5],
    }


def count(name: str) -> Metric:
    return Metric("rds", name, 1, "Count")


def metrics(outcome: str, reason: Reason | None = None, /, **facts: Any) -> list[Metric]:
    result = Result(outcome, reason, None, (DatabaseResult("rds", **facts),))
    return observability.result_metrics(result.to_json())


def test_an_outcome_is_counted_if_it_is_one_of_a_refresh() -> None:
    assert metrics("started") == [count("RefreshStarted")]
    assert metrics("skipped", Reason.ON_HOLD) == [count("RefreshSkipped")]
    assert metrics("failed", Reason.NO_LATEST) == [count("RefreshFailed")]
    assert metrics("unchanged") == metrics("updated") == metrics("ignored") == []
    assert metrics("succeeded") == [count("RefreshSucceeded")]
    assert metrics("skipped", Reason.OFF_WEEK) == [count("RefreshSkipped")]
    # One database's failure is not another's.
    assert metrics("failed", Reason.NO_ELIGIBLE_SNAPSHOT, outcome="updated") == []


def test_the_age_of_the_data_and_the_duration_are_measured() -> None:
    age = Metric("rds", "SnapshotAgeHours", 6.5, "None")
    duration = Metric("rds", "RefreshDurationMinutes", 30.0, "None")
    measured = metrics("updated", age_hours=6.5, duration_minutes=30.0)
    assert measured == [age, duration]
    # It grows by a quarter of an hour at each poll.
    assert metrics("unchanged", age_hours=6.5) == []
