"""Delete a stage's functions and what monitors them.

Topic, logs and snapshots are kept, and parameters unless they are to be deleted.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from cli import restapi, stacks, stages
from cli.account import Account, Say, chalice, shown, silent
from cli.cloudformation import Stack, check_not_packaged
from cli.policies import FUNCTIONS, deployed_name
from cli.stages import AcceptanceStage, Stage


def plan(project: Path, name: str, *, delete_parameters: bool = False) -> Iterator[str]:
    """Yield what `destroy` would delete and keep; raise StageError or AwsError."""
    account, before, after = _open(project, name, silent)
    stage = account.stage
    yield f"stage {name}, account {stage.account}, {stage.region}"
    for stack in (after, before):
        if stack.exists():
            yield f"  {'delete':<10} stack {stack.name}"
    for function in account.functions(deployed_name(name, each) for each in FUNCTIONS):
        yield f"  {'delete':<10} function {function}"
    if isinstance(stage, AcceptanceStage):
        for api in restapi.invoking(account.client("apigateway"), name):
            yield f"  {'delete':<10} REST API {api}"
    held = account.parameters(stacks.parameters_of(stage))
    doomed = _to_delete(stage, held, _held_by(before)) if delete_parameters else []
    for parameter, value in held.items():
        fate = "delete" if parameter in doomed else "keep"
        yield f"  {fate:<10} parameter {parameter}: {shown(stage, parameter, value)}"
    for what in _kept(account):
        yield f"  {'keep':<10} {what}"


def _open(project: Path, name: str, say: Say) -> tuple[Account, Stack, Stack]:
    """Return the stage's account and its stacks before and after; raise StageError."""
    stages.check_name(name)
    account = Account(stages.load(project, name))
    who = account.check()
    say(f"stage {name}, account {account.stage.account}, {account.stage.region}, as {who}")
    check_not_packaged(account, say)
    client = account.client("cloudformation")
    before, after = (Stack(client, each, say) for each in stacks.own_stacks(account.stage))
    return account, before, after


def _held_by(stack: Stack) -> set[str]:
    """Return the names of the parameters that the stack made."""
    resources = (stack.template() or {"Resources": {}})["Resources"].values()
    return {str(resource["Properties"].get("Name")) for resource in resources}


def _to_delete(stage: Stage, held: Iterable[str], made: set[str]) -> list[str]:
    """Return the parameters to delete."""
    if not isinstance(stage, AcceptanceStage):
        return []
    # Others may read the main pipeline's name, unless it was made for this stage.
    shared = {stage.settings.pipeline_parameter} - made
    return [parameter for parameter in held if parameter not in shared]


def destroy(project: Path, name: str, say: Say, *, delete_parameters: bool = False) -> None:
    """Destroy the stage; raise StageError or AwsError."""
    account, before, after = _open(project, name, say)
    stage, made = account.stage, _held_by(before)
    # Every function that a stage may have: a setting may have changed since the last deployment.
    had_functions = account.functions(deployed_name(name, function) for function in FUNCTIONS)

    say(f"1. stack {after.name}")
    if not (had_after := after.delete()):
        say("  does not exist")
    say(f"2. chalice delete --stage {name}")
    if not had_functions:
        say("  there are no functions")
    # A failed deployment may have left roles.
    chalice(project, stage, "delete", say)
    for what in _delete_unrecorded(account):
        say(f"  {'deleted':<10} {what}, which had no record here")
    say(f"3. stack {before.name}")
    if not (had_before := before.delete()):
        say("  does not exist")

    held = account.parameters(stacks.parameters_of(stage))
    to_delete = _to_delete(stage, held, made) if delete_parameters else []
    for parameter, value in held.items():
        fate = "to delete" if parameter in to_delete else "kept"
        say(f"  {fate:<10} parameter {parameter}: {shown(stage, parameter, value)}")
    account.delete_parameters(to_delete)
    for parameter in to_delete:
        say(f"  {'deleted':<10} parameter {parameter}")
    for what in _kept(account):
        say(f"  {'kept':<10} {what}")
    existed = had_after or had_functions or had_before
    fate = "is deleted" if existed else "did not exist"
    say(f"stage {name} {fate}; aurora-refresh deploy --stage {name} uses what was kept")


def _kept(account: Account) -> Iterator[str]:
    """Yield what is kept besides parameters."""
    stage = account.stage
    if account.has_own_topic():
        yield f"topic {stage.settings.topic_arn}"
    for group in account.log_groups(stacks.log_groups(stage)):
        yield f"log group {group}"
    for snapshot in account.snapshots():
        yield f"snapshot {snapshot}"


def _delete_unrecorded(account: Account) -> Iterator[str]:
    """Delete what has the stage's exact names, and yield each.

    Chalice deletes only what its record names. git ignores the record, so another clone has none,
    and neither has a failed deployment.
    """
    stage = account.stage.name
    for function in FUNCTIONS:
        rule, role = stacks.rule_name(stage, function), stacks.role_name(stage, function)
        deployed = deployed_name(stage, function)
        if account.delete_rule(rule):
            yield f"rule {rule}"
        if account.delete_function(deployed):
            yield f"function {deployed}"
        if account.delete_role(role):
            yield f"role {role}"
    if isinstance(account.stage, AcceptanceStage):
        gateway = account.client("apigateway")
        for api in restapi.invoking(gateway, stage):
            gateway.delete_rest_api(restApiId=api)
            yield f"REST API {api}"
