"""The operator's commands: they call the deployed API with the caller's own AWS credentials."""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from chalicelib.domain.results import Json, count, span
from cli import options
from cli.console import view
from cli.errors import unknown_answer
from cli.output import Row, confirm, say, say_json, say_table

if TYPE_CHECKING:
    from cli.client import ApiClient

_LISTED = 30  # snapshots, unless all are asked for


def connect(stage: str | None, url: str | None) -> "ApiClient":
    """Return the client of a stage's API, which calls AWS only when it is used."""
    if not (stage or url):
        raise click.UsageError(
            "name a stage with --stage acceptance, or its API with --url https://…"
        )
    from cli.client import ApiClient

    return ApiClient(stage, url)


_API = (options.STAGE, options.URL, options.PROFILE, options.REGION)
Show = Callable[["ApiClient", Json], None]


def _command(
    show: Show, *parameters: options.Option, is_well: Callable[[Json], bool] = lambda _: True
) -> Callable[[Callable[..., Json]], click.Command]:
    """Make a command from a function that calls the API and returns its answer.

    `show` prints the answer for people. The exit status is 1 unless the answer `is_well`.
    """

    def decorate(function: Callable[..., Json]) -> click.Command:
        @functools.wraps(function)
        def run(stage: str | None, url: str | None, *, as_json: bool, **given: Any) -> None:
            client = connect(stage, url)
            try:
                answer = function(client, **given)
                if as_json:
                    say_json(answer)
                else:
                    show(client, answer)
                well = is_well(answer)
            except KeyError as error:
                raise unknown_answer(error) from error
            if not well:
                click.get_current_context().exit(1)

        decorated: Callable[..., None] = run
        for option in reversed((*_API, *parameters, options.JSON)):
            decorated = option(decorated)
        return click.command(function.__name__)(decorated)

    return decorate


# --- questions ------------------------------------------------------------------------------------


def _show_status(client: "ApiClient", answer: Json) -> None:
    problems = answer["problems"]
    counted = count(len(problems), "problem") if problems else "no problems"
    say(" · ".join([*_who(client), counted]))
    say()
    next_refresh = _local(answer["schedule"]["next_restore"]) or (
        "on hold" if answer["hold"] else "none"
    )
    rows: list[Row] = []
    for facts in answer["databases"]:
        deployed, age = facts["deployed"] and view.short(facts["deployed"]), facts["age_hours"]
        shown = view.age(age) if deployed and age is not None else None
        rows.append((facts["name"], deployed, shown, facts["state"], next_refresh))
    say_table(("database", "deployed", "age", "state", "next refresh"), rows)
    for line in _coming(answer):
        say(line)
    if problems:
        say()
    for problem in problems:
        say(f"✗ {view.brief(problem)}")


def _who(client: "ApiClient") -> list[str]:
    """Return the stage, its account and Region, and who the caller is, if AWS says so."""
    identity = client.identity()
    if identity is None:
        return [client.name, str(client.region)]
    role, _, name = view.short(identity["Arn"]).rpartition("/")
    who = f"as {name} ({role})" if role else f"as {name}"
    return [client.name, identity["Account"], str(client.region), who]


def _coming(answer: Json) -> Iterator[str]:
    """Yield what waits, the hold and the run in progress."""
    for facts in answer["databases"]:
        if facts["state"] == "waiting" and facts["current"]:
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
        yield f"running  {name} · {place}, {span(since)}{waits}{restores}"


def _local(text: str | None) -> str:
    """Return a time of the API in the caller's own time zone."""
    return f"{view.time(text).astimezone():%a %d %b %Y %H:%M %Z}" if text else ""


@_command(_show_status, is_well=lambda answer: not answer["problems"])
def status(client: "ApiClient") -> Json:
    """Show the deployed data, its age, and what comes next.

    Exit status: 0 if all is well, 1 if there are problems.
    """
    return client.status()


def _show_snapshots(_client: "ApiClient", answer: Json) -> None:
    shown = answer["snapshots"]
    if not click.get_current_context().params["all_of_them"]:
        shown = shown[:_LISTED]
    rows: list[Row] = []
    for each in shown:
        verdict = f"{each['reason']}: {each['detail']}"
        if each["eligible"]:
            verdict = "eligible, the newest" if each["chosen"] else "eligible"
        name, taken = view.short(each["arn"]), _local(each["created"])
        rows.append((name, taken, each["cluster"], each["engine_version"], verdict))
    say_table(("snapshot", "taken", "cluster", "version", "verdict"), rows)
    if older := len(answer["snapshots"]) - len(shown):
        say(f"and {count(older, 'older one')}: --all lists them")
    if answer["omitted"]:
        say(f"{answer['omitted']} more are shared but not listed.")
    if answer["message"]:
        say(answer["message"])


_ALL = click.option(
    "--all", "all_of_them", is_flag=True, help=f"List all, not only the newest {_LISTED}."
)


@_command(_show_snapshots, options.DATABASE, _ALL)
def snapshots(client: "ApiClient", database: str | None, *, all_of_them: bool) -> Json:  # noqa: ARG001
    """List production's shared snapshots with the verdict on each, newest first."""
    return client.snapshots(database=database)


def _show_history(_client: "ApiClient", answer: Json) -> None:
    rows: list[Row] = []
    for each in answer["history"]:
        snapshot, when = view.short(each["snapshot"]), _local(each["set"])
        by = view.short(each["by"]) if each["by"] else None
        result = "good" if each["good"] else each["result"]
        rows.append((each["version"], snapshot, when, each["action"], by, each["why"], result))
    say_table(("version", "snapshot", "set", "action", "by", "why", "result"), rows)


@_command(_show_history, options.DATABASE)
def history(client: "ApiClient", database: str | None) -> Json:
    """List the changes to current and how each ended, newest first."""
    return client.history(database=database)


# --- changes --------------------------------------------------------------------------------------

_DEPLOY = click.option(
    "--deploy-now", "deploy", is_flag=True, help="Start the pipeline now, to restore at once."
)
_CHANGE = (options.REASON, options.DATABASE, _DEPLOY, options.YES)


def _show_done(_client: "ApiClient", answer: Json) -> None:
    done = view.done(str(click.get_current_context().info_name), answer)
    when = _local(answer.get("next_restore"))
    say(f"{done} Next refresh: {when}." if when else done)


@_command(_show_done, click.argument("snapshot"), *_CHANGE)
def pin(client: "ApiClient", *, yes: bool, **wanted: Any) -> Json:
    """Set current to SNAPSHOT: an identifier, an ARN, or latest.

    The pipeline's next run restores it. With --deploy-now, that run is started.
    """
    if wanted["deploy"] and not yes:
        _confirm(client, "pin", wanted["database"], wanted["snapshot"])
    return client.pin(**wanted)


@_command(_show_done, *_CHANGE)
def rollback(client: "ApiClient", *, yes: bool, **wanted: Any) -> Json:
    """Set current back to the newest earlier snapshot that differs."""
    if wanted["deploy"] and not yes:
        _confirm(client, "rollback", wanted["database"])
    return client.rollback(**wanted)


def _is_started(answer: Json) -> bool:
    return bool(answer["outcome"] == "started")


def _show_refresh(client: "ApiClient", answer: Json) -> None:
    is_started = _is_started(answer)
    if answer["dry_run"] or not is_started:
        steps = [(each["step"], each["verdict"], each["detail"]) for each in answer["steps"]]
        say_table(("step", "verdict", "detail"), steps)
    if not is_started:
        outcome = ", ".join(filter(None, (answer["outcome"], answer["reason"])))
        say(f"{outcome}: {answer['message']}")
    elif not answer["dry_run"]:
        _show_done(client, answer)


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
def refresh(client: "ApiClient", *, yes: bool, **wanted: Any) -> Json:
    """Refresh now as the schedule would, in any week.

    Exit status: 0 if a run was started or would be, 1 if the refresh was refused.
    """
    if not (yes or wanted["dry_run"]):
        _confirm(client, "refresh")
    return client.refresh(**wanted)


def _confirm(
    client: "ApiClient", action: str, database: str | None = None, snapshot: str = ""
) -> None:
    """Ask for confirmation, naming each cluster and the snapshot that replaces it; raise Failure.

    Ask again if that has changed before the answer.
    """
    confirmed = None
    while True:
        replaced = view.replaced(client.status(), action, database, snapshot)
        moves = [each.move for each in replaced]
        if moves == confirmed:
            return
        clusters, it = ("cluster", "it") if len(replaced) == 1 else ("clusters", "them")
        what = f"the acceptance {clusters} of {' and '.join(map(str, replaced))}"
        data = f"and deletes what testers changed in {it}"
        confirm(f"This replaces {what}, {data}." if replaced else "This replaces no cluster.")
        confirmed = moves


@_command(_show_done, click.argument("until", metavar="DAY"), options.REASON)
def hold(client: "ApiClient", **wanted: Any) -> Json:
    """Stop scheduled refreshes until a day, such as 2026-01-22."""
    return client.hold(**wanted)


@_command(_show_done)
def resume(client: "ApiClient") -> Json:
    """Lift the hold."""
    return client.resume()


@click.command()
@options.STAGE
@options.URL
@options.PROFILE
@options.REGION
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The port; default: a free one."
)
def console(stage: str | None, url: str | None, port: int) -> None:
    """Serve the stage's console on this machine."""
    from cli.console.app import serve

    serve(connect(stage, url), port)


COMMANDS = (status, snapshots, history, pin, rollback, refresh, hold, resume, console)
