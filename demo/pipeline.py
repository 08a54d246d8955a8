"""The company's main pipeline, which by default restores each database from the snapshot in its parameter."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localcloud.client import LocalCloud

Json = dict[str, Any]

# The template that docs/main-pipeline.md explains.
REFERENCE = (
    Path(__file__).resolve().parent.parent / "infrastructure/main-pipeline.yaml"
).read_text()

_OWN_TYPE = {"docdb": "AWS::DocDB::DBCluster", "neptune": "AWS::Neptune::DBCluster"}
_TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "codepipeline.amazonaws.com"},
    "Action": "sts:AssumeRole",
}


def reference_parameters(
    cloud: LocalCloud, current: str, group: str = "sg-1234567890abcdef0"
) -> Json:
    """Return the parameters of the reference template, with a new key in acceptance."""
    return {
        "Snapshot": current,
        "EngineVersion": "15.4",
        "KmsKeyArn": cloud.client("kms").create_key()["KeyMetadata"]["Arn"],
        "SubnetGroupName": "private",
        "SecurityGroupIds": group,
    }


def create_pipeline(
    cloud: LocalCloud,
    name: str,
    databases: Sequence[Json],
    *,
    stack: str = "",
    stages: Sequence[str] = ("Source", "Build", "Deploy", "Test"),
    **more: Any,
) -> None:
    """Create a pipeline in acceptance, whose stage Deploy deploys one stack, by default of the pipeline's name.

    A database has a `parameter` and a `cluster`, and may have `engine` and `engine_version`. `more` are
    arguments of the local cloud's `patch_pipeline`.
    """
    trust = json.dumps({"Version": "2012-10-17", "Statement": [_TRUST]})
    role = cloud.client("iam").create_role(
        RoleName=f"{name}-service-role", AssumeRolePolicyDocument=trust
    )
    cloud.client("codepipeline").create_pipeline(
        pipeline={
            "name": name,
            "roleArn": role["Role"]["Arn"],
            "artifactStore": {"type": "S3", "location": f"{name}-artifacts"},
            "stages": [_declare(each, name, stack or name) for each in stages],
            "executionMode": "SUPERSEDED",
            "pipelineType": "V2",
        }
    )
    deployed = {"template": _template(databases)} if databases else {}
    cloud.patch_pipeline(name, **{**deployed, **more})


def _declare(name: str, pipeline: str, stack: str) -> Json:
    """Return the usual stage of that name, with one action."""
    source = {"S3Bucket": f"{pipeline}-artifacts", "S3ObjectKey": "infrastructure.zip"}
    deploy = {"ActionMode": "CREATE_UPDATE", "StackName": stack}
    usual: dict[str, tuple[str, str, Json]] = {
        "Source": ("Source", "S3", source),
        "Approval": ("Approval", "Manual", {}),
        "Deploy": ("Deploy", "CloudFormation", deploy),
        "Test": ("Test", "CodeBuild", {"ProjectName": f"{pipeline}-test"}),
    }
    build = ("Build", "CodeBuild", {"ProjectName": f"{pipeline}-{name}".lower()})
    category, provider, configuration = usual.get(name, build)
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    artifacts = [{"name": "infrastructure"}]
    action = {
        "name": name,
        "actionTypeId": kind,
        "configuration": configuration,
        "inputArtifacts": artifacts if category in ("Build", "Deploy", "Test") else [],
        "outputArtifacts": artifacts if category == "Source" else [],
    }
    return {"name": name, "actions": [action]}


def _template(databases: Sequence[Json]) -> str:
    """Return a template with a cluster for each database, restored from the snapshot in its parameter."""
    parameters, resources = {}, {}
    for database in databases:
        name = re.sub("[^A-Za-z0-9]", "", database["cluster"].title())
        engine = database.get("engine", "aurora-postgresql")
        properties = {
            "EngineVersion": database.get("engine_version", "15.4"),
            "SnapshotIdentifier": {"Ref": f"{name}Snapshot"},
        }
        if engine not in _OWN_TYPE:
            properties["Engine"] = engine
        parameters[f"{name}Snapshot"] = {
            "Type": "AWS::SSM::Parameter::Value<String>",
            "Default": database["parameter"],
        }
        resources[name] = {
            "Type": _OWN_TYPE.get(engine, "AWS::RDS::DBCluster"),
            "DeletionPolicy": "Delete",
            "Properties": properties,
        }
    return json.dumps({"Parameters": parameters, "Resources": resources})
