"""All of AWS that the use cases see, on boto3 clients with this application's timeouts and retries."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from chalicelib.aws.cloudformation import CloudFormationStacks
from chalicelib.aws.codepipeline import CodePipelines
from chalicelib.aws.kms import KmsKeys
from chalicelib.aws.rds import RdsClusters, RdsSnapshots
from chalicelib.aws.sns import SnsNotifier
from chalicelib.aws.ssm import SsmParameters
from chalicelib.aws.stepfunctions import StepFunctions

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_sns import SNSClient

# Four attempts at a call that hangs end within half a minute, so that a function has time left to
# undo its changes. A page of a listing may take longer.
CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=4
)
LISTING_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=2, read_timeout=20
)

# A throttled call gets more attempts than others, at shorter intervals: seven end within six
# seconds, ten within 45 seconds.
THROTTLED_ATTEMPTS = 7
LISTING_THROTTLED_ATTEMPTS = 10
_THROTTLING_CODES = (
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
)


def throttled_delay(
    attempts: int, max_attempts: int, response: tuple[Any, Any] | None
) -> float | None:
    """Return the seconds to wait before repeating a throttled call; None leaves it to botocore.

    botocore waits up to 1, 2, 4 … seconds, but a throttled caller's token bucket refills within a
    fraction of a second, so the listing of many pages would waste most of its rate.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/throttling.html
    """
    if response is None or attempts >= max_attempts:
        return None
    if response[1].get("Error", {}).get("Code") not in _THROTTLING_CODES:
        return None
    return random.uniform(0.5, 1) * min(0.1 * 2.0 ** (attempts - 1), 20)  # noqa: S311 (no secret)


class BotoAws:
    """The `Aws` of ``ports.py`` on boto3. Each client is created when it is first used."""

    def __init__(
        self,
        create_client: Callable[..., Any],
        topic_arn: str | None,
        chat_topic_arn: str | None = None,
        source_region: str | None = None,
        stage: str = "local",
    ) -> None:
        self._create_client = create_client
        self._source_region = source_region
        self.notifier = SnsNotifier(lambda: self._sns, topic_arn, chat_topic_arn, stage)

    def client(self, service: str, *, listing: bool = False, region: str | None = None) -> Any:
        """Return a new client; one for `listing` waits longer and retries more often."""
        elsewhere = {"region_name": region} if region else {}
        config = LISTING_CONFIG if listing else CONFIG
        client = self._create_client(service, config=config, **elsewhere)
        max_attempts = LISTING_THROTTLED_ATTEMPTS if listing else THROTTLED_ATTEMPTS

        def delay(attempts: int, response: tuple[Any, Any] | None, **_: Any) -> float | None:
            return throttled_delay(attempts, max_attempts, response)

        # The first handler that returns a delay wins; botocore's own handler comes second.
        client.meta.events.register_first(f"needs-retry.{service}", delay)
        return client

    @cached_property
    def snapshots(self) -> RdsSnapshots:
        region = self._source_region
        source = self.client("rds", listing=True, region=region) if region else None
        return RdsSnapshots(self._rds, source)

    @cached_property
    def clusters(self) -> RdsClusters:
        return RdsClusters(self._rds)

    @cached_property
    def parameters(self) -> SsmParameters:
        return SsmParameters(self.client("ssm"))

    @cached_property
    def pipelines(self) -> CodePipelines:
        return CodePipelines(self.client("codepipeline"))

    @cached_property
    def stacks(self) -> CloudFormationStacks:
        return CloudFormationStacks(self.client("cloudformation"))

    @cached_property
    def state_machines(self) -> StepFunctions:
        return StepFunctions(self.client("stepfunctions"))

    @cached_property
    def keys(self) -> KmsKeys:
        return KmsKeys(self.client("kms"))

    @cached_property
    def _sns(self) -> "SNSClient":
        client: SNSClient = self.client("sns")
        return client

    @cached_property
    def _rds(self) -> "RDSClient":
        client: RDSClient = self.client("rds", listing=True)
        return client

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)
