"""Rows of Aurora PostgreSQL clusters, held to botocore's ``rds-data`` model and the Aurora User Guide."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import postgres
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY, email text); INSERT INTO orders VALUES (1, 'a@b.nl')"
)


def create(cloud: LocalCloud, name: str, account: str = ACCEPTANCE, **more: Any) -> dict[str, Any]:
    """Create a cluster that the Data API reaches; returns its arguments."""
    made: dict[str, Any] = client(cloud, "rds", account).create_db_cluster(
        DBClusterIdentifier=name,
        Engine="aurora-postgresql",
        EngineVersion="15.4",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        **{"EnableHttpEndpoint": True, **more},
    )["DBCluster"]
    return {
        "resourceArn": made["DBClusterArn"],
        "secretArn": made["MasterUserSecret"]["SecretArn"],
    }


@pytest.fixture
def production(cloud: LocalCloud) -> dict[str, Any]:
    """Production's cluster *orders*, with one order."""
    api = create(cloud, "orders", PRODUCTION)
    cloud.sql("orders", ORDERS, PRODUCTION)
    return api


@pytest.fixture
def api(cloud: LocalCloud) -> Callable[..., dict[str, Any]]:
    """Call the Data API about one cluster of acceptance."""
    arguments = create(cloud, "orders")
    rds_data = client(cloud, "rds-data")

    def call(operation: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(rds_data, operation)(**{**arguments, **more})
        return answer

    return call


def restore(cloud: LocalCloud, snapshot: str, name: str) -> None:
    client(cloud, "rds").restore_db_cluster_from_snapshot(
        DBClusterIdentifier=name,
        SnapshotIdentifier=snapshot,
        Engine="aurora-postgresql",
        EngineVersion="15.4",
    )


def emails(cloud: LocalCloud, cluster: str, account: str = ACCEPTANCE) -> list[str]:
    rows = cloud.sql(cluster, "SELECT email FROM orders ORDER BY id", account)
    return [row["email"] for row in rows]


def test_a_snapshot_keeps_the_data_of_its_moment_through_share_copy_and_restore(
    cloud: LocalCloud, production: dict[str, Any]
) -> None:
    client(cloud, "rds", PRODUCTION).create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier="monday"
    )
    snapshot = cloud.seed_snapshots(
        [
            {
                "account": PRODUCTION,
                "identifier": "tuesday",
                "cluster": "orders",
                "engine": "aurora-postgresql",
                "engine_version": "15.4",
                "created": "2026-01-04T01:00:00+00:00",
                "shared_with": [ACCEPTANCE],
                "rows": True,
            }
        ]
    )["arns"][0]
    cloud.sql("orders", "UPDATE orders SET email = 'later'", PRODUCTION)

    rds = client(cloud, "rds")
    cloud.patch_snapshot(snapshot, copy_seconds=0)
    rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=snapshot, TargetDBClusterSnapshotIdentifier="own"
    )
    client(cloud, "rds", PRODUCTION).delete_db_cluster_snapshot(
        DBClusterSnapshotIdentifier="tuesday"
    )
    restore(cloud, "own", "first")
    cloud.sql("first", "UPDATE orders SET email = 'masked'")
    restore(cloud, "own", "second")

    assert emails(cloud, "first") == ["masked"]
    assert emails(cloud, "second") == ["a@b.nl"]
    assert emails(cloud, "orders", PRODUCTION) == ["later"]


def test_the_rows_of_a_final_snapshot_outlive_the_cluster_and_no_others_do(
    cloud: LocalCloud, production: dict[str, Any]
) -> None:
    create(cloud, "other")

    def databases() -> Any:
        count = "SELECT count(*) FROM pg_database WHERE datname LIKE 'rows%'"
        return cloud.sql("other", count)[0]["count"]

    rds = client(cloud, "rds", PRODUCTION)
    before = databases()
    rds.delete_db_cluster(DBClusterIdentifier="orders", FinalDBSnapshotIdentifier="last")
    assert databases() == before
    rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="last")
    assert databases() == before - 1


def test_a_snapshot_can_be_taken_while_somebody_is_connected(
    cloud: LocalCloud, api: Callable[..., Any]
) -> None:
    cloud.sql("orders", ORDERS)
    transaction = api("begin_transaction")["transactionId"]
    api("execute_statement", sql="DELETE FROM orders", transactionId=transaction)

    client(cloud, "rds").create_db_cluster_snapshot(
        DBClusterIdentifier="orders", DBClusterSnapshotIdentifier="busy"
    )
    cloud.patch_snapshot(
        f"arn:aws:rds:{cloud.region}:{ACCEPTANCE}:cluster-snapshot:busy", status="available"
    )
    restore(cloud, "busy", "restored")

    assert emails(cloud, "restored") == ["a@b.nl"]


def test_the_data_api_answers_in_fields_and_takes_parameters(api: Callable[..., Any]) -> None:
    """Field and SqlParameter of the model; "parameters without a type hint are text", the guide."""
    sql = "SELECT :id + 1, :text, true, 0.5::float, NULL, 1.50::numeric, '\\x00'::bytea, ':none'"
    parameters = [
        {"name": "id", "value": {"longValue": 1}},
        {"name": "text", "value": {"stringValue": "'; DROP"}},
    ]

    answer = api("execute_statement", sql=sql, parameters=parameters, includeResultMetadata=True)

    assert answer["records"] == [
        [
            {"longValue": 2},
            {"stringValue": "'; DROP"},
            {"booleanValue": True},
            {"doubleValue": 0.5},
            {"isNull": True},
            {"stringValue": "1.50"},
            {"blobValue": b"\0"},
            {"stringValue": ":none"},
        ]
    ]
    assert len(answer["columnMetadata"]) == 8


def test_a_transaction_is_committed_rolled_back_or_not_found(
    cloud: LocalCloud, api: Callable[..., Any]
) -> None:
    cloud.sql("orders", ORDERS)
    for end in ("rollback_transaction", "commit_transaction"):
        transaction = api("begin_transaction")["transactionId"]
        answer = api("execute_statement", sql="DELETE FROM orders", transactionId=transaction)
        assert answer["numberOfRecordsUpdated"] == 1
        assert emails(cloud, "orders") == ["a@b.nl"]
        api(end, transactionId=transaction)

    assert emails(cloud, "orders") == []
    with pytest.raises(ClientError, match="TransactionNotFoundException"):
        api("commit_transaction", transactionId=transaction)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"sql": "SELECT * FROM nowhere"}, "DatabaseErrorException.*SQLState: 42P01"),
        ({"sql": "SELECT 1; SELECT 2"}, "DatabaseErrorException.*multiple commands"),
        ({"sql": "SELECT 1", "secretArn": "arn:aws:nobodys"}, "SecretsErrorException"),
        (
            {"sql": "SELECT 1", "resourceArn": "arn:aws:rds:eu-west-1:222222222222:cluster:none"},
            "DatabaseNotFoundException",
        ),
    ],
)
def test_what_the_data_api_refuses(
    api: Callable[..., Any], more: dict[str, str], code: str
) -> None:
    """The codes are the model's, in which BadRequestException is deprecated."""
    with pytest.raises(ClientError, match=code):
        api("execute_statement", **more)


def test_the_data_api_must_be_enabled(cloud: LocalCloud) -> None:
    arguments = create(cloud, "orders", EnableHttpEndpoint=False)
    rds_data = client(cloud, "rds-data")

    with pytest.raises(ClientError, match="HttpEndpointNotEnabledException"):
        rds_data.execute_statement(sql="SELECT 1", **arguments)
    client(cloud, "rds").enable_http_endpoint(ResourceArn=arguments["resourceArn"])
    assert rds_data.execute_statement(sql="SELECT 1", **arguments)["records"]


def test_the_data_api_needs_rights_on_cluster_and_secret(cloud: LocalCloud) -> None:
    """ "Controlling access to the RDS Data API", Aurora User Guide."""
    arguments = create(cloud, "orders")
    visitor = cloud.client("rds-data", user="visitor")
    allowed = {"Effect": "Allow", "Action": "rds-data:*", "Resource": arguments["resourceArn"]}
    for needed in ("rds-data:ExecuteStatement", "secretsmanager:GetSecretValue"):
        with pytest.raises(ClientError, match=f"not authorized to perform: {needed}"):
            visitor.execute_statement(sql="SELECT 1", **arguments)
        client(cloud, "iam").put_user_policy(
            UserName="visitor",
            PolicyName="data",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )


def test_psql_reaches_the_cluster_but_not_as_the_administrator(
    cloud: LocalCloud, production: dict[str, Any]
) -> None:
    address = cloud.database_address("orders", PRODUCTION)

    def psql(user: str) -> subprocess.CompletedProcess[str]:
        programs = Path(str(postgres.package())) / "pginstall18/bin/psql"
        target = f"host={address['host']} port={address['port']} dbname={address['dbname']}"
        return subprocess.run(
            [programs, "-At", "-c", "SELECT email FROM orders", f"{target} user={user}"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert psql(address["user"]).stdout == "a@b.nl\n"
    assert psql(postgres.ADMINISTRATOR).returncode != 0


def test_the_database_ends_with_the_cloud_however_that_ends(tmp_path: Path) -> None:
    with LocalCloud.start(log=tmp_path / "log") as cloud:
        create(cloud, "orders")
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
