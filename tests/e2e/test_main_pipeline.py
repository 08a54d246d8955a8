"""The main pipeline's side: the reference template, and the wrong ways to read *current*, each deployed.

A run of the simulated pipeline creates or updates the stack; the result is read back with plain boto3.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM

RIGHT = (Path(__file__).resolve().parents[2] / "infrastructure/main-pipeline.yaml").read_text()
MAIN = "acceptance-main"
LATEST = "/acceptance/rds/latest-snapshot"
CURRENT = "/acceptance/rds/current-snapshot"
PRODUCTIONS_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
READS_CURRENT = "      SnapshotIdentifier: !Ref Snapshot\n"
GENERATES_PASSWORD = (
    "      ManageMasterUserPassword: true\n"
    "      MasterUserSecret:\n"
    "        KmsKeyId: !Ref KmsKeyArn\n"
)

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)


def changed(old: str, new: str, template: str = RIGHT) -> str:
    """The template with one line, or a few, changed."""
    assert template.count(old) == 1, old
    return template.replace(old, new)


class Acceptance:
    """An acceptance account whose pipeline deploys one template."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.key = client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
        cloud.create_pipeline(MAIN, 0, [])
        self.first, self.second = self.share("orders-1"), self.share("orders-2")
        self.put(CURRENT, self.first)
        self.put(LATEST, self.first)

    def share(self, identifier: str, **facts: Any) -> str:
        """Let production share a snapshot, encrypted under a key that acceptance may use."""
        snapshot = {
            "account": PRODUCTION,
            "identifier": identifier,
            "cluster": "orders",
            "engine": "aurora-postgresql",
            "engine_version": "15.4",
            "created": "2026-01-04T01:00:00+00:00",
            "kms_key_id": PRODUCTIONS_KEY,
            "kms_granted_to": [ACCEPTANCE],
            "shared_with": [ACCEPTANCE],
        }
        arn: str = self.cloud.seed_snapshots([snapshot | facts])["arns"][0]
        return arn

    def put(self, name: str, value: str) -> None:
        ssm = client(self.cloud, "ssm")
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def commit(self, template: str, **parameters: str) -> None:
        """Change what the pipeline deploys."""
        given = {
            "EngineVersion": "15.4",
            "KmsKeyArn": self.key,
            "SubnetGroupName": "private",
            "SecurityGroupIds": "sg-0123456789abcdef0",
        }
        given = {name: value for name, value in given.items() if f"  {name}:\n" in template}
        self.cloud.patch_pipeline(MAIN, template=template, parameters=given | parameters)

    def run(self) -> str:
        """One run of the pipeline, whoever started it; how it ended."""
        started = client(self.cloud, "codepipeline").start_pipeline_execution(name=MAIN)
        return self.cloud.wait_for_run(started["pipelineExecutionId"], MAIN)

    def why(self) -> str:
        """What the newest run that ended badly says."""
        codepipeline = client(self.cloud, "codepipeline")
        (newest, *_) = codepipeline.list_pipeline_executions(pipelineName=MAIN)[
            "pipelineExecutionSummaries"
        ]
        answer = codepipeline.get_pipeline_execution(
            pipelineName=MAIN, pipelineExecutionId=newest["pipelineExecutionId"]
        )
        summary: str = answer["pipelineExecution"]["statusSummary"]
        return summary

    def described(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client(self.cloud, "rds").describe_db_clusters()["DBClusters"]
        return found

    def clusters(self) -> dict[str, str]:
        """Each cluster's identifier, with the snapshot that it was restored from; "" where empty."""
        return {
            cluster["DBClusterIdentifier"]: next(
                (tag["Value"] for tag in cluster["TagList"] if tag["Key"] == RESTORED_FROM), ""
            )
            for cluster in self.described()
        }

    def state(self) -> dict[str, Any]:
        """All that a refresh changes."""
        instances = client(self.cloud, "rds").describe_db_instances()["DBInstances"]
        told = client(self.cloud, "ssm").get_parameters_by_path(Path="/acceptance/orders")
        stack = self.stack()
        return {
            "clusters": self.clusters(),
            "instances": {i["DBInstanceIdentifier"]: i["DBClusterIdentifier"] for i in instances},
            "told": {parameter["Name"]: parameter["Value"] for parameter in told["Parameters"]},
            "outputs": {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]},
        }

    def stack(self) -> dict[str, Any]:
        (stack,) = client(self.cloud, "cloudformation").describe_stacks(StackName=MAIN)["Stacks"]
        found: dict[str, Any] = stack
        return found

    def left_behind(self) -> list[str]:
        """The clusters that the stack could not delete."""
        events = client(self.cloud, "cloudformation").describe_stack_events(StackName=MAIN)
        return [
            event["PhysicalResourceId"]
            for event in events["StackEvents"]
            if event["ResourceStatus"] == "DELETE_FAILED"
        ]

    def own_snapshots(self) -> int:
        pages = client(self.cloud, "rds").get_paginator("describe_db_cluster_snapshots")
        return sum(len(p["DBClusterSnapshots"]) for p in pages.paginate(SnapshotType="manual"))


@pytest.fixture
def acceptance(cloud: LocalCloud) -> Acceptance:
    return Acceptance(cloud)


@pytest.fixture
def deployed(acceptance: Acceptance) -> Callable[..., Acceptance]:
    """Acceptance after the first deployment of a template."""

    def deploy(template: str, **parameters: str) -> Acceptance:
        acceptance.commit(template, **parameters)
        assert acceptance.run() == "Succeeded", acceptance.why()
        return acceptance

    return deploy


# The right way.


def test_a_run_restores_when_current_has_moved_and_no_other_run_does(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(RIGHT)
    before = acceptance.state()
    assert list(before["clusters"].values()) == [acceptance.first]

    # Runs for any other reason: nothing new, a moved latest, a change elsewhere in the template.
    assert acceptance.run() == "Succeeded"
    acceptance.put(LATEST, acceptance.second)
    assert acceptance.run() == "Succeeded"
    edited = changed("BackupRetentionPeriod: 1", "BackupRetentionPeriod: 2")
    acceptance.commit(edited)
    assert acceptance.run() == "Succeeded"
    assert acceptance.state() == before
    assert [cluster["BackupRetentionPeriod"] for cluster in acceptance.described()] == [2]

    acceptance.put(CURRENT, acceptance.second)
    assert acceptance.run() == "Succeeded"
    after = acceptance.state()
    assert list(after["clusters"].values()) == [acceptance.second]
    assert before["clusters"].keys().isdisjoint(after["clusters"])

    assert acceptance.run() == "Succeeded"
    assert acceptance.state() == after
    assert acceptance.own_snapshots() == 0


def test_consumers_find_the_new_endpoint_and_the_new_password_where_the_old_ones_were(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(RIGHT)
    before = acceptance.state()

    acceptance.put(CURRENT, acceptance.second)
    acceptance.run()

    after = acceptance.state()
    (cluster,) = acceptance.described()
    assert after["told"] == {
        "/acceptance/orders/endpoint": cluster["Endpoint"],
        "/acceptance/orders/secret-arn": cluster["MasterUserSecret"]["SecretArn"],
    }
    assert after["outputs"] == {
        "ClusterIdentifier": cluster["DBClusterIdentifier"],
        "Endpoint": cluster["Endpoint"],
        "SecretArn": cluster["MasterUserSecret"]["SecretArn"],
        "RestoredFrom": acceptance.second,
    }
    assert list(after["instances"].values()) == [cluster["DBClusterIdentifier"]]
    assert len(before["told"].items() - after["told"].items()) == 2


def test_neither_productions_password_nor_its_key_is_of_use_in_acceptance(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(RIGHT)

    (cluster,) = acceptance.described()

    assert cluster["MasterUserSecret"]["KmsKeyId"] == acceptance.key
    assert (cluster["KmsKeyId"], cluster["StorageEncrypted"]) == (acceptance.key, True)
    assert (cluster["EngineVersion"], cluster["DeletionProtection"]) == ("15.4", False)


@pytest.mark.parametrize("trouble", ["gone", "dummyvalue", "no-key", "creating", "older-engine"])
def test_what_cannot_be_restored_rolls_back_and_a_later_run_restores(
    deployed: Callable[..., Acceptance], trouble: str
) -> None:
    acceptance = deployed(RIGHT)
    before = acceptance.state()
    troubles = {
        "gone": lambda: acceptance.second.replace("orders-2", "orders-3"),
        "dummyvalue": lambda: "dummyvalue",
        "no-key": lambda: acceptance.share("no-key", kms_granted_to=[]),
        "creating": lambda: acceptance.share("creating", status="creating"),
        "older-engine": lambda: acceptance.share("newer", engine_version="16.1"),
    }

    acceptance.put(CURRENT, troubles[trouble]())

    assert acceptance.run() == "Failed"
    assert acceptance.why()
    assert acceptance.state() == before
    assert acceptance.stack()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    acceptance.put(CURRENT, acceptance.second)
    assert acceptance.run() == "Succeeded"
    assert list(acceptance.clusters().values()) == [acceptance.second]


def test_a_snapshot_identifier_removed_from_the_right_template_changes_nothing(
    deployed: Callable[..., Acceptance],
) -> None:
    """It names no master user, so that there is nothing to make an empty cluster with."""
    acceptance = deployed(RIGHT)
    before = acceptance.state()

    acceptance.commit(changed(READS_CURRENT, ""))

    assert acceptance.run() == "Failed"
    assert "MasterUsername" in acceptance.why()
    assert acceptance.state() == before


def test_a_first_deployment_that_fails_leaves_nothing_but_a_stack_to_delete(
    acceptance: Acceptance,
) -> None:
    acceptance.put(CURRENT, "dummyvalue")
    acceptance.commit(RIGHT)

    assert acceptance.run() == "Failed"
    assert acceptance.clusters() == {}
    assert acceptance.stack()["StackStatus"] == "ROLLBACK_COMPLETE"
    acceptance.put(CURRENT, acceptance.first)
    assert acceptance.run() == "Failed"
    assert "ROLLBACK_COMPLETE state and can not be updated" in acceptance.why()

    cloudformation = client(acceptance.cloud, "cloudformation")
    cloudformation.delete_stack(StackName=MAIN)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=MAIN, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
    )
    assert acceptance.run() == "Succeeded"


# The wrong ways.


@pytest.mark.parametrize(
    "reads",
    [f'"{{{{resolve:ssm:{CURRENT}}}}}"', "{first}"],
    ids=["resolve-ssm", "value-from-lookup"],
)
def test_a_value_that_is_not_in_the_parameters_is_never_restored_again(
    acceptance: Acceptance, reads: str
) -> None:
    """What CDK's valueFromLookup leaves in the template is the value that it once looked up."""
    acceptance.commit(
        changed("!Ref Snapshot\n      # No", f"{reads}\n      # No").replace(
            "{first}", acceptance.first
        )
    )
    assert acceptance.run() == "Succeeded"
    before = acceptance.clusters()
    assert list(before.values()) == [acceptance.first]

    acceptance.put(CURRENT, acceptance.second)

    assert acceptance.run() == "Succeeded"
    assert acceptance.clusters() == before


def test_a_plain_string_parameter_gives_the_name_for_a_snapshot(acceptance: Acceptance) -> None:
    acceptance.commit(changed("AWS::SSM::Parameter::Value<String>\n", "String\n"))

    assert acceptance.run() == "Failed"
    assert CURRENT in acceptance.why()
    assert acceptance.clusters() == {}


def test_reading_latest_restores_by_accident_at_the_next_ordinary_deployment(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(RIGHT, Snapshot=LATEST)

    acceptance.put(LATEST, acceptance.second)

    # Somebody deploys at noon; current has not moved.
    assert acceptance.run() == "Succeeded"
    assert list(acceptance.clusters().values()) == [acceptance.second]


@pytest.mark.parametrize(
    ("above", "identifier"),
    [
        ("      SnapshotIdentifier: !Ref Snapshot\n", "DBClusterIdentifier"),
        ("      DBClusterIdentifier: !Ref Cluster\n", "DBInstanceIdentifier"),
    ],
)
def test_a_fixed_identifier_fails_every_refresh(
    deployed: Callable[..., Acceptance], above: str, identifier: str
) -> None:
    acceptance = deployed(changed(above, f"{above}      {identifier}: acceptance-orders\n"))
    before = acceptance.state()

    acceptance.put(CURRENT, acceptance.second)

    assert acceptance.run() == "Failed"
    assert "exists" in acceptance.why()
    assert acceptance.state() == before


def test_an_identifier_of_the_run_restores_at_every_run(
    deployed: Callable[..., Acceptance],
) -> None:
    """It is fixed once more, but to another name each time: each is a replacement."""
    build = changed(
        "      SnapshotIdentifier: !Ref Snapshot\n",
        "      SnapshotIdentifier: !Ref Snapshot\n      DBClusterIdentifier: !Sub orders-${Build}\n",
        changed("Parameters:\n", "Parameters:\n  Build:\n    Type: String\n"),
    )
    acceptance = deployed(build, Build="1")
    assert acceptance.clusters() == {"orders-1": acceptance.first}

    acceptance.commit(build, Build="2")

    assert acceptance.run() == "Succeeded"
    assert acceptance.clusters() == {"orders-2": acceptance.first}


@pytest.mark.parametrize(("production", "outcome"), [("15.4", "Failed"), ("11.9", "Succeeded")])
def test_without_an_engine_version_the_regions_default_is_taken(
    acceptance: Acceptance, production: str, outcome: str
) -> None:
    """An older one than the snapshot's cannot be restored; a newer one is what acceptance then tests."""
    acceptance.put(CURRENT, acceptance.share("dated", engine_version=production))
    acceptance.commit(changed("      EngineVersion: !Ref EngineVersion\n", ""))

    assert acceptance.run() == outcome
    versions = [cluster["EngineVersion"] for cluster in acceptance.described()]
    assert versions == ([] if outcome == "Failed" else ["12.7"])


def test_deletion_protection_leaves_the_old_cluster_beside_the_new_one(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(changed("DeletionProtection: false", "DeletionProtection: true"))
    (old,) = acceptance.clusters()

    acceptance.put(CURRENT, acceptance.second)

    assert acceptance.run() == "Succeeded"
    assert acceptance.stack()["StackStatus"] == "UPDATE_COMPLETE"
    assert sorted(acceptance.clusters().values()) == [acceptance.first, acceptance.second]
    assert acceptance.left_behind() == [old]


def test_a_snapshot_identifier_removed_where_a_master_user_is_named_empties_acceptance(
    deployed: Callable[..., Acceptance],
) -> None:
    named = changed(READS_CURRENT, f"{READS_CURRENT}      MasterUsername: owner\n")
    acceptance = deployed(named)

    acceptance.commit(changed(READS_CURRENT, "", named))

    assert acceptance.run() == "Succeeded"
    assert list(acceptance.clusters().values()) == [""]


def test_a_final_snapshot_at_each_refresh_fills_the_quota_and_then_old_clusters_stay(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(
        changed("UpdateReplacePolicy: Delete\n    # D", "UpdateReplacePolicy: Snapshot\n    # D")
    )
    acceptance.put(CURRENT, acceptance.second)
    assert acceptance.run() == "Succeeded"
    assert (acceptance.own_snapshots(), len(acceptance.clusters())) == (1, 1)

    for number in range(99):
        acceptance.share(f"final-{number}", account=ACCEPTANCE, kms_key_id=None)
    acceptance.put(CURRENT, acceptance.first)

    assert acceptance.run() == "Succeeded"
    assert (acceptance.own_snapshots(), len(acceptance.clusters())) == (100, 2)


def test_without_a_managed_password_productions_stays_valid(
    deployed: Callable[..., Acceptance],
) -> None:
    without = changed(GENERATES_PASSWORD, "").replace("MasterUserSecret.SecretArn", "DBClusterArn")
    acceptance = deployed(without)

    (cluster,) = acceptance.described()
    assert "MasterUserSecret" not in cluster


def test_without_a_key_the_data_stays_under_productions(
    deployed: Callable[..., Acceptance],
) -> None:
    acceptance = deployed(changed("      KmsKeyId: !Ref KmsKeyArn\n      # No", "      # No"))

    (cluster,) = acceptance.described()
    assert cluster["KmsKeyId"] == PRODUCTIONS_KEY


def test_a_script_that_restores_whenever_it_runs_throws_testers_work_away(
    acceptance: Acceptance,
) -> None:
    """What stands in for a CodeBuild step: restore what current holds under a new name, delete the old."""
    rds, ssm = client(acceptance.cloud, "rds"), client(acceptance.cloud, "ssm")

    def script(run: int) -> None:
        old = rds.describe_db_clusters()["DBClusters"]
        rds.restore_db_cluster_from_snapshot(
            DBClusterIdentifier=f"orders-{run}",
            SnapshotIdentifier=ssm.get_parameter(Name=CURRENT)["Parameter"]["Value"],
            Engine="aurora-postgresql",
            EngineVersion="15.4",
        )
        for cluster in old:
            rds.delete_db_cluster(
                DBClusterIdentifier=cluster["DBClusterIdentifier"], SkipFinalSnapshot=True
            )

    script(1)
    assert acceptance.clusters() == {"orders-1": acceptance.first}
    script(2)
    assert acceptance.clusters() == {"orders-2": acceptance.first}
