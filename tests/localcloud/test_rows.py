"""Rows of Aurora PostgreSQL clusters, held to botocore's ``rds-data`` model and the Aurora User Guide.

What snapshots and restores carry is shown by `make demo SCENARIO=rows`, what the after-restore work does with it is in
tests/e2e/test_after_restore.py.
"""

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from localcloud import postgres
from localcloud.client import LocalCloud, wait_until


def create(cloud: LocalCloud) -> dict[str, str]:
    """Create a cluster whose Data API is off; return the arguments of a call."""
    made = cloud.client("rds").create_db_cluster(
        DBClusterIdentifier="orders",
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )["DBCluster"]
    secret = made["MasterUserSecret"]["SecretArn"]
    return {"resourceArn": made["DBClusterArn"], "secretArn": secret}


def test_the_data_api_needs_an_enabled_endpoint_and_rights_on_cluster_and_secret(
    cloud: LocalCloud,
) -> None:
    """*Using the Amazon RDS Data API*, "Controlling access to the RDS Data API", Aurora User Guide."""
    arguments, visitor = create(cloud), cloud.client("rds-data", user="visitor")
    with pytest.raises(ClientError, match="HttpEndpointNotEnabledException"):
        cloud.client("rds-data").begin_transaction(**arguments)
    cloud.client("rds").enable_http_endpoint(ResourceArn=arguments["resourceArn"])
    own = {"Effect": "Allow", "Action": "rds-data:*", "Resource": arguments["resourceArn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [own]})
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
