"""Rows of Aurora PostgreSQL clusters, held to botocore's ``rds-data`` model and the Aurora User Guide.

What snapshots and restores carry is shown by `make demo SCENARIO=rows`, what the after-restore work does with it is in
tests/e2e/test_after_restore.py.
"""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import postgres
from localcloud.client import LocalCloud, wait_until
from tests.localcloud.probe import allow


def create(cloud: LocalCloud, **more: Any) -> dict[str, Any]:
    """Create a cluster that the Data API reaches; returns its arguments."""
    made: dict[str, Any] = cloud.client("rds").create_db_cluster(
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        **{"DBClusterIdentifier": "orders", "EnableHttpEndpoint": True, **more},
    )["DBCluster"]
    secret = made["MasterUserSecret"]["SecretArn"]
    return {"resourceArn": made["DBClusterArn"], "secretArn": secret}


@pytest.mark.parametrize(
    ("more", "change", "sql", "code"),
    [
        ({"EnableHttpEndpoint": False}, {}, "", "HttpEndpointNotEnabledException"),
        ({}, {"secretArn": "arn:aws:nobodys"}, "", "SecretsErrorException"),
        ({}, {}, "SELECT * FROM nowhere", "DatabaseErrorException.*SQLState: 42P01"),
        ({}, {}, "SELECT 1; SELECT 2", "DatabaseErrorException.*multiple commands"),
    ],
)
def test_a_call_that_is_refused(
    cloud: LocalCloud, more: dict[str, bool], change: dict[str, str], sql: str, code: str
) -> None:
    """The model's codes; *Using the Amazon RDS Data API*: an enabled endpoint, one statement a call."""
    arguments, rds_data = create(cloud, **more) | change, cloud.client("rds-data")
    with pytest.raises(ClientError, match=code):  # noqa: PT012 (whichever call it is)
        begun = rds_data.begin_transaction(**arguments)
        rds_data.execute_statement(**arguments, transactionId=begun["transactionId"], sql=sql)


def test_a_transaction_is_one_of_its_cluster(cloud: LocalCloud) -> None:
    """TransactionNotFoundException of the model."""
    arguments, other = create(cloud), create(cloud, DBClusterIdentifier="billing")
    rds_data = cloud.client("rds-data")
    transaction = rds_data.begin_transaction(**arguments)["transactionId"]
    with pytest.raises(ClientError, match="TransactionNotFoundException"):
        rds_data.execute_statement(**other, transactionId=transaction, sql="SELECT 1")


def test_the_data_api_needs_rights_on_cluster_and_secret(cloud: LocalCloud) -> None:
    """ "Controlling access to the RDS Data API", Aurora User Guide."""
    arguments, visitor = create(cloud), cloud.client("rds-data", user="visitor")
    policy = allow("rds-data:*", arguments["resourceArn"])
    for needed in ("rds-data:BeginTransaction", "secretsmanager:GetSecretValue"):
        with pytest.raises(ClientError, match=f"not authorized to perform: {needed}"):
            visitor.begin_transaction(**arguments)
        cloud.client("iam").put_user_policy(
            UserName="visitor", PolicyName="data", PolicyDocument=policy
        )


def test_the_database_ends_with_the_cloud_however_that_ends(tmp_path: Path) -> None:
    with LocalCloud.start(log=tmp_path / "log") as cloud:
        create(cloud)
        port = cloud.database_address("orders")["port"]
        assert cloud._process is not None  # noqa: SLF001
        os.kill(cloud._process.pid, signal.SIGKILL)  # noqa: SLF001
        wait_until(lambda: not listens(port), "PostgreSQL to end")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((postgres.HOST, port)) == 0
