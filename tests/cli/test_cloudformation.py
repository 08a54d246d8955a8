"""What is said of a stack in whatever state CloudFormation has it."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cli import cloudformation
from cli.calls import Calls
from cli.cloudformation import Stack
from cli.stages import StageError

ID = "arn:aws:cloudformation:eu-west-1:222222222222:stack/s/1"
WHEN = datetime(2026, 1, 4, tzinfo=UTC)
RESOURCES: dict[str, dict[str, Any]] = {
    name: {"Type": "AWS::SSM::Parameter", "Properties": {"Name": f"/{name}"}}
    for name in ("one", "two")
}
TEMPLATE = {"Resources": RESOURCES}


class Cloud:
    """CloudFormation, which answers what a test prepares, in that order."""

    def __init__(self) -> None:
        self.calls: Any = Calls(boto3.Session("a", "b"), "eu-west-1")
        self.stub = Stubber(self.calls.client("cloudformation"))
        self.stub.activate()
        self.answers = self.stub.add_response
        self.said: list[str] = []
        self.stack = Stack(self.calls, "s", self.said.append)

    def status(self, status: str) -> None:
        described = {"StackName": "s", "StackId": ID, "CreationTime": WHEN, "StackStatus": status}
        self.answers("describe_stacks", {"Stacks": [described]})

    def refuses(self, operation: str, message: str) -> None:
        self.stub.add_client_error(operation, "ValidationError", message)

    def events(self, *events: tuple[str, str, str]) -> None:
        """Events, oldest first."""
        listed = [
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
        self.answers("describe_stack_events", {"StackEvents": listed[::-1]})


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("cli.cloudformation.time.sleep", lambda _: None)
    return Cloud()


def refusal(cloud: Cloud) -> str:
    with pytest.raises(StageError) as caught:
        cloud.stack.deploy(TEMPLATE)
    cloud.stub.assert_no_pending_responses()
    return str(caught.value)


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        ("UPDATE_IN_PROGRESS", ["wait until that operation has ended"]),
        ("UPDATE_ROLLBACK_FAILED", ["continue-update-rollback", "wait stack-rollback-complete"]),
        ("DELETE_FAILED", ["delete-stack", "wait stack-delete-complete"]),
    ],
)
def test_a_stack_that_cannot_be_updated_is_refused_with_the_way_out(
    cloud: Cloud, status: str, steps: list[str]
) -> None:
    cloud.status(status)
    refused = refusal(cloud)
    assert refused.startswith(f"the stack s is {status}")
    assert " --stack-name s && aws cloudformation ".join(steps) in refused


def updating(cloud: Cloud, *statuses: str) -> None:
    """Let an update of a stack, which has another second resource and a third one, take this course."""
    other = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/two", "Value": "old"}}
    old = {"two": other, "gone": {**other, "Properties": {"Name": "/gone"}}}
    cloud.status("CREATE_COMPLETE")
    cloud.events(("s", "CREATE_COMPLETE", ""))
    cloud.answers("get_template", {"TemplateBody": json.dumps({"Resources": old})})
    cloud.answers("update_stack", {"StackId": ID})
    for status in statuses:
        cloud.status(status)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (
            [
                ("one", "UPDATE_FAILED", "it already exists"),
                ("two", "UPDATE_FAILED", "Resource update cancelled"),
                ("one", "DELETE_FAILED", "it cannot be rolled back either"),
            ],
            "AWS::SSM::Parameter one: it already exists",
        ),
        ([("s", "UPDATE_ROLLBACK_IN_PROGRESS", "no right")], "no right"),
        ([("s", "UPDATE_ROLLBACK_IN_PROGRESS", "")], "see its events"),
    ],
)
def test_a_failure_s_reason_is_that_of_the_first_resource_or_the_stack_s_own(
    cloud: Cloud, events: list[tuple[str, str, str]], reason: str
) -> None:
    updating(cloud, "UPDATE_ROLLBACK_COMPLETE")
    before, after = ("s", "CREATE_COMPLETE", "of before"), ("s", "UPDATE_ROLLBACK_COMPLETE", "")
    cloud.events(before, *events, after)
    assert refusal(cloud) == f"the stack s ended as UPDATE_ROLLBACK_COMPLETE: {reason}"
    assert cloud.said == []


def test_an_update_that_takes_long_reports_progress_and_then_each_outcome(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 10))
    monkeypatch.setattr("cli.cloudformation.time.monotonic", lambda: next(seconds))
    updating(cloud, "UPDATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    cloud.events(
        ("s", "CREATE_COMPLETE", ""), ("gone", "DELETE_FAILED", "it waits to be confirmed")
    )
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said == [
        "  … UPDATE_IN_PROGRESS for 20 s",
        "  note: AWS::SSM::Parameter gone: it waits to be confirmed",
        "  created    parameter /one",
        "  changed    parameter /two",
    ]


def test_an_update_without_changes_leaves_everything_unchanged(cloud: Cloud) -> None:
    cloud.status("CREATE_COMPLETE")
    cloud.events(("s", "CREATE_COMPLETE", ""))
    # A policy alone is no update.
    kept = {name: {**each, "DeletionPolicy": "Retain"} for name, each in RESOURCES.items()}
    cloud.answers("get_template", {"TemplateBody": json.dumps({"Resources": kept})})
    cloud.refuses("update_stack", "No updates are to be performed.")
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said == ["  unchanged  parameter /one", "  unchanged  parameter /two"]


def test_a_creation_deletes_what_a_failed_one_left_and_leaves_nothing(cloud: Cloud) -> None:
    for _ in range(2):
        cloud.status("ROLLBACK_COMPLETE")
    cloud.events(("s", "ROLLBACK_COMPLETE", ""))
    cloud.answers("delete_stack", {})
    cloud.refuses("describe_stacks", "Stack with id s does not exist")
    cloud.events(("s", "ROLLBACK_COMPLETE", ""))
    wanted = {"StackName": "s", "TemplateBody": ANY, "RetainExceptOnCreate": True}
    cloud.stub.add_response("create_stack", {"StackId": ID}, wanted)
    cloud.status("CREATE_COMPLETE")
    cloud.events()
    cloud.stack.deploy(TEMPLATE)
    assert cloud.said == [
        "  s is ROLLBACK_COMPLETE, left by a failed creation: creating it again",
        "  created    parameter /one",
        "  created    parameter /two",
    ]


def test_a_stage_whose_functions_a_package_deployed_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its stack before holds, which says so too if it has parameters."""
    cloud.calls.check = lambda: "me"
    monkeypatch.setattr(cloudformation, "Account", lambda _: cloud.calls)
    stage: Any = SimpleNamespace(name="weekly", account="1", region="eu-west-1")
    cloud.status("CREATE_COMPLETE")
    with pytest.raises(StageError, match="'weekly' was deployed from the templates of"):
        cloudformation.opened(stage, cloud.said.append)
