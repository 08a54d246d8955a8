"""What the functions write to their log: JSON lines, and metrics among them."""

import json
import logging
import sys
from datetime import datetime, timedelta

import pytest
import time_machine

from chalicelib import observability
from chalicelib.observability import Metric

NOON = datetime.fromisoformat("2026-01-04T12:00:00+00:00")


@time_machine.travel(NOON, tick=False)
def test_a_line_tells_what_is_always_known_and_what_came_with_it() -> None:
    record = logging.getLogger("x").makeRecord(
        "x", logging.INFO, __file__, 1, "pin of %s", ("a",), None
    )
    record.wish = {"snapshot": "b\u202e\ud800", "when": NOON}
    assert json.loads(observability.JsonFormatter().format(record)) == {
        "level": "INFO",
        "timestamp": "2026-01-04T12:00:00+00:00",
        "service": "x",
        "message": "pin of a",
        "wish": {"snapshot": "b\u202e\ud800", "when": "2026-01-04 12:00:00+00:00"},
    }


def test_a_line_is_one_line_of_ascii_whatever_is_told() -> None:
    record = logging.makeLogRecord({"msg": "two\nlines", "why": "\x1b[2J\u2028\u00e4"})
    line = observability.JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()


def test_an_exception_is_told_with_where_it_came_from() -> None:
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
def test_a_measure_is_a_line_that_cloudwatch_counts(capsys: pytest.CaptureFixture[str]) -> None:
    observability.emit(Metric("rds", "SnapshotAgeHours", 6.5, "None"), "acceptance")
    assert json.loads(capsys.readouterr().out) == {
        "_aws": {
            "Timestamp": 1767528000005,
            "CloudWatchMetrics": [
                {
                    "Namespace": "AuroraRefresh",
                    "Dimensions": [["stage", "database"]],
                    "Metrics": [{"Name": "SnapshotAgeHours", "Unit": "None"}],
                }
            ],
        },
        "stage": "acceptance",
        "database": "rds",
        "SnapshotAgeHours": [6.5],
    }
