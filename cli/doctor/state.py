"""What the doctor looks at: AWS's answers to calls that only read.

A denied or failed call leaves an `Unavailable` in place of its answer and hides nothing else. Other
modules judge.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import BotoAws
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, Preparation
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import Run
from chalicelib.domain.parameters import Parameter, pipeline_name, value_of
from chalicelib.domain.snapshots import Choice, Snapshot, SnapshotArn, choose
from chalicelib.usecases.checks import candidate
from chalicelib.usecases.copies import ListOwn, list_own_once
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.preparation import preparation_of
from chalicelib.usecases.update_latest import newest
from cli import mainpipeline, restapi, stacks, templates
from cli.account import DENIED
from cli.policies import Policy
from cli.stages import AcceptanceStage, Json, ProductionStage, Stage, StageError

T = TypeVar("T")

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=20
)
_LENGTH = 500  # of a reason; a denial names the policy last, after two ARNs


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What AWS did not show, and why; `action` is what a policy must allow."""

    action: str
    why: str
    denied: bool = False


# What was observed; None if it does not exist.
Observed: TypeAlias = T | Unavailable


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that the main pipeline deploys: its template and its parameters' values.

    `elsewhere` says where it is if that is not the stage's account and Region, where nothing is seen.
    """

    name: str
    mode: str
    template: Observed[Json | None]
    given: Mapping[str, str]
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the refresh looks at for one database.

    `stack` is that of P_STACK_NAME, `cluster` its cluster, `deployment` and `preparation` are what
    the use cases see. `machine` is the status of the state machine of P_AFTER_RESTORE.
    """

    deployment: Observed[Deployment]
    stack: Observed[SeenStack | None] = None
    cluster: Observed[Json | None] = None
    machine: Observed[str | None] = None
    preparation: Observed[Preparation | None] = None


@dataclass(frozen=True, slots=True)
class Shares:
    """The `total` shares of anybody, production's, and the verdicts of one database on them.

    `key` belongs to the newest share; it is None if that is not encrypted.
    """

    total: int
    productions: Sequence[Snapshot]
    choice: Choice
    newest: Snapshot | Refused
    key_arn: Observed[str | None]
    key: Observed[Json | None]


@dataclass(frozen=True, slots=True)
class Role:
    """A function's role and its policies."""

    name: str
    inline: Observed[list[Policy]]
    attached: Observed[list[str]]


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function; the other fields mean nothing without a `configuration`."""

    name: str
    configuration: Observed[Json | None]
    concurrency: Observed[int | None] = None
    asynchronous: Observed[Json | None] = None
    invokers: Observed[str | None] = None
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An EventBridge rule and the ARNs of its targets."""

    name: str
    body: Observed[Json | None]
    targets: Observed[list[str]]


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic for people, and its subscriptions, confirmed or not."""

    body: Observed[Json | None]
    subscriptions: Observed[list[Json]]


@dataclass(frozen=True, slots=True)
class TopicKey:
    """The key that a topic is encrypted under: its name there, its metadata and its policy."""

    name: str
    body: Observed[Json | None]
    policy: Observed[Policy | None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What every stage has in its account.

    `own_stacks` has the statuses of the stacks that `aurora-refresh deploy` makes. `unreserved` is the number
    of concurrent executions that are left to reserve; None if all functions are deployed.
    """

    now: datetime
    functions: Mapping[str, Function]
    rules: Mapping[str, Rule]
    topic: Topic | None
    topic_keys: Mapping[str, Observed[TopicKey | None]]
    alarms: Observed[Mapping[str, Json]]
    own_stacks: Mapping[str, Observed[str | None]]
    unreserved: Observed[int | None]

    @property
    def is_deployed(self) -> bool:
        """Whether anything of the stage is in the account, or cannot be looked at."""
        functions = (each.configuration for each in self.functions.values())
        return any(each is not None for each in (*functions, *self.own_stacks.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceState(State):
    """The state of an acceptance stage.

    `candidates` and `present` are what *latest* and *current* of each database name. `pipelines` are
    the one that the parameter names and the stage's own; `stacks` are the main pipeline's and those of
    P_STACK_NAME. `disabled` has the reasons of disabled transitions by the stage that they lead to.
    """

    parameters: Observed[Mapping[str, Json]]
    candidates: Mapping[str, Observed[Snapshot | Refused | None]]
    present: Mapping[str, Observed[Snapshot | None]]
    pipelines: Mapping[str, Observed[Json | None]]
    stacks: Sequence[Stack]
    runs: Observed[Sequence[Run]]
    disabled: Observed[Mapping[str, str]]
    deployed: Mapping[str, Deployed]
    shares: Mapping[str, Observed[Shares]]
    copy_keys: Mapping[str, Observed[Json | None]]
    rest_apis: Observed[Sequence[str]]

    @property
    def values(self) -> dict[str, Parameter]:
        """The parameters' values, as the use cases read them."""
        return {} if isinstance(self.parameters, Unavailable) else to_values(self.parameters)

    @property
    def existing_pipeline(self) -> tuple[str, Json] | None:
        """The name and structure of the first pipeline that exists."""
        return existing_pipeline(self.pipelines)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionState(State):
    """The state of a production stage: the clusters with their keys, and the key of copies."""

    clusters: Mapping[str, Observed[Json | None]]
    cluster_keys: Mapping[str, Observed[Json | None]]
    share_key: Observed[Json | None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials are in use, and AWS's time, because this machine's clock may be wrong."""

    identity: Observed[Json]
    now: datetime


def caller(session: boto3.Session) -> Caller:
    """Return who calls AWS, which STS tells everybody."""
    client: Any = session.client("sts", config=_CONFIG)
    identity = _ask("sts:GetCallerIdentity", client.get_caller_identity)
    if isinstance(identity, Unavailable):
        return Caller(identity, datetime.now(UTC))
    date = identity["ResponseMetadata"]["HTTPHeaders"].get("date")
    return Caller(identity, parsedate_to_datetime(date) if date else datetime.now(UTC))


def existing_pipeline(
    pipelines: Mapping[str, Observed[Json | None]],
) -> tuple[str, Json] | None:
    """Return the name and structure of the first pipeline that exists."""
    return next(((name, body) for name, body in pipelines.items() if isinstance(body, dict)), None)


def to_values(parameters: Mapping[str, Json]) -> dict[str, Parameter]:
    """Return AWS's parameters as the use cases read them."""
    return {
        name: Parameter(parameter["Value"], parameter["Version"])
        for name, parameter in parameters.items()
    }


def read_acceptance(
    session: boto3.Session, stage: AcceptanceStage, now: datetime
) -> AcceptanceState:
    """Read the state of an acceptance stage with a session in its Region."""
    settings = stage.settings
    reader = _Reader(session, now, settings.source_region)
    parameters = reader.parameters(settings.promotion_parameters)
    values = {} if isinstance(parameters, Unavailable) else to_values(parameters)
    named = pipeline_name(value_of(values, settings.pipeline_parameter))
    pipelines = {
        name: reader.pipeline(name) for name in dict.fromkeys((named, stage.pipeline)) if name
    }
    # If the parameter names no pipeline that exists, look at the one that it should name.
    existing, body = existing_pipeline(pipelines) or (stage.pipeline, None)
    runs = reader.runs(existing) if body else []
    look = Deployments(
        reader.aws, existing if body else None, [] if isinstance(runs, Unavailable) else runs
    )
    own = list_own_once(reader.aws)
    return AcceptanceState(
        **reader.deployment(stage),
        parameters=parameters,
        candidates={
            each.name: reader.candidate(stage, own, each, values)
            for each in settings.databases
            if each.latest_parameter in values
        },
        present={
            each.name: reader.snapshot(values[each.current_parameter].value)
            for each in settings.databases
            if each.current_parameter in values
        },
        pipelines=pipelines,
        stacks=[
            reader.stack(name, mode, elsewhere)
            for name, (mode, elsewhere) in stacks_to_read(stage, body).items()
        ],
        runs=runs,
        disabled=reader.disabled_transitions(existing) if body else {},
        deployed={each.name: reader.deployed(look, each, values) for each in settings.databases},
        shares=reader.shares(stage),
        copy_keys={
            each.name: reader.key(each.copy_policy.key)
            for each in settings.databases
            if each.copy_policy
        },
        rest_apis=reader.rest_apis(stage.name),
    )


def read_production(
    session: boto3.Session, stage: ProductionStage, now: datetime
) -> ProductionState:
    """Read the state of a production stage with a session in its Region."""
    reader, settings = _Reader(session, now), stage.settings
    clusters = {name: reader.cluster(name) for name in settings.clusters}
    return ProductionState(
        **reader.deployment(stage),
        clusters=clusters,
        cluster_keys={
            name: reader.key(cluster["KmsKeyId"])
            for name, cluster in clusters.items()
            if isinstance(cluster, dict) and cluster.get("StorageEncrypted")
        },
        share_key=reader.key(settings.key) if settings.key else None,
    )


class _ReadOnlyAws(BotoAws):
    """The use cases' own AWS, but with AWS's time. Only its readers are called here."""

    def __init__(self, session: boto3.Session, now: datetime, source_region: str | None) -> None:
        super().__init__(session.client, None, source_region=source_region)
        self._now = now

    def now(self) -> datetime:
        return self._now


class _Reader:
    """The calls, one method for each thing to look at."""

    def __init__(
        self, session: boto3.Session, now: datetime, source_region: str | None = None
    ) -> None:
        self._session = session
        self.aws = _ReadOnlyAws(session, now, source_region)
        self._now = now
        self._source_region = source_region
        self._clients: dict[tuple[str, str | None], Any] = {}

    def _client(self, service: str, region: str | None = None) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = self._session.client(  # type: ignore[call-overload]
                service, region_name=region, config=_CONFIG
            )
        return self._clients[service, region]

    def _one(
        self, action: str, path: str, region: str | None = None, **given: Any
    ) -> Observed[Any]:
        """Return a part of the answer to a call; None if that or what was asked for does not exist."""
        service, operation = action.split(":")
        client = self._client(_SERVICES_OF.get(service, service), region)
        call = getattr(client, xform_name(operation))

        def ask() -> Any:
            try:
                return jmespath.search(path, call(**given))
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    return None
                raise

        return _ask(action, ask)

    def _all(self, action: str, path: str, **given: Any) -> Observed[list[Any]]:
        """Return a part of the answers to a call, from all their pages."""
        service, operation = action.split(":")
        client = self._client(_SERVICES_OF.get(service, service))

        def ask() -> list[Any]:
            return [*client.get_paginator(xform_name(operation)).paginate(**given).search(path)]

        return _ask(action, ask)

    def deployment(self, stage: Stage) -> dict[str, Any]:
        """Return the fields of `State`."""
        functions = {
            function: self.function(name) for function, name in stacks.function_names(stage).items()
        }
        deployed = [isinstance(each.configuration, dict) for each in functions.values()]
        topic = stage.settings.topic_arn
        return {
            "now": self._now,
            "functions": functions,
            "rules": {
                function: self.rule(name) for function, name in stacks.rule_names(stage).items()
            },
            "topic": self.topic(topic) if topic else None,
            "topic_keys": {
                each: self.topic_key(each)
                for each in (topic, stage.settings.chat_topic_arn)
                if each is not None
            },
            "alarms": self.alarms(stacks.alarm_names(stage)),
            "own_stacks": {name: self.stack_status(name) for name in stacks.own_stacks(stage)},
            # Deployed functions have their reservations.
            "unreserved": None if all(deployed) else self.unreserved(),
        }

    def parameters(self, names: Sequence[str]) -> Observed[Mapping[str, Json]]:
        def read() -> dict[str, Json]:
            return {name: {**each} for name, each in self.aws.parameters.read(names).items()}

        return _ask("ssm:GetParameters", read)

    def candidate(
        self,
        stage: AcceptanceStage,
        own: ListOwn,
        database: Database,
        values: Mapping[str, Parameter],
    ) -> Observed[Snapshot | Refused | None]:
        """Return what the schedule would promote now; None if *latest* names nothing."""
        if SnapshotArn.parse(values[database.latest_parameter].value) is None:
            return None

        def choose_now() -> Snapshot | Refused:
            try:
                return candidate(stage.settings, self.aws, own, database, values)
            except Refused as refused:
                return refused

        return _ask(_LIST_SNAPSHOTS, choose_now)

    def snapshot(self, arn: str) -> Observed[Snapshot | None]:
        return _ask(_LIST_SNAPSHOTS, partial(self.aws.snapshots.find, arn))

    def pipeline(self, name: str) -> Observed[Json | None]:
        return self._one("codepipeline:GetPipeline", "pipeline", name=name)

    def runs(self, name: str) -> Observed[Sequence[Run]]:
        def read() -> Sequence[Run]:
            try:
                return self.aws.pipelines.runs(name)
            except Refused:
                return []  # the pipeline does not exist

        return _ask("codepipeline:ListPipelineExecutions", read)

    def disabled_transitions(self, name: str) -> Observed[Mapping[str, str]]:
        def read() -> Mapping[str, str]:
            stages = self._client("codepipeline").get_pipeline_state(name=name)["stageStates"]
            inbound = {each["stageName"]: each.get("inboundTransitionState", {}) for each in stages}
            return {
                stage: each.get("disabledReason", "no reason given")
                for stage, each in inbound.items()
                if not each.get("enabled", True)
            }

        return _ask("codepipeline:GetPipelineState", read)

    def deployed(
        self, look: Deployments, database: Database, values: Mapping[str, Parameter]
    ) -> Deployed:
        reference, machine = database.stack, database.after_restore
        stack = (
            _ask("cloudformation:DescribeStacks", partial(look.stack, reference.stack))
            if reference
            else None
        )
        cluster = None
        if reference and isinstance(stack, SeenStack):
            identifier = stack.clusters.get(reference.cluster_in(stack.clusters))
            cluster = self.cluster(identifier) if identifier else None

        def deployed_now() -> Deployment:
            name = database.current_parameter
            ledger = self.aws.parameters.history(name) if name in values else []
            try:
                return look.of(database, ledger)
            except Refused as refused:
                return Deployment(unknown=str(refused))

        found = _ask("codepipeline:ListActionExecutions", deployed_now)
        return Deployed(
            found,
            stack,
            cluster,
            self.state_machine(machine) if machine else None,
            _ask("states:DescribeExecution", lambda: preparation_of(self.aws, database, found))
            if isinstance(found, Deployment)
            else None,
        )

    def state_machine(self, arn: str) -> Observed[str | None]:
        return self._one("states:DescribeStateMachine", "status", stateMachineArn=arn)

    def stack(self, name: str, mode: str, elsewhere: str) -> Stack:
        if elsewhere:
            return Stack(name, mode, None, {}, elsewhere)
        described = self._one("cloudformation:DescribeStacks", "Stacks[0]", StackName=name)
        if not isinstance(described, dict):
            return Stack(name, mode, described, {})
        action = "cloudformation:GetTemplate"
        body = self._one(action, "TemplateBody", StackName=name)
        if isinstance(body, str):
            body = _ask(action, partial(templates.parsed, body))
        return Stack(name, mode, body, mainpipeline.given(described))

    def rest_apis(self, stage: str) -> Observed[Sequence[str]]:
        return _ask("apigateway:GET", lambda: restapi.invoking(self._client("apigateway"), stage))

    def stack_status(self, stack: str) -> Observed[str | None]:
        return self._one("cloudformation:DescribeStacks", "Stacks[0].StackStatus", StackName=stack)

    def shares(self, stage: AcceptanceStage) -> dict[str, Observed[Shares]]:
        databases = stage.settings.databases
        production = databases[0].criteria.account
        productions: list[Snapshot] = []
        total = 0

        def counted() -> Iterator[Snapshot]:
            nonlocal total
            for snapshot in self.aws.snapshots.shared():
                total += 1
                if snapshot.account == production:  # strangers may share thousands
                    productions.append(snapshot)
                yield snapshot

        criteria = [each.criteria for each in databases]
        choices = _ask(_LIST_SNAPSHOTS, lambda: choose(counted(), criteria))
        if isinstance(choices, Unavailable):
            return dict.fromkeys((each.name for each in databases), choices)
        return {
            database.name: self._shares(database, choice, total, productions)
            for database, choice in zip(databases, choices, strict=True)
        }

    def _shares(
        self, database: Database, choice: Choice, total: int, productions: Sequence[Snapshot]
    ) -> Shares:
        try:
            found = newest(database, choice)
        except Refused as refused:
            return Shares(total, productions, choice, refused, None, None)
        arn = self._one(
            _LIST_SNAPSHOTS,
            "DBClusterSnapshots[0].KmsKeyId",
            self._source_region,
            DBClusterSnapshotIdentifier=found.arn,
            IncludeShared=True,
        )
        key = self.key(arn, self._source_region) if isinstance(arn, str) else None
        return Shares(total, productions, choice, found, arn, key)

    def key(self, arn: str, region: str | None = None) -> Observed[Json | None]:
        return self._one("kms:DescribeKey", "KeyMetadata", region, KeyId=arn)

    def cluster(self, name: str) -> Observed[Json | None]:
        return self._one("rds:DescribeDBClusters", "DBClusters[0]", DBClusterIdentifier=name)

    def function(self, name: str) -> Function:
        configuration = self._one("lambda:GetFunctionConfiguration", "@", FunctionName=name)
        if not isinstance(configuration, dict):
            return Function(name, configuration)
        return Function(
            name,
            configuration,
            self._one(
                "lambda:GetFunctionConcurrency", "ReservedConcurrentExecutions", FunctionName=name
            ),
            self._one(
                "lambda:GetFunctionEventInvokeConfig", "@", FunctionName=name, Qualifier="$LATEST"
            ),
            self._one("lambda:GetPolicy", "Policy", FunctionName=name),
            self._role(configuration["Role"].rpartition("/")[2]),
        )

    def _role(self, name: str) -> Role:
        iam = self._client("iam")

        def inline() -> list[Policy]:
            pages = iam.get_paginator("list_role_policies").paginate(RoleName=name)
            return [
                iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for page in pages
                for policy in page["PolicyNames"]
            ]

        return Role(
            name,
            _ask("iam:ListRolePolicies and iam:GetRolePolicy", inline),
            self._all(
                "iam:ListAttachedRolePolicies", "AttachedPolicies[].PolicyArn", RoleName=name
            ),
        )

    def rule(self, name: str) -> Rule:
        body = self._one("events:DescribeRule", "@", Name=name)
        if not isinstance(body, dict):
            return Rule(name, body, [])
        return Rule(name, body, self._all("events:ListTargetsByRule", "Targets[].Arn", Rule=name))

    def topic(self, arn: str) -> Topic:
        body = self._one("sns:GetTopicAttributes", "Attributes", TopicArn=arn)
        if not isinstance(body, dict):
            return Topic(body, [])
        subscriptions = self._all("sns:ListSubscriptionsByTopic", "Subscriptions[]", TopicArn=arn)
        return Topic(body, subscriptions)

    def topic_key(self, topic: str) -> Observed[TopicKey | None]:
        name = self._one("sns:GetTopicAttributes", "Attributes.KmsMasterKeyId", TopicArn=topic)
        if not name or isinstance(name, Unavailable):
            return name or None
        body = self.key(name)
        if not isinstance(body, dict):
            return TopicKey(name, body)
        text = self._one("kms:GetKeyPolicy", "Policy", KeyId=body["Arn"], PolicyName="default")
        return TopicKey(name, body, json.loads(text) if isinstance(text, str) else text)

    def alarms(self, names: Sequence[str]) -> Observed[Mapping[str, Json]]:
        def ask() -> Mapping[str, Json]:
            answer = self._client("cloudwatch").describe_alarms(
                AlarmNames=list(names), AlarmTypes=["MetricAlarm"], MaxRecords=100
            )
            return {alarm["AlarmName"]: alarm for alarm in answer["MetricAlarms"]}

        return _ask("cloudwatch:DescribeAlarms", ask)

    def unreserved(self) -> Observed[int | None]:
        return self._one("lambda:GetAccountSettings", "AccountLimit.UnreservedConcurrentExecutions")


_LIST_SNAPSHOTS = "rds:DescribeDBClusterSnapshots"
# The services that IAM names otherwise than boto3.
_SERVICES_OF = {"states": "stepfunctions"}
# The errors that mean that what was asked for does not exist; the last one is CloudFormation's.
_ABSENT = {
    "DBClusterNotFoundFault",
    "NotFound",
    "NotFoundException",
    "PipelineNotFoundException",
    "ResourceNotFoundException",
    "StateMachineDoesNotExist",
    "ValidationError",
}
# The services of the operations by which the use cases see what is deployed.
_SERVICES = {
    "GetParameterHistory": "ssm",
    "DescribeStacks": "cloudformation",
    "ListStackResources": "cloudformation",
    "DescribeDBClusters": "rds",
    "ListActionExecutions": "codepipeline",
}


def _ask(action: str, ask: Callable[[], T]) -> Observed[T]:
    """Return the answer, or why there is none."""
    try:
        return ask()
    except ClientError as error:
        details = error.response["Error"]
        return _unavailable(action, details["Code"], details["Message"])
    except AwsError as error:
        service = _SERVICES.get(error.operation)
        needed = f"{service}:{error.operation}" if service else action
        return _unavailable(needed, error.code, error.message)
    except (BotoCoreError, StageError) as error:
        return _unavailable(action, type(error).__name__, str(error))


def _unavailable(action: str, code: str, message: str) -> Unavailable:
    # On one line, because a proxy in between may answer with a whole page.
    why = f"{code}: {' '.join(message.split())}"[:_LENGTH]
    return Unavailable(action, why, code in DENIED)


def stacks_to_read(stage: AcceptanceStage, pipeline: Json | None) -> dict[str, tuple[str, str]]:
    """Return the mode of each stack to look at, and where it is unless that is the stage's place."""
    found: dict[str, tuple[str, str]] = {}
    for action in mainpipeline.deploy_actions(pipeline) if pipeline else ():
        place = action.elsewhere(stage)
        # A pipeline may deploy a stack of the same name in several Regions.
        if action.stack not in found or (found[action.stack][1] and not place):
            found[action.stack] = (action.mode, place)
    for database in stage.settings.databases:
        if database.stack:
            found.setdefault(database.stack.stack, ("", ""))
    return found


def listed(value: Any) -> list[Any]:
    """Return a policy's value or list as a list."""
    return value if isinstance(value, list) else [value]
