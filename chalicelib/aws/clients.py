"""All of AWS that the use cases see, on boto3 clients with this application's timeouts and retries."""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from botocore.config import Config

from chalicelib.aws.cloudformation import CloudFormationStacks
from chalicelib.aws.codepipeline import CodePipelines
from chalicelib.aws.kms import KmsKeys
from chalicelib.aws.rds import RdsClusters, RdsSnapshots
from chalicelib.aws.sns import SnsNotifier
from chalicelib.aws.ssm import SsmParameters
from chalicelib.aws.stepfunctions import StepFunctions
from chalicelib.ports import Aws

# Four attempts at a call that hangs end within half a minute, so that a function has time left to
# undo its changes. A page of a listing may take longer.
_RETRIES: Any = {"mode": "standard", "total_max_attempts": 4}
CONFIG = Config(retries=_RETRIES, connect_timeout=2, read_timeout=4)
LISTING_CONFIG = Config(retries=_RETRIES, connect_timeout=2, read_timeout=20)

# A throttled call gets more attempts than others, at shorter intervals: eight end within 13 seconds.
THROTTLED_ATTEMPTS = 8
_THROTTLING = re.compile(".*Throttl.*|TooManyRequestsException|RequestLimitExceeded")


def throttled_delay(attempts: int, response: tuple[Any, Any] | None, **_: Any) -> float | None:
    """Return the seconds to wait before repeating a throttled call; None leaves it to botocore.

    botocore waits up to 1, 2, 4 … seconds, but a token bucket refills within a fraction of a second, so
    a long listing would waste most of its rate. This is documented for EC2; for RDS it is assumed.
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """
    if response is None or attempts >= THROTTLED_ATTEMPTS:
        return None
    if not _THROTTLING.fullmatch(response[1].get("Error", {}).get("Code", "")):
        return None
    return random.uniform(0.5, 1) * min(0.1 * 2.0 ** (attempts - 1), 20)  # noqa: S311 (no secret)


class _LazyClient:
    """A client of a service that is created when it is first used."""

    def __init__(
        self, create_client: Callable[..., Any], service: str, config: Config = CONFIG, **more: str
    ) -> None:
        self._service = service
        self._create = partial(create_client, service, config=config, **more)

    @cached_property
    def _client(self) -> Any:
        client = self._create()
        # The first handler that returns a delay wins; botocore's own handler comes second.
        client.meta.events.register_first(f"needs-retry.{self._service}", throttled_delay)
        return client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class BotoAws(Aws):
    """AWS through boto3; `clock` is this machine's unless another one is given."""

    def __init__(
        self,
        create_client: Callable[..., Any],
        topic_arn: str | None,
        chat_topic_arn: str | None = None,
        source_region: str | None = None,
        stage: str = "local",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        client: Callable[..., Any] = partial(_LazyClient, create_client)
        listing = partial(client, "rds", LISTING_CONFIG)
        source = listing(region_name=source_region) if source_region else None
        self.snapshots = RdsSnapshots(listing(), source)
        self.clusters = RdsClusters(client("rds"))
        self.keys = KmsKeys(client("kms"))
        self.parameters = SsmParameters(client("ssm"))
        self.pipelines = CodePipelines(client("codepipeline"))
        self.stacks = CloudFormationStacks(client("cloudformation"))
        self.state_machines = StepFunctions(client("stepfunctions"))
        self.notifier = SnsNotifier(client("sns"), topic_arn, chat_topic_arn, stage)
        self._clock = clock

    def now(self) -> datetime:
        return self._clock()
