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


@pytest.fixture
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


def test_the_page_shows_the_stage_and_its_form_acts_in_the_operators_name(
    address: str, night: Night
) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    status, page = send("GET", f"{address}/", None, {})
    assert status == 200
    for shown in (f">{STAGE}</b>", f">{ACCEPTANCE}</span>", ADMIN, night.old):
        assert shown in page

    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token
    form = {"until": "2099-02-01", "reason": "tests run", "token": token[1]}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": address}
    status, _ = send("POST", f"{address}/hold", urllib.parse.urlencode(form).encode(), headers)
    assert status == 303
    hold = night.company.variables["SSM_REFRESH_HOLD_NAME"]
    assert night.company.parameter(hold) == (
        f'{{"until": "2099-02-01", "reason": "tests run", "by": "{ADMIN}"}}'
    )
    night.company.put(hold, "dummyvalue")
