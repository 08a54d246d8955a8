"""A production stage: deployed with its own roles, and its shares over the weeks.

The demo of the company, which test_readme.py runs, restores such shares in acceptance.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.production import STAGE, Production
from localcloud.client import LocalCloud
from tests.e2e.conftest import answer_of, run
from tests.e2e.test_permissions import calls_of, policy_of, unused

SHARE = "db-share-snapshot"
FOLLOW_SHARES = "db-follow-shares"
DEPLOYED = f"aurora-refresh-{STAGE}"
PERSON = "team@example.com"
CLUSTERS = ["orders", "billing", "documents"]
SATURDAYS = [datetime(2026, 1, 3, 22, tzinfo=UTC) + timedelta(weeks=week) for week in range(5)]


def begin(production: Production, saturday: datetime) -> None:
    """Let the night come: there are the backups of this day."""
    production.back_up(saturday - timedelta(hours=17))
    production.cloud.set_clock(saturday)


def follow(production: Production, saturday: datetime, status: str) -> Any:
    """Let RDS come to an end with what it was asked for, and a poll see that."""
    for each in snapshots(production.client("rds"), "manual"):
        if each["Status"] in ("creating", "copying"):
            production.cloud.patch_snapshot(each["DBClusterSnapshotArn"], status=status)
    return answer_of(production.fire(FOLLOW_SHARES, saturday + timedelta(minutes=15)))


def snapshots(rds: Any, kind: str) -> list[dict[str, Any]]:
    """An account's snapshots, oldest first."""
    listed = rds.describe_db_cluster_snapshots(SnapshotType=kind)["DBClusterSnapshots"]
    return sorted(listed, key=lambda each: str(each["SnapshotCreateTime"]))


@pytest.fixture(scope="module")
def production(running_cloud: LocalCloud, new_project: Callable[[], Path]) -> Production:
    """Production with the stage deployed, for all Saturdays of the module."""
    running_cloud.reset()
    production = Production(running_cloud, new_project())
    production.found(datetime(2026, 1, 3, 4, tzinfo=UTC))
    # It is a test that says when RDS has made something.
    running_cloud.set_seconds(copy=3600)
    assert run(production, "deploy", f"EMAIL={PERSON}").exit_code == 0
    running_cloud.confirm_subscription(PERSON)
    return production


def test_a_deployed_stage_is_healthy(production: Production) -> None:
    verdicts = run(production, "doctor").stdout.splitlines()
    assert [line for line in verdicts if line.startswith(("  problem", "  warning"))] == []
    assert verdicts[-1].startswith("healthy; ")


def any_cluster(resource: str) -> str:
    """What a role may do to one of the clusters it may do to all, whatever their keys."""
    return re.sub("|".join(CLUSTERS), "CLUSTER", resource)


def test_the_oldest_of_ours_and_the_failed_go_and_each_role_allows_nothing_that_is_not_used(
    production: Production,
) -> None:
    cloud = production.cloud
    cloud.clear_calls()
    stranger = f"aurora-refresh-share-{'0' * 32}"
    production.client("rds").create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier=stranger
    )
    for saturday in SATURDAYS[:-1]:
        begin(production, saturday)
        answer_of(production.fire(SHARE, saturday))
        follow(production, saturday, "available")
    # What production's default key encrypts could not be restored.
    keys = {"orders": None, "billing": production.key, "documents": production.key}
    seen = snapshots(cloud.client("rds"), "shared")
    for cluster, key in keys.items():
        assert [
            (each["SnapshotCreateTime"].date(), each.get("KmsKeyId"))
            for each in seen
            if each["DBClusterIdentifier"] == cluster
        ] == [(saturday.date(), key) for saturday in SATURDAYS[1:-1]]

    begin(production, SATURDAYS[-1])
    production.notifications()
    cloud.set_seconds(retry=0.05)
    cloud.set_faults([{"operation": "rds:DescribeDBClusters", "kind": "deny"}])
    attempts = production.fire(SHARE, SATURDAYS[-1])
    assert [record["status"] for record in attempts] == ["failed", "succeeded"]
    failed = follow(production, SATURDAYS[-1], "failed")
    assert {each["reason"] for each in failed["clusters"]} == {"share-failed"}
    assert [each["Subject"] for each in production.notifications()] == [
        "aurora-refresh: SHARING FAILED: DescribeDBClusters AccessDenied (orders)",
        f"aurora-refresh: SHARING FAILED: share-failed ({','.join(CLUSTERS)})",
    ]
    own = snapshots(production.client("rds"), "manual")
    names = {each["DBClusterSnapshotIdentifier"] for each in own}
    assert (stranger in names, len(names)) == (True, 1 + 3 * len(CLUSTERS))

    for function in (SHARE, FOLLOW_SHARES):
        calls = calls_of(cloud.calls(), f"{DEPLOYED}-{function}")
        policy = json.dumps(policy_of(production.client("iam"), f"{DEPLOYED}-{function}"))
        used = {(action, any_cluster(resource)) for action, resource in calls}
        assert unused(json.loads(any_cluster(policy)), used) == set()
