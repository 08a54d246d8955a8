"""The console's pages, by Flask's test client and a client that answers as the API does."""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from cli.console import view
from cli.console.app import create_app
from cli.errors import ApiError
from tests.console_states import RUN, FakeClient, attention, database, fresh, healthy, nightly

ADDRESS = "http://127.0.0.1:8000"
HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\u2066"


class Browser:
    """Asks for pages as a browser does, and sends their forms."""

    def __init__(self, client: Any) -> None:
        app = create_app(client)
        self.http, self.token = app.test_client(), app.jinja_env.globals["token"]

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.http.get(path, base_url=ADDRESS, headers=headers)

    def submit(self, path: str, origin: str | None = ADDRESS, **fields: str) -> TestResponse:
        headers = {"Origin": origin} if origin else {}
        data = {"token": self.token, **fields}
        return self.http.post(path, base_url=ADDRESS, headers=headers, data=data)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def missing(client: FakeClient, path: str, *words: str) -> list[str]:
    """Return the words that the page lacks."""
    page = Browser(client).get(path).text
    return [each for each in words if each not in page + text_of(page)]


def test_the_pages_say_what_is_deployed_what_comes_and_why_a_share_cannot_be_restored() -> None:
    assert not missing(
        healthy(),
        "/",
        "acceptance 222222222222 eu-west-1 as refresh-operator/omar",
        "All is well Next refresh: Sun 29 Nov 2026, 04:00 UTC in 14 hours",
        "orders good orders-2026-11-21 taken Sat 21 Nov 2026, 22:00 UTC 6 days limit",
        "to orders-2026-11-27",
    )
    assert not missing(
        attention(),
        "/",
        "1 of 3 databases needs attention",
        "Running: Deploy, Database started Sat 28 Nov 2026, 13:37 UTC 23 minutes ago",
        "restores orders from orders-2026-11-27",
        "is being replaced by orders-2026-11-27",
        "14 hours held up by billing",
        "14 hours nothing newer is shared",
        "Problems billing: the deployed data is more than 16 days old",
        '<noscript><meta http-equiv="refresh" content="10"></noscript>',
    )
    on_hold = FakeClient(hold={"until": None})
    on_hold.answers["status"]["schedule"]["next_restore"] = None
    none_planned = "On hold: the hold cannot be read · Next refresh: none is planned"
    assert not missing(on_hold, "/", none_planned)
    assert not missing(fresh(), "/", "Nothing has been restored yet. A dry run shows what")
    rejected = "not eligible engine version 16.1, wanted 15"
    assert not missing(healthy(), "/databases/orders", "90 shared snapshots", rejected)


def test_a_form_says_which_data_is_deleted() -> None:
    """Also that of a database whose pin waits, but not that of one on which nothing has happened.

    tests/cli/test_cli.py has the other actions.
    """
    unknown = dict.fromkeys(("latest", "deployed", "deployed_since"))
    waits = database("documents", 3, **unknown)
    empty = database("empty", 3, **unknown, current=None)
    client = FakeClient(database("orders", 7), database("billing", 1), waits, empty)
    page = Browser(client).get("/pin?database=orders&snapshot=orders-2026-11-25").text
    assert "<b>This deletes data.</b>" in page
    items = re.findall(r"<li>(.*?)</li>", page, re.DOTALL)
    orders = "orders: orders-2026-11-21, in use since Sun 22 Nov 2026, 04:24 UTC, is replaced by"
    assert [text_of(re.sub(r"<[^>]*>", "", each)) for each in items] == [
        f"{orders} orders-2026-11-25",
        "documents: what is deployed is replaced by documents-2026-11-25",
    ]
    # A refresh with nothing new starts no run, even if a pin waits.
    client.answers["status"]["databases"] = [waits | {"deployed": nightly("documents", 7)}]
    withdrawn = FakeClient(database("orders", 7, previous=nightly("orders", 7)))
    assert not missing(withdrawn, "/rollback", "Current returns to what is deployed already")
    assert not missing(client, "/refresh", "a refresh would start no run")


def test_there_is_no_page_about_what_is_unknown() -> None:
    unknown = "/pin?database=none&snapshot=orders-2026-11-25"
    for path in ("/databases/none", unknown, "/none"):
        response = Browser(healthy()).get(path)
        assert (response.status_code, ">Not found</h1>" in response.text) == (404, True)
    assert "There are several databases; name one" in Browser(healthy()).get("/rollback").text


@pytest.mark.parametrize(
    ("error", "status", "title", "step"),
    [
        (ApiError(403, "AccessDenied", "no"), 403, "Access denied", "the missing permission"),
        (ApiError(None, "Unreachable", "no route"), 502, "The API did not answer", "VPN"),
        (ApiError(None, "NoCredentials", "none"), 502, "You are not signed in", "aws sso login"),
        (ApiError(403, "ExpiredTokenException", "expired"), 403, "Access denied", "aws sso login"),
        (ApiError(403, "InvalidSignatureException", "old"), 403, "Access denied", "secret key"),
        (ApiError(404, "StageNotFound", "none"), 404, "There is no such stage", "stage&#39;s name"),
        (ApiError(429, "Throttling", "slow down"), 429, "The request failed", "Wait a moment"),
        (ApiError(500, "ChaliceViewError", "throttled"), 500, "The request failed", "try again"),
    ],
)
def test_an_error_page_has_a_next_step(error: ApiError, status: int, title: str, step: str) -> None:
    client = healthy()
    client.answers["status"] = client.answers["begin_session"] = error
    response = Browser(client).get("/")
    assert response.status_code == status
    assert f">{title}</h1>" in response.text
    assert step in response.text.partition("Next step:")[2]
    assert ("data-reload" in response.text) == (step in ("VPN", "Wait a moment", "try again"))
    assert client.calls == [("begin_session", {})] * (step in ("aws sso login", "secret key"))
    client.answers["resume"] = error
    assert "data-reload" not in Browser(client).submit("/resume").text


def test_an_answer_without_a_field_such_as_an_earlier_version_s_is_a_page() -> None:
    client = healthy()
    del client.answers["status"]["databases"][0]["state"]
    response = Browser(client).get("/")
    assert (response.status_code, client.calls) == (502, [])
    assert ">The answer cannot be read</h1>" in response.text
    assert "no &#39;state&#39;: the address" in response.text


def test_a_chart_that_cannot_be_drawn_leaves_the_page_whole() -> None:
    client = healthy()
    client.answers["history"] = ApiError(500, "ChaliceViewError", "throttled")
    page = Browser(client).get("/").text
    assert page.count("<svg") == 3  # of the data that is deployed
    assert "All is well" in page


def test_the_chart_draws_the_age_of_each_snapshot_that_a_run_restored_up_to_the_next() -> None:
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
    hours = view.chart([(now - day / 4, now - day / 2)], now, 1)  # the line ends at the present
    assert hours is not None
    assert (hours.line, hours.days) == ("M300.0 47.0L400.0 33.9", 1)
    assert view.chart([(now - day, None)], now, 14) is None
    assert view.chart([], now, 14) is None
    history = healthy().history("orders")["history"]
    assert [each["version"] for each in view.restored(history)] == [1, 2, 3, 5]


def test_an_action_is_done_and_answered() -> None:
    def said(action: str, **fields: str) -> str:
        client = healthy()
        browser = Browser(client)
        response = browser.submit(f"/{action}", **fields)
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        asked = {name: True if value == "true" else value for name, value in fields.items()}
        assert client.calls == [(action, asked)]
        (message,) = re.findall(r'role="status">(.*?)</p>', browser.get("/").text)
        assert message not in browser.get("/").text
        return html.unescape(re.sub(r"<[^>]*>", "", message))

    orders, moved = {"database": "orders", "reason": "compare"}, "orders-2026-11-27"
    pinned = f"The pipeline's next run restores {moved}, unless that is deployed already, or a refresh comes first."
    assert said("pin", snapshot="orders-2026-11-27", **orders) == pinned
    rolled_back = f"Run {RUN} restores {moved}, unless that is deployed already."
    assert said("rollback", deploy="true", **orders) == rolled_back
    refreshed = f"The refresh has started: run {RUN}."
    assert said("refresh", outside_window="true", reason="") == refreshed
    assert said("hold", until="2026-12-03") == (
        "The schedule is on hold until 2026-12-03. Note: run 7 restores orders-2026-11-27. "
        "Next refresh: Sun 06 Dec 2026, 04:00 UTC."
    )
    assert said("resume") == "The schedule is not on hold. No refresh is planned."


@pytest.mark.parametrize(("dry_run", "title"), [(True, "would not start"), (False, "did not")])
def test_a_dry_run_and_a_refusal_show_the_verdict_of_each_step(dry_run: bool, title: str) -> None:
    client = healthy()
    steps = [
        {"step": "hold", "verdict": "refused", "detail": f"{nightly('orders', 1)} waits"},
        {"step": "put", "verdict": "not reached", "detail": None},
    ]
    refusal = {"outcome": "skipped", "message": "on hold", "dry_run": dry_run, "steps": steps}
    client.answers["refresh"] = refusal
    page = Browser(client).submit("/refresh", outside_window="true").text
    assert title in text_of(page)
    assert "hold refused orders-2026-11-27 waits put not reached" in text_of(page)
    assert 'href="/refresh?outside_window=true"' in page


def test_a_form_that_is_refused_or_overtaken_does_nothing_but_shows_what_it_would_do_now() -> None:
    """Also by a snapshot of the same name in another account, but a dry run needs no agreement."""
    client = healthy()
    browser = Browser(client)
    client.answers["hold"] = ApiError(409, "ConflictError", "pipeline acceptance-main is busy")
    refused = browser.submit("/hold", until="2026-12-03", reason="load test")
    assert refused.status_code == 409
    words = ("pipeline acceptance-main is busy", 'value="2026-12-03"', 'value="load test"')
    assert all(each in refused.text for each in words)
    client.calls.clear()
    page = browser.get("/rollback?database=orders")
    facts = client.answers["status"]["databases"][0]
    facts["previous"] = facts["previous"].replace("111111111111", "222222222222")
    for status, words in ((409, "has changed"), (303, "")):
        (shown,) = re.findall(r'name="shown" value="([^"]+)"', page.text)
        page = browser.submit("/rollback", database="orders", shown=shown)
        assert (page.status_code, words in page.text) == (status, True)
    assert len(client.calls) == 1
    client.answers["refresh"] |= {"dry_run": True}
    assert browser.submit("/refresh", dry_run="true", shown="else").status_code == 200


OURS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"]
OTHERS = ["example.com:8000", "127.0.0.1:8000.example.com", "evil@127.0.0.1:8000"]
OTHERS += ["127.0.0.1", "127.0.0.1:8001"]


def test_only_the_loopback_address_is_answered_by_each_of_its_names() -> None:
    pages = {host: Browser(healthy()).get("/", Host=host) for host in [*OURS, *OTHERS, ""]}
    answered = {host: (page.status_code, "orders" in page.text) for host, page in pages.items()}
    refused = dict.fromkeys([*OTHERS, ""], (403, False))
    assert answered == dict.fromkeys(OURS, (200, True)) | refused
    for site, status in zip(("none", "same-origin", "cross-site"), (200, 200, 403), strict=True):
        page = Browser(healthy()).get("/", **{"Sec-Fetch-Site": site})
        assert page.status_code == status
    # A link may open a page.
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert Browser(healthy()).get("/", **link).status_code == 200
    # Not even the page that says why shows whose console this is.
    large = {"headers": {"Host": OTHERS[0]}, "data": {"token": "a" * 70_000}}
    refused_page = create_app(healthy()).test_client().post("/pin", base_url=ADDRESS, **large)
    assert (refused_page.status_code, "222222222222" in refused_page.text) == (403, False)
    # On port 80 it has no port.
    http = create_app(healthy()).test_client()
    hosts = "127.0.0.1", "example.com"
    assert [http.get("/", base_url=f"http://{host}").status_code for host in hosts] == [200, 403]


def test_a_form_that_is_not_the_consoles_own_writes_nothing() -> None:
    client = healthy()
    browser = Browser(client)
    origins = [None, "null", "https://127.0.0.1:8000", *(f"http://{host}" for host in OTHERS)]
    answered = [browser.submit("/resume", origin=origin) for origin in origins]
    answered += [browser.submit("/resume", token=token) for token in ("", "é")]
    assert {response.status_code for response in answered} == {403}
    assert client.calls == []


def test_the_policy_lets_in_the_consoles_own_files_and_nothing_else() -> None:
    response = Browser(healthy()).get("/")
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src "
        "'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    hosts = set(re.findall(r'(?:src|href|action)="\w*:?//([^/"]+)', response.text))
    assert hosts == {"eu-west-1.console.aws.amazon.com"}
    assert not re.search(r' style=| on\w+="|<style', response.text)


def poisoned(document: Any) -> Any:
    """Return the same with hostile text in every field that is not a time."""
    text, hostile = json.dumps(document), f": {json.dumps(HOSTILE)}"
    return json.loads(re.sub(r': "(?!\d{4}-\d\d-\d\dT)[^"]*"', lambda _: hostile, text))


@pytest.mark.parametrize("path", ["/databases/orders", "/refresh", "/"])
def test_hostile_text_is_only_text(path: str) -> None:
    client, tags_of = attention(), re.compile(r"<(\w+)").findall
    tags = {*tags_of(Browser(client).get(path).text)}
    client.answers["history"] = poisoned(client.history("orders"))
    client.answers["snapshots"] = poisoned(client.snapshots("orders"))
    client.answers["status"] = poisoned(client.answers["status"]) | {"problems": [HOSTILE]}
    client.answers["status"]["databases"][0]["name"] = "orders"
    page = Browser(client).get(path).text
    assert {*tags_of(page)} <= tags - {"img"}
    assert ("&lt;script&gt;" in page, "<script>" in page) == (True, False)
    assert not re.search("[\u202e\u2066]", page)


def test_links_lead_to_the_console_of_the_partition_if_it_has_one_and_the_thing_a_name() -> None:
    client = healthy()

    def links(arn: str, region: str) -> dict[str, str]:
        client.answers["identity"], client.region = {"Account": "1", "Arn": arn}, region
        page = Browser(client).get("/").text
        found = re.findall(r'<a href="https://([^"]+)"[^>]*>(.*?) ↗', page)
        return {label: address for address, label in found}

    execution = "arn:aws-us-gov:states:us-gov-west-1:222222222222:execution:mask:rds-cluster-1"
    client.answers["status"]["databases"][0]["preparation"] = {"execution": execution}
    log = "$252Faws$252Flambda$252Faurora-refresh-acceptance-db-restore-from-snapshot"
    region, pipeline = "?region=us-gov-west-1", "codesuite/codepipeline/pipelines/acceptance-main"
    details = f"states/home{region}#/v2/executions/details/{execution.replace(':', '%3A')}"
    pages = {
        "Log": f"cloudwatch/home{region}#logsV2:log-groups/log-group/{log}",
        "Stack acceptance-data": f"cloudformation/home{region}#/stacks?filteringText=acceptance-data",
        "Preparation of orders": details,
        "Pipeline": f"{pipeline}/view{region}",
        "Run": f"{pipeline}/executions/{RUN}/timeline{region}",
    }
    console = "us-gov-west-1.console.amazonaws-us-gov.com"
    found = links("arn:aws-us-gov:sts::1:x", "us-gov-west-1")
    assert found == {label: f"{console}/{page}" for label, page in pages.items()}
    client.stage = ""  # only the address of its API is known
    assert links("arn:aws:sts::1:x", "eu-west-1").keys() == found.keys() - {"Log"}
    assert links("arn:aws-iso:sts::1:x", "us-iso-east-1") == {}


def test_a_duration_is_shown_in_its_largest_unit_and_a_snapshot_by_the_name_to_pin() -> None:
    durations = [timedelta(minutes=each) for each in (0, 1, 90, 2_879, 2_880, 25_900)]
    words = ["0 minutes", "1 minute", "90 minutes", "47 hours", "2 days", "17 days"]
    assert [view.span(each) for each in durations] == words
    name = "rds:orders-2026-01-03-05-07"
    assert view.short(nightly("orders", 1).rpartition(":")[0] + f":{name}") == name
    assert view.short(None) == view.short("dummyvalue") == "nothing yet"
