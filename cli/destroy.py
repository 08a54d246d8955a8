"""Delete a stage: its functions, what invokes and monitors them, and, on request, its data.

What exists is listed first. A deletion that fails stops no other. It is safe to run again.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from chalicelib.domain import copies, shares
from chalicelib.domain.functions import API, deployed_name
from chalicelib.domain.ownership import owned
from cli import restapi, stacks, stages
from cli.account import Account, Say, Step, opened
from cli.errors import translated_errors
from cli.output import Failure
from cli.policies import FUNCTIONS, log_group
from cli.stages import AcceptanceStage

# A function that an earlier version deployed.
_FORMER = "db-follow-copies"
# Every function that a stage may have: a setting may have changed since the last deployment.
ANY_FUNCTION = (*FUNCTIONS, _FORMER)


def planned(
    project: Path, name: str, say: Say, *, parameters: bool, everything: bool
) -> list[Step]:
    """Return what becomes of each resource that the stage has; raise Failure or AwsError.

    Parameters and other data are kept unless asked for.
    """
    stages.check_name(name)
    account = opened(stages.load(project, name), say)
    every_alarm = stacks.alarm_names(account.stage, whatever_it_has=True)
    return [
        *alarms(account, every_alarm),
        *_dashboard(account),
        *code(account, ANY_FUNCTION),
        *_data(account, parameters=parameters or everything, everything=everything),
    ]


def carry_out(name: str, steps: Iterable[Step]) -> None:
    """Delete what is to be deleted; raise Failure, naming what is left."""
    left = []
    for _, what, act in steps:
        try:
            with translated_errors():
                if act:
                    act()
        except Failure as error:
            left.append(f"{what}: {error.format_message()}")
    if left:
        raise Failure("\n".join([f"stage {name} is not deleted; what is left:", *left]))


def alarms(account: Account, names: Sequence[str]) -> Iterator[Step]:
    """Yield those of the alarms that exist."""
    if not names:
        return  # AWS would list everybody's
    path = "MetricAlarms[].AlarmName"
    for alarm in account.one("cloudwatch:DescribeAlarms", path, AlarmNames=names) or ():
        delete = partial(account.delete, "cloudwatch:DeleteAlarms", AlarmNames=[alarm])
        yield Step("delete", f"alarm {alarm}", delete)


def _dashboard(account: Account) -> Iterator[Step]:
    name = stacks.dashboard_name(account.stage.name)
    if account.one("cloudwatch:GetDashboard", "@", DashboardName=name):
        delete = partial(account.delete, "cloudwatch:DeleteDashboards", DashboardNames=[name])
        yield Step("delete", f"dashboard {name}", delete)


def code(account: Account, functions: Iterable[str]) -> Iterator[Step]:
    """Yield what `chalice deploy` has made for the functions, found by the exact names.

    Chalice's record may be missing or wrong: git ignores it, and a failed deployment has none. A
    function comes after what belongs to it, so that whoever finds the function finds the rest.
    """
    stage = account.stage.name
    for function in functions:
        if function == API:
            yield from _rest_apis(account)
        rule, deployed = stacks.rule_name(stage, function), deployed_name(stage, function)
        if account.one("events:ListTargetsByRule", "@", Rule=rule):
            yield Step("delete", f"rule {rule}", partial(account.delete_rule, rule))
        role = stacks.role_name(stage, function)
        if account.one("iam:ListRolePolicies", "@", RoleName=role):
            yield Step("delete", f"role {role}", partial(account.delete_role, role))
        if is_deployed(account, function):
            delete = partial(account.delete, "lambda:DeleteFunction", FunctionName=deployed)
            yield Step("delete", f"function {deployed}", delete)


def _rest_apis(account: Account) -> Iterator[Step]:
    """Yield the stage's REST APIs.

    A stage that has none by its settings, and no function for one, needs no right to list them.
    """
    if API in stacks.function_names(account.stage) or is_deployed(account, API):
        for api in restapi.invoking(account.client("apigateway"), account.stage.name):
            delete = partial(account.delete, "apigateway:DeleteRestApi", restApiId=api)
            yield Step("delete", f"REST API {api}", delete)


def is_deployed(account: Account, function: str) -> bool:
    """Return whether a function exists."""
    name = deployed_name(account.stage.name, function)
    return bool(account.one("lambda:GetFunctionConfiguration", "@", FunctionName=name))


def _data(account: Account, *, parameters: bool, everything: bool) -> Iterator[Step]:
    """Yield the data that the stage has."""
    stage = account.stage

    def datum(what: str, action: str, *, is_wanted: bool = everything, **named: str) -> Step:
        delete = partial(account.delete, action, **named)
        return Step("delete", what, delete) if is_wanted else Step("keep", what)

    # Others may read the main pipeline's name.
    shared = stage.settings.pipeline_parameter if isinstance(stage, AcceptanceStage) else None
    for name in account.parameters():
        is_wanted = parameters and name != shared
        yield datum(f"parameter {name}", "ssm:DeleteParameter", is_wanted=is_wanted, Name=name)
    if account.has_own_topic():
        topic, others = account.topic or "", _other_alarms_on_topic(account)
        used = f", which other alarms notify: {', '.join(others)}" if others else ""
        is_wanted = everything and not others
        yield datum(f"topic {topic}{used}", "sns:DeleteTopic", is_wanted=is_wanted, TopicArn=topic)
    for group in account.log_groups(log_group(deployed_name(stage.name, f)) for f in ANY_FUNCTION):
        yield datum(f"log group {group}", "logs:DeleteLogGroup", logGroupName=group)
    for snapshot in _snapshots(account):
        what, action = f"snapshot {snapshot}", "rds:DeleteDBClusterSnapshot"
        yield datum(what, action, DBClusterSnapshotIdentifier=snapshot)


def _other_alarms_on_topic(account: Account) -> list[str]:
    """Return the alarms that notify the stage's topic and are not the stage's."""
    path = f"MetricAlarms[?contains(AlarmActions, '{account.topic}')].AlarmName"
    found = account.all("cloudwatch:DescribeAlarms", path, ActionPrefix=account.topic)
    own = stacks.alarm_names(account.stage, whatever_it_has=True)
    return sorted({*(found or ())}.difference(own))


def _snapshots(account: Account) -> list[str]:
    """Return the names of the snapshots that the stage made; raise AwsError."""
    stage = account.stage
    if isinstance(stage, AcceptanceStage):
        prefix = copies.PREFIX
        made_for = [database.latest_parameter for database in stage.settings.databases]
    else:
        prefix, made_for = shares.PREFIX, [stage.settings.policy(stage.name).made_for]
    return [
        own.identifier
        for own in account.aws.snapshots.own()
        if any(owned(own, prefix, each) for each in made_for)
    ]
