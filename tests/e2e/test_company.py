"""A company of two Aurora clusters, PostgreSQL and MySQL, that restores copies: production shares in another Region.

The package, the roles and the schedules are as ``aurora-refresh configure`` and ``chalice deploy`` make them.
The demo of the company, which test_readme.py runs, has a cluster that is restored without a copy beside copied ones.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.functions import RECONCILE, RESTORE, UPDATE, deployed_name
from demo import company as demo
from demo.acceptance import PIPELINE, STAGE, Company, configure
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import COPIES_IN_PROGRESS_PER_REGION
from tests.e2e.conftest import NewProject, answer_of
from tests.e2e.test_permissions import calls_of, policy_of, unused

ELSEWHERE = "us-east-1"
PRODUCTIONS_KEY = f"arn:aws:kms:{ELSEWHERE}:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)
NEVER = 3_600  # seconds that a copy takes unless a test ends it
COPIED = {
    "DATABASES": "ORDERS,BILLING",
    "SOURCE_REGION": ELSEWHERE,
    "ORDERS_COPIES_TO_KEEP": "1",
    # Which is 04:00 UTC in winter.
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

    def copies_of(self, source: str) -> set[str]:
        tagged = {arn: each for arn, each in self.own().items() if each["TagList"]}
        return {arn for arn, each in tagged.items() if each["DBClusterIdentifier"] == source}

    def finish(self) -> None:
        """Every copy comes to its end."""
        for arn, each in self.own().items():
            if each["Status"] == "copying":
                self.cloud.patch_snapshot(arn, status="available")

    def restored(self) -> dict[str, str]:
        """What the copies that each *latest* holds were copied from; each cluster was restored from one."""
        own = self.own()
        copies = {each.source: self.parameter(each.latest) for each in self.databases}
        assert set(self.clusters().values()) == {*copies.values()}
        return {name: own[arn]["SourceDBClusterSnapshotArn"] for name, arn in copies.items()}


@pytest.fixture
def copying(cloud: LocalCloud, new_project: NewProject) -> Copying:
    kms = cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/billing", TargetKeyId=key)
    answers = demo.answers({"ORDERS": key, "BILLING": "alias/billing"}) | COPIED
    project = new_project()
    configure(project, **{name: answers[name] for name in answers if "DOCUMENTS" not in name})
    copying = Copying(cloud, project, run_seconds=0.1)
    copying.found(SUNDAY - timedelta(hours=14))
    copying.chalice("deploy", "--stage", STAGE)
    cloud.set_seconds(copy=NEVER)
    cloud.clear_calls()
    return copying


def test_copies_are_restored_and_expire_by_roles_that_allow_no_more(copying: Copying) -> None:
    """The pipeline's events are lost, so the polls see the ends of the runs.

    In the last night somebody else copies as many as RDS can, so a poll starts ours.
    """
    copying.cloud.patch_pipeline(PIPELINE, loses_events=True)
    kept: list[set[str]] = []
    pending, quota = (None, "copy-pending"), ("copy-quota", "snapshot-stale")
    for weeks, (reason, refusal) in ((0, pending), (2, pending), (4, quota)):
        night = SUNDAY + timedelta(weeks=weeks)
        for number in range(COPIES_IN_PROGRESS_PER_REGION if reason else 0):
            copying.client("rds").copy_db_cluster_snapshot(
                SourceDBClusterSnapshotIdentifier=next(iter(kept[0])),
                TargetDBClusterSnapshotIdentifier=f"aurora-refresh-copy-of-somebody-s-{number}",
            )
        shared = copying.share_both(night)
        asked = copying.fire(UPDATE, night)
        assert [each.get("reason") for each in asked["databases"]] == [reason, reason]
        restore = copying.fire(RESTORE, night + timedelta(hours=2))
        assert (restore["outcome"], restore["reason"]) == ("failed", refusal)
        copying.finish()
        copying.fire(RECONCILE, night + timedelta(hours=2, minutes=15))
        copying.finish()
        copying.fire(UPDATE, night + timedelta(hours=2, minutes=30))  # records what no poll has
        _, started = copying.signed("POST", "/refresh", {"reason": "the copy took long"})
        assert copying.cloud.wait_for_run(started["execution_id"], PIPELINE) == "Succeeded"
        copying.fire(RECONCILE, night + timedelta(hours=3))
        assert copying.restored() == shared
        kept.append(copying.copies_of("orders"))

    # One copy is kept, and the one before it, to which a rollback would lead.
    assert kept[2] == kept[1] - kept[0] | {copying.parameter(copying.current)}
    assert len(copying.copies_of("billing")) == 3
    assert str(copying.own().keys()).count("-of-somebody-s-") == COPIES_IN_PROGRESS_PER_REGION
    key = f"arn:aws:kms:{REGION}:{ACCEPTANCE}:key/{copying.variables['ORDERS_COPY_KMS_KEY_ID']}"
    assert {copying.own()[arn]["KmsKeyId"] for arn in kept[2]} == {key}

    for function in (UPDATE, RECONCILE):
        deployed = deployed_name(STAGE, function)
        policy = policy_of(copying.cloud.client("iam"), deployed)
        grants = unused(policy, calls_of(copying.cloud.calls(), deployed))
        # RDS uses keys in the function's name; test_permissions.py moves *current*.
        assert {
            (action, resource)
            for action, resource in grants
            if not action.startswith("kms:") and not resource.endswith("/current-snapshot")
        } == set()
