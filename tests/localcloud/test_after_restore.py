"""infrastructure/after-restore.yaml, executed by moto's interpreter on a real database."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.decode.cfn_yaml import loads

from localcloud import postgres
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
TEMPLATE = Path(__file__).parents[2] / "infrastructure/after-restore.yaml"
DOCUMENT = Path(__file__).parents[2] / "docs/after-restore.md"
CLUSTER = "acceptance-cluster-1a2b"
TESTERS, BUILDS = "sg-0123456789abcdef0", "sg-0123456789abcdef1"
ROWS = """
CREATE TABLE customers (id int PRIMARY KEY, name text, email text UNIQUE);
CREATE TABLE newsletter (email text REFERENCES customers (email) ON UPDATE CASCADE, topic text);
INSERT INTO customers VALUES (1, 'Anna', 'anna@example.nl'), (2, 'Bo', 'bo@example.nl');
INSERT INTO newsletter VALUES ('anna@example.nl', 'sale');
"""


class Preparation:
    """The template deployed in acceptance, and a cluster to prepare."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.s3 = client(cloud, "s3")
        self.s3.create_bucket(
            Bucket="scripts", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.cluster = client(cloud, "rds").create_db_cluster(
            DBClusterIdentifier=CLUSTER,
            DatabaseName="shop",
            Engine="aurora-postgresql",
            EngineVersion="15.4",
            MasterUsername="owner",
            ManageMasterUserPassword=True,
            EnableHttpEndpoint=True,
            VpcSecurityGroupIds=[BUILDS],
        )["DBCluster"]
        cloud.sql(CLUSTER, ROWS)
        self.machine = self._deploy()

    def _deploy(self) -> str:
        parameters = {
            "Bucket": "scripts",
            "ClusterPattern": "acceptance-cluster-*",
            "VpcId": "vpc-0123456789abcdef0",
            "SubnetIds": "subnet-0123456789abcdef0",
            "BuildSecurityGroupId": BUILDS,
            "TesterSecurityGroupIds": TESTERS,
        }
        cloudformation = client(self.cloud, "cloudformation")
        self.cloud.set_stack_seconds(0)
        cloudformation.create_stack(
            StackName="after-restore",
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName="after-restore", WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
        )
        (stack,) = cloudformation.describe_stacks(StackName="after-restore")["Stacks"]
        (output,) = stack["Outputs"]
        return str(output["OutputValue"])

    def put(self, **files: str) -> None:
        """Put files into the folder of the database."""
        for name, text in files.items():
            key = f"after-restore/rds/{name.strip('_')}.sql"
            self.s3.put_object(Bucket="scripts", Key=key, Body=text.encode())

    def run(self) -> dict[str, Any]:
        """Start it as reconcile does, and describe how it ended."""
        import json

        given = {
            "database": "rds",
            "snapshot": "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:monday",
            "cluster": CLUSTER,
            "cluster_arn": self.cluster["DBClusterArn"],
            "endpoint": self.cluster["Endpoint"],
            "port": self.cluster["Port"],
            "engine": "aurora-postgresql",
            "secret_arn": self.cluster["MasterUserSecret"]["SecretArn"],
            "taken": "2026-01-04T01:00:00+00:00",
            "run": "a-run",
        }
        arn = client(self.cloud, "stepfunctions").start_execution(
            stateMachineArn=self.machine, name="rds-1", input=json.dumps(given)
        )["executionArn"]
        return self.cloud.wait_for_execution(arn)

    def redrive(self, arn: str) -> dict[str, Any]:
        client(self.cloud, "stepfunctions").redrive_execution(executionArn=arn)
        return self.cloud.wait_for_execution(arn)

    def column(self, sql: str) -> list[Any]:
        return [next(iter(row.values())) for row in self.cloud.sql(CLUSTER, sql)]

    def groups(self) -> list[str]:
        (cluster,) = client(self.cloud, "rds").describe_db_clusters()["DBClusters"]
        return [group["VpcSecurityGroupId"] for group in cluster["VpcSecurityGroups"]]


@pytest.fixture
def preparation(cloud: LocalCloud) -> Preparation:
    return Preparation(cloud)


def test_a(preparation):
    preparation.put(_10_mask="UPDATE customers SET email = 'x' || id || ';'; -- done;\n SELECT 1;", _20_more="INSERT INTO customers VALUES (3,'n','e');INSERT INTO customers VALUES (1,'n','secret@e');", _30="DELETE FROM newsletter")
    d = preparation.run()
    print(d)
    print(preparation.groups(), preparation.column("SELECT email FROM customers"))
    preparation.put(_20_more="INSERT INTO customers VALUES (3,'n','e');")
    d=preparation.redrive(d["executionArn"])
    print(d)
    print(preparation.groups(), preparation.column("SELECT email FROM customers"), preparation.column("SELECT email FROM newsletter"))
    assert 0
