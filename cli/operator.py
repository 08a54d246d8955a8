"""The operator's commands: they call the deployed API with the caller's own AWS credentials."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli import options
from cli.console import view
from cli.errors import ApiError, unknown_answer
from cli.output import Failure, Row, WrongUsage, confirm, say, say_json, say_table

if TYPE_CHECKING:
    from cli.client import ApiClient

Json = dict[str, Any]

_LISTED = 30  # snapshots, unless all are asked for


class Target(NamedTuple):
    """What to operate: the name of a stage or the address of its API, and the client of that API."""

    name: str
    client: "ApiClient"


def connect(stage: str | None, url: str | None) -> Target:
    """Return the target, whose client calls AWS only when it is used; an address overrides a stage."""
    if not (stage or url):
        raise click.UsageError(
            "name a stage with --stage acceptance, or its API with --url https://…"
        )
    from cli.client import ApiClient, find_api_url

    client = ApiClient(url or (lambda session: find_api_url(session, stage or "")))
    return Target(str(url or stage), client)


_API = (options.STAGE, options.URL, options.PROFILE, options.REGION)
Show = Callable[[Target, Json, Json], None]


def _command(
    show: Show, *parameters: options.Option, is_well: Callable[[Json], bool] = lambda _: True
) -> Callable[[Callable[..., Json]], click.Command]:
    """Make a command of a function that returns the API's answer for a target.

    `show` gets the target, the answer and the command's parameters, and prints the answer for people.
    The exit status is 1 unless the answer `is_well`.
    """

    def decorate(function: Callable[..., Json]) -> click.Command:
        @functools.wraps(function)
        def run(stage: str | None, url: str | None, *, as_json: bool, **given: Any) -> None:
            target = connect(stage, url)
            try:
                answer = function(target, **given)
                if as_json:
                    say_json(answer)
                else:
                    show(target, answer, given)
                well = is_well(answer)
            except KeyError as error:
                raise unknown_answer(error) from error
            if not well:
                click.get_current_context().exit(1)

        decorated = options.together(*_API, *parameters, options.JSON)(run)
        return click.command(function.__name__)(decorated)

    return decorate


# --- questions ------------------------------------------------------------------------------------


def _show_status(target: Target, answer: Json, _given: Json) -> None:
    problems = answer["problems"]
    counted = view.count(len(problems), "problem") if problems else "no problems"
    say(" · ".join([*_who(target), counted]))
    say()
    headings = ("database", "deployed", "age", "state", "next refresh")
    say_table(headings, [_status_row(answer, each) for each in answer["databases"]])
    for line in _coming(answer):
        say(line)
    if problems:
        say()
    for problem in problems:
        say(f"✗ {view.brief(problem)}")


def _who(target: Target) -> list[str]:
    """Return the stage, its account and Region, and who the caller is, if AWS says so."""
    words = [target.name]
    try:
        identity = target.client.identity()
    except ApiError:
        return [*words, str(target.client.region)]
    role, _, name = view.short(identity["Arn"]).rpartition("/")
    who = f"as {name} ({role})" if role else f"as {name}"
    return [*words, identity["Account"], str(target.client.region), who]


def _status_row(answer: Json, facts: Json) -> Row:
    age, when = facts["age_hours"], answer["schedule"]["next_restore"]
    deployed = view.short(facts["deployed"]) if facts["deployed"] else None
    coming = _local(when) or ("on hold" if answer["hold"] else "none")
    age = view.age(age) if deployed and age is not None else None
    return (facts["name"], deployed, age, facts["state"], coming)


def _coming(answer: Json) -> Iterator[str]:
    """Yield what waits, the hold and the run in progress."""
    for facts in answer["databases"]:
        if facts["state"] == "waiting":
            by = f", set by {view.short(facts['by'])}"
            yield f"waiting  {facts['name']} · the next run restores {view.short(facts['current'])}{by}"
    hold, run = answer["hold"], answer["pipeline"]["under_way"]
    if hold and hold["until"]:
        reason = f": {view.brief(hold['reason'])}" if hold["reason"] else ""
        yield f"on hold  until {hold['until']}, by {view.short(hold['by'])}{reason}"
    if run:
        since = view.time(answer["schedule"]["now"]) - view.time(run["started"])
        place = run["stage"] or "in progress"
        waits = f" · waits for {run['waits_for']}" if run["waits_for"] else ""
        restores = f" · restores {view.brief(run['restores'])}" if run["restores"] else ""
        name = answer["pipeline"]["name"]
        yield f"running  {name} · {place}, {view.span(since)}{waits}{restores}"


def _local(text: str | None) -> str:
    """Return a time of the API in the caller's own time zone."""
    return f"{view.time(text).astimezone():%a %d %b %Y %H:%M %Z}" if text else ""


_ONLY = click.option("--database", metavar="NAME", help="Show this database only.")


@_command(_show_status, _ONLY, is_well=lambda answer: not answer["problems"])
def status(target: Target, database: str | None) -> Json:
    """Show the deployed data, its age, and what comes next.

    Exit status: 0 if all is well, 1 if there are problems.
    """
    answer = target.client.status()
    return {**answer, "databases": _selected(answer, database)}


def _selected(answer: Json, database: str | None) -> list[Json]:
    """Return the facts of a database, or of all if none is named; raise Failure for an unknown one."""
    found = [each for each in answer["databases"] if database in (None, each["name"])]
    if not found:
        known = ", ".join(each["name"] for each in answer["databases"])
        raise Failure(f"there is no database {database!r}; known: {known}")
    return found


def _show_snapshots(_target: Target, answer: Json, given: Json) -> None:
    found = answer["snapshots"]
    shown = found if given["all_of_them"] else found[:_LISTED]
    headings = ("snapshot", "taken", "cluster", "version", "verdict")
    say_table(headings, [_snapshot_row(each) for each in shown])
    if more := len(found) - len(shown):
        say(f"and {more} older ones; use --all to list them")
    if answer["omitted"]:
        say(f"{answer['omitted']} more are shared but not listed.")
    if answer["message"]:
        say(answer["message"])


def _snapshot_row(snapshot: Json) -> Row:
    verdict = f"{snapshot['reason']}: {snapshot['detail']}"
    if snapshot["eligible"]:
        verdict = "eligible, the newest" if snapshot["chosen"] else "eligible"
    name, taken = view.short(snapshot["arn"]), _local(snapshot["created"])
    return (name, taken, snapshot["cluster"], snapshot["engine_version"], verdict)


@_command(
    _show_snapshots,
    options.DATABASE,
    click.option(
        "--all",
        "all_of_them",
        is_flag=True,
        help=f"List all snapshots, not only the newest {_LISTED}.",
    ),
)
def snapshots(target: Target, database: str | None, *, all_of_them: bool) -> Json:  # noqa: ARG001
    """List production's shared snapshots with the verdict on each."""
    return target.client.snapshots(database)


def _show_history(_target: Target, answer: Json, _given: Json) -> None:
    headings = ("version", "snapshot", "set", "action", "by", "why", "result")
    say_table(headings, [_history_row(each) for each in answer["history"]])


def _history_row(entry: Json) -> Row:
    snapshot, when = view.short(entry["snapshot"]), _local(entry["set"])
    by = view.short(entry["by"]) if entry["by"] else None
    result = "good" if entry["good"] else entry["result"]
    return (entry["version"], snapshot, when, entry["action"], by, entry["why"], result)


@_command(_show_history, options.DATABASE)
def history(target: Target, database: str | None) -> Json:
    """List the changes of current and how each ended, newest first."""
    return target.client.history(database)


# --- changes --------------------------------------------------------------------------------------

_DEPLOY = click.option(
    "--deploy-now", "deploy", is_flag=True, help="Start the pipeline now, to restore at once."
)
_CHANGE = (options.REASON, options.DATABASE, _DEPLOY, options.YES)


def _show_done(_target: Target, answer: Json, given: Json) -> None:
    action = str(click.get_current_context().info_name)
    done = view.done(action, answer, given.get("database"))
    when = _local(answer.get("next_restore"))
    say(f"{done} Next refresh: {when}." if when else done)


@_command(_show_done, click.argument("snapshot"), *_CHANGE)
def pin(target: Target, snapshot: str, database: str | None, *, yes: bool, **wanted: Any) -> Json:
    """Set current to SNAPSHOT: an identifier, an ARN, or latest.

    The pipeline's next run restores it. With --deploy-now, that run is started.
    """
    return _move(target, "pin", database, snapshot, yes=yes, **wanted)


@_command(_show_done, *_CHANGE)
def rollback(target: Target, database: str | None, *, yes: bool, **wanted: Any) -> Json:
    """Set current back to the newest earlier snapshot that differs."""
    return _move(target, "rollback", database, yes=yes, **wanted)


def _move(
    target: Target, action: str, database: str | None, *snapshot: str, yes: bool, **wanted: Any
) -> Json:
    _confirm(target, action, database, *snapshot, yes=yes or not wanted["deploy"])
    named = {"database": database} if database else {}
    answer: Json = getattr(target.client, action)(*snapshot, **wanted, **named)
    return answer


def _is_started(answer: Json) -> bool:
    return bool(answer["outcome"] == "started")


def _show_refresh(target: Target, answer: Json, given: Json) -> None:
    dry_run, is_started = given["dry_run"], _is_started(answer)
    if dry_run or not is_started:
        steps = [(each["step"], each["verdict"], each["detail"]) for each in answer["steps"]]
        say_table(("step", "verdict", "detail"), steps)
    if is_started and dry_run:
        with suppress(ApiError):  # which says nothing of the dry run
            for each in view.replaced(target.client.status(), "refresh"):
                say(f"would replace {each}")
    elif is_started:
        _show_done(target, answer, given)
    else:
        outcome = ", ".join(filter(None, (answer["outcome"], answer["reason"])))
        say(f"{outcome}: {answer['message']}")


@_command(
    _show_refresh,
    click.option("--dry-run", is_flag=True, help="Only show each step's verdict."),
    click.option(
        "--outside-window", is_flag=True, help="Refresh even outside the maintenance window."
    ),
    options.REASON,
    options.YES,
    is_well=_is_started,
)
def refresh(target: Target, *, yes: bool, **wanted: Any) -> Json:
    """Refresh now as the schedule would, in any week.

    Exit status: 0 if a run was started or would be, 1 if the refresh was refused.
    """
    _confirm(target, "refresh", yes=yes or wanted["dry_run"])
    return target.client.refresh(**wanted)


def _confirm(
    target: Target, action: str, database: str | None = None, snapshot: str = "", *, yes: bool
) -> None:
    """Ask for confirmation, naming each cluster and the snapshot that replaces it; raise Failure."""
    if yes:
        return
    answer = target.client.status()
    found = _selected(answer, database)
    if len(found) > 1 and action != "refresh":
        names = ", ".join(each["name"] for each in found)
        raise WrongUsage(f"there are several databases; name one with --database: {names}")
    replaced = view.replaced(answer, action, found[0]["name"], snapshot)
    clusters, it = ("cluster", "it") if len(replaced) == 1 else ("clusters", "them")
    what = f"the acceptance {clusters} of {' and '.join(map(str, replaced))}"
    data = f"and deletes what testers changed in {it}"
    confirm(f"This replaces {what}, {data}." if replaced else "This replaces no cluster.", yes=yes)


@_command(_show_done, click.argument("until"), options.REASON)
def hold(target: Target, until: str, reason: str) -> Json:
    """Stop scheduled refreshes until a day, such as 2026-01-22."""
    return target.client.hold(until, reason)


@_command(_show_done)
def resume(target: Target) -> Json:
    """Lift the hold."""
    return target.client.resume()


@click.command()
@options.together(
    *_API,
    click.option(
        "--port", type=click.IntRange(0, 65535), default=0, help="The port; default: a free one."
    ),
)
def console(stage: str | None, url: str | None, port: int) -> None:
    """Serve the stage's console on this machine."""
    from cli.console.app import serve

    target = connect(stage, url)
    serve(target.client, target.name, None if url else stage, port)


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
