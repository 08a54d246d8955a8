"""`aurora-refresh doctor --stage …`: check a stage in its account, and name each fault with its fix.

It only reads.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chalice.config import Config

from chalicelib.domain.errors import SettingsError
from cli import stages
from cli.configure import policy_files
from cli.doctor import acceptance, checks, deployment, production, refresh, template, topics
from cli.doctor.checks import Check
from cli.doctor.deployment import Wanted
from cli.look import AcceptanceLook, Look
from cli.stages import AcceptanceStage, Stage

_WIDTH = max(map(len, (checks.OK, checks.WARNING, checks.PROBLEM)))


def examine(project: Path, name: str) -> list[Check]:
    """Return every check of the stage, in order; raise Failure if there is no such stage."""
    try:
        stage = stages.load(project, name)
    except SettingsError as error:
        return [checks.wrong_setting(name, problem) for problem in error.problems]
    wanted, files = wanted_functions(project, stage)
    local = [*checks.settings(stage), *files]
    look: Look
    if isinstance(stage, AcceptanceStage):
        look = AcceptanceLook(stage)
        own = _acceptance(look)
    else:
        look = Look(stage)
        own = production.clusters(look, stage)
    first = [*checks.identity("credentials", look), *local]
    if first[0].fix:
        return first  # the others would be about another account
    first += checks.region("Region", look)
    if not look.is_deployed:
        seen = "has not been deployed: none of its functions is in the account"
        first.append(Check("stage", name, *checks.problem(seen, look.deploy)))
    return [*first, *own, *checks.own_keys(look), *_deployment(look, wanted)]


def _acceptance(look: AcceptanceLook) -> Iterator[Check]:
    parameters = acceptance.parameters(look)
    if not look.is_deployed:
        # `aurora-refresh deploy` creates what is missing.
        parameters = (each for each in parameters if each.blind or each.subject in look.values)
    yield from parameters
    yield from acceptance.pipeline(look.stage.pipeline, look)
    yield from template.reading(look)
    yield from refresh.databases(look)
    yield from refresh.obstacles(look)
    yield from acceptance.shares(look)


def _deployment(look: Look, wanted: Mapping[str, Wanted]) -> Iterator[Check]:
    if not look.is_deployed:
        return
    yield from deployment.functions(look, wanted)
    if isinstance(look, AcceptanceLook):
        yield from deployment.rest_api("REST API", look)
    yield from deployment.schedules(look)
    yield from topics.topics(look)
    yield from topics.keys(look)
    yield from deployment.alarms(look)


def is_healthy(done: Sequence[Check]) -> bool:
    """Return whether everything could be checked and nothing is a problem; warnings are allowed."""
    return not any(check.blind or check.status == checks.PROBLEM for check in done)


def lines(done: Sequence[Check]) -> Iterator[str]:
    """Yield the checks for people: grouped, one line each, with the fix below."""
    indent = " " * (_WIDTH + 4)
    for group in dict.fromkeys(check.check for check in done):
        yield group
        for check in (each for each in done if each.check == group):
            # A line break in what AWS shows, such as a hold's reason, could imitate a line of ours.
            seen = " ".join(check.seen.split())
            yield f"  {check.status:{_WIDTH}}  {check.subject}: {seen}"
            if check.fix:
                yield f"{indent}fix: {check.fix}"
    count = Counter(check.status for check in done)
    counts = f"problems: {count[checks.PROBLEM]}, warnings: {count[checks.WARNING]}, ok: {count[checks.OK]}"
    blind = sum(check.blind for check in done)
    if count[checks.PROBLEM]:
        yield f"not healthy; {counts}"
    elif blind:
        yield f"no problem was found; could not be checked: {blind}; {counts}"
    else:
        yield f"healthy; {counts}"


def wanted_functions(project: Path, stage: Stage) -> tuple[dict[str, Wanted], list[Check]]:
    """Return what each function should have, and the check of its policy file."""
    document, wanted, files = stages.read_config(project), {}, []
    for function, file in policy_files(project, stage).items():
        files.append(checks.policy_file(stage.name, file))
        own = Config(stage.name, function, config_from_disk=document)
        wanted[function] = Wanted(
            own.environment_variables, file.policy, stage.own_roles.get(function)
        )
    return wanted, files
