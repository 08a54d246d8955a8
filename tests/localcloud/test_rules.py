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


def test_a_function_is_found_by_the_end_of_its_name(cloud: LocalCloud, target: Target) -> None:
    target(ScheduleExpression="rate(7 days)")
    [record] = cloud.fire("obe", NIGHT)
    assert record["function"] == "probe"


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


def test_an_event_delivered_twice_runs_twice(cloud: LocalCloud, target: Target) -> None:
    target(ScheduleExpression="rate(7 days)")
    cloud.fire("probe", NIGHT, event_id="same", wait=False)
    assert len(cloud.fire("probe", NIGHT, event_id="same")) == 2


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


@pytest.mark.parametrize(
    ("pattern", "deliveries"),
    [
        ({"source": ["aws.codepipeline"]}, 1),
        ({"source": ["aws.codepipeline"], "detail": {"state": ["FAILED", "STOPPED"]}}, 1),
        ({"source": ["aws.codepipeline"], "detail": {"state": ["SUCCEEDED"]}}, 0),
        ({"source": ["aws.rds"]}, 0),
    ],
)
def test_a_services_event_goes_where_the_pattern_matches(
    cloud: LocalCloud, target: Target, pattern: Any, deliveries: int
) -> None:
    target(EventPattern=json.dumps(pattern))
    event_id = cloud.publish(FAILED_RUN)
    cloud.wait_until_idle()
    records = cloud.invocations("probe")
    assert [record["event_id"] for record in records] == [event_id] * deliveries


def test_an_events_envelope_is_filled_in(cloud: LocalCloud, target: Target) -> None:
    target(EventPattern=json.dumps({"source": ["aws.codepipeline"]}))
    cloud.set_clock(NIGHT)
    event_id = cloud.publish(FAILED_RUN)
    cloud.wait_until_idle()
    [record] = cloud.invocations()
    assert {**record["payload"], "time": record["payload"]["time"][:16]} == {
        **FAILED_RUN,
        "version": "0",
        "id": event_id,
        "account": "222222222222",
        "time": "2026-01-04T04:00",
        "region": "eu-west-1",
        "resources": [],
    }


def test_a_schedule_does_not_fire_for_a_services_event(cloud: LocalCloud, target: Target) -> None:
    target(ScheduleExpression="rate(7 days)")
    cloud.publish(FAILED_RUN)
    cloud.wait_until_idle()
    assert cloud.invocations() == []


def test_put_events_reaches_functions_and_the_queues_that_let_it(
    cloud: LocalCloud, target: Target
) -> None:
    target(EventPattern=json.dumps({"source": ["company.refresh"]}))
    sqs, events = cloud.client("sqs"), cloud.client("events")
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    send["Principal"] = {"Service": "events.amazonaws.com"}
    policies = {"open": json.dumps({"Statement": [send]}), "closed": ""}
    queues = {
        name: sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
        for name, policy in policies.items()
    }
    arn = "arn:aws:sqs:eu-west-1:222222222222:"
    events.put_targets(Rule="rule", Targets=[{"Id": name, "Arn": arn + name} for name in queues])
    cloud.set_clock(NIGHT)

    entry = {"Source": "company.refresh", "DetailType": "Test", "Detail": '{"a": 1}'}
    answer = events.put_events(Entries=[entry, entry | {"Source": "other"}])
    cloud.wait_until_idle()

    assert answer["FailedEntryCount"] == 0
    [record] = cloud.invocations("probe")
    assert {**record["payload"], "time": record["payload"]["time"][:16]} == {
        "version": "0",
        "id": answer["Entries"][0]["EventId"],
        "detail-type": "Test",
        "source": "company.refresh",
        "account": "222222222222",
        "time": "2026-01-04T04:00",
        "region": "eu-west-1",
        "resources": [],
        "detail": {"a": 1},
    }
    received = sqs.receive_message(QueueUrl=queues["open"], MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(each["Body"]) for each in received] == [record["payload"]]
    assert "Messages" not in sqs.receive_message(QueueUrl=queues["closed"])


def test_put_events_does_not_fire_schedules_or_disabled_rules(
    cloud: LocalCloud, target: Target
) -> None:
    target(ScheduleExpression="rate(7 days)")
    events = cloud.client("events")
    function = cloud.client("lambda").get_function_configuration(FunctionName="probe")
    events.put_rule(Name="off", EventPattern='{"source": ["company"]}', State="DISABLED")
    events.put_targets(Rule="off", Targets=[{"Id": "1", "Arn": function["FunctionArn"]}])

    events.put_events(Entries=[{"Source": "company", "DetailType": "Test", "Detail": "{}"}])
    cloud.wait_until_idle()

    assert cloud.invocations() == []
