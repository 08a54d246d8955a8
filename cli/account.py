"""The account in use: whose credentials, what it holds, and AWS's refusals in plain words."""

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import metadata
from itertools import dropwhile
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from chalice.config import Config

from chalicelib.aws.clients import BotoAws
from chalicelib.domain import copies, shares
from chalicelib.domain.errors import AwsError
from chalicelib.domain.hold import Hold
from chalicelib.domain.ownership import owned
from chalicelib.domain.parameters import PLACEHOLDER, arn_of, hidden, pipeline_name
from cli.stacks import Template, alarm_names, label, own_topic
from cli.stages import AcceptanceStage, Stage, StageError

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

Say = Callable[[str], None]


def silent(_line: str) -> None:
    """Say nothing."""


_INVALID = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}


class Account:
    """The stage's account, used with the present credentials."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._session = boto3.Session()
        self._aws = BotoAws(partial(self._session.client, region_name=stage.region), None)

    def client(self, service: str) -> Any:
        """Return a client in the stage's Region."""
        return self._session.client(service, region_name=self.stage.region)  # type: ignore[call-overload]

    def check(self) -> str:
        """Return whose credentials these are; raise StageError if account or Region are wrong."""
        stage, region = self.stage, self._session.region_name
        if region != stage.region:
            found = f"the Region in use is {region}" if region else "no Region is set"
            raise StageError(
                f"{found}, but stage {stage.name!r} is in {stage.region}: "
                f"export AWS_DEFAULT_REGION={stage.region}"
            )
        who = self.client("sts").get_caller_identity()
        if who["Account"] != stage.account:
            raise StageError(
                f"the credentials in use belong to account {who['Account']} ({who['Arn']}), but stage "
                f"{stage.name!r} is in {stage.account}: use credentials of that account, for example "
                "with AWS_PROFILE"
            )
        return str(who["Arn"])

    def parameters(self, names: Iterable[str]) -> dict[str, str]:
        """Return the values of those of the parameters that exist; raise AwsError."""
        wanted = list(names)
        found = self._aws.parameters.get(wanted)
        return {name: found[name].value for name in wanted if name in found}

    def delete_parameters(self, names: Iterable[str]) -> None:
        """Delete parameters with their histories; raise AwsError."""
        for name in names:
            self._aws.parameters.delete(name)

    def has_own_topic(self) -> bool:
        """Return whether the stage's topic exists and belongs to this account."""
        topic, sns = own_topic(self.stage), self.client("sns")
        if topic is None:
            return False
        try:
            sns.get_topic_attributes(TopicArn=topic)
        except sns.exceptions.NotFoundException:
            return False
        return True

    def other_alarms_on_topic(self) -> list[str]:
        """Return the alarms that notify the stage's topic and are not the stage's."""
        topic = own_topic(self.stage)
        pages = self.client("cloudwatch").get_paginator("describe_alarms")
        found = {
            alarm["AlarmName"]
            for page in pages.paginate(ActionPrefix=topic)
            for alarm in page["MetricAlarms"]
            if topic in alarm["AlarmActions"]
        }
        return sorted(found.difference(alarm_names(self.stage)))

    def subscribers(self) -> list[str]:
        """Return the subscribers of the stage's own topic, confirmed or not."""
        pages = self.client("sns").get_paginator("list_subscriptions_by_topic")
        return [
            each["Endpoint"]
            for page in pages.paginate(TopicArn=own_topic(self.stage))
            for each in page["Subscriptions"]
        ]

    def functions(self, names: Iterable[str]) -> list[str]:
        """Return those of the functions that exist."""
        client, existing = self.client("lambda"), []
        for name in names:
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.get_function_configuration(FunctionName=name)
                existing.append(name)
        return existing

    def delete_rule(self, name: str) -> bool:
        """Delete an EventBridge rule and its targets; return whether it existed."""
        events = self.client("events")
        try:
            pages = [*events.get_paginator("list_targets_by_rule").paginate(Rule=name)]
        except events.exceptions.ResourceNotFoundException:
            return False
        if targets := [target["Id"] for page in pages for target in page["Targets"]]:
            events.remove_targets(Rule=name, Ids=targets)
        events.delete_rule(Name=name)
        return True

    def delete_function(self, name: str) -> bool:
        """Delete a function; return whether it existed."""
        client = self.client("lambda")
        absent = client.exceptions.ResourceNotFoundException
        return _existed(client.delete_function, absent, FunctionName=name)

    def delete_rest_api(self, api: str) -> bool:
        """Delete a REST API; return whether it existed."""
        client = self.client("apigateway")
        return _existed(client.delete_rest_api, client.exceptions.NotFoundException, restApiId=api)

    def delete_role(self, name: str) -> bool:
        """Detach a role's managed policies, and delete it; return whether it existed."""
        iam = self.client("iam")
        try:
            pages = [*iam.get_paginator("list_role_policies").paginate(RoleName=name)]
        except iam.exceptions.NoSuchEntityException:
            return False
        for policy in [policy for page in pages for policy in page["PolicyNames"]]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
        for policy in [each for page in attached for each in page["AttachedPolicies"]]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)
        return True

    def missing(self, template: Template) -> list[str]:
        """Return the template's alarms, dashboards and invocation settings that do not exist."""
        cloudwatch, lambdas = self.client("cloudwatch"), self.client("lambda")
        missing = []
        for resource in template["Resources"].values():
            properties = resource["Properties"]
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                names = [properties["AlarmName"]]
                found = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
                missing += [] if found else [label(resource)]
            if resource["Type"] == "AWS::CloudWatch::Dashboard":
                name = properties["DashboardName"]
                listed = cloudwatch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
                names = [dashboard["DashboardName"] for dashboard in listed]
                missing += [] if name in names else [label(resource)]
            if resource["Type"] == "AWS::Lambda::EventInvokeConfig":
                function = properties["FunctionName"]
                try:
                    lambdas.get_function_event_invoke_config(FunctionName=function)
                except lambdas.exceptions.ResourceNotFoundException:
                    missing.append(label(resource))
        return missing

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots that the stage made; raise AwsError."""
        stage = self.stage
        if isinstance(stage, AcceptanceStage):
            prefix = copies.PREFIX
            made_for = [database.latest_parameter for database in stage.settings.databases]
        else:
            prefix = shares.PREFIX
            made_for = [stage.settings.policy(stage.name).made_for]
        return [
            found.identifier
            for own in self._aws.snapshots.own()
            for owner in made_for
            if (found := owned(own, prefix, owner))
        ]

    def log_groups(self, names: Iterable[str]) -> dict[str, int | None]:
        """Return those of the log groups that exist, with their retention in days; None is forever."""
        logs = self.client("logs")
        existing: dict[str, int | None] = {}
        for name in names:
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
                existing |= {
                    group["logGroupName"]: group.get("retentionInDays")
                    for group in page["logGroups"]
                    if group["logGroupName"] == name
                }
        return existing


def shown(stage: Stage, name: str, value: str) -> str:
    """Return a parameter's value for people, unless it may be a secret stored by mistake."""
    if value == PLACEHOLDER or not isinstance(stage, AcceptanceStage):
        return value
    settings = stage.settings
    if name == settings.pipeline_parameter:
        return pipeline_name(value) or hidden(value)
    if name == settings.hold_parameter:
        with contextlib.suppress(ValueError):
            hold = Hold.read(value)
            return json.dumps(hold.to_json()) if hold else value
    return arn_of(value) or hidden(value)


def oldest_python() -> str:
    """Return the oldest supported Python, which pyproject.toml states."""
    if _PYPROJECT.is_file():
        stated = tomllib.loads(_PYPROJECT.read_text())["project"]["requires-python"]
    else:
        stated = metadata("aurora-refresh")["Requires-Python"]
    return str(stated).removeprefix(">=")


def runtime() -> str:
    """Return a sentence about the functions' runtime, which is that of the Python that runs Chalice."""
    runtime = Config().lambda_python_version
    stated = oldest_python()
    if runtime == f"python{stated}":
        return f"the functions get the runtime {runtime}"
    return (
        f"the functions get the runtime {runtime}, but are tested with python{stated}: "
        f"make clean, and then make PYTHON=python{stated} setup"
    )


def chalice(project: Path, stage: Stage, command: str, say: Say, *more: str) -> None:
    """Run a command of Chalice, passing on what it prints; raise StageError if it fails.

    Chalice prints a stack trace for unexpected errors, of which people need only the end.
    """
    words = ["chalice", command, "--stage", stage.name]
    trace: list[str] | None = None
    with (
        subprocess.Popen(  # noqa: S603 (Chalice's own command, of this Python)
            [Path(sys.executable).with_name("chalice"), *words[1:], *more],
            cwd=project,
            env={**os.environ, "AWS_DEFAULT_REGION": stage.region, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running
    ):
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("Traceback (most recent call last)"):
                trace = []
            elif trace is None:
                say(line.rstrip())
            else:
                trace.append(line)
    if running.returncode:
        error = "".join(dropwhile(lambda line: line.startswith(" "), trace or [])).strip()
        status = f"ended with status {running.returncode}"
        raise StageError(f"{' '.join(words)} {status}: {error or 'see above'}")


@contextlib.contextmanager
def in_plain_words() -> Iterator[None]:
    """Raise a failed call of AWS as StageError."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StageError(
            f"there are no AWS credentials ({error}): sign in, for example with aws sso login, and "
            "name the profile in AWS_PROFILE"
        ) from error
    except ClientError as error:
        details: Mapping[str, Any] = error.response.get("Error", {})
        code, message = details.get("Code", ""), details.get("Message", "")
        raise StageError(_explained(error.operation_name, code, message)) from error
    except AwsError as error:
        raise StageError(_explained(error.operation, error.code, error.message)) from error
    except BotoCoreError as error:
        raise StageError(f"calling AWS failed: {error}") from error


def _existed(delete: Callable[..., Any], absent: type[Exception], **named: str) -> bool:
    """Delete something; return whether it existed."""
    try:
        delete(**named)
    except absent:
        return False
    return True


def _explained(operation: str, code: str, message: str) -> str:
    if code in _INVALID:
        return (
            f"the credentials in use are invalid or have expired ({code}: {message}): sign in again"
        )
    if code in DENIED:
        return (
            f"these credentials are not allowed to call {operation}: {message}\n"
            "use other credentials, or have that action allowed"
        )
    return f"AWS refused {operation}: {code}: {message}"
