"""Compared with the EventBridge User Guide: scheduled events, and who may be invoked."""

from datetime import UTC, datetime

import pytest

from localcloud.client import LocalCloud
from tests.localcloud.probe import create_function

NIGHT = datetime(2026, 1, 4, 4, tzinfo=UTC)
REFUSED = "no enabled schedule may deliver"


def test_an_enabled_schedule_delivers_the_documented_event_if_the_function_permits_it(
    cloud: LocalCloud,
) -> None:
    """*Creating a rule that runs on a schedule*; *Resource-based policies for EventBridge*."""
    function = create_function(cloud, "def handler(event, context): return event")
    events = cloud.client("events")
    rule = events.put_rule(Name="rule", ScheduleExpression="rate(7 days)")["RuleArn"]
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])

    def permit(source: str) -> None:
        cloud.client("lambda").add_permission(
            FunctionName="probe",
            StatementId=source.rpartition("/")[2],
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=source,
        )

    permit(f"{rule}-of-another-name")
    with pytest.raises(ValueError, match=REFUSED):
        cloud.fire("probe", NIGHT)
    permit(rule)
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
        "resources": [rule],
        "detail": {},
    }
    events.disable_rule(Name="rule")
    with pytest.raises(ValueError, match=REFUSED):
        cloud.fire("probe", NIGHT)
