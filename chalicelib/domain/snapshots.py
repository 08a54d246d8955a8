"""Choose the right snapshot: `rejection` has the rules, `choose` takes the newest. Pure."""

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
        """Return the parts of `text`; None if it is not the ARN of a DB cluster snapshot."""
        match = _ARN.fullmatch(text)
        return cls(text, *match.groups()) if match else None


class Snapshot(NamedTuple):
    """A DB cluster snapshot as DescribeDBClusterSnapshots lists it.

    `created` is None while a snapshot is being made. `own` distinguishes a snapshot of this account
    from one that another account shares with it. Only of an own manual one, as it is listed or made,
    the tags are known, its progress in percent, and the ARN of the snapshot that it is a copy of, if
    RDS says so.
    """

    arn: str
    account: str
    cluster: str
    engine: str
    engine_version: str
    status: str
    created: datetime | None
    own: bool
    tags: Mapping[str, str] = {}
    progress: int = 0
    source: str | None = None

    @property
    def identifier(self) -> str:
        """The name by which an own snapshot is deleted or shared."""
        return self.arn.rpartition(":cluster-snapshot:")[2]

    @property
    def in_progress(self) -> bool:
        """Whether RDS is still making it, which can take hours."""
        return self.status in ("creating", "copying")

    @property
    def available(self) -> bool:
        """Whether it can be copied, shared and restored."""
        return self.status == "available"

    @property
    def failed(self) -> bool:
        """Whether RDS could not make it, for example because its source or a key went away."""
        return self.status == "failed"

    @property
    def taken(self) -> datetime:
        """When its data was taken, if it is eligible; others may have no creation time."""
        assert self.created is not None
        return self.created

    def age(self, now: datetime) -> timedelta:
        """Return how old the data of an eligible snapshot is."""
        return now - self.taken


class Criteria(NamedTuple):
    """What a database accepts; `engine_version` is exact or consists of leading dotted parts."""

    account: str
    engine: str
    engine_version: str
    cluster: str | None = None

    def overlaps(self, other: "Criteria") -> bool:
        """Return whether both may accept the same snapshot; a wrong setting is None."""
        one, two = self.engine_version, other.engine_version
        return (
            self.engine == other.engine
            and bool(one and two)
            and (version_matches(one, two) or version_matches(two, one))
            and (None in (self.cluster, other.cluster) or self.cluster == other.cluster)
        )


class Rejection(NamedTuple):
    """Why a snapshot is not eligible: a code, and the detail in words."""

    reason: str
    detail: str


class Choice(NamedTuple):
    """What a listing contains for one database.

    `clusters` are those of the eligible snapshots; `rejected` counts the others by reason.
    """

    newest: Snapshot | None
    clusters: set[str]
    rejected: Counter[str]

    @property
    def ambiguous(self) -> bool:
        """Whether eligible snapshots come from several clusters: the newest may be the wrong one."""
        return len(self.clusters) > 1


def rejection(snapshot: Snapshot, criteria: Criteria) -> Rejection | None:
    """Return the first rule that a snapshot breaks; None if it is eligible.

    Names mean nothing: anyone may share a snapshot of any name with any account.
    """
    if snapshot.account != criteria.account:
        return Rejection("account", f"account {snapshot.account}, expected {criteria.account}")
    if not snapshot.available:
        return Rejection("status", f"status {snapshot.status}, expected available")
    if snapshot.engine != criteria.engine:
        return Rejection("engine", f"engine {snapshot.engine}, expected {criteria.engine}")
    if not version_matches(snapshot.engine_version, criteria.engine_version):
        return Rejection(
            "version",
            f"engine version {snapshot.engine_version}, expected {criteria.engine_version}",
        )
    if criteria.cluster is not None and snapshot.cluster != criteria.cluster:
        return Rejection("cluster", f"cluster {snapshot.cluster}, expected {criteria.cluster}")
    if snapshot.created is None:
        return Rejection("no-create-time", "no creation time yet")
    return None


def pin_rejection(snapshot: Snapshot, criteria: Criteria) -> Rejection | None:
    """Return the first rule that a pinned snapshot breaks; this account's own may be of any cluster.

    An operator chooses it knowingly, and nobody else can make a snapshot in this account.
    """
    if snapshot.own:
        return rejection(snapshot, criteria._replace(account=snapshot.account, cluster=None))
    return rejection(snapshot, criteria)


def choose(snapshots: Iterable[Snapshot], criteria: Sequence[Criteria]) -> tuple[Choice, ...]:
    """Return the newest eligible snapshot for each of the criteria, in one pass over the listing.

    The newest creation time wins, and a tie goes to the greater ARN, so that the order of the
    listing, which AWS does not promise, never decides. The listing may have tens of thousands of
    entries, so only the winners are kept.
    """
    choices = [Choice(None, set(), Counter()) for _ in criteria]
    for snapshot in snapshots:
        for index, each in enumerate(criteria):
            choice, broken = choices[index], rejection(snapshot, each)
            if broken:
                choice.rejected[broken.reason] += 1
                continue
            choice.clusters.add(snapshot.cluster)
            if choice.newest is None or _recency(snapshot) > _recency(choice.newest):
                choices[index] = choice._replace(newest=snapshot)
    return tuple(choices)


def _recency(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.taken, snapshot.arn


def version_matches(version: str, expected: str) -> bool:
    """Return whether a version is the expected one, or begins with it by whole dotted parts.

    "15" takes 15.4 but not 150.1, "15.4" does not take 15.40. A variant such as 16.6-limitless, which
    another kind of cluster runs, has to be named exactly.
    """
    is_within = version.startswith(f"{expected}.") and "-" not in version.removeprefix(expected)
    return version == expected or is_within
