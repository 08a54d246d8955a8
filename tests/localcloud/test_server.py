"""How the local cloud ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.client import LocalCloud
from tests.localcloud.probe import create_function

PROJECT = Path(__file__).parents[2]
SLOW = "import time\ndef handler(event, context): time.sleep(50)"


def interrupt(server: subprocess.Popen[str]) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        server.send_signal(number)
        time.sleep(0.01)


def close_stdin(server: subprocess.Popen[str]) -> None:
    """As the end of the process that holds it does, however that ends."""
    assert server.stdin is not None
    server.stdin.close()


@pytest.mark.parametrize("end", [interrupt, close_stdin])
def test_a_cloud_ends_and_leaves_neither_a_process_nor_a_file_behind(
    tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "localcloud", "--until-eof"],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stderr is not None
        cloud = LocalCloud(server.stdout.readline().strip())
        create_function(cloud, SLOW, Timeout=60)
        cloud.client("lambda").invoke(FunctionName="probe", InvocationType="Event", Payload="1")
        while not (processes := children(server.pid)):
            time.sleep(0.02)
        end(server)
        assert (server.wait(60), server.stderr.read(), [*tmp_path.iterdir()]) == (0, "", [])
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.02)


def children(pid: int) -> list[str]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()
