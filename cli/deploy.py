"""Deploy a stage: what the functions rely on, `chalice deploy`, and what monitors them.

It is safe to run again. Parameters, topic and subscriptions that exist are left alone, so no value that
has moved is reset. Everything else is set anew each time, whoever has changed or deleted it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.domain.functions import API, deployed_name
from chalicelib.domain.snapshots import SnapshotArn
from cli import destroy, restapi, stacks, stages
from cli.account import Account, Say, chalice, opened, runtime, shown
from cli.stages import AcceptanceStage, Stage, StageError, UsageError

EMAIL = "EMAIL"
INITIAL = "DATABASE_BACKUP_SNAPSHOT_ID_ARN"


# These take a template's properties as they are.
_SET = {
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
}


class Item(NamedTuple):
    """Something that the functions rely on."""

    what: str
    exists: bool
    create: Callable[[], object]


def deploy(project: Path, name: str, answers: Mapping[str, str], say: Say) -> None:
    """Deploy the stage; raise StageError or AwsError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account = opened(stage, say)
    say(runtime())
    say("1. what the functions rely on")
    for what, exists, create in _foundations(account, initial, email):
        if not exists:
            create()
        say(f"  {'unchanged' if exists else 'created':<10} {what}")
    for note in _notes_on_values(account, initial):
        say(f"  note: {note}")

    say(f"2. chalice deploy --stage {name}")
    restapi.record(project, name, find_api(project, account))
    chalice(project, stage, "deploy", say)
    for what, delete, _ in _unused(account):
        if delete and delete():
            say(f"  deleted    {what}")

    say("3. what monitors them")
    _monitor(account, say)
    _retention(account, say)
    for reason in stacks.missing_alarms(stage):
        say(f"  note: {reason}")


def plan(project: Path, name: str, answers: Mapping[str, str], say: Say) -> None:
    """Say what a deployment would change; raise StageError or AwsError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account = opened(stage, say)
    say("1. what the functions rely on")
    for what, exists, _ in _foundations(account, initial, email):
        say(f"  {'unchanged' if exists else 'create':<10} {what}")
    say(f"2. chalice deploy --stage {name}")
    functions = stacks.function_names(stage).values()
    existing = account.functions(functions)
    for function in functions:
        say(f"  {'update' if function in existing else 'create':<10} function {function}")
    for what in [datum.what for datum in _unused(account) if datum.exists()]:
        say(f"  delete     {what}")
    say("3. what monitors them")
    for resource in stacks.after(stage)["Resources"].values():
        say(f"  set        {stacks.label(resource)}")
    for alarm in _unused_alarms(account):
        say(f"  delete     alarm {alarm}")


def deployable(project: Path, name: str) -> Stage:
    """Return the stage; raise StageError if it would not work."""
    stages.check_name(name)
    stage = stages.load(project, name)
    if contradictions := stages.contradictions(stage):
        raise StageError("\n".join([f"stage {name!r} would not work:", *map(str, contradictions)]))
    return stage


def _unused(account: Account) -> Sequence[destroy.Datum]:
    """Return what is left of an API that the stage no longer has; its function comes after the API.

    Without the function, the APIs are not listed.
    """
    stage = account.stage
    has_api = API in stacks.function_names(stage)
    if has_api or not account.functions([deployed_name(stage.name, API)]):
        return []
    return [*destroy.code(account, [API])][::-1]


def find_api(project: Path, account: Account) -> str | None:
    """Return the stage's REST API, if it has one, even if Chalice has no record of it."""
    name = account.stage.name
    if API not in stacks.function_names(account.stage):
        return None
    apis = restapi.invoking(account.client("apigateway"), name)
    known = restapi.recorded(project, name)
    return known if known in apis else next(iter(apis), None)


def first_values(stage: Stage, answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answered first values of *current* by parameter name; raise StageError."""
    databases = stage.settings.databases if isinstance(stage, AcceptanceStage) else ()
    known = {f"{each.name.upper()}_{INITIAL}": each for each in databases}
    if len(databases) == 1:
        known[INITIAL] = databases[0]
    if unknown := [name for name in answers if name not in (EMAIL, *known)]:
        raise UsageError(
            f"deploy takes no answer {', '.join(unknown)}. It takes: {', '.join([EMAIL, *known])}"
        )
    values = {}
    for name, database in known.items():
        value = answers.get(name)
        if not value:
            continue
        # Anyone may share a snapshot with the account.
        sources = [
            f"arn:{stage.partition}:rds:{stage.region}:{account}:cluster-snapshot:"
            for account in (database.criteria.account, stage.account)
        ]
        if not SnapshotArn.parse(value) or not value.startswith(tuple(sources)):
            right = f"such as {sources[0]}orders-2026-01-03, or of the stage's own account"
            raise UsageError(f"{name} is {value!r}: write the ARN of a cluster snapshot, {right}")
        values[database.current_parameter] = value
    return values


def _email(stage: Stage, answers: Mapping[str, str]) -> str | None:
    """Return the address to subscribe; None without an answer; raise StageError."""
    email = answers.get(EMAIL)
    if not email:
        return None
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise UsageError(f"{EMAIL} is {email!r}: write an address such as team@example.com")
    if stacks.own_topic(stage) is None:
        topic = stage.settings.topic_arn
        found = f"is {topic}, in another account" if topic else "is not set"
        raise UsageError(
            f"{EMAIL} is {email!r}: it would receive NOTIFICATION_TOPIC_ARN's messages, which {found}; "
            f"aurora-refresh configure --stage {stage.name} "
            f"NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)} sets it"
        )
    return email


def _foundations(account: Account, initial: Mapping[str, str], email: str | None) -> Iterator[Item]:
    """Yield the parameters, the topic and the subscription; none that exists is ever changed."""
    stage, topic, held = account.stage, account.topic, account.parameters()
    for name, (value, description) in stacks.wanted_parameters(stage, initial).items():
        given: dict[str, Any] = {"Name": name, "Value": value, "Type": "String"}
        given |= {"Description": description, "Tags": [account.tag]}
        found = f", which exists: {shown(stage, name, held[name])}" if name in held else ""
        create = partial(account.call, "ssm:PutParameter", **given)
        yield Item(f"parameter {name}{found}", name in held, create)
    if not topic:
        return
    name, exists = topic.rsplit(":", 1)[1], account.has_own_topic()
    yield Item(f"topic {name}", exists, partial(account.call, "sns:CreateTopic", Name=name))
    if email:
        is_subscribed = exists and email in account.subscribers()
        given = {"TopicArn": topic, "Protocol": "email", "Endpoint": email}
        begin = "" if is_subscribed else ", which begins once the link in AWS's e-mail is clicked"
        subscribe = partial(account.call, "sns:Subscribe", **given)
        yield Item(f"e-mail subscription of {email}{begin}", is_subscribed, subscribe)


def _notes_on_values(account: Account, initial: Mapping[str, str]) -> Iterator[str]:
    """Yield a note for each parameter with another value than intended."""
    stage, held = account.stage, account.parameters()
    if not isinstance(stage, AcceptanceStage):
        return
    parameter = stage.settings.pipeline_parameter
    if held.get(parameter) != stage.pipeline:
        yield (
            f"{parameter} exists and is left alone, but the functions may start only {stage.pipeline}: "
            f"aws ssm put-parameter --overwrite --name {parameter} --value {stage.pipeline}"
        )
    for parameter, value in initial.items():
        if held.get(parameter, value) != value:
            yield (
                f"{parameter} already holds {shown(stage, parameter, held[parameter])}, and "
                "keeps it: change it with PUT /snapshots/current"
            )


def _monitor(account: Account, say: Say) -> None:
    """Set alarms, dashboard and asynchronous invocations, whatever they were."""
    for resource in stacks.after(account.stage)["Resources"].values():
        account.call(_SET[resource["Type"]], **resource["Properties"])
        say(f"  set        {stacks.label(resource)}")
    for alarm in _unused_alarms(account):
        account.delete("cloudwatch:DeleteAlarms", AlarmNames=[alarm])
        say(f"  deleted    alarm {alarm}")


def _unused_alarms(account: Account) -> list[str]:
    """Return the alarms that the stage has no longer, as its settings have changed."""
    wanted = stacks.alarm_names(account.stage)
    found = account.alarms(stacks.alarm_names(account.stage, whatever_it_has=True))
    return [each for each in found if each not in wanted]


def _retention(account: Account, say: Say) -> None:
    """Give the functions' log groups a retention, creating those that Lambda has not made yet.

    A longer retention stays: a shorter one would delete logs.
    """
    groups = stacks.log_groups(account.stage)
    existing = account.log_groups(groups)
    for name in groups:
        if name not in existing:
            account.call("logs:CreateLogGroup", logGroupName=name)
        days = existing.get(name)
        if days is not None and days >= stacks.LOG_DAYS:
            say(f"  unchanged  log group {name}: kept for {days} days")
            continue
        days = stacks.LOG_DAYS
        account.call("logs:PutRetentionPolicy", logGroupName=name, retentionInDays=days)
        what = "changed" if name in existing else "created"
        say(f"  {what:<10} log group {name}: kept for {stacks.LOG_DAYS} days")
