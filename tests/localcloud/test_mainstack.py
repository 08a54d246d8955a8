"""The main pipeline's stack, held to the schemas of the resource types and CloudFormation's user guide.

What the reference template and its wrong variants do is in tests/e2e/test_main_pipeline.py.
"""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.mainstack import KINDS

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
NAME = "main"
EMPTY_CLUSTER = {
    "Engine": "aurora-postgresql",
    "EngineVersion": "15.4",
    "MasterUsername": "owner",
    "ManageMasterUserPassword": True,
}


def note(value: Any, **more: Any) -> dict[str, Any]:
    """A stored parameter, the cheapest of resources."""
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}, **more}


def named(name: str, value: Any, **more: Any) -> dict[str, Any]:
    resource = note(value, **more)
    resource["Properties"]["Name"] = name
    return resource


def cluster(**properties: Any) -> dict[str, Any]:
    return {"Type": "AWS::RDS::DBCluster", "Properties": EMPTY_CLUSTER | properties}


class Pipeline:
    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        cloud.create_pipeline(NAME, 0, [])

    def deploy(
        self,
        resources: dict[str, Any],
        parameters: dict[str, str] | None = None,
        **sections: Any,
    ) -> tuple[str, str | None]:
        """Run it on a template; the run's status, and why."""
        template = json.dumps({"Resources": resources, **sections})
        self.cloud.patch_pipeline(NAME, template=template, parameters=parameters or {})
        codepipeline = client(self.cloud, "codepipeline")
        run = codepipeline.start_pipeline_execution(name=NAME)["pipelineExecutionId"]
        status = self.cloud.wait_for_run(run, NAME)
        answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
        return status, answer["pipelineExecution"].get("statusSummary")

    def stack(self) -> dict[str, Any]:
        (found,) = client(self.cloud, "cloudformation").describe_stacks(StackName=NAME)["Stacks"]
        stack: dict[str, Any] = found
        return stack

    def events(self, stack: str = NAME) -> list[tuple[str, str]]:
        """What became of what, oldest first."""
        answer = client(self.cloud, "cloudformation").describe_stack_events(StackName=stack)
        return [
            (event["LogicalResourceId"], event["ResourceStatus"])
            for event in reversed(answer["StackEvents"])
        ]

    def notes(self) -> dict[str, str]:
        """What Parameter Store holds under the names that the tests give."""
        answer = client(self.cloud, "ssm").get_parameters_by_path(Path="/note")
        return {each["Name"]: each["Value"] for each in answer["Parameters"]}

    def clusters(self) -> list[str]:
        answer = client(self.cloud, "rds").describe_db_clusters()
        return [each["DBClusterIdentifier"] for each in answer["DBClusters"]]

    def put(self, name: str, value: str) -> None:
        ssm = client(self.cloud, "ssm")
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


@pytest.fixture
def pipeline(cloud: LocalCloud) -> Pipeline:
    return Pipeline(cloud)


@pytest.mark.parametrize("resource_type", KINDS)
def test_what_can_only_be_given_on_creation_is_what_the_types_schema_says(
    resource_type: str,
) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource_type).schema
    kind = KINDS[resource_type]

    def names(key: str) -> set[str]:
        return {pointer.removeprefix("/properties/") for pointer in schema.get(key, [])}

    assert kind.create_only == names("createOnlyProperties")
    assert kind.perhaps_create_only == names("conditionalCreateOnlyProperties")


def test_what_changes_is_modified_in_place_or_replaced_and_the_rest_is_left_alone(
    pipeline: Pipeline,
) -> None:
    resources = {
        "Same": named("/note/same", "1"),
        "Modified": named("/note/modified", "1"),
        "Replaced": named("/note/old", "1"),
        "Removed": named("/note/removed", "1"),
    }
    assert pipeline.deploy(resources) == ("Succeeded", None)
    del resources["Removed"]
    resources |= {
        "Modified": named("/note/modified", "2"),
        "Replaced": named("/note/new", "1"),
        "Added": named("/note/added", {"Ref": "Replaced"}),
    }
    before = len(pipeline.events())

    assert pipeline.deploy(resources) == ("Succeeded", None)

    assert pipeline.notes() == {
        "/note/same": "1",
        "/note/modified": "2",
        "/note/new": "1",
        "/note/added": "/note/new",
    }
    assert pipeline.events()[before:] == [
        (NAME, "UPDATE_IN_PROGRESS"),
        ("Modified", "UPDATE_COMPLETE"),
        ("Replaced", "UPDATE_COMPLETE"),
        ("Added", "CREATE_COMPLETE"),
        ("Removed", "DELETE_COMPLETE"),
        ("Replaced", "DELETE_COMPLETE"),
        (NAME, "UPDATE_COMPLETE"),
    ]


def test_a_failed_update_undoes_what_it_created_and_modified(pipeline: Pipeline) -> None:
    good = {"First": named("/note/first", "1"), "Old": named("/note/old", "1")}
    pipeline.deploy(good)
    pipeline.put("/note/taken", "by somebody else")
    before = pipeline.notes()

    status, why = pipeline.deploy(
        {
            "First": named("/note/first", "2"),
            "Old": named("/note/new", "1"),
            "Taken": named("/note/taken", "mine"),
        }
    )

    assert status == "Failed"
    assert "already exists" in str(why)
    assert pipeline.notes() == before
    assert pipeline.stack()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert pipeline.deploy(good | {"Third": named("/note/third", "3")}) == ("Succeeded", None)


def test_a_run_that_changes_nothing_does_not_touch_the_stack(pipeline: Pipeline) -> None:
    pipeline.deploy({"First": named("/note/first", "1")})
    before = pipeline.events()

    assert pipeline.deploy({"First": named("/note/first", "1")}) == ("Succeeded", None)
    assert pipeline.events() == before


def test_a_stored_parameter_is_resolved_at_every_update_and_shown_beside_its_name(
    pipeline: Pipeline,
) -> None:
    parameters = {
        "Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/source"},
        "Words": {"Type": "AWS::SSM::Parameter::Value<List<String>>", "Default": "/words"},
    }
    resources = {
        "Copy": named("/note/copy", {"Ref": "Stored"}),
        "Joined": named("/note/joined", {"Fn::Join": ["+", {"Ref": "Words"}]}),
    }
    pipeline.put("/source", "1")
    pipeline.put("/words", "a,b")
    pipeline.deploy(resources, Parameters=parameters)
    pipeline.put("/source", "2")

    assert pipeline.deploy(resources, Parameters=parameters) == ("Succeeded", None)

    assert pipeline.notes() == {"/note/copy": "2", "/note/joined": "a+b"}
    assert pipeline.stack()["Parameters"] == [
        {"ParameterKey": "Stored", "ParameterValue": "/source", "ResolvedValue": "2"},
        {"ParameterKey": "Words", "ParameterValue": "/words", "ResolvedValue": "a,b"},
    ]


def test_a_dynamic_reference_is_resolved_only_with_its_resources_own_change(
    pipeline: Pipeline,
) -> None:
    pipeline.put("/source", "1")
    pipeline.put("/source", "2")
    resources = {
        "Newest": named("/note/newest", "{{resolve:ssm:/source}}"),
        "Pinned": named("/note/pinned", "it is {{resolve:ssm:/source:1}}"),
    }
    pipeline.deploy(resources)
    pipeline.put("/source", "3")

    pipeline.deploy(resources)
    assert pipeline.notes() == {"/note/newest": "2", "/note/pinned": "it is 1"}
    resources["Newest"]["Properties"]["Description"] = "changed"
    pipeline.deploy(resources)
    assert pipeline.notes() == {"/note/newest": "3", "/note/pinned": "it is 1"}


@pytest.mark.parametrize(
    ("resources", "more", "why"),
    [
        ({"Disk": {"Type": "AWS::EC2::Volume"}}, {}, "knows no AWS::EC2::Volume"),
        ({"A": note("{{resolve:secretsmanager:x}}")}, {}, "resolves no secretsmanager"),
        ({"A": note({"Fn::GetAtt": ["B", "Arn"]}), "B": note("1")}, {}, "Attribute Arn"),
        ({"A": note("1")}, {"Parameters": {"P": {"Type": "String"}}}, "[P] must have values"),
        ({"A": note("1")}, {"parameters": {"P": "1"}}, "[P] do not exist in the template"),
        (
            {"A": note("1")},
            {
                "Parameters": {
                    "P": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/none"}
                }
            },
            "Unable to fetch parameters [/none]",
        ),
        ({"C": {"Type": "AWS::RDS::DBCluster", "Properties": {}}}, {}, "MasterUser"),
    ],
)
def test_what_is_not_known_is_an_error(
    pipeline: Pipeline, resources: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    status, told = pipeline.deploy(resources, **more)

    assert status == "Failed"
    assert why in str(told)
    assert pipeline.clusters() == []


def test_a_change_that_may_replace_or_not_is_refused(pipeline: Pipeline) -> None:
    pipeline.deploy({"C": cluster()})
    before = pipeline.clusters()

    status, why = pipeline.deploy({"C": cluster(MasterUsername="other")})

    assert status == "Failed"
    assert "MasterUsername" in str(why)
    assert pipeline.clusters() == before


def test_a_condition_that_does_not_hold_leaves_its_resource_out(pipeline: Pipeline) -> None:
    conditions = {"Big": {"Fn::Equals": [{"Ref": "Size"}, "big"]}}
    parameters = {"Size": {"Type": "String"}}
    resources = {
        "Always": named("/note/always", {"Fn::If": ["Big", "big", "small"]}),
        "Sometimes": named("/note/sometimes", "1", Condition="Big"),
    }
    sections = {"Conditions": conditions, "Parameters": parameters}

    pipeline.deploy(resources, {"Size": "big"}, **sections)
    assert pipeline.notes() == {"/note/always": "big", "/note/sometimes": "1"}
    pipeline.deploy(resources, {"Size": "small"}, **sections)
    assert pipeline.notes() == {"/note/always": "small"}


def test_what_a_resource_depends_on_comes_first_and_goes_last(pipeline: Pipeline) -> None:
    pipeline.deploy(
        {"Later": named("/note/later", "1", DependsOn="Sooner"), "Sooner": note("1")},
    )
    cloudformation = client(pipeline.cloud, "cloudformation")
    stack = pipeline.stack()["StackId"]

    cloudformation.delete_stack(StackName=NAME)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
    )

    (summary,) = cloudformation.list_stacks()["StackSummaries"]
    assert (summary["StackName"], summary["StackStatus"]) == (NAME, "DELETE_COMPLETE")
    assert pipeline.events(stack) == [
        (NAME, "CREATE_IN_PROGRESS"),
        ("Sooner", "CREATE_COMPLETE"),
        ("Later", "CREATE_COMPLETE"),
        (NAME, "CREATE_COMPLETE"),
        (NAME, "DELETE_IN_PROGRESS"),
        ("Later", "DELETE_COMPLETE"),
        ("Sooner", "DELETE_COMPLETE"),
        (NAME, "DELETE_COMPLETE"),
    ]
    assert pipeline.notes() == {}


@pytest.mark.parametrize(
    ("policies", "kept", "snapshots"),
    [
        ({}, 0, 1),
        ({"DeletionPolicy": "Delete"}, 0, 0),
        ({"DeletionPolicy": "Retain"}, 1, 0),
        ({"UpdateReplacePolicy": "Delete"}, 0, 1),
    ],
)
def test_a_removed_cluster_goes_as_its_deletion_policy_says(
    pipeline: Pipeline, policies: dict[str, str], kept: int, snapshots: int
) -> None:
    """A cluster's default is Snapshot: DeletionPolicy, the user guide's note."""
    rest = {"Rest": note("1")}
    pipeline.deploy(rest | {"C": cluster() | policies})

    assert pipeline.deploy(rest) == ("Succeeded", None)

    own = client(pipeline.cloud, "rds").describe_db_cluster_snapshots(SnapshotType="manual")
    assert (len(pipeline.clusters()), len(own["DBClusterSnapshots"])) == (kept, snapshots)


def test_a_password_that_is_managed_later_is_managed_in_place(pipeline: Pipeline) -> None:
    by_hand = {key: value for key, value in EMPTY_CLUSTER.items() if not key.startswith("Manage")}
    resources = {
        "C": {
            "Type": "AWS::RDS::DBCluster",
            "Properties": by_hand | {"MasterUserPassword": "no-secret-at-all"},
        }
    }
    pipeline.deploy(resources)
    before = pipeline.clusters()

    secret = {"Secret": {"Value": {"Fn::GetAtt": "C.MasterUserSecret.SecretArn"}}}
    assert pipeline.deploy({"C": cluster()}, Outputs=secret) == ("Succeeded", None)

    (output,) = pipeline.stack()["Outputs"]
    assert output["OutputValue"].startswith("arn:aws:secretsmanager:")
    assert pipeline.clusters() == before


def test_a_cluster_does_not_take_anothers_name(pipeline: Pipeline) -> None:
    one = cluster(DBClusterIdentifier="Orders")
    assert pipeline.deploy({"C": one}) == ("Succeeded", None)

    status, why = pipeline.deploy({"C": one, "D": one})

    assert (status, why) == ("Failed", "DB Cluster already exists: orders")
    assert pipeline.clusters() == ["orders"]


def test_a_stack_that_no_pipeline_made_is_updated_by_one_once_it_is_there(
    pipeline: Pipeline,
) -> None:
    cloudformation = client(pipeline.cloud, "cloudformation")
    pipeline.cloud.set_stack_seconds(1)
    cloudformation.create_stack(
        StackName=NAME, TemplateBody=json.dumps({"Resources": {"A": named("/note/a", "1")}})
    )

    status, why = pipeline.deploy({"A": named("/note/a", "2")})

    assert (status, "is in CREATE_IN_PROGRESS state" in str(why)) == ("Failed", True)
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=NAME, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    assert pipeline.notes() == {"/note/a": "1"}
    assert pipeline.deploy({"A": named("/note/a", "2")}) == ("Succeeded", None)
    assert pipeline.notes() == {"/note/a": "2"}


STORED = {"Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/source"}}
COPY = named("/note/copy", {"Ref": "Stored"})


@pytest.mark.parametrize("resolved", ["attempted", "deployed"])
def test_what_resolved_value_says_after_a_roll_back_can_be_chosen(
    pipeline: Pipeline, resolved: str
) -> None:
    """The API reference has no word on it: "the value that corresponds to a SSM parameter key"."""
    pipeline.put("/source", "1")
    pipeline.deploy({"Copy": COPY}, Parameters=STORED)
    pipeline.put("/source", "2")
    pipeline.cloud.patch_pipeline(NAME, next_outcomes=["Failed in Deploy"])
    pipeline.cloud.patch_stack(NAME, resolved_value=resolved)

    assert pipeline.deploy({"Copy": COPY}, Parameters=STORED) == ("Failed", "Deploy failed")

    assert pipeline.stack()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert pipeline.notes() == {"/note/copy": "1"}
    (parameter,) = pipeline.stack()["Parameters"]
    assert parameter["ResolvedValue"] == {"attempted": "2", "deployed": "1"}[resolved]


def test_a_failed_roll_back_is_continued_by_hand(pipeline: Pipeline) -> None:
    """The user guide, "Continue rolling back an update": until then the stack cannot be updated."""
    pipeline.put("/source", "1")
    pipeline.deploy({"Copy": COPY}, Parameters=STORED)
    pipeline.put("/source", "2")
    pipeline.cloud.patch_pipeline(NAME, next_outcomes=["Failed in Deploy"])
    pipeline.cloud.patch_stack(NAME, rollback_fails=True)

    pipeline.deploy({"Copy": COPY}, Parameters=STORED)
    assert pipeline.stack()["StackStatus"] == "UPDATE_ROLLBACK_FAILED"
    status, why = pipeline.deploy({"Copy": COPY}, Parameters=STORED)
    assert (status, "can not be updated" in str(why)) == ("Failed", True)
    client(pipeline.cloud, "cloudformation").continue_update_rollback(StackName=NAME)

    assert pipeline.stack()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert pipeline.notes() == {"/note/copy": "1"}


@pytest.mark.parametrize(
    ("engine", "version", "resource_type"),
    [
        ("aurora-mysql", "8.0.mysql_aurora.3.04.0", "AWS::RDS::DBCluster"),
        ("docdb", "5.0.0", "AWS::DocDB::DBCluster"),
        ("neptune", "1.3.2.1", "AWS::Neptune::DBCluster"),
    ],
)
def test_a_pipeline_without_a_template_restores_a_cluster_of_any_engine(
    cloud: LocalCloud, engine: str, version: str, resource_type: str
) -> None:
    database = {"engine": engine, "engine_version": version, "cluster": "orders"}
    snapshot = {**database, "account": PRODUCTION, "identifier": "s", "shared_with": [ACCEPTANCE]}
    (arn,) = cloud.seed_snapshots([snapshot | {"created": datetime(2026, 1, 4, tzinfo=UTC)}])[
        "arns"
    ]
    client(cloud, "ssm").put_parameter(Name="/current", Value=arn, Type="String")
    cloud.create_pipeline(NAME, 0, [{**database, "parameter": "/current"}])

    run = client(cloud, "codepipeline").start_pipeline_execution(name=NAME)["pipelineExecutionId"]

    assert cloud.wait_for_run(run, NAME) == "Succeeded"
    cloudformation = client(cloud, "cloudformation")
    (resource,) = cloudformation.list_stack_resources(StackName=NAME)["StackResourceSummaries"]
    (cluster,) = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    assert (cluster["Engine"], resource["ResourceType"]) == (engine, resource_type)
    assert resource["PhysicalResourceId"] == cluster["DBClusterIdentifier"]
    (stack,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
    assert stack["Parameters"] == [
        {"ParameterKey": "OrdersSnapshot", "ParameterValue": "/current", "ResolvedValue": arn}
    ]


def test_resources_are_described_with_their_types(pipeline: Pipeline) -> None:
    pipeline.deploy({"A": named("/note/a", "1")})

    answer = client(pipeline.cloud, "cloudformation").describe_stack_resources(StackName=NAME)

    (resource,) = answer["StackResources"]
    assert (resource["ResourceType"], resource["PhysicalResourceId"]) == (
        "AWS::SSM::Parameter",
        "/note/a",
    )
