"""What is said of a stack in whatever state CloudFormation has it."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cli.cloudformation import Stack
from cli.stages import StageError

ID = "arn:aws:cloudformation:eu-west-1:222222222222:stack/s/1"
WHEN = datetime(2026, 1, 4, tzinfo=UTC)
TEMPLATE = {
    "Resources": {
        name: {"Type": "AWS::SSM::Parameter", "Properties": {"Name": f"/{name}"}}
        for name in ("one", "two")
    }
}


class Cloud:
    """CloudFormation, which answers what it is told to, in that order."""

    def __init__(self) -> None:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        self.client = boto3.client("cloudformation", region_name="eu-west-1", **keys)
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.said: list[str] = []
        self.stack = Stack(self.client, "s", self.said.append)

    def answers(self, operation: str, answer: dict[str, Any]) -> None:
        self.stub.add_response(operation, answer)

    def status(self, status: str) -> None:
        described = {"StackName": "s", "StackId": ID, "CreationTime": WHEN, "StackStatus": status}
        self.answers("describe_stacks", {"Stacks": [described]})

    def refuses(self, operation: str, message: str) -> None:
        self.stub.add_client_error(operation, "ValidationError", message)

    def events(self, *events: tuple[str, str, str]) -> None:
        """Events, oldest first."""
        told = [
            {
                "StackId": ID,
                "StackName": "s",
                "EventId": f"{number}",
                "Timestamp": WHEN,
                "LogicalResourceId": name,
                "PhysicalResourceId": ID if name == "s" else f"/{name}",
                "ResourceType": "AWS::SSM::Parameter",
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            }
            for number, (name, status, reason) in enumerate(events)
        ]
        self.answers("describe_stack_events", {"StackEvents": told[::-1]})


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("cli.cloudformation.time.sleep", lambda _: None)
    return Cloud()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            "UPDATE_IN_PROGRESS",
            (
                "the stack s is UPDATE_IN_PROGRESS: wait until that operation has "
                "ended, and run this again"
            ),
        ),
        (
            "UPDATE_ROLLBACK_FAILED",
            (
                "the stack s is UPDATE_ROLLBACK_FAILED and cannot be updated: "
                "aws cloudformation continue-update-rollback --stack-name s, and then run this again"
            ),
        ),
        (
            "DELETE_FAILED",
            (
                "the stack s is DELETE_FAILED and cannot be updated: aws cloudformation "
                "delete-stack --stack-name s, which keeps parameters and topic, and then run this again"
            ),
        ),
    ],
)
def test_a_state_that_takes_no_update_is_told_with_the_way_out(
    cloud: Cloud, status: str, told: str
) -> None:
    cloud.status(status)
    cloud.status(status)
    cloud.answers("get_template", {"TemplateBody": "{}"})
    with pytest.raises(StageError) as caught:
        cloud.stack.deploy(TEMPLATE)
    assert str(caught.value) == told
    cloud.stub.assert_no_pending_responses()


def test_of_many_failures_the_first_is_the_reason(cloud: Cloud) -> None:
    cloud.refuses("describe_stacks", "Stack with id s does not exist")
    cloud.refuses("describe_stacks", "Stack with id s does not exist")
    cloud.answers("create_stack", {"StackId": ID})
    cloud.status("ROLLBACK_COMPLETE")
    cloud.events(
        ("s", "CREATE_IN_PROGRESS", ""),
        ("one", "CREATE_FAILED", "/one already exists"),
        ("two", "CREATE_FAILED", "Resource creation cancelled"),
        ("s", "ROLLBACK_COMPLETE", ""),
    )
    with pytest.raises(StageError) as caught:
        cloud.stack.deploy(TEMPLATE)
    assert str(caught.value) == (
        "the stack s ended as ROLLBACK_COMPLETE: AWS::SSM::Parameter one: /one already exists"
    )
    assert cloud.said == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [("no right to assume the role", "no right to assume the role"), ("", "see its events")],
)
def test_where_no_resource_failed_the_stack_s_own_reason_is_told(
    cloud: Cloud, reason: str, told: str
) -> None:
    for _ in range(2):
        cloud.status("CREATE_COMPLETE")
    cloud.answers("get_template", {"TemplateBody": '{"Resources": {}}'})
    cloud.events(("s", "CREATE_COMPLETE", ""))
    cloud.answers("update_stack", {"StackId": ID})
    cloud.status("UPDATE_ROLLBACK_COMPLETE")
    cloud.events(
        ("s", "CREATE_COMPLETE", ""),
        ("s", "UPDATE_ROLLBACK_IN_PROGRESS", reason),
        ("s", "UPDATE_ROLLBACK_COMPLETE", ""),
    )
    with pytest.raises(StageError) as caught:
        cloud.stack.deploy(TEMPLATE)
    assert str(caught.value) == f"the stack s ended as UPDATE_ROLLBACK_COMPLETE: {told}"


def test_what_could_not_be_deleted_after_an_update_is_told_and_fails_nothing(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.status("CREATE_COMPLETE")
    cloud.answers("get_template", {"TemplateBody": '{"Resources": {}}'})
    cloud.events(("s", "CREATE_COMPLETE", ""))
    cloud.answers("update_stack", {"StackId": ID})
    cloud.status("UPDATE_COMPLETE")
    cloud.events(
        ("s", "CREATE_COMPLETE", ""),
        ("one", "CREATE_COMPLETE", ""),
        ("two", "UPDATE_COMPLETE", ""),
        ("two", "DELETE_FAILED", "it waits to be confirmed"),
    )
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said == [
        "  created    parameter /one",
        "  changed    parameter /two",
        "  note: AWS::SSM::Parameter two: it waits to be confirmed",
    ]


def test_what_takes_long_is_told_to_go_on_and_each_event_is_told_once(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 10))
    monkeypatch.setattr("cli.cloudformation.time.monotonic", lambda: next(seconds))
    for _ in range(2):
        cloud.status("UPDATE_COMPLETE")
    cloud.answers("get_template", {"TemplateBody": '{"Resources": {}}'})
    cloud.events(("s", "CREATE_COMPLETE", ""))
    cloud.answers("update_stack", {"StackId": ID})
    so_far = [("s", "CREATE_COMPLETE", ""), ("one", "CREATE_COMPLETE", "")]
    for _ in range(2):
        cloud.status("UPDATE_IN_PROGRESS")
        cloud.events(*so_far)
    cloud.status("UPDATE_COMPLETE")
    cloud.events(*so_far, ("s", "UPDATE_COMPLETE", ""))
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said[0] == "  created    parameter /one"
    assert cloud.said[1].startswith("  … UPDATE_IN_PROGRESS for ")
    assert cloud.said[-1] == "  unchanged  parameter /two"
    assert len(cloud.said) == 3
    cloud.stub.assert_no_pending_responses()


def test_a_creation_asks_that_a_failed_one_leaves_nothing(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.refuses("describe_stacks", "Stack with id s does not exist")
    wanted = {"StackName": "s", "TemplateBody": ANY, "RetainExceptOnCreate": True}
    cloud.stub.add_response("create_stack", {"StackId": ID}, wanted)
    cloud.status("CREATE_COMPLETE")
    cloud.events(("one", "CREATE_COMPLETE", ""), ("two", "CREATE_COMPLETE", ""))
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said == ["  created    parameter /one", "  created    parameter /two"]
