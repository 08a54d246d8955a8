"""Rows of Aurora PostgreSQL clusters, held to botocore's ``rds-data`` model and the Aurora User Guide.

What snapshots and restores carry is shown by `make demo SCENARIO=rows`, what the after-restore work does with it is in
test_after_restore.py.
"""

import json
import os
import signal
import socket
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.acceptance import nightly
from localcloud import postgres
from localcloud.accounts import ACCEPTANCE
from localcloud.client import LocalCloud

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)


def create(cloud: LocalCloud, **more: Any) -> dict[str, Any]:
    """Create a cluster that the Data API reaches; returns its arguments."""
    made: dict[str, Any] = client(cloud, "rds").create_db_cluster(
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        **{"DBClusterIdentifier": "orders", "EnableHttpEndpoint": True, **more},
    )["DBCluster"]
    secret = made["MasterUserSecret"]["SecretArn"]
    return {"resourceArn": made["DBClusterArn"], "secretArn": secret}


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nowhere", "DatabaseErrorException.*SQLState: 42P01"),
        ("SELECT 1; SELECT 2", "DatabaseErrorException.*multiple commands"),
    ],
)
def test_a_statement_that_is_refused(cloud: LocalCloud, sql: str, code: str) -> None:
    """The model's code; *Using the Amazon RDS Data API*: one statement a call."""
    arguments, rds_data = create(cloud), client(cloud, "rds-data")
    transaction = rds_data.begin_transaction(**arguments)["transactionId"]
    with pytest.raises(ClientError, match=code):
        rds_data.execute_statement(**arguments, transactionId=transaction, sql=sql)


def test_a_transaction_is_one_of_its_cluster(cloud: LocalCloud) -> None:
    """TransactionNotFoundException of the model."""
    arguments, other = create(cloud), create(cloud, DBClusterIdentifier="billing")
    rds_data = client(cloud, "rds-data")
    transaction = rds_data.begin_transaction(**arguments)["transactionId"]
    with pytest.raises(ClientError, match="TransactionNotFoundException"):
        rds_data.execute_statement(**other, transactionId=transaction, sql="SELECT 1")


def test_a_new_cluster_or_snapshot_is_empty_whatever_had_its_name(cloud: LocalCloud) -> None:
    rds, named = client(cloud, "rds"), {"DBClusterIdentifier": "orders"}
    create(cloud)
    cloud.sql("orders", "CREATE TABLE customers (id int)")
    seed = nightly("orders", datetime(2026, 1, 3, tzinfo=UTC), account=ACCEPTANCE)
    cloud.seed_snapshots([{**seed, "rows": True}])
    rds.delete_db_cluster(**named, SkipFinalSnapshot=True)
    cloud.set_clock(datetime(2026, 1, 4, tzinfo=UTC))  # The automated snapshots are of another day.

    create(cloud)
    (arn,) = cloud.seed_snapshots([seed])["arns"]
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="restored",
        SnapshotIdentifier=arn,
        Engine="aurora-postgresql",
        EngineVersion="15.4",
    )

    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'customers'"
    assert [cloud.sql(name, tables) for name in ("orders", "restored")] == [[{"count": 0}]] * 2


@pytest.mark.parametrize(
    ("more", "wrong", "code"),
    [
        ({"EnableHttpEndpoint": False}, {}, "HttpEndpointNotEnabledException"),
        ({}, {"secretArn": "arn:aws:nobodys"}, "SecretsErrorException"),
    ],
)
def test_a_cluster_is_reached_through_an_enabled_endpoint_with_a_secret(
    cloud: LocalCloud, more: dict[str, bool], wrong: dict[str, str], code: str
) -> None:
    arguments = create(cloud, **more) | wrong
    with pytest.raises(ClientError, match=code):
        client(cloud, "rds-data").begin_transaction(**arguments)


def test_the_data_api_needs_rights_on_cluster_and_secret(cloud: LocalCloud) -> None:
    """ "Controlling access to the RDS Data API", Aurora User Guide."""
    arguments, visitor = create(cloud), cloud.client("rds-data", user="visitor")
    allowed = {"Effect": "Allow", "Action": "rds-data:*", "Resource": arguments["resourceArn"]}
    for needed in ("rds-data:BeginTransaction", "secretsmanager:GetSecretValue"):
        with pytest.raises(ClientError, match=f"not authorized to perform: {needed}"):
            visitor.begin_transaction(**arguments)
        client(cloud, "iam").put_user_policy(
            UserName="visitor",
            PolicyName="data",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )


def test_the_database_ends_with_the_cloud_however_that_ends(tmp_path: Path) -> None:
    with LocalCloud.start(log=tmp_path / "log") as cloud:
        create(cloud)
        port = cloud.database_address("orders")["port"]
        assert cloud._process is not None  # noqa: SLF001
        os.kill(cloud._process.pid, signal.SIGKILL)  # noqa: SLF001
        deadline = monotonic() + 10
        while _listens(port):
            assert monotonic() < deadline
            sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((postgres.HOST, port)) == 0
