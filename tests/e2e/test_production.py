"""A production stage: deployed with its own roles, from the schedule to a share that acceptance can use."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from localcloud.client import LocalCloud
from localcloud.company import copy_project
from localcloud.production import STAGE, Production
from tests.e2e.conftest import PROJECT

SHARE = "db-share-snapshot"
FOLLOW_SHARES = "db-follow-shares"
DEPLOYED = f"aurora-refresh-{STAGE}"
CLUSTERS = ["orders", "billing", "documents"]
# Lambda itself writes a function's log; RDS makes a grant of a key, with the function's rights.
USED_BY_AWS = {
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "kms:CreateGrant",
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
        self.cloud.set_retries([0.05, 0.05])
        production.notifications()
        self.cloud.clear_calls()

    def share(self) -> dict[str, Any]:
        return answered(self.production.fire(SHARE, self.at))

    def follow(self) -> dict[str, Any]:
        return answered(self.production.fire(FOLLOW_SHARES, self.at + timedelta(minutes=15)))

    def settle(self, status: str = "available") -> None:
        """RDS has made what it was asked for."""
        for each in self.own():
            if each["Status"] in ("creating", "copying"):
                self.cloud.patch_snapshot(each["DBClusterSnapshotArn"], status=status)

    def to_its_end(self) -> None:
        self.share()
        self.settle()
        self.follow()

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


def answered(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of a function that succeeds at once."""
    (record,) = records
    assert record["status"] == "succeeded", record
    answer: dict[str, Any] = record["payload"]
    return answer


def outcomes(answer: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {each["name"]: (each["outcome"], each["reason"]) for each in answer["clusters"]}


@pytest.fixture(scope="module")
def production(running_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Production:
    """Production with the stage deployed, for all Saturdays of the module."""
    running_cloud.reset()
    project = tmp_path_factory.mktemp("project")
    copy_project(PROJECT, project)
    production = Production(running_cloud, project)
    production.found(datetime(2026, 1, 3, 4, tzinfo=UTC))
    automated = production.client("rds").describe_db_cluster_snapshots()["DBClusterSnapshots"]
    # It is a test that says when RDS has made something.
    running_cloud.patch_snapshot(automated[0]["DBClusterSnapshotArn"], copy_seconds=3600)
    production.chalice("deploy", "--stage", STAGE)
    return production


@pytest.fixture
def saturday(production: Production) -> Saturday:
    return Saturday(production)


def test_a_deployment_makes_two_functions_with_a_role_and_a_schedule_each(
    production: Production,
) -> None:
    functions = production.client("lambda").list_functions()["Functions"]
    assert {each["FunctionName"]: each["Role"].rpartition("/")[2] for each in functions} == {
        f"{DEPLOYED}-{name}": f"{DEPLOYED}-{name}" for name in (SHARE, FOLLOW_SHARES)
    }
    rules = production.client("events").list_rules()["Rules"]
    assert {each["Name"]: each["ScheduleExpression"] for each in rules} == {
        f"{DEPLOYED}-{SHARE}-event": "cron(0 22 ? * SAT *)",
        f"{DEPLOYED}-{FOLLOW_SHARES}-event": "rate(15 minutes)",
    }


def test_a_wrong_stage_fails_the_deployment_with_every_problem(
    production: Production, tmp_path: Path
) -> None:
    copy_project(PROJECT, tmp_path)
    wrong_production = Production(production.cloud, tmp_path)
    file = tmp_path / ".chalice/config.json"
    config = json.loads(file.read_text())
    wrong = {"SHARE_WITH_ACCOUNT": "acceptance", "CLUSTERS": "", "SHARES_TO_KEEP": "none"}
    config["stages"][STAGE]["environment_variables"].update(wrong)
    file.write_text(json.dumps(config))
    with pytest.raises(RuntimeError) as caught:
        wrong_production.chalice("deploy", "--stage", STAGE)
    printed = str(caught.value)
    assert "Traceback" not in printed
    assert [line.split(" is ")[0] for line in printed.splitlines() if line.startswith("  - ")] == [
        f"  - {name}" for name in wrong
    ]


def test_a_snapshot_of_each_cluster_is_taken_shared_once_available_and_restored_in_acceptance(
    saturday: Saturday,
) -> None:
    asked = saturday.share()
    assert outcomes(asked) == dict.fromkeys(CLUSTERS, ("asked", None))
    waiting = saturday.follow()
    assert outcomes(waiting) == dict.fromkeys(CLUSTERS, ("unchanged", None))
    assert saturday.shares() == {name: [] for name in CLUSTERS}

    saturday.settle()
    assert outcomes(saturday.follow()) == dict.fromkeys(CLUSTERS, ("shared", None))

    shares = saturday.shares()
    assert {
        name: [each["DBClusterSnapshotArn"] for each in found] for name, found in shares.items()
    } == {each["name"]: [each["snapshot"]] for each in asked["clusters"]}
    keys = {name: found[0].get("KmsKeyId") for name, found in shares.items()}
    own_key = saturday.production.key
    assert keys == {"orders": None, "billing": own_key, "documents": own_key}
    for name, (share,) in shares.items():
        # Under the key's policy in docs/production.md.
        saturday.cloud.client("rds").restore_db_cluster_from_snapshot(
            DBClusterIdentifier=f"acceptance-{name}",
            SnapshotIdentifier=share["DBClusterSnapshotArn"],
            Engine=share["Engine"],
            EngineVersion=share["EngineVersion"],
        )
    assert saturday.subjects() == []


def test_a_schedule_that_fires_twice_takes_one_snapshot(saturday: Saturday) -> None:
    saturday.share()
    before = {each["DBClusterSnapshotIdentifier"] for each in saturday.own()}
    assert outcomes(saturday.share()) == dict.fromkeys(CLUSTERS, ("unchanged", None))
    assert {each["DBClusterSnapshotIdentifier"] for each in saturday.own()} == before
    saturday.settle()
    saturday.follow()


def test_the_oldest_of_ours_go_and_nothing_else(production: Production) -> None:
    stranger = f"aurora-refresh-share-{'0' * 32}"
    production.client("rds").create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier=stranger
    )
    saturdays = []
    for _ in range(4):
        saturday = Saturday(production)
        saturday.to_its_end()
        saturdays.append(saturday.at)
    for found in saturday.shares().values():
        taken = [
            each["SnapshotCreateTime"].replace(minute=0, second=0, microsecond=0) for each in found
        ]
        assert taken == saturdays[:0:-1]
    own = {each["DBClusterSnapshotIdentifier"] for each in saturday.own()}
    assert stranger in own
    assert len(own) == 1 + 3 * len(CLUSTERS)
    saturday.rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=stranger)


def test_one_that_failed_is_told_of_and_deleted(saturday: Saturday) -> None:
    saturday.share()
    before = len(saturday.own())
    saturday.settle("failed")
    assert outcomes(saturday.follow()) == dict.fromkeys(CLUSTERS, ("failed", "share-failed"))
    assert len(saturday.own()) == before - len(CLUSTERS)
    names = ",".join(CLUSTERS)
    assert saturday.subjects() == [f"aurora-refresh: SHARING FAILED: share-failed ({names})"]


@pytest.fixture
def keyless(saturday: Saturday) -> Iterator[Saturday]:
    """A stage without SHARE_KMS_KEY_ID."""
    functions = saturday.production.client("lambda")
    name = f"{DEPLOYED}-{SHARE}"
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    without = {each: value for each, value in before.items() if each != "SHARE_KMS_KEY_ID"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": without})
    yield saturday
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": before})


def test_a_cluster_under_the_default_key_is_refused_in_words_without_another_key(
    keyless: Saturday,
) -> None:
    answer = keyless.share()
    assert (answer["outcome"], answer["reason"]) == ("failed", "default-key")
    assert "documents is encrypted under this account's default key aws/rds" in answer["message"]
    assert outcomes(answer) == {
        "orders": ("asked", None),
        "billing": ("asked", None),
        "documents": ("failed", "default-key"),
    }
    assert keyless.subjects() == ["aurora-refresh: SHARING FAILED: default-key (documents)"]


# --- what each role allows ------------------------------------------------------------------------


def role(production: Production, function: str) -> tuple[str, str, dict[str, Any]]:
    """The role, its only policy, and what that says."""
    iam, name = production.client("iam"), f"{DEPLOYED}-{function}"
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    return name, policy, document


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def any_cluster(resource: str) -> str:
    """What a role may do to one of the clusters it may do to all, whatever their keys."""
    return re.sub("|".join(CLUSTERS), "CLUSTER", resource)


def test_each_role_allows_nothing_that_is_not_used(production: Production) -> None:
    journal = []
    for _ in range(4):
        saturday = Saturday(production)
        saturday.to_its_end()
        journal += saturday.cloud.calls()
    saturday = Saturday(production)
    saturday.cloud.set_faults([{"operation": "rds:DescribeDBClusters", "kind": "deny"}])
    attempts = production.fire(SHARE, saturday.at)
    assert [record["status"] for record in attempts] == ["failed", "succeeded"]
    saturday.settle("failed")
    saturday.follow()
    journal += saturday.cloud.calls()
    for function in (SHARE, FOLLOW_SHARES):
        used = {
            (call["operation"], any_cluster(resource))
            for call in journal
            if call["function"] == f"{DEPLOYED}-{function}"
            for resource in call["resources"]
        }
        _, _, document = role(production, function)
        idle = {
            (action, pattern)
            for statement in document["Statement"]
            for action in statement["Action"]
            for pattern in map(any_cluster, listed(statement["Resource"]))
            if action not in (*USED_BY_AWS, "rds:AddTagsToResource")
            and not any(
                action == done and fnmatchcase(resource, pattern) for done, resource in used
            )
        }
        assert idle == set()


@pytest.mark.parametrize(
    ("sid", "refused"),
    [
        ("UseKey", ("failed", "copy-key-denied")),
        ("TagSnapshots", None),
        ("CopyAutomatedSnapshots", None),
        ("ReadKeys", None),
    ],
)
def test_what_is_used_without_a_call_of_its_own_is_needed_as_well(
    saturday: Saturday, sid: str, refused: tuple[str, str] | None
) -> None:
    """Tags, and the use of a key, are weighed with the call that they come with."""
    iam = saturday.production.client("iam")
    name, policy, document = role(saturday.production, SHARE)
    less = [each for each in document["Statement"] if each["Sid"] != sid]
    assert len(less) == len(document["Statement"]) - 1

    def grant(statements: list[dict[str, Any]]) -> None:
        told = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=told)

    grant(less)
    try:
        records = saturday.production.fire(SHARE, saturday.at)
    finally:
        grant(document["Statement"])
    if refused:
        assert outcomes(answered(records))["documents"] == refused
    else:
        assert [record["status"] for record in records] == ["failed"] * 3
        assert "AccessDenied" in records[0]["error"]["errorMessage"]
