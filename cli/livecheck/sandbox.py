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
from botocore.exceptions import ClientError

T = TypeVar("T")

PREFIX = "aurora-refresh-live-check-"
_MARKERS = {False: "-marker", True: "-marker-with-cluster"}
_POLL_SECONDS = 2.0
_DELETION_SECONDS = 1_800.0
_LONGEST_CHECK = timedelta(hours=2)
_RETRIES = Config(retries={"mode": "adaptive", "total_max_attempts": 10})

_ABSENT = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "DBClusterNotFoundFault",
    "DBClusterSnapshotNotFoundFault",
    "NoSuchBucket",
    "NoSuchEntity",
    "NotFound",
    "ParameterNotFound",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
    "StateMachineDoesNotExist",
    "ValidationError",  # of DescribeStacks, the only call here that has it
}
_BUSY = {"DeleteConflict", "InvalidDBClusterSnapshotStateFault", "InvalidDBClusterStateFault"}


class _StillThere(Exception):
    """What is being deleted has not gone yet."""


class Sandbox:
    """What one check makes in an account and Region.

    Args:
        session: whose account and Region it is.
        name: what everything's name begins with.
        with_cluster: whether clusters and snapshots belong to it.
    """

    def __init__(self, session: boto3.Session, name: str, *, with_cluster: bool) -> None:
        self.session, self.name, self.with_cluster = session, name, with_cluster
        self.region = str(session.region_name)
        self.partition = session.get_partition_for_region(self.region)
        self.account = str(self.client("sts").get_caller_identity()["Account"])
        self.bucket = f"{name}-{self.account}"
        self.tags_in_lower_case = [{"key": "aurora-refresh", "value": "live-check"}]
        self._marker = name + _MARKERS[with_cluster]
        self.tags = [{"Key": "aurora-refresh", "Value": "live-check"}]

    def client(self, service: str) -> Any:
        """Return a client of the Region that is patient with throttling."""
        return self.session.client(service, config=_RETRIES)  # type: ignore[call-overload]

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

    def queue(self) -> str:
        """Create a queue that EventBridge may send to; return its URL."""
        arn = self.arn("sqs", self.name)
        send = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnLike": {"aws:SourceArn": self.arn("events", f"rule/{self.name}*")}},
        }
        created = self.client("sqs").create_queue(
            QueueName=self.name,
            Attributes={"Policy": _policy(send)},
            tags={each["Key"]: each["Value"] for each in self.tags},
        )
        return str(created["QueueUrl"])

    def close(self) -> list[str]:
        """Delete everything, and the marker last; return what is left, with AWS's reason."""
        ssm = self.client("ssm")
        left = [
            f"{what}: {error}" for what, delete in self._deletions() if (error := _delete(delete))
        ]
        if not left and (error := _delete(partial(ssm.delete_parameter, Name=self._marker))):
            left.append(f"parameter {self._marker}: {error}")
        return left

    def _deletions(self) -> Iterator[tuple[str, Callable[[], object]]]:
        name = self.name
        if self.with_cluster:
            rds = self.client("rds")
            for each in (f"{name}-restored", name):
                yield f"cluster {each}", partial(self._delete_cluster, each)
            for each in (f"{name}-encrypted", f"{name}-copy", name):
                delete = partial(rds.delete_db_cluster_snapshot, DBClusterSnapshotIdentifier=each)
                yield f"cluster snapshot {each}", delete
        yield f"pipeline {name}", partial(self.client("codepipeline").delete_pipeline, name=name)
        machine = self.arn("states", f"stateMachine:{name}")
        states = self.client("stepfunctions")
        yield machine, partial(states.delete_state_machine, stateMachineArn=machine)
        for each in (f"{name}-schedule", f"{name}-runs"):
            yield f"rule {each}", partial(self._delete_rule, each)
        yield f"queue {name}", self._delete_queue
        topic = self.arn("sns", name)
        yield topic, partial(self.client("sns").delete_topic, TopicArn=topic)
        yield f"stack {name}", self._delete_stack
        yield f"bucket {self.bucket}", self._delete_bucket
        for service in ("codepipeline", "states"):
            yield f"role {name}-{service}", partial(self._delete_role, f"{name}-{service}")
        for each in (name, f"{name}-labelled", f"{name}-value"):
            yield (
                f"parameter {each}",
                partial(self.client("ssm").delete_parameter, Name=each),
            )

    def _delete_cluster(self, name: str) -> None:
        rds = self.client("rds")
        status = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]["Status"]
        if status != "deleting":
            rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
        rds.describe_db_clusters(DBClusterIdentifier=name)
        raise _StillThere(f"cluster {name} is being deleted")

    def _delete_stack(self) -> None:
        cloudformation = self.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            cloudformation.delete_stack(StackName=self.name)
        raise _StillThere(f"stack {self.name} was {stack['StackStatus']}")

    def _delete_rule(self, name: str) -> None:
        events = self.client("events")
        events.remove_targets(Rule=name, Ids=["queue"])
        events.delete_rule(Name=name)

    def _delete_queue(self) -> None:
        sqs = self.client("sqs")
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=self.name)["QueueUrl"])

    def _delete_bucket(self) -> None:
        bucket = self.session.resource("s3").Bucket(self.bucket)
        bucket.object_versions.delete()
        bucket.delete()

    def _delete_role(self, name: str) -> None:
        iam = self.client("iam")
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)


def new(session: boto3.Session, *, with_cluster: bool) -> Sandbox:
    """Return a sandbox that holds nothing yet."""
    return Sandbox(session, PREFIX + uuid4().hex[:8], with_cluster=with_cluster)


def leftovers(session: boto3.Session) -> list[Sandbox]:
    """Return the sandboxes of checks that began so long ago that they must have been killed."""
    ssm: Any = session.client("ssm", config=_RETRIES)
    beginning = {"Key": "Name", "Option": "BeginsWith", "Values": [PREFIX]}
    pages = ssm.get_paginator("describe_parameters").paginate(ParameterFilters=[beginning])
    before = datetime.now(UTC) - _LONGEST_CHECK
    names = [
        each["Name"]
        for page in pages
        for each in page["Parameters"]
        if each["LastModifiedDate"] < before
    ]
    return [
        Sandbox(session, name.removesuffix(marker), with_cluster=with_cluster)
        for name in names
        for with_cluster, marker in _MARKERS.items()
        if name.endswith(marker)
    ]


def wait_for(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look until something is found; return None after these seconds."""
    deadline = monotonic() + seconds
    while not (found := look()) and monotonic() < deadline:
        sleep(_POLL_SECONDS)
    return found


def _delete(delete: Callable[[], object]) -> str | None:
    """Delete something that may not exist, or may be busy for a while; return AWS's refusal."""
    refused: list[Exception] = []

    def has_ended() -> bool:
        refused.clear()
        try:
            delete()
        except _StillThere as error:
            refused.append(error)
            return False
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _ABSENT:
                refused.append(error)
            return code not in _BUSY
        return True

    wait_for(has_ended, _DELETION_SECONDS)
    return str(refused[0]) if refused else None


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
