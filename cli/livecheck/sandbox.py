"""A throwaway corner of an account: everything in it is named after one check, tagged, and deleted at the end.

The first thing made is a parameter, the marker, and the last thing deleted. Names derive from it alone, so what
a killed check left behind is deleted by the next one.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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
_MARKER = "-marker"
_POLL_SECONDS = 2.0
_DELETION_SECONDS = 1_800.0
_LONGEST_CHECK = timedelta(hours=2)
_RETRIES = Config(retries={"mode": "adaptive", "total_max_attempts": 10})

_BUSY = {"DeleteConflict", "InvalidDBClusterSnapshotStateFault", "InvalidDBClusterStateFault"}


class StillThere(Exception):
    """Something is still being deleted."""


class Sandbox(Calls):
    """What one check makes in an account and Region.

    Args:
        session: whose account and Region it is.
        name: what everything's name begins with.
        with_cluster: whether clusters may be made in it.
    """

    def __init__(self, session: boto3.Session, name: str, *, with_cluster: bool = False) -> None:
        self.region = str(session.region_name)
        super().__init__(session, self.region, _RETRIES)
        self.name, self.with_cluster = name, with_cluster
        self.partition = session.get_partition_for_region(self.region)
        self.account = str(self.client("sts").get_caller_identity()["Account"])
        self.bucket = f"{name}-{self.account}"
        self.tags = [{"Key": "aurora-refresh", "Value": "live-check"}]
        self.tags_in_lower_case = [{"key": "aurora-refresh", "value": "live-check"}]
        self._marker = name + _MARKER

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and Region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def open(self) -> None:
        """Create the marker; raise ClientError."""
        self.client("ssm").put_parameter(
            Name=self._marker, Type="String", Value="in use", Tags=self.tags
        )

    def role(self, service: str, *statements: dict[str, Any]) -> str:
        """Create the service's role with these rights; return its ARN."""
        iam, name = self.client("iam"), f"{self.name}-{service}"
        principal = {"Service": f"{service}.amazonaws.com"}
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        role = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=_policy(trust), Tags=self.tags
        )
        if statements:
            iam.put_role_policy(
                RoleName=name, PolicyName="check", PolicyDocument=_policy(*statements)
            )
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

    def wait(self, service: str, waiter: str, seconds: float, **named: str) -> None:
        """Wait as boto3's waiters do; raise WaiterError."""
        often = {"Delay": _POLL_SECONDS, "MaxAttempts": int(seconds / _POLL_SECONDS)}
        self.client(service).get_waiter(waiter).wait(**named, WaiterConfig=often)

    def close(self) -> list[str]:
        """Delete everything, and the marker last; return what is left, with AWS's reason."""
        left = [
            f"{what}: {error}" for what, delete in self._deletions() if (error := _delete(delete))
        ]
        marker = partial(self.delete, "ssm:DeleteParameter", Name=self._marker)
        if not left and (error := _delete(marker)):
            left.append(f"parameter {self._marker}: {error}")
        return left

    def _deletions(self) -> Iterator[tuple[str, Callable[[], object]]]:
        name, delete = self.name, self.delete
        for each in (f"{name}-restored", name):
            yield f"cluster {each}", partial(self._delete_cluster, each)
        action = "rds:DeleteDBClusterSnapshot"
        for each in (f"{name}-encrypted", f"{name}-copy", name):
            yield f"snapshot {each}", partial(delete, action, DBClusterSnapshotIdentifier=each)
        yield f"pipeline {name}", partial(delete, "codepipeline:DeletePipeline", name=name)
        machine, topic = self.arn("states", f"stateMachine:{name}"), self.arn("sns", name)
        yield machine, partial(delete, "states:DeleteStateMachine", stateMachineArn=machine)
        for each in (f"{name}-schedule", f"{name}-runs"):
            yield f"rule {each}", partial(self.delete_rule, each)
        yield f"queue {name}", self._delete_queue
        yield topic, partial(delete, "sns:DeleteTopic", TopicArn=topic)
        yield f"stack {name}", self._delete_stack
        yield f"bucket {self.bucket}", self._delete_bucket
        for service in ("codepipeline", "states"):
            yield f"role {name}-{service}", partial(self.delete_role, f"{name}-{service}")
        for each in (name, f"{name}-labelled", f"{name}-value"):
            yield f"parameter {each}", partial(delete, "ssm:DeleteParameter", Name=each)

    def _delete_cluster(self, name: str) -> None:
        path = "DBClusters[0].Status"
        status = self.one("rds:DescribeDBClusters", path, DBClusterIdentifier=name)
        if status is None:
            return
        if status != "deleting":
            self.delete("rds:DeleteDBCluster", DBClusterIdentifier=name, SkipFinalSnapshot=True)
        raise StillThere(f"cluster {name} is being deleted")

    def _delete_stack(self) -> None:
        path = "Stacks[0].StackStatus"
        status = self.one("cloudformation:DescribeStacks", path, StackName=self.name)
        if status is None:
            return
        if not status.endswith("_IN_PROGRESS"):
            self.call("cloudformation:DeleteStack", StackName=self.name)
        raise StillThere(f"stack {self.name} was {status}")

    def _delete_queue(self) -> None:
        if url := self.one("sqs:GetQueueUrl", "QueueUrl", QueueName=self.name):
            self.delete("sqs:DeleteQueue", QueueUrl=url)

    def _delete_bucket(self) -> None:
        if self.one("s3:GetBucketVersioning", "@", Bucket=self.bucket):
            bucket = self._session.resource("s3").Bucket(self.bucket)
            bucket.object_versions.delete()
            bucket.delete()


def new(session: boto3.Session, *, with_cluster: bool) -> Sandbox:
    """Return a sandbox that holds nothing yet."""
    return Sandbox(session, PREFIX + uuid4().hex[:8], with_cluster=with_cluster)


def leftovers(session: boto3.Session) -> list[Sandbox]:
    """Return the sandboxes of checks that began so long ago that they must have been killed."""
    calls = Calls(session, str(session.region_name), _RETRIES)
    beginning = {"Key": "Name", "Option": "BeginsWith", "Values": [PREFIX]}
    found = calls.all("ssm:DescribeParameters", "Parameters[]", ParameterFilters=[beginning])
    before = datetime.now(UTC) - _LONGEST_CHECK
    names = [each["Name"] for each in found or () if each["LastModifiedDate"] < before]
    return [
        Sandbox(session, name.removesuffix(_MARKER)) for name in names if name.endswith(_MARKER)
    ]


def wait_for(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look until something is found; return None after these seconds."""
    deadline = monotonic() + seconds
    while not (found := look()) and monotonic() < deadline:
        sleep(_POLL_SECONDS)
    return found


def retry(call: Callable[[], T], seconds: float, is_passing: Callable[[Exception], bool]) -> T:
    """Repeat a call while its error may pass; raise the error after these seconds."""
    deadline = monotonic() + seconds
    while True:
        try:
            return call()
        except (StillThere, ClientError) as error:
            if not is_passing(error) or monotonic() > deadline:
                raise
        sleep(_POLL_SECONDS)


def _delete(delete: Callable[[], object]) -> str | None:
    """Delete something that may be busy for a while; return AWS's refusal, or why there is no answer."""
    try:
        retry(delete, _DELETION_SECONDS, _is_busy)
    except (StillThere, ClientError, BotoCoreError) as error:
        return str(error)
    return None


def _is_busy(error: Exception) -> bool:
    return not isinstance(error, ClientError) or code_and_message(error)[0] in _BUSY


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
