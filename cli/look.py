"""Read what a stage has in its account. Each AWS call is made once, when it is needed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial, partialmethod, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import boto3

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.errors import translate_errors
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.parameters import PLACEHOLDER, Values
from chalicelib.domain.results import Json
from chalicelib.domain.snapshots import Choice, Snapshot, choose
from chalicelib.usecases.checks import candidate
from chalicelib.usecases.copies import ListOwn, list_own_once
from chalicelib.usecases.deployments import Deployments
from chalicelib.usecases.update_latest import newest
from cli import mainpipeline, stacks, templates
from cli.calls import Calls
from cli.client import apis_invoking
from cli.mainpipeline import DeployedStack, Reading
from cli.output import Failure, say
from cli.policies import FUNCTIONS, log_group
from cli.stages import AcceptanceStage, Stage, to_deploy

P = ParamSpec("P")
T = TypeVar("T")


def known(question: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
    """Return the answer to a question; None if AWS does not show it, or a rule refuses to answer."""
    try:
        return question(*given, **named)
    except RefreshError:
        return None


Method = Callable[Concatenate[Any, P], T]
Named = partialmethod[Json | None]


def question(method: Method[P, T]) -> Method[P, T]:
    """Cache what a method returns, or the AwsError or Refused that it raises, for each first argument."""

    @wraps(method)
    def ask(look: "Look", /, *given: P.args, **named: P.kwargs) -> T:
        subjects = [str(getattr(each, "name", each)) for each in given[:1]]
        name = " of ".join([method.__name__, *subjects])
        return look.ask(name, partial(method, look, *given, **named))

    return ask


class Look:
    """What a stage has in its account. Every question raises AwsError if AWS does not show it.

    `answers` has those that are already known, by question name.
    """

    stage: Stage

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.answers: dict[str, Any] = {}

    @cached_property
    def calls(self) -> Calls:
        """Calls that are not cached."""
        return Calls(boto3.Session(region_name=self.stage.region), self.stage.region)

    def ask(self, name: str, question: Callable[[], T]) -> T:
        """Return the answer to a question."""
        if name not in self.answers:
            try:
                self.answers[name] = question()
            except RefreshError as error:
                self.answers[name] = error
        if isinstance(answer := self.answers[name], RefreshError):
            raise answer
        return cast("T", answer)

    def _called(
        self, how: str, action: str, path: str, region: str | None = None, **given: Any
    ) -> Any:
        """Return what `one` or `all` of `Calls` returns.

        The question's name is the action with the values of its parameters, and the Region if one is given.
        """
        subject = " ".join(map(str, filter(None, [*given.values(), region])))
        call = partial(getattr(self.calls, how), action, path, region, **given)
        return self.ask(f"{action} {subject}", translate_errors(action, subject)(call))

    one = partialmethod[Any](_called, "one")
    all = partialmethod[list[Any]](_called, "all")

    # --- every stage ------------------------------------------------------------------------------

    @question
    @translate_errors("sts:GetCallerIdentity", "the credentials in use")
    def caller(self) -> Json:
        """Return AWS's answer about whose credentials are in use."""
        found: Json = self.calls.call("sts:GetCallerIdentity")
        return found

    def check_caller(self) -> None:
        """Raise Failure if the credentials in use are another account's."""
        stage, who = self.stage, self.caller()
        if who["Account"] != stage.account:
            raise Failure(
                f"the credentials in use belong to account {who['Account']} ({who['Arn']}), but stage "
                f"{stage.name!r} is in {stage.account}: use credentials of that account, for example "
                "with AWS_PROFILE"
            )

    @cached_property
    def now(self) -> datetime:
        """AWS's time, as this machine's may be wrong."""
        return parsedate_to_datetime(self.caller()["ResponseMetadata"]["HTTPHeaders"]["date"])

    @property
    def is_deployed(self) -> bool:
        """Whether a function of the stage is in the account, or cannot be looked at."""
        try:
            return any(map(self.function, self.function_names.values()))
        except AwsError:
            return True

    @property
    def deploy(self) -> str:
        """The command that deploys the stage."""
        return to_deploy(self.stage.name)

    @cached_property
    def function_names(self) -> dict[str, str]:
        """Lambda's names of the functions, by Chalice's."""
        return stacks.function_names(self.stage)

    def described(
        self, action: str, path: str, parameter: str, name: str, region: str | None = None
    ) -> Any:
        """Return the description of what has a name; None if it does not exist."""
        return self.one(action, path, region, **{parameter: name})

    function = Named(described, "lambda:GetFunctionConfiguration", "@", "FunctionName")
    stack = Named(described, "cloudformation:DescribeStacks", "Stacks[0]", "StackName")
    topic = Named(described, "sns:GetTopicAttributes", "Attributes", "TopicArn")
    cluster = Named(described, "rds:DescribeDBClusters", "DBClusters[0]", "DBClusterIdentifier")
    key = Named(described, "kms:DescribeKey", "KeyMetadata", "KeyId")

    def is_outdated(self, name: str) -> bool:
        """Return whether a function has a handler of the first edition, which Chalice does not update.

        https://github.com/aws/chalice/pull/2195
        """
        handler = str((self.function(name) or {}).get("Handler"))
        return handler.startswith("app.") and handler != "app.app"  # the API's

    def invokers(self, function: str) -> str:
        """Return the policy, as JSON, that says which rules and APIs may invoke a function."""
        return str(self.one("lambda:GetPolicy", "Policy", FunctionName=function))

    def statements(self, role: str) -> list[Json]:
        """Return the statements of a role's inline policies."""
        names = self.all("iam:ListRolePolicies", "PolicyNames[]", RoleName=role)
        get, path = "iam:GetRolePolicy", "PolicyDocument.[Statement][]"
        found = (self.one(get, path, RoleName=role, PolicyName=name) for name in names)
        return [statement for policy in found for statement in policy]

    def topic_key(self, topic: str) -> str | None:
        """Return the ARN of the key that a topic is under, or of its alias; None without a key."""
        name: str | None = (self.topic(topic) or {}).get("KmsMasterKeyId")
        if not name or name.startswith("arn:"):
            return name
        of_topic = topic.rpartition(":")[0].replace(":sns:", ":kms:")
        return f"{of_topic}:{name if name.startswith('alias/') else f'key/{name}'}"

    @question
    def alarms(self) -> Mapping[str, Json | None]:
        """Return the alarms whose names begin as the stage's do, by their names."""
        given = {"AlarmNamePrefix": f"{APP}-{self.stage.name}-"}
        found = self.all("cloudwatch:DescribeAlarms", "MetricAlarms[]", **given)
        return {alarm["AlarmName"]: alarm for alarm in found}

    def log_groups(self) -> dict[str, int | None]:
        """Return the log groups whose names begin as the stage's do, with their retention in days, if any."""
        given = {"logGroupNamePrefix": log_group(f"{APP}-{self.stage.name}")}
        found = self.all("logs:DescribeLogGroups", "logGroups[]", **given)
        return {group["logGroupName"]: group.get("retentionInDays") for group in found}

    @question
    @translate_errors("apigateway:GET", "the REST APIs")
    def rest_apis(self) -> Sequence[str]:
        """Return the REST APIs that invoke the stage's function."""
        return apis_invoking(self.calls.client("apigateway"), self.stage.name)

    @cached_property
    def aws(self) -> BotoAws:
        """The use cases' AWS, but with AWS's time. Only its readers are called here."""
        now, source = self.now, self.stage.settings.source_region
        return BotoAws(self.calls.session.client, None, source_region=source, clock=lambda: now)

    @question
    def parameters(self) -> Values:
        """Return the stage's parameters that exist."""
        stage = self.stage
        names = stage.settings.promotion_parameters if isinstance(stage, AcceptanceStage) else ()
        return self.aws.parameters.get(names)


class AcceptanceLook(Look):
    """What an acceptance stage has besides, much of it as the use cases see it."""

    stage: AcceptanceStage

    @property
    def values(self) -> Values:
        """The parameters that exist; none if they cannot be read."""
        return known(self.parameters) or {}

    @question
    def candidate(self, database: Database) -> Snapshot:
        """Return what the schedule would promote now of what *latest* names; raise Refused."""
        return candidate(self.stage.settings, self.aws, self._own, database, self.values)

    @cached_property
    def _own(self) -> ListOwn:
        return list_own_once(self.aws)

    @question
    def present(self, _database: Database, arn: str) -> Snapshot | None:
        """Return the snapshot that a database's *current* names."""
        return self.aws.snapshots.find(arn)

    pipeline = Named(Look.described, "codepipeline:GetPipeline", "pipeline", "name")

    @property
    def structure(self) -> Json | None:
        """The main pipeline's structure; None if it does not exist or cannot be looked at."""
        return known(self.pipeline, self.stage.pipeline)

    def stacks(self) -> list[DeployedStack]:
        """Return the main pipeline's stacks and those of P_STACK_NAME."""
        return mainpipeline.stacks_of(self.stage, self.structure)

    @question
    def template(self, stack: DeployedStack) -> Json | None:
        """Return the evaluated template of a stack; None if it is elsewhere or not deployed."""
        named = [each.stack.stack for each in self.stage.settings.databases if each.stack]
        # The pipeline may deploy one of the same name elsewhere, and this one from a build.
        is_here = not stack.elsewhere or stack.name in named
        if not is_here or (described := self.stack(stack.name)) is None:
            return None
        given = {"StackName": stack.name, "TemplateStage": "Processed"}
        body = self.one("cloudformation:GetTemplate", "TemplateBody", **given)
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
        # A template may restore only if there is a snapshot, which the next update changes.
        resolved = {
            each["ParameterKey"]: each["ResolvedValue"]
            for each in parameters
            if each.get("ResolvedValue", PLACEHOLDER) != PLACEHOLDER
        }
        return templates.evaluated(templates.parsed(body), values, resolved)

    def readings(self, stack: DeployedStack) -> list[Reading]:
        """Return where the clusters of a stack are restored from, as far as its template is seen."""
        template = self.template(stack)
        return [*mainpipeline.readings(stack.name, template)] if template else []

    def places(self, database: Database) -> list[str]:
        """Return STACK or STACK/LOGICAL-ID of the clusters restored from a database's *current*."""
        found = (reading for stack in self.stacks() for reading in self.readings(stack))
        return [each.place for each in found if each.parameter == database.current_parameter]

    def other_place(self, database: Database) -> str | None:
        """Return a place that P_STACK_NAME does not name; None if there is none or it is not seen."""
        places = known(self.places, database) or []
        return next((each for each in places if each != str(database.stack)), None)

    @question
    def _deployments(self) -> Deployments:
        name = self.stage.pipeline if self.structure else ""
        return Deployments(self.aws, name, self.aws.pipelines.runs(name) if name else [])

    @question
    def deployment(self, database: Database) -> Deployment:
        """Return what is deployed, as the use cases see it."""
        try:
            deployments = self._deployments()
            return deployments.of(database, deployments.read_again(database))
        except Refused as refused:
            return Deployment(unknown=str(refused))

    @question
    def deployed_stack(self, database: Database) -> SeenStack | None:
        """Return the stack of P_STACK_NAME; None if it does not exist."""
        return self._deployments().stack(database.stack.stack) if database.stack else None

    def deployed_cluster(self, database: Database) -> Json | None:
        """Return the cluster in the stack of P_STACK_NAME; None if it does not exist."""
        stack = self.deployed_stack(database)
        if stack is None or database.stack is None:
            return None
        identifier = stack.cluster_of(database.stack)
        return self.cluster(identifier) if identifier else None

    @question
    def choices(self) -> dict[str, Choice]:
        """Return what the shares contain for each database, by its name."""
        databases = self.stage.settings.databases
        found = choose(self.aws.snapshots.shared(), [each.criteria for each in databases])
        return {each.name: choice for each, choice in zip(databases, found, strict=True)}

    def newest(self, database: Database) -> Snapshot:
        """Return the newest eligible share; raise Refused."""
        return newest(database, self.choices()[database.name])


def opened(stage: Stage) -> Look:
    """Return a Look for changing the stage.

    Raise Failure for wrong credentials, a packaged stage, or one whose roles are another Region's.
    """
    look = Look(stage)
    look.check_caller()
    say(f"stage {stage.name}, account {stage.account}, {stage.region}, as {look.caller()['Arn']}")
    for stack in filter(look.stack, stacks.packaged_stacks(stage.name)):
        raise Failure(
            f"stage {stage.name!r} has the stack {stack}, of aurora-refresh package or an earlier version: "
            "deploy the package's templates again, or delete its stacks, which keeps parameters, topic "
            f"and logs:\n{stacks.deletions(stage.name)}"
        )
    managed = (each for each in FUNCTIONS if each not in stage.own_roles)
    for role in (stacks.role_name(stage.name, each) for each in managed):
        # IAM has one role of this name in all Regions.
        logs = [x["Resource"] for x in look.statements(role) if x.get("Sid") == "WriteOwnLogs"]
        if logs and f":logs:{stage.region}:" not in str(logs):
            raise Failure(
                f"role {role} belongs to a stage in another Region, as it writes to {logs[0]}: give this "
                "stage another name, or configure that Region again and destroy the stage there first"
            )
    return look
