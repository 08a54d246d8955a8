"""Compared with the EventBridge User Guide: scheduled events, and who may be invoked."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud.accounts import ACCEPTANCE
from localcloud.client import LocalCloud

NIGHT = datetime(2026, 1, 4, 4, tzinfo=UTC)


@pytest.fixture
def scheduled(cloud: LocalCloud, deploy: Callable[..., str]) -> str:
    """A function that a schedule targets; the rule's ARN."""
    function, events = deploy("def handler(event, context): return event"), cloud.client("events")
    arn: str = events.put_rule(Name="rule", ScheduleExpression="rate(7 days)")["RuleArn"]
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])
    return arn


def permit(cloud: LocalCloud, rule: str, **more: str) -> None:
    cloud.client("lambda").add_permission(
        FunctionName="probe",
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
        **more,
    )


def test_a_schedule_delivers_the_documented_event(cloud: LocalCloud, scheduled: str) -> None:
    """*Creating a rule that runs on a schedule*: its event."""
    permit(cloud, scheduled)
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


def test_a_condition_of_a_permission_that_is_not_known_is_an_error(
    cloud: LocalCloud, scheduled: str
) -> None:
    permit(cloud, scheduled, SourceAccount=ACCEPTANCE)
    with pytest.raises(ValueError, match="StringEquals of aws:sourceaccount is not known"):
        cloud.fire("probe", NIGHT)


@pytest.mark.parametrize(
    "change",
    [
        lambda cloud, _: cloud.client("lambda"),
        lambda cloud, rule: permit(cloud, f"{rule}-of-another-name"),
        lambda cloud, rule: (permit(cloud, rule), cloud.client("events").disable_rule(Name="rule")),
    ],
    ids=["without permission", "with another rule's permission", "disabled"],
)
def test_a_schedule_does_not_invoke(cloud: LocalCloud, scheduled: str, change: Any) -> None:
    """*Resource-based policies for EventBridge*, and DisableRule of the API reference."""
    change(cloud, scheduled)
    with pytest.raises(ValueError, match="no enabled schedule may deliver"):
        cloud.fire("probe", NIGHT)
