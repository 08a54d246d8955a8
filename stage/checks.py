"""What a check is, and those that need no look at the account. Pure.

Each check names its fix as a command or a change that can be carried out as it stands. What was seen of the
account is judged in ``refreshable.py`` and ``deployed.py``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stage.config import Stage
from stage.facts import Json, Seen, Unseen

OK, WARNING, PROBLEM = "ok", "warning", "problem"
VERDICT = "verdict"  # on one of production's shares, of which there may be many
UNSEEN = "could not be looked at"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was seen of it, and the fix where it is not as it should be."""

    check: str
    subject: str
    status: str
    seen: str
    fix: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """The check for machines."""
        return {
            "check": self.check,
            "subject": self.subject,
            "status": self.status,
            "seen": self.seen,
            "fix": self.fix,
        }


def unseen(check: str, subject: str, what: Unseen) -> Check:
    """What could not be looked at is no problem yet, and must not be taken for health."""
    return Check(
        check,
        subject,
        WARNING,
        f"{UNSEEN}: {what.why}; this needs {what.action}",
        f"allow {what.action} to the identity in use, or run the doctor as one that has it"
        if what.denied
        else "run the doctor again; if this comes back, look at it by hand",
    )


def identity(stage: Stage, seen: Seen[Json], region: str | None) -> Iterator[Check]:
    """Whose credentials are in use, and where."""
    if isinstance(seen, Unseen):
        yield Check(
            "identity",
            "credentials",
            PROBLEM,
            f"AWS does not know who asks: {seen.why}",
            f"sign in to account {stage.account}: aws sso login, or export AWS_PROFILE=…",
        )
    elif seen["Account"] != stage.account:
        yield Check(
            "identity",
            "credentials",
            PROBLEM,
            f"{seen['Arn']} is of account {seen['Account']}, and the stage's main pipeline is in "
            f"{stage.account}",
            f"use credentials of account {stage.account}: export AWS_PROFILE=…; or, if the stage names the "
            f"wrong pipeline: make configure STAGE={stage.name} MAIN_PIPELINE_ARN=…",
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
            f"{region or 'none'} is in use, and the stage's main pipeline is in {stage.region}; what follows "
            f"was looked at in {stage.region}",
            f"export AWS_DEFAULT_REGION={stage.region}",
        )


def settings(stage: Stage, names: Sequence[str], contradictions: Sequence[str]) -> Iterator[Check]:
    """Each setting as the stage has it; the stage as a whole is known to be readable."""
    wrong = {each.partition(" is ")[0]: each for each in contradictions}
    for name in names:
        value = stage.variables.get(name)
        if name in wrong:
            yield wrong_setting(stage.name, wrong[name])
        else:
            yield Check("setting", name, OK, value or "not set: the default")
    for name in stage.variables:
        if name not in names:
            yield Check(
                "setting",
                name,
                WARNING,
                "is no setting of this application",
                f"correct its name, or take it away: make configure STAGE={stage.name} {name}=",
            )


def wrong_setting(stage: str, problem: str) -> Check:
    """A problem as the settings tell it."""
    name, _, told = problem.partition(" ")
    return Check(
        "setting",
        name.rstrip(","),
        PROBLEM,
        told,
        f"make configure STAGE={stage} {name.rstrip(',')}=…, and then make deploy STAGE={stage}",
    )


def policy_files(stage: str, files: Mapping[str, tuple[str, bool]]) -> Iterator[Check]:
    """Whether the files that ``make deploy`` makes roles of say what the settings need."""
    for name, (what, right) in files.items():
        if right:
            yield Check("policy", name, OK, what)
        else:
            yield Check(
                "policy",
                name,
                PROBLEM,
                what,
                f"make configure STAGE={stage}, and then make deploy STAGE={stage}",
            )


def when(stage: Stage, instant: datetime | None) -> str:
    """A moment as people in the window's zone would say it."""
    if instant is None:
        return "never within five years"
    zone = stage.settings.window.zone
    return f"{instant.astimezone(zone):%A %Y-%m-%d %H:%M} {zone.key}"
