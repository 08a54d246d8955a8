"""Who calls: the holder of an access key, as IAM and STS know him.

Restores what the IAM User Guide says of credentials and moto lets pass: a key that was made inactive is no
longer good for anything (*Manage access keys for IAM users*), a session ends when its time is over (*Temporary
security credentials in IAM*), and it has its role's permissions only as long as there is that role.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.credentials import Credentials
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    CreateAccessKeyFailure,
    IAMUserAccessKey,
    create_access_key,
)
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Policy, get_account_id_from, iam_backends
from moto.sts.models import sts_backends

Document = dict[str, Any]


class Refused(Exception):
    """The request is not let in; ``code`` is the exception's name as the JSON protocols give it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Caller:
    """An IAM user or a role's session, and the documents of the policies that bind it."""

    account: str
    arn: str
    user_id: str
    access_key_id: str
    credentials: Credentials = field(repr=False)
    policies: tuple[Document, ...] = ()


def identify(access_key_id: str, session_token: str | None) -> Caller:
    """Who holds the key; Refused if nobody does, or no longer."""
    account = get_account_id_from(access_key_id)
    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    try:
        key = create_access_key(account, "aws", access_key_id, headers)
        user_id = (
            _user_id(key, access_key_id)
            if isinstance(key, IAMUserAccessKey)
            else _session_id(key, access_key_id)
        )
        policies = tuple(document(policy) for policy in key.collect_policies())
    except (CreateAccessKeyFailure, NotFoundException):
        raise _nobodys() from None
    return Caller(account, key.arn, user_id, access_key_id, key.create_credentials(), policies)


def _user_id(key: IAMUserAccessKey, access_key_id: str) -> str:
    user = iam_backends[key.account_id]["aws"].get_user(key.arn.rpartition("/")[2])
    if user.get_access_key_by_id(access_key_id).status != "Active":
        raise _nobodys()
    return str(user.id)


def _session_id(key: AssumedRoleAccessKey, access_key_id: str) -> str:
    session = sts_backends[key.account_id]["aws"].get_assumed_role_from_access_key(access_key_id)
    if session is None:
        raise _nobodys()
    if session.expiration <= datetime.now(UTC).replace(tzinfo=None):
        raise Refused(
            "ExpiredTokenException", "The security token included in the request is expired"
        )
    return session.user_id


def _nobodys() -> Refused:
    return Refused(
        "UnrecognizedClientException", "The security token included in the request is invalid."
    )


def policies_of(role: Any) -> list[Document]:
    """Return the documents of a role's inline and attached policies."""
    return [
        document(policy) for policy in (*role.policies.values(), *role.managed_policies.values())
    ]


def document(policy: Any) -> Document:
    """A policy's document, from any of the three forms moto keeps policies in."""
    if isinstance(policy, Policy):
        text = next(version.document for version in policy.versions if version.is_default)
    else:
        text = policy if isinstance(policy, str) else policy["policy_document"]
    document: Document = json.loads(text)
    return document
