"""What the doctor looks at: AWS's answers to calls that only read.

A denied or failed call leaves an `Unavailable` in place of its answer and hides nothing else. Other
modules judge.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar

import boto3
import yaml  # type: ignore[import-untyped]
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
from cli import mainpipeline, restapi, stacks
from cli.policies import Policy, actions, policies
from cli.stages import AcceptanceStage, ProductionStage, Stage

Json = dict[str, Any]
T = TypeVar("T")

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=20
)
_DENIALS = ("AccessDenied", "AccessDeniedException", "AuthorizationError")
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
    """A function's role: its policies, and the IAM simulator's decision on each action and resource."""

    name: str
    inline: Observed[list[Policy]]
    attached: Observed[list[str]]
    decisions: Observed[Mapping[tuple[str, str], str]]


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
    reader, settings = _Reader(session, now), stage.settings
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

    def __init__(self, session: boto3.Session, now: datetime) -> None:
        super().__init__(session.client, None)
        self._now = now

    def now(self) -> datetime:  # type: ignore[override]
        return self._now


class _Reader:
    """The calls, one method for each thing to look at."""

    def __init__(self, session: boto3.Session, now: datetime) -> None:
        self._session = session
        self.aws = _ReadOnlyAws(session, now)
        self._now = now
        self._clients: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, config=_CONFIG)  # type: ignore[call-overload]
        return self._clients[service]

    def deployment(self, stage: Stage) -> dict[str, Any]:
        """Return the fields of `State`."""
        wanted = policies(stage)
        functions = {
            function: self.function(name) for function, name in stacks.function_names(stage).items()
        }
        deployed = [isinstance(each.configuration, dict) for each in functions.values()]
        topic = stage.settings.topic_arn
        return {
            "now": self._now,
            "functions": {
                function: each if each.role is None else self.simulated(each, wanted[function])
                for function, each in functions.items()
            },
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
        return _ask_for(
            "codepipeline:GetPipeline",
            lambda: self._client("codepipeline").get_pipeline(name=name)["pipeline"],
            "PipelineNotFoundException",
        )

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
        return _ask_for(
            "states:DescribeStateMachine",
            lambda: self._client("stepfunctions").describe_state_machine(stateMachineArn=arn)[
                "status"
            ],
            "StateMachineDoesNotExist",
        )

    def stack(self, name: str, mode: str, elsewhere: str) -> Stack:
        if elsewhere:
            return Stack(name, mode, None, {}, elsewhere)
        client = self._client("cloudformation")
        template = _ask_for(
            "cloudformation:GetTemplate",
            lambda: parsed(client.get_template(StackName=name)["TemplateBody"]),
            "ValidationError",  # of a stack that does not exist
        )
        described = _ask_for(
            "cloudformation:DescribeStacks",
            lambda: client.describe_stacks(StackName=name)["Stacks"][0],
            "ValidationError",
        )
        if isinstance(described, Unavailable):
            return Stack(name, mode, described, {})
        parameters = (described or {}).get("Parameters", [])
        given = {each["ParameterKey"]: each["ParameterValue"] for each in parameters}
        return Stack(name, mode, template, given)

    def rest_apis(self, stage: str) -> Observed[Sequence[str]]:
        return _ask("apigateway:GET", lambda: restapi.invoking(self._client("apigateway"), stage))

    def stack_status(self, stack: str) -> Observed[str | None]:
        client = self._client("cloudformation")
        return _ask_for(
            "cloudformation:DescribeStacks",
            lambda: client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"],
            "ValidationError",
        )

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
        arn = _ask(_LIST_SNAPSHOTS, lambda: self._key_of(found.arn))
        key = self.key(arn) if isinstance(arn, str) else None
        return Shares(total, productions, choice, found, arn, key)

    def _key_of(self, snapshot: str) -> str | None:
        described = self._client("rds").describe_db_cluster_snapshots(
            DBClusterSnapshotIdentifier=snapshot, IncludeShared=True
        )["DBClusterSnapshots"]
        return next((each.get("KmsKeyId") for each in described), None)

    def key(self, arn: str) -> Observed[Json | None]:
        return _ask_for(
            "kms:DescribeKey",
            lambda: self._client("kms").describe_key(KeyId=arn)["KeyMetadata"],
            "NotFoundException",
        )

    def cluster(self, name: str) -> Observed[Json | None]:
        return _ask_for(
            "rds:DescribeDBClusters",
            lambda: self._client("rds").describe_db_clusters(DBClusterIdentifier=name)[
                "DBClusters"
            ][0],
            "DBClusterNotFoundFault",
        )

    def function(self, name: str) -> Function:
        client, absent = self._client("lambda"), "ResourceNotFoundException"
        configuration = _ask_for(
            "lambda:GetFunctionConfiguration",
            lambda: client.get_function_configuration(FunctionName=name),
            absent,
        )
        if not isinstance(configuration, dict):
            return Function(name, configuration)
        return Function(
            name,
            configuration,
            _ask_for(
                "lambda:GetFunctionConcurrency",
                lambda: client.get_function_concurrency(FunctionName=name).get(
                    "ReservedConcurrentExecutions"
                ),
                absent,
            ),
            _ask_for(
                "lambda:GetFunctionEventInvokeConfig",
                lambda: client.get_function_event_invoke_config(
                    FunctionName=name, Qualifier="$LATEST"
                ),
                absent,
            ),
            _ask_for(
                "lambda:GetPolicy", lambda: client.get_policy(FunctionName=name)["Policy"], absent
            ),
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

        def attached() -> list[str]:
            pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
            return [policy["PolicyArn"] for page in pages for policy in page["AttachedPolicies"]]

        return Role(
            name,
            _ask("iam:ListRolePolicies and iam:GetRolePolicy", inline),
            _ask("iam:ListAttachedRolePolicies", attached),
            {},
        )

    def simulated(self, function: Function, policy: Policy) -> Function:
        """Return the function with IAM's decisions on everything that `policy` grants.

        IAM also considers permissions boundaries and the organization's policies.
        """
        assert isinstance(function.configuration, dict)
        assert function.role is not None
        role_arn = function.configuration["Role"]
        simulator = self._client("iam").get_paginator("simulate_principal_policy")

        def ask() -> Mapping[tuple[str, str], str]:
            decisions: dict[tuple[str, str], str] = {}
            for statement in policy["Statement"]:
                pages = simulator.paginate(
                    PolicySourceArn=role_arn,
                    ActionNames=actions(statement),
                    ResourceArns=listed(statement["Resource"]),
                    ContextEntries=_context(statement),
                )
                for page in pages:
                    decisions.update(_decisions(page["EvaluationResults"]))
            return decisions

        decisions = _ask("iam:SimulatePrincipalPolicy", ask)
        return replace(function, role=replace(function.role, decisions=decisions))

    def rule(self, name: str) -> Rule:
        client, absent = self._client("events"), "ResourceNotFoundException"
        body = _ask_for("events:DescribeRule", lambda: client.describe_rule(Name=name), absent)
        if not isinstance(body, dict):
            return Rule(name, body, [])

        def targets() -> list[str]:
            pages = client.get_paginator("list_targets_by_rule").paginate(Rule=name)
            return [target["Arn"] for page in pages for target in page["Targets"]]

        return Rule(name, body, _ask("events:ListTargetsByRule", targets))

    def topic(self, arn: str) -> Topic:
        client = self._client("sns")
        body = _ask_for(
            "sns:GetTopicAttributes",
            lambda: client.get_topic_attributes(TopicArn=arn)["Attributes"],
            *("NotFound", "NotFoundException"),
        )
        if not isinstance(body, dict):
            return Topic(body, [])

        def subscriptions() -> list[Json]:
            pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
            return [each for page in pages for each in page["Subscriptions"]]

        return Topic(body, _ask("sns:ListSubscriptionsByTopic", subscriptions))

    def topic_key(self, topic: str) -> Observed[TopicKey | None]:
        attributes = self.topic(topic).body
        if not isinstance(attributes, dict) or not attributes.get("KmsMasterKeyId"):
            return attributes if isinstance(attributes, Unavailable) else None
        name = attributes["KmsMasterKeyId"]
        body = self.key(name)
        if not isinstance(body, dict):
            return TopicKey(name, body)
        client = self._client("kms")
        policy = _ask(
            "kms:GetKeyPolicy",
            lambda: json.loads(
                client.get_key_policy(KeyId=body["Arn"], PolicyName="default")["Policy"]
            ),
        )
        return TopicKey(name, body, policy)

    def alarms(self, names: Sequence[str]) -> Observed[Mapping[str, Json]]:
        def ask() -> Mapping[str, Json]:
            answer = self._client("cloudwatch").describe_alarms(
                AlarmNames=list(names), AlarmTypes=["MetricAlarm"], MaxRecords=100
            )
            return {alarm["AlarmName"]: alarm for alarm in answer["MetricAlarms"]}

        return _ask("cloudwatch:DescribeAlarms", ask)

    def unreserved(self) -> Observed[int | None]:
        return _ask(
            "lambda:GetAccountSettings",
            lambda: self._client("lambda").get_account_settings()["AccountLimit"][
                "UnreservedConcurrentExecutions"
            ],
        )


_LIST_SNAPSHOTS = "rds:DescribeDBClusterSnapshots"
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
    except (BotoCoreError, yaml.YAMLError) as error:
        return _unavailable(action, type(error).__name__, str(error))


def _ask_for(action: str, ask: Callable[[], T], *absent: str) -> Observed[T | None]:
    """Return the answer, None for one of the error codes `absent`, or why there is none."""

    def ask_for() -> T | None:
        try:
            return ask()
        except ClientError as error:
            if error.response["Error"]["Code"] in absent:
                return None
            raise

    return _ask(action, ask_for)


def _unavailable(action: str, code: str, message: str) -> Unavailable:
    # On one line, because a proxy in between may answer with a whole page.
    why = f"{code}: {' '.join(message.split())}"[:_LENGTH]
    return Unavailable(action, why, code in _DENIALS)


def stacks_to_read(stage: AcceptanceStage, pipeline: Json | None) -> dict[str, tuple[str, str]]:
    """Return the mode of each stack to look at, and where it is unless that is the stage's place."""
    found: dict[str, tuple[str, str]] = {}
    for action in mainpipeline.deploy_actions(pipeline) if pipeline else ():
        place = elsewhere(stage, action)
        # A pipeline may deploy a stack of the same name in several Regions.
        if action.stack not in found or (found[action.stack][1] and not place):
            found[action.stack] = (action.mode, place)
    for database in stage.settings.databases:
        if database.stack:
            found.setdefault(database.stack.stack, ("", ""))
    return found


def elsewhere(stage: AcceptanceStage, action: mainpipeline.DeployAction) -> str:
    """Return where an action deploys; "" if that is the stage's account and Region."""
    place = (action.account or stage.account, action.region or stage.region)
    if place != (stage.account, stage.region):
        return f"in account {place[0]}, {place[1]}"
    return "under a name that only the run knows" if action.has_variable else ""


def _decisions(results: Sequence[Json]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the decisions. IAM lists resources in results of their own or within an action's."""
    for result in results:
        action = result["EvalActionName"]
        if "EvalResourceName" in result:
            yield (action, result["EvalResourceName"]), result["EvalDecision"]
        for each in result.get("ResourceSpecificResults", []):
            yield (action, each["EvalResourceName"]), each["EvalResourceDecision"]


def _context(statement: Mapping[str, Any]) -> list[Json]:
    """Return the values of the statement's conditions, for the simulator."""
    return [
        {
            "ContextKeyName": key,
            "ContextKeyValues": listed(values),
            "ContextKeyType": "stringList" if operator.startswith("ForAnyValue:") else "string",
        }
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]


def listed(value: Any) -> list[Any]:
    """Return a policy's value or list as a list."""
    return value if isinstance(value, list) else [value]


class _Template(yaml.SafeLoader):  # type: ignore[misc]
    """YAML that reads CloudFormation's short forms, such as `!Ref`, as the long ones."""


def _long_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Json:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Template.add_multi_constructor("!", _long_form)


def parsed(body: str | Json) -> Json:
    """Parse a template, unless boto3 has, which it does with JSON; raise YAMLError."""
    document = yaml.load(body, _Template) if isinstance(body, str) else body  # noqa: S506 (a SafeLoader)
    if not isinstance(document, dict):
        raise yaml.YAMLError("the template is not a mapping")
    return document
