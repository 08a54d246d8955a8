"""``aurora-refresh console``: a stage's console over its deployed API, as a browser reaches it.

What it refuses is decided by tests/cli/test_console.py.
"""

import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator

import pytest

from demo.acceptance import STAGE, Company
from localcloud.accounts import ACCEPTANCE
from localcloud.client import send
from tests.e2e.conftest import PROJECT, Night

ADMIN = f"arn:aws:iam::{ACCEPTANCE}:user/admin"


@pytest.fixture(scope="module")
def address(deployed: Company) -> Iterator[str]:
    """Where the console of the deployed stage is, while it runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "console", "--stage", STAGE],
        cwd=PROJECT,
        env=deployed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().removesuffix("/")
        process.terminate()


def get(address: str) -> tuple[int, str]:
    return send("GET", f"{address}/", None, {})


def submit(address: str, action: str, **fields: str) -> tuple[int, str]:
    """Send a form as a browser does that is on the console's own page."""
    token = re.search(r'name="token" value="([^"]+)"', get(address)[1])
    assert token
    body = urllib.parse.urlencode(fields | {"token": token[1]}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": address}
    return send("POST", f"{address}/{action}", body, headers)


def test_the_page_shows_the_stage_its_account_and_its_data(address: str, night: Night) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    status, text = get(address)
    assert status == 200
    assert f">{STAGE}</b>" in text
    assert f">{ACCEPTANCE}</span>" in text
    assert ADMIN in text
    assert night.old in text


def test_what_a_form_asks_for_is_done_in_the_operators_name(
    address: str, deployed: Company
) -> None:
    hold = deployed.variables["SSM_REFRESH_HOLD_NAME"]
    assert submit(address, "hold", until="2099-02-01", reason="tests run")[0] == 303
    assert deployed.parameter(hold) == (
        f'{{"until": "2099-02-01", "reason": "tests run", "by": "{ADMIN}"}}'
    )
    assert "tests run" in get(address)[1]
    assert submit(address, "resume")[0] == 303
    assert deployed.parameter(hold) == "dummyvalue"
