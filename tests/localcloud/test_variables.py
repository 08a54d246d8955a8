"""Nothing of what the user has set for other accounts reaches a tool that works on the local cloud."""

import os
import subprocess

import pytest

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud


def test_a_user_s_accounts_and_proxy_reach_neither_a_client_nor_a_tool_nor_a_shell(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://192.0.2.1")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1")
    handle = LocalCloud(cloud.endpoint)
    assert handle.client("lambda").list_functions()["Functions"] == []
    assert handle.client("sts").get_caller_identity()["Account"] == ACCEPTANCE

    cleared = variables.cleared(os.environ)
    assert not [name for name in cleared if name.startswith("AWS_") or "proxy" in name.lower()]
    assert cleared["PATH"] == os.environ["PATH"]

    ours = variables.of("http://127.0.0.1:1", key_of(ACCEPTANCE))
    lines = variables.shell("http://127.0.0.1:1", key_of(ACCEPTANCE))
    printed = subprocess.check_output(["sh", "-euc", f"{lines}\nenv"], text=True).splitlines()
    found = dict(line.split("=", 1) for line in printed if "=" in line)
    assert {name for name in found if name.startswith("AWS_")} <= set(ours)
    assert ours.items() <= found.items()
