"""The only room that knows boto3: AWS in the words of ``ports.py``. It decides nothing.

Each object is given its client. Errors come out as the few typed ones of ``errors.py``, after
botocore's standard retries.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import AwsError, Refused
from chalicelib.ledger import Entry, Note, Run
from chalicelib.ports import Parameter
from chalicelib.snapshots import Snapshot, SnapshotArn

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_rds.type_defs import DBClusterSnapshotTypeDef
    from mypy_boto3_ssm import SSMClient

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 6},
    connect_timeout=5,
    read_timeout=20,
)


@contextmanager
def _asking(operation: str, subject: str) -> Iterator[None]:
    """Turns a failed call into an AwsError that names what was asked for."""
    try:
        yield
    except ClientError as error:
        told = error.response["Error"]
        raise AwsError(operation, subject, told["Code"], told["Message"]) from error
    except BotoCoreError as error:
        raise AwsError(operation, subject, type(error).__name__, str(error)) from error


class RdsSnapshots:
    """DescribeDBClusterSnapshots, which lists DocumentDB's and Neptune's snapshots, too.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBClusterSnapshots.html
    """

    def __init__(self, client: "RDSClient") -> None:
        self._client = client

    def shared(self) -> Iterator[Snapshot]:
        """Every snapshot shared with this account; raises AwsError.

        How filters act on shared snapshots is undocumented, so everything is read.
        """
        pages = self._client.get_paginator("describe_db_cluster_snapshots").paginate(
            SnapshotType="shared", PaginationConfig={"PageSize": 100}
        )
        with _asking("DescribeDBClusterSnapshots", "the shared snapshots"):
            for page in pages:
                yield from map(_snapshot, page["DBClusterSnapshots"])

    def find(self, arn: str) -> Snapshot | None:
        """The own or shared snapshot with this ARN; raises AwsError."""
        parsed = SnapshotArn.parse(arn)
        if parsed is None or parsed.region != self._client.meta.region_name:
            return None  # a Region knows its own snapshots only
        return self._describe(arn)

    def named(self, identifier: str, account: str) -> list[Snapshot]:
        """The own snapshot of that name and the one that ``account`` shares; raises AwsError."""
        # A share has no short name here: AWS lists it, and finds it, by its ARN alone.
        meta = self._client.meta
        arn = f"arn:{meta.partition}:rds:{meta.region_name}:{account}:cluster-snapshot:{identifier}"
        found = (self._describe(identifier), self._describe(arn))
        return [snapshot for snapshot in found if snapshot]

    def _describe(self, identifier: str) -> Snapshot | None:
        with _asking("DescribeDBClusterSnapshots", identifier):
            try:
                listed = self._client.describe_db_cluster_snapshots(
                    DBClusterSnapshotIdentifier=identifier, IncludeShared=True
                )
            except self._client.exceptions.DBClusterSnapshotNotFoundFault:
                return None
        return next(map(_snapshot, listed["DBClusterSnapshots"]), None)


def _snapshot(listed: "DBClusterSnapshotTypeDef") -> Snapshot:
    arn = listed["DBClusterSnapshotArn"]
    parsed = SnapshotArn.parse(arn)
    return Snapshot(
        arn=arn,
        account=parsed.account if parsed else "",
        cluster=listed.get("DBClusterIdentifier", ""),
        engine=listed.get("Engine", ""),
        engine_version=listed.get("EngineVersion", ""),
        status=listed.get("Status", ""),
        created=listed.get("SnapshotCreateTime"),
        own=listed.get("SnapshotType") not in ("shared", "public"),
    )


class SsmParameters:
    """Parameter Store, whose history of each parameter is the refresh's ledger.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """

    _NAMES_A_CALL = 10

    def __init__(self, client: "SSMClient") -> None:
        self._client = client

    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        """Those of the parameters that exist; raises AwsError."""
        found: dict[str, Parameter] = {}
        for first in range(0, len(names), self._NAMES_A_CALL):
            some = names[first : first + self._NAMES_A_CALL]
            with _asking("GetParameters", ", ".join(some)):
                answer = self._client.get_parameters(Names=some)
            for parameter in answer["Parameters"]:
                found[parameter["Name"]] = Parameter(parameter["Value"], parameter["Version"])
        return found

    def put(self, name: str, value: str, note: Note) -> int:
        """Create or replace the parameter; raises AwsError."""
        with _asking("PutParameter", name):
            return self._client.put_parameter(
                Name=name, Value=value, Description=note.describe(), Type="String", Overwrite=True
            )["Version"]

    def delete(self, name: str) -> None:
        """Remove the parameter with its history; raises AwsError."""
        gone = self._client.exceptions.ParameterNotFound
        with _asking("DeleteParameter", name), suppress(gone):
            self._client.delete_parameter(Name=name)

    def history(self, name: str) -> list[Entry]:
        """The versions kept, oldest first; raises AwsError."""
        pages = self._client.get_paginator("get_parameter_history").paginate(
            Name=name, PaginationConfig={"PageSize": 50}
        )
        with _asking("GetParameterHistory", name):
            try:
                kept = [version for page in pages for version in page["Parameters"]]
            except self._client.exceptions.ParameterNotFound:
                return []
        return [
            Entry(
                version=version["Version"],
                value=version["Value"],
                modified=version["LastModifiedDate"],
                note=Note.read(version.get("Description", "")),
            )
            for version in kept
        ]


class CodePipelines:
    """The main pipeline, which deploys the infrastructure and restores from ``current``.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StartPipelineExecution.html
    """

    def __init__(self, client: "CodePipelineClient") -> None:
        self._client = client

    def runs(self, name: str) -> list[Run]:
        """The hundred most recent runs, newest first; raises AwsError and Refused."""
        with self._asking("ListPipelineExecutions", name):
            listed = self._client.list_pipeline_executions(pipelineName=name, maxResults=100)
        return [
            Run(run["pipelineExecutionId"], run["status"], run["startTime"])
            for run in listed["pipelineExecutionSummaries"]
        ]

    def start(self, name: str, token: str) -> str:
        """Start a run, once for each token; raises AwsError and Refused."""
        with self._asking("StartPipelineExecution", name):
            return self._client.start_pipeline_execution(name=name, clientRequestToken=token)[
                "pipelineExecutionId"
            ]

    @contextmanager
    def _asking(self, operation: str, name: str) -> Iterator[None]:
        with _asking(operation, f"pipeline {name}"):
            try:
                yield
            except self._client.exceptions.PipelineNotFoundException as error:
                raise Refused("pipeline-missing", f"there is no pipeline named {name}") from error


class Aws:
    """The World of ``ports.py``: each client is made once, and only where it is used."""

    def __init__(self, session: boto3.Session) -> None:
        self._session = session

    @cached_property
    def snapshots(self) -> RdsSnapshots:
        return RdsSnapshots(self._session.client("rds", config=_CONFIG))

    @cached_property
    def parameters(self) -> SsmParameters:
        return SsmParameters(self._session.client("ssm", config=_CONFIG))

    @cached_property
    def pipelines(self) -> CodePipelines:
        return CodePipelines(self._session.client("codepipeline", config=_CONFIG))

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
