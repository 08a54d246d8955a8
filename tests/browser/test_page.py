"""What people see of the console, and what those see who hear it, by Chromium's own tree."""

import time
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SIZES, Show
from tests.console_states import NOW, RUN, attention, denied, fresh, healthy, nightly

PAGES = {
    "healthy": (healthy, "/"),
    "attention": (attention, "/"),
    "fresh": (fresh, "/"),
    "denied": (denied, "/"),
    "database": (attention, "/databases/orders"),
    "form": (attention, "/rollback?database=orders"),
}


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe finds wrong."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    assert len(found["passes"]) >= 15
    return [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]]


# A phone shows no more than a desktop, in the same colours.
@pytest.mark.parametrize(
    ("size", "theme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "dark")]
)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_wrong_and_nothing_scrolls_sideways(
    show: Show, name: str, size: str, theme: str
) -> None:
    client, path = PAGES[name]
    with show(client(), size, path, color_scheme=theme, reduced_motion="reduce") as page:
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]


@pytest.mark.parametrize("size", SIZES)
def test_the_first_screen_answers_what_people_ask(show: Show, size: str) -> None:
    with show(attention(), size) as page:
        for text in ("needs attention", "Next refresh", "restores", "is being replaced by"):
            expect(page.get_by_text(text).first).to_be_in_viewport(ratio=1)
        for age in ("13 days", "16 days", "2 days"):
            expect(page.locator(".age", has_text=age).last.locator("b")).to_be_in_viewport(ratio=1)


def test_times_are_the_readers_own_with_utc_on_hover(show: Show) -> None:
    with show(healthy()) as page:
        page.clock.set_fixed_time(NOW)
        page.reload()
        time = page.locator("time").first
        expect(time).to_have_text("Sun 29 Nov, 05:00")
        page.clock.set_fixed_time(NOW + timedelta(days=60))
        page.reload()
        expect(time).to_have_text("Sun, 29 Nov 2026, 05:00")
        expect(time).to_have_attribute("title", "Sun 29 Nov 2026, 04:00 UTC")
        expect(page.locator("#zone")).to_have_text("Europe/Amsterdam")


def test_a_destructive_action_asks_in_a_dialog_which_the_keyboard_can_leave(show: Show) -> None:
    """But an error is a page."""
    client = healthy()
    with show(client) as page:
        page.get_by_role("link", name="Refresh now…").press("Enter")
        dialog = page.get_by_role("dialog", name="Refresh now")
        expect(dialog).to_contain_text("This deletes data")
        assert violations(page) == []
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.get_by_role("link", name="Roll back billing").click()
        dialog = page.get_by_role("dialog", name="Roll back: billing")
        dialog.get_by_role("link", name="Cancel").click()
        expect(dialog).to_be_hidden()
        client.answers["status"] = denied().answers["status"]
        page.get_by_role("link", name="Refresh now…").click()
        page.wait_for_url("**/refresh")
        expect(page.get_by_role("heading", name="Access denied")).to_be_visible()
    assert client.calls == []


def test_a_form_that_comes_late_does_not_replace_another(show: Show) -> None:
    held: list[Route] = []
    with show(healthy()) as page:
        page.route("**/rollback?*", lambda route: held.extend([route]))
        page.get_by_role("link", name="Roll back orders").click()
        page.get_by_role("link", name="Roll back billing").click()
        held[0].continue_()
        page.get_by_label("Reason").fill("compare")
        expect(page.get_by_role("dialog", name="Roll back: orders")).to_be_visible()
        assert len(held) == 1


@pytest.mark.parametrize("script", [True, False])
def test_a_snapshot_is_pinned_once_and_the_page_says_so(show: Show, script: bool) -> None:
    client = healthy()
    moved = client.answers["pin"]
    client.answers["pin"] = lambda **asked: time.sleep(0.5) or moved(**asked)
    with show(client, java_script_enabled=script) as page:
        page.get_by_role("link", name="Pin orders").click()
        page.wait_for_url("**/databases/orders")  # with its style and its script
        expect(page.get_by_label("Filter")).to_be_visible(visible=script)
        if script:
            shown, matches = page.locator("#rows").get_by_role("row"), page.locator("#matches")
            expect(shown).to_have_count(89)
            expect(matches).to_have_text("89 of")
            page.get_by_label("Only those").uncheck()
            expect(shown).to_have_count(90)
            page.get_by_label("Filter").fill("11-25 postgres")
            expect(shown).to_have_count(1)
        page.get_by_role("link", name="Pin orders-2026-11-25").click()
        page.get_by_label("Reason").fill("compare")
        replace = page.get_by_role("button", name="Replace the cluster now")
        replace.click(click_count=1 + script, delay=100)
        expect(page.get_by_role("status")).to_contain_text(f"Run {RUN} restores")
    asked = {"snapshot": nightly("orders", 3), "database": "orders", "reason": "compare"}
    assert client.calls == [("pin", asked | {"deploy": True})]


def test_a_page_that_no_answer_replaces_as_after_a_stop_can_be_used_again(show: Show) -> None:
    client = healthy()
    client.answers["refresh"] |= {"dry_run": True}
    with show(client) as page:
        page.clock.install()
        page.route("**/refresh", lambda route: route.fulfill(status=204), times=1)
        dry_run = page.get_by_role("button", name="Dry run")
        dry_run.click()
        dry_run.click()
        page.clock.run_for(40_000)
        dry_run.click()
        expect(page.get_by_role("heading", name="A refresh would start")).to_be_visible()
    assert len(client.calls) == 1


def test_the_page_reloads_itself_while_a_run_is_under_way(show: Show) -> None:
    client = attention()
    with show(client) as page:
        page.clock.install()
        page.reload()
        client.answers["status"] = healthy().answers["status"]
        page.keyboard.press("Tab")  # whose place a reload would lose
        page.clock.run_for(29_000)
        expect(page.get_by_role("heading", name="All is well")).to_be_hidden()
        page.clock.run_for(10_000)
        expect(page.get_by_role("heading", name="All is well")).to_be_visible()
