"""`make destroy STAGE=acceptance`: delete the functions and what monitors them.

Parameters, topic, logs and snapshots are kept; PARAMETERS=delete deletes the parameters as well.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from stage import restapi, stacks, stages
from stage.account import Account, Say, chalice, in_plain_words, shown
from stage.cloudformation import Stack, check_not_packaged
from stage.configure import from_make
from stage.policies import FUNCTIONS, deployed_name
from stage.stages import AcceptanceStage, StageError

PARAMETERS = "PARAMETERS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Destroy a stage; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.destroy",
        description="Delete a stage's functions, alarms and dashboard. Parameters, topic, logs and "
        "snapshots are kept.",
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument(
        "--delete-parameters",
        action="store_true",
        help=f"also delete the parameters; with make: {PARAMETERS}=delete",
    )
    parser.add_argument(
        "--project", type=Path, default=Path(), help="the folder that holds app.py; default: this"
    )
    given = parser.parse_args(arguments)
    try:
        with in_plain_words():
            also_parameters = given.delete_parameters or _from_make()
            destroy(given.project, given.stage, _print, delete_parameters=also_parameters)
    except StageError as error:
        sys.stderr.write(
            f"{error}\nonce that is fixed, run make destroy STAGE={given.stage} again\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; run make destroy STAGE={given.stage} again\n")
        return 1
    return 0


def destroy(project: Path, name: str, say: Say, *, delete_parameters: bool = False) -> None:
    """Destroy the stage; raise StageError or AwsError."""
    stages.check_name(name)
    stage = stages.load(project, name)
    account = Account(stage)
    say(f"stage {name}, account {stage.account}, {stage.region}, as {account.check()}")
    check_not_packaged(account, say)
    client = account.client("cloudformation")
    before = Stack(client, stacks.stack_name(name, stacks.BEFORE), say)
    after = Stack(client, stacks.stack_name(name, stacks.AFTER), say)
    held_by_stack = {
        resource["Properties"].get("Name")
        for resource in (before.template() or {"Resources": {}})["Resources"].values()
    }
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
    to_delete = []
    if isinstance(stage, AcceptanceStage) and delete_parameters:
        # Others may read the main pipeline's name, unless it was made for this stage.
        own = {
            *stacks.moving_parameters(stage),
            *({stage.settings.pipeline_parameter} & held_by_stack),
        }
        to_delete = [parameter for parameter in held if parameter in own]
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
    say(f"stage {name} {fate}; make deploy STAGE={name} uses what was kept")


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


def _from_make() -> bool:
    answers = from_make(os.environ)
    for name, value in answers.items():
        if name.startswith("AWS_"):
            continue  # credentials may be named on make's command line
        if (name, value) not in ((PARAMETERS, "delete"), (PARAMETERS, "")):
            raise StageError(
                f"{name}={value}: the only answer of make destroy is {PARAMETERS}=delete, which "
                "deletes latest, current and the hold"
            )
    return bool(answers.get(PARAMETERS))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
