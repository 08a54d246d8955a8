"""The console in headless Chromium, as a deployed API serves it to one company in four states."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from playwright.sync_api import Browser, Page, Route, sync_playwright

from localcloud.accounts import ACCEPTANCE, REGION, key_of
from localcloud.client import LocalCloud
from localcloud.company import (
    CLUSTER,
    PIPELINE,
    STAGE,
    Company,
    arn_of,
    copy_project,
    nightly,
)

PROJECT = Path(__file__).resolve().parents[2]
UPDATE = "db-update-latest-snapshot-id"
RESTORE = "db-restore-from-snapshot"

ADDRESS = "https://console.test/"
WIDTHS = {"desktop": (1100, 900), "phone": (360, 740)}

HOSTILE_REASON = "</p><img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;"
# More than RDS lets anybody name a snapshot.
HOSTILE_SHARE = {
    "identifier": "<img src=x onerror=alert(3)>",
    "cluster": "</td></tr></table><svg onload=alert(4)>",
    "engine": "aurora-postgresql",
    "engine_version": "</style><style>body{display:none}</style>",
}

# The tests may run as root, and nothing is to be asked of any network.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Served:
    """What the deployed API answered to GET /."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Shown:
    """A page in the browser, and what it did beside being shown."""

    page: Page
    asked: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine (Debian's package is called chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=FLAGS, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def company(
    browser: Browser, running_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory
) -> Company:
    """A company where everything is set up and nothing ever ran."""
    running_cloud.reset()
    running_cloud.set_retries([0.05, 0.05])
    folder = tmp_path_factory.mktemp("project")
    copy_project(PROJECT, folder)
    company = Company(running_cloud, folder, run_seconds=0.3)
    running_cloud.set_clock(datetime(2026, 1, 2, 15, tzinfo=UTC))
    names = company.variables
    placeholders = (company.latest, company.current, names["SSM_REFRESH_HOLD_NAME"])
    for name, value in [
        (names["SSM_MAIN_CICD_NAME"], PIPELINE),
        *((placeholder, "dummyvalue") for placeholder in placeholders),
    ]:
        running_cloud.client("ssm").put_parameter(Name=name, Value=value, Type="String")
    topic = names["NOTIFICATION_TOPIC_ARN"].rsplit(":", 1)[1]
    running_cloud.client("sns").create_topic(Name=topic)
    running_cloud.create_pipeline(
        PIPELINE, 0.3, [{"parameter": company.current, "cluster": CLUSTER}]
    )
    company.chalice("deploy", "--stage", STAGE)
    return company


@pytest.fixture(scope="module")
def states(company: Company) -> dict[str, Served]:
    """The page of each state that the company went through, in this order."""
    cloud = company.cloud
    served = {"fresh": serve(cloud)}

    night(company, datetime(2026, 1, 4, tzinfo=UTC))
    before = arn_of(nightly("orders", datetime(2026, 1, 1, 20, tzinfo=UTC)))
    ask(
        company,
        datetime(2026, 1, 14, 13, 58, tzinfo=UTC),
        "PUT",
        "/snapshots/current",
        {
            "snapshot": before,
            "deploy": True,
            "reason": "reproduce incident 4711",
        },
    )
    ask(
        company,
        datetime(2026, 1, 14, 14, 31, tzinfo=UTC),
        "POST",
        "/snapshots/current/rollback",
        {
            "deploy": True,
            "reason": "the incident is understood",
        },
    )
    two = night(company, datetime(2026, 1, 18, tzinfo=UTC))
    cloud.set_clock(two.replace(hour=14))
    served["healthy"] = serve(cloud)

    cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed"])
    two = night(company, datetime(2026, 2, 1, tzinfo=UTC))
    cloud.set_clock(two.replace(hour=8))
    served["failed"] = serve(cloud)

    cloud.seed_snapshots([nightly("orders", two) | HOSTILE_SHARE])
    ask(
        company,
        two.replace(hour=9),
        "PUT",
        "/snapshots/current",
        {
            "snapshot": before,
            "reason": HOSTILE_REASON,
        },
    )
    served["hostile"] = serve(cloud)
    return served


def night(company: Company, day: datetime) -> datetime:
    """An on-week Sunday: production shares, and both schedules fire; two o'clock of that night."""
    two, four = day.replace(hour=2), day.replace(hour=4)
    cloud = company.cloud
    cloud.set_clock(two)
    taken = [two - timedelta(days=back, hours=6) for back in range(14)]
    shares = [nightly("orders", each) for each in taken]
    shares += [
        nightly("billing", each, engine="aurora-mysql", engine_version="8.0.mysql_aurora.3.04.0")
        for each in taken[:3]
    ]
    shares.append(nightly("orders-next", taken[0], engine_version="16.1"))
    cloud.seed_snapshots(shares)
    cloud.fire(UPDATE, two)
    cloud.set_clock(four)
    (record,) = cloud.fire(RESTORE, four)
    company.followed(record["payload"]["execution_id"])
    return two


def ask(company: Company, now: datetime, method: str, path: str, body: dict[str, Any]) -> None:
    """An operator asks for something; the run that it starts comes to its end."""
    company.cloud.set_clock(now)
    status, answer = company.cloud.signed(method, path, body)
    assert status == 200, answer
    if answer["execution_id"]:
        company.followed(answer["execution_id"])


def serve(cloud: LocalCloud) -> Served:
    """The deployed API's answer to GET /, signed, with its headers."""
    key = key_of(ACCEPTANCE, "admin")
    request = AWSRequest("GET", f"{cloud.rest_url()}/")
    credentials = Credentials(key.access_key_id, key.secret_access_key)
    SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    return Served(answer.status_code, dict(answer.headers), answer.text)


@pytest.fixture
def show(browser: Browser) -> Callable[..., AbstractContextManager[Shown]]:
    """Shows what was served, at a width and in a colour scheme, its headers in force."""

    @contextmanager
    def show(served: Served, width: str = "desktop", scheme: Any = "light") -> Iterator[Shown]:
        wide, high = WIDTHS[width]
        context = browser.new_context(viewport={"width": wide, "height": high}, color_scheme=scheme)
        shown = Shown(context.new_page())

        def answer(route: Route) -> None:
            if route.request.url == ADDRESS and not shown.asked:
                shown.asked.append(ADDRESS)
                route.fulfill(status=served.status, headers=served.headers, body=served.text)
            else:
                shown.asked.append(route.request.url)
                route.abort()

        def dismiss(dialog: Any) -> None:
            shown.dialogs.append(dialog.message)
            dialog.dismiss()

        shown.page.route("**/*", answer)
        shown.page.on("dialog", dismiss)
        shown.page.on("console", lambda message: shown.told.append(message.text))
        shown.page.on("pageerror", lambda error: shown.told.append(str(error)))
        shown.page.goto(ADDRESS)
        yield shown
        context.close()

    return show
