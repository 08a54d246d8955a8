"""What the pages show, derived from the API's answers. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.domain.results import count, span
from cli.errors import ApiError

Json = Mapping[str, Any]
Period = tuple[datetime, datetime | None]

_DAY = timedelta(days=1)
_CHART_DAYS, _WIDTH, _HEIGHT = 56, 400, 60
_RESTORED = ("refreshed", "restored", "failed-after-restore")
_ARN = re.compile(r"arn:[\w-]+:rds:[\w-]*:\d*:cluster-snapshot:")
_SENTENCES = {
    "restoring": "A database is being restored",
    "deploying": "The pipeline is deploying",
    "preparing": "Restored data is being prepared",
    "waiting": "A restore waits for the pipeline's next run",
    "empty": "Nothing has been restored yet",
}
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


class Chart(NamedTuple):
    """The age of a database's data over so many days, as SVG paths in a box of 400 by 60."""

    line: str
    area: str
    limit: float | None
    days: int
    description: str


class Replacement(NamedTuple):
    """A database that a run would restore from a snapshot other than the deployed one."""

    facts: Json
    target: str | None

    @property
    def move(self) -> str:
        """The snapshots before and after, by their ARNs, to notice that they have changed."""
        return f"{self.facts['deployed']} → {self.target}"

    def __str__(self) -> str:
        deployed = self.facts["deployed"]
        before = short(deployed) if deployed else "unknown"
        return f"{self.facts['name']} ({before} → {short(self.target)})"


def database(status: Json, name: str | None) -> Json:
    """Return a database's facts, or those of the only one if none is named; raise ApiError."""
    known = ", ".join(each["name"] for each in status["databases"])
    if name is None and len(status["databases"]) > 1:
        raise ApiError(400, "BadRequestError", f"There are several databases; name one of {known}.")
    found: Json
    for found in status["databases"]:
        if name in (None, found["name"]):
            return found
    raise ApiError(404, "NotFoundError", f"There is no database {name!r}; known: {known}.")


def replaced(
    status: Json, action: str, name: str | None = None, snapshot: str | None = None
) -> list[Replacement]:
    """Return what a run replaces once a pin, a rollback or a refresh has moved `current`; raise ApiError.

    A run restores every database from its `current`: also one that nobody names now, but whose pin
    waits. A pin may name the snapshot by its ARN, as `latest`, or by an identifier, which another
    account's snapshot may bear too.
    """
    databases = status["databases"]
    new = [each for each in databases if each["latest"] not in (None, each["deployed"])]
    moved = new if action == "refresh" else [database(status, name)]
    if not moved:
        return []  # a refresh starts no run

    def target(facts: Json) -> Any:
        if facts not in moved:
            return facts["current"]
        if action == "rollback":
            return facts["previous"]
        asked = "latest" if action == "refresh" else (snapshot or "").lower()
        return facts["latest"] if asked == "latest" else asked

    found = [Replacement(facts, target(facts)) for facts in databases]
    return [each for each in found if each.target != each.facts["deployed"]]


def done(action: str, answer: Json) -> str:
    """Describe what an action did, in a sentence."""
    run, when, under_way = map(answer.get, ("execution_id", "next_restore", "under_way"))
    if action == "refresh":
        message = f"The refresh has started: run {run}."
    elif action in ("pin", "rollback"):
        which = f"Run {run}" if run else "The pipeline's next run"
        first = "" if run else ", or a refresh comes first"
        message = (
            f"{which} restores {short(answer['current'])}, unless that is deployed already{first}."
        )
    else:
        hold = answer["hold"]
        message = (
            f"The schedule is on hold until {hold['until']}."
            if hold
            else "The schedule is not on hold."
        )
        if before := answer.get("replaced"):
            reason = f": {before['reason']}" if before["reason"] else ""
            message += f" Previous hold: until {before['until']}, by {short(before['by'])}{reason}."
        message += "" if when else " No refresh is planned."
    return message + (f" Note: {brief(under_way)}." if under_way else "")


def headline(status: Json) -> tuple[str, str]:
    """Return the state of the stage in one sentence, and its tone."""
    states = [facts["state"] for facts in status["databases"]]
    bad = sum(state in ("stale", "unknown", "not prepared") for state in states)
    if bad:
        which = f"{bad} of {len(states)} databases" if len(states) > 1 else "The database"
        return f"{which} {'needs' if bad == 1 else 'need'} attention", "bad"
    if status["problems"]:
        return f"{count(len(status['problems']), 'problem')} to look at", "bad"
    if found := [sentence for state, sentence in _SENTENCES.items() if state in states]:
        return found[0], "busy"
    if status["hold"]:
        return "Scheduled refreshes are on hold", "warn"
    return "All is well", "good"


def restored(history: Sequence[Json]) -> list[Json]:
    """Return the versions that a run restored, oldest first."""
    return [each for each in history if each["good"] or each["result"] in _RESTORED][::-1]


def chart(periods: Sequence[Period], now: datetime, limit: int | None) -> Chart | None:
    """Draw the age of the data; a period is when data was deployed, and when it had been taken.

    The line has a gap where it is not known when the data was taken.
    """
    start = now - _CHART_DAYS * _DAY
    ends = [*(begin for begin, _ in periods[1:]), now]
    pieces = [
        (max(begin, start), end, taken)
        for (begin, taken), end in zip(periods, ends, strict=False)
        if taken and end > start
    ]
    if not pieces:
        return None
    first = min(pieces[0][0], now - _DAY)
    width, oldest = now - first, max(end - taken for _, end, taken in pieces)
    top = max(oldest, (limit or 1) * _DAY) * 1.15
    line, area, before = "", "", None
    for begin, end, taken in pieces:
        left, right = (round(_WIDTH * ((at - first) / width), 1) for at in (begin, end))
        high, low = (round(_HEIGHT * (1 - (at - taken) / top), 1) for at in (begin, end))
        line += f"{'L' if begin == before else 'M'}{left} {high}L{right} {low}"
        area += f"M{left} {_HEIGHT}V{high}L{right} {low}V{_HEIGHT}Z"
        before = end
    days, age = round((now - first) / _DAY), span(pieces[-1][1] - pieces[-1][2])
    limits = f"the limit is {limit} days" if limit else "there is no limit"
    words = f"{count(days, 'day')}: {age} at the end, {span(oldest)} at most, {limits}"
    height = _HEIGHT * (1 - limit * _DAY / top) if limit else None
    return Chart(line, area, height, days, f"Age of the data over {words}")


def periods(facts: Json, history: Sequence[Json]) -> list[Period]:
    """Return a database's periods, oldest first."""
    runs = [(each["run"] or {"updated": each["set"]}, each) for each in restored(history)]
    found = [(time(run["updated"]), each["snapshot"]) for run, each in runs]
    deployed, since = facts["deployed"], facts["deployed_since"] or facts["since"]
    if deployed and since and (not found or found[-1][1] != deployed):
        found.append((time(since), deployed))
    times = {each["snapshot"]: each["created"] for each in history if each["created"]}
    times |= {deployed: facts["created"]}
    return [(at, time(times[arn]) if times.get(arn) else None) for at, arn in sorted(found)]


def aws_console(identity: Json | None, region: str | None) -> str | None:
    """Return the beginning of the addresses of AWS's console; None if it is unknown."""
    domain = _CONSOLES.get(identity["Arn"].split(":")[1]) if identity else None
    return f"https://{region}.{domain}" if domain and region else None


def time(text: str) -> datetime:
    """Return a time of the API."""
    return datetime.fromisoformat(text).astimezone(UTC)


def clock(text: str) -> str:
    """Return a time of the API in words."""
    return f"{time(text):%a %d %b %Y, %H:%M} UTC"


def age(hours: float) -> str:
    """Return an age of the API in words."""
    return span(timedelta(hours=hours))


def relative(text: str, now: str) -> str:
    """Return how far a time is from the present."""
    wait = time(text) - time(now)
    return f"in {span(wait)}" if wait > timedelta() else f"{span(-wait)} ago"


def short(name: str | None) -> str:
    """Return the last part of an ARN: the name of a snapshot or a person."""
    if not name or name == "dummyvalue":
        return "nothing yet"
    own = brief(name)  # of a snapshot, with its prefix rds: or awsbackup:
    return own.split(":", 5)[-1].removeprefix("assumed-role/") if own.startswith("arn:") else own


def brief(text: str) -> str:
    """Return a text on one line, with snapshots' names in place of their ARNs.

    A line break in what others wrote could imitate a line of ours.
    """
    return " ".join(_ARN.sub("", text).split())
