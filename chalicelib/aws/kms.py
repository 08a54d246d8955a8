"""KMS keys."""

from typing import TYPE_CHECKING

from chalicelib.aws.errors import translate_errors

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class KmsKeys:
    """The `Keys` port.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html
    """

    def __init__(self, client: "KMSClient") -> None:
        self._client = client

    def is_aws_managed(self, key: str) -> bool:
        """Return whether AWS manages the key; raise AwsError."""
        with translate_errors("DescribeKey", key, ignored="NotFoundException"):
            return self._client.describe_key(KeyId=key)["KeyMetadata"].get("KeyManager") == "AWS"
        return False  # the RDS call that uses a missing key reports it
