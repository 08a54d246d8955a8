"""AWS in memory, for the use cases. It obeys the contract suite that the real adapters obey, too."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.errors import AwsError, Refused, VersionLimitError
from chalicelib.domain.ledger import Entry, Note, Parameter, Run
from chalicelib.domain.shares import Cluster
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.notifications import Notification

PRODUCTION = "111111111111"
ACCEPTANCE = "222222222222"
VERSIONS_KEPT = 100
COPIES_UNDER_WAY = 5
MANUAL_SNAPSHOTS = 100


def arn(name: str, account: str = PRODUCTION) -> str:
    return f"arn:aws:rds:eu-west-1:{account}:cluster-snapshot:{name}"


def snapshot(name: str = "orders-1", account: str = PRODUCTION, **facts: Any) -> Snapshot:
    """A share of production's that is eligible, unless ``facts`` say otherwise."""
    return Snapshot(
        **{
            "arn": arn(name, account),
            "account": account,
            "cluster": "orders",
            "engine": "aurora-postgresql",
            "engine_version": "15.4",
            "status": "available",
            "created": datetime(2026, 1, 3, 22, tzinfo=UTC),
            "own": account == ACCEPTANCE,
            **facts,
        }
    )


def _call(method: Callable[..., Any]) -> Callable[..., Any]:
    """An AWS call: it is counted, and ``interrupt`` may raise before it and after it took effect."""

    @functools.wraps(method)
    def counted(self: Any, *args: Any) -> Any:
        self.aws.calls.append(method.__name__)
        self.aws.interrupt("before", method.__name__)
        answer = method(self, *args)
        self.aws.interrupt("after", method.__name__)
        return answer

    return counted


class InMemoryAws:
    """One account's AWS. Time passes only when a test says so."""

    def __init__(self, now: datetime, account: str = ACCEPTANCE) -> None:
        self.time = now
        self.account = account
        self.calls: list[str] = []
        self.interrupt: Callable[[str, str], None] = lambda when, operation: None
        self.snapshots = InMemorySnapshots(self)
        self.parameters = InMemoryParameters(self)
        self.pipelines = InMemoryPipelines(self)
        self.notifier = InMemoryNotifier(self)
        self.clusters = InMemoryClusters(self)
        self.keys = InMemoryKeys(self)

    def now(self) -> datetime:
        return self.time

    def values(self) -> dict[str, str]:
        """What every parameter holds now."""
        return {name: kept[-1].value for name, kept in self.parameters.kept.items()}


class InMemorySnapshots:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.all: list[Snapshot] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.denied: set[str] = set()
        self.unencrypted: set[str] = set()
        self.sources: dict[str, str] = {}
        self.read_by: dict[str, set[str]] = {}

    def shared(self) -> Iterator[Snapshot]:
        self.aws.calls.append("shared")
        self.aws.interrupt("before", "shared")
        yield from [each for each in self.all if not each.own]

    @_call
    def find(self, arn: str) -> Snapshot | None:
        return next((each for each in self.all if each.arn == arn), None)

    @_call
    def named(self, identifier: str, account: str) -> list[Snapshot]:
        wanted = (arn(identifier, self.aws.account), arn(identifier, account))
        return [each for each in self.all if each.arn in wanted]

    def own(self) -> Iterator[OwnSnapshot]:
        self.aws.calls.append("own")
        self.aws.interrupt("before", "own")
        yield from [
            OwnSnapshot(
                each,
                self.tags.get(each.arn, {}),
                100 if each.status == "available" else 40,
                self.sources.get(each.arn),
            )
            for each in self.all
            if each.own and ":cluster-snapshot:rds:" not in each.arn
        ]

    @_call
    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        found = next((each for each in self.all if each.arn == source), None)
        copied = arn(name, self.aws.account)
        if any(each.arn == copied for each in self.all):
            return None
        if source in self.unencrypted:
            raise Refused("copy-unencrypted", f"RDS refused to copy {source}: it is not encrypted")
        if key in self.denied:
            raise Refused("copy-key-denied", f"RDS refused to copy {source}: no access to {key}")
        if sum(each.own and each.status == "copying" for each in self.all) >= COPIES_UNDER_WAY:
            raise Refused("copy-quota", f"RDS refused to copy {source}: too many copies under way")
        if found is None or found.status != "available":
            raise Refused("snapshot-gone", f"RDS refused to copy {source}: it is not available")
        made = found._replace(
            arn=copied,
            account=self.aws.account,
            own=True,
            status="copying",
            created=self.aws.time,
        )
        self.all.append(made)
        self.tags[copied] = dict(tags)
        self.sources[copied] = source
        return OwnSnapshot(made, dict(tags), 0, source)

    @_call
    def delete(self, identifier: str) -> None:
        deleted = arn(identifier, self.aws.account)
        self.all = [each for each in self.all if each.arn != deleted]
        self.tags.pop(deleted, None)

    def automated(self, cluster: str) -> Iterator[Snapshot]:
        self.aws.calls.append("automated")
        self.aws.interrupt("before", "automated")
        yield from [
            each
            for each in self.all
            if each.own and each.cluster == cluster and ":cluster-snapshot:rds:" in each.arn
        ]

    @_call
    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        taken = arn(name, self.aws.account)
        # What RDS looks at first is not documented; so it is what is harder on who asks.
        if cluster in self.aws.clusters.busy:
            raise Refused(
                "cluster-busy", f"RDS refused to take a snapshot of {cluster}: it is busy"
            )
        if any(each.arn == taken for each in self.all):
            return None
        if len(list(self.own())) >= MANUAL_SNAPSHOTS:
            raise Refused(
                "snapshot-quota", f"RDS refused to take a snapshot of {cluster}: too many"
            )
        made = snapshot(
            name,
            self.aws.account,
            cluster=cluster,
            own=True,
            status="creating",
            created=self.aws.time,
        )
        self.all.append(made)
        self.tags[taken] = dict(tags)
        return OwnSnapshot(made, dict(tags), 0)

    @_call
    def shared_with(self, identifier: str) -> set[str]:
        return self.read_by.get(arn(identifier, self.aws.account), set())

    @_call
    def share(self, identifier: str, account: str) -> None:
        shared = arn(identifier, self.aws.account)
        assert [each.status for each in self.all if each.arn == shared] == ["available"]
        self.read_by.setdefault(shared, set()).add(account)

    @_call
    def unshare(self, identifier: str, account: str) -> None:
        self.read_by[arn(identifier, self.aws.account)].discard(account)

    def settle(self, status: str = "available") -> None:
        """Everything that is being made comes to its end."""
        self.all = [
            each._replace(status=status) if each.status in ("copying", "creating") else each
            for each in self.all
        ]


class InMemoryClusters:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.all: dict[str, Cluster] = {}
        self.busy: set[str] = set()

    @_call
    def find(self, name: str) -> Cluster | None:
        return self.all.get(name)


class InMemoryKeys:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.default: set[str] = set()

    @_call
    def is_aws_managed(self, key: str) -> bool:
        return key in self.default


class InMemoryParameters:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.kept: dict[str, list[Entry]] = {}

    @_call
    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        return {
            name: Parameter(self.kept[name][-1].value, self.kept[name][-1].version)
            for name in names
            if name in self.kept
        }

    @_call
    def put(self, name: str, value: str, note: Note) -> int:
        assert value, "Parameter Store takes no empty value"
        assert "{{" not in value, "nor one that refers to another parameter"
        kept = self.kept.setdefault(name, [])
        if len(kept) == VERSIONS_KEPT:
            if kept[0].good:
                raise VersionLimitError("PutParameter", name, "ParameterMaxVersion…", "labelled")
            del kept[0]
        version = kept[-1].version + 1 if kept else 1
        kept.append(Entry(version, value, self.aws.time, Note.read(note.describe())))
        return version

    @_call
    def delete(self, name: str) -> None:
        self.kept.pop(name, None)

    @_call
    def mark_good(self, name: str, version: int) -> None:
        self.kept[name] = [
            entry._replace(good=entry.version == version) for entry in self.kept[name]
        ]

    @_call
    def unmark_good(self, name: str, version: int) -> None:
        self.kept[name] = [
            entry._replace(good=entry.good and entry.version != version)
            for entry in self.kept[name]
        ]

    @_call
    def history(self, name: str) -> list[Entry]:
        return list(self.kept.get(name, []))


class InMemoryPipelines:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.pipelines: dict[str, list[Run]] = {}
        self._by_token: dict[str, str] = {}

    @_call
    def runs(self, name: str) -> list[Run]:
        return self._runs(name)[::-1]

    @_call
    def start(self, name: str, token: str) -> str:
        runs = self._runs(name)
        if token not in self._by_token:
            self._by_token[token] = f"run-{len(runs) + 1}"
            now = self.aws.time
            runs.append(Run(self._by_token[token], "InProgress", now, now))
        return self._by_token[token]

    def finish(self, name: str, status: str = "Succeeded") -> None:
        """The newest run of the pipeline comes to its end."""
        runs = self.pipelines[name]
        runs[-1] = runs[-1]._replace(status=status, updated=self.aws.time)

    def _runs(self, name: str) -> list[Run]:
        if name not in self.pipelines:
            raise Refused("pipeline-missing", f"there is no pipeline named {name}")
        return self.pipelines[name]


class InMemoryNotifier:
    def __init__(self, aws: InMemoryAws) -> None:
        self.aws = aws
        self.sent: list[Notification] = []

    def notify(self, notice: Notification) -> None:
        with suppress(AwsError):
            self._publish(notice)

    @_call
    def _publish(self, notice: Notification) -> None:
        self.sent.append(notice)
