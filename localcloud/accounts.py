"""The accounts of the local cloud, and the keys that open them.

Three accounts: the company's two, and one of somebody who may share snapshots with anybody. Each has an
IAM user ``admin`` who may do everything; acceptance has a ``visitor``, too, who may do nothing. Their access
keys are fixed and plainly fake: 20 characters beginning with ``AKIA``, as the IAM User Guide's *IAM
identifiers* lays down for long-term keys.
"""

from dataclasses import dataclass

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


KEYS = (
    Key(ACCEPTANCE, "admin", "AKIALOCALACCEPTANCE0", "local-acceptance-admin-is-no-secret"),
    Key(ACCEPTANCE, "visitor", "AKIALOCALVISITOR0000", "local-acceptance-visitor-is-no-secret"),
    Key(PRODUCTION, "admin", "AKIALOCALPRODUCTION0", "local-production-admin-is-no-secret"),
    Key(STRANGER, "admin", "AKIALOCALSTRANGER000", "local-stranger-admin-is-no-secret"),
)


def key_of(account: str, user: str = "admin") -> Key:
    """The access key of ``user`` in ``account``; KeyError if there is no such user."""
    for key in KEYS:
        if (key.account, key.user) == (account, user):
            return key
    raise KeyError(f"no user {user} in account {account}")
