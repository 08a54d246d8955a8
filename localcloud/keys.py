"""Another account's key, as KMS shows it.

moto looks for every key in the caller's own account. What is restored here of *DescribeKey* (KMS API reference)
and *Allowing users in other accounts to use a KMS key* (KMS Developer Guide): a key of another account is named
by its ARN, and is shown to whom its owner lets use it. Who may use the key of a snapshot is said where
snapshots are seeded (``kms_granted_to``, ``shares.py``); nobody else's can be let use an AWS managed key, and
there is no way to tell a key that is closed from one that is not there. An AWS managed key says that it is one.
"""

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms import urls
from moto.kms.responses import KmsResponse
from moto.rds.models import rds_backends

from localcloud import identities

_DEFAULT = "alias/aws/"


class SharedKmsResponse(KmsResponse):
    """moto's KMS API, whose DescribeKey looks into other accounts."""

    def describe_key(self) -> str:
        """*DescribeKey*."""
        wanted = self._get_param("KeyId")
        owner = (wanted.split(":") + [""] * 5)[4]
        if owner in ("", self.current_account):
            return self._with_manager(super().describe_key())
        if not self._granted(owner, wanted):
            token = self.headers.get("X-Amz-Security-Token")
            caller = identities.identify(self.access_key, token)
            raise JsonRESTError(
                "AccessDeniedException",
                f"User: {caller.arn} is not authorized to perform: kms:DescribeKey on resource: {wanted} "
                "because no resource-based policy allows the kms:DescribeKey action",
            )
        return json.dumps({"KeyMetadata": _metadata(owner, wanted)})

    def _granted(self, owner: str, arn: str) -> bool:
        backend: Any = rds_backends[owner][self.region]
        return _DEFAULT not in arn and any(
            snapshot.kms_key_id == arn
            and self.current_account in getattr(snapshot, "kms_granted_to", ())
            for snapshot in list(backend.cluster_snapshots.values())
        )

    def _with_manager(self, answer: str) -> str:
        document = json.loads(answer)
        metadata = document["KeyMetadata"]
        if any(
            name.startswith(_DEFAULT) for name in self.kms_backend.keys[metadata["KeyId"]].aliases
        ):
            metadata["KeyManager"] = "AWS"
        return json.dumps(document)


def _metadata(owner: str, arn: str) -> dict[str, Any]:
    """What is known of a key that a seeded snapshot is encrypted under."""
    return {
        "AWSAccountId": owner,
        "KeyId": arn.rpartition("/")[2],
        "Arn": arn,
        "Enabled": True,
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyManager": "CUSTOMER",
        "Origin": "AWS_KMS",
    }


def install() -> None:
    """Put the API that looks into other accounts in the place of moto's."""
    urls.url_paths["{0}/$"] = SharedKmsResponse.dispatch
