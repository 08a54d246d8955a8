"""Compared with the EventBridge User Guide: scheduled events, and who may be invoked."""

from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud.client import LocalCloud
from tests.localcloud.probe import create_rule, permit

NIGHT = datetime(2026, 1, 4, 4, tzinfo=UTC)


@pytest.fixture
def scheduled(cloud: LocalCloud) -> str:
    """A function that a schedule targets; the rule's ARN."""
    return create_rule(cloud, ScheduleExpression="rate(7 days)")


def test_a_schedule_delivers_the_documented_event(cloud: LocalCloud, scheduled: str) -> None:
    """*Creating a rule that runs on a schedule*: its event."""
    permit(cloud, "events", scheduled)
    event_id = "89d1a02d-5ec7-412e-82f5-13505f849b41"
    [record] = cloud.fire("probe", NIGHT, event_id=event_id)
    assert record["payload"] == {
        "version": "0",
        "id": event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "222222222222",
        "time": "2026-01-04T04:00:00Z",
        "region": "eu-west-1",
        "resources": [scheduled],
        "detail": {},
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda *_: None,
        lambda cloud, rule: permit(cloud, "events", f"{rule}-of-another-name"),
        lambda cloud, rule: (
            permit(cloud, "events", rule),
            cloud.client("events").disable_rule(Name="rule"),
        ),
    ],
    ids=["without permission", "with another rule's permission", "disabled"],
)
def test_a_schedule_does_not_invoke(cloud: LocalCloud, scheduled: str, change: Any) -> None:
    """*Resource-based policies for EventBridge*, and DisableRule of the API reference."""
    change(cloud, scheduled)
    with pytest.raises(ValueError, match="no enabled schedule may deliver"):
        cloud.fire("probe", NIGHT)
