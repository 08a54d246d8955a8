"""The main pipeline's side: the reference template, deployed.

A run of the simulated pipeline creates or updates the stack; the result is read back with plain boto3.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo.acceptance import PIPELINE, STACK, Company, arn_of, nightly
from demo.pipeline import REFERENCE, reference_parameters
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from tests.e2e.conftest import NewProject

TODAY = datetime(2026, 1, 4, 1, tzinfo=UTC)
KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
CLOSED_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/22222222-2222-3333-4444-555555555555"


class Acceptance(Company):
    """The company's acceptance account, whose pipeline deploys the reference template."""

    def __init__(self, cloud: LocalCloud, project: Path) -> None:
        super().__init__(cloud, project, run_seconds=0)
        self.parameters = reference_parameters(cloud, self.current)
        self.found(TODAY, template=REFERENCE, parameters=self.parameters)

    def shared(self, name: str, **facts: Any) -> str:
        """Let production share a snapshot, encrypted under a key that acceptance may use."""
        key = {"kms_key_id": KEY, "kms_granted_to": [ACCEPTANCE]}
        snapshot = nightly("orders", TODAY, **{"identifier": name, **key, **facts})
        self.cloud.seed_snapshots([snapshot])
        return arn_of(snapshot)

    def commit(self, old: str, new: str) -> None:
        """Have the pipeline deploy the template with one line changed."""
        assert REFERENCE.count(old) == 1, old
        template = REFERENCE.replace(old, new)
        self.cloud.patch_pipeline(PIPELINE, template=template, parameters=self.parameters)

    def run(self) -> str:
        """One run of the pipeline, whoever started it; how it ended, and why if it failed."""
        codepipeline = self.client("codepipeline")
        run = codepipeline.start_pipeline_execution(name=PIPELINE)["pipelineExecutionId"]
        status = self.cloud.wait_for_run(run, PIPELINE)
        answer = codepipeline.get_pipeline_execution(pipelineName=PIPELINE, pipelineExecutionId=run)
        return f"{status}: {answer['pipelineExecution'].get('statusSummary', '')}"

    def cluster(self) -> Any:
        (found,) = self.client("rds").describe_db_clusters()["DBClusters"]
        return found

    def status(self) -> Any:
        """The stack's."""
        (found,) = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return found["StackStatus"]

    def kept(self) -> Any:
        """The snapshots that deleted clusters have left."""
        found = self.client("rds").describe_db_cluster_snapshots(SnapshotType="manual")
        return found["DBClusterSnapshots"]

    def state(self) -> dict[str, Any]:
        """All that a refresh changes."""
        instances = self.client("rds").describe_db_instances()["DBInstances"]
        listed = self.client("ssm").get_parameters_by_path(Path="/acceptance/orders")
        return {
            "clusters": self.clusters(),
            "instances": [each["DBClusterIdentifier"] for each in instances],
            "parameters": {each["Name"]: each["Value"] for each in listed["Parameters"]},
        }

    def restored(self, source: str) -> dict[str, Any]:
        """Return the state after a restore: applications find cluster and password where they always do."""
        cluster = self.cluster()
        name = cluster["DBClusterIdentifier"]
        return {
            "clusters": {name: source},
            "instances": [name],
            "parameters": {
                "/acceptance/orders/endpoint": cluster["Endpoint"],
                "/acceptance/orders/secret-arn": cluster["MasterUserSecret"]["SecretArn"],
            },
        }


@pytest.fixture(scope="module")
def deployed(running_cloud: LocalCloud, new_project: NewProject) -> Acceptance:
    """Acceptance after the first deployment of the template, for all refreshes."""
    running_cloud.reset()
    return Acceptance(running_cloud, new_project())


def test_a_run_restores_when_current_has_moved_and_no_other_run_does(deployed: Acceptance) -> None:
    before, cluster = deployed.state(), deployed.cluster()
    assert before == deployed.restored(deployed.parameter(deployed.current))
    assert (cluster["EngineVersion"], cluster["DeletionProtection"]) == ("15.4", False)

    # Runs for any other reason: nothing new, a moved latest, a change elsewhere in the template.
    second = deployed.shared("second")
    assert deployed.run() == "Succeeded: "
    deployed.put(deployed.latest, second)
    assert deployed.run() == "Succeeded: "
    deployed.commit("BackupRetentionPeriod: 1", "BackupRetentionPeriod: 2")
    assert deployed.run() == "Succeeded: "
    assert deployed.state() == before
    assert deployed.cluster()["BackupRetentionPeriod"] == 2

    deployed.put(deployed.current, second)
    assert deployed.run() == "Succeeded: "
    after = deployed.state()
    assert after == deployed.restored(second)
    assert after["instances"] != before["instances"]
    # Neither production's password nor its key is of use here.
    cluster = deployed.cluster()
    assert cluster["KmsKeyId"] == deployed.parameters["KmsKeyArn"]
    # Its secret is under the default key, which every role may use.
    assert cluster["MasterUserSecret"]["KmsKeyId"] != cluster["KmsKeyId"]

    assert deployed.run() == "Succeeded: "
    assert deployed.state() == after
    assert deployed.kept() == []


def test_what_cannot_be_restored_rolls_back_and_a_later_run_restores(deployed: Acceptance) -> None:
    before = deployed.state()
    for unusable in (
        deployed.shared("gone").replace("gone", "no-such"),
        deployed.shared("no-key", kms_key_id=CLOSED_KEY, kms_granted_to=[]),
        deployed.shared("newer-engine", engine_version="16.1"),
    ):
        deployed.put(deployed.current, unusable)
        assert deployed.run().startswith("Failed: ")
        assert deployed.status() == "UPDATE_ROLLBACK_COMPLETE"
        assert deployed.state() == before
    after = deployed.shared("after")
    deployed.put(deployed.current, after)
    assert deployed.run() == "Succeeded: "
    assert deployed.state() == deployed.restored(after)


def test_a_removed_snapshot_identifier_changes_nothing(deployed: Acceptance) -> None:
    """The reference template names no master user, so that there is nothing to make an empty cluster with."""
    before = deployed.state()
    deployed.commit("      SnapshotIdentifier: !Ref Snapshot\n", "")
    assert "MasterUsername" in deployed.run()
    assert deployed.state() == before


# The last one: it deletes the stack.
def test_a_first_deployment_that_fails_leaves_only_a_stack_to_delete(deployed: Acceptance) -> None:
    cloudformation, current = deployed.client("cloudformation"), deployed.shared("first")

    def delete_stack() -> None:
        cloudformation.delete_stack(StackName=STACK)
        waiter = cloudformation.get_waiter("stack_delete_complete")
        waiter.wait(StackName=STACK, WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})

    delete_stack()
    assert len(deployed.kept()) == 1  # the cluster's DeletionPolicy
    deployed.commit("BackupRetentionPeriod: 1", "BackupRetentionPeriod: 2")
    deployed.put(deployed.current, "dummyvalue")
    assert deployed.run().startswith("Failed: ")
    assert deployed.clusters() == {}
    assert deployed.status() == "ROLLBACK_COMPLETE"
    deployed.put(deployed.current, current)
    assert "ROLLBACK_COMPLETE state and can not be updated" in deployed.run()

    delete_stack()
    assert deployed.run() == "Succeeded: "
