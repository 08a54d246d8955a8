"""A stand-in for AWS that is never the bottleneck: a process of its own with ready-made answers.

It knows the few calls that the functions make, answers them late or not at all where told to, and
counts them. What it answers does not depend on what was written: every run finds the same night.
"""

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Self
from urllib.parse import parse_qs

PAGE = 100
BURST = 10
REGION = "eu-west-1"
PRODUCTION = "111111111111"
STACK = "acceptance-data"
RESOURCE_ID = "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EXECUTION = "5b1c2f6e-7c4c-4f0e-9d56-0f3a0c6f7d11"
_NOT_COUNTED = "throttled"


@dataclass(frozen=True)
class Night:
    """What the stand-in answers with, and how.

    ``rate``: calls a second; beyond it, after a burst of a second's worth, a call is throttled.
    """

    snapshots: int = 20
    latency: float = 0.0
    rate: float | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    cluster_created: str = "2026-01-04T04:10:00Z"


class StandIn:
    """The stand-in's process, as seen from the bench."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # or the end of a process that does not come up would not be noticed
        self.url = f"http://127.0.0.1:{self._pipe.recv()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def play(self, night: Night) -> None:
        """Result so from now on, and count from zero."""
        self._pipe.send(night)
        self._pipe.recv()

    def calls(self) -> list[str]:
        """What was called since, without what was throttled; and count from zero."""
        self._pipe.send(None)
        calls: list[str] = self._pipe.recv()
        return [call for call in calls if call != _NOT_COUNTED]


def arn(number: int) -> str:
    """The ARN of one of the listing's snapshots; the newest one bears number 0."""
    return f"arn:aws:rds:{REGION}:{PRODUCTION}:cluster-snapshot:orders-{number:05d}"


# --- in the process ------------------------------------------------------------------------------


class _Server(ThreadingTCPServer):
    daemon_threads = True
    night = Night()
    pages: Mapping[int, list[bytes]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.calls: list[str] = []
        self.pages = {}
        self.tokens, self.refilled = float(BURST), time.monotonic()

    def play(self, night: Night) -> None:
        if night.snapshots not in self.pages:
            self.pages = {**self.pages, night.snapshots: _pages(night.snapshots)}
        self.night = night
        self.calls = []
        self.tokens, self.refilled = float(BURST), time.monotonic()

    def admits(self, operation: str) -> bool:
        """Note the call; a token bucket, which is how AWS throttles."""
        with self.lock:
            if self.night.rate is not None:
                now = time.monotonic()
                self.tokens += (now - self.refilled) * self.night.rate
                self.tokens, self.refilled = min(self.tokens, BURST), now
                if self.tokens < 1:
                    self.calls.append(_NOT_COUNTED)
                    return False
                self.tokens -= 1
            self.calls.append(operation)
            return True


class _Handler(StreamRequestHandler):
    # Or the second of two small writes would wait for 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        while self.rfile.readline():
            headers = {}
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip().decode()
            body = self.rfile.read(int(headers.get(b"content-length", "0")))
            status, kind, answer = self._answer(headers, body)
            self.wfile.write(
                b"HTTP/1.1 %d -\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
                b"x-amzn-RequestId: 0\r\n\r\n%s" % (status, kind, len(answer), answer)
            )

    def _answer(self, headers: Mapping[bytes, str], body: bytes) -> tuple[int, bytes, bytes]:
        night = self.server.night
        if night.latency:
            time.sleep(night.latency)
        target = headers.get(b"x-amz-target")
        if target:
            operation = target.partition(".")[2]
            if not self.server.admits(operation):
                return 400, b"application/x-amz-json-1.1", _THROTTLED_JSON
            answer = json.dumps(_JSON[operation](night, json.loads(body)))
            return 200, b"application/x-amz-json-1.1", answer.encode()
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if not self.server.admits(form["Action"]):
            return 400, b"text/xml", _THROTTLED_XML
        if form["Action"] == "Publish":
            return 200, b"text/xml", _PUBLISHED
        if form["Action"] in _XML:
            return 200, b"text/xml", _XML[form["Action"]](night)
        if "DBClusterSnapshotIdentifier" in form:
            return 200, b"text/xml", _page([_snapshot(0)], None)
        pages = self.server.pages[night.snapshots]
        return 200, b"text/xml", pages[int(form.get("Marker", "0"))]


def _serve(pipe: Connection) -> None:
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    while True:
        try:
            night = pipe.recv()
        except EOFError:
            return
        if night is None:
            calls, server.calls = server.calls, []
            pipe.send(calls)
        else:
            server.play(night)
            pipe.send(None)


_THROTTLED_JSON = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'
_THROTTLED_XML = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>ThrottlingException</Code>"
    b"<Message>Rate exceeded</Message></Error><RequestId>0</RequestId></ErrorResponse>"
)
_PUBLISHED = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    b"<MessageId>0</MessageId></PublishResult><ResponseMetadata><RequestId>0</RequestId>"
    b"</ResponseMetadata></PublishResponse>"
)

_XML: Mapping[str, Callable[[Night], bytes]] = {
    "DescribeStacks": lambda _: (
        b'<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
        b"<DescribeStacksResult><Stacks><member><StackName>acceptance-data</StackName>"
        b"<CreationTime>2026-01-01T00:00:00Z</CreationTime>"
        b"<StackStatus>UPDATE_COMPLETE</StackStatus></member></Stacks></DescribeStacksResult>"
        b"</DescribeStacksResponse>"
    ),
    "ListStackResources": lambda _: (
        b'<ListStackResourcesResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
        b"<ListStackResourcesResult><StackResourceSummaries><member>"
        b"<LogicalResourceId>Cluster</LogicalResourceId>"
        b"<PhysicalResourceId>acceptance-orders</PhysicalResourceId>"
        b"<ResourceType>AWS::RDS::DBCluster</ResourceType>"
        b"<LastUpdatedTimestamp>2026-01-04T04:20:00Z</LastUpdatedTimestamp>"
        b"<ResourceStatus>UPDATE_COMPLETE</ResourceStatus></member></StackResourceSummaries>"
        b"</ListStackResourcesResult></ListStackResourcesResponse>"
    ),
    "DescribeDBClusters": lambda night: (
        '<DescribeDBClustersResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">'
        "<DescribeDBClustersResult><DBClusters><DBCluster>"
        f"<DBClusterArn>arn:aws:rds:{REGION}:222222222222:cluster:acceptance-orders</DBClusterArn>"
        "<DBClusterIdentifier>acceptance-orders</DBClusterIdentifier>"
        f"<Engine>aurora-postgresql</Engine><DbClusterResourceId>{RESOURCE_ID}</DbClusterResourceId>"
        f"<ClusterCreateTime>{night.cluster_created}</ClusterCreateTime></DBCluster></DBClusters>"
        "</DescribeDBClustersResult></DescribeDBClustersResponse>"
    ).encode(),
}

_JSON: Mapping[str, Callable[[Night, dict[str, Any]], dict[str, Any]]] = {
    "GetParameters": lambda night, asked: {
        "Parameters": [
            {"Name": name, "Type": "String", "Value": night.parameters[name], "Version": 1}
            for name in asked["Names"]
            if name in night.parameters
        ],
        "InvalidParameters": [name for name in asked["Names"] if name not in night.parameters],
    },
    "GetParameterHistory": lambda night, asked: {
        "Parameters": [{"Name": asked["Name"], "Type": "String", **each} for each in night.history]
    },
    "PutParameter": lambda _, __: {"Version": 2, "Tier": "Standard"},
    "LabelParameterVersion": lambda _, __: {"InvalidLabels": [], "ParameterVersion": 2},
    "ListPipelineExecutions": lambda night, _: {"pipelineExecutionSummaries": list(night.runs)},
    "StartPipelineExecution": lambda _, __: {"pipelineExecutionId": EXECUTION},
}


def _pages(snapshots: int) -> list[bytes]:
    # The newest lies in the middle: whoever stops early misses it.
    numbers = list(range(snapshots))
    half = snapshots // 2
    numbers = numbers[half:] + numbers[:half]
    chunks = [numbers[first : first + PAGE] for first in range(0, snapshots, PAGE)]
    return [
        _page(map(_snapshot, chunk), page + 1 if page + 1 < len(chunks) else None)
        for page, chunk in enumerate(chunks)
    ]


def _page(snapshots: Any, marker: int | None) -> bytes:
    more = "" if marker is None else f"<Marker>{marker}</Marker>"
    return (
        '<DescribeDBClusterSnapshotsResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">'
        f"<DescribeDBClusterSnapshotsResult>{more}<DBClusterSnapshots>{''.join(snapshots)}"
        "</DBClusterSnapshots></DescribeDBClusterSnapshotsResult><ResponseMetadata>"
        "<RequestId>0</RequestId></ResponseMetadata></DescribeDBClusterSnapshotsResponse>"
    ).encode()


def _snapshot(number: int) -> str:
    """Half of the shares are of the wanted cluster, the others of two more; the fields are AWS's.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBClusterSnapshot.html
    """
    engine, version, cluster = (
        ("aurora-postgresql", "15.4", "orders"),
        ("aurora-mysql", "8.0.mysql_aurora.3.04.0", "billing"),
        ("aurora-postgresql", "15.4", "orders"),
        ("docdb", "5.0.0", "documents"),
    )[number % 4]
    created = datetime.now(UTC).replace(minute=0, second=0) - timedelta(hours=6 + number)
    stamp = f"{created:%Y-%m-%dT%H:%M:%S}.000Z"
    return f"""<DBClusterSnapshot>
    <AvailabilityZones><AvailabilityZone>{REGION}a</AvailabilityZone><AvailabilityZone>{REGION}b\
</AvailabilityZone><AvailabilityZone>{REGION}c</AvailabilityZone></AvailabilityZones>
    <DBClusterSnapshotIdentifier>{arn(number)}</DBClusterSnapshotIdentifier>
    <DBClusterIdentifier>{cluster}</DBClusterIdentifier>
    <SnapshotCreateTime>{stamp}</SnapshotCreateTime>
    <Engine>{engine}</Engine><EngineMode>provisioned</EngineMode>
    <AllocatedStorage>512</AllocatedStorage><Status>available</Status><Port>0</Port>
    <VpcId>vpc-0a1b2c3d4e5f60718</VpcId>
    <ClusterCreateTime>2024-05-02T08:12:44.120Z</ClusterCreateTime>
    <MasterUsername>root</MasterUsername><EngineVersion>{version}</EngineVersion>
    <LicenseModel>{engine}</LicenseModel><SnapshotType>shared</SnapshotType>
    <PercentProgress>100</PercentProgress><StorageEncrypted>true</StorageEncrypted>
    <KmsKeyId>arn:aws:kms:{REGION}:{PRODUCTION}:key/0f3a0c6f-7c4c-4f0e-9d56-5b1c2f6e7d11</KmsKeyId>
    <DBClusterSnapshotArn>{arn(number)}</DBClusterSnapshotArn>
    <IAMDatabaseAuthenticationEnabled>false</IAMDatabaseAuthenticationEnabled><TagList/>
    <DbClusterResourceId>cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ</DbClusterResourceId>
    </DBClusterSnapshot>"""
