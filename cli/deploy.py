"""Deploy a stage: what the functions rely on, `chalice deploy`, and what monitors them.

It is safe to run again. Parameters, topic and subscriptions that exist are left alone, so no value that
has moved is reset. Everything else is set anew each time, whoever has changed or deleted it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chalicelib.domain.functions import API, deployed_name
from chalicelib.domain.snapshots import SnapshotArn
from cli import destroy, restapi, stacks, stages
from cli.account import Account, Say, Step, chalice, opened, runtime, shown
from cli.stages import AcceptanceStage, Stage, StageError, UsageError

EMAIL = "EMAIL"
INITIAL = "DATABASE_BACKUP_SNAPSHOT_ID_ARN"


# These take a template's properties as they are.
_SET = {
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
}


def deploy(
    project: Path, name: str, answers: Mapping[str, str], say: Say, *, dry_run: bool = False
) -> None:
    """Deploy the stage, or only say what that would do; raise StageError or AwsError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account = opened(stage, say)

    def perform(steps: Iterable[Step]) -> None:
        for verb, what, act in steps:
            if act and not dry_run:
                act()
            say(f"  {verb:<10} {what}")

    say(runtime())
    say("1. what the functions rely on")
    perform(_foundations(account, initial, email))
    for note in () if dry_run else _notes_on_values(account, initial):
        say(f"  note: {note}")

    say(f"2. chalice deploy --stage {name}")
    if dry_run:
        perform(_functions(account))
    else:
        has_api = API in stacks.function_names(stage)
        client = account.client("apigateway")
        restapi.record(project, name, restapi.invoking(client, name) if has_api else [])
        chalice(project, stage, "deploy", say)
    perform(_unused(account))

    say("3. what monitors them")
    perform(_monitoring(account))
    perform(_log_groups(account))


def deployable(project: Path, name: str) -> Stage:
    """Return the stage; raise StageError if it would not work."""
    stages.check_name(name)
    stage = stages.load(project, name)
    if contradictions := stages.contradictions(stage):
        raise StageError("\n".join([f"stage {name!r} would not work:", *map(str, contradictions)]))
    return stage


def _functions(account: Account) -> Iterator[Step]:
    """Yield what Chalice does to the functions."""
    functions = stacks.function_names(account.stage).values()
    existing = account.functions(functions)
    for function in functions:
        yield Step("update" if function in existing else "create", f"function {function}")


def _unused(account: Account) -> Sequence[Step]:
    """Return what is left of an API that the stage no longer has; its function comes after the API.

    Without the function, the APIs are not listed.
    """
    stage = account.stage
    has_api = API in stacks.function_names(stage)
    if has_api or not account.functions([deployed_name(stage.name, API)]):
        return []
    return [*destroy.code(account, [API])][::-1]


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
    if email is None:
        return None
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise UsageError(f"{EMAIL} is {email!r}: write an address such as team@example.com")
    if stacks.own_topic(stage) is None:
        raise UsageError(
            f"{EMAIL} is {email!r}, but NOTIFICATION_TOPIC_ARN is no topic of this account: aurora-refresh "
            f"configure --stage {stage.name} NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)} sets it"
        )
    return email


def _foundations(account: Account, initial: Mapping[str, str], email: str | None) -> Iterator[Step]:
    """Yield the parameters, the topic and the subscription.

    Existing ones are left alone. The exception is the main pipeline's name, if it was made for this
    stage: no function changes it.
    """
    stage, topic, held = account.stage, account.topic, account.parameters()
    for name, value in {**stacks.parameters(stage), **initial}.items():
        is_name = isinstance(stage, AcceptanceStage) and name == stage.settings.pipeline_parameter
        if is_name and held.get(name, value) != value and account.has_made(name):
            change = partial(
                account.call, "ssm:PutParameter", Name=name, Value=value, Overwrite=True
            )
            yield Step("set", f"parameter {name} to {value}", change)
            continue
        if name in held:
            found = f", which exists: {shown(stage, name, held[name])}"
            yield Step("unchanged", f"parameter {name}{found}")
            continue
        given: dict[str, Any] = {"Name": name, "Value": value, "Tags": [account.tag]}
        create = partial(account.call, "ssm:PutParameter", Type="String", **given)
        yield Step("create", f"parameter {name}", create)
    if not topic:
        return
    name, subscribers = topic.rsplit(":", 1)[1], account.subscribers()
    create = partial(account.call, "sns:CreateTopic", Name=name)
    exists = account.has_own_topic()
    yield Step("unchanged" if exists else "create", f"topic {name}", None if exists else create)
    if email in subscribers:
        yield Step("unchanged", f"e-mail subscription of {email}")
    elif email:
        given = {"TopicArn": topic, "Protocol": "email", "Endpoint": email}
        what = (
            f"e-mail subscription of {email}, which begins once the link in AWS's e-mail is clicked"
        )
        yield Step("create", what, partial(account.call, "sns:Subscribe", **given))


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
                f"keeps it: change it with aurora-refresh pin --stage {stage.name}"
            )


def _monitoring(account: Account) -> Iterator[Step]:
    """Yield alarms, dashboard and asynchronous invocations, and what is no longer wanted.

    The stack in which earlier versions deployed them is deleted first; everything in it is set anew.
    """
    yield from destroy.former_stacks(account, stacks.AFTER)
    for resource in stacks.after(account.stage)["Resources"].values():
        act = partial(account.call, _SET[resource["Type"]], **resource["Properties"])
        yield Step("set", stacks.label(resource), act)
    every = {*stacks.alarm_names(account.stage, whatever_it_has=True)}
    yield from destroy.alarms(account, every.difference(stacks.alarm_names(account.stage)))


def _log_groups(account: Account) -> Iterator[Step]:
    """Yield the functions' log groups, which Lambda may not have made yet, with their retention.

    A longer retention stays: a shorter one would delete logs.
    """
    groups = stacks.log_groups(account.stage)
    existing = account.log_groups(groups)
    for name in groups:
        if name not in existing:
            create = partial(account.call, "logs:CreateLogGroup", logGroupName=name)
            yield Step("create", f"log group {name}", create)
        days = existing.get(name)
        if days is not None and days >= stacks.LOG_DAYS:
            yield Step("unchanged", f"log group {name}: kept for {days} days")
            continue
        given: dict[str, Any] = {"logGroupName": name, "retentionInDays": stacks.LOG_DAYS}
        act = partial(account.call, "logs:PutRetentionPolicy", **given)
        yield Step("set", f"log group {name}: kept for {stacks.LOG_DAYS} days", act)
