"""What people see of the console, and what those see who hear it, by Chromium's own tree."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import combinations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from localcloud.accounts import ACCEPTANCE
from localcloud.company import Company
from tests.browser.conftest import (
    ADDRESS,
    HOSTILE_REASON,
    HOSTILE_SHARE,
    PROJECT,
    WIDTHS,
    Served,
    Shown,
)

States = dict[str, Served]
Show = Callable[..., AbstractContextManager[Shown]]

PARTS = ["What testers are on", "What the pipeline restores", "What happened"]
CHOICE = "Snapshots to choose from"


def headings(page: Page) -> list[str]:
    return page.get_by_role("heading").all_inner_texts()


def fact(page: Page, word: str) -> str:
    """What is said of a word in a list of facts."""
    return page.locator(f"dl > div:has(> dt:text-is('{word}')) > dd").inner_text()


def ledger(page: Page) -> list[list[str]]:
    """What has happened and to which snapshot, as the unfolded table tells."""
    page.locator("summary", has_text="The ledger").click()
    table = page.get_by_role("table", name="Every change of what the pipeline restores")
    rows = [row.get_by_role("cell").all_inner_texts() for row in table.get_by_role("row").all()]
    return [[re.sub(r"\s+", " ", cell) for cell in row[1:3]] for row in rows[1:]]


def drawn(page: Page) -> str:
    """The timeline in words, as it is read out."""
    return (
        page.get_by_role("img", name="The timeline of what happened").locator("desc").inner_html()
    )


def violations(page: Page, *rules: str) -> list[tuple[str, str]]:
    """What axe finds wrong by the rules, or by all; or is unsure about but for the timeline's texts.

    Those stand on a picture, whose ground axe does not know: the card's, as all text's.
    """
    kinds = ["violations", "incomplete"]
    only = {"runOnly": list(rules)} if rules else {}
    found = Axe().run(page, options={"resultTypes": kinds, **only}).response
    assert len(found["passes"]) >= (len(rules) or 15)
    return [
        (rule["id"], node["html"])
        for kind in kinds
        for rule in found[kind]
        for node in rule["nodes"]
        if not (kind == "incomplete" and node["html"].startswith("<text "))
    ]


def test_the_deployed_api_serves_the_page_with_its_policy(states: States) -> None:
    for served in states.values():
        assert served.status == 200
        headers = {name.lower(): value for name, value in served.headers.items()}
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha")
        assert headers["cache-control"] == "no-store"
        assert "<form" not in served.text


def test_a_fresh_stage_says_that_nothing_has_happened_and_what_comes(
    states: States, show: Show
) -> None:
    with show(states["fresh"]) as shown:
        page = shown.page
        assert headings(page)[-4:] == [*PARTS, CHOICE]
        assert page.locator(".big").inner_text() == "nothing yet"
        assert fact(page, "Restores it") == "Sunday 4 January 2026, 04:00 UTC (in 37 hours)"
        assert fact(page, "Its last run") == "none is known"
        assert drawn(page).startswith("1 change since 2 January 2026: 1 other change.")


def test_after_good_nights_all_is_well(states: States, show: Show) -> None:
    with show(states["healthy"]) as shown:
        page = shown.page
        assert page.get_by_role("banner").inner_text().split("\n")[-1] == "All is well."
        assert headings(page) == [
            "Aurora Refresh",
            "What comes next",
            "Database rds",
            *PARTS,
            CHOICE,
        ]
        assert page.locator(".big").inner_text() == "orders-2026-01-17"
        assert page.locator(".age").inner_text() == "18 hours old"
        assert fact(page, "Newest share") == "orders-2026-01-17: testers are on it"
        assert fact(page, "How") == "Refresh by the schedule"
        assert fact(page, "Proven") == "yes, a successful run of the pipeline carried it"
        assert fact(page, "A rollback goes to") == "orders-2026-01-03"
        assert fact(page, "Restores it") == "Sunday 1 February 2026, 04:00 UTC (in 14 days)"
        assert drawn(page).startswith(
            "5 changes since 2 January 2026: 2 refreshes, 1 pin, 1 rollback, 1 other change."
        )
        assert ledger(page) == [
            ["Refresh by the schedule version 5 good", "orders-2026-01-17"],
            ["Rollback version 4", "orders-2026-01-03"],
            ["Pin version 3", "orders-2026-01-01"],
            ["Refresh by the schedule version 2", "orders-2026-01-03"],
            ["Set outside of this application version 1", "nothing yet"],
        ]


def test_candidates_are_a_table_with_the_chosen_one_marked(states: States, show: Show) -> None:
    with show(states["healthy"]) as shown:
        table = shown.page.get_by_role("table", name="Cluster snapshots").first
        assert table.get_by_role("columnheader").all_inner_texts() == [
            "Snapshot",
            "Taken",
            "Cluster and engine",
            "Verdict",
        ]
        verdicts = {
            row.get_by_role("cell").nth(0).locator("bdi").first.inner_text(): re.sub(
                r"\s+", " ", row.get_by_role("cell").nth(3).inner_text()
            )
            for row in table.get_by_role("row").all()[1:]
        }
        assert verdicts["orders-2026-01-17"] == "chosen the next update takes it"
        assert verdicts["orders-next-2026-01-17"] == "not eligible engine version 16.1, wanted 15"
        assert verdicts["orders-2026-01-16"] == "eligible"


def test_after_a_failed_refresh_the_page_says_what_is_wrong_first(
    states: States, show: Show
) -> None:
    with show(states["failed"]) as shown:
        page = shown.page
        assert headings(page)[1].startswith("What is wrong")
        assert "problem" in page.get_by_role("banner").inner_text()
        assert page.locator(".big").inner_text() == "orders-2026-01-17"
        assert "failed" in fact(page, "Its last run")
        assert fact(page, "How") == "Taken back: its run failed"
        assert fact(page, "Proven") == "by an earlier version: testers are on this snapshot"
        assert "1 failed run, 1 taken back" in drawn(page)
        assert ledger(page)[:2] == [
            ["Taken back: its run failed version 7", "orders-2026-01-17"],
            ["Refresh by the schedule version 6", "orders-2026-01-31"],
        ]


@pytest.mark.parametrize("state", ["fresh", "healthy", "failed"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_wrong_at_any_width_in_any_light(
    states: States, show: Show, state: str, width: str
) -> None:
    with show(states[state], width) as shown:
        for summary in shown.page.locator("summary").all():
            summary.click()
        assert violations(shown.page) == []
        shown.page.emulate_media(color_scheme="dark")
        assert violations(shown.page, "color-contrast") == []


@pytest.mark.parametrize("state", ["fresh", "healthy", "failed", "hostile"])
def test_a_phone_never_scrolls_sideways(states: States, show: Show, state: str) -> None:
    with show(states[state], "phone") as shown:
        for summary in shown.page.locator("summary").all():
            summary.click()
        width = shown.page.evaluate("document.documentElement.scrollWidth")
        assert width == WIDTHS["phone"][0]


def test_dark_is_dark_and_light_is_light(states: States, show: Show) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        with show(states["healthy"], "desktop", scheme) as shown:
            ground = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
            grounds[scheme] = sum(map(int, re.findall(r"\d+", ground)))
    assert grounds["dark"] < 150
    assert grounds["light"] > 600


@pytest.mark.parametrize("width", WIDTHS)
def test_no_change_hides_another_on_the_timeline(states: States, show: Show, width: str) -> None:
    with show(states["failed"], width) as shown:
        marks = [mark.bounding_box() for mark in shown.page.locator(".timeline .mark").all()]
        centres = [
            (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in marks if box
        ]
        assert len(centres) == 7
        assert min(math.dist(*pair) for pair in combinations(centres, 2)) > 12
        colours = shown.page.locator(".legend .mark").evaluate_all(
            "marks => marks.map(mark => getComputedStyle(mark).fill)"
        )
        assert len(set(colours)) == len(colours) == 6


def test_the_keyboard_reaches_what_can_be_unfolded_and_shows_where_it_is(
    states: States, show: Show
) -> None:
    with show(states["healthy"]) as shown:
        page = shown.page
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.inner_text() == "The ledger: 5 changes"
        assert focused.evaluate("each => getComputedStyle(each).outlineWidth") == "3px"
        page.keyboard.press("Enter")
        assert page.get_by_role("table", name="Every change").is_visible()


def test_a_hostile_reason_and_a_hostile_snapshot_are_only_read(states: States, show: Show) -> None:
    with show(states["hostile"]) as shown:
        page = shown.page
        for summary in page.locator("summary").all():
            summary.click()
        text = page.inner_text("body")
        for hostile in (HOSTILE_REASON, *HOSTILE_SHARE.values()):
            assert hostile in text
        assert page.locator("script, img, [onerror], [onload]").count() == 0
        assert page.locator("style").count() == 1
        page.wait_for_load_state("networkidle")
        assert (shown.asked, shown.dialogs, shown.told) == ([ADDRESS], [], [])


def test_were_there_a_script_the_policy_would_not_run_it(states: States, show: Show) -> None:
    served = states["healthy"]
    text = served.text.replace(
        "</main>", "<script>alert(1)</script><p style='color:red'></p><img src='/x'></main>"
    )
    assert text != served.text
    with show(Served(served.status, served.headers, text)) as shown:
        assert (shown.asked, shown.dialogs) == ([ADDRESS], [])
        assert len([told for told in shown.told if "Content Security Policy" in told]) == 3


@pytest.fixture(scope="module")
def local(company: Company, states: States, browser: Browser) -> Iterator[Page]:
    """The page of ``make console``, of a company that all of the above has happened to."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "console", "--stage", "local"),
            *("--project", str(company.project)),
        ],
        cwd=PROJECT,
        env=company.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        yield page
        context.close()
        process.terminate()


def test_the_page_with_forms_has_nothing_wrong(local: Page) -> None:
    assert local.get_by_role("heading", name="Operate").count() == 1
    assert violations(local) == []


def test_a_hold_is_set_and_ended_by_forms(local: Page) -> None:
    form = local.locator("form", has=local.get_by_role("button", name="Hold refreshes"))
    form.get_by_label("They may run again from").fill("2099-01-22")
    form.get_by_label("Why").fill(HOSTILE_REASON)
    form.get_by_role("button").click()
    local.get_by_role("heading", name="On hold").wait_for()
    assert HOSTILE_REASON in local.get_by_role("region", name="On hold").inner_text()
    assert f"arn:aws:iam::{ACCEPTANCE}:user/admin" in local.inner_text("main")
    local.get_by_role("button", name="Resume refreshes").click()
    local.get_by_role("heading", name="On hold").wait_for(state="detached")


def test_a_dry_run_is_told_step_by_step_and_enter_asks_for_no_more(
    local: Page, company: Company
) -> None:
    before = company.parameter(company.current)
    form = local.locator("form", has=local.get_by_role("button", name="Refresh now"))
    form.get_by_label("Why").press("Enter")
    told = local.get_by_role("region", name="What a refresh would do now")
    told.wait_for()
    assert told.get_by_role("listitem").count() == 9
    assert company.parameter(company.current) == before


def test_a_refresh_without_a_mark_is_not_even_sent(local: Page, company: Company) -> None:
    before = company.parameter(company.current)
    local.get_by_role("button", name="Refresh now").click()
    sure = local.get_by_label("Yes, replace the acceptance cluster")
    assert sure.evaluate("box => box === document.activeElement && !box.validity.valid")
    assert company.parameter(company.current) == before


def test_a_pin_is_chosen_from_the_table(local: Page, company: Company) -> None:
    local.get_by_label("orders-2026-01-30", exact=True).check()
    form = local.locator("form", has=local.get_by_role("button", name="Pin the marked"))
    form.get_by_role("button").click()
    local.get_by_text("Waiting:").wait_for()
    assert company.parameter(company.current).endswith(":orders-2026-01-30")


def test_the_pictures_in_the_documentation_are_there() -> None:
    for state in ("fresh", "healthy", "failed"):
        picture = (PROJECT / f"docs/console-{state}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
