"""One database of an acceptance stage."""

from typing import NamedTuple

from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.deployment import StackReference
from chalicelib.domain.snapshots import Criteria


class Database(NamedTuple):
    """A stage's settings of one database; `name` is its prefix in lower case.

    Without a `copy_policy` the share itself is promoted. `stack` is where the main pipeline deploys
    it, `after_restore` the ARN of the state machine to run on each restored cluster.
    """

    name: str
    latest_parameter: str
    current_parameter: str
    criteria: Criteria
    copy_policy: CopyPolicy | None = None
    stack: StackReference | None = None
    after_restore: str | None = None

    @property
    def stack_name(self) -> str | None:
        """The name of the stack that deploys it, if the stage knows it."""
        return self.stack.stack if self.stack else None

    def setting(self, name: str) -> str:
        """Return the environment variable of this database's setting `name`, such as RDS_STACK_NAME."""
        return f"{self.name.upper()}_{name}"
