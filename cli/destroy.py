"""Delete a stage: its functions, what invokes and monitors them, and, on request, its data.

It continues after a failure, and reports what is left. It is safe to run again.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.domain.functions import deployed_name
from cli import restapi, stacks, stages
from cli.account import Account, Say, opened, shown
from cli.errors import translated_errors
from cli.output import Failure
from cli.policies import FUNCTIONS, log_group
from cli.stages import AcceptanceStage, StageError


class Extent(NamedTuple):
    """What is deleted besides the functions: the parameters, or all data that the stage has made."""

    parameters: bool = False
    everything: bool = False


class Datum(NamedTuple):
    """Something that a stage has, or may have, in its account; it is kept without `delete`."""

    what: str
    delete: Callable[[], Any] | None
    exists: Callable[[], object] = lambda: True


def plan(project: Path, name: str, say: Say, extent: Extent) -> None:
    """Say what `destroy` would delete and keep; raise StageError or AwsError."""
    stages.check_name(name)
    account = opened(stages.load(project, name), say)
    for datum in (*_monitoring(account), *code(account)):
        if datum.exists():
            say(f"  {'delete':<10} {datum.what}")
    for datum in _data(account, extent):
        say(f"  {'delete' if datum.delete else 'keep':<10} {datum.what}")


def destroy(project: Path, name: str, say: Say, extent: Extent) -> None:
    """Destroy the stage; raise StageError, naming what is left, or AwsError."""
    stages.check_name(name)
    account = opened(stages.load(project, name), say)
    left, kept = list[str](), list[str]()

    @contextmanager
    def note_failure(what: str) -> Iterator[None]:
        try:
            with translated_errors():
                yield
        except Failure as error:
            left.append(f"{what}: {error.format_message()}")

    def step(title: str, data: Iterable[Datum]) -> bool:
        """Delete or keep each; return whether any exists."""
        say(title)
        any_exists = False
        with note_failure(title):  # of what lists them
            for what, delete, _ in data:
                exists = True
                with note_failure(what):
                    exists = delete is None or delete() is not False
                    if exists:
                        say(f"  {'deleted' if delete else 'kept':<10} {what}")
                        if not delete:
                            kept.append(what)
                any_exists |= exists
            if not any_exists:
                say("  does not exist")
        return any_exists

    existed = [
        step("1. what monitors the functions", _monitoring(account)),
        step("2. functions, rules, REST API and roles", code(account)),
    ]
    (project / restapi.record_of(name)).unlink(missing_ok=True)
    step("3. data", _data(account, extent))
    if left:
        raise StageError("\n".join([f"stage {name} is not deleted; what is left:", *left]))
    fate = "is deleted" if any(existed) else "did not exist"
    reuse = f"; aurora-refresh deploy --stage {name} uses what was kept" if kept else ""
    say(f"stage {name} {fate}{reuse}")


def _monitoring(account: Account) -> Iterator[Datum]:
    """Yield what monitors the functions, and the stacks in which earlier versions deployed a stage."""
    stage = account.stage
    for which in (stacks.AFTER, stacks.BEFORE):
        stack = stacks.stack_name(stage.name, which)
        look = partial(account.one, "cloudformation:DescribeStacks", "@", StackName=stack)
        yield Datum(f"stack {stack}", partial(account.delete_stack, stack), look)
    for alarm in account.alarms(stacks.alarm_names(stage, whatever_it_has=True)):
        delete = partial(account.delete, "cloudwatch:DeleteAlarms", AlarmNames=[alarm])
        yield Datum(f"alarm {alarm}", delete)
    if isinstance(stage, AcceptanceStage):
        name = stacks.dashboard_name(stage.name)
        look = partial(account.one, "cloudwatch:GetDashboard", "@", DashboardName=name)
        delete = partial(account.delete, "cloudwatch:DeleteDashboards", DashboardNames=[name])
        yield Datum(f"dashboard {name}", delete, look)


def code(account: Account, functions: Iterable[str] = FUNCTIONS) -> Iterator[Datum]:
    """Yield what `chalice deploy` makes for functions and API.

    It uses the exact names, because Chalice's record may be missing or wrong: git ignores it,
    and a failed deployment has none. Every function that a stage may have is deleted: a setting may
    have changed since the last deployment. The REST APIs, which have to be listed, come last.
    """
    stage = account.stage.name
    for function in functions:
        rule, deployed = stacks.rule_name(stage, function), deployed_name(stage, function)
        look = partial(account.one, "events:ListTargetsByRule", "@", Rule=rule)
        yield Datum(f"rule {rule}", partial(account.delete_rule, rule), look)
        delete = partial(account.delete, "lambda:DeleteFunction", FunctionName=deployed)
        yield Datum(f"function {deployed}", delete, partial(account.functions, [deployed]))
        role = stacks.role_name(stage, function)
        look = partial(account.one, "iam:ListRolePolicies", "@", RoleName=role)
        yield Datum(f"role {role}", partial(account.delete_role, role), look)
    if isinstance(account.stage, AcceptanceStage):
        for api in restapi.invoking(account.client("apigateway"), stage):
            delete = partial(account.delete, "apigateway:DeleteRestApi", restApiId=api)
            yield Datum(f"REST API {api}", delete)


def _data(account: Account, extent: Extent) -> Iterator[Datum]:
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
        yield Datum(f"parameter {name}: {shown(stage, name, value)}", delete if is_wanted else None)

    def datum(what: str, action: str, *, is_used: bool = False, **named: str) -> Datum:
        is_wanted = extent.everything and not is_used
        return Datum(what, partial(account.delete, action, **named) if is_wanted else None)

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
