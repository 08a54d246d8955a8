"""Which snapshot is the right one. Pure: no AWS, no clock.

The newest snapshot is chosen in ``choose``; what makes one eligible stands in ``rejection``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

_ARN = re.compile(
    r"arn:aws[a-z-]*:rds:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12})"
    r":cluster-snapshot:(?P<identifier>[A-Za-z][A-Za-z0-9:-]*)"
)


class SnapshotArn(NamedTuple):
    """The parts of a DB cluster snapshot's ARN, the only trustworthy source of its account.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_Tagging.ARN.html
    """

    text: str
    region: str
    account: str
    identifier: str

    @classmethod
    def parse(cls, text: str) -> "SnapshotArn | None":
        """The parts of ``text``, or None where it is not the ARN of a DB cluster snapshot."""
        match = _ARN.fullmatch(text)
        return cls(text, *match.groups()) if match else None


class Snapshot(NamedTuple):
    """A DB cluster snapshot as DescribeDBClusterSnapshots lists it.

    ``created`` is None while AWS has not said: the field is missing while a snapshot is being made.
    ``own`` tells a snapshot of this account from one that another account shares with it.
    """

    arn: str
    account: str
    cluster: str
    engine: str
    engine_version: str
    status: str
    created: datetime | None
    own: bool

    def age(self, now: datetime) -> timedelta:
        """How old the data of an eligible snapshot is; one that is not may have no creation time."""
        assert self.created is not None
        return now - self.created


class OwnSnapshot(NamedTuple):
    """A manual snapshot of this account, whose tags can be seen; ``progress`` of a copy, in percent.

    ``source`` is the ARN of what RDS says that it is a copy of, None where it says nothing.
    """

    snapshot: Snapshot
    tags: Mapping[str, str]
    progress: int
    source: str | None = None


class Criteria(NamedTuple):
    """What a database accepts: engine versions by exact value or by leading dotted parts."""

    account: str
    engine: str
    engine_version: str
    cluster: str | None = None


class Rejection(NamedTuple):
    """Why a snapshot is not eligible: ``reason`` is the contract's code, ``detail`` says it."""

    reason: str
    detail: str


class Choice(NamedTuple):
    """What a listing holds for one database.

    ``clusters`` are those of all eligible snapshots, ``rejected`` counts the others by reason.
    """

    newest: Snapshot | None
    clusters: frozenset[str]
    rejected: Mapping[str, int]

    @property
    def ambiguous(self) -> bool:
        """Eligible snapshots come from several clusters: the newest may be of the wrong one."""
        return len(self.clusters) > 1


def rejection(snapshot: Snapshot, wanted: Criteria) -> Rejection | None:
    """The first rule that ``snapshot`` breaks, or None where it is eligible.

    Names mean nothing: anyone may share a snapshot of any name with any account.
    """
    if snapshot.account != wanted.account:
        return Rejection("account", f"account {snapshot.account}, wanted {wanted.account}")
    if snapshot.status != "available":
        return Rejection("status", f"status {snapshot.status}, wanted available")
    if snapshot.engine != wanted.engine:
        return Rejection("engine", f"engine {snapshot.engine}, wanted {wanted.engine}")
    if not _version_matches(snapshot.engine_version, wanted.engine_version):
        return Rejection(
            "version", f"engine version {snapshot.engine_version}, wanted {wanted.engine_version}"
        )
    if wanted.cluster is not None and snapshot.cluster != wanted.cluster:
        return Rejection("cluster", f"cluster {snapshot.cluster}, wanted {wanted.cluster}")
    if snapshot.created is None:
        return Rejection("no-create-time", "no creation time yet")
    return None


def pin_rejection(snapshot: Snapshot, wanted: Criteria) -> Rejection | None:
    """As ``rejection``, but one of this account's own snapshots may be of any cluster.

    An operator chooses it knowingly, and what acceptance takes of itself is no hostile share.
    """
    if snapshot.own:
        return rejection(snapshot, wanted._replace(account=snapshot.account, cluster=None))
    return rejection(snapshot, wanted)


def choose(snapshots: Iterable[Snapshot], wanted: Sequence[Criteria]) -> tuple[Choice, ...]:
    """The newest eligible snapshot for each of ``wanted``, in one pass over the listing.

    The newest creation time wins, and a tie goes to the greater ARN, so that the order of the
    listing, for which AWS promises nothing, never decides. Nothing of the listing is kept but the
    winners: it may be tens of thousands long.
    """
    tallies = [_Tally(each) for each in wanted]
    for snapshot in snapshots:
        for tally in tallies:
            tally.add(snapshot)
    return tuple(
        Choice(tally.newest, frozenset(tally.clusters), dict(tally.rejected)) for tally in tallies
    )


class _Tally:
    """One database's running choice."""

    def __init__(self, wanted: Criteria) -> None:
        self.criteria = wanted
        self.newest: Snapshot | None = None
        self.clusters: set[str] = set()
        self.rejected: Counter[str] = Counter()

    def add(self, snapshot: Snapshot) -> None:
        broken = rejection(snapshot, self.criteria)
        if broken:
            self.rejected[broken.reason] += 1
            return
        self.clusters.add(snapshot.cluster)
        if self.newest is None or _recency(snapshot) > _recency(self.newest):
            self.newest = snapshot


def _recency(snapshot: Snapshot) -> tuple[datetime, str]:
    assert snapshot.created is not None  # an eligible snapshot has one
    return snapshot.created, snapshot.arn


def _version_matches(version: str, wanted: str) -> bool:
    # By whole dotted parts: "15" takes 15.4 but not 150.1, "15.4" does not take 15.40.
    return version == wanted or version.startswith(f"{wanted}.")
