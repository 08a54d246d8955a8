"""`aurora-refresh live-check` on the local cloud; with `pytest -m live`, in the account in use."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from click.testing import Result

from cli import calls, livecheck
from cli.livecheck.facts import EXPERIMENTS, FACTS
from cli.livecheck.sandbox import Sandbox
from demo.acceptance import nightly
from localcloud.client import LocalCloud
from tests.e2e.conftest import PROJECT, invoke

NOW = datetime(2026, 1, 4, 12, tzinfo=UTC)
# What the local cloud does where AWS's documentation is silent.
SILENT = {
    "identical-put": "a new version",
    "inherited-description": "that of the version before",
    "event-time": "the minute",
    "resolved-value": "the one before the update",
    "old-token": "the same run",
    "copy-date": "its own",
    "copy-status": "copying",
    "copy-encrypted": "none: refused with InvalidParameterCombination",
}


@pytest.fixture
def cloud(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> LocalCloud:
    monkeypatch.setattr(calls, "_POLL_SECONDS", 0.1)
    return cloud


def run(cloud: LocalCloud, *words: str) -> Result:
    return invoke("live-check", *words, environment=cloud.environment())


def made(cloud: LocalCloud) -> list[str]:
    """What a check has made and not deleted."""
    rds = cloud.client("rds")
    listings = (
        cloud.client("ssm").describe_parameters()["Parameters"],
        cloud.client("sqs").list_queues().get("QueueUrls", []),
        cloud.client("events").list_rules()["Rules"],
        cloud.client("codepipeline").list_pipelines()["pipelines"],
        cloud.client("s3").list_buckets()["Buckets"],
        cloud.client("iam").list_roles()["Roles"],
        rds.describe_db_clusters()["DBClusters"],
        rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"],
    )
    return [str(each) for listed in listings for each in listed if "live-check" in str(each)]


def test_each_fact_is_as_documented_and_nothing_is_left(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fire(seconds: float) -> None:
        """Fire the check's rule, as EventBridge does every minute, while the check waits for it."""
        for queue in cloud.client("sqs").list_queues().get("QueueUrls", []):
            with suppress(ValueError):  # the rule has no target yet
                cloud.fire(queue.rsplit("/", 1)[1], NOW, wait=False)
        sleep(seconds)

    monkeypatch.setattr(calls, "sleep", fire)
    cloud.seed_snapshots([nightly("orders", NOW - timedelta(hours=6))])
    ended = run(cloud, "--with-cluster", "--yes", "--json")
    assert ended.exit_code == 0, ended.stdout
    assert "costs less than 0.10 USD" in ended.stderr
    report = json.loads(ended.stdout)
    found = {each["fact"]: each["found"] for each in report["findings"]}
    assert found == {each.fact: each.expected for each in FACTS if each.expected} | SILENT
    assert (report["problems"], made(cloud)) == ([], [])


def test_each_fact_has_its_experiment_and_is_in_the_document() -> None:
    assert {each.experiment for each in FACTS} == {each.__name__ for each in EXPERIMENTS}
    document = (PROJECT / "docs/live-check.md").read_text()
    listed = re.findall(r"^\| `([a-z][\w-]+)` \| (.+) \| (.+) \| (.+) \|$", document, re.MULTILINE)
    assert listed == [
        (each.fact, each.claim, each.expected or "either is handled", each.source) for each in FACTS
    ]


def interrupted(cloud: LocalCloud, number: int) -> tuple[int, str]:
    """Send a check a signal when it has made most things."""
    command = [sys.executable, "-m", "cli.main", "live-check", "--yes"]
    environment = os.environ | cloud.environment()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, text=True, **pipes) as check:
        for line in check.stderr or ():
            if line.startswith("trying rules"):
                break
        check.send_signal(number)
        printed, _ = check.communicate()
        return check.returncode, printed


def test_a_check_makes_nothing_unasked_and_deletes_all_if_it_is_stopped(cloud: LocalCloud) -> None:
    ended = run(cloud)
    assert (ended.exit_code, ended.stdout, made(cloud)) == (2, "", [])
    assert "account 222222222222 (arn:aws:iam::222222222222:user/admin)" in ended.stderr
    assert "costs less than 0.01 USD" in ended.stderr
    status, printed = interrupted(cloud, signal.SIGTERM)
    assert (status, made(cloud)) == (1, [])
    assert printed.endswith("the check was stopped\n")


def test_a_refusal_is_named_and_what_a_killed_check_left_can_be_deleted(cloud: LocalCloud) -> None:
    interrupted(cloud, signal.SIGKILL)
    left = made(cloud)
    assert len(left) > 4
    (name,) = set(re.findall(r"aurora-refresh-live-check-[0-9a-f]{8}", str(left)))
    denied = ("iam:DeleteRole", "events:PutRule", "sqs:CreateQueue")
    cloud.set_faults([{"operation": each, "kind": "deny", "times": 0} for each in denied])
    ended = run(cloud, "--yes", "--json")
    report = json.loads(ended.stdout)
    found = {each["fact"]: (each["verdict"], each["found"]) for each in report["findings"]}
    verdict, reason = found["rule-state"]
    assert (ended.exit_code, verdict, "AccessDeniedException" in reason) == (1, "not tried", True)
    assert found["copy-date"][1].endswith("needs --with-cluster")
    (role,) = report["problems"]
    (kept,) = set(made(cloud)) - {*left}
    assert ("DeleteRole" in role, ":role/" in kept) == (True, True)
    cloud.set_faults([])
    assert run(cloud, "--yes", "--delete", "aurora-refresh-acceptance").exit_code == 2
    ended = run(cloud, "--yes", "--delete", name)
    assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (0, f"{name} is deleted")
    assert made(cloud) == [kept]


def test_a_deletion_without_an_answer_is_named_and_stops_no_other() -> None:
    lost = Mock(side_effect=EndpointConnectionError(endpoint_url="https://x"))
    done = Mock()
    box: Any = Mock(_deletions=lambda: [("queue q", lost), ("topic t", done)])
    left = 'left behind: queue q: Could not connect to the endpoint URL: "https://x"'
    assert Sandbox.close(box) == [left]
    done.assert_called_once_with()


@pytest.mark.live
def test_aws_behaves_as_assumed() -> None:
    found = livecheck.check(Sandbox(boto3.Session()), print)
    assert livecheck.is_well(*found), found
