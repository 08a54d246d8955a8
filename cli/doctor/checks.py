"""What a check is, and the checks that need little of the account. Pure.

Each check names its fix as a command or a change that can be carried out as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.errors import Problem
from cli.doctor.state import Observed, Unavailable
from cli.stages import ACCOUNT, PIPELINE, AcceptanceStage, Json, Stage, to_change

OK, WARNING, PROBLEM = "ok", "warning", "problem"
VERDICT = "verdict"  # on one of production's shares, of which there may be many


@dataclass(frozen=True, slots=True)
class Check:
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
        return {
            "check": self.check,
            "subject": self.subject,
            "status": self.status,
            "seen": self.seen,
            "fix": self.fix,
        }


def unavailable(check: str, subject: str, what: Unavailable) -> Check:
    """Report what could not be looked at, which is no problem yet, but not healthy either."""
    return Check(
        check,
        subject,
        WARNING,
        f"could not be looked at: {what.why}; this needs {what.action}",
        f"allow {what.action} to the identity in use, or run the doctor as one that has it"
        if what.denied
        else "run the doctor again; if this persists, look at it by hand",
        blind=True,
    )


def identity(stage: Stage, seen: Observed[Json], region: str | None) -> Iterator[Check]:
    """Check whose credentials and which Region are in use."""
    if isinstance(seen, Unavailable):
        yield Check(
            "identity",
            "credentials",
            PROBLEM,
            f"AWS does not accept them: {seen.why}",
            f"sign in to account {stage.account}: aws sso login, or export AWS_PROFILE=…",
        )
    elif seen["Account"] != stage.account:
        yield Check(
            "identity",
            "credentials",
            PROBLEM,
            f"{seen['Arn']} belongs to account {seen['Account']}, but the stage is in {stage.account}",
            f"use credentials of account {stage.account}: export AWS_PROFILE=…; or, if the stage's account "
            f"is wrong: aurora-refresh configure --stage {stage.name} {_place(stage)}=…"
            + (
                "; a main pipeline in another account than the databases is not supported"
                if isinstance(stage, AcceptanceStage)
                else ""
            ),
        )
    else:
        yield Check("identity", "credentials", OK, seen["Arn"])
    if region == stage.region:
        yield Check("identity", "Region", OK, region)
    else:
        yield Check(
            "identity",
            "Region",
            PROBLEM,
            f"{region or 'none'} is in use, but the stage is in {stage.region}, where the checks below "
            "looked",
            f"export AWS_DEFAULT_REGION={stage.region}",
        )


def _place(stage: Stage) -> str:
    return PIPELINE if isinstance(stage, AcceptanceStage) else ACCOUNT


def settings(stage: Stage, names: Sequence[str], wrong: Sequence[Problem]) -> Iterator[Check]:
    """Check each setting of a stage whose settings can be read; `wrong` ones contradict others."""
    problems = {name: problem for problem in wrong for name in problem.names}
    for name in names:
        if name in problems:
            yield wrong_setting(stage.name, problems[name])
        else:
            value = stage.variables.get(name)
            yield Check("setting", name, OK, value or "not set: the default")
    for name in stage.variables:
        if name not in names:
            yield Check(
                "setting",
                name,
                WARNING,
                "is not a setting of this application",
                f"correct its name, or remove it: aurora-refresh configure --stage {stage.name} {name}=",
            )


def wrong_setting(stage: str, problem: Problem) -> Check:
    """Report a problem of the settings."""
    subject = problem.names[0]
    others = "".join(f"{name} " for name in problem.names[1:])
    fix = to_change(stage, f"{subject}=…")
    return Check("setting", subject, PROBLEM, f"{others}{problem.detail}", fix)


def policy_files(stage: str, files: Mapping[str, tuple[str, bool]]) -> Iterator[Check]:
    """Check whether the policy files, of which Chalice makes roles, fit the settings."""
    for name, (what, right) in files.items():
        if right:
            yield Check("policy", name, OK, what)
        else:
            yield Check("policy", name, PROBLEM, what, to_change(stage))


def when(stage: AcceptanceStage, instant: datetime | None) -> str:
    """Return a time as people in the window's zone say it."""
    if instant is None:
        return "never within five years"
    zone = stage.settings.window.zone
    return f"{instant.astimezone(zone):%A %Y-%m-%d %H:%M} {zone.key}"


def own_key(stage: Stage, check: str, setting: str, key: str, seen: Observed[Json | None]) -> Check:
    """Check a key of the stage's own account that a setting names."""
    other = to_change(stage.name, f"{setting}=…")
    if isinstance(seen, Unavailable):
        return unavailable(check, key, seen)
    if seen is None:
        found = f"{setting} names it, but it does not exist in {stage.account}, {stage.region}"
        return Check(check, key, PROBLEM, found, other)
    if seen["KeyManager"] == "AWS":
        return Check(
            check, key, PROBLEM, "is managed by AWS; a customer-managed one is needed", other
        )
    if seen["KeyState"] != "Enabled":
        return Check(check, key, PROBLEM, f"is {seen['KeyState']}", enable_key(seen["Arn"]))
    return Check(check, key, OK, "customer-managed and enabled")


def enable_key(arn: str) -> str:
    """Return the command that enables a key."""
    return f"aws kms enable-key --key-id {arn} (first aws kms cancel-key-deletion, if it is to be deleted)"
