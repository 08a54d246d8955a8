"""``python -m localcloud``: run the local cloud in the foreground until SIGINT or SIGTERM."""

import argparse
import signal
import sys
from types import FrameType

from localcloud import server
from localcloud.accounts import ACCEPTANCE, REGION, key_of


def main() -> None:
    """Serve, having told on standard output where, and how to use it."""
    parser = argparse.ArgumentParser(
        prog="python -m localcloud",
        description="AWS on this machine: serves until interrupted. The first line printed is the endpoint, "
        "the further ones are the shell's exports that make boto3, aws and chalice use it.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    server.serve(arguments.port, _announce)


def _announce(endpoint: str) -> None:
    key = key_of(ACCEPTANCE)
    sys.stdout.write(
        f"{endpoint}\n"
        f"export AWS_ENDPOINT_URL={endpoint}\n"
        f"export AWS_ACCESS_KEY_ID={key.access_key_id}\n"
        f"export AWS_SECRET_ACCESS_KEY={key.secret_access_key}\n"
        f"export AWS_DEFAULT_REGION={REGION}\n"
    )
    sys.stdout.flush()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
