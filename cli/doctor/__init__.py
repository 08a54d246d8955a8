"""`aurora-refresh doctor --stage …`: check a stage in its account, and name each fault with its fix.

It only reads.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from chalicelib import settings
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.parameters import Parameter
from cli import stacks, stages
from cli.account import oldest_python
from cli.doctor import acceptance, checks, deployment, production, refresh, state
from cli.doctor.checks import Check
from cli.doctor.state import State, Unavailable
from cli.policies import Policy, file_name, policies, with_own_statements
from cli.stages import AcceptanceStage, Json, ProductionStage, Stage, StageError

_VERDICTS = 20  # printed at most
_WIDTH = max(map(len, (checks.OK, checks.WARNING, checks.PROBLEM)))


def examine(project: Path, name: str) -> list[Check]:
    """Return every check of the stage, in order; raise StageError if there is no such stage."""
    try:
        stage = stages.load(project, name)
    except StageError as error:
        if not isinstance(error.__cause__, SettingsError):
            raise
        return [checks.wrong_setting(name, problem) for problem in error.__cause__.problems]
    files = _policy_files(project, stage)
    wanted = {
        function: with_own_statements(policy, files[function])
        for function, policy in policies(stage).items()
    }
    local = [
        *checks.settings(stage, settings.names_of(stage.variables), stages.contradictions(stage)),
        *checks.policy_files(stage.name, _compared(stage, files, wanted)),
    ]
    default, session = _session(None), _session(stage.region)
    region = default.region_name if default else None
    if session is None:
        why = "the AWS profile in use does not exist: see AWS_PROFILE, and aws configure list-profiles"
        missing = Unavailable("sts:GetCallerIdentity", why)
        return [*checks.identity(stage, missing, region), *local]
    caller = state.caller(session)
    first = [*checks.identity(stage, caller.identity, region), *local]
    if isinstance(caller.identity, Unavailable) or caller.identity["Account"] != stage.account:
        return first  # the others would be about another account
    entries = configurations(project, stage)
    if isinstance(stage, AcceptanceStage):
        return [*first, *_acceptance(stage, session, caller.now, entries, wanted)]
    return [*first, *_production(stage, session, caller.now, entries, wanted)]


def _acceptance(
    stage: AcceptanceStage,
    session: boto3.Session,
    now: datetime,
    entries: Json,
    wanted: Mapping[str, Policy],
) -> Iterator[Check]:
    seen = state.read_acceptance(session, stage, now)
    parameters = acceptance.parameters(stage, seen)
    if not seen.is_deployed:
        # `aurora-refresh deploy` creates what is missing.
        yield deployment.undeployed(stage)
        parameters = (each for each in parameters if each.blind or each.subject in seen.values)
    yield from parameters
    yield from acceptance.pipeline(stage, seen)
    yield from acceptance.reading(stage, seen)
    yield from refresh.databases(stage, seen)
    yield from refresh.obstacles(stage, seen)
    yield from acceptance.shares(stage, seen)
    yield from acceptance.copy_keys(stage, seen)
    rest_api = deployment.rest_api(stage, seen)
    yield from _deployment(stage, seen, entries, wanted, seen.values, rest_api)


def _production(
    stage: ProductionStage,
    session: boto3.Session,
    now: datetime,
    entries: Json,
    wanted: Mapping[str, Policy],
) -> Iterator[Check]:
    seen = state.read_production(session, stage, now)
    if not seen.is_deployed:
        yield deployment.undeployed(stage)
    yield from production.clusters(stage, seen)
    yield from production.share_key(stage, seen)
    yield from _deployment(stage, seen, entries, wanted, values={}, rest_api=())


def _deployment(
    stage: Stage,
    seen: State,
    entries: Json,
    wanted: Mapping[str, Policy],
    values: Mapping[str, Parameter],
    rest_api: Iterable[Check],
) -> Iterator[Check]:
    if not seen.is_deployed:
        yield from deployment.needed(stage, seen)
        return
    yield from deployment.own_stacks(stage, seen)
    yield from deployment.functions(stage, seen, entries)
    given = {name: arn for name, each in entries.items() if (arn := each["iam_role_arn"])}
    made = {name: each for name, each in seen.functions.items() if name not in given}
    yield from deployment.roles(stage, replace(seen, functions=made), wanted)
    yield from deployment.given_roles(stage, seen, given)
    yield from rest_api
    yield from deployment.schedules(stage, seen, values)
    yield from deployment.topic(stage, seen)
    yield from deployment.topic_keys(stage, seen)
    yield from deployment.alarms(stage, seen, stacks.alarm_names(stage))


def is_healthy(done: Sequence[Check]) -> bool:
    """Return whether everything could be looked at and nothing is a problem; warnings are allowed."""
    return not any(check.blind or check.status == checks.PROBLEM for check in done)


def lines(done: Sequence[Check]) -> Iterator[str]:
    """Yield the checks for people: grouped, one line each, with the fix below."""
    indent = " " * (_WIDTH + 4)
    for group, members in groupby(done, key=lambda check: check.check):
        yield group
        found = list(members)
        shown = found[:_VERDICTS] if group == checks.VERDICT else found
        for check in shown:
            yield f"  {check.status:{_WIDTH}}  {check.subject}: {check.seen}"
            if check.fix:
                yield f"{indent}fix: {check.fix}"
        if more := len(found) - len(shown):
            yield f"{indent}and {more} older ones: see --json"
    count = Counter(check.status for check in done)
    counts = f"problems: {count[checks.PROBLEM]}, warnings: {count[checks.WARNING]}, ok: {count[checks.OK]}"
    blind = sum(check.blind for check in done)
    if count[checks.PROBLEM]:
        yield f"not healthy; {counts}"
    elif blind:
        yield f"no problem was found, but {blind} things could not be looked at; {counts}"
    else:
        yield f"healthy; {counts}"


def _session(region: str | None) -> boto3.Session | None:
    """Return a session; None if AWS_PROFILE names a profile that does not exist."""
    try:
        return boto3.Session(region_name=region)
    except BotoCoreError:
        return None


def _policy_files(project: Path, stage: Stage) -> dict[str, str | None]:
    """Return the text of each function's policy file; None if there is none."""
    files = {
        function: project / ".chalice" / file_name(stage.name, function)
        for function in policies(stage)
    }
    return {
        function: file.read_text(encoding="utf-8") if file.is_file() else None
        for function, file in files.items()
    }


def _compared(
    stage: Stage, files: Mapping[str, str | None], wanted: Mapping[str, Policy]
) -> dict[str, tuple[str, bool]]:
    """Return what is to be said of each policy file, and whether it is right."""
    results = {}
    for function, text in files.items():
        name = file_name(stage.name, function)
        if text is None:
            results[name] = ("does not exist", False)
        elif text != stages.to_text(wanted[function]):
            results[name] = ("differs from what the stage's settings need", False)
        else:
            results[name] = ("is what the stage's settings need", True)
    return results


def configurations(project: Path, stage: Stage) -> dict[str, dict[str, Any]]:
    """Return each function's configuration as Chalice would deploy it.

    The runtime is the oldest supported one: a deployment uses that of its own Python.
    """
    document = stages.read_config(project)
    found = {}
    for function in stacks.function_names(stage):
        tuned = stages.tuned(document, stage.name, function)
        found[function] = {
            "Runtime": f"python{oldest_python()}",
            "Architectures": [tuned.get("lambda_architecture", "x86_64")],
            "MemorySize": tuned.get("lambda_memory_size", 128),
            "Timeout": tuned.get("lambda_timeout", 60),
            "reserved_concurrency": tuned.get("reserved_concurrency"),
            "iam_role_arn": None
            if tuned.get("manage_iam_role", True)
            else tuned.get("iam_role_arn"),
        }
    return found
