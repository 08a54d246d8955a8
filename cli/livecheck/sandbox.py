"""A throwaway corner of an account: everything in it is named after one check, and deleted at the end.

All names derive from that of the check, so what a killed check left behind can be deleted by that name.
"""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import uuid4

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.calls import Calls, wait_for

PREFIX = "aurora-refresh-live-check-"
_BUSY = {"InvalidDBClusterSnapshotStateFault", "InvalidDBClusterStateFault"}


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
        super().__init__(session, self.region)
        self.name, self.with_cluster = name or PREFIX + uuid4().hex[:8], with_cluster

    def close(self) -> list[str]:
        """Delete everything; return what is left, with AWS's reason."""
        left = []
        for what, delete in self._deletions():
            try:
                wait_for(partial(_is_done, delete), busy=_BUSY)
            except (ClientError, BotoCoreError) as error:
                left.append(f"left behind: {what}: {error}")
        return left

    def _deletions(self) -> Iterator[tuple[str, Callable[[], object]]]:
        name, delete = self.name, self.delete
        for each in (f"{name}-restored", name):
            yield f"cluster {each}", partial(self._delete_cluster, each)
        action = "rds:DeleteDBClusterSnapshot"
        for each in (f"{name}-encrypted", f"{name}-copy", name):
            yield f"snapshot {each}", partial(delete, action, DBClusterSnapshotIdentifier=each)
        yield f"pipeline {name}", partial(delete, "codepipeline:DeletePipeline", name=name)
        yield f"rule {name}", partial(self.delete_rule, name)
        yield f"queue {name}", self._delete_queue
        yield f"stack {name}", partial(self.delete_stack, name)
        yield f"bucket {name}", partial(delete, "s3:DeleteBucket", Bucket=name)
        yield f"role {name}", partial(self.delete_role, name)
        for each in (name, f"{name}-value"):
            yield f"parameter {each}", partial(delete, "ssm:DeleteParameter", Name=each)

    def _delete_cluster(self, name: str) -> None:
        named = {"DBClusterIdentifier": name}
        if self.delete("rds:DeleteDBCluster", **named, SkipFinalSnapshot=True):
            self.wait("rds", "db_cluster_deleted", **named)

    def _delete_queue(self) -> None:
        if url := self.one("sqs:GetQueueUrl", "QueueUrl", QueueName=self.name):
            self.delete("sqs:DeleteQueue", QueueUrl=url)


def _is_done(delete: Callable[[], object]) -> bool:
    delete()
    return True
