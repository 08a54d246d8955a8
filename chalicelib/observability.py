"""Log lines as JSON, and CloudWatch metrics in the embedded metric format, which are log lines too.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

NAMESPACE = "AuroraRefresh"
NOTIFICATION_FAILED = "NotificationFailed"

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# The metric that an outcome counts as.
_COUNTERS = {
    "started": "RefreshStarted",
    "skipped": "RefreshSkipped",
    "failed": "RefreshFailed",
    "succeeded": "RefreshSucceeded",
}


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object, its `extra` fields included."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "service": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def get_logger(service: str) -> logging.Logger:
    """Return the service's logger, which writes to standard output and bypasses the root logger."""
    logger = logging.getLogger(service)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger.handlers = [handler]
    return logger


class Metric(NamedTuple):
    """One value of a CloudWatch metric; `unit` as CloudWatch names it.

    It is about one database, or with None about the stage.
    """

    database: str | None
    name: str
    value: float
    unit: str


def result_metrics(result: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics of each database in a result.

    The age is emitted only when `latest` or `current` changed.
    """
    metrics = []
    for entry in result.get("databases", ()):
        outcome = entry.get("outcome", result["outcome"])
        counter = _COUNTERS.get(outcome)
        if counter:
            metrics.append(Metric(entry["name"], counter, 1, "Count"))
        if "age_hours" in entry and outcome != "unchanged":
            metrics.append(Metric(entry["name"], "SnapshotAgeHours", entry["age_hours"], "None"))
        if "duration_minutes" in entry:
            minutes = entry["duration_minutes"]
            metrics.append(Metric(entry["name"], "RefreshDurationMinutes", minutes, "None"))
    return metrics


def emit(metric: Metric, stage: str) -> None:
    """Write a metric with dimension `stage`, for the alarms, and one with stage and database if it has one."""
    dimensions = {"stage": stage} | ({"database": metric.database} if metric.database else {})
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [["stage"], *([[*dimensions]] if metric.database else [])],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit}],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [definition]},
        **dimensions,
        metric.name: [metric.value],
    }
    sys.stdout.write(json.dumps(line) + "\n")
