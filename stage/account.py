"""The account in use: whose credentials these are, what is in it, and its refusals in plain words."""

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from chalicelib.domain.copies import PREFIX
from chalicelib.domain.hold import PLACEHOLDER, Hold
from chalicelib.domain.ledger import Parameter
from chalicelib.domain.ownership import MADE_FOR
from chalicelib.domain.results import arn_of, hidden
from chalicelib.usecases.promote import pipeline_name
from stage.config import Stage, StageError
from stage.stacks import Template, label, own_topic

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

Say = Callable[[str], None]

_AT_ONCE = 10  # names that GetParameters and DeleteParameters take
_INVALID = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}


class Account:
    """The stage's account, seen with the credentials in use."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._session = boto3.Session()

    def client(self, service: str) -> Any:
        """A client in the stage's Region."""
        return self._session.client(service, region_name=self.stage.region)  # type: ignore[call-overload]

    def check(self) -> str:
        """Who is using it; raises StageError where it is not the stage's account and Region."""
        stage, region = self.stage, self._session.region_name
        wanted = f"stage {stage.name!r} is of {stage.region}, by its main pipeline's ARN"
        if region != stage.region:
            there = f"the Region in use is {region}" if region else "no Region is set"
            raise StageError(f"{there}, but {wanted}: export AWS_DEFAULT_REGION={stage.region}")
        who = self.client("sts").get_caller_identity()
        if who["Account"] != stage.account:
            raise StageError(
                f"the credentials in use are of account {who['Account']} ({who['Arn']}), but stage "
                f"{stage.name!r} is of {stage.account}, by its main pipeline's ARN: use credentials "
                "of that account, such as with AWS_PROFILE"
            )
        return str(who["Arn"])

    def parameters(self, names: Iterable[str]) -> dict[str, str]:
        """What those of the parameters hold that are there."""
        ssm, wanted = self.client("ssm"), list(names)
        held: dict[str, str] = {}
        for first in range(0, len(wanted), _AT_ONCE):
            answer = ssm.get_parameters(Names=wanted[first : first + _AT_ONCE])
            held |= {each["Name"]: each["Value"] for each in answer["Parameters"]}
        return {name: held[name] for name in wanted if name in held}

    def delete_parameters(self, names: Iterable[str]) -> None:
        """Delete parameters, their histories with them."""
        ssm, wanted = self.client("ssm"), list(names)
        for first in range(0, len(wanted), _AT_ONCE):
            ssm.delete_parameters(Names=wanted[first : first + _AT_ONCE])

    def has_own_topic(self) -> bool:
        """Whether the stage's topic is one of this account, and there."""
        topic, sns = own_topic(self.stage), self.client("sns")
        if topic is None:
            return False
        try:
            sns.get_topic_attributes(TopicArn=topic)
        except sns.exceptions.NotFoundException:
            return False
        return True

    def subscribers(self) -> list[str]:
        """Who has subscribed to the stage's topic, which is this account's and there, confirmed or not."""
        pages = self.client("sns").get_paginator("list_subscriptions_by_topic")
        return [
            each["Endpoint"]
            for page in pages.paginate(TopicArn=own_topic(self.stage))
            for each in page["Subscriptions"]
        ]

    def functions(self, names: Iterable[str]) -> list[str]:
        """Those of the functions that are there."""
        client, there = self.client("lambda"), []
        for name in names:
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.get_function_configuration(FunctionName=name)
                there.append(name)
        return there

    def delete_rule(self, name: str) -> bool:
        """Delete an EventBridge rule, its targets with it; returns whether it was there."""
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
        """Delete a function, with who may invoke it; returns whether it was there."""
        client = self.client("lambda")
        try:
            client.delete_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            return False
        return True

    def delete_role(self, name: str) -> bool:
        """Delete a role, its inline policies with it; returns whether it was there."""
        iam = self.client("iam")
        try:
            pages = [*iam.get_paginator("list_role_policies").paginate(RoleName=name)]
        except iam.exceptions.NoSuchEntityException:
            return False
        for policy in [policy for page in pages for policy in page["PolicyNames"]]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)
        return True

    def missing(self, template: Template) -> list[str]:
        """Which alarms, dashboards and settings of invocations the template has, and the account has not."""
        cloudwatch, lambdas = self.client("cloudwatch"), self.client("lambda")
        resources, gone = template["Resources"].values(), []
        for resource in resources:
            properties = resource["Properties"]
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                names = [properties["AlarmName"]]
                there = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
                gone += [] if there else [label(resource)]
            if resource["Type"] == "AWS::CloudWatch::Dashboard":
                name = properties["DashboardName"]
                listed = cloudwatch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
                gone += (
                    [] if name in [each["DashboardName"] for each in listed] else [label(resource)]
                )
            if resource["Type"] == "AWS::Lambda::EventInvokeConfig":
                function = properties["FunctionName"]
                try:
                    lambdas.get_function_event_invoke_config(FunctionName=function)
                except lambdas.exceptions.ResourceNotFoundException:
                    gone.append(label(resource))
        return gone

    def copies(self) -> list[str]:
        """The copies of production's snapshots that the stage has made, by what marks them."""
        made_for = {database.latest_parameter for database in self.stage.settings.databases}
        pages = self.client("rds").get_paginator("describe_db_cluster_snapshots")
        return [
            each["DBClusterSnapshotIdentifier"]
            for page in pages.paginate(SnapshotType="manual")
            for each in page["DBClusterSnapshots"]
            if each["DBClusterSnapshotIdentifier"].startswith(PREFIX)
            and {tag["Value"] for tag in each["TagList"] if tag["Key"] == MADE_FOR} & made_for
        ]

    def log_groups(self, names: Iterable[str]) -> dict[str, int | None]:
        """After how many days those of the log groups forget that are there; None: never."""
        logs = self.client("logs")
        there: dict[str, int | None] = {}
        for name in names:
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
                there |= {
                    group["logGroupName"]: group.get("retentionInDays")
                    for group in page["logGroups"]
                    if group["logGroupName"] == name
                }
        return there


def told(stage: Stage, name: str, value: str) -> str:
    """A parameter's value as it may be told: somebody may have put a secret there by mistake."""
    settings = stage.settings
    if value == PLACEHOLDER:
        return value
    if name == settings.pipeline_parameter:
        return pipeline_name(settings, {name: Parameter(value, 1)}) or hidden(value)
    if name == settings.hold_parameter:
        with contextlib.suppress(ValueError):
            hold = Hold.read(value)
            return json.dumps(hold.to_json()) if hold else value
    return arn_of(value) or hidden(value)


def runtime() -> str:
    """Which runtime the functions get: Chalice's choice, by the Python that runs it."""
    here = Config().lambda_python_version
    stated = tomllib.loads(_PYPROJECT.read_text())["project"]["requires-python"].removeprefix(">=")
    if here == f"python{stated}":
        return f"the functions get the runtime {here}"
    return (
        f"the functions get the runtime {here}, but are tested with python{stated}: "
        f"make clean, and then make PYTHON=python{stated} setup"
    )


def chalice(project: Path, stage: Stage, command: str, say: Say, *more: str) -> None:
    """Run ``chalice deploy``, or another command of it, passing on what it prints; raises StageError.

    What Chalice does not expect, it answers with a stack trace, of which people need the end.
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
        told = error.partition(": ")[2] or "see above"
        raise StageError(f"{' '.join(words)} ended with status {running.returncode}: {told}")


@contextlib.contextmanager
def in_plain_words() -> Iterator[None]:
    """What AWS refuses, and what keeps us from asking it, as StageError."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StageError(
            f"there are no AWS credentials ({error}): sign in, such as with aws sso login, and name "
            "the profile with AWS_PROFILE"
        ) from error
    except ClientError as error:
        raise StageError(_told(error)) from error
    except BotoCoreError as error:
        raise StageError(f"AWS cannot be asked: {error}") from error


def _told(error: ClientError) -> str:
    failure: Mapping[str, Any] = error.response.get("Error", {})
    code, message = failure.get("Code", ""), failure.get("Message", "")
    if code in _INVALID:
        return (
            f"the credentials in use are not valid, or no longer ({code}: {message}): sign in again"
        )
    if code in _DENIED:
        return (
            f"these credentials may not do {error.operation_name}: {message}\n"
            "use those of somebody who may, or have that action allowed"
        )
    return f"AWS refuses {error.operation_name}: {code}: {message}"
