"""What the doctor looks at: AWS's own answers, each got by a call that only reads.

What is denied, or fails, leaves an :class:`Unseen` in its answer's place and hides nothing else. Nothing is
judged here; ``checks.py`` does that.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

import boto3
import yaml  # type: ignore[import-untyped]
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import BotoAws
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import Parameter, Run
from chalicelib.domain.snapshots import Choice, Snapshot, SnapshotArn, choose
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import candidate, pipeline_name
from chalicelib.usecases.update_latest import newest
from stage import restapi
from stage.config import Stage
from stage.policies import Policy, actions

Json = dict[str, Any]
T = TypeVar("T")

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=20
)
_DENIALS = ("AccessDenied", "AccessDeniedException", "AuthorizationError")
_WHY = 500  # a refusal names its reason last, after two ARNs
_NAMES_A_CALL = 10  # of GetParameters


@dataclass(frozen=True, slots=True)
class Unseen:
    """What AWS did not show, and why; ``action`` is what a policy has to allow for it."""

    action: str
    why: str
    denied: bool = False


# What was seen of a thing; None where it is not there.
Seen: TypeAlias = T | Unseen


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that the main pipeline deploys: its template, and the values its parameters were given."""

    name: str
    mode: str
    template: Seen[Json | None]
    given: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shares:
    """What is shared, as one database sees it: of ``total`` by whomever, ``productions`` are production's.

    ``key`` is the newest share's, None where it has none.
    """

    total: int
    productions: Sequence[Snapshot]
    choice: Choice
    newest: Snapshot | Refused
    key_arn: Seen[str | None]
    key: Seen[Json | None]


@dataclass(frozen=True, slots=True)
class Role:
    """A function's role: its policies, and what IAM's simulator decided for each action and resource."""

    name: str
    inline: Seen[list[Policy]]
    attached: Seen[list[str]]
    decisions: Seen[Mapping[tuple[str, str], str]]


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function; the rest is of no meaning where there is none."""

    name: str
    configuration: Seen[Json | None]
    concurrency: Seen[int | None] = None
    asynchronous: Seen[Json | None] = None
    invokers: Seen[str | None] = None
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An EventBridge rule, and the ARNs of its targets."""

    name: str
    body: Seen[Json | None]
    targets: Seen[list[str]]


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic for people, in its subscribers' own words for their ARN."""

    body: Seen[Json | None]
    subscriptions: Seen[list[Json]]


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the account. By database: what *latest* and *current* name, and the shares.

    ``copy_keys`` are those that copies are made under, None for one that is not there. ``pipelines`` has what the parameter names and what the stage's policies name; ``stacks`` are the main
    pipeline's, ``own_stacks`` the states of those that ``make deploy`` makes; ``unreserved`` is how many concurrent
    executions the account has left to reserve.
    """

    now: datetime
    parameters: Seen[Mapping[str, Json]]
    candidates: Mapping[str, Seen[Snapshot | Refused | None]]
    present: Mapping[str, Seen[Snapshot | None]]
    pipelines: Mapping[str, Seen[Json | None]]
    stacks: Sequence[Stack]
    runs: Seen[Sequence[Run]]
    shares: Mapping[str, Seen[Shares]]
    copy_keys: Mapping[str, Seen[Json | None]]
    functions: Mapping[str, Function]
    rules: Mapping[str, Rule]
    topic: Topic | None
    alarms: Seen[Mapping[str, Json]]
    own_stacks: Mapping[str, Seen[str | None]]
    rest_apis: Seen[Sequence[str]]
    unreserved: Seen[int | None]

    @property
    def values(self) -> dict[str, Parameter]:
        """What the parameters hold, as the use cases read it."""
        if isinstance(self.parameters, Unseen):
            return {}
        return as_values(self.parameters)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credentials are in use, and what AWS's clock showed: this machine's may be wrong."""

    identity: Seen[Json]
    now: datetime


def caller(session: boto3.Session) -> Caller:
    """Who asks; STS tells anybody."""
    client: Any = session.client("sts", config=_CONFIG)
    identity = _ask("sts:GetCallerIdentity", client.get_caller_identity)
    if isinstance(identity, Unseen):
        return Caller(identity, datetime.now(UTC))
    date = identity["ResponseMetadata"]["HTTPHeaders"].get("date")
    return Caller(identity, parsedate_to_datetime(date) if date else datetime.now(UTC))


def as_values(parameters: Mapping[str, Json]) -> dict[str, Parameter]:
    """AWS's parameters as the use cases read them."""
    return {
        name: Parameter(parameter["Value"], parameter["Version"])
        for name, parameter in parameters.items()
    }


def look(
    session: boto3.Session,
    stage: Stage,
    now: datetime,
    policies: Mapping[str, Policy],
    functions: Mapping[str, str],
    rules: Mapping[str, str],
    alarms: Sequence[str],
    own_stacks: Sequence[str],
) -> Facts:
    """Look at everything, with a session in the stage's Region.

    The last five say what the stage's functions may do, and what its resources are called.
    """
    eyes = _Eyes(session, stage, now)
    settings = stage.settings
    parameters = eyes.parameters(settings.promotion_parameters)
    values = {} if isinstance(parameters, Unseen) else as_values(parameters)
    named = pipeline_name(settings, values)
    own = stage.pipeline_arn.rpartition(":")[2]
    pipelines = {name: eyes.pipeline(name) for name in dict.fromkeys((named, own)) if name}
    # Where the parameter names none that there is, the other one is what it ought to name.
    there, body = next(
        ((name, body) for name, body in pipelines.items() if isinstance(body, dict)), (own, None)
    )
    seen = {function: eyes.function(name) for function, name in functions.items()}
    return Facts(
        now=now,
        parameters=parameters,
        candidates={
            each.name: eyes.candidate(each, values)
            for each in settings.databases
            if each.latest_parameter in values
        },
        present={
            each.name: eyes.snapshot(values[each.current_parameter].value)
            for each in settings.databases
            if each.current_parameter in values
        },
        pipelines=pipelines,
        stacks=[eyes.stack(*each) for each in _stacks_of(body)] if body else [],
        runs=eyes.runs(there) if body else [],
        shares=eyes.shares(),
        copy_keys={
            each.name: eyes.key(each.copy_policy.key)
            for each in settings.databases
            if each.copy_policy
        },
        functions={
            function: each if each.role is None else eyes.simulated(each, policies[function])
            for function, each in seen.items()
        },
        rules={function: eyes.rule(name) for function, name in rules.items()},
        topic=eyes.topic(settings.topic_arn) if settings.topic_arn else None,
        alarms=eyes.alarms(alarms),
        own_stacks={name: eyes.state(name) for name in own_stacks},
        rest_apis=eyes.rest_apis(stage.name),
        # What is deployed has its reservation already.
        unreserved=None
        if all(isinstance(each.configuration, dict) for each in seen.values())
        else eyes.unreserved(),
    )


class _World(BotoAws):
    """The use cases' own AWS, whose clock is AWS's. Nothing but its readers is called here."""

    def __init__(self, session: boto3.Session, now: datetime) -> None:
        super().__init__(session.client, None)
        self._now = now

    def now(self) -> datetime:  # type: ignore[override]
        return self._now


class _Eyes:
    """The calls, one method for each thing to look at."""

    def __init__(self, session: boto3.Session, stage: Stage, now: datetime) -> None:
        self._session = session
        self._settings: Settings = stage.settings
        self._world = _World(session, now)
        self._clients: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, config=_CONFIG)  # type: ignore[call-overload]
        return self._clients[service]

    def parameters(self, names: Sequence[str]) -> Seen[Mapping[str, Json]]:
        def ask() -> Mapping[str, Json]:
            found: dict[str, Json] = {}
            for first in range(0, len(names), _NAMES_A_CALL):
                some = list(names[first : first + _NAMES_A_CALL])
                answer = self._client("ssm").get_parameters(Names=some)
                found |= {each["Name"]: each for each in answer["Parameters"]}
            return found

        return _ask("ssm:GetParameters", ask)

    def candidate(
        self, database: Database, values: Mapping[str, Parameter]
    ) -> Seen[Snapshot | Refused | None]:
        """What the schedule would promote now; None where *latest* names nothing."""
        if SnapshotArn.parse(values[database.latest_parameter].value) is None:
            return None
        try:
            return candidate(self._settings, self._world, database, values)
        except Refused as refused:
            return refused
        except AwsError as error:
            return _unseen_snapshots(error)

    def snapshot(self, arn: str) -> Seen[Snapshot | None]:
        try:
            return self._world.snapshots.find(arn)
        except AwsError as error:
            return _unseen_snapshots(error)

    def pipeline(self, name: str) -> Seen[Json | None]:
        return _ask_for(
            "codepipeline:GetPipeline",
            lambda: self._client("codepipeline").get_pipeline(name=name)["pipeline"],
            "PipelineNotFoundException",
        )

    def runs(self, name: str) -> Seen[Sequence[Run]]:
        try:
            return self._world.pipelines.runs(name)
        except Refused:
            return []
        except AwsError as error:
            return Unseen("codepipeline:ListPipelineExecutions", str(error), _denied(error.code))

    def stack(self, name: str, mode: str) -> Stack:
        client = self._client("cloudformation")
        template = _ask_for(
            "cloudformation:GetTemplate",
            lambda: parsed(client.get_template(StackName=name)["TemplateBody"]),
            "ValidationError",  # what CloudFormation calls a stack that is not there
        )
        described = _ask_for(
            "cloudformation:DescribeStacks",
            lambda: client.describe_stacks(StackName=name)["Stacks"][0],
            "ValidationError",
        )
        if isinstance(described, Unseen):
            return Stack(name, mode, described, {})
        parameters = (described or {}).get("Parameters", [])
        given = {each["ParameterKey"]: each["ParameterValue"] for each in parameters}
        return Stack(name, mode, template, given)

    def rest_apis(self, stage: str) -> Seen[Sequence[str]]:
        return _ask("apigateway:GET", lambda: restapi.leading_to(self._client("apigateway"), stage))

    def state(self, stack: str) -> Seen[str | None]:
        client = self._client("cloudformation")
        return _ask_for(
            "cloudformation:DescribeStacks",
            lambda: client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"],
            "ValidationError",
        )

    def shares(self) -> dict[str, Seen[Shares]]:
        databases = self._settings.databases
        production = databases[0].criteria.account
        productions: list[Snapshot] = []
        total = 0

        def counted() -> Iterator[Snapshot]:
            nonlocal total
            for snapshot in self._world.snapshots.shared():
                total += 1
                if snapshot.account == production:  # of strangers' there may be thousands
                    productions.append(snapshot)
                yield snapshot

        try:
            choices = choose(counted(), [each.criteria for each in databases])
        except AwsError as error:
            return dict.fromkeys((each.name for each in databases), _unseen_snapshots(error))
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
        arn = _ask("rds:DescribeDBClusterSnapshots", lambda: self._key_of(found.arn))
        key = self.key(arn) if isinstance(arn, str) else None
        return Shares(total, productions, choice, found, arn, key)

    def _key_of(self, snapshot: str) -> str | None:
        described = self._client("rds").describe_db_cluster_snapshots(
            DBClusterSnapshotIdentifier=snapshot, IncludeShared=True
        )["DBClusterSnapshots"]
        return next((each.get("KmsKeyId") for each in described), None)

    def key(self, arn: str) -> Seen[Json | None]:
        return _ask_for(
            "kms:DescribeKey",
            lambda: self._client("kms").describe_key(KeyId=arn)["KeyMetadata"],
            "NotFoundException",
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
        """The function with what IAM decides for its role on all that ``policy`` grants.

        With permissions boundaries and the organization's policies, which only IAM knows.
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

        role = function.role
        decisions = _ask("iam:SimulatePrincipalPolicy", ask)
        return Function(
            function.name,
            function.configuration,
            function.concurrency,
            function.asynchronous,
            function.invokers,
            Role(role.name, role.inline, role.attached, decisions),
        )

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

    def alarms(self, names: Sequence[str]) -> Seen[Mapping[str, Json]]:
        def ask() -> Mapping[str, Json]:
            answer = self._client("cloudwatch").describe_alarms(
                AlarmNames=list(names), AlarmTypes=["MetricAlarm"], MaxRecords=100
            )
            return {alarm["AlarmName"]: alarm for alarm in answer["MetricAlarms"]}

        return _ask("cloudwatch:DescribeAlarms", ask)

    def unreserved(self) -> Seen[int | None]:
        return _ask(
            "lambda:GetAccountSettings",
            lambda: self._client("lambda").get_account_settings()["AccountLimit"][
                "UnreservedConcurrentExecutions"
            ],
        )


def _ask(action: str, ask: Callable[[], T]) -> Seen[T]:
    """The answer, or why there is none."""
    try:
        return ask()
    except ClientError as error:
        told = error.response["Error"]
        return Unseen(action, _short(told["Code"], told["Message"]), _denied(told["Code"]))
    except (BotoCoreError, yaml.YAMLError) as error:
        return Unseen(action, _short(type(error).__name__, str(error)))


def _short(code: str, message: str) -> str:
    """Why, on one line: a proxy between us and AWS answers with whole pages."""
    return f"{code}: {' '.join(message.split())}"[:_WHY]


def _ask_for(action: str, ask: Callable[[], T], *absent: str) -> Seen[T | None]:
    """As ``_ask``; None where the error says that there is no such thing."""
    try:
        return _ask(action, lambda: _unless(ask, absent))
    except LookupError:
        return None


def _unless(ask: Callable[[], T], absent: Collection[str]) -> T:
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in absent:
            raise LookupError from error
        raise


def _denied(code: str) -> bool:
    return code in _DENIALS


def _unseen_snapshots(error: AwsError) -> Unseen:
    return Unseen(f"rds:{error.operation}", f"{error.code}: {error.message}", _denied(error.code))


def _stacks_of(pipeline: Json) -> Iterator[tuple[str, str]]:
    """The stacks that a pipeline's CloudFormation actions deploy, each with its action's mode."""
    told: dict[str, str] = {}
    for stage in pipeline["stages"]:
        for action in stage["actions"]:
            given, kind = action.get("configuration", {}), action["actionTypeId"]
            deploys = (kind["category"], kind["provider"]) == ("Deploy", "CloudFormation")
            if deploys and "StackName" in given:
                told.setdefault(given["StackName"], given.get("ActionMode", ""))
    return iter(told.items())


def _decisions(results: Sequence[Json]) -> Iterator[tuple[tuple[str, str], str]]:
    """IAM tells of several resources either in results of their own, or within an action's."""
    for result in results:
        action = result["EvalActionName"]
        if "EvalResourceName" in result:
            yield (action, result["EvalResourceName"]), result["EvalDecision"]
        for each in result.get("ResourceSpecificResults", []):
            yield (action, each["EvalResourceName"]), each["EvalResourceDecision"]


def _context(statement: Mapping[str, Any]) -> list[Json]:
    """The circumstances that a statement's conditions ask for, as the simulator is told of them."""
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
    """A policy's one or many, as many."""
    return value if isinstance(value, list) else [value]


class _Template(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short forms, such as ``!Ref``, as their long ones."""


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
    """A template, which boto3 has parsed already where it is JSON."""
    document = yaml.load(body, _Template) if isinstance(body, str) else body  # noqa: S506 (a SafeLoader)
    if not isinstance(document, dict):
        raise yaml.YAMLError("the template is no mapping")
    return document
