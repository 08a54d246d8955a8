"""The operator's commands: they call the deployed API with the caller's own AWS credentials."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli import options
from cli.console import view
from cli.output import Failure, WrongUsage, confirm, say, say_json, say_table

if TYPE_CHECKING:
    from cli.client import ApiClient

Json = dict[str, Any]

_LISTED = 30  # snapshots, unless all are asked for
_MALFORMED = 400


class Target(NamedTuple):
    """The stage to operate, and the client of its API."""

    name: str
    client: "ApiClient"


def connect(stage: str | None, url: str | None, profile: str | None, region: str | None) -> Target:
    """Return the stage and its client, which calls AWS only when it is used; raise Failure."""
    if not (stage or url):
        raise click.UsageError("name a stage: --stage acceptance; or its API: --url https://…")
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    from cli.client import ApiClient, find_api_url

    try:
        session = Session(profile=profile)
        if region:
            session.set_config_variable("region", region)
        address = url or (lambda: find_api_url(session, stage or ""))
        client = ApiClient(address, session)
    except BotoCoreError as error:
        raise Failure(f"{error}. Name a profile that exists: --profile or AWS_PROFILE.") from error
    return Target(stage or str(url), client)


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what the API or AWS refuses as Failure, with the next step."""
    from cli.client import ApiError

    try:
        yield
    except ApiError as error:
        message = error.message if error.message.endswith(".") else f"{error.message}."
        text = f"{message} {error.next_step}".strip()
        raise (WrongUsage if error.status == _MALFORMED else Failure)(text) from error


def _operator(function: Callable[..., bool | None]) -> click.Command:
    """Make a command of a function, which gets the target; False makes the exit status 1."""

    @functools.wraps(function)
    def run(
        stage: str | None, url: str | None, profile: str | None, region: str | None, **given: Any
    ) -> None:
        target = connect(stage, url, profile, region)
        with refusals():
            is_well = function(target, **given)
        if is_well is False:
            click.get_current_context().exit(1)

    common = (options.STAGE, options.URL, options.PROFILE, options.REGION)
    return click.command(function.__name__)(options.together(*common)(run))


# --- what is --------------------------------------------------------------------------------------


@_operator
@options.together(options.DATABASE, options.JSON)
def status(target: Target, database: str | None, *, as_json: bool) -> bool:
    """Show which data is deployed, how old it is, and what comes next.

    Exit status: 0 if all is well, 1 if there are problems.
    """
    answer = target.client.status()
    if as_json:
        say_json(answer)
        return not answer["problems"]
    known = [each["name"] for each in answer["databases"]]
    if database and database not in known:
        raise WrongUsage(f"there is no database {database!r}; known: {', '.join(known)}")
    shown = [each for each in answer["databases"] if database in (None, each["name"])]
    problems = answer["problems"]
    counted = view.count(len(problems), "problem") if problems else "no problems"
    say(" · ".join([*_who(target), counted]))
    say()
    headings = ("database", "deployed", "age", "state", "next refresh")
    say_table(headings, [_status_row(answer, each) for each in shown])
    for line in _coming(answer):
        say(line)
    if problems:
        say()
    for problem in problems:
        say(f"✗ {view.brief(problem)}")
    return not problems


def _who(target: Target) -> list[str]:
    """Return the stage, its account and Region, and who the caller is, if AWS says so."""
    from cli.client import ApiError

    words = [target.name]
    try:
        identity = target.client.identity()
    except ApiError:
        return [*words, str(target.client.region)]
    role, _, name = view.short(identity["Arn"]).rpartition("/")
    who = f"as {name} ({role})" if role else f"as {name}"
    return [*words, identity["Account"], str(target.client.region), who]


def _status_row(answer: Json, facts: Json) -> tuple[str, ...]:
    age = facts["age_hours"]
    return (
        facts["name"],
        view.short(facts["deployed"]) if facts["deployed"] else "",
        "" if age is None else _age(age),
        view.verdict(answer, facts),
        _next_refresh(answer),
    )


def _coming(answer: Json) -> Iterator[str]:
    """Yield the hold and the run in progress."""
    hold, run = answer["hold"], answer["pipeline"]["under_way"]
    if hold and hold["until"]:
        reason = f": {hold['reason']}" if hold["reason"] else ""
        yield f"on hold  until {hold['until']}, by {view.short(hold['by'])}{reason}"
    if run:
        since = view.time(answer["schedule"]["now"]) - view.time(run["started"])
        place = run["stage"] or "in progress"
        waits = f" · waits for {run['waits_for']}" if run["waits_for"] else ""
        restores = f" · restores {view.brief(run['restores'])}" if run["restores"] else ""
        name = answer["pipeline"]["name"]
        yield f"running  {name} · {place}, {view.span(since)}{waits}{restores}"


def _next_refresh(answer: Json) -> str:
    when = answer["schedule"]["next_restore"]
    return _local(when) if when else "on hold" if answer["hold"] else "none"


def _local(text: str | None) -> str:
    """Return a time of the API in the caller's own time zone."""
    return f"{view.time(text).astimezone():%a %d %b %Y %H:%M %Z}" if text else ""


def _age(hours: float) -> str:
    return view.count(round(hours / 24), "day") if hours >= 48 else f"{hours:.0f} hours"


@_operator
@options.together(
    options.DATABASE,
    click.option("--all", "all_of_them", is_flag=True, help="List more than the newest ones."),
    options.JSON,
)
def snapshots(target: Target, database: str | None, *, all_of_them: bool, as_json: bool) -> None:
    """List production's shared snapshots, and why each can or cannot be restored."""
    answer = target.client.snapshots(database)
    if as_json:
        say_json(answer)
        return
    found = answer["snapshots"]
    shown = found if all_of_them else found[:_LISTED]
    headings = ("snapshot", "taken", "cluster", "version", "verdict")
    say_table(headings, [_snapshot_row(each) for each in shown])
    if more := len(found) - len(shown):
        say(f"and {more} older ones: --all lists them")
    if answer["omitted"]:
        say(f"{view.count(answer['omitted'], 'snapshot')} more are shared.")
    if answer["message"]:
        say(answer["message"])


def _snapshot_row(snapshot: Json) -> tuple[str, ...]:
    if snapshot["chosen"]:
        verdict = "eligible, the newest"
    else:
        verdict = (
            "eligible" if snapshot["eligible"] else f"{snapshot['reason']}: {snapshot['detail']}"
        )
    return (
        view.short(snapshot["arn"]),
        _local(snapshot["created"]),
        snapshot["cluster"] or "",
        snapshot["engine_version"] or "",
        verdict,
    )


@_operator
@options.together(options.DATABASE, options.JSON)
def history(target: Target, database: str | None, *, as_json: bool) -> None:
    """List who moved current, when, why, and what became of it; newest first."""
    answer = target.client.history(database)
    if as_json:
        say_json(answer)
    else:
        headings = ("version", "snapshot", "set", "action", "by", "why", "result")
        say_table(headings, [_history_row(each) for each in answer["history"]])


def _history_row(entry: Json) -> tuple[str, ...]:
    return (
        str(entry["version"]),
        view.short(entry["snapshot"]),
        _local(entry["set"]),
        entry["action"] or "",
        view.short(entry["by"]) if entry["by"] else "",
        entry["why"] or "",
        "good" if entry["good"] else entry["result"] or "",
    )


# --- what is wanted -------------------------------------------------------------------------------

_DEPLOY = click.option("--deploy-now", is_flag=True, help="Start the pipeline; restore at once.")
_CHANGE = (options.REASON, options.DATABASE, _DEPLOY, options.YES, options.JSON)


@_operator
@click.argument("snapshot")
@options.together(*_CHANGE)
def pin(
    target: Target,
    snapshot: str,
    reason: str,
    database: str | None,
    *,
    deploy_now: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Set current to SNAPSHOT: an identifier, an ARN, or latest.

    The pipeline's next run restores it. With --deploy-now, that run is started.
    """
    if deploy_now:
        _confirm_restore(target, database, snapshot, yes=yes)
    wanted = _wanted(reason, database, deploy=deploy_now)
    _say_pinned(target.client.pin(snapshot, **wanted), database, as_json=as_json)


@_operator
@options.together(*_CHANGE)
def rollback(
    target: Target, reason: str, database: str | None, *, deploy_now: bool, yes: bool, as_json: bool
) -> None:
    """Set current back to the newest earlier snapshot that differs."""
    if deploy_now:
        _confirm_restore(target, database, None, yes=yes)
    wanted = _wanted(reason, database, deploy=deploy_now)
    _say_pinned(target.client.rollback(**wanted), database, as_json=as_json)


def _wanted(reason: str, database: str | None, *, deploy: bool) -> Json:
    named = {"database": database} if database else {}
    return {"reason": reason, "deploy": deploy, **named}


def _say_pinned(answer: Json, database: str | None, *, as_json: bool) -> None:
    if as_json:
        say_json(answer)
        return
    named = f"{database}: " if database else ""
    before = f", before it {view.short(answer['previous'])}" if answer["previous"] else ""
    say(f"{named}current is {view.short(answer['current'])}, version {answer['version']}{before}.")
    if answer["execution_id"]:
        say(f"Run {answer['execution_id']} was started, and restores it.")
    else:
        say("The pipeline's next run restores it.")
    _say_under_way(answer)


def _say_under_way(answer: Json) -> None:
    if answer["under_way"]:
        text = view.brief(answer["under_way"])
        say(f"Now: {text}.")


@_operator
@options.together(
    click.option("--dry-run", is_flag=True, help="Only show each step's verdict."),
    click.option("--outside-window", is_flag=True, help="Also outside the maintenance window."),
    options.REASON,
    options.YES,
    options.JSON,
)
def refresh(
    target: Target,
    reason: str,
    *,
    dry_run: bool,
    outside_window: bool,
    yes: bool,
    as_json: bool,
) -> bool:
    """Do now what the schedule would do, whatever the week.

    Exit status: 0 if a run was started or would be, 1 if the refresh was refused.
    """
    if not dry_run:
        _confirm_restore(target, None, "latest", yes=yes)
    answer = target.client.refresh(reason=reason, outside_window=outside_window, dry_run=dry_run)
    is_started = bool(answer["outcome"] == "started")
    if as_json:
        say_json(answer)
        return is_started
    if dry_run or not is_started:
        steps = [(each["step"], each["verdict"], each["detail"] or "") for each in answer["steps"]]
        say_table(("step", "verdict", "detail"), steps)
    for each in answer["databases"] if is_started else ():
        move = f"{view.short(each['previous'])} → {view.short(each['current'])}"
        say(f"{each['name']}: {'would move ' if dry_run else ''}{move}")
    if is_started:
        say("This would be restored." if dry_run else f"Run {answer['execution_id']} was started.")
    else:
        say(f"{answer['outcome']}, {answer['reason']}: {answer['message']}")
    return is_started


def _confirm_restore(
    target: Target, database: str | None, snapshot: str | None, *, yes: bool
) -> None:
    """Ask before a cluster is replaced, and say which one."""
    if yes:
        return
    found = [
        each for each in target.client.status()["databases"] if database in (None, each["name"])
    ]
    what = " and ".join(
        f"{each['name']} ({view.short(each['deployed'])}"
        f"{' → ' + view.short(each['latest']) if snapshot == 'latest' else ''})"
        for each in found
    )
    clusters = "cluster" if len(found) == 1 else "clusters"
    by = f" by {view.short(snapshot)}" if snapshot not in (None, "latest") else ""
    confirm(
        f"This replaces the acceptance {clusters} of {what or database}{by} and deletes what testers "
        "changed there.",
        yes=yes,
    )


@_operator
@click.argument("until")
@options.together(options.REASON, options.JSON)
def hold(target: Target, until: str, reason: str, *, as_json: bool) -> None:
    """Stop scheduled refreshes until the day UNTIL, such as 2026-01-22."""
    _say_hold(target.client.hold(until, reason), as_json=as_json)


@_operator
@options.together(options.JSON)
def resume(target: Target, *, as_json: bool) -> None:
    """Lift the hold."""
    _say_hold(target.client.resume(), as_json=as_json)


def _say_hold(answer: Json, *, as_json: bool) -> None:
    if as_json:
        say_json(answer)
        return
    hold, when = answer["hold"], _local(answer["next_restore"]) or "none is scheduled"
    if hold:
        say(f"Scheduled refreshes are on hold until {hold['until']}. Next refresh: {when}.")
    else:
        say(f"There is no hold. Next refresh: {when}.")
    _say_under_way(answer)


@click.command()
@options.together(
    options.STAGE,
    options.URL,
    options.PROFILE,
    options.REGION,
    click.option(
        "--port", type=click.IntRange(0, 65535), default=0, help="The port; default: a free one."
    ),
)
def console(
    stage: str | None, url: str | None, profile: str | None, region: str | None, port: int
) -> None:
    """Serve the stage's console on this machine, for your browser."""
    target = connect(stage, url, profile, region)
    try:
        from cli.console.app import serve
    except ModuleNotFoundError as error:
        missing = "The console needs Flask: pipx inject aurora-refresh flask, or make setup."
        raise Failure(missing) from error
    serve(target.client, target.name, stage, port)


COMMANDS: Sequence[click.Command] = (
    status,
    snapshots,
    history,
    pin,
    rollback,
    refresh,
    hold,
    resume,
    console,
)
