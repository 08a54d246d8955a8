"""A production stage: deployed with its own roles, and its shares over the weeks.

The demo of the company, which test_readme.py runs, restores such shares in acceptance.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.production import STAGE, Production
from localcloud.client import LocalCloud
from tests.e2e.conftest import NewProject, answer_of, run
from tests.e2e.test_permissions import calls_of, policy_of, unused

SHARE = "db-share-snapshot"
FOLLOW_SHARES = "db-follow-shares"
DEPLOYED = f"aurora-refresh-{STAGE}"
PERSON = "team@example.com"
CLUSTERS = ["orders", "billing", "documents"]
*SATURDAYS, LAST = (datetime(2026, 1, 3, 22, tzinfo=UTC) + timedelta(weeks=n) for n in range(5))


def share(production: Production, saturday: datetime) -> list[str]:
    """Let the night come after a day's backups; how each attempt ended."""
    production.back_up(saturday - timedelta(hours=17))
    return [record["status"] for record in production.fire(SHARE, saturday)]


def follow(production: Production, saturday: datetime, status: str) -> Any:
    """Let RDS come to an end with what it was asked for, and a poll see that."""
    for each in snapshots(production.client("rds"), "manual"):
        if each["Status"] in ("creating", "copying"):
            production.cloud.patch_snapshot(each["DBClusterSnapshotArn"], status=status)
    return answer_of(production.fire(FOLLOW_SHARES, saturday + timedelta(minutes=15)))


def snapshots(rds: Any, kind: str) -> Any:
    return rds.describe_db_cluster_snapshots(SnapshotType=kind)["DBClusterSnapshots"]


@pytest.fixture
def production(cloud: LocalCloud, new_project: NewProject) -> Production:
    production = Production(cloud, new_project())
    production.found(datetime(2026, 1, 3, 4, tzinfo=UTC))
    # It is a test that says when RDS has made something.
    cloud.set_seconds(copy=3600, retry=0.05)
    assert run(production, "deploy", f"EMAIL={PERSON}").exit_code == 0
    cloud.confirm_subscription(PERSON)
    return production


def any_cluster(resource: str) -> str:
    """What a role may do to one of the clusters it may do to all, whatever their keys."""
    return re.sub("|".join(CLUSTERS), "CLUSTER", resource)


def test_a_healthy_stage_keeps_the_newest_shares_and_each_role_allows_nothing_that_is_not_used(
    production: Production,
) -> None:
    cloud = production.cloud
    assert "\nhealthy; problems: 0, warnings: 0, ok: " in run(production, "doctor").stdout
    cloud.clear_calls()
    stranger = f"aurora-refresh-share-{'0' * 32}"
    production.client("rds").create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier=stranger
    )
    for saturday in SATURDAYS:
        assert share(production, saturday) == ["succeeded"]
        follow(production, saturday, "available")
    seen = snapshots(cloud.client("rds"), "shared")
    assert {(each["DBClusterIdentifier"], each["SnapshotCreateTime"].date()) for each in seen} == {
        (cluster, saturday.date()) for cluster in CLUSTERS for saturday in SATURDAYS[1:]
    }

    production.notifications()
    cloud.set_faults([{"operation": "rds:DescribeDBClusters", "kind": "deny"}])
    assert share(production, LAST) == ["failed", "succeeded"]
    follow(production, LAST, "failed")
    assert [each["Subject"] for each in production.notifications()] == [
        "aurora-refresh: SHARING FAILED: DescribeDBClusters AccessDenied (orders)",
        f"aurora-refresh: SHARING FAILED: share-failed ({','.join(CLUSTERS)})",
    ]
    own = snapshots(production.client("rds"), "manual")
    assert stranger in [each["DBClusterSnapshotIdentifier"] for each in own]
    assert len(own) == 1 + 3 * len(CLUSTERS)

    for function in (SHARE, FOLLOW_SHARES):
        calls = calls_of(cloud.calls(), f"{DEPLOYED}-{function}")
        policy = json.dumps(policy_of(production.client("iam"), f"{DEPLOYED}-{function}"))
        used = {(action, any_cluster(resource)) for action, resource in calls}
        assert unused(json.loads(any_cluster(policy)), used) == set()
