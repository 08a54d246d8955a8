"""Delete a stage: its functions, what invokes and monitors them, and, on request, its data.

It continues after a failure, and reports what is left. It is safe to run again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from chalicelib.domain.functions import deployed_name
from cli import restapi, stacks, stages
from cli.account import Account, Say, Step, opened, shown
from cli.errors import translated_errors
from cli.output import Failure
from cli.policies import FUNCTIONS, log_group
from cli.stages import AcceptanceStage, StageError


class Extent(NamedTuple):
    """What is deleted besides the functions: the parameters, or all data that the stage has made."""

    parameters: bool = False
    everything: bool = False


def destroy(project: Path, name: str, say: Say, extent: Extent, *, dry_run: bool = False) -> None:
    """Destroy the stage, or only say what that would do; raise StageError, naming what is left."""
    stages.check_name(name)
    account = opened(stages.load(project, name), say)
    left, verbs = list[str](), set[str]()

    @contextmanager
    def note_failure(what: str) -> Iterator[None]:
        try:
            with translated_errors():
                yield
        except Failure as error:
            left.append(f"{what}: {error.format_message()}")

    def perform(title: str, steps: Iterable[Step]) -> None:
        say(title)
        with note_failure(title):  # of what lists them
            for verb, what, act in steps:
                with note_failure(what):
                    if act and not dry_run:
                        act()
                    say(f"  {verb:<10} {what}")
                    verbs.add(verb)

    perform("1. what monitors the functions", _monitoring(account))
    perform("2. functions, rules, REST API and roles", code(account))
    existed = "delete" in verbs
    perform("3. data", _data(account, extent))
    if not dry_run:
        (project / restapi.record_of(name)).unlink(missing_ok=True)
    if left:
        raise StageError("\n".join([f"stage {name} is not deleted; what is left:", *left]))
    if not dry_run:
        fate = "is deleted" if existed else "did not exist"
        reuse = f"; aurora-refresh deploy --stage {name} uses what was kept"
        say(f"stage {name} {fate}{reuse if 'keep' in verbs else ''}")


def former_stacks(account: Account, *which: str) -> Iterator[Step]:
    """Yield the deletions of stacks in which earlier versions deployed a stage, if they exist."""
    for each in which:
        stack = stacks.stack_name(account.stage.name, each)
        if account.one("cloudformation:DescribeStacks", "@", StackName=stack):
            yield Step("delete", f"stack {stack}", partial(account.delete_stack, stack))


def _monitoring(account: Account) -> Iterator[Step]:
    """Yield what monitors the functions, and the stacks in which earlier versions deployed a stage."""
    stage = account.stage
    yield from former_stacks(account, stacks.AFTER, stacks.BEFORE)
    yield from alarms(account, stacks.alarm_names(stage, whatever_it_has=True))
    dashboard = stacks.dashboard_name(stage.name)
    if account.one("cloudwatch:GetDashboard", "@", DashboardName=dashboard):
        given = {"DashboardNames": [dashboard]}
        delete = partial(account.delete, "cloudwatch:DeleteDashboards", **given)
        yield Step("delete", f"dashboard {dashboard}", delete)


def alarms(account: Account, names: Iterable[str]) -> Iterator[Step]:
    """Yield those of the alarms that exist."""
    for alarm in account.alarms([*names]):
        delete = partial(account.delete, "cloudwatch:DeleteAlarms", AlarmNames=[alarm])
        yield Step("delete", f"alarm {alarm}", delete)


def code(account: Account, functions: Iterable[str] = FUNCTIONS) -> Iterator[Step]:
    """Yield what `chalice deploy` makes for functions and API.

    It uses the exact names, because Chalice's record may be missing or wrong: git ignores it,
    and a failed deployment has none. Every function that a stage may have is deleted: a setting may
    have changed since the last deployment. The REST APIs, which have to be listed, come last.
    """
    stage = account.stage.name
    for function in functions:
        rule, deployed = stacks.rule_name(stage, function), deployed_name(stage, function)
        if account.one("events:ListTargetsByRule", "@", Rule=rule):
            yield Step("delete", f"rule {rule}", partial(account.delete_rule, rule))
        if account.functions([deployed]):
            delete = partial(account.delete, "lambda:DeleteFunction", FunctionName=deployed)
            yield Step("delete", f"function {deployed}", delete)
        role = stacks.role_name(stage, function)
        if account.one("iam:ListRolePolicies", "@", RoleName=role):
            yield Step("delete", f"role {role}", partial(account.delete_role, role))
    if isinstance(account.stage, AcceptanceStage):
        for api in restapi.invoking(account.client("apigateway"), stage):
            delete = partial(account.delete, "apigateway:DeleteRestApi", restApiId=api)
            yield Step("delete", f"REST API {api}", delete)


def _data(account: Account, extent: Extent) -> Iterator[Step]:
    """Yield the data that the stage has."""
    stage = account.stage
    for name, value in account.parameters().items():
        # Others may read the main pipeline's name, unless it was made for this stage.
        is_shared = (
            isinstance(stage, AcceptanceStage)
            and name == stage.settings.pipeline_parameter
            and not account.has_made(name)
        )
        is_wanted = (extent.parameters or extent.everything) and not is_shared
        delete = partial(account.aws.parameters.delete, name)
        what = f"parameter {name}: {shown(stage, name, value)}"
        yield Step("delete", what, delete) if is_wanted else Step("keep", what)

    def datum(what: str, action: str, *, is_used: bool = False, **named: str) -> Step:
        is_wanted = extent.everything and not is_used
        delete = partial(account.delete, action, **named)
        return Step("delete", what, delete) if is_wanted else Step("keep", what)

    if account.has_own_topic():
        topic, others = account.topic or "", account.other_alarms_on_topic()
        used = f", which other alarms notify: {', '.join(others)}" if others else ""
        what = f"topic {topic}{used}"
        yield datum(what, "sns:DeleteTopic", is_used=bool(others), TopicArn=topic)
    for group in account.log_groups(log_group(deployed_name(stage.name, f)) for f in FUNCTIONS):
        yield datum(f"log group {group}", "logs:DeleteLogGroup", logGroupName=group)
    for snapshot in account.snapshots():
        what, action = f"snapshot {snapshot}", "rds:DeleteDBClusterSnapshot"
        yield datum(what, action, DBClusterSnapshotIdentifier=snapshot)
