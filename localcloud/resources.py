"""The resource types of this project's templates, created through the services' own APIs.

The schemas of the resource types say which properties are create-only. The source of their handlers
(aws-cloudformation-resource-providers-rds and -sns) shows that a cluster is restored without the name of its master
user and modified afterwards, and which calls a topic and a subscription make.
"""

import functools
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jmespath  # type: ignore[import-untyped]
from botocore.exceptions import ClientError
from moto.iam.models import iam_backends

from localcloud import identities
from localcloud.accounts import key_of
from localcloud.client import make_client
from localcloud.functions import find, fleet
from localcloud.policies import Decision, decide

Properties = dict[str, Any]

# The user agent of CloudFormation's calls in CloudTrail.
AGENT = "cloudformation.amazonaws.com"


class Failed(Exception):
    """The reason that CloudFormation would give for a failure."""


@dataclass(frozen=True)
class Api:
    """The services of an account and Region, called as its administrator."""

    account: str
    region: str

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """Call a service with those of the parameters that the operation has."""
        client = _client(fleet.endpoint, service, self.account, self.region)
        shape = client.meta.service_model.operation_model(operation).input_shape
        return client._make_api_call(operation, _shaped(shape, parameters))  # noqa: SLF001


@dataclass(frozen=True)
class Kind:
    """A resource type, which by default is created by Create``noun`` and deleted by Delete``noun``.

    ``key`` is the property that names a resource, and ``answers`` the path of the physical id in the answer, if that
    is not the name. ``fixed`` are the other create-only properties. An operation gets the properties that are among
    its parameters, and the name under every parameter that APIs use for it. ``deletes`` is an operation and its
    parameter for the id. So is ``finds``, which is called first if creation would silently take over an existing
    resource.
    """

    service: str
    noun: str = ""
    key: str = ""
    answers: str = ""
    arn: str = ""
    creates: str = ""
    changes: str = ""
    deletes: str = ""
    finds: str = ""
    fixed: tuple[str, ...] = ()
    prepare: Callable[[Properties], Properties] = dict
    on_delete: str = "Delete"

    @property
    def create_only(self) -> frozenset[str]:
        """The properties whose change causes a replacement."""
        return frozenset(filter(None, (self.key, *self.fixed)))

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """Create it, as ``name`` unless the properties name it; return its physical id."""
        name = properties.get(self.key, name)
        if self.finds and self._is_found(api, name):
            raise Failed(f"{name} already exists")
        given = {**self.prepare(properties), "Name": name, f"{self.noun}Name": name, self.key: name}
        creates = self.creates or f"Create{self.noun}"
        answer = api.call(self.service, creates, **given)
        if self.changes not in ("", creates):
            self.change(api, name, {}, properties)
        return str(jmespath.search(self.answers, answer)) if self.answers else name

    def change(self, api: Api, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (for clusters)
        """Update it in place; AWS can update every type, this cloud only some."""
        if not self.changes:
            raise Failed(f"{name}: the local cloud cannot modify it in place")
        given = {**self.prepare(new), self.key: name}
        api.call(self.service, self.changes, Overwrite=True, **given)

    def delete(self, api: Api, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (for clusters)
        """Delete it."""
        deletes = self.deletes or f"Delete{self.noun} {self.answers or self.key}"
        operation, parameter = deletes.split()
        api.call(self.service, operation, **{parameter: name})

    def attribute(self, api: Api, name: str, attribute: str) -> Any:
        """Return an attribute for Fn::GetAtt; of a name with dots, moto passes the first part."""
        if attribute != "Arn":
            raise Failed(f"Attribute {attribute} of {name} is not known here")
        return self._arn(api, name)

    def _arn(self, api: Api, name: str) -> str:
        return f"arn:aws:{self.arn}".format(name=name, region=api.region, account=api.account)

    def _is_found(self, api: Api, name: str) -> bool:
        operation, parameter = self.finds.split()
        try:
            wanted = self._arn(api, name) if self.arn else name
            answer = api.call(self.service, operation, **{parameter: wanted})
        except ClientError:
            return False
        return any(value for member, value in answer.items() if member != "ResponseMetadata")


@dataclass(frozen=True)
class Cluster(Kind):
    """A cluster; types other than ``AWS::RDS::DBCluster`` imply the engine and have no property for it."""

    service: str = "rds"
    key: str = "DBClusterIdentifier"
    arn: str = "rds:{region}:{account}:cluster:{name}"
    fixed: tuple[str, ...] = ("KmsKeyId", "SnapshotIdentifier", "StorageEncrypted")
    on_delete: str = "Snapshot"
    engine: str = ""

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """Restore it and then set what a restore does not accept, or create it empty."""
        name = properties.get(self.key, name).lower()
        values = {"Engine": self.engine, **properties, self.key: name}
        if "SnapshotIdentifier" not in properties:
            api.call("rds", "CreateDBCluster", **values)
            return name
        api.call("rds", "RestoreDBClusterFromSnapshot", **values)
        self.change(api, name, {}, values)
        return name

    def change(self, api: Api, name: str, old: Properties, new: Properties) -> None:
        """ModifyDBCluster, for the properties that matter here."""
        known = ("BackupRetentionPeriod", "DeletionProtection", "ManageMasterUserPassword")
        changed = {each: new[each] for each in known if new.get(each) != old.get(each)}
        if changed:
            api.call("rds", "ModifyDBCluster", DBClusterIdentifier=name, **changed)
        if new.get("EnableHttpEndpoint"):
            api.call("rds", "EnableHttpEndpoint", ResourceArn=self._arn(api, name))

    def delete(self, api: Api, name: str, final_snapshot: str | None) -> None:
        """DeleteDBCluster."""
        how = {"FinalDBSnapshotIdentifier": final_snapshot, "SkipFinalSnapshot": not final_snapshot}
        api.call("rds", "DeleteDBCluster", DBClusterIdentifier=name, **how)

    def attribute(self, api: Api, name: str, attribute: str) -> Any:
        """Return its endpoint, or the ARN of its secret."""
        paths = {"Endpoint": "Endpoint", "MasterUserSecret": "MasterUserSecret.SecretArn"}
        (cluster,) = api.call("rds", "DescribeDBClusters", DBClusterIdentifier=name)["DBClusters"]
        return jmespath.search(paths[attribute], cluster)


class EventInvokeConfig(Kind):
    """``AWS::Lambda::EventInvokeConfig`` of $LATEST."""

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """Create it, if the function's own role may publish to the destination."""
        function = find(api.account, api.region, properties[self.key])
        topic = jmespath.search("DestinationConfig.OnFailure.Destination", properties)
        role = iam_backends[api.account]["aws"].get_role_by_arn(function.role)
        allowed = decide(identities.policies_of(role), "sns:Publish", topic or "*")
        if topic and allowed is not Decision.ALLOWED:
            raise Failed(
                f"The function's execution role does not have permissions to call Publish on {topic}"
            )
        return super().create(api, name, properties)

    def change(self, api: Api, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (as above)
        """Replace it; moto would add a second one."""
        self.delete(api, name, None)
        self.create(api, name, new)


class Subscription(Kind):
    """``AWS::SNS::Subscription``, which its handler reads after creating it."""

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """Subscribe and GetSubscriptionAttributes."""
        arn = super().create(api, name, properties)
        api.call("sns", "GetSubscriptionAttributes", SubscriptionArn=arn)
        return arn


class Role(Kind):
    """``AWS::IAM::Role`` with its policies."""

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """CreateRole, and PutRolePolicy for each policy."""
        name = super().create(api, name, properties)
        for policy in properties.get("Policies", []):
            api.call("iam", "PutRolePolicy", RoleName=name, **policy)
        return name

    def delete(self, api: Api, name: str, final_snapshot: str | None) -> None:
        """DeleteRolePolicy for each policy, and DeleteRole."""
        for policy in api.call("iam", "ListRolePolicies", RoleName=name)["PolicyNames"]:
            api.call("iam", "DeleteRolePolicy", RoleName=name, PolicyName=policy)
        super().delete(api, name, final_snapshot)


class ManagedPolicy(Kind):
    """``AWS::IAM::ManagedPolicy``, attached to roles."""

    def create(self, api: Api, name: str, properties: Properties) -> str:
        """CreatePolicy, and AttachRolePolicy for each role."""
        arn = super().create(api, name, properties)
        for role in properties.get("Roles", []):
            api.call("iam", "AttachRolePolicy", RoleName=role, PolicyArn=arn)
        return arn

    def delete(self, api: Api, name: str, final_snapshot: str | None) -> None:
        """DetachRolePolicy from each role, and DeletePolicy."""
        for role in api.call("iam", "ListEntitiesForPolicy", PolicyArn=name)["PolicyRoles"]:
            api.call("iam", "DetachRolePolicy", RoleName=role["RoleName"], PolicyArn=name)
        super().delete(api, name, final_snapshot)


def _packed(properties: Properties) -> Properties:
    """Zip a function's inline code."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", properties["Code"]["ZipFile"])
    return {**properties, "Code": {"ZipFile": package.getvalue()}}


def _substituted(properties: Properties) -> Properties:
    """Substitute the variables in a state machine's definition."""
    values = properties.get("DefinitionSubstitutions", {})
    text = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], properties["DefinitionString"])
    return {**properties, "Definition": text}


def _located(properties: Properties) -> Properties:
    """Add a location to a build project's source; moto requires one."""
    return {**properties, "Source": {**properties["Source"], "Location": "none"}}


def _tagged(properties: Properties) -> Properties:
    """Add a system tag, such as every resource of a stack has."""
    return {**properties, "Tags": [{"Key": "aws:cloudformation:stack-name", "Value": "stack"}]}


def _unqualified(properties: Properties) -> Properties:
    return {name: value for name, value in properties.items() if name != "Qualifier"}


KINDS: dict[str, Kind] = {
    "AWS::CloudWatch::Alarm": Kind(
        "cloudwatch",
        key="AlarmName",
        creates="PutMetricAlarm",
        changes="PutMetricAlarm",
        deletes="DeleteAlarms AlarmNames",
        finds="DescribeAlarms AlarmNames",
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        "cloudwatch",
        key="DashboardName",
        creates="PutDashboard",
        changes="PutDashboard",
        deletes="DeleteDashboards DashboardNames",
        finds="GetDashboard DashboardName",
    ),
    "AWS::CodeBuild::Project": Kind(
        "codebuild",
        "Project",
        "Name",
        arn="codebuild:{region}:{account}:project/{name}",
        prepare=_located,
    ),
    "AWS::DocDB::DBCluster": Cluster(engine="docdb"),
    "AWS::IAM::ManagedPolicy": ManagedPolicy(
        "iam",
        "Policy",
        "ManagedPolicyName",
        answers="Policy.Arn",
        deletes="DeletePolicy PolicyArn",
    ),
    "AWS::IAM::Role": Role("iam", "Role", "RoleName", arn="iam::{account}:role/{name}"),
    "AWS::Lambda::EventInvokeConfig": EventInvokeConfig(
        "lambda",
        key="FunctionName",
        fixed=("Qualifier",),
        creates="PutFunctionEventInvokeConfig",
        deletes="DeleteFunctionEventInvokeConfig FunctionName",
        finds="GetFunctionEventInvokeConfig FunctionName",
        prepare=_unqualified,
    ),
    "AWS::Lambda::Function": Kind(
        "lambda",
        "Function",
        "FunctionName",
        arn="lambda:{region}:{account}:function:{name}",
        prepare=_packed,
    ),
    "AWS::Logs::LogGroup": Kind(
        "logs",
        "LogGroup",
        "LogGroupName",
        arn="logs:{region}:{account}:log-group:{name}:*",
        changes="PutRetentionPolicy",
    ),
    "AWS::Neptune::DBCluster": Cluster(engine="neptune"),
    "AWS::RDS::DBCluster": Cluster(fixed=("DBSubnetGroupName", *Cluster.fixed)),
    "AWS::RDS::DBInstance": Kind(
        "rds", "DBInstance", "DBInstanceIdentifier", fixed=("DBClusterIdentifier",)
    ),
    "AWS::SNS::Subscription": Subscription(
        "sns",
        answers="SubscriptionArn",
        fixed=("Endpoint", "Protocol", "TopicArn"),
        creates="Subscribe",
        deletes="Unsubscribe SubscriptionArn",
    ),
    "AWS::SNS::Topic": Kind(
        "sns",
        "Topic",
        "TopicName",
        answers="TopicArn",
        arn="sns:{region}:{account}:{name}",
        finds="GetTopicAttributes TopicArn",
        prepare=_tagged,
    ),
    "AWS::SSM::Parameter": Kind(
        "ssm", "Parameter", "Name", creates="PutParameter", changes="PutParameter"
    ),
    "AWS::StepFunctions::StateMachine": Kind(
        "stepfunctions",
        "StateMachine",
        "StateMachineName",
        answers="stateMachineArn",
        prepare=_substituted,
    ),
}


def _shaped(shape: Any, value: Any) -> Any:
    """Convert a value to the API's shape: members' case, documents as text, text to numbers."""
    match shape.type_name:
        case "structure":
            given = {name.lower(): each for name, each in value.items()}
            return {
                name: _shaped(member, given[name.lower()])
                for name, member in shape.members.items()
                if given.get(name.lower()) is not None
            }
        case "list":
            values = value if isinstance(value, list) else [value]
            return [_shaped(shape.member, each) for each in values]
        case "map":
            return {name: _shaped(shape.value, each) for name, each in value.items()}
        case "string" if not isinstance(value, str):
            return json.dumps(value)
        case "boolean" | "integer" | "long" | "double" | "float" if isinstance(value, str):
            return json.loads(value)
    return value


@functools.cache
def _client(url: str, service: str, account: str, region: str) -> Any:
    once = {"total_max_attempts": 1}
    key = key_of(account).credentials()
    return make_client(url, key, service, region, retries=once, user_agent=AGENT)
