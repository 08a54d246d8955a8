"""The only room that knows botocore, boto3's core: AWS in the words of ``ports.py``. It decides nothing.

Each object is given its client. Errors come out as the few typed ones of ``errors.py``, after
botocore's standard retries.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import AwsError, Refused, VersionLimitError
from chalicelib.ledger import Entry, Note, Parameter, Run
from chalicelib.notices import Notice
from chalicelib.snapshots import OwnSnapshot, Snapshot, SnapshotArn

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_rds.type_defs import DBClusterSnapshotTypeDef, TagTypeDef
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_ssm import SSMClient

GOOD = "good"

_LOGGER = logging.getLogger("aurora-refresh")

# Four attempts at a call that hangs end within half a minute, so that a function has time left to
# undo. A page of a listing may take longer.
CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=4
)
LISTING_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=2, read_timeout=20
)

# Attempts at a throttled call: more than at others, because sooner. They end within six seconds, those at a
# page of a listing within three quarters of a minute.
PATIENCE = 7
LISTING_PATIENCE = 10
_THROTTLED = (
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
)


def throttled_delay(attempts: int, patience: int, response: tuple[Any, Any] | None) -> float | None:
    """The seconds after which a throttled call is repeated; None leaves the call to botocore.

    botocore waits for up to 1, 2, 4 … s. But a token comes to a throttled caller's bucket in a fraction of the
    first, and while one page waits for longer, those of the rest are wasted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/throttling.html
    """
    if response is None or attempts >= patience:
        return None
    if response[1].get("Error", {}).get("Code") not in _THROTTLED:
        return None
    return random.uniform(0.5, 1) * min(0.1 * 2.0 ** (attempts - 1), 20)  # noqa: S311 (no secret)


@contextmanager
def asking(operation: str, subject: str) -> Iterator[None]:
    """Turns a failed call into an AwsError that names what was asked for."""
    try:
        yield
    except ClientError as error:
        told = error.response["Error"]
        # After an error of the server's, the call may have taken effect all the same.
        refused = error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
        raise AwsError(
            operation, subject, told["Code"], told["Message"], answered=refused
        ) from error
    except BotoCoreError as error:
        code = type(error).__name__
        raise AwsError(operation, subject, code, str(error), answered=False) from error


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
        with asking("DescribeDBClusterSnapshots", "the shared snapshots"):
            for page in pages:
                yield from map(to_snapshot, page["DBClusterSnapshots"])

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

    def own(self) -> Iterator[OwnSnapshot]:
        """Every manual snapshot of this account; raises AwsError."""
        pages = self._client.get_paginator("describe_db_cluster_snapshots").paginate(
            SnapshotType="manual", PaginationConfig={"PageSize": 100}
        )
        with asking("DescribeDBClusterSnapshots", "the own snapshots"):
            for page in pages:
                for listed in page["DBClusterSnapshots"]:
                    tags = {tag["Key"]: tag["Value"] for tag in listed.get("TagList", [])}
                    yield to_own_snapshot(listed, tags)

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        """Ask for a copy, which takes a while; None where a snapshot of that name exists.

        Raises AwsError, and Refused for what only people can mend.
        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
        """
        told = self._client.exceptions
        with asking("CopyDBClusterSnapshot", source):
            try:
                copied = self._client.copy_db_cluster_snapshot(
                    SourceDBClusterSnapshotIdentifier=source,
                    TargetDBClusterSnapshotIdentifier=name,
                    KmsKeyId=key,
                    Tags=to_tags(tags),
                )
            except told.DBClusterSnapshotAlreadyExistsFault:
                return None
            except told.SnapshotQuotaExceededFault as error:
                raise Refused("copy-quota", _no_copy(source, error)) from error
            except told.KMSKeyNotAccessibleFault as error:
                raise Refused("copy-key-denied", _no_copy(source, error)) from error
            except (
                told.DBClusterSnapshotNotFoundFault,
                told.InvalidDBClusterSnapshotStateFault,
            ) as error:
                raise Refused("snapshot-gone", _no_copy(source, error)) from error
            except ClientError as error:
                # RDS's words for it, which its model does not have, are those of a key that must not be
                # given. Whether a snapshot under a key of AWS's own counts as encrypted, it alone knows.
                if error.response["Error"]["Code"] != "InvalidParameterCombination":
                    raise
                raise Refused("copy-unencrypted", _no_copy(source, error)) from error
        return to_own_snapshot(copied["DBClusterSnapshot"], tags)

    def delete(self, identifier: str) -> None:
        """Delete a manual snapshot of this account; none there is as good. Raises AwsError."""
        gone = self._client.exceptions.DBClusterSnapshotNotFoundFault
        with asking("DeleteDBClusterSnapshot", identifier), suppress(gone):
            self._client.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=identifier)

    def _describe(self, identifier: str) -> Snapshot | None:
        with asking("DescribeDBClusterSnapshots", identifier):
            try:
                listed = self._client.describe_db_cluster_snapshots(
                    DBClusterSnapshotIdentifier=identifier, IncludeShared=True
                )
            except self._client.exceptions.DBClusterSnapshotNotFoundFault:
                return None
        return next(map(to_snapshot, listed["DBClusterSnapshots"]), None)


def to_own_snapshot(listed: "DBClusterSnapshotTypeDef", tags: Mapping[str, str]) -> OwnSnapshot:
    return OwnSnapshot(
        to_snapshot(listed),
        tags,
        listed.get("PercentProgress", 0),
        listed.get("SourceDBClusterSnapshotArn"),
    )


def to_tags(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def _no_copy(source: str, error: ClientError) -> str:
    return f"RDS does not copy {source}: {error.response['Error']['Message']}"


def to_snapshot(listed: "DBClusterSnapshotTypeDef") -> Snapshot:
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
        # Only what is known to be own is: an own snapshot need not be production's.
        own=listed.get("SnapshotType") in ("manual", "automated", "awsbackup"),
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
            with asking("GetParameters", ", ".join(some)):
                answer = self._client.get_parameters(Names=some)
            for parameter in answer["Parameters"]:
                found[parameter["Name"]] = Parameter(parameter["Value"], parameter["Version"])
        return found

    def put(self, name: str, value: str, note: Note) -> int:
        """Create or replace the parameter; raises AwsError, and of it VersionLimitError."""
        try:
            with asking("PutParameter", name):
                return self._client.put_parameter(
                    Name=name,
                    Value=value,
                    Description=note.describe(),
                    Type="String",
                    Overwrite=True,
                )["Version"]
        except AwsError as error:
            if error.code == "ParameterMaxVersionLimitExceeded":
                raise VersionLimitError(error.operation, name, error.code, error.message) from error
            raise

    def delete(self, name: str) -> None:
        """Remove the parameter with its history; raises AwsError."""
        gone = self._client.exceptions.ParameterNotFound
        with asking("DeleteParameter", name), suppress(gone):
            self._client.delete_parameter(Name=name)

    def mark_good(self, name: str, version: int) -> None:
        """Move the label to this version: it is unique within a parameter; raises AwsError."""
        with asking("LabelParameterVersion", name):
            self._client.label_parameter_version(Name=name, ParameterVersion=version, Labels=[GOOD])

    def unmark_good(self, name: str, version: int) -> None:
        """Take the label away; raises AwsError."""
        with asking("UnlabelParameterVersion", name):
            self._client.unlabel_parameter_version(
                Name=name, ParameterVersion=version, Labels=[GOOD]
            )

    def history(self, name: str) -> list[Entry]:
        """The versions kept, oldest first; raises AwsError."""
        pages = self._client.get_paginator("get_parameter_history").paginate(
            Name=name, PaginationConfig={"PageSize": 50}
        )
        with asking("GetParameterHistory", name):
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
                good=GOOD in version.get("Labels", []),
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
            Run(run["pipelineExecutionId"], run["status"], run["startTime"], run["lastUpdateTime"])
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
        with asking(operation, f"pipeline {name}"):
            try:
                yield
            except self._client.exceptions.PipelineNotFoundException as error:
                raise Refused("pipeline-missing", f"there is no pipeline named {name}") from error


class SnsPeople:
    """The subscribers of an SNS topic; nobody where there is no topic.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """

    def __init__(self, client: "SNSClient", topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def tell(self, notice: Notice) -> None:
        """Publish the notice; what SNS does not do is logged, and changes nothing."""
        try:
            with asking("Publish", self._topic_arn):
                self._client.publish(
                    TopicArn=self._topic_arn,
                    Subject=notice.subject,
                    Message=notice.body,
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": value}
                        for name, value in notice.attributes.items()
                    },
                )
        except AwsError:
            _LOGGER.exception("people could not be told: %s", notice.subject)


class Nobody:
    """Those who hear of a refresh that has no topic."""

    def tell(self, notice: Notice) -> None:
        """Tell nobody: the log has it."""


class Aws:
    """The World of ``ports.py``: each client is made once, and only where it is used."""

    def __init__(self, create_client: Callable[..., Any], topic_arn: str | None) -> None:
        self._create_client = create_client
        self._topic_arn = topic_arn

    def client(self, service: str, *, lists: bool = False) -> Any:
        """A client of a service; one that ``lists`` has more patience."""
        made = self._create_client(service, config=LISTING_CONFIG if lists else CONFIG)
        patience = LISTING_PATIENCE if lists else PATIENCE

        def delay(attempts: int, response: tuple[Any, Any] | None, **_: Any) -> float | None:
            return throttled_delay(attempts, patience, response)

        # The first handler that answers decides; botocore's own stands behind it.
        made.meta.events.register_first(f"needs-retry.{service}", delay)
        return made

    @cached_property
    def snapshots(self) -> RdsSnapshots:
        return RdsSnapshots(self.client("rds", lists=True))

    @cached_property
    def parameters(self) -> SsmParameters:
        return SsmParameters(self.client("ssm"))

    @cached_property
    def pipelines(self) -> CodePipelines:
        return CodePipelines(self.client("codepipeline"))

    @cached_property
    def people(self) -> SnsPeople | Nobody:
        if self._topic_arn is None:
            return Nobody()
        return SnsPeople(self.client("sns"), self._topic_arn)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
