"""Delete a stage: its functions, what invokes and monitors them, and, on request, its data.

What exists is listed first. A deletion that fails does not stop the others. It is safe to run again.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from chalicelib.domain import copies, shares
from chalicelib.domain.functions import API, deployed_name
from chalicelib.domain.ownership import is_owned
from cli import stacks, stages
from cli.errors import translated_errors
from cli.look import Look, opened
from cli.output import Failure
from cli.policies import FUNCTIONS, log_group
from cli.stages import FORMER, AcceptanceStage

# Every function that a stage may have: a setting may have changed since the last deployment.
ANY_FUNCTION = (*FUNCTIONS, FORMER)


class Step(NamedTuple):
    """What a command does to one resource; without `act`, it is only reported."""

    verb: str
    what: str
    act: Callable[[], object] | None = None

    def __str__(self) -> str:
        return f"  {self.verb:<10} {self.what}"


def planned(project: Path, name: str, *, parameters: bool, everything: bool) -> list[Step]:
    """Return what becomes of each resource that the stage has; raise Failure or AwsError.

    Parameters and other data are kept unless asked for.
    """
    look = opened(stages.load(project, name))
    every_alarm = stacks.alarms(look.stage, whatever_it_has=True)
    return [
        *alarms(look, every_alarm),
        *_dashboard(look),
        *code(look, ANY_FUNCTION),
        *_data(look, parameters=parameters or everything, everything=everything),
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


def alarms(look: Look, names: Iterable[str]) -> Iterator[Step]:
    """Yield those of the alarms that exist."""
    existing = look.alarms()
    for alarm in (name for name in names if name in existing):
        delete = partial(look.calls.delete, "cloudwatch:DeleteAlarms", AlarmNames=[alarm])
        yield Step("delete", f"alarm {alarm}", delete)


def _dashboard(look: Look) -> Iterator[Step]:
    name = stacks.dashboard_name(look.stage.name)
    if look.one("cloudwatch:GetDashboard", "@", DashboardName=name):
        delete = partial(look.calls.delete, "cloudwatch:DeleteDashboards", DashboardNames=[name])
        yield Step("delete", f"dashboard {name}", delete)


def code(look: Look, functions: Iterable[str]) -> Iterator[Step]:
    """Yield what `chalice deploy` has made for the functions, found by the exact names.

    Chalice's record may be missing or wrong: git ignores it, and a failed deployment has none.
    """
    stage, wanted = look.stage.name, stacks.function_names(look.stage)
    for function in functions:
        deployed = deployed_name(stage, function)
        configuration = look.function(deployed)
        # A stage without an API, and without the function of one, needs no right to list APIs.
        if function == API and (function in wanted or configuration is not None):
            for api in look.rest_apis():
                yield Step("delete", f"REST API {api}", partial(look.calls.delete_rest_api, api))
        rule = stacks.rule_name(deployed)
        if look.one("events:ListTargetsByRule", "@", Rule=rule):
            yield Step("delete", f"rule {rule}", partial(look.calls.delete_rule, rule))
        if configuration is not None:
            delete = partial(look.calls.delete, "lambda:DeleteFunction", FunctionName=deployed)
            yield Step("delete", f"function {deployed}", delete)
        role = stacks.role_name(stage, function)
        is_own = any(str(arn).endswith(f"/{role}") for arn in look.stage.own_roles.values())
        if is_own or not look.one("iam:GetRole", "Role", RoleName=role):
            continue
        if (configuration or {}).get("VpcConfig", {}).get("VpcId"):
            # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
            until = "with which Lambda removes its network interfaces: run this again in an hour"
            yield Step("keep", f"role {role}, {until}")
        else:
            yield Step("delete", f"role {role}", partial(look.calls.delete_role, role))


def _data(look: Look, *, parameters: bool, everything: bool) -> Iterator[Step]:
    """Yield the data that the stage has."""
    stage = look.stage

    def datum(what: str, action: str, *, is_wanted: bool = everything, **named: str) -> Step:
        delete = partial(look.calls.delete, action, **named)
        return Step("delete", what, delete) if is_wanted else Step("keep", what)

    # Others may read the main pipeline's name.
    shared = stage.settings.pipeline_parameter if isinstance(stage, AcceptanceStage) else None
    for name in look.parameters():
        is_wanted = parameters and name != shared
        yield datum(f"parameter {name}", "ssm:DeleteParameter", is_wanted=is_wanted, Name=name)
    topic = stacks.own_topic(stage)
    if topic and look.topic(topic) is not None:
        others = _other_alarms(look, topic)
        used = f", which other alarms publish to: {', '.join(others)}" if others else ""
        is_wanted = everything and not others
        yield datum(f"topic {topic}{used}", "sns:DeleteTopic", is_wanted=is_wanted, TopicArn=topic)
    groups = [log_group(deployed_name(stage.name, function)) for function in ANY_FUNCTION]
    for group in (each for each in groups if each in look.log_groups()):
        yield datum(f"log group {group}", "logs:DeleteLogGroup", logGroupName=group)
    for snapshot in _snapshots(look):
        what, action = f"snapshot {snapshot}", "rds:DeleteDBClusterSnapshot"
        yield datum(what, action, DBClusterSnapshotIdentifier=snapshot)


def _other_alarms(look: Look, topic: str) -> list[str]:
    """Return the alarms that notify a topic and are not the stage's."""
    actions = "[AlarmActions, OKActions, InsufficientDataActions][]"
    notifies = f"AlarmName && contains({actions}, '{topic}')"  # AWS may leave out an empty list
    path = f"[MetricAlarms, CompositeAlarms, LogAlarms][] | [?{notifies}].AlarmName"
    kinds = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]  # by default, only the first is listed
    found = look.all("cloudwatch:DescribeAlarms", path, AlarmTypes=kinds)
    return sorted({*found}.difference(stacks.alarms(look.stage, whatever_it_has=True)))


def _snapshots(look: Look) -> list[str]:
    """Return the names of the snapshots that the stage made; raise AwsError."""
    stage = look.stage
    if isinstance(stage, AcceptanceStage):
        prefix = copies.PREFIX
        made_for = [database.latest_parameter for database in stage.settings.databases]
    else:
        prefix, made_for = shares.PREFIX, [stage.settings.policy(stage.name).made_for]
    return [
        own.identifier
        for own in look.aws.snapshots.own()
        if any(is_owned(own, prefix, each) for each in made_for)
    ]
