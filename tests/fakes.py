"""AWS in memory, for the use cases. It obeys the contract suite that the real adapters obey, too."""

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.domain.deployment import Action, Cluster, Position, Preparation, Stack
from chalicelib.domain.errors import VERSION_LIMIT, AwsError, Refused
from chalicelib.domain.ledger import Note, Run, Version
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot
from chalicelib.notifications import Notification

PRODUCTION = "111111111111"
ACCEPTANCE = "222222222222"
DEFAULT_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/default"
VERSIONS_KEPT = 100
LABELS_PER_VERSION = 10
COPIES_UNDER_WAY = 5
STACK = "acceptance-data"
_LABEL = re.compile(r"(?!aws|ssm|[0-9])[A-Za-z0-9._-]{1,100}")


def arn(name: str, account: str = PRODUCTION) -> str:
    return f"arn:aws:rds:eu-west-1:{account}:cluster-snapshot:{name}"


def snapshot(name: str = "orders-1", account: str = PRODUCTION, **facts: Any) -> Snapshot:
    """Return a snapshot that production shares, eligible unless `facts` say otherwise."""
    return Snapshot(
        arn=arn(name, account),
        account=account,
        cluster="orders",
        engine="aurora-postgresql",
        engine_version="15.4",
        status="available",
        created=datetime(2026, 1, 3, 22, tzinfo=UTC),
        own=account == ACCEPTANCE,
    )._replace(**facts)


def _call(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make it an AWS call: counted, perhaps refused, and `interrupt` may raise before and after it."""

    @functools.wraps(method)
    def counted(self: Any, *args: Any) -> Any:
        name = method.__name__
        self.aws.calls.append(name)
        self.aws.interrupt("before", name)
        if (name, *args[:1]) in self.aws.refused:
            raise AwsError(name, args[0], "AccessDeniedException", "no")
        answer = method(self, *args)
        self.aws.interrupt("after", name)
        return answer

    return counted


def _is_automated(snapshot: Snapshot) -> bool:
    return snapshot.own and ":cluster-snapshot:rds:" in snapshot.arn


class InMemoryAws:
    """One account's AWS. Time passes only when a test says so.

    `stacks.add` declares what a pipeline deploys. Without it a run has a deploy action, but nothing
    shows what that restored.
    """

    def __init__(self, now: datetime, account: str = ACCEPTANCE) -> None:
        self.time = now
        self.account = account
        self.calls: list[str] = []
        self.interrupt: Callable[[str, str], None] = lambda when, operation: None
        self.refused: list[tuple[str, str]] = []  # operations and their subjects
        self.snapshots = InMemorySnapshots(self)
        self.parameters = InMemoryParameters(self)
        self.pipelines = InMemoryPipelines(self)
        self.notifier = InMemoryNotifier(self)
        self.clusters = InMemoryClusters(self)
        self.keys = InMemoryKeys(self)
        self.stacks = InMemoryStacks(self)
        self.state_machines = InMemoryStateMachines(self)

    def now(self) -> datetime:
        return self.time

    def values(self) -> dict[str, str]:
        """Return what every parameter holds now."""
        return {name: kept[-1].value for name, kept in self.parameters.kept.items()}


class Request(NamedTuple):
    """What RDS was asked to copy: which snapshot, as it was then, and under which key."""

    source: Snapshot
    key: str

    @property
    def recency(self) -> tuple[datetime, str]:
        return self.source.taken, self.source.arn


class InMemorySnapshots:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.all: list[Snapshot] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.denied: set[str] = set()
        self.unencrypted: set[str] = set()
        self.copies: dict[str, Request] = {}
        # AWS's samples show copies that are dated as their source and available at once.
        self.keeps_date = self.at_once = False
        self.read_by: dict[str, set[str]] = {}

    @_call
    def shared(self) -> Iterator[Snapshot]:
        return iter([each for each in self.all if not each.own])

    @_call
    def find(self, arn: str) -> Snapshot | None:
        return next((each for each in self.all if each.arn == arn), None)

    @_call
    def named(self, identifier: str, account: str) -> list[Snapshot]:
        wanted = (arn(identifier, self.aws.account), arn(identifier, account))
        return [each for each in self.all if each.arn in wanted]

    @_call
    def own(self) -> Iterator[Snapshot]:
        return iter(
            [
                each._replace(
                    tags=self.tags.get(each.arn, {}),
                    progress=100 if each.status == "available" else 40,
                    source=self.copies[each.arn].source.arn if each.arn in self.copies else None,
                )
                for each in self.all
                if each.own and not _is_automated(each)
            ]
        )

    @_call
    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> Snapshot | None:
        found = next((each for each in self.all if each.arn == source), None)
        copied = arn(name, self.aws.account)
        if any(each.arn == copied for each in self.all):
            return None
        under_way = sum(each.own and each.status == "copying" for each in self.all)
        is_available = found is not None and found.status == "available"
        for is_refused, reason, why in (
            (source in self.unencrypted, Reason.COPY_UNENCRYPTED, "it is not encrypted"),
            (key in self.denied, Reason.COPY_KEY_DENIED, f"no access to {key}"),
            (under_way >= COPIES_UNDER_WAY, Reason.COPY_QUOTA, "too many copies under way"),
            (not is_available, Reason.SNAPSHOT_GONE, "it is not available"),
        ):
            if is_refused:
                raise Refused(reason, f"RDS refused to copy {source}: {why}")
        made = found._replace(
            arn=copied,
            account=self.aws.account,
            own=True,
            status="available" if self.at_once else "copying",
            created=found.created if self.keeps_date else self.aws.time,
        )
        self.all.append(made)
        self.tags[copied] = dict(tags)
        self.copies[copied] = Request(found, key)
        progress = 100 if self.at_once else 0
        return made._replace(tags=dict(tags), progress=progress, source=source)

    @_call
    def delete(self, identifier: str) -> None:
        self.remove(arn(identifier, self.aws.account))

    def remove(self, arn: str) -> None:
        self.all = [each for each in self.all if each.arn != arn]
        self.tags.pop(arn, None)
        self.copies.pop(arn, None)

    @_call
    def automated(self, cluster: str) -> Iterator[Snapshot]:
        return iter([each for each in self.all if _is_automated(each) and each.cluster == cluster])

    @_call
    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> Snapshot | None:
        taken = arn(name, self.aws.account)
        if any(each.arn == taken for each in self.all):
            return None
        if cluster in self.aws.clusters.busy:
            message = f"RDS refused to take a snapshot of {cluster}: it is busy"
            raise Refused(Reason.CLUSTER_BUSY, message)
        facts = {"own": True, "status": "creating", "created": self.aws.time}
        made = snapshot(name, self.aws.account, cluster=cluster, **facts)
        self.all.append(made)
        self.tags[taken] = dict(tags)
        return made._replace(tags=dict(tags))

    @_call
    def shared_with(self, identifier: str) -> set[str]:
        return self.read_by.get(arn(identifier, self.aws.account), set())

    @_call
    def share(self, identifier: str, account: str) -> None:
        shared = arn(identifier, self.aws.account)
        (status,) = [each.status for each in self.all if each.arn == shared]
        if status != "available":
            code = "InvalidDBClusterSnapshotStateFault"
            raise AwsError("ModifyDBClusterSnapshotAttribute", identifier, code, f"it is {status}")
        self.read_by.setdefault(shared, set()).add(account)

    def settle(self, status: str = "available") -> None:
        """Complete every snapshot that is being made."""
        self.all = [each._replace(status=status) if each.in_progress else each for each in self.all]


class InMemoryClusters:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.busy: set[str] = set()
        self.restored: dict[str, Cluster] = {}
        self.restored_from: dict[str, str] = {}

    @_call
    def describe(self, identifier: str) -> Cluster | None:
        return self.restored.get(identifier)

    def add(self, identifier: str, key: str | None = None) -> None:
        """Add a cluster under a key, or under none."""
        arn = f"arn:aws:rds:eu-west-1:111111111111:cluster:{identifier}"
        made = Cluster(f"cluster-{identifier}", self.aws.time, identifier, arn, key=key)
        self.restored[identifier] = made

    def restore(self, value: str, created: datetime | None = None) -> str:
        """Restore a new cluster from a snapshot and return its identifier."""
        number = len(self.restored_from) + 1
        identifier = f"cluster-{number}"
        arn = f"arn:aws:rds:eu-west-1:{ACCEPTANCE}:cluster:{identifier}"
        made = created or self.aws.time
        self.restored[identifier] = Cluster(f"cluster-ID{number:04}", made, arn=arn)
        self.restored_from[identifier] = value
        return identifier


class InMemoryKeys:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.arn: str | None = DEFAULT_KEY

    @_call
    def default(self) -> str | None:
        return self.arn


class InMemoryParameters:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.kept: dict[str, list[Version]] = {}
        self.clock = timedelta()  # how far ahead Parameter Store's clock is
        self._descriptions: dict[str, str] = {}

    @_call
    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        return {
            name: Parameter(present.value, present.number, present.modified)
            for name in names
            if name in self.kept and (present := self.kept[name][-1])
        }

    @_call
    def put(self, name: str, value: str, note: Note | None) -> int:
        return self._put(name, value, note.describe(value) if note else "")

    def put_by_hand(self, name: str, value: str, *, inherits: bool = False) -> int:
        """Put a value outside the application, with the Description of the version before or none."""
        return self._put(name, value, self._descriptions.get(name, "") if inherits else "")

    def _put(self, name: str, value: str, description: str) -> int:
        assert value, "Parameter Store accepts no empty value"
        assert "{{" not in value, "nor one that refers to another parameter"
        kept = self.kept.setdefault(name, [])
        if len(kept) == VERSIONS_KEPT:
            if kept[0].labels:
                raise AwsError("PutParameter", name, VERSION_LIMIT, "labelled")
            del kept[0]
        number = kept[-1].number + 1 if kept else 1
        self._descriptions[name] = description
        note = Note.read(description, value)
        kept.append(Version(number, value, self.aws.time + self.clock, note))
        return number

    @_call
    def delete(self, name: str) -> None:
        self.kept.pop(name, None)
        self._descriptions.pop(name, None)

    @_call
    def label(self, name: str, version: int, labels: Collection[str]) -> None:
        assert all(map(_LABEL.fullmatch, labels)), "Parameter Store ignores any other"
        labelled = self._version(name, version).labels | set(labels)
        if len(labelled) > LABELS_PER_VERSION:
            raise AwsError("LabelParameterVersion", name, "ParameterVersionLabelLimitExceeded", "")
        self.kept[name] = [
            each._replace(labels=labelled if each.number == version else each.labels - set(labels))
            for each in self.kept[name]
        ]

    @_call
    def unlabel(self, name: str, version: int, labels: Collection[str]) -> None:
        self._version(name, version)
        self.kept[name] = [
            each._replace(labels=each.labels - set(labels)) if each.number == version else each
            for each in self.kept[name]
        ]

    def _version(self, name: str, version: int) -> Version:
        for each in self.kept.get(name, []):
            if each.number == version:
                return each
        raise AwsError("LabelParameterVersion", name, "ParameterVersionNotFound", str(version))

    @_call
    def history(self, name: str) -> list[Version]:
        return list(self.kept.get(name, []))


class InMemoryPipelines:
    """Pipelines by name: their runs and action executions, oldest first."""

    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.pipelines: dict[str, list[Run]] = {}
        self.executed: list[Action] = []
        self.waiting: dict[str, Position] = {}
        self.by_token: dict[str, str] = {}

    @_call
    def runs(self, name: str) -> list[Run]:
        return self.listed(name)[::-1]

    @_call
    def actions(self, name: str, execution_id: str | None = None) -> list[Action]:
        runs = {run.execution_id for run in self.listed(name)}
        wanted = {execution_id} if execution_id else runs
        found = [each for each in reversed(self.executed) if each.execution_id in wanted]
        if execution_id:
            return found
        deployed = (each.category == "Deploy" and each.status != "Failed" for each in found)
        deploy = next((n for n, is_one in enumerate(deployed) if is_one), 300)
        return found[: min(deploy // 100 + 1, 3) * 100]  # whole pages

    @_call
    def positions(self, name: str) -> Mapping[str, Position]:
        self.listed(name)
        return dict(self.waiting)

    @_call
    def start(self, name: str, token: str) -> str:
        if token not in self.by_token:
            self.by_token[token] = self.begin(name)
        return self.by_token[token]

    def begin(self, name: str, trigger: str = "StartPipelineExecution") -> str:
        """Start a run, as the application, a person or a push does, and return its id."""
        runs = self.listed(name)
        now = self.aws.time
        runs.append(Run(f"run-{len(runs) + 1}", "InProgress", now, now, trigger))
        return runs[-1].execution_id

    def deploy(self, name: str, status: str = "Succeeded") -> None:
        """Execute the deploy actions of the newest run: each stack restores what `current` holds."""
        run, now = self.listed(name)[-1].execution_id, self.aws.time
        for stack in list(self.aws.stacks.all) or [None]:
            self.executed.append(Action(run, "Deploy", "Deploy", status, now, now, "Deploy", stack))
            if stack and status == "Succeeded":
                self.aws.stacks.deploy(stack)

    def finish(self, name: str, status: str = "Succeeded", *, deploys: bool | None = None) -> None:
        """End the newest run. Unless said otherwise it has just deployed if it succeeded."""
        if deploys if deploys is not None else status == "Succeeded":
            self.deploy(name)
        runs = self.listed(name)
        runs[-1] = runs[-1]._replace(status=status, updated=self.aws.time)

    def listed(self, name: str) -> list[Run]:
        """Return the runs as CodePipeline lists them, oldest first."""
        if name not in self.pipelines:
            raise Refused(Reason.PIPELINE_MISSING, f"there is no pipeline named {name}")
        return self.pipelines[name]


class InMemoryStacks:
    """CloudFormation stacks. `deploys` maps each one's logical ids to parameters `current`."""

    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.all: dict[str, Stack] = {}
        self.deploys: dict[str, dict[str, str]] = {}
        self.replaces = False  # whether every update makes new clusters, even from the same data

    @_call
    def find(self, name: str) -> Stack | None:
        return self.all.get(name)

    def add(self, parameter: str, name: str = STACK, logical_id: str = "Cluster") -> None:
        """Declare that a stack deploys a cluster from this parameter; it has none yet."""
        self.all.setdefault(name, Stack("CREATE_COMPLETE", {}, {}))
        self.deploys.setdefault(name, {})[logical_id] = parameter

    def to_restore(self, name: str, values: Mapping[str, str]) -> dict[str, str]:
        """Return the clusters that an update with these values replaces, with their parameters."""
        return {
            logical_id: parameter
            for logical_id, parameter in self.deploys[name].items()
            if parameter in values
            and (self.replaces or self.restored_from(parameter) != values[parameter])
        }

    def deploy(
        self,
        name: str,
        values: Mapping[str, str] | None = None,
        created: datetime | None = None,
        status: str = "UPDATE_COMPLETE",
    ) -> None:
        """Update a stack with the values of its parameters, today's unless others are given."""
        values = self.aws.values() if values is None else values
        clusters = dict(self.all[name].clusters)
        for logical_id, parameter in self.to_restore(name, values).items():
            self.aws.clusters.restored.pop(clusters.get(logical_id, ""), None)
            clusters[logical_id] = self.aws.clusters.restore(values[parameter], created)
        resolved = {each: values[each] for each in self.deploys[name].values() if each in values}
        self.all[name] = Stack(status, clusters, resolved)

    def set_status(self, status: str, name: str = STACK) -> None:
        """Change the status of a stack."""
        self.all[name] = self.all[name]._replace(status=status)

    def cluster(self, parameter: str) -> str | None:
        """Return the identifier of the cluster of a parameter."""
        for name, stack in self.all.items():
            for logical_id, identifier in stack.clusters.items():
                if self.deploys[name][logical_id] == parameter:
                    return identifier
        return None

    def restored_from(self, parameter: str) -> str | None:
        """Return what the cluster of a parameter was really restored from."""
        return self.aws.clusters.restored_from.get(self.cluster(parameter) or "")


class InMemoryNotifier:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.sent: list[Notification] = []

    def notify(self, notification: Notification) -> bool:
        with suppress(AwsError):
            self._publish(notification)
            return True
        return False

    @_call
    def _publish(self, notification: Notification) -> None:
        self.sent.append(notification)


class InMemoryStateMachines:
    """Executions by name; a machine in `missing` does not exist."""

    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.missing: set[str] = set()
        self.inputs: dict[str, Mapping[str, object]] = {}
        self.statuses: dict[str, str] = {}

    @_call
    def start(self, machine: str, name: str, values: Mapping[str, object]) -> None:
        if machine in self.missing:
            raise Refused(Reason.NOT_PREPARED, f"there is no state machine {machine}")
        if name not in self.inputs:
            self.inputs[name], self.statuses[name] = values, "RUNNING"

    @_call
    def execution(self, machine: str, name: str) -> Preparation | None:
        status = self.statuses.get(name)
        return Preparation(status, f"execution {name}") if status else None
