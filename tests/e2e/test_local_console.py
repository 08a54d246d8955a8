"""``make console``: a stage's console on one's own machine, as a browser reaches it."""

import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.accounts import ACCEPTANCE
from localcloud.client import send
from localcloud.company import Company
from tests.e2e.conftest import PROJECT

FORM = "application/x-www-form-urlencoded"


def console(
    environment: dict[str, str], *arguments: str, folder: Path = PROJECT
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "console", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def project(company: Company) -> tuple[str, str]:
    return "--project", str(company.project)


@pytest.fixture(scope="module")
def address(deployed: Company) -> Iterator[str]:
    """Where the console says that it is to be opened, while it runs."""
    with console(deployed.environment(), "--stage", "local", *project(deployed)) as process:
        assert process.stdout is not None
        first, told = process.stdout.readline(), process.stdout.readline()
        assert (
            told == f"The console of stage local, as {ADMIN}. Whoever reaches this port on this\n"
        )
        yield first.strip().removesuffix("/")
        process.terminate()


ADMIN = f"arn:aws:iam::{ACCEPTANCE}:user/admin"


def submit(address: str, fields: dict[str, str], **headers: str) -> tuple[int, str]:
    """Send a form as a browser does that is on the console's own page."""
    own = {"Content-Type": FORM, "Origin": address} | headers
    return send("POST", f"{address}/", urllib.parse.urlencode(fields).encode(), own)


def test_it_listens_on_the_loopback_address(address: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)


def test_the_page_offers_what_can_be_done(address: str) -> None:
    status, text = send("GET", f"{address}/", None, {})
    assert status == 200
    offered = set(re.findall(r'name="action" [^>]*value="(\w+)"', text))
    assert offered == {"pin", "hold", "refresh"}  # and there is nothing yet to roll back to


def test_the_deployed_page_offers_nothing_that_a_browser_cannot_sign(deployed: Company) -> None:
    status, text = deployed.cloud.signed("GET", "/")
    assert (status, "<form" in text) == (200, False)


def test_what_a_form_asks_for_is_done_in_the_operators_name(
    address: str, deployed: Company
) -> None:
    hold = deployed.variables["SSM_REFRESH_HOLD_NAME"]
    status, _ = submit(address, {"action": "hold", "until": "2099-02-01", "reason": "tests run"})
    assert status == 303
    assert deployed.parameter(hold) == (
        f'{{"until": "2099-02-01", "reason": "tests run", "by": "{ADMIN}"}}'
    )
    assert "tests run" in send("GET", f"{address}/", None, {})[1]
    assert submit(address, {"action": "resume"})[0] == 303
    assert deployed.parameter(hold) == "dummyvalue"


def test_a_refusal_is_told_on_the_page(address: str) -> None:
    status, text = submit(address, {"action": "rollback"})
    assert status == 409
    assert "has held no other snapshot to go back to" in text


def test_the_json_routes_are_there_for_the_command_line(address: str) -> None:
    status, _ = send("GET", f"{address}/status", None, {})
    assert status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Host": "rebound.example.com", "Origin": "http://rebound.example.com"},
    ],
)
def test_other_web_pages_write_nothing(
    address: str, deployed: Company, headers: dict[str, str]
) -> None:
    hold = deployed.variables["SSM_REFRESH_HOLD_NAME"]
    status, _ = submit(address, {"action": "hold", "until": "2099-02-01"}, **headers)
    assert (status, deployed.parameter(hold)) == (403, "dummyvalue")


def test_a_page_that_has_its_name_resolve_here_reads_nothing(address: str) -> None:
    status, text = send("GET", f"{address}/status", None, {"Host": "rebound.example.com"})
    assert (status, "deployed" in text) == (403, False)


def test_other_web_pages_may_not_even_ask_to_write(address: str) -> None:
    """A browser asks first, and takes the lack of a permission as a no."""
    asked = {"Origin": "https://example.com", "Access-Control-Request-Method": "PUT"}
    reply = subprocess.run(
        ["curl", "-si", "-X", "OPTIONS", f"{address}/hold"]
        + [part for name, value in asked.items() for part in ("-H", f"{name}: {value}")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "access-control-allow-origin" not in reply.lower()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a stage: make console STAGE=…; known: acceptance, production"),
        (
            ["--stage", "x"],
            "there is no stage 'x' in .chalice/config.json; known: acceptance, production",
        ),
    ],
)
def test_a_stage_that_is_not_there_is_told(arguments: list[str], told: str) -> None:
    with console(dict(os.environ), *arguments) as process:
        output, errors = process.communicate()
    assert (process.returncode, output, errors.strip()) == (1, "", told)


def test_missing_credentials_are_told_without_a_stack_trace(deployed: Company) -> None:
    environment = deployed.environment() | {
        "AWS_ACCESS_KEY_ID": "AKIAXXXXXXXXXXXXXXXX",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    with console(environment, "--stage", "local", *project(deployed)) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("AWS does not know who you are: ")
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_told(address: str, deployed: Company) -> None:
    port = address.rsplit(":", 1)[1]
    with console(
        deployed.environment(), "--stage", "local", "--port", port, *project(deployed)
    ) as process:
        output, errors = process.communicate()
    assert (process.returncode, output, errors.strip()) == (
        1,
        "",
        f"port {port} cannot be used: Address already in use; leave it out for a free one",
    )
