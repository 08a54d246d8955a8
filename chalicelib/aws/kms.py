"""KMS keys."""

from typing import TYPE_CHECKING

from chalicelib.aws.errors import translate_errors

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_DEFAULT = "alias/aws/rds"


class KmsKeys:
    """The `Keys` port.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html
    """

    def __init__(self, client: "KMSClient") -> None:
        self._client = client

    def default(self) -> str | None:
        with translate_errors("DescribeKey", _DEFAULT, ignored="NotFoundException"):
            return self._client.describe_key(KeyId=_DEFAULT)["KeyMetadata"]["Arn"]
        return None
