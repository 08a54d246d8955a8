"""What the use cases need from AWS, in the domain's words.

`chalicelib.aws` implements it with boto3, `tests/fakes.py` in memory; both pass one contract suite.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.domain.deployment import Action, Cluster, Position, Preparation, Stack
from chalicelib.domain.ledger import Note, Run, Version
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.snapshots import Snapshot
from chalicelib.notifications import Notification


class Snapshots(Protocol):
    """DB cluster snapshots: this account's own, and those shared with it."""

    def shared(self) -> Iterator[Snapshot]:
        """Yield every snapshot shared with this account, all pages, in no promised order."""

    def own(self) -> Iterator[Snapshot]:
        """Yield every manual snapshot of this account, in no promised order."""

    def automated(self, cluster: str) -> Iterator[Snapshot]:
        """Yield the automated snapshots of a cluster, in no promised order."""

    def find(self, arn: str) -> Snapshot | None:
        """Return the own or shared snapshot with this ARN."""

    def named(self, identifier: str, account: str) -> list[Snapshot]:
        """Return this account's own snapshot of that name and the one that `account` shares."""

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> Snapshot | None:
        """Start a copy in this account under a key; return None if a snapshot of that name exists.

        Raise Refused for what only a person can resolve: `copy-quota`, `copy-key-denied`,
        `copy-unencrypted`, and `snapshot-gone` if the source is gone.
        """

    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> Snapshot | None:
        """Start a snapshot of a cluster; return None if a snapshot of that name exists.

        Raise Refused for what only a person can resolve: `snapshot-quota`, `cluster-busy`.
        """

    def delete(self, identifier: str) -> None:
        """Delete a manual snapshot of this account, shared or not. Idempotent."""

    def shared_with(self, identifier: str) -> Collection[str]:
        """Return the accounts with which this account's manual snapshot is shared."""

    def share(self, identifier: str, account: str) -> None:
        """Allow an account to copy and restore this account's manual snapshot."""


class Clusters(Protocol):
    """This account's DB clusters."""

    def describe(self, identifier: str) -> Cluster | None:
        """Return the cluster with that identifier, once RDS has begun to create it."""


class Keys(Protocol):
    """KMS keys."""

    def default(self) -> str | None:
        """Return the ARN of RDS's default key, aws/rds; None if it was never used.

        No other account can ever use that key.
        """


class Parameters(Protocol):
    """Parameter Store. It has no compare-and-set: the last write wins."""

    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        """Return those of the parameters that exist."""

    def put(self, name: str, value: str, note: Note | None) -> int:
        """Create or replace the parameter and return the new version's number.

        Raise AwsError with the code VERSION_LIMIT if the oldest of 100 versions bears a label.
        """

    def delete(self, name: str) -> None:
        """Delete the parameter with its history. Idempotent."""

    def label(self, name: str, version: int, labels: Collection[str]) -> None:
        """Move the labels to this version."""

    def unlabel(self, name: str, version: int, labels: Collection[str]) -> None:
        """Remove the labels from this version."""

    def history(self, name: str) -> list[Version]:
        """Return the versions kept, oldest first; none if the parameter does not exist."""


class Pipelines(Protocol):
    """CodePipeline. Each method raises Refused `pipeline-missing` if there is no such pipeline."""

    def runs(self, name: str) -> list[Run]:
        """Return the runs of the last month, newest first, and never less than the last hundred."""

    def actions(self, name: str, execution_id: str | None = None) -> list[Action]:
        """Return the action executions of a run, or the recent ones up to a deploy, newest first."""

    def positions(self, name: str) -> Mapping[str, Position]:
        """Return where each run in progress is, by execution id."""

    def start(self, name: str, token: str) -> str:
        """Start a run, or find the one that this token has started, and return its id."""


class Stacks(Protocol):
    """CloudFormation stacks."""

    def find(self, name: str) -> Stack | None:
        """Return the stack of that name."""


class StateMachines(Protocol):
    """Step Functions state machines, named by their ARNs."""

    def start(self, machine: str, name: str, values: Mapping[str, object]) -> None:
        """Start an execution, unless there is one of that name.

        Raise Refused `not-prepared` if there is no such state machine, or it may not be started.
        """

    def execution(self, machine: str, name: str) -> Preparation | None:
        """Return the execution of that name."""


class Notifier(Protocol):
    """Sends notifications to people."""

    def notify(self, notification: Notification) -> bool:
        """Publish the notification, and return whether a topic has taken it, or there is none. Never raises."""


class Aws(Protocol):
    """All of AWS that this application uses, and its clock."""

    snapshots: Snapshots
    clusters: Clusters
    keys: Keys
    parameters: Parameters
    pipelines: Pipelines
    stacks: Stacks
    state_machines: StateMachines
    notifier: Notifier

    def now(self) -> datetime:
        """Return the time, with a time zone."""
