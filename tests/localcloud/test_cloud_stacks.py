"""Stacks through CloudFormation's API, held to its reference, its user guide and the types' schemas."""

import json
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from localcloud.accounts import REGION
from localcloud.client import LocalCloud
from localcloud.stacks import ADDED

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
NAME = "stack"
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "people"}}
TOPIC_ARN = "arn:aws:sns:eu-west-1:222222222222:people"


def note(name: str, value: str = "1", **more: Any) -> dict[str, Any]:
    properties = {"Name": name, "Type": "String", "Value": value}
    return {"Type": "AWS::SSM::Parameter", "Properties": properties, **more}


def alarm(name: str, **properties: Any) -> dict[str, Any]:
    settled = {
        "AlarmName": name,
        "Namespace": "AWS/Lambda",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "FunctionName", "Value": "probe"}],
        "Statistic": "Sum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    }
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": settled | properties}


class Stacks:
    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = client(cloud, "cloudformation")

    def create(self, resources: dict[str, Any], **more: Any) -> str:
        """Create the stack; the status in which it ends."""
        self.api.create_stack(StackName=NAME, **_template(resources), **more)
        return self.settled()

    def update(self, resources: dict[str, Any], **more: Any) -> str:
        self.api.update_stack(StackName=NAME, **_template(resources), **more)
        return self.settled()

    def delete(self) -> None:
        self.api.delete_stack(StackName=NAME)
        self.api.get_waiter("stack_delete_complete").wait(
            StackName=NAME, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
        )

    def status(self) -> str:
        (stack,) = self.api.describe_stacks(StackName=NAME)["Stacks"]
        status: str = stack["StackStatus"]
        return status

    def settled(self) -> str:
        while (status := self.status()).endswith("_IN_PROGRESS"):
            pass
        return status

    def events(self) -> list[tuple[str, str, str]]:
        """What became of which resource, and why, oldest first."""
        found = self.api.describe_stack_events(StackName=NAME)["StackEvents"]
        return [
            (
                each["LogicalResourceId"],
                each["ResourceStatus"],
                each.get("ResourceStatusReason", ""),
            )
            for each in reversed(found)
        ]

    def notes(self) -> dict[str, str]:
        found = client(self.cloud, "ssm").get_parameters_by_path(Path="/note")["Parameters"]
        return {each["Name"]: each["Value"] for each in found}

    def refusal(self, operation: str, resources: dict[str, Any]) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            getattr(self.api, operation)(StackName=NAME, **_template(resources))
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]


def _template(resources: dict[str, Any]) -> dict[str, str]:
    return {"TemplateBody": json.dumps({"Resources": resources})}


@pytest.fixture
def stacks(cloud: LocalCloud) -> Stacks:
    return Stacks(cloud)


# --- stacks ---------------------------------------------------------------------------------------


def test_resources_are_listed_in_pages_with_their_own_status(stacks: Stacks) -> None:
    """The API reference of ListStackResources, which pages; DescribeStackResources has 100 at most."""
    resources = {f"N{number}": note(f"/many/{number}") for number in range(101)}
    stacks.create(resources)
    stacks.update(resources | {"N7": note("/many/7", "2")})

    pages = list(stacks.api.get_paginator("list_stack_resources").paginate(StackName=NAME))

    listed = [each for page in pages for each in page["StackResourceSummaries"]]
    assert [len(page["StackResourceSummaries"]) for page in pages] == [100, 1]
    assert {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed} == {
        name: resource["Properties"]["Name"] for name, resource in resources.items()
    }
    updated = [e["LogicalResourceId"] for e in listed if e["ResourceStatus"] == "UPDATE_COMPLETE"]
    assert (updated, {each["ResourceStatus"] for each in listed}) == (
        ["N7"],
        {"CREATE_COMPLETE", "UPDATE_COMPLETE"},
    )


def test_a_stack_that_is_not_there_is_a_validation_error(stacks: Stacks) -> None:
    for operation in ("describe_stacks", "list_stack_resources"):
        with pytest.raises(ClientError) as caught:
            getattr(stacks.api, operation)(StackName="none")
        error = caught.value.response["Error"]
        expected = ("ValidationError", "Stack with id none does not exist")
        assert (error["Code"], error["Message"]) == expected


def test_an_operation_takes_time_in_which_another_one_is_refused(stacks: Stacks) -> None:
    stacks.cloud.set_stack_seconds(1)
    made = stacks.api.create_stack(StackName=NAME, **_template({"A": note("/note/a")}))
    assert stacks.status() == "CREATE_IN_PROGRESS"
    assert stacks.notes() == {}
    state = f"Stack:{made['StackId']} is in CREATE_IN_PROGRESS state and can not be updated."
    assert stacks.refusal("update_stack", {"B": note("/note/b")}) == ("ValidationError", state)
    exists = ("AlreadyExistsException", f"Stack [{NAME}] already exists")
    assert stacks.refusal("create_stack", {"B": note("/note/b")}) == exists
    assert stacks.settled() == "CREATE_COMPLETE"
    assert stacks.notes() == {"/note/a": "1"}


def test_an_update_that_changes_nothing_is_an_error(stacks: Stacks) -> None:
    stacks.create({"A": note("/note/a")})
    before = stacks.events()
    client(stacks.cloud, "ssm").put_parameter(Name="/note/a", Value="moved", Overwrite=True)
    assert stacks.refusal("update_stack", {"A": note("/note/a")}) == (
        "ValidationError",
        "No updates are to be performed.",
    )
    assert (stacks.events(), stacks.notes()) == (before, {"/note/a": "moved"})


def test_a_template_without_resources_is_refused(stacks: Stacks) -> None:
    assert stacks.refusal("create_stack", {}) == (
        "ValidationError",
        "Template format error: At least one Resources member must be defined.",
    )


@pytest.mark.parametrize(("except_on_create", "left"), [(True, {}), (False, {"/note/kept": "1"})])
def test_a_failed_creation_can_only_be_deleted_and_tells_what_failed(
    stacks: Stacks, except_on_create: bool, left: dict[str, str]
) -> None:
    client(stacks.cloud, "ssm").put_parameter(Name="/taken", Value="before", Type="String")
    resources = {
        "Gone": note("/note/gone"),
        "Kept": note("/note/kept", DeletionPolicy="Retain"),
        "Taken": note("/taken"),
    }
    assert stacks.create(resources, RetainExceptOnCreate=except_on_create) == "ROLLBACK_COMPLETE"
    assert stacks.notes() == left
    (failed,) = [each for each in stacks.events() if each[1] == "CREATE_FAILED"]
    assert failed[0] == "Taken"
    assert "already exists" in failed[2]
    assert "is in ROLLBACK_COMPLETE state" in stacks.refusal("update_stack", resources)[1]
    stacks.delete()
    assert stacks.refusal("update_stack", resources) == (
        "ValidationError",
        f"Stack with id {NAME} does not exist",
    )


def test_what_is_to_be_retained_outlives_its_place_in_the_template_and_the_stack(
    stacks: Stacks,
) -> None:
    one, two = (note(f"/note/{name}", DeletionPolicy="Retain") for name in ("one", "two"))
    stacks.create({"One": one, "Two": two, "Other": note("/note/other")})
    assert stacks.update({"Two": two, "Other": note("/note/other")}) == "UPDATE_COMPLETE"
    assert ("One", "DELETE_SKIPPED", "") in stacks.events()
    stacks.delete()
    assert stacks.notes() == {"/note/one": "1", "/note/two": "1"}


def test_a_deleted_stack_is_known_by_its_id_alone(stacks: Stacks) -> None:
    made = stacks.api.create_stack(StackName=NAME, **_template({"A": note("/note/a")}))["StackId"]
    stacks.settled()
    stacks.delete()
    (stack,) = stacks.api.describe_stacks(StackName=made)["Stacks"]
    assert stack["StackStatus"] == "DELETE_COMPLETE"
    events = stacks.api.describe_stack_events(StackName=made)["StackEvents"]
    assert events[0]["ResourceStatus"] == "DELETE_COMPLETE"
    stacks.api.delete_stack(StackName="there-is-none")


def test_change_sets_are_refused(stacks: Stacks) -> None:
    with pytest.raises(ClientError, match="knows no change sets"):
        stacks.api.create_change_set(
            StackName=NAME, ChangeSetName="a", ChangeSetType="CREATE", **_template({"A": note("a")})
        )


# --- resource types -------------------------------------------------------------------------------


@pytest.mark.parametrize("resource_type", ADDED)
def test_what_can_only_be_given_on_creation_is_what_the_types_schema_says(
    resource_type: str,
) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource_type).schema
    names = {each.removeprefix("/properties/") for each in schema.get("createOnlyProperties", [])}
    assert ADDED[resource_type].create_only == names
    perhaps = schema.get("conditionalCreateOnlyProperties", [])
    assert ADDED[resource_type].perhaps_create_only == {
        each.removeprefix("/properties/") for each in perhaps
    }


def test_an_alarm_is_made_changed_and_deleted(stacks: Stacks) -> None:
    cloudwatch = client(stacks.cloud, "cloudwatch")

    def found() -> list[tuple[Any, ...]]:
        return [
            (each["AlarmName"], each.get("Threshold"), each.get("Dimensions"))
            for each in cloudwatch.describe_alarms()["MetricAlarms"]
        ]

    dimensions = [{"Name": "FunctionName", "Value": "probe"}]
    stacks.create({"A": alarm("one")})
    assert found() == [("one", 1.0, dimensions)]
    stacks.update({"A": alarm("one", Threshold=2)})
    assert found() == [("one", 2.0, dimensions)]
    stacks.delete()
    assert found() == []


def test_an_alarm_looks_back_a_week_at_the_most(stacks: Stacks) -> None:
    assert stacks.create({"A": alarm("a", Period=86400, EvaluationPeriods=8)}) == (
        "ROLLBACK_COMPLETE"
    )


def test_a_topic_a_subscription_and_a_dashboard_are_made_and_deleted(stacks: Stacks) -> None:
    sns, cloudwatch = client(stacks.cloud, "sns"), client(stacks.cloud, "cloudwatch")

    def endpoints() -> list[str]:
        found = sns.list_subscriptions_by_topic(TopicArn=TOPIC_ARN)["Subscriptions"]
        return [each["Endpoint"] for each in found]

    def resources(endpoint: str, body: str) -> dict[str, Any]:
        subscription = {"TopicArn": {"Ref": "Topic"}, "Protocol": "email", "Endpoint": endpoint}
        dashboard = {"DashboardName": "board", "DashboardBody": body}
        return {
            "Topic": TOPIC,
            "Email": {"Type": "AWS::SNS::Subscription", "Properties": subscription},
            "Board": {"Type": "AWS::CloudWatch::Dashboard", "Properties": dashboard},
        }

    one, two = ('{"widgets": []}', '{"widgets": [{}]}')
    stacks.create(resources("a@example.com", one))
    assert endpoints() == ["a@example.com"]
    stacks.update(resources("b@example.com", two))
    assert endpoints() == ["b@example.com"]
    assert cloudwatch.get_dashboard(DashboardName="board")["DashboardBody"] == two
    stacks.delete()
    assert sns.list_topics()["Topics"] == []
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []


def test_a_log_group_is_made_changed_and_deleted(stacks: Stacks) -> None:
    logs = client(stacks.cloud, "logs")

    def group(days: int) -> dict[str, Any]:
        properties = {"LogGroupName": "/a", "RetentionInDays": days}
        return {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": properties}}

    def found() -> list[tuple[str, int]]:
        groups = logs.describe_log_groups()["logGroups"]
        return [(each["logGroupName"], each["retentionInDays"]) for each in groups]

    stacks.create(group(90))
    assert found() == [("/a", 90)]
    stacks.update(group(30))
    assert found() == [("/a", 30)]
    stacks.delete()
    assert found() == []


def test_a_parameter_keeps_its_previous_value_where_that_is_asked_for(stacks: Stacks) -> None:
    def template(**more: str) -> str:
        value = {"Ref": "Given"}
        note = {"Name": "/note", "Type": "String", "Value": value, **more}
        return json.dumps(
            {
                "Parameters": {"Given": {"Type": "String", "Default": "none"}},
                "Resources": {"Note": {"Type": "AWS::SSM::Parameter", "Properties": note}},
            }
        )

    def parameters(**given: Any) -> list[dict[str, Any]]:
        return [{"ParameterKey": "Given", **given}]

    stacks.api.create_stack(
        StackName=NAME, TemplateBody=template(), Parameters=parameters(ParameterValue="some")
    )
    stacks.settled()
    stacks.api.update_stack(
        StackName=NAME,
        TemplateBody=template(Description="a note"),
        Parameters=parameters(UsePreviousValue=True),
    )
    assert stacks.settled() == "UPDATE_COMPLETE"
    ssm = client(stacks.cloud, "ssm")
    assert ssm.get_parameter(Name="/note")["Parameter"]["Value"] == "some"


@pytest.mark.parametrize("taken", ["topic", "alarm", "dashboard"])
def test_what_exists_already_is_not_taken_over(stacks: Stacks, taken: str) -> None:
    cloudwatch = client(stacks.cloud, "cloudwatch")
    body = '{"widgets": []}'
    if taken == "topic":
        client(stacks.cloud, "sns").create_topic(Name="people")
        resource: dict[str, Any] = TOPIC
    elif taken == "alarm":
        cloudwatch.put_metric_alarm(**alarm("one")["Properties"])
        resource = alarm("one")
    else:
        cloudwatch.put_dashboard(DashboardName="board", DashboardBody=body)
        properties = {"DashboardName": "board", "DashboardBody": body}
        resource = {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}
    assert stacks.create({"Taken": resource}) == "ROLLBACK_COMPLETE"
    (failed,) = [each for each in stacks.events() if each[1] == "CREATE_FAILED"]
    assert failed[0] == "Taken"
    assert "already exists" in failed[2]


def test_the_settings_of_asynchronous_invocations_are_made_changed_and_deleted(
    stacks: Stacks, deploy: Any
) -> None:
    deploy("def handler(event, context): return event")
    lambdas = client(stacks.cloud, "lambda")

    def settings(age: int, **more: Any) -> dict[str, Any]:
        properties = {
            "FunctionName": "probe",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 2,
            "MaximumEventAgeInSeconds": age,
            **more,
        }
        return {"A": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": properties}}

    def age() -> int:
        found = lambdas.get_function_event_invoke_config(FunctionName="probe")
        told: int = found["MaximumEventAgeInSeconds"]
        return told

    assert stacks.create(settings(60)) == "CREATE_COMPLETE"
    assert age() == 60
    assert stacks.update(settings(120)) == "UPDATE_COMPLETE"
    assert age() == 120

    # Lambda asks whether the function's own role may publish there.
    destination = {"DestinationConfig": {"OnFailure": {"Destination": TOPIC_ARN}}}
    assert stacks.update(settings(180, **destination)) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"does not have permissions to call Publish on {TOPIC_ARN}" in str(stacks.events())
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": TOPIC_ARN}
    client(stacks.cloud, "iam").put_role_policy(
        RoleName="probe-role",
        PolicyName="tell",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    assert stacks.update(settings(180, **destination)) == "UPDATE_COMPLETE"
    assert age() == 180

    stacks.delete()
    with pytest.raises(lambdas.exceptions.ResourceNotFoundException):
        age()
