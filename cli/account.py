"""The account in use: whose credentials, what it holds, and AWS's refusals in plain words."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

import boto3
from chalice.config import Config

from chalicelib import settings
from chalicelib.aws.clients import BotoAws
from chalicelib.domain import copies, shares
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.functions import APP
from chalicelib.domain.hold import Hold
from chalicelib.domain.ownership import owned
from chalicelib.domain.parameters import PLACEHOLDER, arn_of, hidden, pipeline_name
from cli.calls import Calls
from cli.cloudformation import LEFT_OVER, deletions
from cli.stacks import alarm_names, own_topic, packaged_stacks
from cli.stages import AcceptanceStage, Stage, StageError, UsageError

Say = Callable[[str], None]


class Step(NamedTuple):
    """What a command does to one resource; without `act`, it is only reported."""

    verb: str
    what: str
    act: Callable[[], object] | None = None


class Account(Calls):
    """The stage's account, used with the present credentials."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(boto3.Session(), stage.region)
        self.stage = stage
        self.topic = own_topic(stage)
        self.aws = BotoAws(partial(self._session.client, region_name=stage.region), None)

    def check(self) -> str:
        """Return whose credentials these are; raise StageError if account or Region are wrong."""
        stage, region = self.stage, self._session.region_name
        if region != stage.region:
            found = f"the Region in use is {region}" if region else "no Region is set"
            raise (StageError if region else UsageError)(
                f"{found}, but stage {stage.name!r} is in {stage.region}: "
                f"add --region {stage.region}, or export AWS_DEFAULT_REGION={stage.region}"
            )
        who = self.call("sts:GetCallerIdentity")
        if who["Account"] != stage.account:
            raise StageError(
                f"the credentials in use belong to account {who['Account']} ({who['Arn']}), but stage "
                f"{stage.name!r} is in {stage.account}: use credentials of that account, for example "
                "with AWS_PROFILE"
            )
        return str(who["Arn"])

    def parameters(self) -> dict[str, str]:
        """Return the values of those of the stage's parameters that exist; raise AwsError."""
        stage = self.stage
        names = stage.settings.promotion_parameters if isinstance(stage, AcceptanceStage) else ()
        found = self.aws.parameters.get(names)
        return {name: found[name].value for name in names if name in found}

    @property
    def tag(self) -> dict[str, str]:
        """The tag of the parameters that were made for the stage."""
        return {"Key": APP, "Value": self.stage.name}

    def has_made(self, parameter: str) -> bool:
        """Return whether a parameter was made for the stage."""
        named = {"ResourceType": "Parameter", "ResourceId": parameter}
        return self.tag in (self.one("ssm:ListTagsForResource", "TagList", **named) or ())

    def has_own_topic(self) -> bool:
        """Return whether the stage's topic exists and belongs to this account."""
        path = "Attributes"
        return bool(self.topic) and (
            self.one("sns:GetTopicAttributes", path, TopicArn=self.topic) is not None
        )

    def other_alarms_on_topic(self) -> list[str]:
        """Return the alarms that notify the stage's topic and are not the stage's."""
        alarms = self.all("cloudwatch:DescribeAlarms", "MetricAlarms[]", ActionPrefix=self.topic)
        found = {each["AlarmName"] for each in alarms or () if self.topic in each["AlarmActions"]}
        own = alarm_names(self.stage, whatever_it_has=True)
        return sorted(found.difference(own))

    def subscribers(self) -> list[str]:
        """Return the subscribers of the stage's own topic, confirmed or not.

        SNS lists one that has unsubscribed for up to three days.
        """
        path = "Subscriptions[?SubscriptionArn != 'Deleted'][].Endpoint"
        return self.all("sns:ListSubscriptionsByTopic", path, TopicArn=self.topic) or []

    def functions(self, names: Iterable[str]) -> list[str]:
        """Return those of the functions that exist."""
        action = "lambda:GetFunctionConfiguration"
        return [name for name in names if self.one(action, "@", FunctionName=name)]

    def alarms(self, names: Sequence[str]) -> list[str]:
        """Return those of the alarms that exist."""
        if not names:
            return []  # AWS would list everybody's
        path = "MetricAlarms[].AlarmName"
        return self.one("cloudwatch:DescribeAlarms", path, AlarmNames=names) or []

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
            for own in self.aws.snapshots.own()
            for owner in made_for
            if (found := owned(own, prefix, owner))
        ]

    def log_groups(self, names: Iterable[str]) -> dict[str, int | None]:
        """Return those of the log groups that exist, with their retention in days; None is forever."""
        return {
            group["logGroupName"]: group.get("retentionInDays")
            for name in names
            for group in self.all("logs:DescribeLogGroups", "logGroups[]", logGroupNamePrefix=name)
            or ()
            if group["logGroupName"] == name
        }


def opened(stage: Stage, say: Say) -> Account:
    """Return the stage's account; raise StageError for wrong credentials or a packaged stage."""
    account = Account(stage)
    say(f"stage {stage.name}, account {stage.account}, {stage.region}, as {account.check()}")
    functions, path = packaged_stacks(stage.name)["sam.json"], "Stacks[0].StackStatus"
    status = account.one("cloudformation:DescribeStacks", path, StackName=functions)
    if status not in {None, *LEFT_OVER}:
        raise StageError(
            f"stage {stage.name!r} was deployed from the templates of aurora-refresh package: use these again, or "
            f"delete its stacks, which keeps parameters, topic and logs:\n{deletions(stage.name)}"
        )
    return account


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
    return str(metadata("aurora-refresh")["Requires-Python"]).removeprefix(">=")


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

    Of the stack trace that it prints for unexpected errors, people need only the end.
    """
    words = ["chalice", command, "--stage", stage.name]
    with (
        subprocess.Popen(  # noqa: S603 (Chalice's own command, of this Python)
            [Path(sys.executable).with_name("chalice"), *words[1:], *more],
            cwd=project,
            env=_environment(stage),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running
    ):
        assert running.stdout is not None
        has_failed = False
        for line in running.stdout:
            has_failed |= line.startswith("Traceback (most recent call last)")
            if not has_failed or not line.startswith((" ", "Traceback")):
                say(line.rstrip())
    if running.returncode:
        raise StageError(f"{' '.join(words)} ended with status {running.returncode}: see above")


def _environment(stage: Stage) -> dict[str, str]:
    """Return this process's environment without what the app would take for settings of the stage."""
    own = {**stage.variables, "AWS_DEFAULT_REGION": stage.region}

    def is_foreign(name: str, value: str) -> bool:
        try:
            return settings.load({name: value, **own}) == stage.settings
        except SettingsError:  # a probable typo, or a contradiction
            return False

    foreign = {name: value for name, value in os.environ.items() if is_foreign(name, value)}
    return {**foreign, "AWS_DEFAULT_REGION": stage.region, "PYTHONUNBUFFERED": "1"}
