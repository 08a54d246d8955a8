"""A throwaway corner of an account: everything in it is named after one check, tagged, and deleted at the end.

All names derive from that of the check, so what a killed one left behind can be deleted by that name.
"""

import json
from collections.abc import Callable, Collection, Iterator
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.errors import code_and_message
from cli.calls import Calls

T = TypeVar("T")

PREFIX = "aurora-refresh-live-check-"
_POLL_SECONDS = 2.0
_DELETION_SECONDS = 1_800.0
_RETRIES = Config(retries={"mode": "adaptive", "total_max_attempts": 10})

_BUSY = {"DeleteConflict", "InvalidDBClusterSnapshotStateFault", "InvalidDBClusterStateFault"}


class Sandbox(Calls):
    """What one check makes in an account and Region.

    Args:
        session: whose account and Region it is.
        name: what everything's name begins with; by default a new one.
        with_cluster: whether clusters may be made in it.
    """

    def __init__(
        self, session: boto3.Session, name: str | None = None, *, with_cluster: bool = False
    ) -> None:
        self.region = str(session.region_name)
        super().__init__(session, self.region, _RETRIES)
        self.name, self.with_cluster = name or PREFIX + uuid4().hex[:8], with_cluster
        self.partition = session.get_partition_for_region(self.region)
        self.caller = self.call("sts:GetCallerIdentity")
        self.account = str(self.caller["Account"])
        self.bucket = f"{self.name}-{self.account}"
        self.tags = [{"Key": "aurora-refresh", "Value": "live-check"}]

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and Region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def role(self, service: str, *statements: dict[str, Any]) -> str:
        """Create the role of a service with these rights; return its ARN."""
        iam, principal = self.client("iam"), {"Service": f"{service}.amazonaws.com"}
        trust = _policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})
        role = iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=trust, Tags=self.tags)
        rights = _policy(*statements)
        iam.put_role_policy(RoleName=self.name, PolicyName="check", PolicyDocument=rights)
        return str(role["Role"]["Arn"])

    def queue(self) -> None:
        """Create a queue that EventBridge may send to, unless there is one."""
        if self.one("sqs:GetQueueUrl", "@", QueueName=self.name):
            return
        arn = self.arn("sqs", self.name)
        send = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnLike": {"aws:SourceArn": self.arn("events", f"rule/{self.name}*")}},
        }
        self.client("sqs").create_queue(
            QueueName=self.name,
            Attributes={"Policy": _policy(send)},
            tags={each["Key"]: each["Value"] for each in self.tags},
        )

    def close(self) -> list[str]:
        """Delete everything; return what is left, with AWS's reason."""
        return [
            f"{what}: {error}" for what, delete in self._deletions() if (error := _delete(delete))
        ]

    def _deletions(self) -> Iterator[tuple[str, Callable[[], object]]]:
        name, delete = self.name, self.delete
        for each in (f"{name}-restored", name):
            yield f"cluster {each}", partial(self._delete_cluster, each)
        action = "rds:DeleteDBClusterSnapshot"
        for each in (f"{name}-encrypted", f"{name}-copy", name):
            yield f"snapshot {each}", partial(delete, action, DBClusterSnapshotIdentifier=each)
        yield f"pipeline {name}", partial(delete, "codepipeline:DeletePipeline", name=name)
        for each in (f"{name}-schedule", f"{name}-runs"):
            yield f"rule {each}", partial(self.delete_rule, each)
        yield f"queue {name}", self._delete_queue
        yield f"stack {name}", partial(self.delete_stack, name)
        yield f"bucket {self.bucket}", self._delete_bucket
        yield f"role {name}", partial(self.delete_role, name)
        for each in (name, f"{name}-value"):
            yield f"parameter {each}", partial(delete, "ssm:DeleteParameter", Name=each)

    def _delete_cluster(self, name: str) -> None:
        named = {"DBClusterIdentifier": name}
        if self.delete("rds:DeleteDBCluster", **named, SkipFinalSnapshot=True):
            self.wait("rds", "db_cluster_deleted", _DELETION_SECONDS, **named)

    def _delete_queue(self) -> None:
        if url := self.one("sqs:GetQueueUrl", "QueueUrl", QueueName=self.name):
            self.delete("sqs:DeleteQueue", QueueUrl=url)

    def _delete_bucket(self) -> None:
        if self.one("s3:GetBucketVersioning", "@", Bucket=self.bucket):
            bucket = self._session.resource("s3").Bucket(self.bucket)
            bucket.object_versions.delete()
            bucket.delete()


def wait_for(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look until something is found; return None after these seconds."""
    deadline = monotonic() + seconds
    while not (found := look()) and monotonic() < deadline:
        sleep(_POLL_SECONDS)
    return found


def retry(call: Callable[[], T], seconds: float, codes: Collection[str] = ()) -> T:
    """Repeat a call while AWS refuses it, with one of the codes if there are any; raise the last error."""
    deadline = monotonic() + seconds
    while True:
        try:
            return call()
        except ClientError as error:
            is_final = bool(codes) and code_and_message(error)[0] not in codes
            if is_final or monotonic() > deadline:
                raise
        sleep(_POLL_SECONDS)


def _delete(delete: Callable[[], object]) -> str | None:
    """Delete something that may be busy for a while; return AWS's refusal, or why there is no answer."""
    try:
        retry(delete, _DELETION_SECONDS, _BUSY)
    except (ClientError, BotoCoreError) as error:
        return str(error)
    return None


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
