"""Stacks and the pipeline's runs, held to the user guides and the schemas of the resource types.

What the reference template does (replacement, roll-back, a creation that failed, the parameter that is resolved at every
update) is in tests/e2e/test_main_pipeline.py, what the first stack of `aurora-refresh package`
keeps, in tests/e2e/test_deploy_stage.py. Tokens of runs are in tests/contract, approvals in tests/e2e/test_night.py, retries and
skipped stages in the demo.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from cli.templates import parsed
from demo.pipeline import create_pipeline
from localcloud.accounts import REGION
from localcloud.client import LocalCloud, wait_until
from localcloud.resources import KINDS

TEMPLATES = Path(__file__).parents[2] / "infrastructure"


def create_stack(cloud: LocalCloud, resources: dict[str, Any], **given: str) -> None:
    """Create a stack, and wait until it is complete."""
    cloud.set_seconds(stack=0)
    cloudformation = cloud.client("cloudformation")
    cloudformation.create_stack(
        StackName="stack",
        TemplateBody=json.dumps({"Resources": resources}),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    waiter = cloudformation.get_waiter("stack_create_complete")
    waiter.wait(StackName="stack", WaiterConfig={"Delay": 0.1})


@pytest.mark.parametrize("resource_type", KINDS)
def test_what_can_only_be_given_on_creation_is_what_the_schema_says(resource_type: str) -> None:
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


def test_what_exists_is_not_taken_over_and_what_cannot_be_undone_is_left(cloud: LocalCloud) -> None:
    """Create handlers return AlreadyExists, CloudFormation CLI User Guide; *Stack status codes*."""
    cloud.client("sns").create_topic(Name="taken")
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "taken"}, "DependsOn": "C"}
    owner = {"MasterUsername": "owner", "ManageMasterUserPassword": True}
    properties = {"Engine": "aurora-postgresql", "DeletionProtection": True, **owner}
    protected = {"Type": "AWS::RDS::DBCluster", "Properties": properties}
    with pytest.raises(WaiterError, match="ROLLBACK_FAILED"):
        create_stack(cloud, {"T": topic, "C": protected})
    assert len(cloud.client("sns").list_topics()["Topics"]) == 1


def test_a_run_that_waits_for_a_stage_is_superseded(cloud: LocalCloud) -> None:
    """*How executions are processed in SUPERSEDED mode*, CodePipeline User Guide."""
    codepipeline = cloud.client("codepipeline")
    create_pipeline(cloud, "main", [], run_seconds=0, hold=["Build"])
    start = partial(codepipeline.start_pipeline_execution, name="main")

    def waits() -> bool:
        _, build, *_ = codepipeline.get_pipeline_state(name="main")["stageStates"]
        return bool(build["inboundExecutions"])

    start()
    cloud.wait_until_held("main", "Build")
    run = start()["pipelineExecutionId"]
    wait_until(waits, "a run to wait for Build")
    start()
    assert cloud.wait_for_run(run, "main") == "Superseded"
