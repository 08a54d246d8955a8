"""The account of a stage: whose credentials are in use, and what the stage has in it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import boto3

from chalicelib.aws.clients import BotoAws
from cli.calls import Calls
from cli.output import Failure
from cli.stacks import deletions, own_topic, packaged_stacks
from cli.stages import AcceptanceStage, Stage

Say = Callable[[str], None]


class Step(NamedTuple):
    """What a command does to one resource; without `act`, it is only reported."""

    verb: str
    what: str
    act: Callable[[], object] | None = None

    def __str__(self) -> str:
        return f"  {self.verb:<10} {self.what}"


class Account(Calls):
    """The stage's account and Region, used with the present credentials."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(boto3.Session(region_name=stage.region), stage.region)
        self.stage = stage
        self.topic = own_topic(stage)
        self.aws = BotoAws(self._session.client, None)

    def parameters(self) -> dict[str, str]:
        """Return the values of those of the stage's parameters that exist; raise AwsError."""
        stage = self.stage
        names = stage.settings.promotion_parameters if isinstance(stage, AcceptanceStage) else ()
        found = self.aws.parameters.get(names)
        return {name: found[name].value for name in names if name in found}

    def has_own_topic(self) -> bool:
        """Return whether the stage's topic exists and belongs to this account."""
        found = self.topic and self.one("sns:GetTopicAttributes", "@", TopicArn=self.topic)
        return bool(found)

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
    """Return the stage's account; raise Failure for wrong credentials or a stage in stacks."""
    account = Account(stage)
    who = account.call("sts:GetCallerIdentity")
    if who["Account"] != stage.account:
        raise Failure(
            f"the credentials in use belong to account {who['Account']} ({who['Arn']}), but stage "
            f"{stage.name!r} is in {stage.account}: use credentials of that account, for example "
            "with AWS_PROFILE"
        )
    say(f"stage {stage.name}, account {stage.account}, {stage.region}, as {who['Arn']}")
    for stack in packaged_stacks(stage.name):
        if account.one("cloudformation:DescribeStacks", "@", StackName=stack):
            raise Failure(
                f"stage {stage.name!r} has the stack {stack}, of aurora-refresh package or an earlier version: "
                "deploy the templates of a package again, or delete its stacks, which keeps parameters, topic "
                f"and logs:\n{deletions(stage.name)}"
            )
    return account
