"""Stacks, held to CloudFormation's user guide and the schemas of the resource types.

What the reference template does (replacement, roll-back, a creation that failed, the parameter that is resolved at every
update) is in tests/e2e/test_main_pipeline.py, what `aurora-refresh deploy` makes of stacks, finds and keeps, in
tests/e2e/test_deploy_stage.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from cli.templates import parsed
from localcloud.accounts import REGION
from localcloud.client import LocalCloud, wait_until
from localcloud.resources import KINDS
from tests.localcloud.probe import ECHO, allow, create_function

TEMPLATES = Path(__file__).parents[2] / "infrastructure"


def note(name: str, value: str = "1") -> dict[str, Any]:
    """A stored parameter, the cheapest of resources."""
    properties = {"Name": name, "Type": "String", "Value": value}
    return {"Type": "AWS::SSM::Parameter", "Properties": properties}


def cluster(**properties: Any) -> dict[str, Any]:
    """A cluster that leaves no snapshot."""
    needed = {
        "Engine": "aurora-postgresql",
        "ManageMasterUserPassword": True,
        "MasterUsername": "owner",
    }
    body = {"Type": "AWS::RDS::DBCluster", "DeletionPolicy": "Delete"}
    return body | {"Properties": needed | properties}


def deploy_stack(
    cloud: LocalCloud,
    operation: str,
    resources: dict[str, Any],
    declared: dict[str, Any] | None = None,
    **given: str,
) -> str:
    """Create or update a stack; the status in which it ends."""
    cloud.set_seconds(stack=0)
    template = json.dumps({"Resources": resources, "Parameters": declared or {}})
    getattr(cloud.client("cloudformation"), f"{operation}_stack")(
        StackName="stack",
        TemplateBody=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    return wait_for_stack(cloud)


def wait_for_stack(cloud: LocalCloud, name: str = "stack") -> str:
    def ended() -> str | None:
        (stack,) = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        status = str(stack["StackStatus"])
        return None if status.endswith("_IN_PROGRESS") else status

    return wait_until(ended, "the stack's operation to end")


def events_of(cloud: LocalCloud) -> list[tuple[str, str]]:
    """Return the stack's events, oldest first: of what, and its status."""
    described = cloud.client("cloudformation").describe_stack_events(StackName="stack")
    return [
        (each["LogicalResourceId"], each["ResourceStatus"])
        for each in reversed(described["StackEvents"])
    ]


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


def test_what_is_new_comes_first_and_what_is_old_goes_last(cloud: LocalCloud) -> None:
    """*Update behaviors of stack resources*."""
    resources = {"Modified": note("/modified"), "Replaced": note("/old"), "Removed": note("/gone")}
    deploy_stack(cloud, "create", resources)
    del resources["Removed"]
    resources |= {"Modified": note("/modified", "2"), "Replaced": note("/new"), "Added": note("/a")}

    assert deploy_stack(cloud, "update", resources) == "UPDATE_COMPLETE"

    assert events_of(cloud)[-6:] == [
        ("Modified", "UPDATE_COMPLETE"),
        ("Replaced", "UPDATE_COMPLETE"),
        ("Added", "CREATE_COMPLETE"),
        ("Removed", "DELETE_COMPLETE"),
        ("Replaced", "DELETE_COMPLETE"),
        ("stack", "UPDATE_COMPLETE"),
    ]


@pytest.mark.parametrize(("policies", "snapshots"), [({}, 1), ({"DeletionPolicy": "Delete"}, 0)])
def test_a_removed_cluster_leaves_a_snapshot_unless_its_policy_says_otherwise(
    cloud: LocalCloud, policies: dict[str, str], snapshots: int
) -> None:
    """*DeletionPolicy*: "For resources that don't specify …, the default is Snapshot" of a cluster."""
    rest, rds, removed = {"Rest": note("/rest")}, cloud.client("rds"), cluster()
    del removed["DeletionPolicy"]
    deploy_stack(cloud, "create", rest | {"C": removed | policies})

    assert deploy_stack(cloud, "update", rest) == "UPDATE_COMPLETE"

    assert rds.describe_db_clusters()["DBClusters"] == []
    kept = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert len(kept) == snapshots


def test_what_cannot_be_deleted_stays_in_a_stack_whose_deletion_failed(cloud: LocalCloud) -> None:
    """*Stack status codes*: DELETE_FAILED, "one or more resources"; it can be deleted again."""
    cloudformation, rds = cloud.client("cloudformation"), cloud.client("rds")
    protected = cluster(DBClusterIdentifier="protected", DeletionProtection=True)
    deploy_stack(cloud, "create", {"Rest": note("/rest"), "C": protected})
    (stack,) = cloudformation.describe_stacks(StackName="stack")["Stacks"]

    cloudformation.delete_stack(StackName="stack")

    assert wait_for_stack(cloud) == "DELETE_FAILED"
    remaining = cloudformation.describe_stack_resources(StackName="stack")["StackResources"]
    assert [each["LogicalResourceId"] for each in remaining] == ["C"]
    with pytest.raises(ClientError, match="is in DELETE_FAILED state and can not be updated"):
        deploy_stack(cloud, "update", {"Rest": note("/other")})
    rds.modify_db_cluster(DBClusterIdentifier="protected", DeletionProtection=False)
    cloudformation.delete_stack(StackName="stack")
    assert wait_for_stack(cloud, stack["StackId"]) == "DELETE_COMPLETE"
    assert rds.describe_db_clusters()["DBClusters"] == []


def test_a_roll_back_fails_if_what_it_created_cannot_be_deleted(cloud: LocalCloud) -> None:
    """*Stack status codes*: ROLLBACK_FAILED."""
    refused = note("/refused", "{{resolve:ssm:/none}}") | {"DependsOn": "C"}
    resources = {"C": cluster(DeletionProtection=True), "N": refused}
    assert deploy_stack(cloud, "create", resources) == "ROLLBACK_FAILED"


def test_what_is_there_already_is_not_taken_over(cloud: LocalCloud) -> None:
    """The handlers' test contract, CloudFormation CLI User Guide: create handlers return AlreadyExists."""
    cloud.client("sns").create_topic(Name="taken")
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "taken"}}
    assert deploy_stack(cloud, "create", {"T": topic}) == "ROLLBACK_COMPLETE"
    assert len(cloud.client("sns").list_topics()["Topics"]) == 1


def test_a_role_goes_with_its_policies_and_a_policy_is_detached_first(cloud: LocalCloud) -> None:
    """The handlers of both types in aws-cloudformation-resource-providers-iam."""
    document = json.loads(allow("sns:Publish", "*"))
    role = {
        "AssumeRolePolicyDocument": {},
        "Policies": [{"PolicyName": "inline", "PolicyDocument": document}],
    }
    policy = {"PolicyDocument": document, "Roles": [{"Ref": "Role"}]}
    resources = {
        "Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": policy},
        "Role": {"Type": "AWS::IAM::Role", "Properties": role},
    }
    deploy_stack(cloud, "create", {"Rest": note("/rest"), **resources})

    deploy_stack(cloud, "update", {"Rest": note("/rest")})

    iam = cloud.client("iam")
    assert iam.list_roles()["Roles"] == []
    assert iam.list_policies(Scope="Local")["Policies"] == []


def test_parameters_that_the_template_does_not_declare_are_refused(cloud: LocalCloud) -> None:
    """Reported: deep-security/cloudformation #29."""
    declared = {"Known": {"Type": "String"}}
    with pytest.raises(ClientError, match=r"Parameters: \[Unknown\] do not exist in the template"):
        deploy_stack(cloud, "create", {"N": note("/n")}, declared, Known="1", Unknown="2")


def test_a_previous_value_is_that_of_the_last_update_that_succeeded(cloud: LocalCloud) -> None:
    """UsePreviousValue: "the existing parameter value", which a roll-back has put back."""
    declared = {"Name": {"Type": "String"}}
    resources = {"N": note("/n", "{{resolve:ssm:/source}}")}
    resources["N"]["Properties"]["Description"] = {"Ref": "Name"}
    ssm, cloudformation = cloud.client("ssm"), cloud.client("cloudformation")
    ssm.put_parameter(Name="/source", Type="String", Value="1")
    deploy_stack(cloud, "create", resources, declared, Name="good")
    ssm.delete_parameter(Name="/source")

    assert deploy_stack(cloud, "update", resources, declared, Name="bad").startswith("UPDATE_ROLL")

    (stack,) = cloudformation.describe_stacks(StackName="stack")["Stacks"]
    assert stack["Parameters"] == [{"ParameterKey": "Name", "ParameterValue": "good"}]


@pytest.mark.parametrize("depends_on", ["First", ["First"]])
def test_a_resource_comes_after_what_it_depends_on(cloud: LocalCloud, depends_on: Any) -> None:
    """*DependsOn attribute*: "a single string or a list of strings"."""
    deploy_stack(
        cloud, "create", {"A": note("/a") | {"DependsOn": depends_on}, "First": note("/first")}
    )
    assert [name for name, _ in events_of(cloud) if name != "stack"] == ["First", "A"]


def test_a_dynamic_reference_is_resolved_only_with_its_resources_own_change(
    cloud: LocalCloud,
) -> None:
    """cloudformation-coverage-roadmap #844."""
    ssm, stored = cloud.client("ssm"), {"Name": "/source", "Type": "String", "Overwrite": True}
    ssm.put_parameter(**stored, Value="1")
    resources = {"Note": note("/note", "{{resolve:ssm:/source}}")}
    deploy_stack(cloud, "create", resources)
    ssm.put_parameter(**stored, Value="2")

    with pytest.raises(ClientError, match=r"No updates are to be performed\."):
        deploy_stack(cloud, "update", resources)
    resources["Note"]["Properties"]["Description"] = "changed"
    deploy_stack(cloud, "update", resources)

    assert ssm.get_parameter(Name="/note")["Parameter"]["Value"] == "2"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_function_s_own_role_must_be_allowed_to_publish_its_failures(
    cloud: LocalCloud, allowed: bool
) -> None:
    """*Adding a destination*, Lambda Developer Guide: the execution role needs ``sns:Publish``."""
    create_function(cloud, ECHO)
    topic = cloud.client("sns").create_topic(Name="people")["TopicArn"]
    action = "sns:Publish" if allowed else "sns:GetTopicAttributes"
    cloud.client("iam").put_role_policy(
        RoleName="probe-role", PolicyName="publish", PolicyDocument=allow(action, topic)
    )
    properties = {
        "FunctionName": "probe",
        "Qualifier": "$LATEST",
        "DestinationConfig": {"OnFailure": {"Destination": topic}},
    }
    resources = {"A": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": properties}}
    ended = deploy_stack(cloud, "create", resources)
    assert ended == ("CREATE_COMPLETE" if allowed else "ROLLBACK_COMPLETE")
