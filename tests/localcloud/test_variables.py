"""Nothing of what the user has set for other accounts reaches a tool that works on the local cloud."""

import os
import subprocess

import pytest

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud


@pytest.fixture(autouse=True)
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with accounts and a proxy."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://192.0.2.1")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1")


def test_an_environment_is_cleared_of_the_users_settings() -> None:
    cleared = variables.cleared(os.environ)
    assert not [name for name in cleared if name.startswith("AWS_") or "proxy" in name.lower()]
    assert cleared["PATH"] == os.environ["PATH"]


def test_a_client_has_nothing_of_the_users_own(cloud: LocalCloud) -> None:
    handle = LocalCloud(cloud.endpoint)
    assert handle.client("lambda").list_functions()["Functions"] == []
    assert handle.client("sts").get_caller_identity()["Account"] == ACCEPTANCE


def test_the_lines_for_the_shell_leave_the_clouds_variables_only() -> None:
    ours = variables.of("http://127.0.0.1:1", key_of(ACCEPTANCE))
    lines = variables.shell("http://127.0.0.1:1", key_of(ACCEPTANCE))
    printed = subprocess.check_output(["sh", "-euc", f"{lines}\nenv"], text=True).splitlines()
    found = dict(line.split("=", 1) for line in printed if "=" in line)
    assert {name for name in found if name.startswith("AWS_")} <= set(ours)
    assert ours.items() <= found.items()
