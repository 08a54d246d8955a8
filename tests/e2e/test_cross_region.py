"""Production shares in one Region, acceptance restores in another, and neither Region knows of the other."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.company import PIPELINE, STAGE, Company, nightly
from tests.e2e.conftest import PROJECT, RECONCILE, RESTORE, UPDATE

ELSEWHERE = "us-east-1"
NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)
SOURCE_KEY = f"arn:aws:kms:{ELSEWHERE}:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"


@pytest.fixture(scope="module")
def company(new_company: Callable[..., Company]) -> Company:
    def answers(cloud: LocalCloud) -> dict[str, str]:
        key = cloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
        return {"SOURCE_REGION": ELSEWHERE, "RDS_COPY_KMS_KEY_ID": key}

    company = new_company(answers=answers)
    company.chalice("deploy", "--stage", STAGE)
    return company


def fire(company: Company, function: str, time: datetime) -> Any:
    company.cloud.set_clock(time)
    (record,) = company.cloud.fire(function, time)
    assert record["status"] == "succeeded", record
    return record["payload"]


def test_a_share_of_another_region_is_copied_into_this_one_and_restored(company: Company) -> None:
    encrypted = {"kms_key_id": SOURCE_KEY, "kms_granted_to": [ACCEPTANCE]}
    here = nightly("orders", NIGHT - timedelta(hours=1))
    there = nightly("orders", NIGHT - timedelta(hours=6), region=ELSEWHERE, **encrypted)
    _, share = company.cloud.seed_snapshots([here, there])["arns"]
    company.cloud.patch_snapshot(share, copy_seconds=0)
    assert share.split(":")[3] == ELSEWHERE

    asked = fire(company, UPDATE, NIGHT)

    copy = company.parameter(company.latest)
    assert (asked["outcome"], copy.split(":")[3:5]) == ("updated", [REGION, ACCEPTANCE])
    rds = company.cloud.client("rds")
    (made,) = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert (made["DBClusterSnapshotArn"], made["SourceDBClusterSnapshotArn"]) == (copy, share)
    assert made["KmsKeyId"].split(":")[3] == REGION

    fire(company, RECONCILE, NIGHT + timedelta(minutes=15))
    restored = fire(company, RESTORE, NIGHT + timedelta(hours=2))
    assert company.cloud.wait_for_run(restored["execution_id"], PIPELINE) == "Succeeded"
    assert company.parameter(company.current) == copy
    assert copy in company.clusters().values()

    status, listed = company.cloud.signed("GET", "/snapshots")
    assert status == 200
    assert [(each["arn"], each["chosen"]) for each in listed["snapshots"]] == [(share, True)]
    status, refused = company.cloud.signed("PUT", "/snapshots/current", {"snapshot": share})
    assert status == 409
    assert f"is in {ELSEWHERE}" in refused["Message"]


def test_the_doctor_looks_at_shares_and_their_key_where_they_are(company: Company) -> None:
    doctor = subprocess.run(
        [
            *(sys.executable, "-m", "cli.main", "doctor", "--stage", STAGE, "--json"),
            *("--project", str(company.project)),
        ],
        cwd=PROJECT,
        env=company.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = ("share", "key", "copy key", "role")
    seen = {
        (each["check"], each["status"])
        for each in json.loads(doctor.stdout)
        if each["check"] in wanted
    }
    assert seen == {(name, "ok") for name in wanted}
