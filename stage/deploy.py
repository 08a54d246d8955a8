"""``make deploy STAGE=acceptance``: what must exist before, ``chalice deploy``, and what watches over it.

Each step can be run again, says what it changed, and never puts back a value that has moved.
"""

import argparse
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from chalicelib.domain.snapshots import SnapshotArn
from stage import config, restapi, stacks
from stage.account import Account, Say, chalice, in_plain_words, runtime, told
from stage.cloudformation import Stack, check_not_packaged
from stage.config import Stage, StageError
from stage.configure import from_make, from_options

EMAIL = "EMAIL"
INITIAL = "DATABASE_BACKUP_SNAPSHOT_ID_ARN"

_EPILOG = f"""\
Answers, all of which may be left out; with make: make deploy STAGE=acceptance {EMAIL}=…
  {EMAIL}       an address that is told through the stage's topic; empty: no more
  {INITIAL}
              the first value of *current*, if the parameter does not exist yet; with several
              databases write the prefix before it: ORDERS_{INITIAL}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy a stage as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.deploy",
        description="Deploy a stage: parameters and topic, the functions, alarms and dashboard.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an answer; repeatable"
    )
    parser.add_argument(
        "--project", type=Path, default=Path(), help="the folder that holds app.py; default: this"
    )
    given = parser.parse_args(arguments)
    done: list[str] = []
    try:
        with in_plain_words():
            answers = from_make(os.environ) | from_options(given.set)
            deploy(given.project, given.stage, answers, _print, done)
    except StageError as error:
        sys.stderr.write(f"{error}\n{_so_far(given.stage, done)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(
            "\nstopped; a stack that was being worked on goes on by itself\n"
            f"{_so_far(given.stage, done)}\n"
        )
        return 1
    _print(f"stage {given.stage} is deployed; next: make doctor STAGE={given.stage}")
    return 0


def deploy(project: Path, name: str, answers: Mapping[str, str], say: Say, done: list[str]) -> None:
    """Deploy the stage; what has been done by and by is added to ``done``. Raises StageError."""
    stage = deployable(project, name)
    initial, email = first_values(stage, answers), _email(stage, answers)
    account = Account(stage)
    say(f"stage {name}, account {stage.account}, {stage.region}, as {account.check()}")

    check_not_packaged(account, say)
    say(runtime())
    before = stacks.stack_name(name, stacks.BEFORE)
    say(f"1. stack {before}: what must exist before")
    _before(account, Stack(account.client("cloudformation"), before, say), initial, email, say)
    done.append(f"stack {before}")

    say(f"2. chalice deploy --stage {name}")
    if stage.settings.pin_api_enabled:
        _find_api(project, account, say)
    chalice(project, stage, "deploy", say)
    done.append("chalice deploy")

    after = stacks.stack_name(name, stacks.AFTER)
    say(f"3. stack {after}: what watches over it")
    _after(account, Stack(account.client("cloudformation"), after, say), say)
    _retention(account, say)
    for reason in stacks.left_out(stage):
        say(f"  note: {reason}")
    done.append(f"stack {after}")


def deployable(project: Path, name: str) -> Stage:
    """The stage, which would work; raises StageError."""
    config.check_name(name)
    stage = config.load(project, name)
    contradictions = config.contradictions(stage.settings, stage.pipeline_arn)
    if contradictions:
        raise StageError("\n".join([f"stage {name!r} would not work:", *contradictions]))
    return stage


def _find_api(project: Path, account: Account, say: Say) -> None:
    """Have Chalice update the stage's REST API, and not make another one where it does not know it."""
    name = account.stage.name
    apis = restapi.leading_to(account.client("apigateway"), name)
    known = restapi.noted(project, name)
    if apis and known not in apis:
        known = apis[0]
        restapi.note(project, name, known)
        say(f"  found      REST API {known}, of which nothing was noted here: it stays the stage's")
    for other in apis:
        if other != known:
            say(
                f"  note: REST API {other} leads to the stage's function, too, and nothing updates it: "
                f"{restapi.deletion(other)}"
            )


def first_values(stage: Stage, answers: Mapping[str, str]) -> dict[str, str]:
    """The first value of each *current* that is answered, by parameter name; raises StageError."""
    databases = {
        f"{database.name.upper()}_{INITIAL}": database.current_parameter
        for database in stage.settings.databases
    }
    known = dict(databases)
    if len(databases) == 1:
        known[INITIAL] = next(iter(databases.values()))
    problems, values = [], {}
    for name, value in answers.items():
        if name.startswith("AWS_") and name not in known:
            continue  # credentials may be named on make's command line, too
        if name not in (*known, EMAIL):
            problems.append(
                f"{name} is no answer of make deploy: there are {EMAIL}, {', '.join(known)}"
            )
        elif name != EMAIL and value and not _can_be_restored(stage, SnapshotArn.parse(value)):
            production = stage.settings.databases[0].criteria.account
            problems.append(
                f"{name} is {value!r}: write the ARN of a cluster snapshot of production "
                f"({production}, SOURCE_ACCOUNT) or of {stage.account}, in {stage.region}, such as "
                f"arn:{stage.partition}:rds:{stage.region}:{production}:cluster-snapshot:orders-2026-01-03"
            )
        elif name != EMAIL and value:
            values[known[name]] = value
    if problems:
        raise StageError("\n".join(problems))
    return values


def _can_be_restored(stage: Stage, arn: SnapshotArn | None) -> bool:
    """Whether it may be a snapshot that the main pipeline can restore: anyone may share one."""
    if arn is None:
        return False
    accounts = {stage.account, stage.settings.databases[0].criteria.account}
    there = (arn.text.split(":")[1], arn.region)
    return there == (stage.partition, stage.region) and arn.account in accounts


def _email(stage: Stage, answers: Mapping[str, str]) -> str | None:
    """The address; None where nothing is answered, so that the present one stays."""
    email = answers.get(EMAIL)
    if not email:
        return email
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise StageError(f"{EMAIL} is {email!r}: write an address such as team@example.com")
    if stacks.own_topic(stage) is None:
        topic = stage.settings.topic_arn
        there = f"that is {topic}, of another account" if topic else "that is not set"
        raise StageError(
            f"{EMAIL} is {email!r}: it is told through NOTIFICATION_TOPIC_ARN, but {there}; "
            f"make configure STAGE={stage.name} NOTIFICATION_TOPIC_ARN="
            f"arn:{stage.partition}:sns:{stage.region}:{stage.account}:aurora-refresh sets it"
        )
    return email


def _before(
    account: Account, stack: Stack, initial: Mapping[str, str], email: str | None, say: Say
) -> None:
    stage, previous = account.stage, stack.template()
    held = account.parameters(stage.settings.promotion_parameters)
    topic = stacks.own_topic(stage)
    existing = set(held)
    if topic and account.has_own_topic():
        existing |= {topic, *account.subscribers()}
    template = stacks.before(stage, previous, existing, initial, email)
    ours = {stacks.label(resource) for resource in template["Resources"].values()}
    for name, value in held.items():
        if f"parameter {name}" not in ours:
            say(f"  unchanged  parameter {name}, which was there: {told(stage, name, value)}")
    if topic in existing and f"topic {topic.rsplit(':', 1)[1]}" not in ours:
        say(f"  unchanged  topic {topic.rsplit(':', 1)[1]}, which was there")
    if template["Resources"]:
        stack.deploy(template)
    elif stack.delete():
        say("  the stack is deleted, for nothing is left for it to hold")
    else:
        say("  there is no stack, for nothing is left for it to hold")
    for note in (*_of_values(account, held, initial), *_of_mail(stage, template, existing, email)):
        say(f"  note: {note}")


def _of_values(
    account: Account, held: Mapping[str, str], initial: Mapping[str, str]
) -> Iterator[str]:
    """Which parameters do not hold what they were to hold."""
    stage = account.stage
    pipeline, meant = stage.settings.pipeline_parameter, stage.pipeline_arn.rsplit(":", 1)[1]
    # The stack does not look: what it holds may have been moved by hand.
    if account.parameters([pipeline]).get(pipeline) != meant:
        yield (
            f"{pipeline} was there and is left alone, but it is {meant} that may be started: "
            f"aws ssm put-parameter --overwrite --name {pipeline} --value {meant}"
        )
    for parameter, value in initial.items():
        if held.get(parameter, value) != value:
            yield (
                f"{parameter} holds {told(stage, parameter, held[parameter])} already, and "
                "keeps it: it is moved with PUT /snapshots/current"
            )


def _of_mail(
    stage: Stage, template: stacks.Template, existing: Collection[str], email: str | None
) -> Iterator[str]:
    """What whoever is to be told by e-mail has to do first."""
    subscribed = stacks.subscribed(template)
    if subscribed and subscribed not in existing and email:
        yield f"AWS has sent {subscribed} a mail; nothing comes before its link is clicked"
    elif subscribed and subscribed not in existing:
        yield (
            f"{subscribed} has unsubscribed; make deploy STAGE={stage.name} "
            f"{EMAIL}={subscribed} subscribes that address again"
        )


def _after(account: Account, stack: Stack, say: Say) -> None:
    previous = stack.template()
    missing = account.missing(previous) if previous else []
    for gone in missing:
        say(f"  missing    {gone}, which was deleted behind the stack's back")
    if missing:
        # CloudFormation would not look, and nothing in this stack has a state to lose.
        stack.delete()
    stack.deploy(stacks.after(account.stage))


def _retention(account: Account, say: Say) -> None:
    """Have the functions' logs forgotten in the end; Lambda may have made the groups, or will find ours.

    Never sooner than somebody has chosen: that would delete what is there.
    """
    logs, groups = account.client("logs"), stacks.log_groups(account.stage)
    there = account.log_groups(groups)
    for name in groups:
        if name not in there:
            logs.create_log_group(logGroupName=name)
        days = there.get(name)
        if days is not None and days >= stacks.LOG_DAYS:
            say(f"  unchanged  log group {name}: kept for {days} days")
            continue
        logs.put_retention_policy(logGroupName=name, retentionInDays=stacks.LOG_DAYS)
        what = "changed" if name in there else "created"
        say(f"  {what:<10} log group {name}: kept for {stacks.LOG_DAYS} days")


def _so_far(stage: str, done: Sequence[str]) -> str:
    told = f"done: {', '.join(done)}" if done else "no step was completed"
    return f"{told}; when that is mended, run make deploy STAGE={stage} again"


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
