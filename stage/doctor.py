"""``make doctor STAGE=…``: looks at a stage in its account, and names each fault with its fix.

It only reads. It ends with 0 where there is no problem (there may be warnings), with 1 where there are problems or
something could not be looked at, and with 2 where it was asked wrongly.
"""

import argparse
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from chalicelib.domain.errors import SettingsError
from stage import checks, config, configure, deployed, facts, refreshable, stacks
from stage.checks import Check
from stage.config import Stage, StageError
from stage.facts import Unseen
from stage.policies import API, Policy, file_name, policies

_EPILOG = """\
Needs credentials of the stage's account that may read; what may not be looked at is told as a warning.
Exit status: 0 healthy, perhaps with warnings; 1 problems, or not all could be looked at; 2 asked wrongly.
"""
_VERDICTS = 20  # that people are shown, of each database
_WIDTH = max(map(len, (checks.OK, checks.WARNING, checks.PROBLEM)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a stage as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.doctor",
        description="Check a stage in its AWS account, and name each fault with its fix. It only reads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument("--json", action="store_true", help="the list of checks, for machines")
    parser.add_argument(
        "--project", type=Path, default=Path(), help="the folder that holds app.py; default: this"
    )
    given = parser.parse_args(arguments)
    try:
        done = examine(given.project, given.stage)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the doctor has changed nothing\n")
        return 2
    try:
        if given.json:
            told = json.dumps([check.to_json() for check in done], indent=2, ensure_ascii=False)
            sys.stdout.write(f"{told}\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines(done))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has read enough, such as head; Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    problems = any(check.status == checks.PROBLEM for check in done)
    return int(problems or _blind(done) > 0)


def examine(project: Path, name: str) -> list[Check]:
    """Every check of the stage, in order; raises StageError where there is no such stage."""
    try:
        stage = config.load(project, name)
    except StageError as error:
        if not isinstance(error.__cause__, SettingsError):
            raise
        return [checks.wrong_setting(name, problem) for problem in error.__cause__.problems]
    wanted = policies(stage.name, stage.settings, stage.pipeline_arn)
    done = [
        *checks.settings(
            stage,
            configure.known_names(stage.variables),
            config.contradictions(stage.settings, stage.pipeline_arn),
        ),
        *checks.policy_files(stage.name, _policy_files(project, stage, wanted)),
    ]
    used = _session(None)
    region = used.region_name if used else None
    here = _session(stage.region)
    if used is None or here is None:
        why = (
            "the AWS profile in use is not there: see AWS_PROFILE, and aws configure list-profiles"
        )
        who: facts.Seen[facts.Json] = Unseen("sts:GetCallerIdentity", why)
        return [*checks.identity(stage, who, region), *done]
    caller = facts.caller(here)
    first = [*checks.identity(stage, caller.identity, region), *done]
    if isinstance(caller.identity, Unseen) or caller.identity["Account"] != stage.account:
        return first  # the rest would be about another account
    seen = facts.look(
        here,
        stage,
        caller.now,
        wanted,
        stacks.function_names(stage),
        rules_of(stage),
        stacks.alarm_names(stage),
        [stacks.stack_name(stage.name, which) for which in (stacks.BEFORE, stacks.AFTER)],
    )
    return [
        *first,
        *refreshable.parameters(stage, seen),
        *refreshable.pipeline(stage, seen),
        *refreshable.reading(stage, seen),
        *refreshable.shares(stage, seen),
        *refreshable.copy_keys(stage, seen),
        *deployed.own_stacks(stage, seen),
        *deployed.functions(stage, seen, configurations(project, stage)),
        *deployed.roles(stage, seen, wanted),
        *deployed.rest_api(stage, seen),
        *deployed.schedules(stage, seen),
        *deployed.topic(stage, seen),
        *deployed.alarms(stage, seen, stacks.alarm_names(stage)),
    ]


def lines(done: Sequence[Check]) -> Iterator[str]:
    """The checks for people: grouped, one line each, with the fix below."""
    indent = " " * (_WIDTH + 4)
    for group, members in groupby(done, key=lambda check: check.check):
        yield group
        told_of = list(members)
        shown = told_of[:_VERDICTS] if group == checks.VERDICT else told_of
        for check in shown:
            yield _printable(f"  {check.status:{_WIDTH}}  {check.subject}: {check.seen}")
            if check.fix:
                yield _printable(f"{indent}fix: {check.fix}")
        if more := len(told_of) - len(shown):
            yield f"{indent}and {more} older ones, which JSON=1 tells"
    count = Counter(check.status for check in done)
    told = f"problems: {count[checks.PROBLEM]}, warnings: {count[checks.WARNING]}, ok: {count[checks.OK]}"
    blind = _blind(done)
    if count[checks.PROBLEM]:
        yield f"not healthy; {told}"
    elif blind:
        yield f"no problem was seen, but {blind} things could not be looked at; {told}"
    else:
        yield f"healthy; {told}"


def _blind(done: Sequence[Check]) -> int:
    """How many things could not be looked at, which nobody may take for healthy."""
    return sum(check.seen.startswith(checks.UNSEEN) for check in done)


def rules_of(stage: Stage) -> dict[str, str]:
    """The rules that start functions: EventBridge's name of each, by Chalice's name of its function."""
    return {
        function: stacks.rule_name(stage.name, function)
        for function in stacks.function_names(stage)
        if function != API
    }


def _session(region: str | None) -> boto3.Session | None:
    """A session of whoever uses this; None where a profile is named that is not there."""
    try:
        return boto3.Session(region_name=region)
    except BotoCoreError:
        return None


def _policy_files(
    project: Path, stage: Stage, wanted: Mapping[str, Policy]
) -> dict[str, tuple[str, bool]]:
    """By file: what it says, and whether that is what the settings need."""
    told = {}
    for function, policy in wanted.items():
        file = project / ".chalice" / file_name(stage.name, function)
        if not file.is_file():
            told[file.name] = ("is not there", False)
        elif file.read_text(encoding="utf-8") != config.written(policy):
            told[file.name] = ("does not say what the stage's settings need", False)
        else:
            told[file.name] = ("says what the stage's settings need", True)
    return told


def configurations(project: Path, stage: Stage) -> dict[str, dict[str, Any]]:
    """By function: what Lambda has to say of it if it was deployed, as Chalice reads it.

    The runtime is the oldest that will do: each deployment takes that of its own Python.
    """
    document = config.read_config(project)
    body = config.stages_of(document)[stage.name]
    entries = config.as_object(body.get("lambda_functions", {}), "lambda_functions")
    told = {}
    for function in stacks.function_names(stage):
        own = config.as_object(entries.get(function, {}), function)
        tuned = {**document, **body, **own}
        told[function] = {
            "Runtime": f"python{_oldest_python()}",
            "Architectures": [tuned.get("lambda_architecture", "x86_64")],
            "MemorySize": tuned.get("lambda_memory_size", 128),
            "Timeout": tuned.get("lambda_timeout", 60),
            "reserved_concurrency": tuned.get("reserved_concurrency"),
        }
    return told


def _oldest_python() -> str:
    """The one place that states it is pyproject.toml."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    stated: str = tomllib.loads(text)["project"]["requires-python"]
    return stated.removeprefix(">=")


def _printable(text: str) -> str:
    """What others wrote may hold what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


if __name__ == "__main__":
    sys.exit(main())
