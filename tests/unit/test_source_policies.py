"""What each function of the app in production may do: read here, weighed in tests/e2e/test_source.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.functions import FOLLOW_SHARES, SHARE
from chalicelib.domain.shares import PREFIX
from localcloud.authorization import Decision, decide

CHALICE = Path(__file__).resolve().parents[2] / "source/.chalice"
STAGES = ("local", "production")
CLUSTERS = ("billing", "documents", "orders")

RDS = "arn:aws:rds:eu-west-1:111111111111"
KEYS = "arn:aws:kms:eu-west-1:111111111111:key/*"
OURS = f"{RDS}:cluster-snapshot:{PREFIX}*"
LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")


def config(stage: str) -> Any:
    return json.loads((CHALICE / "config.json").read_text())["stages"][stage]


def statements(stage: str, function: str) -> list[dict[str, Any]]:
    file = config(stage)["lambda_functions"][function]["iam_policy_file"]
    policy = json.loads((CHALICE / file).read_text())
    assert policy["Version"] == "2012-10-17"
    assert {each["Effect"] for each in policy["Statement"]} == {"Allow"}
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def grants(stage: str, function: str) -> set[tuple[str, str]]:
    """Every action with every resource that it is granted on."""
    return {
        (action, resource)
        for statement in statements(stage, function)
        for action in statement["Action"]
        for resource in listed(statement["Resource"])
    }


def common(stage: str, function: str) -> set[tuple[str, str]]:
    group = f"/aws/lambda/aurora-refresh-source-{stage}-{function}"
    return {
        ("rds:DescribeDBClusterSnapshots", "*"),
        ("sns:Publish", "arn:aws:sns:eu-west-1:111111111111:aurora-refresh-source"),
        *((each, f"arn:aws:logs:eu-west-1:111111111111:log-group:{group}:*") for each in LOGS),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_who_asks_for_snapshots_may_take_them_of_these_clusters_under_our_names_only(
    stage: str,
) -> None:
    assert grants(stage, SHARE) == common(stage, SHARE) | {
        ("rds:DescribeDBClusters", "*"),
        *(("rds:CreateDBClusterSnapshot", f"{RDS}:cluster:{each}") for each in CLUSTERS),
        *(
            ("rds:CopyDBClusterSnapshot", f"{RDS}:cluster-snapshot:rds:{each}-????-??-??-??-??")
            for each in CLUSTERS
        ),
        ("rds:CreateDBClusterSnapshot", OURS),
        ("rds:CopyDBClusterSnapshot", OURS),
        ("rds:AddTagsToResource", OURS),
        ("kms:DescribeKey", KEYS),
        ("kms:CreateGrant", KEYS),
    }


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("automated", "allowed"),
    [
        ("rds:orders-2026-01-03-05-07", True),
        ("rds:orders-archive-2026-01-03-05-07", False),
        ("rds:orders-2-2026-01-03-05-07", False),
        ("rds:reorders-2026-01-03-05-07", False),
    ],
)
def test_an_automated_snapshot_is_copied_of_these_clusters_and_of_none_named_alike(
    stage: str, automated: str, *, allowed: bool
) -> None:
    policy = {"Version": "2012-10-17", "Statement": statements(stage, SHARE)}
    snapshot = f"{RDS}:cluster-snapshot:{automated}"
    decision = decide([policy], "rds:CopyDBClusterSnapshot", snapshot)
    assert decision is (Decision.ALLOWED if allowed else Decision.IMPLICIT_DENY)


@pytest.mark.parametrize("stage", STAGES)
def test_a_poll_never_runs_twice_at_once(stage: str) -> None:
    functions = config(stage)["lambda_functions"]
    assert {name: each.get("reserved_concurrency") for name, each in functions.items()} == {
        SHARE: None,
        FOLLOW_SHARES: 1,
    }


@pytest.mark.parametrize("stage", STAGES)
def test_who_shares_may_touch_our_snapshots_only(stage: str) -> None:
    assert grants(stage, FOLLOW_SHARES) == common(stage, FOLLOW_SHARES) | {
        ("rds:DescribeDBClusterSnapshotAttributes", OURS),
        ("rds:ModifyDBClusterSnapshotAttribute", OURS),
        ("rds:DeleteDBClusterSnapshot", OURS),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_key_is_used_through_rds_only_and_only_the_stage_s_own(stage: str) -> None:
    (using,) = [each for each in statements(stage, SHARE) if "kms:CreateGrant" in each["Action"]]
    alias = config(stage)["environment_variables"]["SHARE_KMS_KEY_ID"]
    assert using["Condition"] == {
        "StringEquals": {"kms:ViaService": "rds.eu-west-1.amazonaws.com"},
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": [alias]},
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_function_has_a_policy_of_its_own_and_there_is_no_other(stage: str) -> None:
    functions = config(stage)["lambda_functions"]
    assert {name: each["iam_policy_file"] for name, each in functions.items()} == {
        name: f"policy-{stage}-{name}.json" for name in (SHARE, FOLLOW_SHARES)
    }
    assert len(list(CHALICE.glob(f"policy-{stage}-*.json"))) == 2


@pytest.mark.parametrize("stage", STAGES)
def test_the_policies_name_the_stage_s_clusters_and_topic(stage: str) -> None:
    variables = config(stage)["environment_variables"]
    assert sorted(variables["CLUSTERS"].split(",")) == [*CLUSTERS]
    for function in (SHARE, FOLLOW_SHARES):
        assert ("sns:Publish", variables["NOTIFICATION_TOPIC_ARN"]) in grants(stage, function)


def test_the_rooms_are_those_of_the_refresh() -> None:
    link = CHALICE.parent / "chalicelib"
    assert link.is_symlink()
    assert link.readlink() == Path("../chalicelib")
