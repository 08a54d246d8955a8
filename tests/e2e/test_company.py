"""A company of two Aurora clusters, PostgreSQL and MySQL, that restores copies: production shares in another Region.

The package, the roles and the schedules are as ``aurora-refresh configure`` and ``chalice deploy`` make them.
The demo of the company, which test_readme.py runs, has a cluster that is restored without a copy beside copied ones.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.functions import RECONCILE, RESTORE, UPDATE, deployed_name
from demo import company as demo
from demo.acceptance import PIPELINE, STAGE, Company, configure
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import COPIES_IN_PROGRESS_PER_REGION
from tests.e2e.conftest import answer_of, invoke
from tests.e2e.test_permissions import calls_of, permits, policy_of, unused

ELSEWHERE = "us-east-1"
PRODUCTIONS_KEY = f"arn:aws:kms:{ELSEWHERE}:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)
NEVER = 3_600  # seconds that a copy takes unless a test ends it
COPIED = {
    "DATABASES": "ORDERS,BILLING",
    "SOURCE_REGION": ELSEWHERE,
    "ORDERS_COPIES_TO_KEEP": "1",
    "RESTORE_SCHEDULE": "cron(0 5 ? * SUN *) Europe/Amsterdam",
}


class Copying(Company):
    """The company, in whose cloud a copy takes for ever unless a test ends it."""

    def share_both(self, night: datetime) -> dict[str, str]:
        """Production shares a snapshot of each cluster; their ARNs."""
        facts = {"region": ELSEWHERE, "kms_key_id": PRODUCTIONS_KEY, "kms_granted_to": [ACCEPTANCE]}
        taken = [each.nightly(night - timedelta(hours=6), **facts) for each in self.databases]
        arns = self.cloud.seed_snapshots(taken)["arns"]
        return {each.source: arn for each, arn in zip(self.databases, arns, strict=True)}

    def fire(self, function: str, time: datetime) -> Any:
        self.cloud.set_clock(time)
        return answer_of(self.cloud.fire(function, time))

    def own(self) -> dict[str, dict[str, Any]]:
        """Acceptance's manual snapshots, by ARN."""
        listed = self.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
        return {each["DBClusterSnapshotArn"]: each for each in listed["DBClusterSnapshots"]}

    def copies_of(self, source: str) -> list[str]:
        return [
            arn
            for arn, each in self.own().items()
            if each["DBClusterIdentifier"] == source and each["TagList"]
        ]

    def copy_by_hand(self, source: str, name: str) -> None:
        self.client("rds").copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier=source, TargetDBClusterSnapshotIdentifier=name
        )

    def finish(self) -> None:
        """Every copy comes to its end."""
        for arn, each in self.own().items():
            if each["Status"] == "copying":
                self.cloud.patch_snapshot(arn, status="available")

    def parameters(self, which: str) -> dict[str, str]:
        return {each.source: self.parameter(getattr(each, which)) for each in self.databases}

    def sources(self, which: str) -> dict[str, str]:
        """What the copies that the parameters hold were copied from."""
        own = self.own()
        return {
            name: own[arn]["SourceDBClusterSnapshotArn"]
            for name, arn in self.parameters(which).items()
        }


@pytest.fixture(scope="module")
def copying(running_cloud: LocalCloud, new_project: Callable[[], Path]) -> Copying:
    running_cloud.reset()
    kms = running_cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/billing", TargetKeyId=key)
    answers = demo.answers({"ORDERS": key, "BILLING": "alias/billing"}) | COPIED
    project = new_project()
    configure(project, **{name: answers[name] for name in answers if "DOCUMENTS" not in name})
    copying = Copying(running_cloud, project, run_seconds=0.1)
    copying.found(SUNDAY - timedelta(hours=14))
    copying.chalice("deploy", "--stage", STAGE)
    running_cloud.set_seconds(copy=NEVER)
    return copying


def test_a_night_with_copies(copying: Copying) -> None:
    """The restore is at five o'clock in Amsterdam, which is 04:00 UTC in winter."""
    before = copying.parameters("current")
    shared = copying.share_both(SUNDAY)

    copying.fire(UPDATE, SUNDAY)

    # Until the copies are there the restore waits.
    restore = copying.fire(RESTORE, SUNDAY + timedelta(hours=2))
    assert (restore["outcome"], restore["reason"]) == ("failed", "copy-pending")
    assert copying.parameters("current") == before
    assert set(copying.parameters("latest").values()) == {"dummyvalue"}

    copying.finish()
    copying.fire(RECONCILE, SUNDAY + timedelta(hours=2, minutes=30))
    status, started = copying.signed("POST", "/refresh", {"reason": "the copy took long"})
    assert (status, started["outcome"]) == (200, "started")
    assert copying.followed(started["execution_id"]) == "Succeeded"
    current = copying.parameters("current")
    assert copying.parameters("latest") == current
    assert set(copying.clusters().values()) == set(current.values())
    assert copying.sources("current") == shared
    key = f"arn:aws:kms:{REGION}:{ACCEPTANCE}:key/{copying.variables['ORDERS_COPY_KMS_KEY_ID']}"
    assert {copying.own()[arn]["KmsKeyId"] for arn in current.values()} == {key}


def test_the_doctor_looks_at_shares_and_their_key_where_they_are(copying: Copying) -> None:
    words = ("doctor", "--stage", STAGE, "--json", "--project", str(copying.project))
    doctor = invoke(*words, environment=copying.environment())
    seen = {(each["check"], each["status"]) for each in json.loads(doctor.stdout)}
    wanted = ("share", "key", "copy key", "role", "policy", "schedule")
    assert {each for each in seen if each[0] in wanted} == {(name, "ok") for name in wanted}


def test_copies_are_kept_within_their_number(copying: Copying) -> None:
    """Follows the night above: what nothing leads to any more goes, and nothing else.

    The pipeline's events are lost, so the polls see the ends of the runs. In the last night somebody else copies as
    many as RDS can, so a poll starts ours.
    """
    copying.cloud.patch_pipeline(PIPELINE, loses_events=True)
    (first,) = copying.copies_of("orders")
    copying.copy_by_hand(first, "aurora-refresh-copy-of-somebody-s")
    for weeks, reason in ((2, None), (4, "copy-quota")):
        night = SUNDAY + timedelta(weeks=weeks)
        for number in range(COPIES_IN_PROGRESS_PER_REGION if reason else 0):
            copying.copy_by_hand(first, f"somebody-s-{number}")
        shared = copying.share_both(night)
        asked = copying.fire(UPDATE, night)
        assert [each.get("reason") for each in asked["databases"]] == [reason, reason]
        copying.finish()
        copying.fire(RECONCILE, night + timedelta(minutes=15))
        copying.finish()
        copying.fire(UPDATE, night + timedelta(minutes=30))  # which records what no poll has
        assert copying.sources("latest") == shared
        started = copying.fire(RESTORE, night + timedelta(hours=2))
        assert copying.cloud.wait_for_run(started["execution_id"], PIPELINE) == "Succeeded"
        copying.fire(RECONCILE, night + timedelta(hours=3))

    # One copy is kept, and the one before it, to which a rollback would lead.
    kept = copying.copies_of("orders")
    assert (len(kept), first in kept) == (2, False)
    assert copying.parameters("current")["orders"] in kept
    assert len(copying.copies_of("billing")) == 3
    assert [arn for arn in copying.own() if arn.endswith("-of-somebody-s")] != []


@pytest.mark.parametrize("function", [UPDATE, RECONCILE])
def test_every_call_is_allowed_and_every_grant_was_used(copying: Copying, function: str) -> None:
    deployed = deployed_name(STAGE, function)
    policy = policy_of(copying.cloud.client("iam"), deployed)
    calls = calls_of(copying.cloud.calls(), deployed)
    assert calls
    assert [call for call in calls if not permits(policy, *call)] == []
    # RDS uses keys in the function's name; test_permissions.py moves *current*.
    assert {
        (action, resource)
        for action, resource in unused(policy, calls)
        if not action.startswith("kms:") and not resource.endswith("/current-snapshot")
    } == set()
