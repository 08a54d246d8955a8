"""KMS keys that other accounts may use, or that AWS manages.

moto looks for every key in the caller's own account, and treats all as customer-managed. Restores *DescribeKey* (KMS
API reference), *Allowing users in other accounts to use a KMS key* and ``kms:ViaService`` (KMS Developer Guide): a key
of another account is named by its ARN, and visible only to accounts that its policy allows to describe it directly;
to others it seems not to exist. No other account can use an AWS managed key, whose metadata says that AWS manages it.
The key of a seeded snapshot is created with the snapshot.
"""

import json
from collections.abc import Collection
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms.models import KmsBackend, kms_backends
from moto.kms.responses import KmsResponse

from localcloud.policies import Context, allows

DEFAULT = "alias/aws/rds"
_USING = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey")


class SharedKmsResponse(KmsResponse):
    """moto's KMS API with a DescribeKey that finds other accounts' keys."""

    def describe_key(self) -> str:
        wanted = self._get_param("KeyId")
        owner = (wanted.split(":") + [""] * 5)[4]
        if owner in ("", self.current_account):
            return super().describe_key()
        if not _allows(wanted, self.current_account, "kms:DescribeKey", {}):
            raise JsonRESTError(
                "AccessDeniedException",
                f"You are not authorized to perform: kms:DescribeKey on resource: {wanted} "
                "because no resource-based policy allows the kms:DescribeKey action",
            )
        return json.dumps(_key(wanted).to_dict())


def lets_use(arn: str, account: str) -> bool:
    """Return whether the key's policy lets another account copy and restore what it encrypts, through RDS.

    "Sharing encrypted snapshots", Aurora User Guide.
    """
    through_rds = {"kms:viaservice": [f"rds.{arn.split(':')[3]}.amazonaws.com"]}
    return all(_allows(arn, account, action, through_rds) for action in _USING)


def _allows(arn: str, account: str, action: str, context: Context) -> bool:
    """Return whether the key's policy allows another account an action; ``context`` has the condition keys."""
    key = _key(arn)
    if key is None or is_default(arn):
        return False
    statements = json.loads(key.policy)["Statement"]
    principal = {"AWS": f"arn:aws:iam::{account}:root"}
    return allows(statements, principal, action, arn, context)


def is_default(arn: str) -> bool:
    """Return whether AWS manages the key. No other account can use such a key."""
    return arn.endswith(DEFAULT) or getattr(_key(arn), "key_manager", None) == "AWS"


def grant(arn: str, accounts: Collection[str]) -> None:
    """Allow these accounts, and no others, to use the key; create it if it does not exist."""
    _, _, _, region, owner, name = arn.split(":")
    key = _key(arn)
    if key is None:
        backend = kms_backends[owner][region]
        key = backend.keys.pop(backend.create_key(None, "ENCRYPT_DECRYPT", "", "", None).id)
        key.id, key.arn = name.removeprefix("key/"), arn
        backend.keys[key.id] = key
    root = {"AWS": [f"arn:aws:iam::{account}:root" for account in (owner, *accounts)]}
    statement = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    key.policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _key(arn: str) -> Any:
    _, _, _, region, owner, name = (arn.split(":") + [""] * 5)[:6]
    return kms_backends[owner][region].keys.get(name.removeprefix("key/")) if owner else None


_moto_default_key = KmsBackend._generate_default_keys  # noqa: SLF001


def _generate_default_key(backend: KmsBackend, alias_name: str) -> str | None:
    """Create a service's default key, which AWS manages."""
    made = _moto_default_key(backend, alias_name)
    if made:
        backend.keys[made].key_manager = "AWS"
    return made


def install() -> None:
    """Mark the default keys as managed by AWS."""
    KmsBackend._generate_default_keys = _generate_default_key  # type: ignore  # noqa: PGH003, SLF001
