# ruff: noqa: RUF001 (a sum is easier to read with its sign of multiplication)
"""A month on AWS's published prices, with its arithmetic; free tiers left out, where not said otherwise.

https://aws.amazon.com/lambda/pricing/, https://aws.amazon.com/api-gateway/pricing/,
https://aws.amazon.com/cloudwatch/pricing/, https://aws.amazon.com/systems-manager/pricing/,
https://aws.amazon.com/eventbridge/pricing/, https://aws.amazon.com/sns/pricing/
"""

from dataclasses import dataclass

_HOURS = 730

# A generous month: both schedules fire each week, the second and fourth time to skip; every run of
# the pipeline is followed; and people look at it three times a day.
_INVOCATIONS = {"update": 5, "restore": 5, "follow": 30, "API": 100}
# With 256 MB Lambda gives a seventh of a processor, so seven times what parsing 2,000 shares took here
# and the time of the calls still fit.
_SECONDS = 10
_GIGABYTES = 0.25
_LOG_KILOBYTES = 10
_ALARMS = 4
# Per refresh: the data's age thrice, and started, succeeded and duration once, each in its own hour.
# Each counts for the stage and for the database.
_METRIC_HOURS = 2 * 12


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    what: str
    arithmetic: str
    dollars: float


def month() -> list[Item]:
    """The bill."""
    invocations = sum(_INVOCATIONS.values())
    seconds = invocations * _SECONDS * _GIGABYTES
    log = invocations * _LOG_KILOBYTES / 1e6
    told = " + ".join(f"{count} {name}" for name, count in _INVOCATIONS.items())
    return [
        Item(
            "Lambda, requests",
            f"({told}) = {invocations} × $0.20 / 1,000,000",
            invocations * 0.2 / 1e6,
        ),
        Item(
            "Lambda, compute",
            f"{invocations} × {_SECONDS} s × {_GIGABYTES} GB = {seconds:,.0f} GB-s × $0.0000166667",
            seconds * 0.0000166667,
        ),
        Item("EventBridge", "scheduled rules and AWS's own events: no charge", 0),
        Item("Parameter Store", "standard parameters, standard throughput: no charge", 0),
        Item(
            "API Gateway",
            f"{_INVOCATIONS['API']} REST requests × $3.50 / 1,000,000",
            _INVOCATIONS["API"] * 3.5 / 1e6,
        ),
        Item(
            "CloudWatch metrics",
            f"2 refreshes × 12 metric-hours × $0.30 / {_HOURS} h",
            _METRIC_HOURS * 0.3 / _HOURS,
        ),
        Item(
            "CloudWatch logs",
            f"{invocations} × {_LOG_KILOBYTES} kB = {log:.4f} GB × $0.57",
            log * 0.57,
        ),
        Item("CloudWatch alarms", f"{_ALARMS} × $0.10", _ALARMS * 0.1),
        Item("SNS", "e-mail: the first 1,000 a month are free", 0),
    ]
