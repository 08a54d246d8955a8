"""The console's pages, by Flask's test client and a client that answers as the API does."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cli.client import ApiError
from cli.console import view
from cli.console.app import create_app
from tests.console_states import (
    NOW,
    RUN,
    FakeClient,
    at,
    attention,
    database,
    denied,
    fresh,
    healthy,
    nightly,
)

ADDRESS = "http://127.0.0.1:8000"
HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\u2066"


class Browser:
    """Asks for pages as a browser does, and sends their forms."""

    def __init__(self, client: Any) -> None:
        self.http: FlaskClient = create_app(client, "acceptance", "acceptance").test_client()

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.http.get(path, base_url=ADDRESS, headers=headers)

    def submit(self, path: str, origin: str | None = ADDRESS, **fields: str) -> TestResponse:
        token = re.search(r'name="token" value="([^"]+)"', self.get("/hold").text)
        return self.http.post(
            path,
            base_url=ADDRESS,
            headers={"Origin": origin} if origin else {},
            data={"token": token[1] if token else "", **fields},
        )


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def unreadable_hold() -> FakeClient:
    client = FakeClient(database("orders", 7))
    client.status_answer["hold"] = {"until": None, "reason": "it is no JSON", "by": "unknown"}
    client.status_answer["schedule"]["next_restore"] = None
    return client


DELETED = ["deletes data", "orders-2026-11-21"]
PAGES = [
    (
        healthy,
        "/",
        [
            "acceptance 222222222222 eu-west-1",
            "as refresh-operator/omar",
            "All is well Next refresh: Sun 29 Nov 2026, 04:00 UTC in 14 hours",
            "orders good orders-2026-11-21 taken Sat 21 Nov 2026, 22:00 UTC 7 days limit",
            "to orders-2026-11-27",
        ],
    ),
    (
        attention,
        "/",
        [
            "1 of 3 databases needs attention",
            "Running: Deploy, Database Sat 28 Nov 2026, 13:37 UTC 23 minutes ago",
            "restores orders from orders-2026-11-27",
            "orders restoring",
            "is being replaced by orders-2026-11-27",
            "Problems billing",
            "billing stale",
            "Check db-share-snapshot in production.",
            'data-reload="10"',
            '<noscript><meta http-equiv="refresh" content="10"></noscript>',
        ],
    ),
    (unreadable_hold, "/", ["On hold: the hold cannot be read · Next refresh: none is planned"]),
    (fresh, "/", ["Nothing has been restored yet", "A dry run shows what a refresh would do."]),
    (healthy, "/databases/orders", ["120 shared snapshots", "engine version 16.1, wanted 15"]),
    (healthy, "/refresh", [*DELETED, "orders-2026-11-27", "documents"]),
    (healthy, f"/pin?database=orders&snapshot={nightly('orders', 3)}", [*DELETED, "2026-11-25"]),
    (healthy, "/rollback?database=orders", [*DELETED, "orders-2026-11-07"]),
    (healthy, "/hold", ["Until that day the schedule restores nothing."]),
]


@pytest.mark.parametrize(("client", "path", "words"), PAGES)
def test_a_page_says_what_is_deployed_what_comes_and_what_an_action_would_delete(
    client: Callable[[], FakeClient], path: str, words: list[str]
) -> None:
    page = Browser(client()).get(path).text
    assert [each for each in words if each not in page + text_of(page)] == []


def test_only_eligible_shares_can_be_pinned() -> None:
    page = Browser(healthy()).get("/databases/orders").text
    assert "not eligible" in page
    assert page.count('<a class="button" href="/pin?') == 119
    assert Browser(healthy()).get("/databases/none").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "databases"),
    [
        ("/rollback", 404, []),
        ("/pin?database=none&snapshot=a", 404, []),
        ("/pin?database=orders", 200, ["orders"]),
        # A refresh takes them all.
        ("/refresh?database=orders", 200, ["orders", "billing", "documents"]),
    ],
)
def test_a_form_names_the_databases_that_it_is_about(
    path: str, status: int, databases: list[str]
) -> None:
    response = Browser(healthy()).get(path)
    assert response.status_code == status
    assert re.findall("<li><b>(.*?)</b>", response.text) == databases


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({}, "good"),
        ({"age_hours": 14 * 24}, "good"),
        ({"age_hours": 14 * 24 + 0.1}, "stale"),
        ({"waiting": True}, "waiting"),
        ({"preparation": {"state": "preparing"}}, "preparing"),
        ({"preparation": {"state": "not-prepared"}, "waiting": True}, "not prepared"),
        ({"preparation": {"state": "prepared"}}, "good"),
        ({"deployed": None, "deployed_since": None}, "unknown"),
        ({"deployed": None, "deployed_since": None, "current": None}, "empty"),
    ],
)
def test_a_database_is_judged_in_one_word(facts: dict[str, Any], verdict: str) -> None:
    client = FakeClient(database("orders", 7, **facts))
    row = view.row(client.status_answer, client.status_answer["databases"][0], [], {})
    assert row.verdict == verdict
    assert f">{verdict}</span>" in Browser(client).get("/").text


@pytest.mark.parametrize(
    ("error", "status", "title", "step"),
    [
        (denied().error, 403, "Access denied", "the permission that is missing"),
        (ApiError(None, "Unreachable", "no route"), 502, "The API cannot be reached", "VPN"),
        (ApiError(None, "NoCredentials", "none"), 502, "You are not signed in", "aws sso login"),
        (ApiError(404, "StageNotFound", "none"), 404, "There is no such stage", "stage&#39;s name"),
        (ApiError(500, "ChaliceViewError", "throttled"), 500, "The request failed", "try again"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/databases/orders", "/refresh"])
def test_an_error_is_a_page_with_the_next_step(
    error: ApiError, status: int, title: str, step: str, path: str
) -> None:
    client = healthy()
    client.error = error
    response = Browser(client).get(path)
    assert response.status_code == status
    assert f">{title}</h1>" in response.text
    assert step in response.text.partition("Next step:")[2]


def test_a_chart_that_cannot_be_drawn_leaves_the_page_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise ApiError(500, "ChaliceViewError", "throttled")

    client = healthy()
    monkeypatch.setattr(client, "history", fail)
    page = Browser(client).get("/").text
    assert page.count("<svg") == 3  # of the data that is deployed
    assert "All is well" in page


def test_the_chart_draws_the_age_of_each_restored_snapshot_up_to_the_next() -> None:
    now = datetime(2026, 1, 29, tzinfo=UTC)
    day = timedelta(days=1)
    unknown, old = (now - 40 * day, None), (now - 20 * day, now - 22 * day)
    drawn = view.chart([unknown, old, (now - 10 * day, now - 10 * day)], now, 20)
    assert drawn == view.Chart(
        "M0.0 54.8L200.0 28.7L200.0 60.0L400.0 33.9",
        "M0.0 60V54.8L200.0 28.7V60ZM200.0 60V60.0L400.0 33.9V60Z",
        pytest.approx(7.83, abs=0.01),
        20,
        "Age of the data over 20 days: 10 days at the end, 12 days at most, the limit is 20 days",
    )
    assert view.chart([(now - day, None)], now, 14) is None
    assert view.chart([], now, 14) is None


def test_a_version_that_no_run_restored_is_not_in_the_chart() -> None:
    history = healthy().history("orders")["history"]
    assert [each["version"] for each in view.restored(history)] == [1, 2, 3, 5]


MOVED = {"current": nightly("orders", 3), "execution_id": None, "under_way": None}
HELD = {"hold": {"until": "2026-12-03"}, "next_restore": at(days=-14), "under_way": "run 7 waits"}


@pytest.mark.parametrize(
    ("action", "fields", "answer", "message"),
    [
        (
            "pin",
            {"database": "orders", "snapshot": "orders-2026-11-25", "reason": "compare"},
            MOVED,
            "The pipeline restores orders from orders-2026-11-25 in its next run.",
        ),
        (
            "rollback",
            {"database": "orders", "reason": "", "deploy": "true"},
            MOVED | {"execution_id": RUN},
            f"The pipeline restores orders from orders-2026-11-25 now, in run {RUN}.",
        ),
        (
            "refresh",
            {"reason": "", "outside_window": "true"},
            {"outcome": "started", "dry_run": False, "execution_id": RUN},
            f"The refresh has started: run {RUN}.",
        ),
        (
            "hold",
            {"until": "2026-12-03", "reason": "load test"},
            HELD,
            "The schedule is on hold until 2026-12-03. Note: run 7 waits. Next refresh: Sat 12 Dec 2026, 14:00 UTC .",
        ),
        (
            "resume",
            {},
            {"hold": None, "next_restore": None, "under_way": None},
            "The hold is lifted. No refresh is planned.",
        ),
    ],
)
def test_an_action_is_done_and_answered(
    action: str, fields: dict[str, str], answer: Any, message: str
) -> None:
    client = healthy()
    client.answer = answer
    browser = Browser(client)
    response = browser.submit(f"/{action}", **fields)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    asked = {name: True if value == "true" else value for name, value in fields.items()}
    assert client.calls == [(action, asked)]
    assert message in text_of(browser.get("/").text)
    assert message not in text_of(browser.get("/").text)


@pytest.mark.parametrize(("dry_run", "title"), [(True, "would not start"), (False, "did not")])
def test_a_dry_run_and_a_refusal_show_the_verdict_of_each_step(dry_run: bool, title: str) -> None:
    client = healthy()
    client.answer = {
        "outcome": "skipped",
        "message": "on hold",
        "dry_run": dry_run,
        "steps": [
            {"step": "window", "verdict": "passed", "detail": "00:00-07:00 UTC"},
            {"step": "hold", "verdict": "refused", "detail": f"{nightly('orders', 1)} waits"},
            {"step": "put", "verdict": "not reached", "detail": None},
        ],
    }
    text = text_of(Browser(client).submit("/refresh").text)
    assert title in text
    assert "window passed 00:00-07:00 UTC hold refused orders-2026-11-27 waits put not" in text


def test_a_refusal_is_shown_in_the_form_with_what_was_typed() -> None:
    client = healthy()

    def busy(**_: Any) -> None:
        raise ApiError(409, "ConflictError", "pipeline acceptance-main is busy")

    client.hold = busy
    response = Browser(client).submit("/hold", until="2026-12-03", reason="load test")
    assert response.status_code == 409
    assert "pipeline acceptance-main is busy" in response.text
    assert 'value="2026-12-03"' in response.text
    assert 'value="load test"' in response.text


OURS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"]
OTHERS = ["evil@127.0.0.1:8000", "127.0.0.1", "127.0.0.1:8001", "127.0.0.1:8000.example.com", ""]


@pytest.mark.parametrize("host", [*OURS, *OTHERS, "example.com:8000"])
def test_only_the_loopback_address_is_answered_by_each_of_its_names(host: str) -> None:
    response = Browser(healthy()).get("/", Host=host)
    expected = (200, True) if host in OURS else (403, False)
    assert (response.status_code, "orders" in response.text) == expected


def test_on_port_80_the_address_has_no_port() -> None:
    http = create_app(healthy(), "acceptance", None).test_client()
    assert http.get("/", base_url="http://127.0.0.1").status_code == 200
    assert http.get("/", base_url="http://example.com").status_code == 403


@pytest.mark.parametrize(
    ("origin", "fields"),
    [
        *(
            (origin, {})
            for origin in (None, "null", "https://example.com", "https://127.0.0.1:8000")
        ),
        *((f"http://{host}", {}) for host in ("127.0.0.1:8001", "evil@127.0.0.1:8000")),
        *((ADDRESS, {"token": token}) for token in ("", "é")),
    ],
)
def test_a_form_that_is_not_the_consoles_own_writes_nothing(
    origin: str | None, fields: dict[str, str]
) -> None:
    client = healthy()
    response = Browser(client).submit("/resume", origin, **fields)
    assert (response.status_code, client.calls) == (403, [])


def test_the_policy_lets_in_the_consoles_own_files_and_nothing_else() -> None:
    response = Browser(healthy()).get("/")
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src "
        "'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    hosts = set(re.findall(r'(?:src|href|action)="\w*:?//([^/"]+)', response.text))
    assert hosts == {"eu-west-1.console.aws.amazon.com"}
    assert not re.search(r' style=| on\w+="|<style', response.text)


TIMES = {"now", "created", "since", "set", "started", "updated", "deployed_since"}


def poisoned(value: Any, name: str = "") -> Any:
    """Return the same with hostile text wherever no time is expected."""
    if isinstance(value, dict):
        return {key: poisoned(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, name) for each in value]
    is_text = isinstance(value, str) and name not in TIMES and not name.startswith("next_")
    return HOSTILE if is_text else value


def tags_of(page: str) -> set[str]:
    return set(re.findall(r"<(\w+)", page))


@pytest.mark.parametrize("path", ["/databases/orders", "/refresh", "/"])
def test_hostile_text_is_only_text(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    client = attention()
    tags = tags_of(Browser(client).get(path).text)
    history, snapshots = client.history("orders"), client.snapshots("orders")
    client.status_answer = poisoned(client.status_answer)
    client.status_answer["databases"][0]["name"] = "orders"
    monkeypatch.setattr(client, "history", lambda _: poisoned(history))
    monkeypatch.setattr(client, "snapshots", lambda _: poisoned(snapshots))
    page = Browser(client).get(path).text
    assert tags_of(page) <= tags - {"img"}
    assert "<script>" not in page
    assert not re.search("[\u202e\u2066]", page)


@pytest.mark.parametrize(
    ("partition", "root"),
    [
        ("aws", "https://eu-west-1.console.aws.amazon.com/"),
        ("aws-cn", "https://eu-west-1.console.amazonaws.cn/"),
        ("aws-us-gov", "https://eu-west-1.console.amazonaws-us-gov.com/"),
        ("aws-iso", None),
    ],
)
def test_links_lead_to_the_console_of_the_partition(partition: str, root: str | None) -> None:
    status = healthy().status_answer
    links = view.links(f"arn:{partition}:sts::1:x", "eu-west-1", "acceptance", status)
    assert {address[: len(root or "")] for address in links.values()} == ({root} if root else set())
    labels = ["Log", "Stack acceptance-data", "Pipeline", "Run"]
    assert [*links] == (labels if root else [])
    assert (RUN in links.get("Run", "")) == bool(root)


def test_a_link_leads_to_the_execution_that_prepares_a_database() -> None:
    status = healthy().status_answer
    execution = "arn:aws:states:eu-west-1:222222222222:execution:mask:rds-cluster-1"
    (facts, *_) = status["databases"]
    facts["preparation"] = {"state": "preparing", "status": "RUNNING", "execution": execution}
    links = view.links("arn:aws:sts::1:x", "eu-west-1", None, status)
    assert links["Preparation of orders"] == (
        "https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1"
        f"#/v2/executions/details/{execution.replace(':', '%3A')}"
    )


def test_there_is_no_link_to_what_has_no_name() -> None:
    """The stage is unknown if only its API's address is; an earlier API names no stacks."""
    status = healthy().status_answer
    links = view.links("arn:aws:sts::1:x", "eu-west-1", None, status)
    assert [*links] == ["Stack acceptance-data", "Pipeline", "Run"]
    for each in status["databases"]:
        del each["stack"]
    links = view.links("arn:aws:sts::1:x", "eu-west-1", "acceptance", status)
    assert [*links] == ["Log", "Pipeline", "Run"]


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=17, hours=3), "17 days"),
    ],
)
def test_a_duration_is_shown_in_its_largest_unit(duration: timedelta, words: str) -> None:
    assert view.span(duration) == words
    assert view.relative((NOW + duration).isoformat(), NOW.isoformat()) == f"in {words}"


def test_an_automated_snapshot_is_named_as_it_can_be_pinned() -> None:
    name = "rds:orders-2026-01-03-05-07"
    assert view.short(nightly("orders", 1).rpartition(":")[0] + f":{name}") == name
