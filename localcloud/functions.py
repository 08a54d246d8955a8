"""Lambda runs the deployed package: synchronous and asynchronous invocation.

Restores what the Lambda API reference (*Invoke*) and the Lambda Developer Guide (*Invoking a function
asynchronously*, *Configuring reserved concurrency*) state, where moto would want Docker:

- an invocation runs the deployed package in an execution environment (``environments.py``), warm if one is
  idle, and gets the credentials of the function's own role;
- what goes wrong in the function is an answer with ``X-Amz-Function-Error``, no error of the call;
- an asynchronous invocation that fails is tried twice more, with the very same event and request id;
- reserved concurrency throttles: a synchronous caller is told so, an asynchronous event waits;
- a function is put into a VPC only if its role may make network interfaces (*Giving Lambda functions access to
  resources in an Amazon VPC*).

The delays before the two further attempts, on AWS about one and two minutes, can be set.
"""

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.awslambda import urls
from moto.awslambda.exceptions import LambdaClientError, UnknownFunctionException
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.awslambda.responses import LambdaResponse
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.sts.models import sts_backends

from localcloud import authorization, identities, runtime
from localcloud.environments import Credentials, Environment, Libraries, Outcome, Specification

_RETRY_SECONDS = (1.0, 2.0)
_THROTTLED_SECONDS = 0.2
# Lambda ends an environment before its credentials run out; here they do not, for the clock may leap.
_NETWORK_ACTIONS = (
    "CreateNetworkInterface",
    "DescribeNetworkInterfaces",
    "DeleteNetworkInterface",
)
_ASSUME_SECONDS = 100 * 365 * 24 * 60 * 60


class Throttled(Exception):
    """All of the function's reserved concurrency is in use."""


class RoleCannotBeAssumed(LambdaClientError):
    """There is no role for the function to run with."""

    def __init__(self) -> None:
        super().__init__(
            "AccessDeniedException",
            "The role defined for the function cannot be assumed by Lambda.",
        )
        self.code = 403


class Fleet:
    """All execution environments and what is asked of them; it is closed, and another made, at a reset."""

    def __init__(self, endpoint: str) -> None:
        self.retry_seconds: tuple[float, ...] = _RETRY_SECONDS
        self._endpoint = endpoint
        self._directory = Path(tempfile.mkdtemp(prefix="localcloud-"))
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._idle: list[Environment] = []
        self._busy: list[Environment] = []
        self._owners: dict[str, Environment] = {}
        self._records: list[dict[str, Any]] = []
        self._deliveries: dict[str, str | None] = {}
        self._runtime = self._directory / "runtime"
        self._machine = self._directory / "machine"
        runtime.link(runtime.RUNTIME, self._runtime)
        runtime.link(runtime.MACHINE, self._machine)

    def owner(self, access_key_id: str) -> Environment | None:
        """The environment that was given these credentials."""
        return self._owners.get(access_key_id)

    def records(self, function: str) -> list[dict[str, Any]]:
        """What ran, one record for each attempt; only of functions whose names end so, if given."""
        with self._lock:
            return [dict(r) for r in self._records if r["function"].endswith(function)]

    def deliveries(self) -> list[str | None]:
        """The events of the asynchronous invocations that have not ended; None where it was no event."""
        with self._lock:
            return list(self._deliveries.values())

    def invoke(
        self,
        function: LambdaFunction,
        event: bytes,
        request_id: str,
        attempt: int = 1,
        event_id: str | None = None,
    ) -> Outcome:
        """Run the function once; Throttled if its reserved concurrency is used up."""
        environment = self._acquire(function)
        record = {
            "function": function.function_name,
            "request_id": request_id,
            "event_id": event_id,
            "event": json.loads(event),
            "attempt": attempt,
            "status": "running",
            "payload": None,
            "error": None,
            "log": "",
            "cold": None,
        }
        with self._lock:
            self._records.append(record)
        try:
            outcome = environment.invoke(request_id, event)
        finally:
            self._release(environment)
        with self._lock:
            record.update(
                status="succeeded" if outcome.succeeded else "failed",
                log=outcome.log,
                cold=outcome.cold,
            )
            record["payload" if outcome.succeeded else "error"] = json.loads(outcome.payload)
        if not self._closed.is_set():
            _put_log(environment, outcome)
        return outcome

    def deliver(self, function: LambdaFunction, event: bytes, event_id: str | None = None) -> None:
        """Invoke asynchronously: all attempts have the same request id, as on AWS."""
        request_id = str(uuid.uuid4())
        with self._lock:
            self._deliveries[request_id] = event_id
        threading.Thread(
            target=self._deliver, args=(function, event, request_id, event_id), daemon=True
        ).start()

    def _deliver(
        self, function: LambdaFunction, event: bytes, request_id: str, event_id: str | None
    ) -> None:
        try:
            # The events of a function that is deleted, or whose role is, are dropped.
            with contextlib.suppress(UnknownFunctionException, RoleCannotBeAssumed):
                self._attempt(function, event, request_id, event_id)
        finally:
            with self._lock:
                del self._deliveries[request_id]

    def _attempt(
        self, function: LambdaFunction, event: bytes, request_id: str, event_id: str | None
    ) -> None:
        attempt = 1
        while not self._closed.is_set():
            # What is deployed by now, and how it wants its events to be handled.
            function = find(function.account_id, function.region, function.function_arn)
            config = function.event_invoke_config[-1].config if function.event_invoke_config else {}
            try:
                outcome = self.invoke(function, event, request_id, attempt, event_id)
            except Throttled:
                self._closed.wait(_THROTTLED_SECONDS)
                continue
            if outcome.succeeded or attempt > config.get("MaximumRetryAttempts", 2):
                return
            self._closed.wait(self.retry_seconds[attempt - 1])
            attempt += 1

    def close(self) -> None:
        """End every environment; what is at work is killed."""
        self._closed.set()
        with self._lock:
            for environment in self._idle:
                environment.end()
            for environment in self._busy:
                environment.kill()
            self._idle.clear()
        _remove(self._directory)

    def _acquire(self, function: LambdaFunction) -> Environment:
        wanted = _specification(function)
        with self._lock:
            # After a reset whoever still asks is turned away.
            if self._closed.is_set():
                raise Throttled
            libraries = Libraries(self._unpack(function), self._runtime, self._machine)
            busy = Counter(e.specification.arn for e in self._busy)[wanted.arn]
            reserved = function.reserved_concurrency
            if reserved is not None and busy >= int(reserved):
                raise Throttled
            environment = self._warm(wanted)
            if environment is None:
                environment = Environment(
                    wanted,
                    libraries,
                    session_of(wanted.account, wanted.region, wanted.role, wanted.name),
                    self._endpoint,
                    Path(tempfile.mkdtemp(prefix="environment-", dir=self._directory)),
                )
                self._owners[environment.credentials.access_key_id] = environment
            self._busy.append(environment)
            return environment

    def _warm(self, wanted: Specification) -> Environment | None:
        for environment in [e for e in self._idle if e.specification.arn == wanted.arn]:
            self._idle.remove(environment)
            if environment.alive and environment.specification == wanted:
                return environment
            environment.end()
        return None

    def _release(self, environment: Environment) -> None:
        with self._lock:
            self._busy.remove(environment)
            if environment.alive and not self._closed.is_set():
                self._idle.append(environment)
            else:
                environment.end()

    def _unpack(self, function: LambdaFunction) -> Path:
        directory = self._directory / f"task-{function.code_digest}"
        if not directory.exists():
            runtime.unpack(function.code_bytes, directory)
        return directory


_served: dict[str, Any] = {}


def fleet() -> Fleet:
    """The fleet of now."""
    fleet: Fleet = _served["fleet"]
    return fleet


def endpoint() -> str:
    """The URL of the cloud."""
    return str(_served["endpoint"])


def serve_at(endpoint: str) -> None:
    """Begin: ``endpoint`` is where the functions will find AWS."""
    _served.update(endpoint=endpoint, fleet=Fleet(endpoint))


def close() -> None:
    """End every environment, if there ever was one."""
    if _served:
        fleet().close()


def reset() -> None:
    """End every environment, and forget every invocation."""
    close()
    serve_at(endpoint())


def function_of(access_key_id: str) -> str | None:
    """The name of the function whose environment holds these credentials."""
    owner = fleet().owner(access_key_id)
    return None if owner is None else owner.specification.name


def pid_of(access_key_id: str) -> int | None:
    """The process of the environment that holds these credentials, while it lives."""
    owner = fleet().owner(access_key_id)
    return None if owner is None else owner.pid


def find(account: str, region: str, name_or_arn: str) -> LambdaFunction:
    """The function as moto has it; its ResourceNotFoundException if there is none."""
    return lambda_backends[account][region].get_function(name_or_arn)


def may_invoke(function: LambdaFunction, service: str, source_arn: str) -> bool:
    """Whether the function's resource policy lets the service invoke it on behalf of this source.

    *Granting Lambda function access to AWS services* (Lambda Developer Guide); AddPermission writes one
    statement with at most a source ARN (ArnLike) and a source account.
    """
    actions = ("lambda:InvokeFunction", "lambda:*")
    return any(allows(function.policy.statements, each, service, source_arn) for each in actions)


def allows(statements: Any, action: str, service: str, source_arn: str) -> bool:
    """Whether a resource policy's statements let the service do that on behalf of this source."""
    account = source_arn.split(":")[4]
    for statement in statements:
        conditions = {
            (operator, key.lower()): value
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
        }
        source = conditions.get(("ArnLike", "aws:sourcearn"), "*")
        owner = conditions.get(("StringEquals", "aws:sourceaccount"), account)
        if (
            statement["Principal"] == {"Service": service}
            and statement["Action"] == action
            and fnmatchcase(source_arn, source)
            and owner == account
        ):
            return True
    return False


class InvocationResponse(LambdaResponse):
    """moto's Lambda, whose functions run."""

    def create_function(self) -> Any:
        """*CreateFunction*."""
        self._check_network(self.json_body["Role"])
        return super().create_function()

    def update_function_configuration(self) -> Any:
        """*UpdateFunctionConfiguration*."""
        name = unquote(self.path.rsplit("/", 2)[-2])
        self._check_network(self.json_body.get("Role") or self.backend.get_function(name).role)
        return super().update_function_configuration()

    def _check_network(self, role: str) -> None:
        if not self.json_body.get("VpcConfig", {}).get("SubnetIds"):
            return
        backend = iam_backends[self.current_account]["aws"]
        policies = identities.policies_of(backend.get_role(role.rsplit("/", 1)[-1]))
        for action in _NETWORK_ACTIONS:
            one = f"arn:aws:ec2:{self.region}:{self.current_account}:network-interface/*"
            resource = "*" if action.startswith("Describe") else one
            decision = authorization.decide(policies, f"ec2:{action}", resource)
            if decision is not authorization.Decision.ALLOWED:
                raise LambdaClientError(
                    "InvalidParameterValueException",
                    f"The provided execution role does not have permissions to call {action} on EC2",
                )

    def invoke(self) -> tuple[int, dict[str, str], str | bytes]:
        """*Invoke*: RequestResponse or Event."""
        name = unquote(self.path.rsplit("/", 2)[-2])
        function = self.backend.get_function(name, self._get_param("Qualifier"))
        event = bytes(self.raw_body) or b"{}"
        if self.headers.get("X-Amz-Invocation-Type") == "Event":
            fleet().deliver(function, event)
            return 202, {"status": "202"}, b""
        try:
            outcome = fleet().invoke(function, event, str(uuid.uuid4()))
        except Throttled:
            headers = {"status": "429", "x-amzn-errortype": "TooManyRequestsException"}
            return 429, headers, json.dumps({"message": "Rate Exceeded."})
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if not outcome.succeeded:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return 200, headers, outcome.payload


def _specification(function: LambdaFunction) -> Specification:
    return Specification(
        account=function.account_id,
        region=function.region,
        name=function.function_name,
        arn=function.function_arn,
        role=function.role,
        handler=str(function.handler),
        runtime=str(function.run_time),
        timeout=int(function.timeout),
        memory=int(function.memory_size),
        variables=tuple(sorted((function.environment_vars or {}).items())),
        code_sha256=function.code_sha_256,
    )


def session_of(account: str, region: str, role: str, name: str) -> Credentials:
    """Assume a role, as a service does for its caller; RoleCannotBeAssumed if there is none."""
    try:
        iam_backends[account]["aws"].get_role_by_arn(role)
    except NotFoundException:
        raise RoleCannotBeAssumed from None
    session = sts_backends[account]["aws"].assume_role(
        region_name=region,
        role_session_name=name,
        role_arn=role,
        policy="",
        duration=_ASSUME_SECONDS,
        external_id="",
    )
    return Credentials(session.access_key_id, session.secret_access_key, session.session_token)


def _put_log(environment: Environment, outcome: Outcome) -> None:
    specification = environment.specification
    logs = logs_backends[specification.account][specification.region]
    logs.ensure_log_group(specification.log_group)
    logs.ensure_log_stream(specification.log_group, environment.log_stream)
    now = int(time.time() * 1000)
    messages = [{"timestamp": now, "message": line} for line in outcome.log.splitlines()]
    logs.put_log_events(specification.log_group, environment.log_stream, messages)


def _remove(directory: Path) -> None:
    for folder, _, _ in os.walk(directory):
        Path(folder).chmod(0o755)
    shutil.rmtree(directory, ignore_errors=True)


def install() -> None:
    """Put the running functions in the place of moto's."""
    for path, handler in urls.url_paths.items():
        if handler == LambdaResponse.dispatch:
            urls.url_paths[path] = InvocationResponse.dispatch


def _set_retries(body: dict[str, Any]) -> dict[str, Any]:
    first, second = (float(seconds) for seconds in body["seconds"])
    fleet().retry_seconds = (first, second)
    return body


ROUTES = {
    ("GET", "/_cloud/invocations"): lambda query: fleet().records(query.get("function", "")),
    ("GET", "/_cloud/deliveries"): lambda _: fleet().deliveries(),
    ("PUT", "/_cloud/retries"): _set_retries,
}
