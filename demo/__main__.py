"""`make demo`: play the whole refresh on this machine, and check every step.

Everything is as on AWS (a real ``chalice deploy``, the deployed package in Lambda's own runtime client, SigV4),
except AWS itself, which is the local cloud.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from time import monotonic
from types import FrameType

from botocore.exceptions import WaiterError

from demo.acceptance import PIPELINE, STAGE, Company, copy_project
from demo.company import run_company
from demo.orders import run_orders
from demo.output import Unexpected, title
from demo.rows import run_rows
from localcloud import variables
from localcloud.accounts import ACCEPTANCE, key_of
from localcloud.client import LocalCloud

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = os.path.relpath(Path(sys.executable).parent)
SCENARIOS = {"orders": run_orders, "company": run_company, "rows": run_rows}


def main() -> int:
    """Run the demo; return the exit status of `make demo`."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="The refresh on a local cloud: four nights of one database, three of which go "
        "wrong; one night of a company with three databases, from production's snapshots on; or two "
        "refreshes whose rows are masked.",
    )
    parser.add_argument("--scenario", choices=SCENARIOS, default="orders")
    parser.add_argument(
        "--keep", action="store_true", help="leave the cloud running, and print what to try on it"
    )
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    began, is_done = monotonic(), False
    try:
        # Chalice records its deployments in the project, so each demo uses a copy.
        with (
            tempfile.TemporaryDirectory(prefix="demo-of-aurora-refresh-") as copy,
            LocalCloud.start() as cloud,
        ):
            copy_project(PROJECT, Path(copy))
            company = SCENARIOS[given.scenario](cloud, Path(copy))
            is_done = True
            title(f"Done in {monotonic() - began:.0f} s.")
            if given.keep:
                invite(company)
    except Unexpected as error:
        print(f"\nUnexpected: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, TimeoutError, ValueError, WaiterError) as error:
        print(f"\nThe demo cannot continue: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        title("stopped")
        return 0 if is_done else 130
    return 0


def leave(number: int, _frame: FrameType | None) -> None:
    """Exit with an exception, so that the cloud is stopped and the copy is removed."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def invite(company: Company) -> None:
    """Print what to try, and wait for Ctrl-C."""
    first, *others = company.databases
    named = f" --database {first.source}" if others else ""
    print(
        f"""
The cloud stays until Ctrl-C. In another shell, in this folder:

{variables.shell(company.cloud.endpoint, key_of(ACCEPTANCE))}
export AURORA_REFRESH_STAGE={STAGE}

{TOOLS}/aurora-refresh status
{TOOLS}/aurora-refresh history{named}
{TOOLS}/aurora-refresh snapshots{named}
{TOOLS}/aurora-refresh console

With the AWS CLI, which has to be installed:

aws ssm get-parameter-history --name {company.current}
aws rds describe-db-clusters --query 'DBClusters[].[DBClusterIdentifier,TagList]'
aws codepipeline list-pipeline-executions --pipeline-name {PIPELINE}
""",
        flush=True,
    )
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
