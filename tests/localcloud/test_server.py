import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from localcloud import client
from localcloud.client import LocalCloud, send


def test_reset_puts_everything_back(cloud: LocalCloud) -> None:
    ssm = cloud.client("ssm")
    ssm.put_parameter(Name="latest", Value="gone", Type="String")
    cloud.reset()
    assert ssm.describe_parameters()["Parameters"] == []
    users = cloud.client("iam").list_users()["Users"]
    assert sorted(user["UserName"] for user in users) == ["admin", "visitor"]


def test_what_is_asked_wrongly_is_told_in_words(cloud: LocalCloud) -> None:
    status, text = send("PUT", f"{cloud.endpoint}/_cloud/clock", b"{}", {})
    assert (status, text) == (400, '{"error": "missing or unknown: \'now\'"}')


def test_a_cloud_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="did not start"):
        LocalCloud.start()


def test_a_cloud_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(client.sys, "executable", str(silent))
    monkeypatch.setattr(client, "_START_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match="did not start"):
        LocalCloud.start()


# Holds a cloud with a function at work, tells the function's process and the endpoint, and waits.
HOLDER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import package
from localcloud.client import LocalCloud
from localcloud.accounts import ACCEPTANCE
with LocalCloud.start() as cloud:
    trust = {{"Version": "2012-10-17", "Statement": []}}
    role = cloud.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))
    functions = cloud.client("lambda")
    functions.create_function(
        FunctionName="probe", Runtime="python3.11", Role=role["Role"]["Arn"], Handler="app.handler",
        Timeout=60, Code={{"ZipFile": package({source!r})}},
    )
    functions.invoke(FunctionName="probe", InvocationType="Event", Payload="1")
    file = Path({pid!r})
    while not file.exists() or not file.read_text():
        time.sleep(0.02)
    print(cloud.endpoint, cloud._process.pid, file.read_text(), flush=True)
    {then}
"""
WAIT = "time.sleep(60)"


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # One whose parent, killed as well, could not see to its end.
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("then", "number"), [("pass", None), (WAIT, signal.SIGKILL)])
def test_a_cloud_ends_with_its_holder_and_leaves_nothing_behind(
    tmp_path: Path, then: str, number: signal.Signals | None
) -> None:
    """Whichever way the holder ends: neither a process nor a file."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    pid = tmp_path / "pid"
    source = f"""
        import os, pathlib, time
        def handler(event, context):
            pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
            time.sleep(50)
        """
    tests = str(Path(__file__).parent)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(tests=tests, source=source, pid=str(pid), then=then)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert holder.stdout is not None
    with holder.stdout:
        endpoint, *pids = holder.stdout.readline().split()
        if number is not None:
            holder.send_signal(number)
        holder.wait(10)

    deadline = time.monotonic() + 10
    left: Any = None
    while time.monotonic() < deadline:
        left = [pid for pid in pids if not is_gone(int(pid))], list(temporary.iterdir())
        if left == ([], []):
            break
        time.sleep(0.05)
    assert left == ([], [])
    with pytest.raises(ConnectionRefusedError):
        send("GET", f"{endpoint}/_cloud/clock", None, {})


def test_an_interrupted_server_clears_up(tmp_path: Path) -> None:
    """Also if it is interrupted again while it does."""
    server = subprocess.Popen(
        [sys.executable, "-m", "localcloud"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    server.stdout.readline()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        server.send_signal(number)
        time.sleep(0.01)
    _, errors = server.communicate(timeout=10)
    assert (server.returncode, errors, list(tmp_path.iterdir())) == (0, "", [])
