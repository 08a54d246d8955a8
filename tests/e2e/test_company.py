"""A company of two Aurora clusters, DocumentDB and Neptune, refreshed by one run, two of them from copies.

The package, the roles and the schedules are as ``aurora-refresh configure`` and ``chalice deploy`` make them.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, STRANGER
from localcloud.client import LocalCloud
from localcloud.company import STACK, STAGE, Company, Database, arn_of
from localcloud.shares import COPIES_IN_PROGRESS_PER_REGION
from tests.e2e.conftest import PROJECT, RECONCILE, RESTORE, UPDATE
from tests.e2e.test_permissions import listed, permits
from tests.unit.test_stage_policies import findings

PRODUCTIONS_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)
NEVER = 3_600  # seconds that a copy takes unless a test ends it
ANSWERS = {
    "MAIN_PIPELINE_ARN": f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:acceptance-main",
    "DATABASES": "ORDERS,BILLING,DOCUMENTS,GRAPH",
    "ORDERS_COPIES_TO_KEEP": "1",
    "RESTORE_SCHEDULE": "cron(0 5 ? * SUN *) Europe/Amsterdam",
    **{
        f"SSM_{prefix}_{which}_SNAPSHOT_NAME": f"/acceptance/{prefix.lower()}/{which.lower()}"
        for prefix in ("ORDERS", "BILLING", "DOCUMENTS", "GRAPH")
        for which in ("LATEST", "CURRENT")
    },
    **{
        f"{prefix}_{name}": value
        for prefix, engine, version in (
            ("ORDERS", "aurora-postgresql", "15"),
            ("BILLING", "aurora-mysql", "8.0"),
            ("DOCUMENTS", "docdb", "5"),
            ("GRAPH", "neptune", "1.3"),
        )
        for name, value in (
            ("ENGINE", engine),
            ("ENGINE_VERSION", version),
            ("SOURCE_CLUSTER", prefix.lower()),
            ("STACK_NAME", f"{STACK}/{prefix.title()}"),
        )
    },
}


class CopyPolicy:
    """The company's cloud, in which a copy takes for ever unless it is told to end."""

    def __init__(self, company: Company, key: str) -> None:
        self.company = company
        self.cloud = company.cloud
        self.key = key
        self.orders, self.billing, self.documents, _ = company.databases

    def share(self, night: datetime, **of_orders: Any) -> dict[str, str]:
        """Production shares a snapshot of each cluster; their ARNs."""
        self.company.notifications()  # by the clock of the night before: a queue forgets
        shared = {}
        for database in self.company.databases:
            encrypted = {"kms_key_id": PRODUCTIONS_KEY, "kms_granted_to": [ACCEPTANCE]}
            facts = encrypted | (of_orders if database is self.orders else {})
            taken = database.nightly(night - timedelta(hours=6), **facts)
            self.cloud.seed_snapshots([taken])
            shared[database.source] = arn_of(taken)
        return shared

    def fire(self, function: str, time: datetime) -> Any:
        self.cloud.set_clock(time)
        (record,) = self.cloud.fire(function, time)
        assert record["status"] == "succeeded", record
        return record["payload"]

    def own(self) -> dict[str, dict[str, Any]]:
        """Acceptance's manual snapshots, by ARN."""
        listed = self.cloud.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
        return {each["DBClusterSnapshotArn"]: each for each in listed["DBClusterSnapshots"]}

    def copies_of(self, database: Database) -> dict[str, str]:
        """Its copies' states, by ARN."""
        return {
            arn: each["Status"]
            for arn, each in self.own().items()
            if each["DBClusterIdentifier"] == database.source
            and "aurora-refresh-copy-" in arn
            and each["TagList"]
        }

    def finish(self, status: str = "available") -> None:
        """Every copy comes to its end."""
        for arn, each in self.own().items():
            if each["Status"] == "copying":
                self.cloud.patch_snapshot(arn, status=status)

    def parameters(self, which: str) -> dict[str, str]:
        return {
            each.source: self.company.parameter(getattr(each, which))
            for each in self.company.databases
        }


@pytest.fixture(scope="module")
def copying(new_company: Callable[..., Company]) -> CopyPolicy:
    def project(company_cloud: LocalCloud) -> dict[str, str]:
        kms = company_cloud.client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/documents", TargetKeyId=key)
        return {
            "ORDERS_COPY_KMS_KEY_ID": key,
            "DOCUMENTS_COPY_KMS_KEY_ID": "alias/documents",
        }

    company = new_company(answers=lambda cloud: ANSWERS | project(cloud))
    company.chalice("deploy", "--stage", STAGE)
    key = company.variables["ORDERS_COPY_KMS_KEY_ID"]
    company.cloud.patch_snapshot(
        arn_of(company.databases[0].nightly(datetime(2025, 12, 20, 12, tzinfo=UTC))),
        copy_seconds=NEVER,
    )
    return CopyPolicy(company, f"arn:aws:kms:{REGION}:{ACCEPTANCE}:key/{key}")


def test_a_restore_in_a_time_zone_ignores_the_firing_at_its_summer_hour(
    copying: CopyPolicy,
) -> None:
    """The nights below are restored at 04:00 UTC, which is 05:00 in Amsterdam."""
    name = f"aurora-refresh-{STAGE}-{RESTORE}-event"
    rule = copying.cloud.client("events").describe_rule(Name=name)
    assert rule["ScheduleExpression"] == "cron(0 3,4 ? * SUN *)"
    answer = copying.fire(RESTORE, SUNDAY + timedelta(hours=1))
    assert (answer["outcome"], answer["reason"]) == ("ignored", None)
    assert copying.company.notifications() == []


def test_a_night_with_copies(copying: CopyPolicy) -> None:
    """One story, since each chapter needs what the one before has left: a copy takes half a night."""
    before = copying.parameters("current")
    shared = copying.share(SUNDAY)

    asked = copying.fire(UPDATE, SUNDAY)

    assert asked["outcome"] == "updated"
    assert [(each["name"], each["outcome"]) for each in asked["databases"]] == [
        ("orders", "unchanged"),
        ("billing", "updated"),
        ("documents", "unchanged"),
        ("graph", "updated"),
    ]
    (orders,) = copying.copies_of(copying.orders)
    (documents,) = copying.copies_of(copying.documents)
    assert copying.copies_of(copying.billing) == {}
    assert asked["databases"][0]["copy"] == {
        "arn": orders,
        "source": shared["orders"],
        "status": "copying",
        "progress": 0,
    }

    # The update is delivered twice, the poll finds nothing to do yet, and the restore waits.
    copying.fire(UPDATE, SUNDAY)
    assert copying.fire(RECONCILE, SUNDAY + timedelta(minutes=15))["outcome"] == "unchanged"
    restore = copying.fire(RESTORE, SUNDAY + timedelta(hours=2))
    assert (restore["outcome"], restore["reason"]) == ("failed", "copy-pending")
    assert copying.parameters("current") == before
    assert copying.parameters("latest") == {
        "orders": "dummyvalue",
        "billing": shared["billing"],
        "documents": "dummyvalue",
        "graph": shared["graph"],
    }
    assert list(copying.copies_of(copying.orders)) == [orders]

    copying.finish()
    followed = copying.fire(RECONCILE, SUNDAY + timedelta(hours=2, minutes=30))
    assert [each["outcome"] for each in followed["databases"]] == ["updated", "updated"]
    assert followed["databases"][0]["age_hours"] == 8.5  # the data's age, not the copy's
    wanted = shared | {"orders": orders, "documents": documents}
    assert copying.parameters("latest") == wanted

    status, started = copying.cloud.signed("POST", "/refresh", {"reason": "the copy took long"})
    assert (status, started["outcome"]) == (200, "started")
    assert copying.company.followed(started["execution_id"]) == "Succeeded"
    assert copying.parameters("current") == wanted
    clusters = copying.cloud.client("rds").describe_db_clusters()["DBClusters"]
    assert {each["DBClusterIdentifier"].rsplit("-", 1)[0]: each["Engine"] for each in clusters} == {
        "acceptance-orders": "aurora-postgresql",
        "acceptance-billing": "aurora-mysql",
        "acceptance-documents": "docdb",
        "acceptance-graph": "neptune",
    }
    assert set(copying.company.clusters().values()) == set(wanted.values())
    keys = {arn: each["KmsKeyId"] for arn, each in copying.own().items() if arn in wanted.values()}
    assert keys == dict.fromkeys((orders, documents), copying.key)


def test_copies_are_kept_within_their_number(copying: CopyPolicy) -> None:
    """Follows the night above: cycle by cycle, what nothing leads to any more goes, and nothing else."""
    rds = copying.cloud.client("rds")
    (first,) = copying.copies_of(copying.orders)
    rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=first,
        TargetDBClusterSnapshotIdentifier="aurora-refresh-copy-of-somebody-s",
    )
    kept = []
    for cycle in range(1, 4):
        night = SUNDAY + timedelta(weeks=2 * cycle)
        copying.share(night)
        copying.fire(UPDATE, night)
        copying.finish()
        copying.fire(RECONCILE, night + timedelta(minutes=15))
        started = copying.fire(RESTORE, night + timedelta(hours=2))
        assert started["outcome"] == "started", started
        assert copying.company.followed(started["execution_id"]) == "Succeeded"
        copying.fire(RECONCILE, night + timedelta(hours=3))
        kept.append(list(copying.copies_of(copying.orders)))

    # One copy is kept, and the one before it, to which a rollback would lead.
    assert [len(each) for each in kept] == [2, 2, 2]
    assert first not in kept[-1]
    current = copying.parameters("current")["orders"]
    assert current in kept[-1]
    assert len(copying.copies_of(copying.documents)) == 3
    (foreign,) = [arn for arn in copying.own() if arn.endswith("-of-somebody-s")]
    assert copying.own()[foreign]["TagList"] == []


def test_a_copy_that_fails_is_told_once_and_made_anew(copying: CopyPolicy) -> None:
    night = SUNDAY + timedelta(weeks=8)
    copying.share(night)
    latest = copying.parameters("latest")
    copying.fire(UPDATE, night)
    copying.finish("failed")

    failed = copying.fire(RECONCILE, night + timedelta(minutes=15))
    again = copying.fire(RECONCILE, night + timedelta(minutes=30))

    assert (failed["outcome"], failed["reason"]) == ("failed", "copy-failed")
    assert again["outcome"] == "unchanged"
    assert [each["Subject"] for each in copying.company.notifications()] == [
        "aurora-refresh: REFRESH FAILED: copy-failed (orders,documents)"
    ]
    after = copying.parameters("latest")
    assert after == after | {name: latest[name] for name in ("orders", "documents")}
    anew = copying.fire(UPDATE, night + timedelta(hours=1))
    assert anew["databases"][0]["copy"]["status"] == "copying"
    copying.finish()
    copying.fire(UPDATE, night + timedelta(hours=2))  # which records what the poll has not yet
    assert copying.parameters("latest")["orders"] == anew["databases"][0]["copy"]["arn"]


def test_the_poll_starts_the_copies_that_rds_had_no_room_for(copying: CopyPolicy) -> None:
    night = SUNDAY + timedelta(weeks=10)
    rds = copying.cloud.client("rds")
    (old, *_) = copying.copies_of(copying.orders)
    for number in range(COPIES_IN_PROGRESS_PER_REGION):  # somebody else copies as many as RDS can
        rds.copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier=old,
            TargetDBClusterSnapshotIdentifier=f"somebody-s-{number}",
        )
    shared = copying.share(night)
    asked = copying.fire(UPDATE, night)
    reasons = [each.get("reason") for each in asked["databases"]]
    assert reasons == ["copy-quota", None, "copy-quota", None]
    copying.fire(RECONCILE, night + timedelta(minutes=15))
    copying.finish()

    polled = copying.fire(RECONCILE, night + timedelta(minutes=30))

    wanted = [shared["orders"], shared["documents"]]
    assert [each["copy"]["source"] for each in polled["databases"]] == wanted
    copying.finish()
    copying.fire(RECONCILE, night + timedelta(minutes=45))
    own, latest = copying.own(), copying.parameters("latest")
    sources = [own[latest[name]]["SourceDBClusterSnapshotArn"] for name in ("orders", "documents")]
    assert sources == wanted
    assert [each["Subject"] for each in copying.company.notifications()] == [
        "aurora-refresh: REFRESH FAILED: copy-quota (orders,documents)"
    ]


def test_a_copy_at_once_and_a_share_under_sse_rds(copying: CopyPolicy) -> None:
    """AWS's documents disagree about both, so each answer leads to a clear outcome."""
    night = SUNDAY + timedelta(weeks=10, days=1)
    (share,) = copying.cloud.seed_snapshots(
        [copying.orders.nightly(night - timedelta(hours=6), sse_rds=True)]
    )["arns"]
    at_once = {"copy_seconds": 0, "copies_keep_date": True}
    copying.cloud.patch_snapshot(share, encrypts_sse_rds=False, **at_once)
    week = timedelta(weeks=2)
    refused = copying.fire(UPDATE, night + week - timedelta(days=1))["databases"][0]
    copying.cloud.patch_snapshot(share, encrypts_sse_rds=True)
    (orders, *_) = copying.fire(UPDATE, night + week - timedelta(days=1))["databases"]
    copying.cloud.patch_snapshot(share, copy_seconds=NEVER, copies_keep_date=False)

    assert refused["reason"] == "copy-unencrypted"
    assert (orders["outcome"], orders["created"]) == (
        "updated",
        (night - timedelta(hours=6)).isoformat(),
    )
    made = copying.own()[orders["latest"]]
    assert made["SourceDBClusterSnapshotArn"] == share
    assert (made["KmsKeyId"], made["SnapshotCreateTime"]) == (
        copying.key,
        night - timedelta(hours=6),
    )


def test_production_s_key_withdrawn_is_told_by_name(copying: CopyPolicy) -> None:
    night = SUNDAY + timedelta(weeks=14)
    copying.share(night, kms_key_id=PRODUCTIONS_KEY.replace("key/1", "key/2"), kms_granted_to=[])
    answer = copying.fire(UPDATE, night)
    assert [(each["outcome"], each.get("reason")) for each in answer["databases"]] == [
        ("failed", "copy-key-denied"),
        ("updated", None),
        ("unchanged", None),
        ("updated", None),
    ]


# --- what each role lets its function do, weighed by moto's engine --------------------------------


def policy_of(copying: CopyPolicy, function: str) -> dict[str, Any]:
    """The deployed policy."""
    iam = copying.cloud.client("iam")
    role = f"aurora-refresh-{STAGE}-{function}"
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document: dict[str, Any] = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return document


def statements(copying: CopyPolicy, function: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = policy_of(copying, function)["Statement"]
    return found


SNAPSHOT = f"arn:aws:rds:{REGION}:{{}}:cluster-snapshot:{{}}"
THROUGH_RDS = {"kms:ViaService": f"rds.{REGION}.amazonaws.com"}
USES = ("CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom")


@pytest.mark.parametrize("function", [UPDATE, RESTORE, RECONCILE])
@pytest.mark.parametrize("action", ["CopyDBClusterSnapshot", "DeleteDBClusterSnapshot"])
@pytest.mark.parametrize(
    ("account", "name"),
    [
        (ACCEPTANCE, "aurora-refresh-copy-1"),
        (ACCEPTANCE, "payments"),
        (ACCEPTANCE, "rds:acceptance-orders-2026"),
        (PRODUCTION, "orders"),
        (STRANGER, "orders"),
        (PRODUCTION, "aurora-refresh-copy-1"),
    ],
)
def test_only_our_own_copies_are_made_and_deleted(
    copying: CopyPolicy, function: str, action: str, account: str, name: str
) -> None:
    ours = (account, name) == (ACCEPTANCE, "aurora-refresh-copy-1")
    may_copy = ours or account == PRODUCTION
    wanted = {
        (UPDATE, "CopyDBClusterSnapshot"): may_copy,
        (RECONCILE, "CopyDBClusterSnapshot"): may_copy,
        (RECONCILE, "DeleteDBClusterSnapshot"): ours,
    }.get((function, action), False)
    resource = SNAPSHOT.format(account, name)
    assert permits(policy_of(copying, function), f"rds:{action}", resource) == wanted


@pytest.mark.parametrize("use", USES)
def test_only_what_copies_uses_keys_and_through_rds_alone(copying: CopyPolicy, use: str) -> None:
    """moto does not weigh what keys are called: what is called otherwise the local cloud refuses."""
    action, elsewhere = f"kms:{use}", {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    keys = (PRODUCTIONS_KEY, copying.key)
    foreign = (
        PRODUCTIONS_KEY.replace(PRODUCTION, STRANGER),
        PRODUCTIONS_KEY.replace(REGION, "eu-west-2"),
    )
    for function in (UPDATE, RECONCILE):
        policy = policy_of(copying, function)
        assert [permits(policy, action, key, THROUGH_RDS) for key in keys] == [True, True]
        assert [permits(policy, action, key, elsewhere) for key in keys] == [False, False]
        assert [permits(policy, action, key, THROUGH_RDS) for key in foreign] == [False, False]
    other = policy_of(copying, RESTORE)
    assert not any(permits(other, action, key, THROUGH_RDS) for key in keys)


@pytest.mark.parametrize("use", ["Encrypt", "ScheduleKeyDeletion", "PutKeyPolicy", "RevokeGrant"])
def test_no_function_does_anything_else_with_a_key(copying: CopyPolicy, use: str) -> None:
    for function in (UPDATE, RECONCILE):
        policy = policy_of(copying, function)
        for key in (PRODUCTIONS_KEY, copying.key):
            assert not permits(policy, f"kms:{use}", key, THROUGH_RDS)


@pytest.mark.parametrize("function", [UPDATE, RECONCILE])
def test_every_call_is_allowed_and_every_grant_was_used(copying: CopyPolicy, function: str) -> None:
    """RDS uses the keys in the function's name: no call of its own tells of that; the next test does."""
    deployed, policy = f"aurora-refresh-{STAGE}-{function}", policy_of(copying, function)
    calls = {
        (call["operation"], resource)
        for call in copying.cloud.calls()
        if call["function"] == deployed
        for resource in call["resources"]
    }
    assert calls
    assert [call for call in calls if not permits(policy, *call)] == []
    unused = {
        (action, resource)
        for each in policy["Statement"]
        for action in listed(each["Action"])
        for resource in listed(each["Resource"])
        # A tag is weighed with the copy that it is put on; test_permissions.py moves *current*.
        if not action.startswith(("logs:", "kms:")) and action != "rds:AddTagsToResource"
        if not resource.endswith("/current")
        if not any(
            permits({"Statement": [{**each, "Action": action, "Resource": resource}]}, *call)
            for call in calls
        )
    }
    assert unused == set()


@pytest.fixture(scope="module")
def another_night(copying: CopyPolicy) -> datetime:
    """With shares that have no copies yet."""
    night = SUNDAY + timedelta(weeks=16)
    copying.share(night)
    return night


@pytest.mark.parametrize(
    "right",
    ["CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKey*", "ReEncrypt*"],
)
def test_without_one_right_on_the_keys_there_is_no_copy(
    copying: CopyPolicy, another_night: datetime, right: str
) -> None:
    iam, policy = copying.cloud.client("iam"), policy_of(copying, UPDATE)
    role = f"aurora-refresh-{STAGE}-{UPDATE}"
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    less = json.dumps(policy).replace(f'"kms:{right}"', '"kms:ListGrants"')
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=less)
    try:
        answer = copying.fire(UPDATE, another_night)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    assert {each["name"]: each.get("reason") for each in answer["databases"]} == {
        "orders": "copy-key-denied",
        "billing": None,
        "documents": "copy-key-denied",
        "graph": None,
    }


@pytest.mark.parametrize("function", [UPDATE, RECONCILE])
def test_a_linter_finds_nothing_in_the_roles(copying: CopyPolicy, function: str) -> None:
    assert findings(policy_of(copying, function)) == []


def test_the_policies_are_those_of_the_settings(copying: CopyPolicy) -> None:
    """Keys by id and by alias: the latter as a condition, since no policy can name one."""
    keys = {
        each["Sid"]: (each["Resource"], json.dumps(each["Condition"], sort_keys=True))
        for each in statements(copying, UPDATE)
        if each["Sid"].startswith("UseKeys")
    }
    through_rds = {"StringEquals": {"kms:ViaService": f"rds.{REGION}.amazonaws.com"}}
    by_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/documents"]}}
    production = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/*"
    assert keys == {
        "UseKeys": ([production, copying.key], json.dumps(through_rds)),
        "UseKeysByAlias": (
            f"arn:aws:kms:{REGION}:{ACCEPTANCE}:key/*",
            json.dumps(through_rds | by_alias, sort_keys=True),
        ),
    }


def test_the_doctor_knows_copies(copying: CopyPolicy) -> None:
    """What only `aurora-refresh deploy` makes is not here."""
    doctor = subprocess.run(
        [
            *(sys.executable, "-m", "cli.main", "doctor", "--stage", STAGE, "--json"),
            *("--project", str(copying.company.project)),
        ],
        cwd=PROJECT,
        env=copying.company.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    checks = json.loads(doctor.stdout)
    wanted = ("role", "policy", "schedule", "copy key")
    seen = {(each["check"], each["status"]) for each in checks if each["check"] in wanted}
    assert seen == {(name, "ok") for name in wanted}
    polls = [each for each in checks if each["subject"].endswith(f"{RECONCILE}-event")]
    assert [each["status"] for each in polls] == ["ok"]
