"""``python -m localcloud``: run the local cloud in the foreground until it is interrupted.

With ``--until-eof`` it also ends when standard input is closed, and so when the process that started it ends.
"""

import os
import signal
import sys
import threading
from types import FrameType

from localcloud import server, variables
from localcloud.accounts import ACCEPTANCE, key_of

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Print the endpoint and how to use it, then serve."""
    for number in _SIGNALS:
        signal.signal(number, _leave)
    if "--until-eof" in sys.argv:
        threading.Thread(target=_await_eof, daemon=True).start()
    server.serve(_announce)


def _announce(endpoint: str) -> None:
    sys.stdout.write(f"{endpoint}\n{variables.shell(endpoint, key_of(ACCEPTANCE))}\n")
    sys.stdout.flush()


def _await_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # A second signal, from an impatient user or a closing terminal, must not interrupt the cleanup.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    main()
