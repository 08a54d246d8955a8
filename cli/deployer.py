"""The commands that configure, deploy, check and remove a stage, from a clone of the project."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from chalicelib.domain.text import printable
from cli import options
from cli.output import WrongUsage, confirm, is_interactive, say, say_json, say_table

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would change.")


@click.command(
    epilog="""\b
Examples:
  aurora-refresh configure --stage acceptance MAIN_PIPELINE_ARN=arn:aws:codepipeline:… \\
    SOURCE_ACCOUNT=111111111111 RDS_ENGINE=aurora-postgresql RDS_ENGINE_VERSION=16 …
  aurora-refresh configure --stage production SHARE_WITH_ACCOUNT=222222222222 \\
    CLUSTERS=orders ACCOUNT=111111111111 REGION=eu-west-1
"""
)
@options.REQUIRED_STAGE
@options.ANSWERS
@click.option(
    "--from-environment", is_flag=True, help="Also take answers from environment variables."
)
@click.option("--offline", is_flag=True, help="Do not call AWS to look up stack names.")
@_DRY_RUN
@options.PROJECT
@options.PROFILE
def configure(
    name: str,
    answers: Mapping[str, str],
    project: Path,
    *,
    from_environment: bool,
    offline: bool,
    dry_run: bool,
) -> None:
    """Write a stage's settings and its functions' policies.

    SOURCE_ACCOUNT makes an acceptance stage, SHARE_WITH_ACCOUNT a production stage. The other
    settings are in docs/settings.md and docs/production.md. An acceptance stage also needs
    MAIN_PIPELINE_ARN, a production stage ACCOUNT and REGION. A setting that you do not name keeps its
    value, and an empty value removes it. On a terminal, you are asked for required answers that are
    missing.
    """
    from cli import configure

    notes: list[str] = []
    find = None if offline else partial(configure.find_stack_names, notes.append)
    ask = (lambda question: input(printable(question))) if is_interactive() else None
    environment = os.environ if from_environment else {}
    changed = configure.changes(project, name, answers, ask, find, environment)
    for line in configure.diff(project, changed):
        say(line)
    if not dry_run:
        configure.write(changed)
    for note in notes:
        say(f"note: {note}")
    if not changed:
        say(f"stage {name} is already configured this way; nothing was written")
    elif dry_run:
        say("this is a dry run; nothing was written")
    else:
        say(f"stage {name} is written; next: aurora-refresh deploy --stage {name}")


@click.command(
    epilog="""\b
Answers, all optional:
  EMAIL  an address to subscribe to the topic; each e-mail has an unsubscribe link
  DATABASE_BACKUP_SNAPSHOT_ID_ARN
         the first value of current in an acceptance stage, if the parameter does not exist;
         with several databases, write the prefix first: ORDERS_DATABASE_BACKUP_…

\b
Example:
  aurora-refresh deploy --stage acceptance EMAIL=team@example.com
"""
)
@options.REQUIRED_STAGE
@options.ANSWERS
@_DRY_RUN
@options.PROJECT
@options.PROFILE
def deploy(name: str, answers: Mapping[str, str], project: Path, *, dry_run: bool) -> None:
    """Create or update a stage.

    Creates the parameters, the topic, the functions and their monitoring. It is safe to run again,
    and never resets a parameter's value.
    """
    from cli import deploy as deployment

    deployment.deploy(project, name, answers, dry_run=dry_run)
    if dry_run:
        say("this is a dry run; nothing was changed")
    else:
        say(f"stage {name} is deployed; next: aurora-refresh doctor --stage {name}")


@click.command()
@options.REQUIRED_STAGE
@options.JSON
@options.PROJECT
@options.PROFILE
def doctor(name: str, project: Path, *, as_json: bool) -> None:
    """Check a stage, and print each fault with its fix. Read-only.

    Needs read permissions in the stage's account; what it may not read is reported as a warning.

    Exit status: 0 healthy, perhaps with warnings; 1 problems, or something could not be checked;
    2 wrong usage.
    """
    from cli import doctor

    done = doctor.examine(project, name)
    if as_json:
        say_json([check.to_json() for check in done])
    else:
        for line in doctor.lines(done):
            say(line)
    if not doctor.is_healthy(done):
        sys.exit(1)


@click.command()
@options.REQUIRED_STAGE
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write to; default: .chalice/deployments/STAGE.",
)
@options.PROJECT
def package(name: str, out: Path | None, project: Path) -> None:
    """Write a stage as CloudFormation templates, without calling AWS."""
    from cli.package import package

    say(package(project, name, out or project / ".chalice/deployments" / name))


@click.command()
@options.REQUIRED_STAGE
@click.option("--delete-parameters", is_flag=True, help="Also delete latest, current and the hold.")
@click.option(
    "--everything",
    is_flag=True,
    help="Also delete parameters, topic, logs, and the snapshots that the stage made.",
)
@_DRY_RUN
@options.YES
@options.PROJECT
@options.PROFILE
def destroy(
    name: str, project: Path, *, delete_parameters: bool, everything: bool, dry_run: bool, yes: bool
) -> None:
    """Delete a stage's functions and their monitoring.

    Parameters, topic, logs and snapshots are kept. It lists what it deletes and asks. It continues
    after a failure, and reports what is left.
    """
    from cli import destroy as destruction

    steps = destruction.planned(project, name, parameters=delete_parameters, everything=everything)
    for step in steps:
        say(str(step))
    if dry_run:
        say("this is a dry run; nothing was deleted")
        return
    data = " and everything that it made" if everything else ""
    confirm(f"This deletes stage {name}{data}.", yes=yes)
    destruction.carry_out(name, steps)
    say(f"stage {name} is deleted")


@click.command("live-check")
@click.option("--with-cluster", is_flag=True, help="Also create, copy and restore a small cluster.")
@click.option(
    "--delete", "left", metavar="NAME", help="Only delete what a killed check left behind."
)
@options.JSON
@options.YES
@options.PROFILE
@options.REGION
def live_check(left: str | None, *, with_cluster: bool, as_json: bool, yes: bool) -> None:
    """Verify the assumptions about AWS in a sandbox account.

    It creates what it needs, and deletes it at the end, even if you stop it. Needs an administrator's credentials.

    Exit status: 0 nothing differs; 1 something differs or could not be deleted; 2 wrong usage.
    """
    import boto3

    from cli import livecheck
    from cli.livecheck.facts import Fact
    from cli.livecheck.sandbox import PREFIX, Sandbox

    session = boto3.Session()
    if not session.region_name:
        raise WrongUsage("no Region is set: name one with --region or AWS_DEFAULT_REGION")
    if left is not None and not left.startswith(PREFIX):
        raise WrongUsage(f"--delete is {left!r}: write the name that a check printed, {PREFIX}…")
    note = partial(click.echo, err=True)
    box = Sandbox(session, left, with_cluster=with_cluster)
    caller = box.call("sts:GetCallerIdentity")
    note(f"account {caller['Account']} ({caller['Arn']}), Region {box.region}")
    found: list[Fact] = []
    if left:
        confirm(f"This deletes everything named {left}.", yes=yes)
        problems = box.close()
        note(f"{left} is deleted" if not problems else f"{left} is not deleted completely")
    else:
        note(f"This creates {livecheck.COST[with_cluster]}.")
        note(f"If it is killed, run: aurora-refresh live-check --delete {box.name}")
        confirm("Everything that it creates is deleted afterwards.", yes=yes)
        found, problems = livecheck.check(box, note)
    if as_json:
        say_json({"findings": [each._asdict() for each in found], "problems": problems})
    else:
        rows = [(each.verdict, each.fact, f"{each.claim} …", each.found) for each in found]
        say_table(("verdict", "fact", "claim", "found"), rows)
        for line in problems:
            say(line)
    if not livecheck.is_well(found, problems):
        sys.exit(1)


COMMANDS: Sequence[click.Command] = (configure, deploy, doctor, package, destroy, live_check)
