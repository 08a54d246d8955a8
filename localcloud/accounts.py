"""The accounts of the local cloud, and their access keys.

Two accounts belong to the company, and one to a stranger who shares snapshots with anybody. Each account's IAM
user `admin` may do everything; acceptance's `visitor` may do nothing.
"""

from dataclasses import dataclass

from botocore.credentials import Credentials

ACCEPTANCE = "222222222222"
PRODUCTION = "111111111111"
STRANGER = "999999999999"
REGION = "eu-west-1"


@dataclass(frozen=True)
class Key:
    """An IAM user and the access key of that user."""

    account: str
    user: str
    access_key_id: str
    secret_access_key: str

    def credentials(self) -> Credentials:
        """Return the key as botocore's credentials."""
        return Credentials(self.access_key_id, self.secret_access_key)


KEYS = (
    Key(ACCEPTANCE, "admin", "AKIALOCALACCEPTANCE0", "local-acceptance-admin-is-no-secret"),
    Key(ACCEPTANCE, "visitor", "AKIALOCALVISITOR0000", "local-acceptance-visitor-is-no-secret"),
    Key(PRODUCTION, "admin", "AKIALOCALPRODUCTION0", "local-production-admin-is-no-secret"),
    Key(STRANGER, "admin", "AKIALOCALSTRANGER000", "local-stranger-admin-is-no-secret"),
)


def key_of(account: str, user: str = "admin") -> Key:
    """Return the access key of a user."""
    return next(key for key in KEYS if (key.account, key.user) == (account, user))
