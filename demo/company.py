"""`make demo SCENARIO=company`: play one night of a company, from production's snapshots to its testers.

Two stages of one project are deployed, each to its own account. Production has two Aurora clusters and a
DocumentDB cluster: *orders* is not encrypted, *billing* is under a customer-managed key, *documents* under the
default key, which no other account can use. Acceptance restores the last two from copies under a key of its own.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.acceptance import PIPELINE, STACK, STAGE, Company, configure
from demo.output import expect, fire, gist, say, say_notifications, short, title
from demo.production import Production
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud

SATURDAY = datetime(2026, 1, 3, 22, tzinfo=UTC)
SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)
ENGINES = {
    "ORDERS": ("aurora-postgresql", "15"),
    "BILLING": ("aurora-mysql", "8.0"),
    "DOCUMENTS": ("docdb", "5"),
}
NAMES = [name.lower() for name in ENGINES]

Entries = dict[str, Mapping[str, Any]]


def answers(copied: Mapping[str, str]) -> dict[str, str]:
    """Return the answers to `aurora-refresh configure`; `copied` has the keys of databases with copies."""
    found = {
        "DATABASES": ",".join(ENGINES),
    }
    for prefix, (engine, version) in ENGINES.items():
        found |= {
            f"SSM_{prefix}_LATEST_SNAPSHOT_NAME": f"/acceptance/{prefix.lower()}/latest-snapshot",
            f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME": f"/acceptance/{prefix.lower()}/current-snapshot",
            f"{prefix}_ENGINE": engine,
            f"{prefix}_ENGINE_VERSION": version,
            f"{prefix}_SOURCE_CLUSTER": prefix.lower(),
            f"{prefix}_STACK_NAME": f"{STACK}/{prefix.title()}",
        }
    return found | {f"{prefix}_COPY_KMS_KEY_ID": key for prefix, key in copied.items()}


def run_company(cloud: LocalCloud, copy: Path) -> Company:
    """Play the night, and return the company afterwards."""
    title("A company with two AWS accounts")
    say(f"local cloud at {cloud.endpoint}: production {PRODUCTION}, acceptance {ACCEPTANCE}")
    production = Production(cloud, copy)
    production.found(SATURDAY - timedelta(hours=36))
    production.back_up(SATURDAY - timedelta(hours=17))
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    configure(copy, **answers({"BILLING": key, "DOCUMENTS": key}))
    company = Company(cloud, copy)
    company.found(SATURDAY - timedelta(hours=10))
    before = company.clusters()
    for cluster, source in before.items():
        say(f"testers work on {cluster}, restored from {short(source)}")

    title(f"chalice deploy --stage {production.stage}, as production")
    production.chalice("deploy", "--stage", production.stage, progress=say)
    title(f"chalice deploy --stage {STAGE}, as acceptance")
    company.chalice("deploy", "--stage", STAGE, progress=say)

    shares = share(production)
    latest = copies(company, shares, key)
    refreshed(company, before, latest)
    return company


def share(production: Production) -> dict[str, str]:
    """Play Saturday evening in production; return the shares by cluster."""
    title(f"{SATURDAY:%A %d %B, %H:%M} UTC, db-share-snapshot in production")
    asked = of_clusters(production, "db-share-snapshot", SATURDAY)
    say("orders and billing: a snapshot is being taken; each can be shared as it is")
    say("documents: under the default key, so its newest automated one is being copied to another")
    available(production, [entry["snapshot"] for entry in asked.values()])
    later = SATURDAY + timedelta(minutes=15)
    title(f"{later:%A %d %B, %H:%M} UTC, db-follow-shares in production")
    followed = of_clusters(production, "db-follow-shares", later)
    shares = {}
    for name, entry in followed.items():
        (shares[name],) = entry["shared"]
        say(f"{name}: {short(shares[name])} is shared with {ACCEPTANCE}")
    return shares


def copies(company: Company, shares: Mapping[str, str], key: str) -> dict[str, str]:
    """Play Sunday at 02:00 in acceptance, until the copies are made; return each new *latest*."""
    title(f"{SUNDAY:%A %d %B, %H:%M} UTC, db-update-latest-snapshot-id in acceptance")
    found = of_databases(company, "db-update-latest-snapshot-id", SUNDAY)
    expect(found["orders"]["latest"] == shares["orders"], found["orders"])
    say(f"orders: latest is {short(shares['orders'])}, the share itself")
    asked = {name: found[name]["copy"] for name in ("billing", "documents")}
    for name, copy in asked.items():
        expect(copy["source"] == shares[name], copy)
        say(f"{name}: {short(copy['source'])} is being copied under acceptance's own key")
    available(company, [copy["arn"] for copy in asked.values()])
    later = SUNDAY + timedelta(minutes=30)
    title(f"{later:%A %d %B, %H:%M} UTC, db-reconcile in acceptance")
    followed = of_databases(company, "db-reconcile", later)
    for name, entry in followed.items():
        expect(entry["latest"] == asked[name]["arn"], entry)
        say(f"{name}: latest is {short(entry['latest'])}, data {entry['age_hours']:.0f} hours old")
    own = company.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
    keys = {each["KmsKeyId"] for each in own["DBClusterSnapshots"]}
    expect(keys == {key}, keys)
    return {"orders": shares["orders"]} | {name: copy["arn"] for name, copy in asked.items()}


def refreshed(company: Company, before: Mapping[str, str], latest: Mapping[str, str]) -> None:
    """Play Sunday at 04:00: one run replaces all three clusters."""
    four = SUNDAY + timedelta(hours=2)
    title(f"{four:%A %d %B, %H:%M} UTC, db-restore-from-snapshot in acceptance")
    answer = fire(company, "db-restore-from-snapshot", four)
    expect(answer["outcome"] == "started", gist(answer))
    say(f"started: {PIPELINE} runs once for all three, as {answer['execution_id']} …")
    status = company.followed(answer["execution_id"])
    expect(status == "Succeeded", status)
    say_notifications(company)
    after = company.clusters()
    expect(set(after.values()) == set(latest.values()) and not before.keys() & after.keys(), after)
    for cluster, source in after.items():
        say(f"testers work on {cluster}, restored from {short(source)}")


def of_clusters(production: Production, function: str, time: datetime) -> Entries:
    """Return the entries of production's function by cluster."""
    (record,) = production.fire(function, time)
    expect(record["status"] == "succeeded", record)
    return entries(record["payload"], "clusters")


def of_databases(company: Company, function: str, time: datetime) -> Entries:
    """Return the entries of acceptance's function by database."""
    return entries(fire(company, function, time), "databases")


def entries(answer: Mapping[str, Any], of: str) -> Entries:
    """Return the entries of an answer by name; none may be a refusal."""
    expect(answer["outcome"] != "failed", gist(answer))
    return {entry["name"]: entry for entry in answer[of]}


def available(side: Production | Company, arns: list[str]) -> None:
    """Wait until RDS has made the snapshots, which takes a second here and hours on AWS."""
    waiter = side.client("rds").get_waiter("db_cluster_snapshot_available")
    often = {"Delay": 0.1, "MaxAttempts": 300}
    for arn in arns:
        waiter.wait(DBClusterSnapshotIdentifier=short(arn), WaiterConfig=often)
    say("… RDS has made them")
