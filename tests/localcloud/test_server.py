import os
import shutil
import subprocess
import sys

import pytest

from localcloud import client
from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud, send


@pytest.mark.parametrize(
    ("account", "user"),
    [
        (ACCEPTANCE, "admin"),
        (ACCEPTANCE, "visitor"),
        (PRODUCTION, "admin"),
        (STRANGER, "admin"),
    ],
)
def test_each_key_opens_its_own_account(cloud: LocalCloud, account: str, user: str) -> None:
    identity = cloud.client("sts", account, user).get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (
        account,
        f"arn:aws:iam::{account}:user/{user}",
    )


def test_accounts_see_only_their_own(cloud: LocalCloud) -> None:
    cloud.client("ssm").put_parameter(Name="latest", Value="here", Type="String")
    theirs = cloud.client("ssm", PRODUCTION).get_parameters(Names=["latest"])
    assert theirs["InvalidParameters"] == ["latest"]


def test_reset_puts_everything_back(cloud: LocalCloud) -> None:
    ssm = cloud.client("ssm")
    ssm.put_parameter(Name="latest", Value="gone", Type="String")
    cloud.reset()
    assert ssm.describe_parameters()["Parameters"] == []
    users = cloud.client("iam").list_users()["Users"]
    assert sorted(user["UserName"] for user in users) == ["admin", "visitor"]


def test_the_control_surface_knows_its_routes_only(cloud: LocalCloud) -> None:
    status, _ = send("GET", f"{cloud.endpoint}/_cloud/nothing", None, {})
    assert status == 404


def test_what_is_asked_wrongly_is_told_in_words(cloud: LocalCloud) -> None:
    status, text = send("PUT", f"{cloud.endpoint}/_cloud/clock", b"{}", {})
    assert (status, text) == (400, '{"error": "missing or unknown: \'now\'"}')


def test_a_cloud_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="did not start"):
        LocalCloud.start()


def test_stopping_leaves_nothing_behind() -> None:
    with LocalCloud.start() as cloud:
        endpoint = cloud.endpoint
    with pytest.raises(ConnectionRefusedError):
        send("GET", f"{endpoint}/_cloud/clock", None, {})


def test_the_command_helps() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "localcloud", "--help"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--port" in answer.stdout
