"""The resource types of ``infrastructure/after-restore.yaml``, which stacks make through the services' own APIs.

They are made and deleted, and not changed in place.
"""

import functools
import io
import json
import re
import zipfile
from typing import Any, ClassVar

import boto3
from botocore.config import Config

from localcloud.accounts import key_of
from localcloud.functions import endpoint
from localcloud.mainstack import KINDS, Failed, Kind, Properties


class Made(Kind):
    """A resource that is made by calls of the account's administrator.

    ``arn`` is its ARN's form; ``deletion`` is the service, the operation and the parameter that delete it.
    """

    arn: ClassVar[str] = "{name}"
    deletion: ClassVar[tuple[str, str, str]]

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.place = {"account": account, "region": region}

    def client(self, service: str) -> Any:
        """Return a client of the cloud."""
        return _client(endpoint(), service, **self.place)

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """Refuse."""
        raise Failed(f"{name}: the local cloud does not change a {type(self).__name__} in place")

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """Delete it, and what hangs on it."""
        service, operation, parameter = self.deletion
        self.release(name)
        getattr(self.client(service), operation)(**{parameter: name})

    def release(self, name: str) -> None:
        """Undo what would keep it from being deleted."""

    def attribute(self, name: str, attribute: str) -> Any:
        """Return the ARN."""
        if attribute != "Arn":
            return super().attribute(name, attribute)
        return self.arn.format(name=name, **self.place)


class Role(Made):
    """``AWS::IAM::Role``."""

    arn = "arn:aws:iam::{account}:role/{name}"
    deletion = ("iam", "delete_role", "RoleName")
    create_only = frozenset({"Path", "RoleName"})

    def create(self, name: str, properties: Properties) -> str:
        """CreateRole, and PutRolePolicy for each policy."""
        iam, name = self.client("iam"), properties.get("RoleName", name)
        trust = json.dumps(properties["AssumeRolePolicyDocument"])
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        for policy in properties.get("Policies", []):
            document = json.dumps(policy["PolicyDocument"])
            iam.put_role_policy(
                RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document
            )
        return name

    def release(self, name: str) -> None:
        """DeleteRolePolicy."""
        iam = self.client("iam")
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)


class ManagedPolicy(Made):
    """``AWS::IAM::ManagedPolicy``."""

    deletion = ("iam", "delete_policy", "PolicyArn")
    create_only = frozenset({"Description", "ManagedPolicyName", "Path"})

    def create(self, name: str, properties: Properties) -> str:
        """CreatePolicy, and AttachRolePolicy for each role."""
        iam, name = self.client("iam"), properties.get("ManagedPolicyName", name)
        document = json.dumps(properties["PolicyDocument"])
        arn: str = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
        for role in properties.get("Roles", []):
            iam.attach_role_policy(RoleName=role, PolicyArn=arn)
        return arn

    def release(self, name: str) -> None:
        """DetachRolePolicy."""
        iam = self.client("iam")
        for role in iam.list_entities_for_policy(PolicyArn=name)["PolicyRoles"]:
            iam.detach_role_policy(RoleName=role["RoleName"], PolicyArn=name)


class Function(Made):
    """``AWS::Lambda::Function``, whose code is in the template."""

    arn = "arn:aws:lambda:{region}:{account}:function:{name}"
    deletion = ("lambda", "delete_function", "FunctionName")
    create_only = frozenset({"FunctionName", "PackageType", "TenancyConfig"})
    perhaps_create_only = frozenset({"DurableConfig"})

    def create(self, name: str, properties: Properties) -> str:
        """CreateFunction."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("index.py", properties["Code"]["ZipFile"])
        values = {**properties, "FunctionName": properties.get("FunctionName", name[:64])}
        values |= {key: int(values[key]) for key in ("Timeout", "MemorySize") if key in values}
        values["Code"] = {"ZipFile": package.getvalue()}
        made: str = self.client("lambda").create_function(**values)["FunctionName"]
        return made


class Project(Made):
    """``AWS::CodeBuild::Project``, whose builds moto completes without running anything."""

    arn = "arn:aws:codebuild:{region}:{account}:project/{name}"
    deletion = ("codebuild", "delete_project", "name")
    create_only = frozenset({"Name"})

    def create(self, name: str, properties: Properties) -> str:
        """CreateProject."""
        wanted = ("Description", "ServiceRole", "Artifacts", "Environment", "Source")
        values = _lower({key: properties[key] for key in wanted if key in properties})
        # moto wants a location of every source.
        source = {
            "type": "NO_SOURCE",
            "location": "none",
            "buildspec": values["source"]["buildSpec"],
        }
        name = properties.get("Name", name)
        self.client("codebuild").create_project(**values | {"name": name, "source": source})
        return name


class StateMachine(Made):
    """``AWS::StepFunctions::StateMachine``."""

    deletion = ("stepfunctions", "delete_state_machine", "stateMachineArn")
    create_only = frozenset({"StateMachineName", "StateMachineType"})

    def create(self, name: str, properties: Properties) -> str:
        """CreateStateMachine, of the definition with its substitutions."""
        values = properties.get("DefinitionSubstitutions", {})
        definition = re.sub(
            r"\$\{(\w+)\}", lambda match: values[match[1]], properties["DefinitionString"]
        )
        made: str = self.client("stepfunctions").create_state_machine(
            name=properties.get("StateMachineName", name[:80]),
            definition=definition,
            roleArn=properties["RoleArn"],
        )["stateMachineArn"]
        return made


@functools.cache
def _client(url: str, service: str, account: str, region: str) -> Any:
    key = key_of(account)
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(proxies={}),
    )


def _lower(node: Any) -> Any:
    """Return properties in the camel case of CodeBuild's API."""
    if isinstance(node, dict):
        return {key[0].lower() + key[1:]: _lower(each) for key, each in node.items()}
    return [_lower(each) for each in node] if isinstance(node, list) else node


def install() -> None:
    """Let stacks have them."""
    KINDS.update(ADDED)


ADDED: dict[str, type[Kind]] = {
    "AWS::CodeBuild::Project": Project,
    "AWS::IAM::ManagedPolicy": ManagedPolicy,
    "AWS::IAM::Role": Role,
    "AWS::Lambda::Function": Function,
    "AWS::StepFunctions::StateMachine": StateMachine,
}
