"""The same account, in memory and on the local cloud, as the contract suite arranges it."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import boto3

from chalicelib.aws.clients import BotoAws
from demo.acceptance import nightly
from demo.pipeline import create_pipeline
from localcloud.accounts import REGION, key_of
from localcloud.client import LocalCloud
from tests.fakes import ACCEPTANCE, DEFAULT_KEY, PRODUCTION, STACK, InMemoryAws, snapshot

NOW = datetime(2026, 1, 4, 4, tzinfo=UTC)
TAKEN = datetime(2026, 1, 3, 22, tzinfo=UTC)
PIPELINE = "main"
CURRENT = "/current"
MACHINE = f"arn:aws:states:eu-west-1:{ACCEPTANCE}:stateMachine:prepare"


def clients_of(cloud: LocalCloud, account: str = ACCEPTANCE) -> Callable[..., Any]:
    """Return a factory of an account's clients."""
    key = key_of(account)
    session = boto3.Session(key.access_key_id, key.secret_access_key, region_name=REGION)
    return functools.partial(session.client, endpoint_url=cloud.endpoint)


@functools.cache  # a client takes longer to make than most tests take to run
def boto_aws(cloud: LocalCloud, account: str = ACCEPTANCE) -> BotoAws:
    return BotoAws(clients_of(cloud, account), None)


class FakeStage:
    key, default_key = "alias/acceptance", DEFAULT_KEY

    def __init__(self, account: str) -> None:
        self.aws = InMemoryAws(NOW, account)
        self.aws.state_machines.missing.add(f"{MACHINE}-missing")

    def have(self, name: str, account: str = PRODUCTION, **facts: Any) -> None:
        """Create an account's snapshot; another account shares its own with this one."""
        own = account == self.aws.account
        self.aws.snapshots.all.append(snapshot(name, account, own=own, **facts))

    def end_copies(self, status: str = "available") -> None:
        self.aws.snapshots.settle(status)

    def pipeline(self, **_: Any) -> None:
        """Create the main pipeline, which deploys a cluster from `current`."""
        self.aws.pipelines.pipelines[PIPELINE] = []
        self.aws.stacks.add(CURRENT, STACK, "Orders")

    def run(self, status: str = "Succeeded") -> str:
        """Start a run, which deploys or fails to, and wait until it has ended."""
        started = self.aws.pipelines.start(PIPELINE, str(uuid4()))
        if status == "Failed":
            self.aws.pipelines.deploy(PIPELINE, "Failed")
        self.aws.pipelines.finish(PIPELINE, status)
        return started

    def cluster(self, name: str, key: str | None = None) -> None:
        self.aws.clusters.add(name, key)


class CloudStage:
    def __init__(self, cloud: LocalCloud, account: str) -> None:
        """Arrange an empty cloud whose copies take longer than any test."""
        self.aws, self.cloud, self.account = boto_aws(cloud, account), cloud, account
        cloud.set_clock(NOW)
        cloud.set_seconds(copy=3600)
        kms = cloud.client("kms", account)
        self.key = kms.create_key()["KeyMetadata"]["Arn"]
        wait = {"Type": "Wait", "Seconds": 600, "End": True}
        cloud.client("stepfunctions").create_state_machine(
            name="prepare",
            definition=json.dumps({"StartAt": "Wait", "States": {"Wait": wait}}),
            roleArn=f"arn:aws:iam::{ACCEPTANCE}:role/prepare",
        )
        self.default_key = kms.describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]

    def have(self, name: str, account: str = PRODUCTION, **facts: Any) -> None:
        facts = {
            "account": account,
            "identifier": name,
            "snapshot_type": "automated" if name.startswith("rds:") else "manual",
            "shared_with": [] if account == self.account else [self.account],
            "kms_key_id": f"arn:aws:kms:eu-west-1:{account}:key/{uuid4()}",
            "kms_granted_to": [self.account],
            **facts,
        }
        self.cloud.seed_snapshots([nightly(facts.pop("cluster", "orders"), TAKEN, **facts)])

    def end_copies(self, status: str = "available") -> None:
        for each in self.aws.snapshots.own():
            if each.status == "copying":
                self.cloud.patch_snapshot(each.arn, status=status)

    def pipeline(self, **behaviour: Any) -> None:
        database = {"parameter": CURRENT, "cluster": "orders"}
        create_pipeline(self.cloud, PIPELINE, [database], stack=STACK, run_seconds=0, **behaviour)

    def run(self, status: str = "Succeeded") -> str:
        outcome = "Failed in Deploy" if status == "Failed" else status
        self.cloud.patch_pipeline(PIPELINE, next_outcomes=[outcome])
        started = self.aws.pipelines.start(PIPELINE, str(uuid4()))
        assert self.cloud.wait_for_run(started, PIPELINE) == status
        return started

    def cluster(self, name: str, key: str | None = None) -> None:
        self.cloud.client("rds", self.account).create_db_cluster(
            DBClusterIdentifier=name,
            Engine="aurora-postgresql",
            EngineVersion="15.4",
            MasterUsername="owner",
            MasterUserPassword="a-password-that-is-no-secret",
            **({"StorageEncrypted": True, "KmsKeyId": key} if key else {}),
        )


Stage = FakeStage | CloudStage
