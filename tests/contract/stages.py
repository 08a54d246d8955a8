"""The same account, in memory and on the local cloud, as the contract suites arrange it."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.session

from chalicelib.aws.clients import BotoAws
from chalicelib.domain.shares import Cluster
from localcloud.client import LocalCloud
from localcloud.company import nightly
from tests.fakes import ACCEPTANCE, PRODUCTION, STACK, InMemoryAws, arn, snapshot

TAKEN = datetime(2026, 1, 3, 22, tzinfo=UTC)
CURRENT = "/current"
STATES = f"arn:aws:states:eu-west-1:{ACCEPTANCE}"
MACHINE = f"{STATES}:stateMachine:prepare"


@dataclass
class FakeStage:
    aws: InMemoryAws

    def share(self, name: str, account: str = "111111111111", **facts: Any) -> None:
        self.aws.snapshots.all.append(snapshot(name, account, **facts))

    def unencrypted(self, name: str) -> None:
        self.share(name)
        self.aws.snapshots.unencrypted.add(arn(name))

    def pipeline(self, name: str) -> None:
        self.aws.pipelines.pipelines[name] = []

    def deploying_pipeline(self, name: str) -> None:
        self.pipeline(name)
        self.aws.stacks.add(CURRENT, STACK, "Orders")

    def run(self, name: str, status: str = "Succeeded") -> str:
        started = self.aws.pipelines.start(name, f"token-{len(self.aws.pipelines.runs(name))}")
        if status == "Failed":
            self.aws.pipelines.deploy(name, "Failed")
        self.aws.pipelines.finish(name, status)
        return started

    def state_machine(self) -> None:
        self.aws.state_machines.missing.add(f"{MACHINE}-missing")

    def key(self) -> str:
        return "alias/acceptance"

    def denied_key(self) -> str:
        self.aws.snapshots.denied.add("alias/denied")
        return "alias/denied"

    def default_key(self) -> str:
        self.aws.keys.default.add("key/default")
        return "key/default"

    def end_copies(self, status: str = "available") -> None:
        self.aws.snapshots.settle(status)

    def make_copies(self, *, keeps_date: bool = False, at_once: bool = False) -> None:
        self.aws.snapshots.keeps_date, self.aws.snapshots.at_once = keeps_date, at_once

    def cluster(self, name: str, key: str | None = None) -> None:
        self.aws.clusters.all[name] = Cluster(name, key)

    def stop(self, name: str) -> None:
        self.aws.clusters.busy.add(name)

    def have(self, name: str, **facts: Any) -> None:
        self.aws.snapshots.all.append(snapshot(name, own=True, **facts))


@dataclass
class CloudStage:
    aws: BotoAws
    cloud: LocalCloud
    account: str = ACCEPTANCE

    def share(self, name: str, account: str = "111111111111", **facts: Any) -> None:
        facts = {"account": account, "identifier": name, **facts}
        if facts.pop("encrypted", True):
            key = f"arn:aws:kms:eu-west-1:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
            facts = {"kms_key_id": key, "kms_granted_to": [ACCEPTANCE]} | facts
        if account == ACCEPTANCE:
            facts["shared_with"] = []
        if name.startswith("rds:"):
            facts["snapshot_type"] = "automated"
        self.cloud.seed_snapshots([nightly("orders", TAKEN, **facts)])

    def unencrypted(self, name: str) -> None:
        self.share(name, encrypted=False)

    def pipeline(self, name: str) -> None:
        self.cloud.create_pipeline(name, 30, [])

    def deploying_pipeline(self, name: str, **behaviour: Any) -> None:
        database = {"parameter": CURRENT, "cluster": "orders"}
        self.cloud.create_pipeline(name, 0, [database], stack=STACK, **behaviour)

    def run(self, name: str, status: str = "Succeeded") -> str:
        outcome = "Failed in Deploy" if status == "Failed" else status
        self.cloud.patch_pipeline(name, next_outcomes=[outcome])
        started = self.aws.pipelines.start(name, f"token-{len(self.aws.pipelines.runs(name))}")
        assert self.cloud.wait_for_run(started, name) == status
        return started

    def state_machine(self) -> None:
        definition = {
            "StartAt": "Wait",
            "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}},
        }
        self.cloud.client("stepfunctions").create_state_machine(
            name="prepare",
            definition=json.dumps(definition),
            roleArn=f"arn:aws:iam::{ACCEPTANCE}:role/prepare",
        )

    def key(self) -> str:
        made: str = self.cloud.client("kms", self.account).create_key()["KeyMetadata"]["Arn"]
        return made

    def default_key(self) -> str:
        kms = self.cloud.client("kms", self.account)
        made: str = kms.describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
        return made

    def denied_key(self) -> str:
        return "00000000-0000-0000-0000-000000000000"  # which nobody has made

    def end_copies(self, status: str = "available") -> None:
        for each in self.aws.snapshots.own():
            if each.snapshot.status == "copying":
                self.cloud.patch_snapshot(each.snapshot.arn, status=status)

    def make_copies(self, *, keeps_date: bool = False, at_once: bool = False) -> None:
        more = {"copy_seconds": 0} if at_once else {}
        self.cloud.patch_snapshot(arn("one"), copies_keep_date=keeps_date, **more)

    def cluster(self, name: str, key: str | None = None) -> None:
        self.cloud.client("rds", PRODUCTION).create_db_cluster(
            DBClusterIdentifier=name,
            Engine="aurora-postgresql",
            EngineVersion="15.4",
            MasterUsername="owner",
            MasterUserPassword="a-password-that-is-no-secret",
            **({"StorageEncrypted": True, "KmsKeyId": key} if key else {}),
        )

    def stop(self, name: str) -> None:
        rds = self.cloud.client("rds", PRODUCTION)
        rds.describe_db_clusters(DBClusterIdentifier=name)  # a look ends its creation
        rds.stop_db_cluster(DBClusterIdentifier=name)

    def have(self, name: str, **facts: Any) -> None:
        kind = "automated" if name.startswith("rds:") else "manual"
        facts = {"identifier": name, "shared_with": [], "snapshot_type": kind, **facts}
        self.cloud.seed_snapshots([nightly(facts.pop("cluster", "orders"), TAKEN, **facts)])


Stage = FakeStage | CloudStage


def clients_of(cloud: LocalCloud, account: str = ACCEPTANCE) -> Callable[..., Any]:
    """Return a factory of clients with a deployed function's credentials and endpoint."""
    environment = cloud.environment(account)
    return functools.partial(
        botocore.session.get_session().create_client,
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
    )
