"""A production stage: deployed with its own roles, and its shares over the weeks.

The demo of the company, in test_company_demo.py, restores such shares in acceptance.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from demo.production import STAGE, Production
from localcloud.client import LocalCloud
from tests.e2e.conftest import answer_of, invoke
from tests.e2e.test_permissions import grants, policy_of

SHARE = "db-share-snapshot"
FOLLOW_SHARES = "db-follow-shares"
DEPLOYED = f"aurora-refresh-{STAGE}"
PERSON = "team@example.com"
CLUSTERS = ["orders", "billing", "documents"]
# Lambda writes a function's log; RDS uses a key, and evaluates tags, with the call that they come with.
USED_BY_AWS = {
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "kms:CreateGrant",
    "rds:AddTagsToResource",
}

_SATURDAYS = (datetime(2026, 1, 3, 22, tzinfo=UTC) + timedelta(weeks=week) for week in count())


class Saturday:
    """A Saturday in the life of production. They follow each other and leave their shares behind."""

    def __init__(self, production: Production) -> None:
        self.production = production
        self.cloud = production.cloud
        self.rds = production.client("rds")
        self.at = next(_SATURDAYS)
        production.back_up(self.at - timedelta(hours=17))
        self.cloud.set_clock(self.at)
        self.cloud.set_faults([])
        self.cloud.set_seconds(retry=0.05)
        production.notifications()
        self.cloud.clear_calls()

    def share(self) -> dict[str, Any]:
        return answer_of(self.production.fire(SHARE, self.at))

    def follow(self) -> dict[str, Any]:
        return answer_of(self.production.fire(FOLLOW_SHARES, self.at + timedelta(minutes=15)))

    def settle(self, status: str = "available") -> None:
        """RDS has made what it was asked for."""
        for each in self.own():
            if each["Status"] in ("creating", "copying"):
                self.cloud.patch_snapshot(each["DBClusterSnapshotArn"], status=status)

    def own(self) -> list[dict[str, Any]]:
        """Production's manual snapshots."""
        listed: list[dict[str, Any]] = self.rds.describe_db_cluster_snapshots(
            SnapshotType="manual"
        )["DBClusterSnapshots"]
        return listed

    def shares(self) -> dict[str, list[dict[str, Any]]]:
        """What acceptance sees of each cluster, newest first."""
        listed = self.cloud.client("rds").describe_db_cluster_snapshots(SnapshotType="shared")
        newest_first = sorted(
            listed["DBClusterSnapshots"], key=lambda each: each["SnapshotCreateTime"], reverse=True
        )
        return {
            cluster: [each for each in newest_first if each["DBClusterIdentifier"] == cluster]
            for cluster in CLUSTERS
        }

    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.production.notifications()]


def outcomes(answer: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {each["name"]: (each["outcome"], each["reason"]) for each in answer["clusters"]}


@pytest.fixture(scope="module")
def production(running_cloud: LocalCloud, new_project: Callable[[], Path]) -> Production:
    """Production with the stage deployed, for all Saturdays of the module."""
    running_cloud.reset()
    production = Production(running_cloud, new_project())
    production.found(datetime(2026, 1, 3, 4, tzinfo=UTC))
    # It is a test that says when RDS has made something.
    running_cloud.set_seconds(copy=3600)
    command(production, "deploy", f"EMAIL={PERSON}")
    running_cloud.confirm_subscription(PERSON)
    return production


def command(production: Production, name: str, *answers: str) -> list[str]:
    """Return what a command of ``aurora-refresh`` that succeeds prints."""
    words = (name, "--stage", STAGE, "--project", str(production.project), *answers)
    done = invoke(*words, environment=production.environment())
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def existing(production: Production) -> dict[str, str | list[str]]:
    """The functions with their roles, the rules with their schedules, and the alarms."""
    functions = production.client("lambda").list_functions()["Functions"]
    rules = production.client("events").list_rules()["Rules"]
    alarms = production.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {
        **{each["FunctionName"]: each["Role"].rpartition("/")[2] for each in functions},
        **{each["Name"]: each["ScheduleExpression"] for each in rules},
        "alarms": sorted(each["AlarmName"].removeprefix(f"{DEPLOYED}-") for each in alarms),
    }


def test_a_deployed_stage_is_healthy(production: Production) -> None:
    assert existing(production) == {
        f"{DEPLOYED}-{SHARE}": f"{DEPLOYED}-{SHARE}",
        f"{DEPLOYED}-{SHARE}-event": "cron(0 22 ? * SAT *)",
        f"{DEPLOYED}-{FOLLOW_SHARES}": f"{DEPLOYED}-{FOLLOW_SHARES}",
        f"{DEPLOYED}-{FOLLOW_SHARES}-event": "rate(15 minutes)",
        "alarms": [
            f"errors-{FOLLOW_SHARES}",
            f"errors-{SHARE}",
            "follow-overdue",
            "notification-failed",
        ],
    }
    verdicts = command(production, "doctor")
    assert [line for line in verdicts if line.startswith(("  problem", "  warning"))] == []
    assert verdicts[-1].startswith("healthy; ")


def any_cluster(resource: str) -> str:
    """What a role may do to one of the clusters it may do to all, whatever their keys."""
    return re.sub("|".join(CLUSTERS), "CLUSTER", resource)


def test_the_oldest_of_ours_and_the_failed_go_and_each_role_allows_nothing_that_is_not_used(
    production: Production,
) -> None:
    rds = production.client("rds")
    stranger = f"aurora-refresh-share-{'0' * 32}"
    rds.create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier=stranger
    )
    saturdays, journal = [], []
    for _ in range(4):
        saturday = Saturday(production)
        saturday.share()
        saturday.settle()
        saturday.follow()
        saturdays.append(saturday.at)
        journal += saturday.cloud.calls()
    for found in saturday.shares().values():
        taken = [
            each["SnapshotCreateTime"].replace(minute=0, second=0, microsecond=0) for each in found
        ]
        assert taken == saturdays[:0:-1]
    # What production's default key encrypts could not be restored.
    keys = {name: {each.get("KmsKeyId") for each in saturday.shares()[name]} for name in CLUSTERS}
    assert keys == {"orders": {None}, "billing": {production.key}, "documents": {production.key}}

    saturday = Saturday(production)
    saturday.cloud.set_faults([{"operation": "rds:DescribeDBClusters", "kind": "deny"}])
    attempts = production.fire(SHARE, saturday.at)
    assert [record["status"] for record in attempts] == ["failed", "succeeded"]
    saturday.settle("failed")
    assert outcomes(saturday.follow()) == dict.fromkeys(CLUSTERS, ("failed", "share-failed"))
    names = ",".join(CLUSTERS)
    assert saturday.subjects() == [
        "aurora-refresh: SHARING FAILED: DescribeDBClusters AccessDenied (orders)",
        f"aurora-refresh: SHARING FAILED: share-failed ({names})",
    ]
    own = {each["DBClusterSnapshotIdentifier"] for each in saturday.own()}
    assert (stranger in own, len(own)) == (True, 1 + 3 * len(CLUSTERS))

    journal += saturday.cloud.calls()
    for function in (SHARE, FOLLOW_SHARES):
        used = {
            (call["operation"], any_cluster(resource))
            for call in journal
            if call["function"] == f"{DEPLOYED}-{function}"
            for resource in call["resources"]
        }
        policy = policy_of(production.client("iam"), f"{DEPLOYED}-{function}")
        granted = {(action, any_cluster(on)) for action, on in grants(policy)}
        unused = {
            action
            for action, pattern in granted
            if not any(action == done and fnmatchcase(on, pattern) for done, on in used)
        }
        assert unused - USED_BY_AWS == set()


# The last one.
def test_a_destroyed_stage_leaves_its_topic(production: Production) -> None:
    printed = command(production, "destroy", "--yes")
    assert existing(production) == {"alarms": []}
    assert f"  kept       topic {production.variables['NOTIFICATION_TOPIC_ARN']}" in printed
