"""Deploy a stage: what the functions rely on, `chalice deploy`, and what monitors them.

It is safe to run again: it prints what it changed, and never resets a value that has changed since.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from chalicelib.domain.functions import API, deployed_name
from chalicelib.domain.snapshots import SnapshotArn
from cli import destroy, restapi, stacks, stages
from cli.account import Account, Say, chalice, runtime, shown
from cli.cloudformation import Stack, opened
from cli.stages import AcceptanceStage, Stage, StageError, UsageError

EMAIL = "EMAIL"
INITIAL = "DATABASE_BACKUP_SNAPSHOT_ID_ARN"


def deploy(project: Path, name: str, answers: Mapping[str, str], say: Say) -> None:
    """Deploy the stage; raise StageError or AwsError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account, before, after = opened(stage, say)
    say(runtime())
    say(f"1. stack {before.name}: what the functions rely on")
    _before(account, before, initial, email, say)

    say(f"2. chalice deploy --stage {name}")
    restapi.record(project, name, find_api(project, account, say))
    chalice(project, stage, "deploy", say)
    for what, delete, _ in _unused(account):
        if delete and delete():
            say(f"  deleted    {what}")

    say(f"3. stack {after.name}: what monitors them")
    _after(account, after, say)
    _retention(account, say)
    for reason in stacks.missing_alarms(stage):
        say(f"  note: {reason}")


def plan(project: Path, name: str, answers: Mapping[str, str], say: Say) -> None:
    """Say what a deployment would change; raise StageError or AwsError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account, before, after = opened(stage, say)
    say(f"1. stack {before.name}: what the functions rely on")
    before.plan(_template_before(account, before, initial, email)[0])
    say(f"2. chalice deploy --stage {name}")
    functions = stacks.function_names(stage).values()
    existing = account.functions(functions)
    for function in functions:
        say(f"  {'update' if function in existing else 'create':<10} function {function}")
    for what in [datum.what for datum in _unused(account) if datum.exists()]:
        say(f"  delete     {what}")
    say(f"3. stack {after.name}: what monitors them")
    after.plan(stacks.after(stage))


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


def find_api(project: Path, account: Account, say: Say) -> str | None:
    """Return the stage's REST API, if it has one, even if Chalice has no record of it."""
    if API not in stacks.function_names(account.stage):
        return None
    name = account.stage.name
    apis = restapi.invoking(account.client("apigateway"), name)
    known = restapi.recorded(project, name)
    if apis and known not in apis:
        known = apis[0]
        chosen = f", the first of {len(apis)} by creation time and id" if len(apis) > 1 else ""
        say(f"  found      REST API {known}{chosen}, which had no record here: it is used again")
    for other in apis:
        if other != known:
            say(
                f"  note: REST API {other} also invokes the stage's function, but nothing updates it: "
                f"{restapi.deletion(other)}"
            )
    return known if apis else None


def first_values(stage: Stage, answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answered first values of *current* by parameter name; raise StageError."""
    databases = stage.settings.databases if isinstance(stage, AcceptanceStage) else ()
    known = {f"{each.name.upper()}_{INITIAL}": each.current_parameter for each in databases}
    if len(databases) == 1:
        known[INITIAL] = databases[0].current_parameter
    problems, values = [], {}
    for name, value in answers.items():
        if name not in (*known, EMAIL):
            problems.append(
                f"deploy takes no answer {name}. It takes: {', '.join([EMAIL, *known])}"
            )
        elif name != EMAIL and value and not _is_restorable(stage, SnapshotArn.parse(value)):
            production = databases[0].criteria.account
            problems.append(
                f"{name} is {value!r}: write the ARN of a cluster snapshot of production "
                f"({production}, SOURCE_ACCOUNT) or of {stage.account}, in {stage.region}, such as "
                f"arn:{stage.partition}:rds:{stage.region}:{production}:cluster-snapshot:orders-2026-01-03"
            )
        elif name != EMAIL and value:
            values[known[name]] = value
    if problems:
        raise UsageError("\n".join(problems))
    return values


def _is_restorable(stage: Stage, arn: SnapshotArn | None) -> bool:
    """Return whether the main pipeline may restore the snapshot; anyone may share one."""
    if arn is None or not isinstance(stage, AcceptanceStage):
        return False
    accounts = {stage.account, stage.settings.databases[0].criteria.account}
    there = (arn.text.split(":")[1], arn.region)
    return there == (stage.partition, stage.region) and arn.account in accounts


def _email(stage: Stage, answers: Mapping[str, str]) -> str | None:
    """Return the address; None without an answer, which keeps the present one; raise StageError."""
    email = answers.get(EMAIL)
    if not email:
        return email
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


def _template_before(
    account: Account, stack: Stack, initial: Mapping[str, str], email: str | None
) -> tuple[stacks.Template, dict[str, str], set[str]]:
    """Return the template, the parameters that exist with their values, and all that exists."""
    stage, previous = account.stage, stack.template()
    held, topic = account.parameters(), account.topic
    existing = set(held)
    if topic and account.has_own_topic():
        existing |= {topic, *account.subscribers()}
    return stacks.before(stage, previous, existing, initial, email), held, existing


def _before(
    account: Account, stack: Stack, initial: Mapping[str, str], email: str | None, say: Say
) -> None:
    stage, topic = account.stage, account.topic
    template, held, existing = _template_before(account, stack, initial, email)
    ours = {stacks.label(resource) for resource in template["Resources"].values()}
    for name, value in held.items():
        if f"parameter {name}" not in ours:
            say(f"  unchanged  parameter {name}, which exists: {shown(stage, name, value)}")
    if topic in existing and f"topic {topic.rsplit(':', 1)[1]}" not in ours:
        say(f"  unchanged  topic {topic.rsplit(':', 1)[1]}, which exists")
    if template["Resources"]:
        stack.deploy(template)
    elif stack.delete():
        say("  the stack is deleted, because it would be empty")
    else:
        say("  there is no stack, because it would be empty")
    for note in (
        *_notes_on_values(account, held, initial),
        *_notes_on_email(stage, template, existing, email),
    ):
        say(f"  note: {note}")


def _notes_on_values(
    account: Account, held: Mapping[str, str], initial: Mapping[str, str]
) -> Iterator[str]:
    """Yield a note for each parameter with another value than intended."""
    stage = account.stage
    if not isinstance(stage, AcceptanceStage):
        return
    parameter = stage.settings.pipeline_parameter
    # CloudFormation does not notice a change by hand, even of a parameter of its own.
    if account.parameters().get(parameter) != stage.pipeline:
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


def _notes_on_email(
    stage: Stage, template: stacks.Template, existing: Collection[str], email: str | None
) -> Iterator[str]:
    """Yield what people have to do before they receive e-mail."""
    subscribed = stacks.subscribed(template)
    if subscribed and subscribed not in existing and email:
        yield f"AWS has sent {subscribed} an e-mail; notifications start once its link is clicked"
    elif subscribed and subscribed not in existing:
        yield (
            f"{subscribed} has unsubscribed; aurora-refresh deploy --stage {stage.name} "
            f"{EMAIL}={subscribed} subscribes it again"
        )


def _after(account: Account, stack: Stack, say: Say) -> None:
    previous = stack.template()
    missing = account.missing(previous) if previous else []
    for gone in missing:
        say(f"  missing    {gone}, which was deleted outside the stack")
    if missing:
        # CloudFormation would not notice, and nothing in this stack has a state to lose.
        stack.delete()
    stack.deploy(stacks.after(account.stage))


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
