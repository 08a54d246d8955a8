"""How the local cloud ends."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.client import LocalCloud
from tests.localcloud.probe import create_function

SLOW = "import time\ndef handler(event, context): time.sleep(50)"


def interrupt(server: subprocess.Popen[str]) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        server.send_signal(number)
        time.sleep(0.01)


# As the end of the process that holds its input does, however that ends.
@pytest.mark.parametrize("end", [interrupt, lambda server: server.stdin.close()])
def test_a_cloud_ends_and_leaves_neither_a_process_nor_a_file_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[subprocess.Popen[str]], None],
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    cloud = LocalCloud.start(log=tmp_path / "log")
    server = cloud._process  # noqa: SLF001
    assert server is not None
    with server:
        create_function(cloud, SLOW, Timeout=60)
        cloud.client("lambda").invoke(FunctionName="probe", InvocationType="Event", Payload="1")
        while not (processes := children(server.pid)):
            time.sleep(0.02)
        end(server)
        assert (server.wait(60), (tmp_path / "log").read_text()) == (0, "")
    assert [*(tmp_path / "temporary").iterdir()] == []
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.02)


def children(pid: int) -> list[str]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()
