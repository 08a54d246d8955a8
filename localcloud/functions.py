"""Lambda: run the deployed package, synchronously and asynchronously.

Restores *Invoke* (Lambda API reference), *Invoking a function asynchronously* and *Configuring reserved
concurrency* (Lambda Developer Guide), for which moto needs Docker. A failed asynchronous invocation is retried
twice, with the same event and request id; on AWS after about one and two minutes. If the reserved concurrency
is used up, a synchronous call is throttled, and an asynchronous event waits.
"""

import contextlib
import json
import shutil
import tempfile
import threading
import uuid
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import unquote

from botocore.credentials import Credentials
from moto.awslambda.exceptions import LambdaClientError, UnknownFunctionException
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.awslambda.responses import LambdaResponse
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from localcloud import clock, runtime
from localcloud.controls import control
from localcloud.environments import Environment, Outcome
from localcloud.policies import allows

_THROTTLED_SECONDS = 0.2
_PATIENCE = 60.0


class Throttled(LambdaClientError):
    """The function's reserved concurrency is used up."""

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")
        self.code = 429


class Fleet:
    """All execution environments, and the invocations since it was opened."""

    _lock = threading.Lock()

    def open(self, endpoint: str) -> None:
        """Start without environments; ``endpoint`` is the cloud's URL."""
        self.endpoint = endpoint
        #: The asynchronous invocations.
        self.deliveries: list[threading.Thread] = []
        #: One record for each attempt of an invocation.
        self.records: list[dict[str, Any]] = []
        self.environments: list[Environment] = []
        self._directory = Path(tempfile.mkdtemp(prefix="localcloud-"))
        self._closed = threading.Event()
        runtime.link(runtime.RUNTIME, self._directory / "runtime")
        runtime.link(runtime.MACHINE, self._directory / "machine")

    def invoke(
        self,
        function: LambdaFunction,
        event: bytes,
        request_id: str,
        attempt: int = 1,
        event_id: str | None = None,
    ) -> Outcome:
        """Run the function once; raise Throttled if its reserved concurrency is used up."""
        environment = self._acquire(function)
        try:
            outcome = environment.invoke(request_id, event)
        finally:
            environment.is_busy = False
        payload = json.loads(outcome.payload)
        self.records.append(
            {
                "function": function.function_name,
                "request_id": request_id,
                "event_id": event_id,
                "event": json.loads(event),
                "attempt": attempt,
                "status": "succeeded" if outcome.succeeded else "failed",
                "payload": payload if outcome.succeeded else None,
                "error": None if outcome.succeeded else payload,
                "log": outcome.log,
            }
        )
        return outcome

    def deliver(self, function: LambdaFunction, event: bytes, event_id: str | None = None) -> None:
        """Invoke asynchronously."""
        arguments = (function, event, event_id)
        delivery = threading.Thread(target=self._deliver, args=arguments, daemon=True)
        delivery.start()
        self.deliveries.append(delivery)

    def _deliver(self, function: LambdaFunction, event: bytes, event_id: str | None) -> None:
        request_id, attempt = str(uuid.uuid4()), 1
        # If the function or its role has been deleted, the event is dropped.
        with contextlib.suppress(UnknownFunctionException, NotFoundException):
            while not self._closed.is_set():
                # The function may have been deployed again since, with another number of attempts.
                function = find(function.account_id, function.region, function.function_arn)
                configured = function.event_invoke_config
                retries = configured[-1].config.get("MaximumRetryAttempts", 2) if configured else 2
                try:
                    outcome = self.invoke(function, event, request_id, attempt, event_id)
                except Throttled:
                    self._closed.wait(_THROTTLED_SECONDS)
                    continue
                if outcome.succeeded or attempt > retries:
                    break
                self._closed.wait(attempt * clock.seconds["retry"])
                attempt += 1

    def close(self) -> None:
        """Kill every environment, and wait until all deliveries have ended."""
        self._closed.set()
        with self._lock:
            for environment in self.environments:
                environment.kill()
        for delivery in self.deliveries:
            delivery.join()
        shutil.rmtree(self._directory, ignore_errors=True)

    def owner(self, access_key_id: str) -> Environment | None:
        """Return the environment that has these credentials."""
        held = {each.credentials.access_key: each for each in [*self.environments]}
        return held.get(access_key_id)

    def _acquire(self, function: LambdaFunction) -> Environment:
        wanted = function.get_configuration()
        with self._lock:
            ours = [each for each in self.environments if each.arn == function.function_arn]
            reserved = function.reserved_concurrency
            is_used_up = reserved is not None and sum(e.is_busy for e in ours) >= int(reserved)
            if is_used_up or self._closed.is_set():
                raise Throttled
            for environment in [each for each in ours if not each.is_busy]:
                if environment.alive and environment.configuration == wanted:
                    environment.is_busy = True
                    return environment
                environment.end()  # its code or configuration is no longer deployed
                self.environments.remove(environment)
            return self._start(function, wanted)

    def _start(self, function: LambdaFunction, wanted: dict[str, Any]) -> Environment:
        package = self._directory / f"task-{function.code_digest}"
        if not package.exists():
            runtime.unpack(function.code_bytes, package)
        environment = Environment(
            wanted,
            package,
            self._directory,
            session_of(function.region, function.role, function.function_name),
            self.endpoint,
            Path(tempfile.mkdtemp(prefix="environment-", dir=self._directory)),
        )
        self.environments.append(environment)
        return environment


fleet = Fleet()


def reset() -> None:
    """End every environment, and forget every invocation."""
    fleet.close()
    fleet.open(fleet.endpoint)


def find(account: str, region: str, name_or_arn: str) -> LambdaFunction:
    """Return moto's function; raise its ResourceNotFoundException if there is none."""
    return lambda_backends[account][region].get_function(name_or_arn)


def may_invoke(function: LambdaFunction, service: str, source_arn: str) -> bool:
    """Return whether the function's policy allows the service to invoke it on behalf of this source.

    *Granting Lambda function access to AWS services*, Lambda Developer Guide.
    """
    statements, arn = function.policy.statements, function.function_arn
    context = {"aws:sourcearn": [source_arn]}
    return allows(statements, {"Service": service}, "lambda:InvokeFunction", arn, context)


class InvocationResponse(LambdaResponse):
    """moto's Lambda API with functions that run."""

    def invoke(self) -> tuple[int, dict[str, str], str | bytes]:
        """*Invoke*: RequestResponse or Event."""
        name = unquote(self.path.rsplit("/", 2)[-2])
        function = self.backend.get_function(name, self._get_param("Qualifier"))
        event = bytes(self.raw_body) or b"{}"
        if self.headers.get("X-Amz-Invocation-Type") == "Event":
            fleet.deliver(function, event)
            return 202, {"status": "202"}, b""
        outcome = fleet.invoke(function, event, str(uuid.uuid4()))
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if not outcome.succeeded:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return 200, headers, outcome.payload


def session_of(region: str, role: str, name: str) -> Credentials:
    """Assume a role, as a service does for its caller; raise moto's NotFoundException if there is none."""
    account = role.split(":")[4]
    iam_backends[account]["aws"].get_role_by_arn(role)
    session = sts_backends[account]["aws"].assume_role(
        region_name=region,
        role_session_name=name,
        role_arn=role,
        policy="",
        duration=3600,
        external_id="",
    )
    return Credentials(session.access_key_id, session.secret_access_key, session.session_token)


@control
def invocations(function: str = "") -> list[dict[str, Any]]:
    """Return a record for each attempt, oldest first, of the functions whose names end with ``function``."""
    return [record for record in fleet.records if record["function"].endswith(function)]


@control
def wait_until_idle() -> None:
    """Wait until no asynchronous invocation is running, or waits for its next attempt."""
    deadline = monotonic() + _PATIENCE
    for delivery in fleet.deliveries:  # including those that begin meanwhile
        delivery.join(deadline - monotonic())
        if delivery.is_alive():
            raise TimeoutError(f"asynchronous invocations were still running after {_PATIENCE} s")
