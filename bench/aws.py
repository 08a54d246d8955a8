"""A stand-in for AWS: ready-made answers to the calls of one night, the same whatever was written.

It answers late and throttles where it is told to, and notes the calls. The night: production shares
a newer snapshot than *latest* names, *latest* is newer than *current*, and the run that restored
*current* has just ended.
"""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qsl

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.company import ANSWERS, CLUSTER, PIPELINE, STACK

PAGE = 100
BURST = 10
EXECUTION = "5b1c2f6e-7c4c-4f0e-9d56-0f3a0c6f7d11"
NOW = datetime.now(UTC).replace(microsecond=0)
_RESOURCE_ID = "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def arn(number: int) -> str:
    """Return the ARN of one of the shared snapshots; the newest one bears number 0."""
    return f"arn:aws:rds:{REGION}:{PRODUCTION}:cluster-snapshot:orders-{number:05d}"


class StandIn(ThreadingTCPServer):
    """The stand-in's server, in a thread of its own: whoever waits for a function does nothing else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.play()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def play(self, snapshots: int = 20, latency: float = 0, rate: float | None = None) -> None:
        """Answer so from now on, that many calls a second, and forget the calls so far."""
        self.snapshots, self.latency, self.rate = snapshots, latency, rate
        self.calls: list[str] = []
        self.tokens, self.refilled = float(BURST), time.monotonic()

    def admits(self, operation: str) -> bool:
        """Note the call unless it is throttled: a token bucket, which is how AWS throttles."""
        if self.rate is not None:
            now = time.monotonic()
            self.tokens = min(self.tokens + (now - self.refilled) * self.rate, BURST)
            self.refilled = now
            if self.tokens < 1:
                return False
            self.tokens -= 1
        self.calls.append(operation)
        return True

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call."""
        if operation == "GetParameters":
            return {"Parameters": [{"Name": name, **_VALUES[name]} for name in asked["Names"]]}
        if operation != "DescribeDBClusterSnapshots":
            return _ANSWERS[operation]
        if identifier := asked.get("DBClusterSnapshotIdentifier"):
            return {"DBClusterSnapshots": _snapshot(int(identifier[-5:]))}
        first = int(asked.get("Marker", "0"))
        more = {"Marker": first + PAGE} if first + PAGE < self.snapshots else {}
        return more | {"DBClusterSnapshots": _page(first, self.snapshots)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the second of two small writes would wait for 40 ms
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        target = self.headers["X-Amz-Target"]
        asked = json.loads(body) if target else dict(parse_qsl(body))
        operation = target.partition(".")[2] if target else asked["Action"]
        time.sleep(self.server.latency)
        is_admitted = self.server.admits(operation)
        answer = self.server.answer(operation, asked) if is_admitted else _THROTTLED
        if target:
            content = json.dumps(answer).encode()
        else:
            content = _xml(
                "Response", {f"{operation}Result": answer} if is_admitted else answer
            ).encode()
        self.send_response(200 if is_admitted else 400)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def _xml(name: str, value: Any) -> str:
    if isinstance(value, dict):
        value = "".join(_xml(inner, each) for inner, each in value.items())
    return f"<{name}>{value}</{name}>"


@cache
def _page(first: int, snapshots: int) -> str:
    # The newest lies in the middle: whoever stops early misses it.
    numbers = [*range(snapshots // 2, snapshots), *range(snapshots // 2)]
    return "".join(map(_snapshot, numbers[first : first + PAGE]))


def _snapshot(number: int) -> str:
    """Return an entry of a listing, in which every other one is of the wanted cluster.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBClusterSnapshot.html
    """
    engine, version, cluster = (
        ("aurora-postgresql", "15.4", "orders"),
        ("aurora-mysql", "8.0.mysql_aurora.3.04.0", "billing"),
        ("aurora-postgresql", "15.4", "orders"),
        ("docdb", "5.0.0", "documents"),
    )[number % 4]
    created = NOW.replace(minute=0, second=0) - timedelta(hours=6 + number)
    return (
        f"<DBClusterSnapshot><DBClusterSnapshotIdentifier>{arn(number)}"
        f"</DBClusterSnapshotIdentifier><DBClusterIdentifier>{cluster}</DBClusterIdentifier>"
        f"<SnapshotCreateTime>{created.isoformat()}</SnapshotCreateTime><Engine>{engine}</Engine>"
        "<EngineMode>provisioned</EngineMode><AllocatedStorage>512</AllocatedStorage>"
        "<Status>available</Status><Port>0</Port><VpcId>vpc-0a1b2c3d4e5f60718</VpcId>"
        "<ClusterCreateTime>2024-05-02T08:12:44.120Z</ClusterCreateTime>"
        f"<MasterUsername>root</MasterUsername><EngineVersion>{version}</EngineVersion>"
        f"<LicenseModel>{engine}</LicenseModel><SnapshotType>shared</SnapshotType>"
        "<PercentProgress>100</PercentProgress><StorageEncrypted>true</StorageEncrypted>"
        f"<KmsKeyId>arn:aws:kms:{REGION}:{PRODUCTION}:key/0f3a0c6f-7c4c-4f0e-9d56-5b1c2f6e7d11"
        f"</KmsKeyId><DBClusterSnapshotArn>{arn(number)}</DBClusterSnapshotArn><TagList/>"
        "<IAMDatabaseAuthenticationEnabled>false</IAMDatabaseAuthenticationEnabled>"
        f"<DbClusterResourceId>{_RESOURCE_ID}</DbClusterResourceId></DBClusterSnapshot>"
    )


_RESTORED = NOW - timedelta(hours=2)
_VALUES = {
    ANSWERS["SSM_MAIN_CICD_NAME"]: {"Value": PIPELINE, "Version": 1},
    ANSWERS["SSM_RDS_LATEST_SNAPSHOT_NAME"]: {"Value": arn(2), "Version": 1},
    ANSWERS["SSM_RDS_CURRENT_SNAPSHOT_NAME"]: {"Value": arn(4), "Version": 1},
    ANSWERS["SSM_REFRESH_HOLD_NAME"]: {"Value": "dummyvalue", "Version": 1},
}
_VERSION = {
    "Version": 1,
    "Value": arn(4),
    "LastModifiedDate": _RESTORED.timestamp(),
    "Description": '{"action": "promote", "by": "the schedule", "why": "newest", "token": "t"}',
    "Labels": [_RESOURCE_ID, f"run-{EXECUTION}"],
}
_RUN = {
    "pipelineExecutionId": EXECUTION,
    "status": "Succeeded",
    "startTime": _RESTORED.timestamp() + 60,
    "lastUpdateTime": _RESTORED.timestamp() + 1200,
}
_STACK = {"StackName": STACK, "CreationTime": NOW.isoformat(), "StackStatus": "UPDATE_COMPLETE"}
_RESOURCE = {
    "LogicalResourceId": "Cluster",
    "PhysicalResourceId": CLUSTER,
    "ResourceType": "AWS::RDS::DBCluster",
    "LastUpdatedTimestamp": NOW.isoformat(),
    "ResourceStatus": "UPDATE_COMPLETE",
}
_CLUSTER = {
    "DBClusterArn": f"arn:aws:rds:{REGION}:{ACCEPTANCE}:cluster:{CLUSTER}",
    "DBClusterIdentifier": CLUSTER,
    "Engine": "aurora-postgresql",
    "DbClusterResourceId": _RESOURCE_ID,
    "ClusterCreateTime": (_RESTORED + timedelta(minutes=10)).isoformat(),
}
_ANSWERS: dict[str, dict[str, Any]] = {
    "DescribeStacks": {"Stacks": {"member": _STACK}},
    "ListStackResources": {"StackResourceSummaries": {"member": _RESOURCE}},
    "DescribeDBClusters": {"DBClusters": {"DBCluster": _CLUSTER}},
    "GetParameterHistory": {"Parameters": [_VERSION]},
    "PutParameter": {"Version": 2},
    "LabelParameterVersion": {"InvalidLabels": [], "ParameterVersion": 1},
    "ListPipelineExecutions": {"pipelineExecutionSummaries": [_RUN]},
    "StartPipelineExecution": {"pipelineExecutionId": "0b7d3c8e-0d8e-4a55-8a2b-2f4f4f1f8d55"},
    "Publish": {"MessageId": "0"},
}
# As both protocols have it.
_CODE = "ThrottlingException"
_THROTTLED = {"__type": _CODE, "Error": {"Code": _CODE, "Message": "Rate exceeded"}}
