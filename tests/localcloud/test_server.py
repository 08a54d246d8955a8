"""How the local cloud ends, and that nothing of what the user has set for other accounts reaches it."""

import os
import subprocess
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud, wait_until
from tests.localcloud.test_functions import create_function

SLOW = "import time\ndef handler(event, context): time.sleep(50)"


def test_a_cloud_ends_with_its_starter_and_leaves_neither_a_process_nor_a_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    cloud = LocalCloud.start(log=tmp_path / "log")
    server = cloud._process  # noqa: SLF001
    assert server is not None
    assert server.stdin is not None
    with server:
        try:
            create_function(cloud, SLOW, Timeout=60)
            cloud.client("lambda").invoke(FunctionName="probe", InvocationType="Event", Payload="1")
            processes = wait_until(lambda: children(server.pid), "a function's process")
            server.stdin.close()  # as the end of the process that holds it does, however that ends
            assert (server.wait(60), (tmp_path / "log").read_text()) == (0, "")
        finally:
            server.kill()  # or a cloud that does not end would block the test
    assert [*(tmp_path / "temporary").iterdir()] == []
    wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in processes), "their end")


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://127.0.0.1"}])
def test_no_web_page_can_call_it(cloud: LocalCloud, header: dict[str, str]) -> None:
    """By DNS rebinding, a page could otherwise have a function run its code on this machine."""
    for path in ("/2015-03-31/functions/", "/_cloud/invocations"):
        request = Request(cloud.endpoint + path, headers=header)  # noqa: S310 (the cloud's own)
        with pytest.raises(HTTPError, match="403"):
            urlopen(request)  # noqa: S310


def children(pid: int) -> list[str]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()


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
