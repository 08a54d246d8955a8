"""``make demo``: the whole job on this machine, checked at every step.

Everything is what it would be on AWS (a real ``chalice deploy``, the deployed package in Lambda's own
runtime client, SigV4), except AWS itself, which is the local cloud.
"""

import argparse
import json
import os
import shlex
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud, send
from localcloud.company import CLUSTER, PIPELINE, STAGE, Company

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)  # a Sunday, and the first day of an on-week
PROJECT = Path(__file__).resolve().parent.parent
TOOLS = os.path.relpath(Path(sys.executable).parent)


class NotAsTold(Exception):
    """Something happened that the story does not tell."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make demo", description="One night of the refresh on a local cloud."
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the cloud running, and print what to try on it"
    )
    keep = parser.parse_args().keep
    began = monotonic()
    try:
        with LocalCloud.start() as cloud:
            company = Company(cloud, PROJECT)
            tell_the_night(company)
            title(f"All as told, in {monotonic() - began:.0f} s.")
            if keep:
                invite(company)
    except NotAsTold as error:
        print(f"\nNot as told: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        title("stopped")
    return 0


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
    # What an earlier local cloud held is gone with it.
    (PROJECT / f".chalice/deployed/{STAGE}.json").unlink(missing_ok=True)
    company.chalice("deploy", "--stage", STAGE, progress=say)

    title("Sunday 02:00 UTC, db-update-latest-snapshot-id")
    cloud.set_clock(NIGHT)
    answer = fire(company, "db-update-latest-snapshot-id", NIGHT)
    expect(answer["outcome"] == "updated", answer)
    entry = answer["databases"][0]
    say(f"updated: latest is {short(entry['latest'])}, {entry['age_hours']:.0f} hours old")
    rejected = ", ".join(f"{count} for {why}" for why, count in entry["rejected"].items())
    say(f"rejected: {rejected}")
    expect(short(entry["latest"]) == "orders-2026-01-03", entry)

    title("Sunday 04:00 UTC, db-restore-from-snapshot")
    cloud.set_clock(NIGHT + timedelta(hours=2))
    answer = fire(company, "db-restore-from-snapshot", NIGHT + timedelta(hours=2))
    expect(answer["outcome"] == "started", answer)
    entry = answer["databases"][0]
    say(f"started: current moved from {short(entry['previous'])} to {short(entry['current'])}")
    run = answer["execution_id"]
    say(f"pipeline {PIPELINE} runs as {run} …")
    expect(cloud.wait_for_run(run, PIPELINE) == "Succeeded", run)
    after = company.clusters()
    expect(list(after.values()) == [entry["current"]] and after.keys() != before.keys(), after)
    say(f"succeeded: {only(before)} was replaced by {only(after)}")

    title("An operator wants older data: PUT /snapshots/current")
    wish = {"snapshot": "orders-2025-12-28", "reason": "compare with last year"}
    url = f"{cloud.rest_url()}/snapshots/current"
    status, text = send("PUT", url, json.dumps(wish).encode(), {"Content-Type": "application/json"})
    say(f"unsigned: {status} {text}")
    expect(status == 403, status)
    status, answer = cloud.signed("PUT", "/snapshots/current", wish)
    say(f"signed:   {status} current is {short(answer['current'])}, version {answer['version']}")
    expect((status, company.parameter(company.current)) == (200, answer["current"]), answer)
    wish["snapshot"] = "billing-2026-01-03"
    status, answer = cloud.signed("PUT", "/snapshots/current", wish)
    say(f"refused:  {status} {answer['Message']}")
    expect((status, answer["Code"]) == (409, "ConflictError"), answer)
    say(f"testers keep {only(after)} until the pipeline's next run")
    expect(company.clusters() == after, company.clusters())


def fire(company: Company, function: str, time: datetime) -> dict[str, Any]:
    records = company.cloud.fire(function, time)
    expect([record["status"] for record in records] == ["succeeded"], records)
    payload: dict[str, Any] = records[0]["payload"]
    return payload


def invite(company: Company) -> None:
    """Print what to try, and wait for Ctrl-C."""
    cloud = company.cloud
    event = {
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000000",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCEPTANCE,
        "time": f"{NIGHT + timedelta(weeks=2):%Y-%m-%dT%H:%M:%SZ}",
        "region": cloud.region,
        "resources": [],
        "detail": {},
    }
    print("\nThe cloud stays until Ctrl-C. In another shell, in this folder:\n")
    for name, value in cloud.environment().items():
        if name.startswith("AWS_"):
            print(f"export {name}={shlex.quote(value)}")
    print(
        f"""
aws ssm get-parameter-history --name {company.current}
aws rds describe-db-clusters --query 'DBClusters[].[DBClusterIdentifier,TagList]'
aws codepipeline list-pipeline-executions --pipeline-name {PIPELINE}
echo {shlex.quote(json.dumps(event))} \\
  | {TOOLS}/chalice invoke --stage {STAGE} -n db-update-latest-snapshot-id
curl --aws-sigv4 aws:amz:{cloud.region}:execute-api \\
  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
  -X PUT -H 'Content-Type: application/json' -d '{{"snapshot": "latest"}}' \\
  {cloud.rest_url()}/snapshots/current
""",
        flush=True,
    )
    signal.pause()


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def expect(told: bool, found: object) -> None:
    if not told:
        raise NotAsTold(f"found {found}")


def short(arn: str) -> str:
    return arn.rsplit(":", 1)[-1]


def only(clusters: dict[str, str]) -> str:
    expect(len(clusters) == 1 and next(iter(clusters)).startswith(CLUSTER), clusters)
    return next(iter(clusters))


sys.exit(main())
