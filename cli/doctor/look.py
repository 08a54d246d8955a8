"""What the doctor looks at: AWS's answers to calls that only read, each made once, when it is needed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.errors import code_and_message
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, Preparation
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import Run
from chalicelib.domain.parameters import Values
from chalicelib.domain.snapshots import Choice, Snapshot, choose
from chalicelib.usecases.checks import candidate
from chalicelib.usecases.copies import ListOwn, list_own_once
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.preparation import preparation_of
from chalicelib.usecases.update_latest import newest
from cli import mainpipeline, restapi, stacks, templates
from cli.calls import Calls
from cli.cloudformation import LEFT_OVER
from cli.errors import DENIED
from cli.mainpipeline import DeployedStack, StackTemplate
from cli.stages import AcceptanceStage, Json, Stage, StageError, to_deploy

P = ParamSpec("P")
T = TypeVar("T")
S_co = TypeVar("S_co", bound=Stage, covariant=True)

_LENGTH = 500  # of a reason; a denial names the policy last, after two ARNs
_LIST_SNAPSHOTS = "rds:DescribeDBClusterSnapshots"


class Unavailable(Exception):
    """AWS did not return something: `why`, and the IAM `action` that it needs."""

    def __init__(self, action: str, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.action, self.why, self.denied = action, why, denied


def caller(session: boto3.Session, region: str) -> tuple[Json, datetime]:
    """Return who calls AWS, and AWS's time, as this machine's may be wrong; raise Unavailable."""
    action = "sts:GetCallerIdentity"
    identity: Json = _asked(action, partial(Calls(session, region).one, action, "@"))
    date = identity["ResponseMetadata"]["HTTPHeaders"].get("date")
    return identity, parsedate_to_datetime(date) if date else datetime.now(UTC)


def known(question: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
    """Return the answer to a question; None if AWS does not show it."""
    try:
        return question(*given, **named)
    except Unavailable:
        return None


def is_absent(question: Callable[P, T], *given: P.args, **named: P.kwargs) -> bool:
    """Return whether AWS confirms that the resource does not exist."""
    try:
        return question(*given, **named) is None
    except Unavailable:
        return False


Method = Callable[Concatenate[Any, P], T]


def question(action: str) -> Callable[[Method[P, T]], Method[P, T]]:
    """Cache a method's AWS response for each first argument; `action` is the IAM action that it needs."""

    def decorate(method: Method[P, T]) -> Method[P, T]:
        def ask(look: Any, /, *given: P.args, **named: P.kwargs) -> T:
            subjects = [str(getattr(each, "name", each)) for each in given[:1]]
            name = " of ".join([method.__name__, *subjects])
            found: T = look.ask(name, action, partial(method, look, *given, **named))
            return found

        return ask

    return decorate


def described(action: str, path: str, parameter: str) -> Callable[[Any, str], Json | None]:
    """Return a question of a look: the description of what has a name; None if it does not exist."""

    def ask(look: Any, name: str) -> Json | None:
        found: Json | None = look.one(action, path, **{parameter: name})
        return found

    return ask


class _ReadOnlyAws(BotoAws):
    """The use cases' own AWS, but with AWS's time. Only its readers are called here."""

    def __init__(self, session: boto3.Session, now: datetime, source_region: str | None) -> None:
        super().__init__(session.client, None, source_region=source_region)
        self._now = now

    def now(self) -> datetime:
        return self._now


class Look(Generic[S_co]):
    """What a stage has in its account. Every question raises Unavailable if AWS does not show it.

    `answers` has those that are known already, by the names of the questions.
    """

    def __init__(
        self,
        stage: S_co,
        session: boto3.Session,
        now: datetime,
        answers: Mapping[str, Any] | None = None,
    ) -> None:
        self.stage, self.now = stage, now
        self._session = session
        self._calls = Calls(session, stage.region)
        self._answers = dict(answers or {})

    def ask(self, name: str, action: str, question: Callable[[], T]) -> T:
        """Return the answer to a question; the action is what it needs."""
        if name not in self._answers:
            try:
                self._answers[name] = _asked(action, question)
            except Unavailable as unavailable:
                self._answers[name] = unavailable
        answer: Any = self._answers[name]
        if isinstance(answer, Unavailable):
            raise answer
        found: T = answer
        return found

    def one(self, action: str, path: str, region: str | None = None, **given: Any) -> Any:
        """Return a part of the answer to a call.

        Its name is the action with the first parameter, and the Region if one is given.
        """
        question = partial(self._calls.one, action, path, region, **given)
        return self.ask(_name(action, given, region), action, question)

    def all(self, action: str, path: str, **given: Any) -> list[Any]:
        """Return a part of the answers to a call, from all their pages."""
        question = partial(self._calls.all, action, path, **given)
        return self.ask(_name(action, given), action, question) or []

    # --- every stage ------------------------------------------------------------------------------

    @property
    def is_deployed(self) -> bool:
        """Whether a function of the stage is in the account, or cannot be looked at."""
        functions = self.function_names.values()
        return not all(is_absent(self.function, name) for name in functions)

    @property
    def packaged_stacks(self) -> list[str]:
        """The stage's stacks, if the templates of `aurora-refresh package` were deployed."""
        names = stacks.packaged_stacks(self.stage.name)
        found = known(self.stack, names["sam.json"])
        return [*names.values()] if found and found["StackStatus"] not in LEFT_OVER else []

    @property
    def deploy(self) -> str:
        """The command that deploys the stage in the way in which it was deployed before."""
        if not self.packaged_stacks:
            return to_deploy(self.stage.name)
        return f"aurora-refresh package --stage {self.stage.name}, and then deploy its templates"

    @cached_property
    def function_names(self) -> dict[str, str]:
        """Lambda's names of the functions, by Chalice's."""
        return stacks.function_names(self.stage)

    function = described("lambda:GetFunctionConfiguration", "@", "FunctionName")
    stack = described("cloudformation:DescribeStacks", "Stacks[0]", "StackName")
    topic = described("sns:GetTopicAttributes", "Attributes", "TopicArn")
    cluster = described("rds:DescribeDBClusters", "DBClusters[0]", "DBClusterIdentifier")

    @question("iam:ListRolePolicies and iam:GetRolePolicy")
    def statements(self, role: str) -> list[Json]:
        """Return the statements of a role's inline policies."""
        names = self._calls.all("iam:ListRolePolicies", "PolicyNames[]", RoleName=role) or ()
        get, path = "iam:GetRolePolicy", "PolicyDocument.[Statement][]"
        found = (self._calls.one(get, path, RoleName=role, PolicyName=name) for name in names)
        return [statement for policy in found for statement in policy]

    def topic_key(self, topic: str) -> str | None:
        """Return the ARN of the key that a topic is under, or of its alias; None without a key."""
        name: str | None = (self.topic(topic) or {}).get("KmsMasterKeyId")
        if not name or name.startswith("arn:"):
            return name
        of_topic = topic.rpartition(":")[0].replace(":sns:", ":kms:")
        return f"{of_topic}:{name if name.startswith('alias/') else f'key/{name}'}"

    @question("cloudwatch:DescribeAlarms")
    def alarms(self) -> Mapping[str, Json | None]:
        """Return each alarm that the stage should have by its name; None if it does not exist."""
        names = stacks.alarm_names(self.stage)
        given: Json = {"AlarmNames": names, "AlarmTypes": ["MetricAlarm"], "MaxRecords": 100}
        found = self._calls.one("cloudwatch:DescribeAlarms", "MetricAlarms", **given)
        alarms = {alarm["AlarmName"]: alarm for alarm in found or ()}
        return {name: alarms.get(name) for name in names}

    def key(self, key: str, region: str | None = None) -> Json | None:
        """Return a key's metadata."""
        found: Json | None = self.one("kms:DescribeKey", "KeyMetadata", region, KeyId=key)
        return found


class AcceptanceLook(Look[AcceptanceStage]):
    """What an acceptance stage has besides, much of it as the use cases see it."""

    @cached_property
    def aws(self) -> BotoAws:
        """The use cases' AWS."""
        return _ReadOnlyAws(self._session, self.now, self.stage.settings.source_region)

    @question("ssm:GetParameters")
    def parameters(self) -> Values:
        """Return the parameters that exist."""
        return self.aws.parameters.get(self.stage.settings.promotion_parameters)

    @property
    def values(self) -> Values:
        """The parameters that exist; none if they cannot be read."""
        return known(self.parameters) or {}

    @question(_LIST_SNAPSHOTS)
    def candidate(self, database: Database) -> Snapshot | Refused:
        """Return what the schedule would promote now of what *latest* names."""
        try:
            return candidate(self.stage.settings, self.aws, self._own, database, self.values)
        except Refused as refused:
            return refused

    @cached_property
    def _own(self) -> ListOwn:
        return list_own_once(self.aws)

    @question(_LIST_SNAPSHOTS)
    def present(self, _database: Database, arn: str) -> Snapshot | None:
        """Return the snapshot that a database's *current* names."""
        return self.aws.snapshots.find(arn)

    pipeline = described("codepipeline:GetPipeline", "pipeline", "name")

    @property
    def structure(self) -> Json | None:
        """The main pipeline's structure; None if it does not exist or cannot be looked at."""
        return known(self.pipeline, self.stage.pipeline)

    def stacks(self) -> list[DeployedStack]:
        """Return the main pipeline's stacks and those of P_STACK_NAME."""
        return mainpipeline.stacks_of(self.stage, self.structure)

    @question("cloudformation:GetTemplate")
    def template(self, stack: DeployedStack) -> StackTemplate | None:
        """Return the template of a stack; None if it is elsewhere or not deployed."""
        if stack.elsewhere or (described := self.stack(stack.name)) is None:
            return None
        given = {"StackName": stack.name, "TemplateStage": "Processed"}
        body = self._calls.one("cloudformation:GetTemplate", "TemplateBody", **given)
        if not body:
            return None
        parameters = described.get("Parameters", [])
        values = {each["ParameterKey"]: each.get("ParameterValue", "") for each in parameters}
        values |= {
            "AWS::AccountId": self.stage.account,
            "AWS::Region": self.stage.region,
            "AWS::Partition": self.stage.partition,
            "AWS::StackName": stack.name,
        }
        return StackTemplate.of(templates.parsed(body), values)

    def places(self, database: Database) -> list[str]:
        """Return STACK or STACK/LOGICAL-ID of the clusters restored from a database's *current*."""
        return [
            place
            for stack in self.stacks()
            if (template := self.template(stack))
            for parameter, place in mainpipeline.places(stack.name, template)
            if parameter == database.current_parameter
        ]

    @cached_property
    def _deployments(self) -> Deployments:
        name = self.stage.pipeline if self.structure else ""
        return Deployments(self.aws, name, self.runs())

    @question("codepipeline:ListPipelineExecutions")
    def runs(self) -> Sequence[Run]:
        """Return the main pipeline's runs, newest first."""
        return self.aws.pipelines.runs(self.stage.pipeline) if self.structure else []

    @question("codepipeline:ListActionExecutions")
    def deployment(self, database: Database) -> Deployment:
        """Return what is deployed, as the use cases see it."""
        current = database.current_parameter
        ledger = self.aws.parameters.history(current) if current in self.values else []
        try:
            return self._deployments.of(database, ledger)
        except Refused as refused:
            return Deployment(unknown=str(refused))

    @question("cloudformation:DescribeStacks")
    def deployed_stack(self, database: Database) -> SeenStack | None:
        """Return the stack of P_STACK_NAME; None if it does not exist."""
        return self._deployments.stack(database.stack.stack) if database.stack else None

    def deployed_cluster(self, database: Database) -> Json | None:
        """Return the cluster in the stack of P_STACK_NAME; None if it does not exist."""
        stack = self.deployed_stack(database)
        if stack is None or database.stack is None:
            return None
        identifier = stack.clusters.get(database.stack.cluster_in(stack.clusters))
        return self.cluster(identifier) if identifier else None

    @question("states:DescribeExecution")
    def preparation(self, database: Database) -> Preparation | None:
        """Return the preparation of the deployed cluster, if it has one."""
        deployment = known(self.deployment, database) or Deployment()
        return preparation_of(self.aws, database, deployment)

    @question(_LIST_SNAPSHOTS)
    def choices(self) -> dict[str, Choice]:
        """Return what the shares contain for each database, by its name."""
        databases = self.stage.settings.databases
        found = choose(self.aws.snapshots.shared(), [each.criteria for each in databases])
        return {each.name: choice for each, choice in zip(databases, found, strict=True)}

    def newest(self, database: Database) -> Snapshot | Refused:
        """Return the newest eligible share."""
        try:
            return newest(database, self.choices()[database.name])
        except Refused as refused:
            return refused

    def share_key(self, share: Snapshot) -> str | None:
        """Return the ARN of the key that encrypts a share; None if it is not encrypted."""
        path, region = "DBClusterSnapshots[0].KmsKeyId", self.stage.settings.source_region
        given = {"DBClusterSnapshotIdentifier": share.arn, "IncludeShared": True}
        found: str | None = self.one(_LIST_SNAPSHOTS, path, region, **given)
        return found

    @question("apigateway:GET")
    def rest_apis(self) -> Sequence[str]:
        """Return the REST APIs that invoke the stage's function."""
        return restapi.invoking(self._calls.client("apigateway"), self.stage.name)


def _name(action: str, given: Mapping[str, Any], region: str | None = None) -> str:
    return " ".join([action, *map(str, [*given.values()][:1]), *filter(None, [region])])


def _asked(action: str, question: Callable[[], T]) -> T:
    """Return the answer to a question; raise Unavailable."""
    try:
        return question()
    except ClientError as error:
        raise _unavailable(action, *code_and_message(error)) from error
    except AwsError as error:
        raise _unavailable(error.operation, error.code, error.message) from error
    except (BotoCoreError, StageError) as error:
        raise _unavailable(action, type(error).__name__, str(error)) from error


def _unavailable(action: str, code: str, message: str) -> Unavailable:
    # On one line, because a proxy in between may answer with a whole page.
    why = f"{code}: {' '.join(message.split())}"[:_LENGTH]
    return Unavailable(action, why, denied=code in DENIED)
