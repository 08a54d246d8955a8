"""The definition of a check, and the checks that need little access to the account.

Each check names its fix as a command or a change that can be carried out as it is.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Concatenate, NamedTuple, ParamSpec

import boto3

from chalicelib.domain.errors import AwsError, Problem
from chalicelib.domain.results import Json
from chalicelib.domain.schedule import Timetable
from chalicelib.settings import names_of
from cli.configure import PolicyFile
from cli.errors import DENIED
from cli.look import Look
from cli.output import Failure
from cli.stages import ACCOUNT, INITIAL, PIPELINE, AcceptanceStage, Stage, contradictions, to_change

P = ParamSpec("P")

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Check(NamedTuple):
    """The result of one check, and the fix unless it is ok.

    `blind` if AWS did not show what was to be checked.
    """

    check: str
    subject: str
    status: str
    seen: str
    fix: str | None = None
    blind: bool = False

    def to_json(self) -> dict[str, str | None]:
        """Return the check for machines."""
        return {name: value for name, value in self._asdict().items() if name != "blind"}


class Verdict(NamedTuple):
    """The result for one subject of a check, with the fix of a fault."""

    status: str
    seen: str
    fix: str | None = None
    blind: bool = False


ok = partial(Verdict, OK)
# On something unusual that does not prevent a refresh.
warning = partial(Verdict, WARNING)
# On something that prevents a refresh.
problem = partial(Verdict, PROBLEM)


def unavailable(error: AwsError) -> Verdict:
    """Return a warning about something that could not be checked, so that the stage is not healthy."""
    action = error.operation
    seen = f"could not be checked: {error.code}: {error.message}; this needs {action}"
    fix = "run the doctor again; if this persists, check it by hand"
    if error.code in DENIED:
        fix = f"grant {action} to the identity in use, or run the doctor as one that has it"
    return warning(seen, fix, blind=True)


Judge = Callable[Concatenate[str, P], Verdict | Iterable[Verdict]]
Checking = Callable[Concatenate[str, P], Iterator[Check]]


def check(name: str) -> Callable[[Judge[P]], Checking[P]]:
    """Make a check of a function that judges a subject, its first argument.

    The function returns a verdict or yields some. What AWS does not show ends it with a warning.
    """

    def decorate(judge: Judge[P]) -> Checking[P]:
        def run(subject: str, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Check]:
            try:
                found = judge(subject, *args, **kwargs)
                for verdict in (found,) if isinstance(found, Verdict) else found:
                    yield Check(name, subject, *verdict)
            except AwsError as error:
                yield Check(name, subject, *unavailable(error))

        return run

    return decorate


@check("identity")
def identity(_subject: str, look: Look) -> Verdict:
    """Judge whose credentials are in use."""
    stage = look.stage
    try:
        look.check_caller()
    except AwsError as error:
        fix = f"sign in to account {stage.account}: aws sso login, or export AWS_PROFILE=…"
        return problem(str(error), fix)
    except Failure as error:
        answer = f"{ACCOUNT}=…"
        if isinstance(stage, AcceptanceStage):
            answer = f"{PIPELINE}=…; a main pipeline in another account than the databases is not supported"
        change = f"aurora-refresh configure --stage {stage.name} {answer}"
        return problem(
            error.message, f"export AWS_PROFILE=…; or, if the stage's account is wrong: {change}"
        )
    return ok(look.caller()["Arn"])


@check("identity")
def region(_subject: str, look: Look) -> Iterator[Verdict]:
    """Warn if the commands that are printed as fixes would run in another Region than the stage's."""
    found, wanted = os.environ.get("AWS_REGION") or boto3.Session().region_name, look.stage.region
    if found not in (None, wanted):
        seen = f"of this shell is {found}, where the commands below would run"
        yield warning(seen, f"first run export AWS_REGION={wanted} AWS_DEFAULT_REGION={wanted}")


def settings(stage: Stage) -> Iterator[Check]:
    """Check each setting of a stage whose settings can be read, but may contradict others."""
    names, wrong = names_of(stage.variables), contradictions(stage)
    problems = {name: problem for problem in wrong for name in problem.names}
    for name in names:
        if name in problems:
            yield wrong_setting(stage.name, problems[name])
        else:
            value = stage.variables.get(name)
            yield Check("setting", name, OK, value or "not set; the default applies")
    unknown = sorted(stage.variables.keys() - {*names})
    for name in (each for each in unknown if not each.endswith(INITIAL)):
        fix = f"correct its name, or remove it: {to_change(stage.name, f'{name}=')}"
        yield Check("setting", name, WARNING, "is not a setting of Aurora Refresh", fix)


def wrong_setting(stage: str, problem: Problem) -> Check:
    """Report a problem of the settings."""
    subject, *others = problem.names
    seen = " ".join([*others, problem.detail])
    answer = f"{subject}=" if problem.unknown else f"{subject}=…"
    return Check("setting", subject, PROBLEM, seen, to_change(stage, answer))


def policy_file(stage: str, file: PolicyFile) -> Check:
    """Check that a policy file, from which Chalice makes a role, matches the settings."""
    if file.fits:
        return Check("policy", file.name, OK, "is what the stage's settings need")
    differs = "differs from what the stage's settings need"
    seen = "does not exist" if file.text is None else differs
    return Check("policy", file.name, PROBLEM, seen, to_change(stage))


def when(stage: AcceptanceStage, instant: datetime) -> str:
    """Return a time as people in the window's zone say it."""
    zone = stage.settings.window.zone
    return f"{instant.astimezone(zone):%A %Y-%m-%d %H:%M} {zone.key}"


def due(stage: AcceptanceStage, timetable: Timetable, now: datetime) -> str:
    """Return when a function runs next; a rate's next time is unknown."""
    if timetable.expression.is_rate:
        return "unknown, because EventBridge decides when a rate fires"
    instant = timetable.next_run(now)
    return when(stage, instant) if instant else "never within five years"


def own_keys(look: Look) -> Iterator[Check]:
    """Check the keys of copies that settings name."""
    for name in names_of(look.stage.variables):
        key = look.stage.variables.get(name)
        if key and name.endswith("_KMS_KEY_ID"):
            yield from _own_key(key, look, name)


@check("copy key")
def _own_key(key: str, look: Look, setting: str) -> Verdict:
    other = to_change(look.stage.name, f"{setting}=…")
    return unusable_key(look.key(key), other) or ok("customer-managed and enabled")


def unusable_key(key: Json | None, other: str, *, may_be_aws: bool = False) -> Verdict | None:
    """Return what is wrong with a key, if anything is; `other` is how to use another one."""
    if key is None:
        return problem("does not exist", other)
    if key["KeyManager"] == "AWS" and not may_be_aws:
        return problem("is managed by AWS: a customer-managed key is needed", other)
    if (state := key["KeyState"]) == "Enabled":
        return None
    enable = f"aws kms enable-key --key-id {key['Arn']}"
    fixes = {
        "Disabled": enable,
        "PendingDeletion": f"aws kms cancel-key-deletion --key-id {key['Arn']} && {enable}",
    }
    return problem(f"is {state}", fixes.get(state, other))
