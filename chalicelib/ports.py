"""What the use cases see of AWS: a few verbs in the domain's words.

``aws.py`` has the real ones, the tests have fakes, and one contract suite holds both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.ledger import Entry, Note, Parameter, Run
from chalicelib.notices import Notice
from chalicelib.snapshots import OwnSnapshot, Snapshot


class Snapshots(Protocol):
    """DB cluster snapshots, this account's own and those shared with it."""

    def shared(self) -> Iterator[Snapshot]:
        """Every snapshot shared with this account, all pages, in no promised order."""

    def find(self, arn: str) -> Snapshot | None:
        """The own or shared snapshot with this ARN."""

    def named(self, identifier: str, account: str) -> list[Snapshot]:
        """This account's own snapshot of that name and the one that ``account`` shares."""

    def own(self) -> Iterator[OwnSnapshot]:
        """Every manual snapshot of this account, in no promised order."""

    def copy(self, source: str, name: str, key: str, tags: Mapping[str, str]) -> OwnSnapshot | None:
        """Ask for an own copy under a key; None where a snapshot of that name exists already.

        Raises Refused for what only people can mend: ``copy-quota``, ``copy-key-denied``, and
        ``snapshot-gone`` where the source went away.
        """

    def delete(self, identifier: str) -> None:
        """Delete a manual snapshot of this account; none there is as good."""


class Parameters(Protocol):
    """Parameter Store. It has no compare-and-set: whoever writes last wins."""

    def get(self, names: Sequence[str]) -> Mapping[str, Parameter]:
        """Those of the parameters that exist."""

    def put(self, name: str, value: str, note: Note) -> int:
        """Create or replace the parameter; the version made.

        Raises VersionLimitError where the oldest of 100 versions bears a label.
        """

    def delete(self, name: str) -> None:
        """Remove the parameter with its history; none there is as good."""

    def mark_good(self, name: str, version: int) -> None:
        """Move the label ``good`` to this version."""

    def unmark_good(self, name: str, version: int) -> None:
        """Take the label ``good`` from this version."""

    def history(self, name: str) -> list[Entry]:
        """The versions kept, oldest first; empty where the parameter does not exist."""


class Pipelines(Protocol):
    """CodePipeline. Each verb raises Refused ``pipeline-missing`` where there is none so named."""

    def runs(self, name: str) -> list[Run]:
        """The most recent runs, newest first: at least one that is older than any in progress."""

    def start(self, name: str, token: str) -> str:
        """Start a run, or find the one that this token has started; its execution id."""


class People(Protocol):
    """Those who hear of the refresh."""

    def tell(self, notice: Notice) -> None:
        """Publish the notice. Never raises: a topic that fails changes no outcome."""


class World(Protocol):
    """All of AWS that the application uses, and its clock."""

    @property
    def snapshots(self) -> Snapshots: ...

    @property
    def parameters(self) -> Parameters: ...

    @property
    def pipelines(self) -> Pipelines: ...

    @property
    def people(self) -> People: ...

    @property
    def now(self) -> Callable[[], datetime]: ...
