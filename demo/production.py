"""The company's production account: its clusters, their keys, and the stage that shares snapshots."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.policies import key_statements
from demo.acceptance import VERSIONS, Project, configure, nightly
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud

STAGE = "production"
KEY_ALIAS = "alias/aurora-refresh-shares"
_PRODUCTION_RULES = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{PRODUCTION}:root"},
    "Action": "kms:*",
    "Resource": "*",
}


# The answers to `aurora-refresh configure`.
ANSWERS = {
    "ACCOUNT": PRODUCTION,
    "REGION": REGION,
    "SHARE_WITH_ACCOUNT": ACCEPTANCE,
    "CLUSTERS": "orders,billing,documents",
    "SHARE_KMS_KEY_ID": KEY_ALIAS,
    "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:{REGION}:{PRODUCTION}:aurora-refresh",
}


class Production(Project):
    """Production, with a stage of the project.

    The cluster *orders* is not encrypted, *billing* is under a customer-managed key, and *documents* is under
    the default key `aws/rds`.
    """

    account = PRODUCTION
    stage = STAGE

    def __init__(self, cloud: LocalCloud, project: Path) -> None:
        configure(project, STAGE, **ANSWERS)
        super().__init__(cloud, project)
        self.key = ""

    def found(self, now: datetime) -> None:
        """Create the state before the first snapshot: a key, and clusters with one automated snapshot each."""
        self.cloud.set_clock(now)
        kms = self.client("kms")
        statements = [_PRODUCTION_RULES, *key_statements("aws", ACCEPTANCE, [REGION])]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.key = kms.create_key(Policy=policy)["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=self.key)
        clusters: dict[str, tuple[str, dict[str, Any]]] = {
            "orders": ("aurora-postgresql", {}),
            "billing": ("aurora-mysql", {"StorageEncrypted": True, "KmsKeyId": self.key}),
            "documents": ("docdb", {"StorageEncrypted": True}),
        }
        for name, (engine, encryption) in clusters.items():
            self.client("rds").create_db_cluster(
                DBClusterIdentifier=name,
                Engine=engine,
                EngineVersion=VERSIONS[engine],
                MasterUsername="owner",
                MasterUserPassword="a-password-that-is-no-secret",
                **encryption,
            )
        if "NOTIFICATION_TOPIC_ARN" in self.variables:
            self.subscribe(self.variables["NOTIFICATION_TOPIC_ARN"])

    def back_up(self, now: datetime) -> None:
        """Back up *documents*, as AWS does with every cluster each night; the app needs no other backup."""
        key = self.client("kms").describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
        facts = {"snapshot_type": "automated", "shared_with": [], "kms_key_id": key}
        facts |= {"engine": "docdb", "engine_version": VERSIONS["docdb"]}
        name = f"rds:documents-{now:%Y-%m-%d-%H-%M}"
        self.cloud.seed_snapshots([nightly("documents", now, identifier=name, **facts)])

    def fire(self, function: str, time: datetime) -> list[dict[str, Any]]:
        """Fire the function's schedule; return a record for each attempt."""
        self.cloud.set_clock(time)
        fired: list[dict[str, Any]] = self.cloud.fire(function, time, account=self.account)
        return fired
