"""``make demo``: the whole job on this machine, two nights of it, checked at every step.

Everything is what it would be on AWS (a real ``chalice deploy``, the deployed package in Lambda's own
runtime client, SigV4), except AWS itself, which is the local cloud.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import FrameType

from demo import company as whole_company
from demo.telling import NotAsTold, expect, fire, gist, say, short, title
from localcloud import variables
from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER, key_of
from localcloud.client import LocalCloud, send
from localcloud.company import CLUSTER, PIPELINE, STAGE, Company, copy_project, nightly

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)  # a Sunday, and the first day of an on-week
NEXT_NIGHT = NIGHT + timedelta(weeks=2)
PROJECT = Path(__file__).resolve().parent.parent
TOOLS = os.path.relpath(Path(sys.executable).parent)


def main() -> int:
    """Tell the night; the status that ``make demo`` exits with."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="The refresh on a local cloud: two nights of one database, of which one fails; "
        "or one night of a company with three databases, from production's snapshots on.",
    )
    parser.add_argument("--scenario", choices=("orders", "company"), default="orders")
    parser.add_argument(
        "--keep", action="store_true", help="leave the cloud running, and print what to try on it"
    )
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    began, told = monotonic(), False
    try:
        # Chalice notes in the project what it has deployed; each demo notes it in a copy of its own.
        with (
            tempfile.TemporaryDirectory(prefix="demo-of-aurora-refresh-") as copy,
            LocalCloud.start() as cloud,
        ):
            copy_project(PROJECT, Path(copy))
            if given.scenario == "company":
                company = whole_company.tell_the_night(cloud, Path(copy))
            else:
                company = Company(cloud, Path(copy))
                tell_the_night(company)
            told = True
            title(f"All as told, in {monotonic() - began:.0f} s.")
            if given.keep:
                invite(company)
    except NotAsTold as error:
        print(f"\nNot as told: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, TimeoutError, ValueError) as error:
        print(f"\nThe demo cannot go on: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        title("stopped")
        return 0 if told else 130
    return 0


def leave(number: int, _frame: FrameType | None) -> None:
    """End as any program would, but stop the cloud and remove the copy on the way."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def tell_the_night(company: Company) -> None:
    cloud = company.cloud
    title("An AWS of one's own")
    say(f"local cloud at {cloud.endpoint}: production {PRODUCTION}, acceptance {ACCEPTANCE}")
    if sys.platform != "linux":
        say("functions run in plain Python here: Lambda's runtime client is for Linux only")
    company.found(NIGHT - timedelta(hours=14))
    before = company.clusters()
    say(f"testers work on {only(before)}, restored from {short(before[only(before)])}")

    title("Production shares its snapshots")
    shared = company.share(NIGHT)
    say(f"{len(shared)} more of 5 clusters, one still creating; so does a stranger, {STRANGER}")

    title(f"chalice deploy --stage {STAGE}")
    company.chalice("deploy", "--stage", STAGE, progress=say)

    two_o_clock(company, NIGHT)
    cloud.patch_pipeline(PIPELINE, next_outcomes=["Failed"])
    four_o_clock(company, NIGHT, "Failed")
    expect(company.clusters() == before, company.clusters())
    expect(company.parameter(company.current) == before[only(before)], "current did not go back")
    say(f"current is back on {short(before[only(before)])}; testers still work on {only(before)}")

    title("Two weeks later")
    cloud.set_clock(NEXT_NIGHT)
    cloud.seed_snapshots([nightly("orders", NEXT_NIGHT - timedelta(hours=6))])
    say("production has shared another one, and somebody has mended the pipeline")
    two_o_clock(company, NEXT_NIGHT)
    current = four_o_clock(company, NEXT_NIGHT, "Succeeded")
    after = company.clusters()
    expect(list(after.values()) == [current] and after.keys() != before.keys(), after)
    say(f"{only(before)} was replaced by {only(after)}; {short(company.good())} is marked good")
    expect(company.good() == current, company.good())

    pin(company)
    say(f"testers keep {only(after)} until the pipeline's next run")
    expect(company.clusters() == after, company.clusters())


def two_o_clock(company: Company, night: datetime) -> None:
    title(f"{night:%A %d %B, 02:00} UTC, db-update-latest-snapshot-id")
    company.cloud.set_clock(night)
    answer = fire(company, "db-update-latest-snapshot-id", night)
    expect(answer["outcome"] == "updated", gist(answer))
    (entry,) = answer["databases"]
    say(f"updated: latest is {short(entry['latest'])}, {entry['age_hours']:.0f} hours old")
    rejected = ", ".join(f"{count} for {why}" for why, count in entry["rejected"].items())
    say(f"rejected: {rejected}")
    newest = f"orders-{night - timedelta(hours=6):%Y-%m-%d}"
    expect(short(entry["latest"]) == newest, entry)


def four_o_clock(company: Company, night: datetime, ending: str) -> str:
    """The promotion, its run, and what people are told of it; what *current* was moved to."""
    time = night + timedelta(hours=2)
    title(f"{time:%A %d %B, 04:00} UTC, db-restore-from-snapshot")
    company.cloud.set_clock(time)
    answer = fire(company, "db-restore-from-snapshot", time)
    expect(answer["outcome"] == "started", gist(answer))
    (entry,) = answer["databases"]
    say(f"started: current moved from {short(entry['previous'])} to {short(entry['current'])}")
    run = answer["execution_id"]
    say(f"pipeline {PIPELINE} runs as {run} …")
    status = company.followed(run)
    expect(status == ending, status)
    say(f"{status.lower()}, and db-follow-pipeline followed it:")
    for notice in company.told():
        say(f"  people were told: {notice['Subject']}")
    current: str = entry["current"]
    return current


def pin(company: Company) -> None:
    cloud = company.cloud
    title("An operator wants older data: PUT /snapshots/current")
    base = cloud.rest_url()
    if base is None:
        say("there is no API to ask: PIN_API_ENABLED is false")
        return
    wish = {"snapshot": "orders-2025-12-28", "reason": "compare with last year"}
    url = f"{base}/snapshots/current"
    status, text = send("PUT", url, json.dumps(wish).encode(), {"Content-Type": "application/json"})
    say(f"unsigned: {status} {text}")
    expect(status == 403, status)
    status, answer = cloud.signed("PUT", "/snapshots/current", wish)
    expect(status == 200, gist(answer))
    say(f"signed:   {status} current is {short(answer['current'])}, version {answer['version']}")
    expect(company.parameter(company.current) == answer["current"], gist(answer))
    wish["snapshot"] = "billing-2026-01-03"
    status, answer = cloud.signed("PUT", "/snapshots/current", wish)
    expect((status, answer.get("Code")) == (409, "ConflictError"), gist(answer))
    say(f"refused:  {status} {answer['Message']}")


def invite(company: Company) -> None:
    """Print what to try, and wait for Ctrl-C."""
    cloud = company.cloud
    event = {
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000000",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCEPTANCE,
        "time": f"{NEXT_NIGHT + timedelta(weeks=2):%Y-%m-%dT%H:%M:%SZ}",
        "region": cloud.region,
        "resources": [],
        "detail": {},
    }
    print("\nThe cloud stays until Ctrl-C. In another shell, in this folder:\n")
    print(
        f"""{variables.shell(cloud.endpoint, key_of(ACCEPTANCE))}

aws ssm get-parameter-history --name {company.current}
aws rds describe-db-clusters --query 'DBClusters[].[DBClusterIdentifier,TagList]'
aws codepipeline list-pipeline-executions --pipeline-name {PIPELINE}
echo {shlex.quote(json.dumps(event))} \\
  | {TOOLS}/chalice --project-dir {shlex.quote(str(company.project))} invoke \\
  --stage {STAGE} -n db-update-latest-snapshot-id"""
    )
    if cloud.rest_url() is not None:
        print(
            f"""curl --aws-sigv4 aws:amz:{cloud.region}:execute-api \\
  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
  -X PUT -H 'Content-Type: application/json' -d '{{"snapshot": "latest"}}' \\
  {cloud.rest_url()}/snapshots/current"""
        )
    print(flush=True)
    signal.pause()


def only(clusters: dict[str, str]) -> str:
    expect(len(clusters) == 1 and next(iter(clusters)).startswith(CLUSTER), clusters)
    return next(iter(clusters))


if __name__ == "__main__":
    sys.exit(main())
