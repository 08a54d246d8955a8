"""Deploy a stage: its prerequisites, `chalice deploy`, and its monitoring.

It is safe to run again. Parameters, topic and subscriptions that exist are left alone, so no value that
has moved is reset. Everything else is set again each time, even if somebody changed or deleted it.
"""

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chalice.config import Config

from chalicelib.domain.database import Database
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.functions import API
from chalicelib.domain.parameters import PLACEHOLDER
from chalicelib.domain.snapshots import SnapshotArn
from cli import chalice_cli, configure, destroy, stacks, stages
from cli.calls import ROLE_SECONDS, wait_for
from cli.destroy import Step
from cli.look import Look, opened
from cli.output import Failure, WrongUsage, say
from cli.stages import INITIAL, AcceptanceStage, Stage, to_change

EMAIL = "EMAIL"

# A resource's name in the output, and the action that creates it from a template's properties.
_SET = {
    "AWS::CloudWatch::Alarm": ("alarm {AlarmName}", "cloudwatch:PutMetricAlarm"),
    "AWS::CloudWatch::Dashboard": ("dashboard {DashboardName}", "cloudwatch:PutDashboard"),
    "AWS::Lambda::EventInvokeConfig": (
        "asynchronous invocation settings of {FunctionName}",
        "lambda:PutFunctionEventInvokeConfig",
    ),
}


def deploy(project: Path, name: str, answers: Mapping[str, str], *, dry_run: bool = False) -> None:
    """Deploy the stage, or only say what that would do; raise Failure or AwsError."""
    stage = deployable(project, name)
    known = [EMAIL, *_names_of_first_values(stage)]
    if unknown := ", ".join(each for each in answers if each not in known):
        raise WrongUsage(f"deploy takes no answer {unknown}. It takes: {', '.join(known)}")
    initial, email = _first_values(stage, answers), _email(stage, answers)
    look, functions = opened(stage), stacks.function_names(stage)
    apis = look.rest_apis() if API in functions else []
    _check_api(project, look, apis)
    chalice_cli.check_modes(project)

    def perform(steps: Iterable[Step]) -> None:
        for step in steps:
            if step.act and not dry_run:
                step.act()
            say(str(step))

    say("1. prerequisites")
    perform(_foundations(look, initial, email))

    say(f"2. chalice deploy --stage {name}")
    perform(_stopped(look))
    perform(_unusable(look))
    if dry_run:
        perform(Step("set", f"function {function}") for function in functions.values())
    else:
        chalice_cli.record(project, name, apis)
        chalice_cli.run(project, stage, "deploy")
    perform(destroy.code(look, [each for each in destroy.ANY_FUNCTION if each not in functions]))

    say("3. monitoring")
    perform(_monitoring(look))
    perform(_log_groups(look))


def deployable(project: Path, name: str) -> Stage:
    """Return the stage; raise SettingsError or Failure if its settings or policies would not work."""
    stage = stages.load(project, name)
    if contradictions := stages.contradictions(stage):
        raise SettingsError(contradictions)
    files = configure.policy_files(project, stage).values()
    if unfit := ", ".join(sorted(each.name for each in files if not each.fits)):
        right = f"run aurora-refresh configure --stage {name}"
        raise Failure(f"policies in .chalice do not fit the settings: {unfit}; {right}")
    return stage


def _names_of_first_values(stage: Stage) -> dict[str, Database]:
    """Return each name that a first value of *current* may have, with its database; the last one counts."""
    databases = stage.settings.databases if isinstance(stage, AcceptanceStage) else ()
    short = {INITIAL: databases[0]} if len(databases) == 1 else {}
    return {**short, **{f"{each.name.upper()}_{INITIAL}": each for each in databases}}


def _first_values(
    stage: Stage, variables: Mapping[str, str], existing: Container[str] = ()
) -> dict[str, str]:
    """Return the first values of *current* in some variables by parameter name; raise Failure.

    Those of existing parameters are left out.
    """
    values = {}
    for name, database in _names_of_first_values(stage).items():
        value = variables.get(name)
        if not value or database.current_parameter in existing:
            continue
        arn = SnapshotArn.parse(value)
        if arn is None or not stage.may_restore(database, arn):
            right = f"of account {database.criteria.account} or {stage.account} in {stage.region}"
            raise WrongUsage(f"{name} is {value!r}: write the ARN of a cluster snapshot {right}")
        values[database.current_parameter] = value
    return values


def _email(stage: Stage, answers: Mapping[str, str]) -> str | None:
    """Return the address to subscribe; None without an answer; raise Failure."""
    email = answers.get(EMAIL)
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise WrongUsage(f"{EMAIL} is {email!r}: write an address such as team@example.com")
    if email and stacks.own_topic(stage) is None:
        fix = to_change(stage.name, f"NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)}")
        raise WrongUsage(f"{EMAIL} is {email!r}, but the stage has no topic of this account: {fix}")
    return email


def _foundations(look: Look, initial: Mapping[str, str], email: str | None) -> Iterator[Step]:
    """Yield the parameters, the topic and the subscription; what exists is left alone."""
    existing, wanted = look.parameters(), stacks.parameters(look.stage)
    for variables in (look.stage.variables, os.environ):
        wanted |= _first_values(look.stage, variables, {*existing, *initial})
    for name, value in {**wanted, **initial}.items():
        if name in existing:
            differs = value != PLACEHOLDER and value != existing[name].value
            note = f", but does not hold {value}" if differs else ""
            yield Step("unchanged", f"parameter {name}, which exists{note}")
            continue
        given = {"Name": name, "Value": value, "Type": "String"}
        create = partial(look.calls.call, "ssm:PutParameter", **given)
        yield Step("create", f"parameter {name}", create)
    topic = stacks.own_topic(look.stage) or ""
    if topic and look.topic(topic) is None:
        name = topic.rsplit(":", 1)[1]
        yield Step(
            "create", f"topic {name}", partial(look.calls.call, "sns:CreateTopic", Name=name)
        )
    if not email:
        return
    # SNS lists one that has unsubscribed for up to three days.
    path = "Subscriptions[?SubscriptionArn != 'Deleted'].Endpoint"
    if email in look.all("sns:ListSubscriptionsByTopic", path, TopicArn=topic):
        yield Step("unchanged", f"e-mail subscription of {email}")
        return
    given = {"TopicArn": topic, "Protocol": "email", "Endpoint": email}
    what = f"e-mail subscription of {email}, active once the link in AWS's e-mail is clicked"
    yield Step("create", what, partial(look.calls.call, "sns:Subscribe", **given))


def _check_api(project: Path, look: Look, apis: Iterable[str]) -> None:
    """Raise Failure for what Chalice could not deploy from every clone, or would remove from the API."""
    config = Config(look.stage.name, API, config_from_disk=stages.read_config(project))
    if config.api_gateway_custom_domain:
        raise Failure(
            "api_gateway_custom_domain is not supported: map your domain to the API yourself, and name it "
            "with --url"
        )
    # Chalice writes the policy of a private API itself.
    is_kept = config.api_gateway_policy_file or config.api_gateway_endpoint_type == "PRIVATE"
    for api in apis:
        if not is_kept and look.one("apigateway:GetRestApi", "policy", restApiId=api):
            raise Failure(
                f"REST API {api} has a resource policy, which this would remove: write it to a file in .chalice, "
                "and name that as api_gateway_policy_file in the stage's configuration"
            )


def _stopped(look: Look) -> Iterator[Step]:
    """Yield what somebody has stopped, and Chalice starts again."""
    for name in look.function_names.values():
        rule = stacks.rule_name(name)
        if look.one("events:DescribeRule", "State", Name=rule) == "DISABLED":
            yield Step("enable", f"rule {rule}, which somebody disabled")
        path = "ReservedConcurrentExecutions"
        if look.one("lambda:GetFunctionConcurrency", path, FunctionName=name) == 0:
            yield Step("enable", f"function {name}, whose reserved concurrency somebody set to 0")


def _unusable(look: Look) -> Iterator[Step]:
    """Yield the functions that an update cannot repair, so that Chalice makes them anew.

    Lambda could not decrypt a function's variables with a new role of the same name.
    https://repost.aws/knowledge-center/lambda-kmsaccessdeniedexception-errors
    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    for function, name in look.function_names.items():
        role, found = stacks.role_name(look.stage.name, function), look.function(name) or {}
        is_managed = found.get("Role", "").endswith(f"/{role}")
        if found.get("State") == "Failed":
            why = "whose creation failed"
        elif look.is_outdated(name):
            why = "whose handler is the first edition's"
        elif is_managed and look.one("iam:GetRole", "Role", RoleName=role) is None:
            why = "whose role was deleted"
        else:
            continue
        delete = partial(look.calls.delete, "lambda:DeleteFunction", FunctionName=name)
        yield Step("delete", f"function {name}, {why}", delete)


def _monitoring(look: Look) -> Iterator[Step]:
    """Yield alarms, dashboard and asynchronous invocations, and the alarms that are no longer wanted."""
    stage = look.stage
    for resource in stacks.after(stage)["Resources"].values():
        (what, action), given = _SET[resource["Type"]], resource["Properties"]
        act = partial(look.calls.call, action, **given)
        # Lambda refuses a topic until it knows the permissions of a new role.
        settled = partial(wait_for, act, ROLE_SECONDS, {"InvalidParameterValueException"})
        yield Step("set", what.format(**given), settled)
    wanted, every = stacks.alarms(stage), stacks.alarms(stage, whatever_it_has=True)
    yield from destroy.alarms(look, [name for name in every if name not in wanted])


def _log_groups(look: Look) -> Iterator[Step]:
    """Yield the functions' log groups, which Lambda may not have made yet, with their retention.

    A longer retention stays: a shorter one would delete logs.
    """
    existing = look.log_groups()
    for name in stacks.log_groups(look.stage):
        if name not in existing:
            create = partial(look.calls.call, "logs:CreateLogGroup", logGroupName=name)
            yield Step("create", f"log group {name}", create)
        if (existing.get(name) or 0) < stacks.LOG_DAYS:
            given: dict[str, Any] = {"logGroupName": name, "retentionInDays": stacks.LOG_DAYS}
            act = partial(look.calls.call, "logs:PutRetentionPolicy", **given)
            yield Step("set", f"log group {name}: kept for {stacks.LOG_DAYS} days", act)
