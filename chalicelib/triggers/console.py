"""The console: what the API knows, as one page for people. Pure.

The page is a tree of elements and is written out by the standard library, so that what comes from
outside can only ever be a text or an attribute's value. It needs no script and asks for nothing.
"""

import base64
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

Json = Mapping[str, Any]
Content = Element | str | None

CANDIDATES_SHOWN = 30
CANDIDATES_FIRST = 8
CHANGES_DRAWN = 40

_STYLE = Path(__file__).with_name("console.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, browsers send "Origin: null" with our own forms, which nobody could tell
    # from another page's.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# Control characters, invisible ones (bidirectional overrides, zero width), halves of surrogate
# pairs, private ones, and Unicode's line ends.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_MARKS_ON_A_LETTER = 3

_ACTIONS = {
    "promote": "Refresh by the schedule",
    "refresh": "Refresh by hand",
    "pin": "Pin",
    "rollback": "Rollback",
    "undo": "Put back: no run started",
    "revert": "Taken back: its run failed",
    "unknown": "Set outside of this application",
}
_RUNS = {
    "InProgress": ("in progress", "busy"),
    "Succeeded": ("succeeded", "good"),
    "Failed": ("failed", "bad"),
    "Stopped": ("stopped", "bad"),
    "Stopping": ("stopping", "busy"),
    "Cancelled": ("cancelled", "bad"),
    "Superseded": ("superseded", "calm"),
}
_FAILURES = ("Failed", "Stopped", "Cancelled")

# What the timeline tells apart, lane by lane: the words for one and for many, and the shape.
_KINDS = {
    "refresh": ("refresh", "refreshes", "M-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0 -13 0"),
    "pin": ("pin", "pins", "M-5.5 -5.5h11v11h-11z"),
    "rollback": ("rollback", "rollbacks", "M-7.5 0L5 -7V7z"),
    "failure": (
        "failed run",
        "failed runs",
        "M-6.5 -4L-4 -6.5L0 -2.5L4 -6.5L6.5 -4L2.5 0L6.5 4L4 6.5L0 2.5L-4 6.5L-6.5 4L-2.5 0z",
    ),
    "back": ("taken back", "taken back", "M0 7.5L-7 -5H7z"),
    "other": ("other change", "other changes", "M0 -8L6 0L0 8L-6 0z"),
}
_KIND_OF_ACTION = {
    "promote": "refresh",
    "refresh": "refresh",
    "pin": "pin",
    "rollback": "rollback",
    "undo": "back",
    "revert": "back",
}

_STEPS = {
    "week": "The week",
    "window": "The maintenance window",
    "hold": "The hold",
    "parameters": "The parameters",
    "snapshot": "The snapshot",
    "new": "Something new",
    "idle": "The pipeline is idle",
    "put": "Set current",
    "start": "Start the pipeline",
}
_VERDICTS = {"passed": "good", "done": "good", "refused": "bad", "would do": "busy"}


def page(
    view: Json, *, writable: bool, message: str | None = None, refresh: Json | None = None
) -> str:
    """The console's HTML.

    ``view`` is the answers of the reading routes, ``message`` a refusal to show first, ``refresh`` what
    a refresh answered. Only a ``writable`` page has forms.
    """
    status = view["status"]
    problems = status.get("problems") or []
    hold = status.get("hold")
    schedule = status.get("schedule") or {}
    now = _time(schedule.get("now"))
    databases = status.get("databases") or []
    verdict = _verdict(problems, hold)
    root = _e(
        "html",
        _e(
            "head",
            _e("meta", charset="utf-8"),
            _e("meta", name="viewport", content="width=device-width, initial-scale=1"),
            _e("meta", name="color-scheme", content="light dark"),
            _e("title", f"Aurora Refresh: {verdict}"),
            _style(),
        ),
        _e(
            "body",
            _e(
                "header",
                _e("h1", "Aurora Refresh"),
                _e("p", verdict, class_="verdict bad" if problems else "verdict good"),
            ),
            _e(
                "main",
                _e("p", _outside(message), class_="alert", role="alert") if message else None,
                _refresh_answer(refresh) if refresh else None,
                _problems(problems) if problems else None,
                _hold(hold, now) if hold else None,
                _next(schedule, status.get("pipeline") or {}, now),
                *(
                    _database(
                        f"db-{number}",
                        database,
                        view["databases"].get(database["name"]) or {},
                        now,
                        writable=writable,
                        several=len(databases) > 1,
                    )
                    for number, database in enumerate(databases, 1)
                ),
                _operate(hold, now) if writable else None,
            ),
            _foot(now),
        ),
        lang="en",
    )
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html")


# The parts of the page, from its top to its foot.


def _verdict(problems: Sequence[str], hold: Json | None) -> str:
    words = _count(len(problems), "problem", "problems") if problems else "All is well"
    return f"{words}; refreshes are on hold." if hold else f"{words}."


def _foot(now: datetime | None) -> Element:
    told = "This page does not change by itself: load it again to see what is new."
    return _e("footer", _e("p", "As of ", _moment(now), ". ", told) if now else _e("p", told))


def _problems(problems: Sequence[str]) -> Element:
    return _section(
        "problems",
        "What is wrong" if len(problems) == 1 else f"What is wrong: {len(problems)} problems",
        _e("ul", *(_e("li", _outside(problem)) for problem in problems)),
        class_="card bad",
    )


def _hold(hold: Json, now: datetime | None) -> Element:
    until = _time(hold["until"])
    return _section(
        "hold",
        "On hold",
        _e(
            "p",
            "The schedule refreshes nothing ",
            *(["before ", _day(until), *_relative(until, now)] if until else ["for now"]),
            ".",
            None if until else " The hold cannot be read, and counts as one until it is mended.",
        ),
        _facts(("By", _outside(hold["by"])), ("Why", _why(hold["reason"]))),
        class_="card busy",
    )


def _next(schedule: Json, pipeline: Json, now: datetime | None) -> Element:
    run = pipeline.get("last_run")
    return _section(
        "next",
        "What comes next",
        _facts(
            ("Looks for new data", *_when(schedule.get("next_update"), now)),
            ("Restores it", *_when(schedule.get("next_restore"), now)),
            ("Maintenance window", _outside(schedule.get("window"))),
            ("Main pipeline", _outside(pipeline.get("name"))),
            ("Its last run", *(_run(run, now) if run else ["none is known"])),
        ),
        class_="card",
    )


def _refresh_answer(answer: Json) -> Element:
    starts = answer["outcome"] == "started"
    if answer["dry_run"]:
        title = "What a refresh would do now"
        outcome = "It would start." if starts else "It would not start."
    else:
        title = "The refresh"
        outcome = "It has started." if starts else "It did not start."
    return _section(
        "refresh-answer",
        title,
        _e("p", outcome, " ", _outside(answer["message"]) if answer["message"] else None),
        _e(
            "ol",
            *(
                _e(
                    "li",
                    _e("strong", _word(_STEPS, step["step"])),
                    " ",
                    _chip(step["verdict"], _VERDICTS.get(step["verdict"], "calm")),
                    " ",
                    _outside(step["detail"]) if step["detail"] else None,
                )
                for step in answer["steps"]
            ),
            class_="steps",
        ),
        class_="card good" if starts else "card busy",
    )


def _database(
    key: str, database: Json, more: Json, now: datetime | None, *, writable: bool, several: bool
) -> Element:
    history = more.get("history") or []
    named = _hidden("database", database["name"]) if several else None
    return _section(
        key,
        "Database ",
        _e("div", _data(database, now), _current(database, now), class_="two"),
        _changes(key, history, now),
        _candidates(key, more, now, named=named, writable=writable),
        _rollback(key, database, named) if writable else None,
        named=database["name"],
        class_="database",
    )


def _data(database: Json, now: datetime | None) -> Element:
    """The data that testers are on: what a successful run restored, or what is known instead."""
    deployed, latest = database["deployed"], database["latest"]
    data = deployed or database["current"]
    age = database["age_hours"]
    unsure = "No successful run of the pipeline is known that restored it." if data else None
    return _part(
        "What testers are on",
        _e("p", _name(data), class_="big"),
        _e("p", _e("strong", f"{_span(age)} old"), class_="age") if age is not None else None,
        _e("p", _outside(data), class_="arn") if data else None,
        None if deployed else _e("p", unsure or "Nothing is known to be restored.", class_="note"),
        _e(
            "p",
            _e("strong", "Waiting: "),
            "the next run of the pipeline, whoever starts it, restores ",
            _name(database["current"]),
            ".",
            class_="callout",
        )
        if database["waiting"]
        else None,
        _facts(
            ("Taken", *_when(database["created"], now)),
            ("Newest share", _name(latest), f": {_relation(database)}")
            if latest
            else ("Newest share", "none is noted yet; the next update looks for one"),
        ),
        class_="card",
    )


def _current(database: Json, now: datetime | None) -> Element:
    """What the next run of the pipeline restores, and who wanted it."""
    facts: list[tuple[Content, ...]] = [("Set to", _name(database["current"]))]
    if database["version"] is not None:
        facts += [
            ("Since", *_when(database["since"], now), f", version {database['version']}"),
            ("How", _word(_ACTIONS, database["action"] or "unknown")),
            ("By", _outside(_short(database["by"] or ""))),
            ("Why", _why(database["why"])),
            ("Proven", _proof(database)),
        ]
    facts.append(("A rollback goes to", _name(database["previous"])))
    return _part("What the pipeline restores", _facts(*facts), class_="card")


def _proof(database: Json) -> str:
    if database["good"]:
        return "yes, a successful run of the pipeline carried it"
    if database["current"] and database["current"] == database["deployed"]:
        return "by an earlier version: testers are on this snapshot"
    return "not yet, no successful run of the pipeline has carried it"


def _relation(database: Json) -> str:
    if database["latest"] == database["deployed"]:
        return "testers are on it"
    if database["latest"] == database["current"]:
        return "it waits for the next run of the pipeline"
    return "testers are not on it; the next refresh takes it"


def _changes(key: str, history: Sequence[Json], now: datetime | None) -> Element:
    if not history:
        return _part("What happened", _e("p", "Nothing yet."), class_="card")
    rows = [_change(entry, now) for entry in history]
    return _part(
        "What happened",
        _timeline(key, history[:CHANGES_DRAWN], now),
        _e(
            "p",
            f"The newest {CHANGES_DRAWN} of {len(history)} changes are drawn; "
            "the ledger has them all.",
            class_="note",
        )
        if len(history) > CHANGES_DRAWN
        else None,
        _e(
            "details",
            _e("summary", f"The ledger: {_count(len(history), 'change', 'changes')}"),
            _table(
                "Every change of what the pipeline restores, newest first; times are UTC",
                ("When", "What", "Snapshot", "By and why", "Run of the pipeline"),
                rows,
            ),
        ),
        class_="card",
    )


def _change(entry: Json, now: datetime | None) -> list[Sequence[Content]]:
    run = entry["run"]
    return [
        _brief_when(entry["set"], now),
        (
            _word(_ACTIONS, entry["action"]),
            _e("small", f"version {entry['version']}"),
            _chip("good", "good") if entry["good"] else None,
        ),
        (_name(entry["snapshot"]),),
        (_outside(entry["by"]), _e("small", _why(entry["why"]))),
        (_run_chip(run["status"]), *_brief_when(run["started"], now)) if run else ("none",),
    ]


def _candidates(
    key: str, more: Json, now: datetime | None, *, named: Element | None, writable: bool
) -> Element:
    title = "Snapshots to choose from"
    snapshots = more.get("snapshots") or []
    message = more.get("message")
    told = _e("p", _outside(message), class_="callout") if message else None
    if not snapshots:
        return _part(title, told, _e("p", "There are none."), class_="card")
    shown = [
        snapshot
        for place, snapshot in enumerate(snapshots)
        if place < CANDIDATES_SHOWN or snapshot["chosen"]
    ]
    rows = [
        _candidate(f"{key}-snapshot-{number}", snapshot, now, writable=writable)
        for number, snapshot in enumerate(shown)
    ]
    columns = ("Snapshot", "Taken", "Cluster and engine", "Verdict")
    first = _table(
        "Cluster snapshots, newest first; times are UTC", columns, rows[:CANDIDATES_FIRST]
    )
    more_rows = rows[CANDIDATES_FIRST:]
    rest = len(snapshots) - len(shown) + (more.get("omitted") or 0)
    listed = _e(
        "div",
        first,
        _e(
            "details",
            _e("summary", f"The next {len(more_rows)}"),
            _table("Older cluster snapshots, newest first; times are UTC", columns, more_rows),
            # A reader looks for what is eligible, and a form must not ask for what is hidden.
            open=None if any(each["eligible"] for each in shown[:CANDIDATES_FIRST]) else "",
        )
        if more_rows
        else None,
        _e("p", f"{rest:,} more are not shown.", class_="note") if rest else None,
    )
    if not (writable and any(snapshot["eligible"] for snapshot in shown)):
        return _part(title, told, listed, class_="card")
    form = _form(
        "pin",
        named,
        listed,
        _moving(f"{key}-pin", "Pin the marked snapshot"),
    )
    return _part(title, told, form, class_="card")


def _candidate(
    key: str, snapshot: Json, now: datetime | None, *, writable: bool
) -> list[Sequence[Content]]:
    name: Content = _name(snapshot["arn"])
    if writable and snapshot["eligible"]:
        radio = _e(
            "input", type="radio", name="snapshot", value=snapshot["arn"], id=key, required=""
        )
        name = _e("span", radio, _e("label", _name(snapshot["arn"]), for_=key), class_="pick")
    engine = f"{snapshot['engine']} {snapshot['engine_version']}"
    verdict = _chip("eligible", "good") if snapshot["eligible"] else _chip("not eligible", "calm")
    return [
        (name, _e("small", "account ", _outside(_account(snapshot["arn"])))),
        _brief_when(snapshot["created"], now) if snapshot["created"] else ("not known",),
        (_outside(snapshot["cluster"]), _e("small", _outside(engine))),
        (
            _chip("chosen", "chosen") if snapshot["chosen"] else verdict,
            _e("small", "the next update takes it") if snapshot["chosen"] else None,
            _e("small", _outside(snapshot["detail"])) if snapshot["detail"] else None,
        ),
    ]


def _rollback(key: str, database: Json, named: Element | None) -> Element | None:
    previous = database["previous"]
    if not previous:
        return None
    return _part(
        "Roll back",
        _e("p", "Sets what the pipeline restores back to ", _name(previous), "."),
        _form(
            "rollback",
            named,
            _moving(f"{key}-rollback", "Roll back"),
        ),
        class_="card",
    )


def _operate(hold: Json | None, now: datetime | None) -> Element:
    tomorrow = (now + timedelta(days=1)).date().isoformat() if now else None
    return _section(
        "operate",
        "Operate",
        _e(
            "div",
            _part(
                "Hold",
                _e("p", "Stops the scheduled refreshes until a day, and says why to everybody."),
                _form(
                    "hold",
                    _e(
                        "div",
                        _labelled(
                            "hold-until",
                            "They may run again from",
                            _e(
                                "input",
                                id="hold-until",
                                name="until",
                                type="date",
                                min=tomorrow,
                                required="",
                            ),
                        ),
                        _reason("hold"),
                        _e("button", "Hold refreshes", type="submit"),
                        class_="fields",
                    ),
                ),
                _form(
                    "resume",
                    _e("div", _e("button", "Resume refreshes", type="submit"), class_="fields"),
                )
                if hold
                else None,
                class_="card",
            ),
            _part(
                "Refresh",
                _e(
                    "p",
                    "Does now what the schedule does at night: sets current to the newest share and "
                    "starts the main pipeline. The acceptance cluster is replaced, and what testers "
                    "have changed in it is gone.",
                ),
                _form(
                    "refresh",
                    _e(
                        "div",
                        _reason("refresh"),
                        _check("refresh", "outside_window", "Outside the maintenance window, too"),
                        # The first button is what Enter presses: the one that changes nothing.
                        _e(
                            "button",
                            "What would a refresh do now?",
                            type="submit",
                            name="dry_run",
                            value="true",
                            formnovalidate="",
                        ),
                        _check("refresh", None, "Yes, replace the acceptance cluster", required=""),
                        _e("button", "Refresh now", type="submit", class_="danger"),
                        class_="fields",
                    ),
                ),
                class_="card danger",
            ),
            class_="two",
        ),
    )


# The timeline.


def _timeline(key: str, history: Sequence[Json], now: datetime | None) -> Element:
    """The changes on a line of time, oldest first, each kind in a lane, a shape and a colour of its own."""
    changes = sorted(
        ((_known(entry["set"]), _kind(entry), entry) for entry in reversed(history)),
        key=lambda change: change[0],
    )
    kinds = Counter(kind for _, kind, _ in changes)
    lanes = [kind for kind in _KINDS if kind in kinds]
    axis = 26 * len(lanes) + 10
    times = [time for time, _, _ in changes]
    today = now if now and now > times[-1] else None
    places = _places([*times, today] if today else times)

    words = ", ".join(_count(kinds[kind], *_KINDS[kind][:2]) for kind in lanes)
    drawing = _e(
        "svg",
        _e("title", "The timeline of what happened", id=f"{key}-line-title"),
        _e(
            "desc",
            f"{_count(len(changes), 'change', 'changes')} since {_date(times[0])}: {words}. "
            f"The newest, of {_clock(times[-1])}: {_KINDS[changes[-1][1]][0]}. "
            "The ledger tells the same as a table.",
            id=f"{key}-line-desc",
        ),
        _e("line", x1="0", x2="100%", y1=str(axis), y2=str(axis), class_="axis"),
        role="img",
        aria_labelledby=f"{key}-line-title {key}-line-desc",
        width="100%",
        height=str(axis + 28),
        class_="timeline",
    )
    for place, (_, kind, _) in zip(places, changes, strict=False):
        lane = 26 * lanes.index(kind) + 16
        drawing.append(
            _e("line", x1=place, x2=place, y1=str(lane), y2=str(axis), class_=f"stem {kind}")
        )
    for place, (time, kind, entry) in zip(places, changes, strict=False):
        told = f"{_KINDS[kind][0]}, {_clock(time)}: {_short(entry['snapshot'])}"
        lane = 26 * lanes.index(kind) + 16
        drawing.append(_e("svg", _shape(kind, told), x=place, y=str(lane), width="1", height="1"))
    if today:
        drawing.append(_e("line", x1=places[-1], x2=places[-1], y1="4", y2=str(axis), class_="now"))
    drawing.extend(_dates([*times, today] if today else times, places, axis + 20, today=today))
    legend = _e(
        "ul",
        *(
            _e(
                "li",
                _e("svg", _shape(kind), viewBox="-9 -9 18 18", aria_hidden="true"),
                _count(kinds[kind], *_KINDS[kind][:2]),
            )
            for kind in lanes
        ),
        class_="legend",
    )
    return _e("figure", drawing, _e("figcaption", legend))


def _kind(entry: Json) -> str:
    run = entry["run"]
    if run and run["status"] in _FAILURES:
        return "failure"
    return _KIND_OF_ACTION.get(entry["action"], "other")


def _shape(kind: str, told: str | None = None) -> Element:
    return _e("path", _e("title", told) if told else None, d=_KINDS[kind][2], class_=f"mark {kind}")


def _places(times: Sequence[datetime]) -> list[str]:
    """Where each time stands, from left to right: by the clock, but at least a step from the last.

    What happened within minutes would hide one another on a line of months.
    """
    if len(times) == 1:
        return ["50%"]
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
    step = min(5.0, 94 / len(gaps))
    free = 94 - step * len(gaps)
    span = sum(gaps) or 1
    places = accumulate((step + free * gap / span for gap in gaps), initial=3.0)
    return [f"{place:.2f}%" for place in places]


def _dates(
    times: Sequence[datetime], places: Sequence[str], y: int, *, today: datetime | None
) -> Iterable[Element]:
    """As many dates as a phone has room for, the newest first."""
    hours = times[-1] - times[0] < timedelta(days=2)
    last = 200.0
    for time, place in reversed(list(zip(times, places, strict=True))):
        at = float(place.rstrip("%"))
        if last - at < 32:
            continue
        last = at
        anchor = "start" if at < 20 else "end" if at > 80 else "middle"
        text = f"{time.day} {time:%b %H:%M}" if hours else f"{time.day} {time:%b %Y}"
        yield _e("text", "now" if time is today else text, x=place, y=str(y), text_anchor=anchor)


# Small parts.


def _section(
    key: str, title: str, *content: Content, named: str | None = None, class_: str = ""
) -> Element:
    heading = _e("h2", title, _outside(named) if named is not None else None, id=key)
    return _e("section", heading, *content, aria_labelledby=key, class_=class_ or None)


def _part(title: str, *content: Content, class_: str) -> Element:
    return _e("div", _e("h3", title), *content, class_=class_)


def _facts(*facts: Sequence[Content]) -> Element:
    """Pairs of a word and what there is to say of it."""
    pairs = (_e("div", _e("dt", word), _e("dd", *said)) for word, *said in facts)
    return _e("dl", *pairs)


def _table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Sequence[Content]]]
) -> Element:
    """A table which becomes a list of cards where the screen is narrow.

    The roles repeat what the elements mean, which browsers forget of a table that is shown as blocks.
    """
    head = _e(
        "tr", *(_e("th", each, scope="col", role="columnheader") for each in columns), role="row"
    )
    body = (
        _e(
            "tr",
            *(
                _e("td", *cell, role="cell", data_column=column)
                for column, cell in zip(columns, row, strict=True)
            ),
            role="row",
        )
        for row in rows
    )
    return _e(
        "table",
        _e("caption", caption),
        _e("thead", head, role="rowgroup"),
        _e("tbody", *body, role="rowgroup"),
        role="table",
    )


def _form(action: str, *content: Content) -> Element:
    return _e("form", _hidden("action", action), *content, method="post", action="/")


def _hidden(name: str, value: str) -> Element:
    return _e("input", type="hidden", name=name, value=value)


def _labelled(key: str, label: str, control: Element) -> Element:
    return _e("p", _e("label", label, for_=key), control)


def _reason(form: str) -> Element:
    key = f"{form}-reason"
    return _labelled(
        key,
        "Why",
        _e("input", id=key, name="reason", type="text", maxlength="256", autocomplete="off"),
    )


def _moving(form: str, button: str) -> Element:
    """What every form asks that moves what the pipeline restores."""
    return _e(
        "div",
        _reason(form),
        _check(form, "deploy", "Start the pipeline now, which restores it"),
        _e("button", button, type="submit"),
        class_="fields",
    )


def _check(form: str, name: str | None, label: str, **attributes: str) -> Element:
    key = f"{form}-{name or 'sure'}"
    box = _e("input", type="checkbox", id=key, name=name, value="true", **attributes)
    return _e("p", box, _e("label", label, for_=key), class_="check")


def _chip(text: str, tone: str) -> Element:
    return _e("span", _outside(text), class_=f"chip {tone}")


def _run_chip(status: str) -> Element:
    return _chip(*_RUNS.get(status, (status, "calm")))


def _run(run: Json, now: datetime | None) -> list[Content]:
    return [_run_chip(run["status"]), " started ", *_when(run["started"], now)]


# Words.


def _name(value: str | None) -> Element:
    """A snapshot's own name, or what a parameter holds instead of one."""
    if value in (None, "", "dummyvalue"):
        return _e("span", "nothing yet")
    return _outside(_short(str(value)))


def _short(value: str) -> str:
    """The last part of an ARN, which is its resource's own name or who somebody is."""
    return value.split(":", 6)[-1] if value.startswith("arn:") else value


def _account(arn: str) -> str:
    return arn.split(":")[4] if arn.count(":") > 4 else ""


def _word(words: Mapping[str, str], code: str) -> Content:
    return words.get(code) or _outside(code)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _span(hours: float) -> str:
    if hours * 60 < 1:
        return "less than a minute"
    if hours < 1.5:
        return _count(round(hours * 60), "minute", "minutes")
    return f"{round(hours)} hours" if hours < 48 else f"{round(hours / 24)} days"


def _known(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _time(text: str | None) -> datetime | None:
    return _known(text) if text else None


def _date(time: datetime) -> str:
    return f"{time.day} {time:%B %Y}"


def _clock(time: datetime) -> str:
    return f"{time:%A} {_date(time)}, {time:%H:%M} UTC"


def _moment(time: datetime) -> Element:
    return _e("time", _clock(time), datetime=time.isoformat())


def _day(time: datetime) -> Element:
    return _e("time", f"{time:%A} {_date(time)}", datetime=time.date().isoformat())


def _relative(time: datetime, now: datetime | None) -> list[Content]:
    if now is None:
        return []
    hours = (time - now).total_seconds() / 3600
    return [f" (in {_span(hours)})" if hours > 0 else f" ({_span(-hours)} ago)"]


def _when(text: str | None, now: datetime | None) -> list[Content]:
    time = _time(text)
    return [_moment(time), *_relative(time, now)] if time else ["not known"]


def _brief_when(text: str, now: datetime | None) -> list[Content]:
    """The same in a table's cell, whose caption names the zone."""
    time = _known(text)
    words = f"{time.day} {time:%b %Y, %H:%M}"
    ago = "".join(str(each) for each in _relative(time, now)).strip(" ()")
    return [_e("time", words, datetime=time.isoformat()), _e("small", ago) if ago else None]


# Elements: the one door through which every text and every attribute goes.


def _e(tag: str, *content: Content, **attributes: str | None) -> Element:
    """An element; what is None is left out, and ``class_`` and ``aria_label`` are class and aria-label."""
    element = Element(
        tag,
        {
            name.rstrip("_").replace("_", "-"): _harmless(value)
            for name, value in attributes.items()
            if value is not None
        },
    )
    for each in content:
        if isinstance(each, Element):
            element.append(each)
        elif each and len(element):
            element[-1].tail = (element[-1].tail or "") + _harmless(each)
        elif each:
            element.text = (element.text or "") + _harmless(each)
    return element


def _outside(text: str | None, otherwise: str = "not known") -> Element:
    """A text that is not ours: isolated, so that its direction turns nothing around."""
    return _e("bdi", text or otherwise)


def _why(text: str | None) -> Element:
    return _outside(text, "no reason given")


def _harmless(text: str) -> str:
    """``text`` with U+FFFD for each character that is unseen, or that piles up on those beside it."""
    shown, marks = "", 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        shown += "\ufffd" if category in _UNSEEN or marks > _MARKS_ON_A_LETTER else character
    return shown


def _style() -> Element:
    """The one element whose text is written as it is; nothing from outside gets here."""
    element = Element("style")
    element.text = _STYLE
    return element
