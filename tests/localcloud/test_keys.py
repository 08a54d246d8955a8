"""Compared with the KMS API reference and Developer Guide: DescribeKey of another account's key."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud

KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DEFAULT_KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:alias/aws/rds"


def seed(cloud: LocalCloud, key: str, *granted: str) -> None:
    """Let production share a snapshot under the key, which these accounts may use."""
    snapshot = {
        "account": PRODUCTION,
        "identifier": "nightly",
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": "2026-01-04T01:00:00+00:00",
        "shared_with": [ACCEPTANCE],
    }
    cloud.seed_snapshots([{**snapshot, "kms_key_id": key, "kms_granted_to": list(granted)}])


def described(cloud: LocalCloud, key: str, **who: str) -> dict[str, Any]:
    metadata: dict[str, Any] = cloud.client("kms", **who).describe_key(KeyId=key)["KeyMetadata"]
    return {name: metadata[name] for name in ("Arn", "AWSAccountId", "KeyManager", "KeyState")}


def test_a_key_is_shown_to_an_account_that_may_use_it(cloud: LocalCloud) -> None:
    seed(cloud, KEY, ACCEPTANCE)
    assert described(cloud, KEY) == {
        "Arn": KEY,
        "AWSAccountId": PRODUCTION,
        "KeyManager": "CUSTOMER",
        "KeyState": "Enabled",
    }


@pytest.mark.parametrize(
    ("key", "granted"), [(KEY, []), (KEY, ["999999999999"]), (DEFAULT_KEY, [ACCEPTANCE])]
)
def test_a_key_is_closed_to_every_other_account(
    cloud: LocalCloud, key: str, granted: list[str]
) -> None:
    seed(cloud, key, *granted)
    with pytest.raises(
        ClientError, match=r"AccessDeniedException.*no resource-based policy allows"
    ):
        described(cloud, key)


def test_an_own_key_tells_who_manages_it(cloud: LocalCloud) -> None:
    own = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    assert described(cloud, own)["KeyManager"] == "CUSTOMER"
    assert described(cloud, "alias/aws/rds")["KeyManager"] == "AWS"
