"""The main pipeline's side: the reference template, deployed.

A run of the simulated pipeline creates or updates the stack; the result is read back with plain boto3.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from demo.acceptance import arn_of, nightly
from demo.pipeline import create_pipeline
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM
from tests.e2e.conftest import PROJECT

RIGHT = (PROJECT / "infrastructure/main-pipeline.yaml").read_text()
MAIN = "acceptance-main"
LATEST = "/acceptance/rds/latest-snapshot"
CURRENT = "/acceptance/rds/current-snapshot"
PRODUCTIONS_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
CLOSED_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/22222222-2222-3333-4444-555555555555"


def changed(old: str, new: str) -> str:
    """The template with one line changed."""
    assert RIGHT.count(old) == 1, old
    return RIGHT.replace(old, new)


class Acceptance:
    """An acceptance account whose pipeline deploys one template."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
        create_pipeline(cloud, MAIN, [], run_seconds=0)
        self.first, self.second = self.share("orders-1"), self.share("orders-2")
        self.put(CURRENT, self.first)
        self.put(LATEST, self.first)

    def share(self, name: str, **facts: Any) -> str:
        """Let production share a snapshot, encrypted under a key that acceptance may use."""
        key = {"kms_key_id": PRODUCTIONS_KEY, "kms_granted_to": [ACCEPTANCE]}
        taken = datetime(2026, 1, 4, 1, tzinfo=UTC)
        snapshot = nightly("orders", taken, **{"identifier": name, **key, **facts})
        self.cloud.seed_snapshots([snapshot])
        return arn_of(snapshot)

    def put(self, name: str, value: str) -> None:
        ssm = self.cloud.client("ssm")
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def commit(self, template: str) -> None:
        """Change what the pipeline deploys."""
        given = {
            "EngineVersion": "15.4",
            "KmsKeyArn": self.key,
            "SubnetGroupName": "private",
            "SecurityGroupIds": "sg-0123456789abcdef0",
        }
        self.cloud.patch_pipeline(MAIN, template=template, parameters=given)

    def run(self) -> str:
        """One run of the pipeline, whoever started it; how it ended, and why if it failed."""
        codepipeline = self.cloud.client("codepipeline")
        run = codepipeline.start_pipeline_execution(name=MAIN)["pipelineExecutionId"]
        status = self.cloud.wait_for_run(run, MAIN)
        answer = codepipeline.get_pipeline_execution(pipelineName=MAIN, pipelineExecutionId=run)
        why: str = answer["pipelineExecution"].get("statusSummary", "")
        return f"{status}: {why}" if why else status

    def clusters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloud.client("rds").describe_db_clusters()["DBClusters"]
        return found

    def stack(self) -> dict[str, Any]:
        (stack,) = self.cloud.client("cloudformation").describe_stacks(StackName=MAIN)["Stacks"]
        found: dict[str, Any] = stack
        return found

    def state(self) -> dict[str, Any]:
        """All that a refresh changes."""
        instances = self.cloud.client("rds").describe_db_instances()["DBInstances"]
        listed = self.cloud.client("ssm").get_parameters_by_path(Path="/acceptance/orders")
        return {
            "clusters": [each["DBClusterIdentifier"] for each in self.clusters()],
            "instances": [each["DBClusterIdentifier"] for each in instances],
            "parameters": {each["Name"]: each["Value"] for each in listed["Parameters"]},
            "outputs": {each["OutputKey"]: each["OutputValue"] for each in self.stack()["Outputs"]},
        }

    def restored(self) -> str:
        """Return what the only cluster was restored from; applications find it where they always do."""
        (cluster,) = self.clusters()
        (source,) = [each["Value"] for each in cluster["TagList"] if each["Key"] == RESTORED_FROM]
        name, secret = cluster["DBClusterIdentifier"], cluster["MasterUserSecret"]["SecretArn"]
        assert self.state() == {
            "clusters": [name],
            "instances": [name],
            "parameters": {
                "/acceptance/orders/endpoint": cluster["Endpoint"],
                "/acceptance/orders/secret-arn": secret,
            },
            "outputs": {
                "ClusterIdentifier": name,
                "Endpoint": cluster["Endpoint"],
                "SecretArn": secret,
                "RestoredFrom": source,
            },
        }
        return str(source)


@pytest.fixture(scope="module")
def deployed(running_cloud: LocalCloud) -> Acceptance:
    """Acceptance after the first deployment of the template, for all refreshes."""
    running_cloud.reset()
    acceptance = Acceptance(running_cloud)
    acceptance.commit(RIGHT)
    assert acceptance.run() == "Succeeded"
    return acceptance


def test_a_run_restores_when_current_has_moved_and_no_other_run_does(
    deployed: Acceptance,
) -> None:
    before = deployed.state()
    (cluster,) = deployed.clusters()
    assert deployed.restored() == deployed.first
    assert (cluster["EngineVersion"], cluster["DeletionProtection"]) == ("15.4", False)

    # Runs for any other reason: nothing new, a moved latest, a change elsewhere in the template.
    assert deployed.run() == "Succeeded"
    deployed.put(LATEST, deployed.second)
    assert deployed.run() == "Succeeded"
    deployed.commit(changed("BackupRetentionPeriod: 1", "BackupRetentionPeriod: 2"))
    assert deployed.run() == "Succeeded"
    assert deployed.state() == before
    assert [cluster["BackupRetentionPeriod"] for cluster in deployed.clusters()] == [2]

    deployed.put(CURRENT, deployed.second)
    assert deployed.run() == "Succeeded"
    after = deployed.state()
    assert deployed.restored() == deployed.second
    assert after["clusters"] != before["clusters"]

    assert deployed.run() == "Succeeded"
    assert deployed.state() == after
    own = deployed.cloud.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
    assert own["DBClusterSnapshots"] == []


def test_neither_productions_password_nor_its_key_is_of_use_in_acceptance(
    deployed: Acceptance,
) -> None:
    (cluster,) = deployed.clusters()
    assert cluster["MasterUserSecret"]["KmsKeyId"] == deployed.key
    assert (cluster["KmsKeyId"], cluster["StorageEncrypted"]) == (deployed.key, True)


@pytest.mark.parametrize(
    "unusable",
    [
        lambda deployed: deployed.second.replace("orders-2", "no-such"),
        lambda deployed: deployed.share("no-key", kms_key_id=CLOSED_KEY, kms_granted_to=[]),
        lambda deployed: deployed.share("newer", engine_version="16.1"),
    ],
    ids=["gone", "no-key", "older-engine"],
)
def test_what_cannot_be_restored_rolls_back_and_a_later_run_restores(
    deployed: Acceptance, unusable: Callable[[Acceptance], str]
) -> None:
    before, source = deployed.state(), unusable(deployed)
    deployed.put(CURRENT, source)
    assert deployed.run().startswith("Failed: ")
    assert deployed.state() == before
    assert deployed.stack()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    after = deployed.share(f"after-{source.rpartition(':')[2]}")
    deployed.put(CURRENT, after)
    assert deployed.run() == "Succeeded"
    assert deployed.restored() == after


def test_a_snapshot_identifier_removed_from_the_right_template_changes_nothing(
    deployed: Acceptance,
) -> None:
    """It names no master user, so that there is nothing to make an empty cluster with."""
    before = deployed.state()
    deployed.commit(changed("      SnapshotIdentifier: !Ref Snapshot\n", ""))
    assert "MasterUsername" in deployed.run()
    assert deployed.state() == before


# The last one: it resets the cloud.
def test_a_first_deployment_that_fails_leaves_nothing_but_a_stack_to_delete(
    cloud: LocalCloud,
) -> None:
    acceptance = Acceptance(cloud)
    acceptance.put(CURRENT, "dummyvalue")
    acceptance.commit(RIGHT)

    assert acceptance.run().startswith("Failed: ")
    assert acceptance.clusters() == []
    assert acceptance.stack()["StackStatus"] == "ROLLBACK_COMPLETE"
    acceptance.put(CURRENT, acceptance.first)
    assert "ROLLBACK_COMPLETE state and can not be updated" in acceptance.run()

    cloudformation = cloud.client("cloudformation")
    cloudformation.delete_stack(StackName=MAIN)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=MAIN, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
    )
    assert acceptance.run() == "Succeeded"
