"""Log lines as JSON, and CloudWatch's embedded metrics, which are lines of the log, too.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from chalicelib.measures import Measure

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: what is always known, and what ``extra`` tells."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "service": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def logger(service: str) -> logging.Logger:
    """The service's logger, which writes to Lambda's log and leaves the root logger alone."""
    made = logging.getLogger(service)
    made.setLevel(logging.INFO)
    made.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    made.handlers = [handler]
    return made


def count(measure: Measure, namespace: str, stage: str) -> None:
    """Write the measure as a line of the log that CloudWatch counts, for each stage by itself."""
    metrics = {
        "Namespace": namespace,
        "Dimensions": [["stage", "database"]],
        "Metrics": [{"Name": measure.name, "Unit": measure.unit}],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metrics]},
        "stage": stage,
        "database": measure.database,
        measure.name: [measure.value],
    }
    sys.stdout.write(json.dumps(line) + "\n")
