"""``make destroy STAGE=acceptance``: the functions and what watches over them go; what they moved stays.

Parameters, topic and logs are kept, unless PARAMETERS=delete is given for the first; snapshots always.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from stage import config, restapi, stacks
from stage.account import Account, Say, chalice, in_plain_words, told
from stage.cloudformation import Stack, check_not_packaged
from stage.config import StageError
from stage.configure import from_make
from stage.policies import API, COPIES, FOLLOW, RESTORE, UPDATE, deployed_name

PARAMETERS = "PARAMETERS"

# All that there may be: a setting may have been changed since the last deployment.
FUNCTIONS = (UPDATE, RESTORE, FOLLOW, COPIES, API)


def main(arguments: Sequence[str] | None = None) -> int:
    """Destroy a stage as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.destroy",
        description="Delete a stage's functions, alarms and dashboard. Parameters, topic, logs and "
        "snapshots stay.",
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument(
        "--delete-parameters",
        action="store_true",
        help=f"delete the parameters, too; with make: {PARAMETERS}=delete",
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
            f"{error}\nwhen that is mended, run make destroy STAGE={given.stage} again\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; run make destroy STAGE={given.stage} again\n")
        return 1
    return 0


def destroy(project: Path, name: str, say: Say, *, delete_parameters: bool = False) -> None:
    """Destroy the stage; raises StageError."""
    config.check_name(name)
    stage = config.load(project, name)
    account = Account(stage)
    say(f"stage {name}, account {stage.account}, {stage.region}, as {account.check()}")
    check_not_packaged(account, say)
    client = account.client("cloudformation")
    before = Stack(client, stacks.stack_name(name, stacks.BEFORE), say)
    after = Stack(client, stacks.stack_name(name, stacks.AFTER), say)
    made = {
        resource["Properties"].get("Name")
        for resource in (before.template() or {"Resources": {}})["Resources"].values()
    }

    were_there = account.functions(deployed_name(name, function) for function in FUNCTIONS)

    say(f"1. stack {after.name}")
    if not (had_after := after.delete()):
        say("  is not there")
    say(f"2. chalice delete --stage {name}")
    if not were_there:
        say("  no function is there")
    # Of a deployment that came to nothing there may be roles.
    chalice(project, stage, "delete", say)
    for what in _not_noted(account):
        say(f"  {'deleted':<10} {what}, of which nothing was noted here")
    gateway = account.client("apigateway")
    for api in restapi.leading_to(gateway, name):
        gateway.delete_rest_api(restApiId=api)
        say(f"  {'deleted':<10} REST API {api}, of which nothing was noted here")
    say(f"3. stack {before.name}")
    if not (had_before := before.delete()):
        say("  is not there")

    held = account.parameters(stage.settings.promotion_parameters)
    pipeline = stage.settings.pipeline_parameter
    # Its name is the main pipeline's business, unless it was made for this stage alone.
    ours = {*stacks.moving_parameters(stage), *({pipeline} & made)}
    doomed = [parameter for parameter in held if delete_parameters and parameter in ours]
    for parameter, value in held.items():
        becomes = "to delete" if parameter in doomed else "kept"
        say(f"  {becomes:<10} parameter {parameter}: {told(stage, parameter, value)}")
    account.delete_parameters(doomed)
    for parameter in doomed:
        say(f"  {'deleted':<10} parameter {parameter}")
    for what in _kept(account):
        say(f"  {'kept':<10} {what}")
    gone = "is gone" if had_after or were_there or had_before else "was not there"
    say(f"stage {name} {gone}; make deploy STAGE={name} finds what was kept")


def _kept(account: Account) -> Iterator[str]:
    """What stays, beside parameters."""
    stage = account.stage
    if account.has_own_topic():
        yield f"topic {stage.settings.topic_arn}"
    for group in account.log_groups(stacks.log_groups(stage)):
        yield f"log group {group}"
    for copy in account.copies():
        yield f"copy {copy}"


def _not_noted(account: Account) -> Iterator[str]:
    """Delete what is the stage's by its exact name, telling each.

    Chalice goes by a note of its own, which git ignores: there is none in another clone, and none of what a
    deployment made that came to nothing.
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


def _from_make() -> bool:
    answers = from_make(os.environ)
    for name, value in answers.items():
        if name.startswith("AWS_"):
            continue  # credentials may be named on make's command line, too
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
