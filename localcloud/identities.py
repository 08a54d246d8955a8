"""Callers: the owners of access keys in IAM and STS, and the policies that apply to them.

A role's session has permissions only as long as the role exists.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from botocore.credentials import Credentials
from moto.iam.access_control import CreateAccessKeyFailure, create_access_key
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Policy, get_account_id_from

from localcloud.policies import Document


class Refused(Exception):
    """A refused request; ``code`` is the exception's name in the JSON protocols."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Caller:
    """An IAM user or a role's session, and the documents of its policies."""

    account: str
    arn: str
    credentials: Credentials = field(repr=False)
    policies: tuple[Document, ...] = ()


def identify(access_key_id: str, session_token: str | None) -> Caller:
    """Return the owner of the key; raise Refused if there is none."""
    account = get_account_id_from(access_key_id)
    headers = {"X-Amz-Security-Token": session_token} if session_token else {}
    try:
        key = create_access_key(account, "aws", access_key_id, headers)
        policies = tuple(_document(policy) for policy in key.collect_policies())
    except (CreateAccessKeyFailure, NotFoundException):
        raise Refused(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        ) from None
    return Caller(account, key.arn, key.create_credentials(), policies)


def policies_of(role: Any) -> list[Document]:
    """Return the documents of a role's inline and attached policies."""
    return [_document(each) for each in (*role.policies.values(), *role.managed_policies.values())]


def _document(policy: Any) -> Document:
    """Return a policy's document from any of the three forms in which moto keeps policies."""
    if isinstance(policy, Policy):
        text = next(version.document for version in policy.versions if version.is_default)
    else:
        text = policy if isinstance(policy, str) else policy["policy_document"]
    document: Document = json.loads(text)
    return document
