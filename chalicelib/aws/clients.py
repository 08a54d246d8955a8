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
from chalicelib.aws.errors import LOST_ATTEMPT
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

# A call that AWS is too busy for gets more attempts than others, at shorter intervals: eight end within
# 13 seconds. Parameter Store and CodePipeline take one change at a time, and refuse another one meanwhile.
BUSY_ATTEMPTS = 8
_BUSY = re.compile(
    ".*Throttl.*|TooManyRequestsException|RequestLimitExceeded|TooManyUpdates|ConflictException"
)


def retry_delay(
    attempts: int, response: tuple[Any, Any] | None, request_dict: Any, **_: Any
) -> float | None:
    """Return the seconds to wait before repeating a call that AWS is too busy for; None leaves it to botocore.

    botocore waits up to 1, 2, 4 … seconds, but a token bucket refills within a fraction of a second, so
    a long listing would waste most of its rate. This is documented for EC2; for RDS it is assumed.
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html

    If an earlier attempt may have taken effect, say so in the answer to a later one.
    """
    context = request_dict["context"]
    code = (response[1].get("Error", {}).get("Code") or "") if response else ""
    is_busy = _BUSY.fullmatch(code) is not None
    if response is None or (response[0].status_code >= 500 and not is_busy):
        context[LOST_ATTEMPT] = True
    elif LOST_ATTEMPT in context:
        response[1]["ResponseMetadata"][LOST_ATTEMPT] = True
    if not is_busy or attempts >= BUSY_ATTEMPTS:
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
        client.meta.events.register_first(f"needs-retry.{self._service}", retry_delay)
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
