"""Rows: Aurora PostgreSQL clusters and their snapshots hold data, which the RDS Data API can reach.

moto's clusters are empty, and its Data API returns prepared answers. This module restores what the after-restore
work needs, from botocore's ``rds-data`` model and *Using the Amazon RDS Data API* (Aurora User Guide): single
statements in a transaction, for which the HTTP endpoint must be enabled and the secret must exist. ``shares.py``
decides which data a snapshot or a cluster has, and ``postgres.py`` stores it.

Unlike Aurora, all clusters share their database users, the endpoint asks for no password, and a cluster has one
database of any name and needs no instance. ExecuteStatement requires a transaction, accepts no parameters, and
returns no records.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from moto.core.exceptions import JsonRESTError
from moto.rds.models import DBCluster, MasterUserSecret, rds_backends
from moto.rdsdata import urls
from moto.rdsdata.responses import RDSDataServiceResponse
from moto.secretsmanager.exceptions import SecretsManagerClientError
from moto.secretsmanager.models import secretsmanager_backends
from pg8000.native import DatabaseError

from localcloud import postgres
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.controls import control

Json = dict[str, Any]

ENGINE = "aurora-postgresql"

databases = postgres.Databases()
_transactions: dict[tuple[str, str], Any] = {}  # connections, by cluster and token


class RowsResponse(RDSDataServiceResponse):
    """moto's RDS Data API with real data."""

    def begin_transaction(self) -> str:
        cluster, token = self._cluster(), uuid4().hex
        connection = databases.connect(cluster)
        connection.run("BEGIN")
        _transactions[cluster.db_cluster_arn, token] = connection
        return json.dumps({"transactionId": token})

    def execute_statement(self) -> str:
        """ExecuteStatement; the extended protocol accepts only a single statement."""
        with _translated():
            context = _transactions[self._transaction()].execute_unnamed(self._get_param("sql"))
        return json.dumps({"numberOfRecordsUpdated": max(context.row_count, 0)})

    def commit_transaction(self) -> str:
        return self._end("COMMIT", "Transaction Committed")

    def rollback_transaction(self) -> str:
        return self._end("ROLLBACK", "Rollback Complete")

    def _end(self, statement: str, status: str) -> str:
        with _translated(), contextlib.closing(_transactions.pop(self._transaction())) as ended:
            ended.run(statement)
        return json.dumps({"transactionStatus": status})

    def _transaction(self) -> tuple[str, str]:
        """Return the cluster and the token of an open transaction."""
        key = (self._cluster().db_cluster_arn, self._get_param("transactionId", ""))
        if key not in _transactions:
            raise JsonRESTError("TransactionNotFoundException", f"{key[1]} is not found")
        return key

    def _cluster(self) -> DBCluster:
        """Return the cluster if its HTTP endpoint and the secret permit the call."""
        arn, account = self._get_param("resourceArn"), self.current_account
        cluster = rds_backends[account][REGION].clusters.get(arn.rpartition(":")[2])
        if cluster is None or cluster.engine != ENGINE:
            message = f"{arn} is no cluster with the Data API"
            raise JsonRESTError("DatabaseNotFoundException", message)
        if not cluster.http_endpoint_enabled:
            message = f"HttpEndpoint is not enabled for cluster {arn}"
            raise JsonRESTError("HttpEndpointNotEnabledException", message)
        try:
            secrets = secretsmanager_backends[account][REGION]
            secrets.get_secret_value(self._get_param("secretArn"), "", "")
        except SecretsManagerClientError as error:
            raise JsonRESTError("SecretsErrorException", error.message) from error
        return cluster


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        reason = f"ERROR: {error.args[0]['M']}\n  Detail: {error.args[0].get('D')}; SQLState: {error.args[0]['C']}"
        raise JsonRESTError("DatabaseErrorException", reason) from error


def install() -> None:
    """Enable transactions, and name the cluster's own user in the secrets that RDS generates."""
    for path in ("BeginTransaction", "CommitTransaction", "RollbackTransaction"):
        urls.url_paths[f"{{0}}/{path}$"] = RowsResponse.dispatch
    MasterUserSecret._generate_secret_string = _secret  # type: ignore  # noqa: PGH003, SLF001


def _secret(secret: MasterUserSecret) -> str:
    username = secret.resource.master_username
    return json.dumps({"username": username, "password": uuid4().hex})


def reset() -> None:
    """Forget all data."""
    _transactions.clear()
    databases.stop()


def find_cluster(name: str, account: str) -> DBCluster:
    """Return an Aurora PostgreSQL cluster."""
    cluster = rds_backends[account][REGION].clusters.get(name)
    if cluster is None or cluster.engine != ENGINE:
        raise ValueError(f"{account} has no {ENGINE} cluster {name}")
    return cluster


@control
def sql(cluster: str, statements: str, account: str = ACCEPTANCE) -> list[Json]:
    """Run SQL in an Aurora PostgreSQL cluster as its master user; return the last statement's rows."""
    with contextlib.closing(databases.connect(find_cluster(cluster, account))) as connection:
        try:
            rows = connection.run(statements)
        except DatabaseError as error:
            raise ValueError(error.args[0].get("M")) from error
        names = [column["name"] for column in connection.columns or []]
    return [dict(zip(names, row, strict=True)) for row in rows or []]


@control
def database_address(cluster: str, account: str = ACCEPTANCE) -> Json:
    """Return host, port, dbname and user with which psql connects to a cluster, without a password."""
    found = find_cluster(cluster, account)
    database = databases.open(found)
    return {
        "host": postgres.HOST,
        "port": databases.server.port,
        "dbname": database,
        "user": found.master_username,
    }
