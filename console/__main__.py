"""``make console STAGE=…``: the stage's console on this machine, with one's own credentials.

It is what `chalice local` serves: the application as it stands here, on the stage's settings. Nobody
signs in there, so it listens on the loopback address only, and ``chalicelib/api.py`` refuses what
other web pages send.
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from chalice.cli.factory import CLIFactory

PROJECT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"


def main() -> None:
    """Print the address and serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="make console",
        description="Serves the console of a stage, read and write, with the AWS credentials in use.",
    )
    parser.add_argument("--stage", help="a stage of .chalice/config.json")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--project", type=Path, default=PROJECT, help="the folder that holds app.py; default: this"
    )
    arguments = parser.parse_args()

    _check_stage(arguments.project, arguments.stage)
    operator = _operator()
    os.environ["OPERATOR_ARN"] = operator
    # Chalice warns that it lets everybody in; we say so in our own words below.
    warnings.filterwarnings("ignore", ".*in local mode.*")
    factory = CLIFactory(str(arguments.project), environ=os.environ)
    config = factory.create_config_obj(chalice_stage_name=arguments.stage)
    try:
        local = factory.create_local_server(config.chalice_app, config, LOOPBACK, arguments.port)
    except OSError as error:
        sys.exit(
            f"port {arguments.port} cannot be used: {error.strerror}; leave it out for a free one"
        )
    address = f"http://{LOOPBACK}:{local.server.server_address[1]}/"
    sys.stdout.write(
        f"{address}\n"
        f"The console of stage {arguments.stage}, as {operator}. Whoever reaches this port on this\n"
        "machine acts with these credentials; other web pages are refused. Ctrl-C ends it.\n"
    )
    sys.stdout.flush()
    try:
        local.server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


def _check_stage(project: Path, stage: str | None) -> None:
    known = ", ".join(json.loads((project / ".chalice/config.json").read_text())["stages"])
    if not stage:
        sys.exit(f"name a stage: make console STAGE=…; known: {known}")
    if stage not in known.split(", "):
        sys.exit(f"there is no stage {stage!r} in .chalice/config.json; known: {known}")


def _operator() -> str:
    """Whose credentials these are: the ledger names who moves *current*."""
    try:
        sts = boto3.client(
            "sts", config=Config(connect_timeout=5, retries={"total_max_attempts": 2})
        )
        operator: str = sts.get_caller_identity()["Arn"]
    except (BotoCoreError, ClientError) as error:
        sys.exit(
            f"AWS does not know who you are: {error}. Set credentials and a Region, such as "
            "AWS_PROFILE and AWS_DEFAULT_REGION."
        )
    return operator


if __name__ == "__main__":
    main()
