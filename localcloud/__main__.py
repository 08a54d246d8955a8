"""``python -m localcloud``: run the local cloud in the foreground until it is told to leave."""

import argparse
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
    parser = argparse.ArgumentParser(
        prog="python -m localcloud",
        description="AWS on this machine: serves until interrupted. The first line printed is the endpoint, "
        "the further ones make boto3, aws and chalice use it, in the shell that they are pasted into.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="leave when standard input ends, too: with the process that holds its other end",
    )
    arguments = parser.parse_args()

    for number in _SIGNALS:
        signal.signal(number, _leave)
    if arguments.until_eof:
        threading.Thread(target=_await_eof, daemon=True).start()
    server.serve(arguments.port, _announce)


def _announce(endpoint: str) -> None:
    sys.stdout.write(f"{endpoint}\n{variables.shell(endpoint, key_of(ACCEPTANCE))}\n")
    sys.stdout.flush()


def _await_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # A second signal, which an impatient user or a closing terminal sends, must not disturb the clearing up.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    main()
