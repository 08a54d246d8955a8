"""Stacks, held to CloudFormation's API reference, its user guide and the schemas of the resource types.

What the reference template does, roll-backs included, is in tests/e2e/test_main_pipeline.py, what
`aurora-refresh deploy` makes of stacks, and what it finds and keeps, in tests/e2e/test_deploy_stage.py.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from cli.templates import parsed
from localcloud.accounts import REGION
from localcloud.client import LocalCloud
from localcloud.resources import KINDS

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
NAME = "stack"
TEMPLATES = Path(__file__).parents[2] / "infrastructure"


def note(name: str, value: Any = "1", **more: Any) -> dict[str, Any]:
    """A stored parameter, the cheapest of resources."""
    properties = {"Name": name, "Type": "String", "Value": value}
    return {"Type": "AWS::SSM::Parameter", "Properties": properties, **more}


class Stacks:
    """One stack."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.api = client(cloud, "cloudformation")
        self.ssm = client(cloud, "ssm")
        cloud.set_stack_seconds(0)

    def deploy(self, resources: dict[str, Any], operation: str = "update", **more: Any) -> str:
        """Create or update the stack; the status in which it ends."""
        call = getattr(self.api, f"{operation}_stack")
        call(StackName=NAME, TemplateBody=json.dumps({"Resources": resources}), **more)
        while (status := self.stack()["StackStatus"]).endswith("_IN_PROGRESS"):
            pass
        return str(status)

    def create(self, resources: dict[str, Any], **more: Any) -> str:
        return self.deploy(resources, "create", **more)

    def delete(self) -> None:
        self.api.delete_stack(StackName=NAME)
        self.api.get_waiter("stack_delete_complete").wait(
            StackName=NAME, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
        )

    def stack(self) -> dict[str, Any]:
        (stack,) = self.api.describe_stacks(StackName=NAME)["Stacks"]
        return dict(stack)

    def events(self) -> list[tuple[str, str]]:
        """What became of which resource, oldest first."""
        found = self.api.describe_stack_events(StackName=NAME)["StackEvents"]
        return [(each["LogicalResourceId"], each["ResourceStatus"]) for each in reversed(found)]

    def put(self, name: str, value: str) -> None:
        self.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def notes(self) -> dict[str, str]:
        found = self.ssm.get_parameters_by_path(Path="/note")["Parameters"]
        return {each["Name"]: each["Value"] for each in found}


@pytest.fixture
def stacks(cloud: LocalCloud) -> Stacks:
    return Stacks(cloud)


@pytest.mark.parametrize("resource_type", KINDS)
def test_what_can_only_be_given_on_creation_is_what_the_types_schema_says(
    resource_type: str,
) -> None:
    """Of all that it says, what this project's templates give."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource_type).schema
    says = {each.removeprefix("/properties/") for each in schema.get("createOnlyProperties", [])}
    given = {
        name
        for template in TEMPLATES.glob("*.yaml")
        for resource in parsed(template.read_text())["Resources"].values()
        if resource["Type"] == resource_type
        for name in resource["Properties"]
    }
    assert says & given <= KINDS[resource_type].create_only <= says


def test_an_operation_takes_time_in_which_another_one_is_refused(stacks: Stacks) -> None:
    """*Stack status codes*."""
    stacks.cloud.set_stack_seconds(1)
    resources = {"A": note("/note/a")}
    body = {"StackName": NAME, "TemplateBody": json.dumps({"Resources": resources})}
    stacks.api.create_stack(**body)
    assert (stacks.stack()["StackStatus"], stacks.notes()) == ("CREATE_IN_PROGRESS", {})
    with pytest.raises(ClientError, match="CREATE_IN_PROGRESS state and can not be updated"):
        stacks.api.update_stack(**body)


def test_what_changes_is_modified_in_place_or_replaced_and_the_rest_is_left_alone(
    stacks: Stacks,
) -> None:
    """*Update behaviors of stack resources*: what is new comes first, what is old goes last."""
    resources = {
        "Same": note("/note/same"),
        "Modified": note("/note/modified"),
        "Replaced": note("/note/old"),
        "Removed": note("/note/removed"),
    }
    assert stacks.create(resources) == "CREATE_COMPLETE"
    before = len(stacks.events())
    with pytest.raises(ClientError, match=r"No updates are to be performed\."):
        stacks.deploy(resources)
    del resources["Removed"]
    resources |= {
        "Modified": note("/note/modified", "2"),
        "Replaced": note("/note/new"),
        "Added": note("/note/added", {"Ref": "Replaced"}),
    }

    assert stacks.deploy(resources) == "UPDATE_COMPLETE"

    assert stacks.notes() == {
        "/note/same": "1",
        "/note/modified": "2",
        "/note/new": "1",
        "/note/added": "/note/new",
    }
    assert stacks.events()[before:] == [
        (NAME, "UPDATE_IN_PROGRESS"),
        ("Modified", "UPDATE_COMPLETE"),
        ("Replaced", "UPDATE_COMPLETE"),
        ("Added", "CREATE_COMPLETE"),
        ("Removed", "DELETE_COMPLETE"),
        ("Replaced", "DELETE_COMPLETE"),
        (NAME, "UPDATE_COMPLETE"),
    ]


@pytest.mark.parametrize(("except_on_create", "left"), [(True, {}), (False, {"/note/kept": "1"})])
def test_a_failed_creation_can_only_be_deleted(
    stacks: Stacks, except_on_create: bool, left: dict[str, str]
) -> None:
    """*RetainExceptOnCreate*: whether a roll-back deletes what is new in spite of its policy Retain."""
    stacks.put("/taken", "before")
    resources = {
        "Gone": note("/note/gone"),
        "Kept": note("/note/kept", DeletionPolicy="Retain"),
        "Taken": note("/taken"),
    }
    assert stacks.create(resources, RetainExceptOnCreate=except_on_create) == "ROLLBACK_COMPLETE"
    assert stacks.notes() == left
    assert ("Taken", "CREATE_FAILED") in stacks.events()
    with pytest.raises(ClientError, match="is in ROLLBACK_COMPLETE state"):
        stacks.deploy(resources)
    stacks.delete()
    with pytest.raises(ClientError, match=f"Stack with id {NAME} does not exist"):
        stacks.stack()


@pytest.mark.parametrize(("policies", "snapshots"), [({}, 1), ({"DeletionPolicy": "Delete"}, 0)])
def test_a_removed_cluster_leaves_a_snapshot_unless_its_policy_says_otherwise(
    stacks: Stacks, policies: dict[str, str], snapshots: int
) -> None:
    """*DeletionPolicy*: "For resources that don't specify …, the default is Snapshot" of a cluster."""
    empty = {"Engine": "aurora-postgresql", "MasterUsername": "owner"}
    cluster = {"Properties": empty | {"ManageMasterUserPassword": True}, **policies}
    rest, rds = {"Rest": note("/note/rest")}, client(stacks.cloud, "rds")
    stacks.create(rest | {"C": {"Type": "AWS::RDS::DBCluster", **cluster}})

    assert stacks.deploy(rest) == "UPDATE_COMPLETE"

    assert rds.describe_db_clusters()["DBClusters"] == []
    kept = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert len(kept) == snapshots


def test_a_dynamic_reference_is_resolved_only_with_its_resources_own_change(
    stacks: Stacks,
) -> None:
    """cloudformation-coverage-roadmap #844."""
    stacks.put("/source", "1")
    resources = {"Note": note("/note/a", "{{resolve:ssm:/source}}")}
    stacks.create(resources)
    stacks.put("/source", "2")

    with pytest.raises(ClientError, match="No updates"):
        stacks.deploy(resources)
    resources["Note"]["Properties"]["Description"] = "changed"
    stacks.deploy(resources)

    assert stacks.notes() == {"/note/a": "2"}


def test_a_function_s_own_role_must_be_allowed_to_tell_of_a_failure(
    stacks: Stacks, deploy: Any
) -> None:
    """*Adding a destination*, Lambda Developer Guide: the execution role needs ``sns:Publish``."""
    deploy("def handler(event, context): return event")
    topic = client(stacks.cloud, "sns").create_topic(Name="people")["TopicArn"]
    properties = {
        "FunctionName": "probe",
        "Qualifier": "$LATEST",
        "DestinationConfig": {"OnFailure": {"Destination": topic}},
    }
    resources = {"A": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": properties}}
    assert stacks.create(resources) == "ROLLBACK_COMPLETE"
    stacks.delete()
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic}
    client(stacks.cloud, "iam").put_role_policy(
        RoleName="probe-role",
        PolicyName="tell",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    assert stacks.create(resources) == "CREATE_COMPLETE"
