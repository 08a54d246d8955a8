"""The resource types of this project's templates, made through the services' own APIs.

Which properties can only be given on creation is said by the schemas of the resource types; that a cluster is
restored without its master user's name and modified afterwards, by the source of their handlers
(aws-cloudformation-resource-providers-rds).
"""

import functools
import io
import json
import re
import zipfile
from typing import Any, ClassVar

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.iam.models import iam_backends

from localcloud import authorization, identities
from localcloud.accounts import key_of
from localcloud.functions import endpoint, find

Properties = dict[str, Any]

# As CloudTrail shows who makes CloudFormation's calls.
AGENT = "cloudformation.amazonaws.com"


class Failed(Exception):
    """What CloudFormation would give as the reason of a failure."""


class Kind:
    """A resource type, whose resources are made by calls of the account's administrator.

    ``key`` is the property that names a resource, ``named`` the parameter, if that is another one, and ``answers``
    where the answer has the physical id, if that is not the name. An operation is given all properties, and takes those
    that it knows. ``deletes`` is an operation and its parameter for the id; so is ``finds``, which is asked where
    ``creates`` would silently take over what is there.
    """

    service: ClassVar[str]
    key: ClassVar[str] = ""
    named: ClassVar[str] = ""
    answers: ClassVar[str] = ""
    arn: ClassVar[str] = "{name}"
    creates: ClassVar[str]
    changes: ClassVar[str] = ""
    deletes: ClassVar[tuple[str, str]]
    finds: ClassVar[tuple[str, str] | None] = None
    create_only: ClassVar[frozenset[str]] = frozenset()
    on_delete: ClassVar[str] = "Delete"

    def __init__(self, account: str, region: str) -> None:
        self.place = {"account": account, "region": region}

    def call(self, operation: str, **parameters: Any) -> Any:
        """Call the service with what the operation knows of the parameters."""
        client = _client(endpoint(), self.service, **self.place)
        shape = client.meta.service_model.operation_model(operation).input_shape
        return client._make_api_call(operation, _shaped(shape, parameters))  # noqa: SLF001

    def create(self, name: str, properties: Properties) -> str:
        """Create it, under ``name`` unless the properties say another; returns its physical id."""
        name = properties.get(self.key, name)
        if self.finds and self._is_found(name):
            raise Failed(f"{name} already exists")
        answer = self.call(self.creates, **{**properties, self.named or self.key: name})
        return str(jmespath.search(self.answers, answer)) if self.answers else name

    def change(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (for some kinds)
        """Change in place what can be."""
        if self.changes:
            self.call(self.changes, **{**new, self.key: name})

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (for clusters)
        """Delete it."""
        operation, parameter = self.deletes
        self.call(operation, **{parameter: name})

    def attribute(self, name: str, attribute: str) -> Any:
        """Return what Fn::GetAtt answers."""
        if attribute != "Arn":
            raise Failed(f"Attribute {attribute} of {name} is not known here")
        return self.arn.format(name=name, **self.place)

    def _is_found(self, name: str) -> bool:
        assert self.finds is not None
        operation, parameter = self.finds
        try:
            answer = self.call(operation, **{parameter: self.arn.format(name=name, **self.place)})
        except ClientError:
            return False
        return any(value for member, value in answer.items() if member != "ResponseMetadata")


class Cluster(Kind):
    """``AWS::RDS::DBCluster``."""

    service, key = "rds", "DBClusterIdentifier"
    arn = "arn:aws:rds:{region}:{account}:cluster:{name}"
    create_only = frozenset(
        (key, "DBSubnetGroupName", "KmsKeyId", "SnapshotIdentifier", "StorageEncrypted")
    )
    on_delete = "Snapshot"
    engine: ClassVar[str] = ""
    _changing = (
        *("BackupRetentionPeriod", "DeletionProtection", "EngineVersion"),
        *("ManageMasterUserPassword", "MasterUserPassword"),
    )

    def create(self, name: str, properties: Properties) -> str:
        """Restore it and then set what the restore does not take, or create it empty."""
        name = properties.get(self.key, name).lower()
        values = {"Engine": self.engine, **properties, self.key: name}
        if "SnapshotIdentifier" not in properties:
            self.call("CreateDBCluster", **values)
            return name
        self.call("RestoreDBClusterFromSnapshot", **values)
        self.change(name, {}, values)
        return name

    def change(self, name: str, old: Properties, new: Properties) -> None:
        """ModifyDBCluster, of what matters here."""
        changed = {each: new[each] for each in self._changing if new.get(each) != old.get(each)}
        if changed:
            key = new.get("MasterUserSecret", {}).get("KmsKeyId")
            secret = {"MasterUserSecretKmsKeyId": key} if key else {}
            self.call("ModifyDBCluster", DBClusterIdentifier=name, **changed, **secret)
        if "EnableHttpEndpoint" in new:
            enabled = str(new["EnableHttpEndpoint"]).lower() == "true"
            operation = f"{'Enable' if enabled else 'Disable'}HttpEndpoint"
            self.call(operation, ResourceArn=super().attribute(name, "Arn"))

    def delete(self, name: str, final_snapshot: str | None) -> None:
        """DeleteDBCluster."""
        final = {"FinalDBSnapshotIdentifier": final_snapshot} if final_snapshot else {}
        self.call("DeleteDBCluster", DBClusterIdentifier=name, SkipFinalSnapshot=not final, **final)

    def attribute(self, name: str, attribute: str) -> Any:
        """Return where it is, or where its password is."""
        (cluster,) = self.call("DescribeDBClusters", DBClusterIdentifier=name)["DBClusters"]
        known = {"Endpoint.Address": "Endpoint", "MasterUserSecret.SecretArn": attribute}
        found = jmespath.search(known[attribute], cluster) if attribute in known else None
        return found or super().attribute(name, attribute)


class DocumentCluster(Cluster):
    """``AWS::DocDB::DBCluster``, which has no property Engine."""

    engine = "docdb"


class GraphCluster(Cluster):
    """``AWS::Neptune::DBCluster``, which has none either."""

    engine = "neptune"
    create_only = Cluster.create_only - {"DBSubnetGroupName"}


class Instance(Kind):
    """``AWS::RDS::DBInstance``, a cluster's."""

    service, key, creates = "rds", "DBInstanceIdentifier", "CreateDBInstance"
    deletes = ("DeleteDBInstance", key)
    create_only = frozenset((key, "DBClusterIdentifier"))


class StoredParameter(Kind):
    """``AWS::SSM::Parameter``."""

    service, key, creates = "ssm", "Name", "PutParameter"
    deletes = ("DeleteParameter", key)
    create_only = frozenset((key,))

    def change(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (for some kinds)
        """PutParameter over it."""
        self.call("PutParameter", **{**new, "Name": name, "Overwrite": True})


class Topic(Kind):
    """``AWS::SNS::Topic``."""

    service, key, named, answers, creates = "sns", "TopicName", "Name", "TopicArn", "CreateTopic"
    arn = "arn:aws:sns:{region}:{account}:{name}"
    deletes = ("DeleteTopic", answers)
    finds = ("GetTopicAttributes", answers)
    create_only = frozenset((key,))


class Subscription(Kind):
    """``AWS::SNS::Subscription``; one of an e-mail address waits until it is confirmed."""

    service, answers, creates = "sns", "SubscriptionArn", "Subscribe"
    deletes = ("Unsubscribe", answers)
    create_only = frozenset(("Endpoint", "Protocol", "TopicArn"))

    def create(self, name: str, properties: Properties) -> str:
        """Subscribe, and ask for the ARN although the subscription is pending."""
        return super().create(name, {**properties, "ReturnSubscriptionArn": True})


class Alarm(Kind):
    """``AWS::CloudWatch::Alarm``."""

    service, key, creates, changes = "cloudwatch", "AlarmName", "PutMetricAlarm", "PutMetricAlarm"
    deletes = ("DeleteAlarms", "AlarmNames")
    finds = ("DescribeAlarms", "AlarmNames")
    create_only = frozenset((key,))


class Dashboard(Kind):
    """``AWS::CloudWatch::Dashboard``."""

    service, key, creates, changes = "cloudwatch", "DashboardName", "PutDashboard", "PutDashboard"
    deletes = ("DeleteDashboards", "DashboardNames")
    finds = ("GetDashboard", key)
    create_only = frozenset((key,))


class EventInvokeConfig(Kind):
    """``AWS::Lambda::EventInvokeConfig``, of $LATEST."""

    service, key = "lambda", "FunctionName"
    deletes = ("DeleteFunctionEventInvokeConfig", key)
    finds = ("GetFunctionEventInvokeConfig", key)
    create_only = frozenset((key, "Qualifier"))

    def call(self, operation: str, **parameters: Any) -> Any:
        """Call the service about the function as a whole."""
        return super().call(operation, **{k: v for k, v in parameters.items() if k != "Qualifier"})

    creates = "PutFunctionEventInvokeConfig"

    def create(self, name: str, properties: Properties) -> str:
        """PutFunctionEventInvokeConfig, if the function's own role may publish to the destination."""
        function = find(**self.place, name_or_arn=properties[self.key])
        topic = jmespath.search("DestinationConfig.OnFailure.Destination", properties)
        role = iam_backends[function.account_id]["aws"].get_role_by_arn(function.role)
        allowed = authorization.decide(identities.policies_of(role), "sns:Publish", topic or "*")
        if topic and allowed is not authorization.Decision.ALLOWED:
            raise Failed(
                f"The function's execution role does not have permissions to call Publish on {topic}"
            )
        return super().create(name, properties)

    def change(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (for some kinds)
        """Put another in its place, which moto would put behind it."""
        self.delete(name, None)
        self.create(name, new)


class LogGroup(Kind):
    """``AWS::Logs::LogGroup``."""

    service, key, creates, changes = "logs", "LogGroupName", "CreateLogGroup", "PutRetentionPolicy"
    arn = "arn:aws:logs:{region}:{account}:log-group:{name}:*"
    deletes = ("DeleteLogGroup", key)
    create_only = frozenset((key,))

    def create(self, name: str, properties: Properties) -> str:
        """CreateLogGroup and PutRetentionPolicy."""
        name = super().create(name, properties)
        self.change(name, {}, properties)
        return name


class Role(Kind):
    """``AWS::IAM::Role``."""

    service, key, creates = "iam", "RoleName", "CreateRole"
    arn = "arn:aws:iam::{account}:role/{name}"
    deletes = ("DeleteRole", key)
    create_only = frozenset((key, "Path"))

    def create(self, name: str, properties: Properties) -> str:
        """CreateRole, and PutRolePolicy for each policy."""
        name = super().create(name, properties)
        for policy in properties.get("Policies", []):
            self.call("PutRolePolicy", RoleName=name, **policy)
        return name

    def delete(self, name: str, final_snapshot: str | None) -> None:
        """DeleteRole, after its policies."""
        for policy in self.call("ListRolePolicies", RoleName=name)["PolicyNames"]:
            self.call("DeleteRolePolicy", RoleName=name, PolicyName=policy)
        super().delete(name, final_snapshot)


class ManagedPolicy(Kind):
    """``AWS::IAM::ManagedPolicy``."""

    service, key, named, creates = "iam", "ManagedPolicyName", "PolicyName", "CreatePolicy"
    answers = "Policy.Arn"
    deletes = ("DeletePolicy", "PolicyArn")
    create_only = frozenset((key, "Description", "Path"))

    def create(self, name: str, properties: Properties) -> str:
        """CreatePolicy, and AttachRolePolicy for each role."""
        arn = super().create(name, properties)
        for role in properties.get("Roles", []):
            self.call("AttachRolePolicy", RoleName=role, PolicyArn=arn)
        return arn

    def delete(self, name: str, final_snapshot: str | None) -> None:
        """DeletePolicy, after it is detached."""
        for role in self.call("ListEntitiesForPolicy", PolicyArn=name)["PolicyRoles"]:
            self.call("DetachRolePolicy", RoleName=role["RoleName"], PolicyArn=name)
        super().delete(name, final_snapshot)


class Function(Kind):
    """``AWS::Lambda::Function``, whose code is in the template."""

    service, key, creates = "lambda", "FunctionName", "CreateFunction"
    arn = "arn:aws:lambda:{region}:{account}:function:{name}"
    deletes = ("DeleteFunction", key)
    create_only = frozenset((key, "PackageType"))

    def create(self, name: str, properties: Properties) -> str:
        """CreateFunction."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("index.py", properties["Code"]["ZipFile"])
        code = {"ZipFile": package.getvalue()}
        return super().create(name[:64], {**properties, "Code": code})


class Project(Kind):
    """``AWS::CodeBuild::Project``, whose builds moto completes without running anything."""

    service, key, creates = "codebuild", "Name", "CreateProject"
    arn = "arn:aws:codebuild:{region}:{account}:project/{name}"
    deletes = ("DeleteProject", key)
    create_only = frozenset((key,))

    def create(self, name: str, properties: Properties) -> str:
        """CreateProject; moto wants a location of every source."""
        source = {**properties["Source"], "Location": "none"}
        return super().create(name, {**properties, "Source": source})


class StateMachine(Kind):
    """``AWS::StepFunctions::StateMachine``."""

    service, key, named = "stepfunctions", "StateMachineName", "Name"
    answers, creates = "stateMachineArn", "CreateStateMachine"
    deletes = ("DeleteStateMachine", answers)
    create_only = frozenset((key, "StateMachineType"))

    def create(self, name: str, properties: Properties) -> str:
        """CreateStateMachine, of the definition with its substitutions."""
        values = properties.get("DefinitionSubstitutions", {})
        definition = re.sub(
            r"\$\{(\w+)\}", lambda match: values[match[1]], properties["DefinitionString"]
        )
        return super().create(name[:80], {**properties, "Definition": definition})


KINDS: dict[str, type[Kind]] = {
    "AWS::CloudWatch::Alarm": Alarm,
    "AWS::CloudWatch::Dashboard": Dashboard,
    "AWS::CodeBuild::Project": Project,
    "AWS::DocDB::DBCluster": DocumentCluster,
    "AWS::IAM::ManagedPolicy": ManagedPolicy,
    "AWS::IAM::Role": Role,
    "AWS::Lambda::EventInvokeConfig": EventInvokeConfig,
    "AWS::Lambda::Function": Function,
    "AWS::Logs::LogGroup": LogGroup,
    "AWS::Neptune::DBCluster": GraphCluster,
    "AWS::RDS::DBCluster": Cluster,
    "AWS::RDS::DBInstance": Instance,
    "AWS::SNS::Subscription": Subscription,
    "AWS::SNS::Topic": Topic,
    "AWS::SSM::Parameter": StoredParameter,
    "AWS::StepFunctions::StateMachine": StateMachine,
}


def _shaped(shape: Any, value: Any) -> Any:
    """Return a value as the API has it: known members in their case, and numbers and truth where it has them."""
    match shape.type_name:
        case "structure":
            given = {name.lower(): each for name, each in value.items()}
            return {
                name: _shaped(member, given[name.lower()])
                for name, member in shape.members.items()
                if given.get(name.lower()) is not None
            }
        case "list":
            return [_shaped(shape.member, each) for each in _listed(value)]
        case "map":
            return {name: _shaped(shape.value, each) for name, each in value.items()}
        case "boolean":
            return str(value).lower() == "true"
        case "integer" | "long":
            return int(value)
        case "double" | "float":
            return float(value)
        case "blob":
            return value
    return value if isinstance(value, str) else json.dumps(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@functools.cache
def _client(url: str, service: str, account: str, region: str) -> Any:
    key = key_of(account)
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(proxies={}, retries={"total_max_attempts": 1}, user_agent=AGENT),
    )
