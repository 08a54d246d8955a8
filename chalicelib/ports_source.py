"""What the app in production sees of AWS, as ``ports.py`` has it for acceptance."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from chalicelib.ports import People
from chalicelib.sharing import Cluster
from chalicelib.snapshots import OwnSnapshot, Snapshot


class SourceSnapshots(Protocol):
    """DB cluster snapshots of the account that shares them."""

    def own(self) -> Iterator[OwnSnapshot]:
        """Every manual snapshot of this account, in no promised order."""

    def automated(self, cluster: str) -> Iterator[Snapshot]:
        """The automated snapshots of a cluster, in no promised order."""

    def take(self, cluster: str, name: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        """Ask for a snapshot of a cluster; None where one of that name exists already.

        Raises Refused for what only people can mend: ``snapshot-quota``, ``cluster-busy``.
        """

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        """As ``Snapshots.copy``."""

    def delete(self, identifier: str) -> None:
        """Delete a manual snapshot of this account; none there is as good."""

    def readers(self, identifier: str) -> Collection[str]:
        """The accounts that an own manual snapshot is shared with."""

    def share(self, identifier: str, account: str) -> None:
        """Let an account copy and restore an own manual snapshot."""

    def unshare(self, identifier: str, account: str) -> None:
        """Take that from it again."""


class Clusters(Protocol):
    """This account's DB clusters."""

    def find(self, name: str) -> Cluster | None:
        """The cluster of that name."""


class Keys(Protocol):
    """KMS."""

    def is_default(self, key: str) -> bool:
        """Whether AWS manages the key: nobody can let another account use such a one.

        It manages none that is not there.
        """


class SourceWorld(Protocol):
    """All of AWS that the source app uses, and its clock."""

    @property
    def snapshots(self) -> SourceSnapshots: ...

    @property
    def clusters(self) -> Clusters: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def people(self) -> People: ...

    @property
    def now(self) -> Callable[[], datetime]: ...
