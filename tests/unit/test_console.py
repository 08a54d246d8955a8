"""The console's page: what it says, and that nothing from outside is more than text."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from chalicelib.triggers import console

VOID = {"input", "meta"}
MARIA = "arn:aws:sts::222222222222:assumed-role/Engineer/maria"
RUN = {
    "execution_id": "4f9d",
    "status": "Succeeded",
    "started": "2026-01-18T04:00:05+00:00",
    "updated": "2026-01-18T04:20:00+00:00",
}


class Node:
    """An element as a browser would read it: its attributes, and all its text in one line."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node | str] = []

    def all(self, tag: str, **attributes: str) -> "list[Node]":
        found = []
        for child in self.children:
            if isinstance(child, Node):
                wanted = {name.rstrip("_"): value for name, value in attributes.items()}
                if child.tag == tag and wanted.items() <= child.attributes.items():
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Node":
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        parts = (each if isinstance(each, str) else each.text for each in self.children)
        return " ".join("".join(f"{part} " for part in parts).split())


class Reader(HTMLParser):
    """Builds the tree, and refuses what is not well closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.path = [self.root]
        self.feed(html)
        self.close()
        assert self.path == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs)
        self.path[-1].children.append(node)
        if tag not in VOID:
            self.path.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.path[-1].children.append(data)


def share(name: str, account: str = "111111111111") -> str:
    return f"arn:aws:rds:eu-west-1:{account}:cluster-snapshot:{name}"


def change(version: int, action: str, day: int = 4, **facts: Any) -> dict[str, Any]:
    return {
        "version": version,
        "snapshot": share(f"orders-{version}"),
        "set": f"2026-01-{day:02}T04:00:00+00:00",
        "action": action,
        "by": MARIA,
        "why": "because",
        "good": False,
        "run": None,
        **facts,
    }


def candidate(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "arn": share(name),
        "created": "2026-01-17T20:00:00+00:00",
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "status": "available",
        "eligible": True,
        "reason": None,
        "detail": None,
        "chosen": False,
        **facts,
    }


DATABASE = {
    "name": "rds",
    "latest": share("orders-2"),
    "current": share("orders-2"),
    "previous": share("orders-1"),
    "deployed": share("orders-2"),
    "created": "2026-01-17T20:00:00+00:00",
    "age_hours": 8.4,
    "version": 2,
    "since": "2026-01-18T04:00:00+00:00",
    "action": "promote",
    "by": "the schedule of 2026-01-18T04:00:00+00:00",
    "why": "newest eligible share",
    "good": True,
    "waiting": False,
}
NOTHING_YET = dict.fromkeys(DATABASE) | {"name": "rds", "good": False, "waiting": False}
STATUS = {
    "databases": [DATABASE],
    "hold": None,
    "schedule": {
        "now": "2026-01-18T04:24:00+00:00",
        "window": "00:00-07:00 UTC",
        "next_update": "2026-02-01T02:00:00+00:00",
        "next_restore": "2026-02-01T04:00:00+00:00",
    },
    "pipeline": {"name": "acceptance-main", "last_run": RUN},
    "problems": [],
}
HOLD = {"until": "2026-01-22", "reason": "load test", "by": MARIA}
STORY = [
    change(2, "promote", 18, good=True, run=RUN, by="the schedule of 2026-01-18T04:00:00+00:00"),
    change(1, "pin", 4, run=RUN),
]
MORE = {
    "history": STORY,
    "snapshots": [candidate("orders-2", chosen=True), candidate("orders-1")],
    "omitted": 0,
    "message": None,
}


def view(
    *databases: Mapping[str, Any], more: Mapping[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    """An account where all is well, but for what is said of it."""
    shown = list(databases) or [DATABASE]
    return {
        "status": {**STATUS, "databases": shown, **status},
        "databases": {database["name"]: {**MORE, **(more or {})} for database in shown},
    }


def read(seen: Mapping[str, Any], **options: Any) -> Node:
    return Reader(console.page(seen, **{"writable": False, **options})).root


def facts(page: Node) -> dict[str, str]:
    """Every pair of a word and what is said of it."""
    words = [each.text for each in page.all("dt")]
    assert len(set(words)) == len(words)
    return dict(zip(words, [each.text for each in page.all("dd")], strict=True))


def rows(table: Node) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")]


def tables(page: Node, caption: str) -> list[Node]:
    return [each for each in page.all("table") if each.one("caption").text.startswith(caption)]


def forms(page: Node) -> list[dict[str, str | None]]:
    """What each form would send if nothing were entered, and all were marked."""
    return [
        {
            str(field.attributes["name"]): field.attributes.get("value")
            for tag in ("input", "button")
            for field in form.all(tag)
            if "name" in field.attributes
        }
        for form in page.all("form")
    ]


def test_the_page_says_which_data_testers_are_on_how_old_and_who_wanted_it() -> None:
    page = read(view())
    assert page.one("p", class_="big").text == "orders-2"
    assert page.one("p", class_="age").text == "8 hours old"
    assert page.one("p", class_="arn").text == share("orders-2")
    assert facts(page) == {
        "Looks for new data": "Sunday 1 February 2026, 02:00 UTC (in 14 days)",
        "Restores it": "Sunday 1 February 2026, 04:00 UTC (in 14 days)",
        "Maintenance window": "00:00-07:00 UTC",
        "Main pipeline": "acceptance-main",
        "Its last run": "succeeded started Sunday 18 January 2026, 04:00 UTC (24 minutes ago)",
        "Taken": "Saturday 17 January 2026, 20:00 UTC (8 hours ago)",
        "Newest share": "orders-2 : testers are on it",
        "Set to": "orders-2",
        "Since": "Sunday 18 January 2026, 04:00 UTC (24 minutes ago), version 2",
        "How": "Refresh by the schedule",
        "By": "the schedule of 2026-01-18T04:00:00+00:00",
        "Why": "newest eligible share",
        "Proven": "yes, a successful run of the pipeline carried it",
        "A rollback goes to": "orders-1",
    }
    assert "Waiting" not in page.text


def test_times_are_told_to_machines_too() -> None:
    times = {each.attributes["datetime"] for each in read(view()).all("time")}
    assert "2026-02-01T04:00:00+00:00" in times


def test_what_waits_for_the_next_run_is_said_plainly() -> None:
    waiting = {
        "current": share("orders-7"),
        "latest": share("orders-7"),
        "waiting": True,
        "good": False,
        "by": MARIA,
        "why": "",
    }
    page = read(view(DATABASE | waiting))
    assert page.one("p", class_="big").text == "orders-2"
    assert page.one("p", class_="callout").text == (
        "Waiting: the next run of the pipeline, whoever starts it, restores orders-7 ."
    )
    told = facts(page)
    assert told["Newest share"] == "orders-7 : it waits for the next run of the pipeline"
    assert (told["By"], told["Why"]) == ("assumed-role/Engineer/maria", "no reason given")
    assert told["Proven"] == "not yet, no successful run of the pipeline has carried it"


def test_what_went_back_to_the_data_that_testers_are_on_is_proven_by_that() -> None:
    told = facts(read(view(DATABASE | {"action": "revert", "good": False})))
    assert told["Proven"] == "by an earlier version: testers are on this snapshot"


@pytest.mark.parametrize(
    ("hours", "age"),
    [
        (0.01, "less than a minute old"),
        (1 / 60, "1 minute old"),
        (1.4, "84 minutes old"),
        (1.5, "2 hours old"),
        (47.4, "47 hours old"),
        (48, "2 days old"),
        (400, "17 days old"),
    ],
)
def test_ages_are_told_in_words(hours: float, age: str) -> None:
    assert read(view(DATABASE | {"age_hours": hours})).one("p", class_="age").text == age


def test_a_newer_share_is_what_the_next_refresh_takes() -> None:
    page = read(view(DATABASE | {"latest": share("orders-3")}))
    told = facts(page)["Newest share"]
    assert told == "orders-3 : testers are not on it; the next refresh takes it"


def test_data_that_no_run_is_known_to_have_restored_is_not_taken_for_certain() -> None:
    page = read(view(DATABASE | {"deployed": None}))
    assert page.one("p", class_="big").text == "orders-2"
    assert page.one("p", class_="note").text == (
        "No successful run of the pipeline is known that restored it."
    )


def test_a_stage_where_nothing_ever_ran_says_so() -> None:
    blank = {"history": [], "snapshots": [], "message": "nothing eligible is shared"}
    unknown = {"name": None, "last_run": None}
    page = read(view(NOTHING_YET, more=blank, pipeline=unknown))
    assert page.one("p", class_="big").text == "nothing yet"
    assert page.one("p", class_="note").text == "Nothing is known to be restored."
    assert page.one("p", class_="callout").text == "nothing eligible is shared"
    told = facts(page)
    assert told["Newest share"] == "none is noted yet; the next update looks for one"
    assert (told["Main pipeline"], told["Its last run"]) == ("not known", "none is known")
    assert (told["Taken"], told["Set to"]) == ("not known", "nothing yet")
    assert "Nothing yet." in page.text
    assert "There are none." in page.text
    assert page.all("table") == page.all("svg") == []


@pytest.mark.parametrize(
    "status",
    [{}, dict.fromkeys(STATUS), {"databases": [], "schedule": {}, "pipeline": {}, "problems": []}],
)
def test_a_page_is_made_of_nothing_at_all(status: dict[str, Any]) -> None:
    page = read({"status": status, "databases": {}}, writable=True)
    assert page.one("h1").text == "Aurora Refresh"
    assert facts(page)["Restores it"] == "not known"
    assert page.one("footer").text.startswith("This page does not change by itself")
    assert "min" not in page.one("input", type="date").attributes


def test_a_database_of_which_only_the_status_is_known_is_shown() -> None:
    page = read({"status": STATUS, "databases": {}})
    assert page.one("p", class_="big").text == "orders-2"


def test_a_time_without_an_offset_is_utc_and_ages_need_a_now() -> None:
    schedule = {"now": None, "window": None, "next_update": "2026-02-01T02:00:00"}
    told = facts(read(view(schedule=schedule)))
    assert told["Looks for new data"] == "Sunday 1 February 2026, 02:00 UTC"


def test_problems_come_first_and_are_counted() -> None:
    page = read(view(problems=["the pipeline failed", "nothing new since May"], hold=HOLD))
    assert page.one("header").text == "Aurora Refresh 2 problems; refreshes are on hold."
    assert (
        page.one("head").one("title").text == "Aurora Refresh: 2 problems; refreshes are on hold."
    )
    assert [each.text for each in page.all("h2")] == [
        "What is wrong: 2 problems",
        "On hold",
        "What comes next",
        "Database rds",
    ]
    assert [each.text for each in page.all("section")[0].all("li")] == [
        "the pipeline failed",
        "nothing new since May",
    ]
    assert read(view(problems=["one"])).all("h2")[0].text == "What is wrong"
    assert read(view()).one("header").text == "Aurora Refresh All is well."


def test_a_hold_says_until_when_by_whom_and_why() -> None:
    section = read(view(hold=HOLD)).all("section")[0]
    assert section.text == (
        "On hold The schedule refreshes nothing before Thursday 22 January 2026 (in 4 days). "
        f"By {MARIA} Why load test"
    )


def test_a_hold_that_cannot_be_read_counts_as_one() -> None:
    section = read(view(hold=HOLD | {"until": None, "reason": ""})).all("section")[0]
    assert section.text == (
        "On hold The schedule refreshes nothing for now. The hold cannot be read, and counts as "
        f"one until it is mended. By {MARIA} Why no reason given"
    )


def test_the_ledger_lists_every_change_with_its_run() -> None:
    story = [
        change(4, "sabotage", 18, why=""),
        change(3, "revert", 18, snapshot="something else, of 12 characters"),
        change(2, "refresh", 18, good=True, run=RUN),
        change(1, "unknown", 4, snapshot="dummyvalue", run=RUN | {"status": "Melted"}),
    ]
    (ledger,) = tables(read(view(more={"history": story})), "Every change")
    assert rows(ledger) == [
        [
            "18 Jan 2026, 04:00 24 minutes ago",
            "sabotage version 4",
            "orders-4",
            f"{MARIA} no reason given",
            "none",
        ],
        [
            "18 Jan 2026, 04:00 24 minutes ago",
            "Taken back: its run failed version 3",
            "something else, of 12 characters",
            f"{MARIA} because",
            "none",
        ],
        [
            "18 Jan 2026, 04:00 24 minutes ago",
            "Refresh by hand version 2 good",
            "orders-2",
            f"{MARIA} because",
            "succeeded 18 Jan 2026, 04:00 24 minutes ago",
        ],
        [
            "4 Jan 2026, 04:00 14 days ago",
            "Set outside of this application version 1",
            "nothing yet",
            f"{MARIA} because",
            "Melted 18 Jan 2026, 04:00 24 minutes ago",
        ],
    ]


def test_each_kind_of_change_has_a_shape_a_colour_and_words_of_its_own() -> None:
    story = [
        change(8, "nonsense", 18),
        change(7, "unknown", 17),
        change(6, "undo", 16),
        change(5, "revert", 15),
        change(4, "pin", 14, run=RUN | {"status": "Stopped"}),
        change(3, "rollback", 13),
        change(2, "pin", 12),
        change(1, "promote", 11),
    ]
    page = read(view(more={"history": story}))
    drawing = page.one("svg", role="img")
    marks = [each for each in drawing.all("path") if each.attributes["class"].startswith("mark ")]
    kinds = [each.attributes["class"].removeprefix("mark ") for each in marks]
    assert kinds == ["refresh", "pin", "rollback", "failure", "back", "back", "other", "other"]
    shapes = {kind: mark.attributes["d"] for kind, mark in zip(kinds, marks, strict=True)}
    assert len(set(shapes.values())) == 6
    assert marks[3].text == "failed run, Wednesday 14 January 2026, 04:00 UTC: orders-4"
    assert page.one("ul", class_="legend").text == (
        "1 refresh 1 pin 1 rollback 1 failed run 2 taken back 2 other changes"
    )
    assert [each.attributes["d"] for each in page.one("ul", class_="legend").all("path")] == list(
        dict.fromkeys(shapes[kind] for kind in kinds)
    )
    assert drawing.one("desc").text == (
        "8 changes since 11 January 2026: 1 refresh, 1 pin, 1 rollback, 1 failed run, "
        "2 taken back, 2 other changes. The newest, of Sunday 18 January 2026, 04:00 UTC: "
        "other change. The ledger tells the same as a table."
    )
    named = [drawing.one("title", id="db-1-line-title"), drawing.one("desc")]
    assert drawing.attributes["aria-labelledby"] == " ".join(
        str(each.attributes["id"]) for each in named
    )


def places(page: Node) -> list[float]:
    """Where the marks stand, from left to right."""
    drawing = page.one("svg", role="img")
    return [float(each.attributes["x"].rstrip("%")) for each in drawing.all("svg")]


def dates(page: Node) -> list[str]:
    return [each.text for each in page.one("svg", role="img").all("text")]


def test_one_change_stands_alone_with_the_present() -> None:
    page = read(view(more={"history": STORY[1:]}))
    assert places(page) == [3]
    assert dates(page) == ["now", "4 Jan 2026"]


def test_one_change_without_a_present_stands_in_the_middle() -> None:
    page = read(view(more={"history": STORY[1:]}, schedule={}))
    assert (places(page), dates(page)) == ([50], ["4 Jan 04:00"])


def test_what_happened_long_ago_stands_far_away() -> None:
    story = [change(3, "pin", 17), change(2, "pin", 16), change(1, "pin", 2)]
    first, second, third = places(read(view(more={"history": story}, schedule={})))
    assert (first, third) == (3, 97)
    assert second - first > 10 * (third - second - 5)


def test_changes_of_the_same_minute_do_not_hide_one_another() -> None:
    story = [change(version, "pin", 18) for version in range(4, 0, -1)]
    story[0] |= {"set": "2026-01-18T04:01:00+00:00"}
    page = read(view(more={"history": story}, schedule={}))
    stand = places(page)
    assert min(later - sooner for sooner, later in pairwise(stand)) >= 5
    assert dates(page) == ["18 Jan 04:01", "18 Jan 04:00"]


def test_changes_at_one_instant_stand_side_by_side() -> None:
    story = [change(version, "pin", 18) for version in range(3, 0, -1)]
    assert places(read(view(more={"history": story}, schedule={}))) == [3, 8, 13]


def test_a_hundred_changes_keep_their_order_and_the_newest_are_drawn() -> None:
    story = [change(version, "pin", 1 + version // 6) for version in range(100, 0, -1)]
    page = read(view(more={"history": story}))
    stand = places(page)
    assert len(stand) == console.CHANGES_DRAWN
    assert stand[0] == 3
    assert stand[-1] < 97
    assert min(later - sooner for sooner, later in pairwise(stand)) > 2
    assert "The newest 40 of 100 changes are drawn; the ledger has them all." in page.text
    (ledger,) = tables(page, "Every change")
    assert len(rows(ledger)) == 100
    assert len(dates(page)) <= 4


def test_candidates_are_told_with_their_verdicts_and_the_chosen_one_is_marked() -> None:
    snapshots = [
        candidate(
            "orders-next",
            eligible=False,
            reason="version",
            detail="engine version 16.1, wanted 15.4",
            engine_version="16.1",
        ),
        candidate("orders-2", chosen=True),
        candidate("orders-1", created="2026-01-16T20:00:00+00:00"),
        candidate("odd", arn="odd", created=None, cluster="", eligible=False),
    ]
    (table,) = tables(read(view(more={"snapshots": snapshots})), "Cluster snapshots")
    assert [each.text for each in table.all("th", scope="col")] == [
        "Snapshot",
        "Taken",
        "Cluster and engine",
        "Verdict",
    ]
    assert rows(table) == [
        [
            "orders-next account 111111111111",
            "17 Jan 2026, 20:00 8 hours ago",
            "orders aurora-postgresql 16.1",
            "not eligible engine version 16.1, wanted 15.4",
        ],
        [
            "orders-2 account 111111111111",
            "17 Jan 2026, 20:00 8 hours ago",
            "orders aurora-postgresql 15.4",
            "chosen the next update takes it",
        ],
        [
            "orders-1 account 111111111111",
            "16 Jan 2026, 20:00 32 hours ago",
            "orders aurora-postgresql 15.4",
            "eligible",
        ],
        ["odd account not known", "not known", "not known aurora-postgresql 15.4", "not eligible"],
    ]


def test_the_newest_thirty_are_listed_the_chosen_one_too_and_the_rest_counted() -> None:
    snapshots = [candidate(f"orders-{number}") for number in range(50)]
    snapshots[45]["chosen"] = True
    page = read(view(more={"snapshots": snapshots, "omitted": 1200}))
    (first,), (older,) = tables(page, "Cluster snapshots"), tables(page, "Older cluster snapshots")
    listed = [row[0].split()[0] for row in rows(first) + rows(older)]
    assert listed == [f"orders-{number}" for number in [*range(30), 45]]
    assert "1,219 more are not shown." in page.text
    assert [each.text for each in page.all("summary")] == ["The ledger: 2 changes", "The next 23"]
    assert [("open" in each.attributes) for each in page.all("details")] == [False, False]


def test_older_candidates_are_unfolded_where_the_newest_are_none() -> None:
    snapshots = [candidate(f"other-{number}", eligible=False) for number in range(8)]
    page = read(view(more={"snapshots": [*snapshots, candidate("orders-1")]}))
    assert "open" in page.all("details")[1].attributes


def test_a_page_to_read_has_no_forms() -> None:
    page = read(view(hold=HOLD))
    assert page.all("form") == page.all("input") == page.all("button") == []


def test_a_page_to_write_has_a_form_for_each_thing_to_do() -> None:
    page = read(view(), writable=True)
    assert forms(page) == [
        {"action": "pin", "snapshot": share("orders-1"), "reason": None, "deploy": "true"},
        {"action": "rollback", "reason": None, "deploy": "true"},
        {"action": "hold", "until": None, "reason": None},
        {"action": "refresh", "reason": None, "outside_window": "true", "dry_run": "true"},
    ]
    assert {
        (each.attributes["method"], each.attributes["action"]) for each in page.all("form")
    } == {("post", "/")}
    assert page.one("input", type="date").attributes["min"] == "2026-01-19"
    labels = {each.attributes["for"] for each in page.all("label")}
    fields = [each for each in page.all("input") if each.attributes["type"] != "hidden"]
    assert {each.attributes["id"] for each in fields} == labels


def test_only_what_is_eligible_can_be_pinned() -> None:
    snapshots = [candidate("orders-2"), candidate("billing", eligible=False)]
    page = read(view(more={"snapshots": snapshots}), writable=True)
    assert page.one("input", type="radio").attributes["value"] == share("orders-2")
    page = read(view(more={"snapshots": snapshots[1:]}), writable=True)
    assert "pin" not in [form["action"] for form in forms(page)]


def test_the_rollback_names_where_it_goes_to_and_is_not_offered_without() -> None:
    page = read(view(), writable=True)
    assert "Sets what the pipeline restores back to orders-1 ." in page.text
    page = read(view(DATABASE | {"previous": None}), writable=True)
    assert "rollback" not in [form["action"] for form in forms(page)]


def test_a_hold_can_be_ended() -> None:
    offered = [form["action"] for form in forms(read(view(hold=HOLD), writable=True))]
    assert offered == ["pin", "rollback", "hold", "resume", "refresh"]


def test_forms_name_the_database_where_there_are_several() -> None:
    page = read(view(DATABASE, DATABASE | {"name": "docs"}), writable=True)
    assert [(form["action"], form.get("database")) for form in forms(page)] == [
        ("pin", "rds"),
        ("rollback", "rds"),
        ("pin", "docs"),
        ("rollback", "docs"),
        ("hold", None),
        ("refresh", None),
    ]
    ids = [node.attributes["id"] for node in everything(page) if "id" in node.attributes]
    assert len(set(ids)) == len(ids)


def test_enter_in_the_refresh_form_changes_nothing_and_a_refresh_wants_a_mark() -> None:
    form = read(view(), writable=True).all("form")[-1]
    ask, do = form.all("button")
    assert (ask.text, ask.attributes["name"]) == ("What would a refresh do now?", "dry_run")
    assert "formnovalidate" in ask.attributes
    assert (do.text, "name" in do.attributes) == ("Refresh now", False)
    sure = [each for each in form.all("input") if "required" in each.attributes]
    assert [each.attributes["id"] for each in sure] == ["refresh-sure"]
    assert "name" not in sure[0].attributes


def test_a_refusal_is_an_alert_on_top() -> None:
    main = read(view(), writable=True, message="the pipeline is busy").one("main")
    alert = main.all("p")[0]
    assert (alert.attributes["role"], alert.text) == ("alert", "the pipeline is busy")


@pytest.mark.parametrize(
    ("outcome", "dry_run", "title", "told"),
    [
        ("started", True, "What a refresh would do now", "It would start."),
        ("skipped", True, "What a refresh would do now", "It would not start. on hold"),
        ("started", False, "The refresh", "It has started."),
        ("failed", False, "The refresh", "It did not start. on hold"),
    ],
)
def test_a_refresh_is_told_step_by_step(outcome: str, dry_run: bool, title: str, told: str) -> None:
    answer = {
        "outcome": outcome,
        "reason": None,
        "message": None if outcome == "started" else "on hold",
        "databases": [],
        "dry_run": dry_run,
        "steps": [
            {"step": "week", "verdict": "passed", "detail": "by hand"},
            {"step": "hold", "verdict": "refused", "detail": "until Thursday"},
            {"step": "juggle", "verdict": "not reached", "detail": None},
        ],
    }
    section = read(view(), refresh=answer).all("section")[0]
    assert (section.one("h2").text, section.all("p")[0].text) == (title, told)
    assert [each.text for each in section.one("ol").all("li")] == [
        "The week passed by hand",
        "The hold refused until Thursday",
        "juggle not reached",
    ]


# What comes from outside.

HOSTILE = (
    "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&amp;&lt;]]>-->"
    "\u202eevil\u2066\x00\x1b[31m\ud800\u200b\u2028e" + "\u0301" * 9
)
HARMLESS = (
    "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&amp;&lt;]]>-->"
    "\ufffdevil\ufffd\ufffd\ufffd[31m\ufffd\ufffd\ufffde" + "\u0301" * 3 + "\ufffd" * 6
)
UNSEEN = re.compile(
    "[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
TIMES = {"now", "next_update", "next_restore", "created", "since", "set", "started", "updated"}


def poisoned(value: Any, name: str = "") -> Any:
    """The same with every text hostile that is no time."""
    if isinstance(value, dict):
        return {key: poisoned(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, name) for each in value]
    keep = name in TIMES or name == "until" or not isinstance(value, str)
    return value if keep else HOSTILE


def everything(node: Node) -> list[Node]:
    children = [child for child in node.children if isinstance(child, Node)]
    return children + [each for child in children for each in everything(child)]


def poisoned_page() -> str:
    seen = view(hold=HOLD, problems=["x"], more={"message": "x"})
    seen["status"] = poisoned(seen["status"])
    seen["status"]["databases"] = [
        DATABASE | {"name": "rds"},
        poisoned(DATABASE | {"waiting": True}),
    ]
    more = poisoned(seen["databases"]["rds"] | {"snapshots": [candidate("x", detail="x")]})
    seen["databases"] = {"rds": MORE, HOSTILE: more}
    steps = [{"step": "x", "verdict": "x", "detail": "x"}]
    answer = {"outcome": "x", "message": "x", "steps": steps, "dry_run": True}
    return console.page(seen, writable=True, message=HOSTILE, refresh=poisoned(answer))


def test_hostile_texts_are_texts() -> None:
    html = poisoned_page()
    page = Reader(html).root
    nodes = everything(page)
    assert {node.tag for node in nodes} == {
        node.tag
        for node in everything(
            read(
                view(
                    DATABASE | {"waiting": True}, hold=HOLD, problems=["x"], more={"message": "x"}
                ),
                writable=True,
                refresh={
                    "outcome": "x",
                    "message": "x",
                    "dry_run": True,
                    "steps": [{"step": "x", "verdict": "x", "detail": "x"}],
                },
            )
        )
    }
    assert not UNSEEN.search(html)
    html.encode()


def test_every_hostile_text_stands_alone_and_whole() -> None:
    nodes = everything(Reader(poisoned_page()).root)
    isolated = [node.text for node in nodes if node.tag == "bdi" and "evil" in node.text]
    assert set(isolated) == {HARMLESS, f"{HARMLESS} {HARMLESS}"}
    # The engine's two; the tooltips of the timeline, the pin and the database are attributes or titles.
    outside = [
        node.tag
        for node in nodes
        for child in node.children
        if isinstance(child, str) and "evil" in child
    ]
    assert set(outside) == {"bdi", "title"}
    values = {
        node.attributes.get("name")
        for node in nodes
        for value in node.attributes.values()
        if "evil" in (value or "")
    }
    assert values == {"database", "snapshot"}


def test_the_policy_lets_in_the_one_style_and_nothing_else() -> None:
    html = console.page(view(), writable=True)
    style = Reader(html).root.one("style")
    (css,) = style.children
    assert isinstance(css, str)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert dict(console.HEADERS) == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    assert "</" not in css
    assert "url(" not in css
    assert "@import" not in css


def test_the_style_is_the_same_whatever_comes_from_outside() -> None:
    plain = Reader(console.page(view(), writable=False)).root.one("style")
    assert Reader(poisoned_page()).root.one("style").children == plain.children


def test_nothing_on_the_page_runs_loads_or_leads_away() -> None:
    html = console.page(view(), writable=True)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    for page in (html, poisoned_page()):
        nodes = everything(Reader(page).root)
        active = {"script", "img", "link", "iframe", "object", "embed", "base", "a", "image", "use"}
        assert not active & {node.tag for node in nodes}
        names = {name for node in nodes for name in node.attributes}
        assert not [name for name in names if name.startswith("on")]
        assert not names & {"style", "src", "href", "xlink:href", "formaction", "background"}


def test_headings_come_in_order_and_regions_are_named() -> None:
    page = read(view(hold=HOLD, problems=["x"]), writable=True)
    levels = [int(node.tag[1]) for node in everything(page) if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - sooner <= 1 for sooner, later in pairwise(levels))
    headings = {node.attributes.get("id") for node in page.all("h2")}
    assert {each.attributes["aria-labelledby"] for each in page.all("section")} == headings
