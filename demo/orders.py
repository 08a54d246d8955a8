"""`make demo`: play four nights of one database, three of which go wrong."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from demo.acceptance import CLUSTER, PIPELINE, STAGE, Company, nightly
from demo.output import expect, fire, gist, say, say_notifications, short, title
from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud, send

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)  # a Sunday, and the first day of an on-week


def run_orders(cloud: LocalCloud, copy: Path) -> Company:
    """Play four nights: a run fails, one succeeds, one restores nothing, and one fails after its restore."""
    company = Company(cloud, copy)
    title("The local cloud")
    say(f"local cloud at {cloud.endpoint}: production {PRODUCTION}, acceptance {ACCEPTANCE}")
    if sys.platform != "linux":
        say("functions run in plain Python here: Lambda's runtime client is for Linux only")
    company.found(NIGHT - timedelta(hours=14))
    first = deployed(company)
    say(f"testers work on {first.cluster}, restored from {short(first.source)}")

    title("Production shares its snapshots")
    shared = company.share(NIGHT)
    say(f"{len(shared)} more of 5 clusters, one still creating; so does a stranger, {STRANGER}")

    title(f"chalice deploy --stage {STAGE}")
    company.chalice("deploy", "--stage", STAGE, progress=say)

    update(company, NIGHT)
    restore(company, NIGHT, "Failed", "Failed in Build")
    expect(deployed(company) == first, company.clusters())
    expect(company.parameter(company.current) == first.source, "current did not go back")
    say(f"current is back on {short(first.source)}; testers still work on {first.cluster}")

    night = next_night(company, NIGHT, "production has shared another one; the build is repaired")
    run = restore(company, night, "Succeeded")
    second = deployed(company)
    expect(second.source == run.current == company.good(), company.clusters())
    say(f"{first.cluster} was replaced by {second.cluster}; {short(run.current)} is marked good")

    night = next_night(company, night, "somebody has set a condition that skips the stage Deploy")
    restore(company, night, "Succeeded", "Skip Deploy")
    expect(deployed(company) == second, company.clusters())
    expect(company.parameter(company.current) == second.source, "current did not go back")
    say(f"current is back on {short(second.source)}; testers still work on {second.cluster}")

    night = next_night(company, night, "the condition is gone; now the tests after Deploy fail")
    run = restore(company, night, "Failed", "Failed in Test")
    third = deployed(company)
    expect(third.source == run.current == company.parameter(company.current), company.clusters())
    expect(company.good() == second.source, company.good())
    say(f"current stays on {short(run.current)}, which testers have on {third.cluster}")
    retry(company, night + timedelta(hours=7), run.execution_id)
    expect(company.good() == third.source, company.good())
    say(f"{short(run.current)} is marked good")

    pin(company)
    say(f"testers keep {third.cluster} until the pipeline's next run")
    expect(deployed(company) == third, company.clusters())
    return company


class Deployed(NamedTuple):
    """The cluster that testers work on, and the snapshot it was restored from."""

    cluster: str
    source: str


def deployed(company: Company) -> Deployed:
    clusters = company.clusters()
    expect(len(clusters) == 1 and next(iter(clusters)).startswith(CLUSTER), clusters)
    return Deployed(*next(iter(clusters.items())))


def next_night(company: Company, before: datetime, news: str) -> datetime:
    night = before + timedelta(weeks=2)
    company.cloud.set_clock(night)
    company.cloud.seed_snapshots([nightly("orders", night - timedelta(hours=6))])
    title("Two weeks later")
    say(news)
    update(company, night)
    return night


def update(company: Company, night: datetime) -> None:
    title(f"{night:%A %d %B, 02:00} UTC, db-update-latest-snapshot-id")
    answer = fire(company, "db-update-latest-snapshot-id", night)
    expect(answer["outcome"] == "updated", gist(answer))
    (entry,) = answer["databases"]
    say(f"updated: latest is {short(entry['latest'])}, {entry['age_hours']:.0f} hours old")
    if night == NIGHT:
        rejected = ", ".join(f"{count} for {why}" for why, count in entry["rejected"].items())
        say(f"rejected: {rejected}")
    newest = f"orders-{night - timedelta(hours=6):%Y-%m-%d}"
    expect(short(entry["latest"]) == newest, entry)


class Started(NamedTuple):
    """The run of a promotion, and the snapshot to restore."""

    execution_id: str
    current: str


def restore(company: Company, night: datetime, status: str, outcome: str = "") -> Started:
    """Promote at 04:00, and wait until the run has ended as expected."""
    time = night + timedelta(hours=2)
    title(f"{time:%A %d %B, 04:00} UTC, db-restore-from-snapshot")
    company.cloud.patch_pipeline(PIPELINE, next_outcomes=[outcome or status])
    answer = fire(company, "db-restore-from-snapshot", time)
    expect(answer["outcome"] == "started", gist(answer))
    (entry,) = answer["databases"]
    say(f"started: current moved from {short(entry['previous'])} to {short(entry['current'])}")
    run = Started(answer["execution_id"], entry["current"])
    say(f"pipeline {PIPELINE} runs as {run.execution_id} …")
    ended = company.followed(run.execution_id)
    expect(ended == status, ended)
    say(f"{status.lower()}; db-follow-pipeline looked at what is deployed")
    say_notifications(company)
    return run


def retry(company: Company, time: datetime, run: str) -> None:
    """Retry the stage of the tests, as in CodePipeline's console."""
    title(f"{time:%A %d %B, %H:%M} UTC, an engineer retries the stage Test")
    company.cloud.set_clock(time)
    company.cloud.client("codepipeline").retry_stage_execution(
        pipelineName=PIPELINE,
        stageName="Test",
        pipelineExecutionId=run,
        retryMode="FAILED_ACTIONS",
    )
    ended = company.followed(run, times=2)
    expect(ended == "Succeeded", ended)
    say("succeeded: the same run, which has restored the database before")
    say_notifications(company)


def pin(company: Company) -> None:
    title("An operator pins older data: PUT /snapshots/current")
    base = company.rest_url()
    if base is None:
        say("no API is deployed: PIN_API_ENABLED is false")
        return
    request = {"snapshot": "orders-2025-12-28", "reason": "compare with last year"}
    url = f"{base}/snapshots/current"
    status, text = send(
        "PUT", url, json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    say(f"unsigned: {status} {text}")
    expect(status == 403, status)
    status, answer = company.signed("PUT", "/snapshots/current", request)
    expect(status == 200, gist(answer))
    say(f"signed:   {status} current is {short(answer['current'])}, version {answer['version']}")
    expect(company.parameter(company.current) == answer["current"], gist(answer))
    request["snapshot"] = "billing-2026-01-03"
    status, answer = company.signed("PUT", "/snapshots/current", request)
    expect((status, answer.get("Code")) == (409, "ConflictError"), gist(answer))
    say(f"refused:  {status} {answer['Message']}")
