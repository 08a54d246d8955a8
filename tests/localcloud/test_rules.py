"""Compared with the EventBridge User Guide: scheduled events, services' events, who may be invoked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud.client import LocalCloud

NIGHT = datetime(2026, 1, 4, 4, tzinfo=UTC)
ECHO = "def handler(event, context): return event"
FAILED_RUN = {
    "source": "aws.codepipeline",
    "detail-type": "CodePipeline Pipeline Execution State Change",
    "detail": {"pipeline": "main", "state": "FAILED"},
}

Target = Callable[..., str]


@pytest.fixture
def target(cloud: LocalCloud, deploy: Callable[..., str]) -> Target:
    """Deploy ``source`` as the target of a rule; returns the rule's ARN."""

    def make(source: str = ECHO, *, permitted: bool = True, **rule: Any) -> str:
        function = deploy(source)
        events = cloud.client("events")
        arn: str = events.put_rule(Name="rule", **rule)["RuleArn"]
        events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])
        if permitted:
            cloud.client("lambda").add_permission(
                FunctionName="probe",
                StatementId="rule",
                Action="lambda:InvokeFunction",
                Principal="events.amazonaws.com",
                SourceArn=arn,
            )
        return arn

    return make


def test_a_schedule_delivers_the_documented_event(cloud: LocalCloud, target: Target) -> None:
    arn = target(ScheduleExpression="cron(0 4 ? * SUN *)")
    [record] = cloud.fire("probe", NIGHT, event_id="89d1a02d-5ec7-412e-82f5-13505f849b41")
    assert record["payload"] == {
        "version": "0",
        "id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "222222222222",
        "time": "2026-01-04T04:00:00Z",
        "region": "eu-west-1",
        "resources": [arn],
        "detail": {},
    }


def test_a_schedule_fires_in_its_own_account_only(cloud: LocalCloud, target: Target) -> None:
    target(ScheduleExpression="cron(0 4 ? * SUN *)")
    with pytest.raises(
        ValueError, match="no enabled schedule may deliver to a function or queue named probe"
    ):
        cloud.fire("probe", NIGHT, account="111111111111")


def test_fire_waits_for_every_attempt(cloud: LocalCloud, target: Target) -> None:
    target("def handler(event, context): 1 / 0", ScheduleExpression="rate(7 days)")
    cloud.set_retries([0.1, 0.1])
    records = cloud.fire("probe", NIGHT)
    assert [(record["attempt"], record["status"]) for record in records] == [
        (1, "failed"),
        (2, "failed"),
        (3, "failed"),
    ]


def test_a_disabled_schedule_does_not_fire(cloud: LocalCloud, target: Target) -> None:
    target(ScheduleExpression="rate(7 days)")
    cloud.client("events").disable_rule(Name="rule")
    with pytest.raises(ValueError, match="no enabled schedule"):
        cloud.fire("probe", NIGHT)


def test_a_rule_that_may_not_invoke_does_not(cloud: LocalCloud, target: Target) -> None:
    target(permitted=False, ScheduleExpression="rate(7 days)")
    with pytest.raises(ValueError, match="no enabled schedule may deliver"):
        cloud.fire("probe", NIGHT)


def test_the_permission_is_for_that_rule_only(cloud: LocalCloud, target: Target) -> None:
    arn = target(permitted=False, ScheduleExpression="rate(7 days)")
    cloud.client("lambda").add_permission(
        FunctionName="probe",
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=arn + "-of-another-name",
    )
    with pytest.raises(ValueError, match="no enabled schedule may deliver"):
        cloud.fire("probe", NIGHT)


def test_a_schedule_reaches_a_queue_that_lets_it(cloud: LocalCloud) -> None:
    sqs, events = cloud.client("sqs"), cloud.client("events")
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    send["Principal"] = {"Service": "events.amazonaws.com"}
    policies = {"open": json.dumps({"Statement": [send]}), "closed": ""}
    queues = {
        name: sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
        for name, policy in policies.items()
    }
    events.put_rule(Name="rule", ScheduleExpression="cron(0 4 ? * SUN *)")
    arn = "arn:aws:sqs:eu-west-1:222222222222:"
    events.put_targets(Rule="rule", Targets=[{"Id": name, "Arn": arn + name} for name in queues])

    cloud.fire("open", NIGHT)
    with pytest.raises(ValueError, match="no enabled schedule may deliver"):
        cloud.fire("closed", NIGHT)

    (received,) = sqs.receive_message(QueueUrl=queues["open"])["Messages"]
    assert json.loads(received["Body"])["time"] == "2026-01-04T04:00:00Z"
    assert "Messages" not in sqs.receive_message(QueueUrl=queues["closed"])
