"""Nothing of what the user has set for his own accounts reaches a tool that works on the local cloud."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company

THE_USERS_OWN = {
    "AWS_PROFILE": "production",
    "AWS_DEFAULT_PROFILE": "production",
    "AWS_SESSION_TOKEN": "token",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_ENDPOINT_URL_LAMBDA": "http://192.0.2.1",
    "http_proxy": "http://192.0.2.1",
    "HTTPS_PROXY": "http://192.0.2.1",
    "no_proxy": "example.org",
}


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with accounts and a proxy of his own."""
    for name, value in THE_USERS_OWN.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("somebody")
def test_tools_are_given_the_clouds_variables_and_no_others(tmp_path: Path) -> None:
    cloud = LocalCloud("http://127.0.0.1:1")
    given = company(cloud, tmp_path).environment()

    ours = variables.of(cloud.endpoint, key_of(ACCEPTANCE))
    kept = {name for name in given if name.upper().startswith("AWS_") or "proxy" in name.lower()}
    assert kept == set(ours)
    assert ours.items() <= given.items()
    assert given["PATH"] == os.environ["PATH"]


@pytest.mark.usefixtures("somebody")
def test_a_client_has_nothing_of_the_users_own(cloud: LocalCloud) -> None:
    handle = LocalCloud(cloud.endpoint)
    assert handle.client("lambda").list_functions()["Functions"] == []
    assert handle.client("sts").get_caller_identity()["Account"] == ACCEPTANCE


@pytest.mark.usefixtures("somebody")
def test_the_lines_for_the_shell_do_the_same() -> None:
    key = key_of(ACCEPTANCE)
    lines = variables.shell("http://127.0.0.1:1", key)
    answer = subprocess.run(
        ["sh", "-euc", f"{lines}\nenv"], capture_output=True, text=True, check=True
    )
    told = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    ours = variables.of("http://127.0.0.1:1", key)
    assert {name for name in told if name.startswith("AWS_")} <= set(ours)
    assert ours.items() <= told.items()


def company(cloud: LocalCloud, folder: Path, config: str | None = None, **changes: Any) -> Company:
    stage = {
        "SSM_MAIN_CICD_NAME": "/pipeline",
        "SSM_RDS_LATEST_SNAPSHOT_NAME": "/latest",
        "SSM_RDS_CURRENT_SNAPSHOT_NAME": "/current",
    } | changes
    given = {name: value for name, value in stage.items() if value is not None}
    file = folder / ".chalice/config.json"
    file.parent.mkdir()
    file.write_text(config or json.dumps({"stages": {STAGE: {"environment_variables": given}}}))
    return Company(cloud, folder)


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        ("{", {}, r"\.chalice/config\.json is no JSON: "),
        ('{"stages": {}}', {}, r"\.chalice/config\.json has no stage local"),
        (None, {"SSM_RDS_LATEST_SNAPSHOT_NAME": None}, "not set SSM_RDS_LATEST_SNAPSHOT_NAME"),
        (None, {"DATABASES": "ORDERS"}, "does not set SSM_ORDERS_LATEST_SNAPSHOT_NAME"),
    ],
)
def test_a_company_with_a_broken_stage_says_what_is_broken(
    tmp_path: Path, config: str | None, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        company(LocalCloud("http://127.0.0.1:1"), tmp_path, config, **changes)


def test_what_chalice_printed_is_told_once(tmp_path: Path) -> None:
    lines: list[str] = []
    failing = company(LocalCloud("http://127.0.0.1:1"), tmp_path)

    with pytest.raises(RuntimeError) as told:
        failing.chalice("deploy", "--stage", STAGE, progress=lines.append)
    with pytest.raises(RuntimeError) as untold:
        failing.chalice("deploy", "--stage", STAGE)

    assert lines
    assert str(told.value) == f"chalice deploy --stage {STAGE} failed"
    assert lines[-1] in str(untold.value)
