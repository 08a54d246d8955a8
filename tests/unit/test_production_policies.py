"""What production's functions may do: read here, weighed in tests/e2e/test_production.py."""

from typing import Any

import pytest

from chalicelib.domain.functions import FOLLOW_SHARES, SHARE
from chalicelib.domain.shares import PREFIX
from chalicelib.settings.production import ProductionSettings
from cli.policies import policies
from cli.stages import ProductionStage
from localcloud.authorization import Decision, decide
from tests.unit.test_stage_policies import THROUGH_RDS, findings, grants_of

CLUSTERS = ("billing", "documents", "orders")
TOPIC = "arn:aws:sns:eu-west-1:111111111111:aurora-refresh"
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
VARIABLES = {
    "SHARE_WITH_ACCOUNT": "222222222222",
    "CLUSTERS": ",".join(CLUSTERS),
    "SHARE_KMS_KEY_ID": "alias/shares",
    "NOTIFICATION_TOPIC_ARN": TOPIC,
}

RDS = "arn:aws:rds:eu-west-1:111111111111"
KEYS = "arn:aws:kms:eu-west-1:111111111111:key"
OWN = f"{RDS}:cluster-snapshot:{PREFIX}*"
LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")


def made(**changes: str) -> dict[str, dict[str, Any]]:
    """The policies of a stage `weekly` with these changes; "" removes a variable."""
    given = {name: value for name, value in (VARIABLES | changes).items() if value}
    settings = ProductionSettings.from_environment(given)
    return policies(ProductionStage("weekly", given, settings, "111111111111", "eu-west-1"))


def statements(function: str, **changes: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made(**changes)[function]["Statement"]
    return found


def grants(function: str, **changes: str) -> set[tuple[str, str]]:
    """Every action with every resource that it is granted on."""
    return set(grants_of(made(**changes)[function]))


def common(function: str) -> set[tuple[str, str]]:
    group = f"/aws/lambda/aurora-refresh-weekly-{function}"
    return {
        ("rds:DescribeDBClusterSnapshots", "*"),
        ("sns:Publish", TOPIC),
        *((each, f"arn:aws:logs:eu-west-1:111111111111:log-group:{group}:*") for each in LOGS),
    }


KEYLESS = {
    ("rds:DescribeDBClusters", "*"),
    *(("rds:CreateDBClusterSnapshot", f"{RDS}:cluster:{each}") for each in CLUSTERS),
    ("rds:CreateDBClusterSnapshot", OWN),
    ("rds:AddTagsToResource", OWN),
    ("kms:DescribeKey", f"{KEYS}/*"),
}


def test_share_may_take_snapshots_of_these_clusters_under_own_names_only() -> None:
    assert grants(SHARE) == common(SHARE) | KEYLESS | {
        *(
            ("rds:CopyDBClusterSnapshot", f"{RDS}:cluster-snapshot:rds:{each}-????-??-??-??-??")
            for each in CLUSTERS
        ),
        ("rds:CopyDBClusterSnapshot", OWN),
        ("kms:CreateGrant", f"{KEYS}/*"),
    }


def test_without_a_key_nothing_is_copied() -> None:
    assert grants(SHARE, SHARE_KMS_KEY_ID="") == common(SHARE) | KEYLESS


@pytest.mark.parametrize(
    ("automated", "allowed"),
    [
        ("rds:orders-2026-01-03-05-07", True),
        ("rds:orders-archive-2026-01-03-05-07", False),
        ("rds:orders-2-2026-01-03-05-07", False),
        ("rds:reorders-2026-01-03-05-07", False),
    ],
)
def test_automated_snapshots_of_similarly_named_clusters_cannot_be_copied(
    automated: str, *, allowed: bool
) -> None:
    snapshot = f"{RDS}:cluster-snapshot:{automated}"
    decision = decide([made()[SHARE]], "rds:CopyDBClusterSnapshot", snapshot)
    assert decision is (Decision.ALLOWED if allowed else Decision.IMPLICIT_DENY)


def test_follow_may_touch_own_snapshots_only() -> None:
    assert grants(FOLLOW_SHARES) == common(FOLLOW_SHARES) | {
        ("rds:DescribeDBClusterSnapshotAttributes", OWN),
        ("rds:ModifyDBClusterSnapshotAttribute", OWN),
        ("rds:DeleteDBClusterSnapshot", OWN),
    }


@pytest.mark.parametrize("key", ["alias/shares", f"{KEYS.removesuffix('key')}alias/shares"])
def test_a_key_by_its_alias_is_a_condition(key: str) -> None:
    (use,) = [each for each in statements(SHARE, SHARE_KMS_KEY_ID=key) if each["Sid"] == "UseKey"]
    assert (use["Resource"], use["Condition"]) == (
        f"{KEYS}/*",
        THROUGH_RDS | {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/shares"]}},
    )


@pytest.mark.parametrize("key", [KEY, f"{KEYS}/{KEY}"])
def test_a_key_by_its_id_is_a_resource(key: str) -> None:
    (use,) = [each for each in statements(SHARE, SHARE_KMS_KEY_ID=key) if each["Sid"] == "UseKey"]
    assert (use["Resource"], use["Condition"]) == (f"{KEYS}/{KEY}", THROUGH_RDS)


def test_without_a_topic_nothing_may_be_published() -> None:
    for function in made():
        actions = {action for action, _ in grants(function, NOTIFICATION_TOPIC_ARN="")}
        assert "sns:Publish" not in actions


def test_a_linter_finds_nothing() -> None:
    assert findings(*made().values()) == []
