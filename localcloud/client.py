"""Start a local cloud, control it, and make clients of it.

with LocalCloud.start() as cloud:
    cloud.client("ssm").put_parameter(Name="latest", Value="dummyvalue", Type="String")
"""

import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, REGION, Key, key_of

T = TypeVar("T")
Json = dict[str, Any]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0
# The settings that a session would read from the user's own variables and files.
_IMPERSONAL = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


class LocalCloud:
    """A running local cloud.

    ``endpoint`` is its URL, ``region`` its usual Region. Methods that control it raise ValueError, with the
    cloud's own message, if it refuses.
    """

    region = REGION

    def __init__(self, endpoint: str, process: subprocess.Popen[str] | None = None) -> None:
        self.endpoint = endpoint
        self._process = process
        self._clients: dict[tuple[str, Key, str], Any] = {}

    @classmethod
    def start(cls, log: Path | None = None) -> Self:
        """Start a local cloud and wait until it answers; its log goes to the file or to standard error."""
        with log.open("w") if log else contextlib.nullcontext() as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "localcloud", "--until-eof"],
                cwd=Path(__file__).parents[1],
                env=variables.cleared(os.environ),
                # Open as long as this process runs, so that the server ends with it, even if it is killed.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                # Ctrl-C must not end the server before this process has stopped it.
                start_new_session=True,
            )
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            raise RuntimeError("the local cloud did not start")
        return cls(endpoint, process)

    def stop(self) -> None:
        """Stop the cloud, and with it every function's process."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self, account: str = ACCEPTANCE, user: str = "admin") -> dict[str, str]:
        """Return the environment variables with which any AWS tool calls this cloud as that user."""
        return variables.of(self.endpoint, key_of(account, user))

    def client(
        self, service: str, account: str = ACCEPTANCE, user: str = "admin", region: str = REGION
    ) -> Any:
        """Return a boto3 client of this cloud; the same one each time, because creating one is slow."""
        key = key_of(account, user)
        if (service, key, region) not in self._clients:
            made = make_client(self.endpoint, key.credentials(), service, region)
            self._clients[service, key, region] = made
        return self._clients[service, key, region]

    # --- the control surface ----------------------------------------------------------------------

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the control of that name, which is a function of the server with ``@control``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *positional, **named: self._control(name, positional, named)

    def now(self) -> datetime:
        """Return the time of the cloud's clock."""
        return datetime.fromisoformat(self.clock())

    def wait_for_execution(self, arn: str) -> Json:
        """Wait until a state machine's execution has ended, and describe it."""
        stepfunctions = self.client("stepfunctions", arn.split(":")[4])

        def ended() -> Json | None:
            described: Json = stepfunctions.describe_execution(executionArn=arn)
            return None if described["status"] == "RUNNING" else described

        return wait_until(ended, f"execution {arn} to end")

    def wait_until_held(self, pipeline: str, at: str) -> None:
        """Wait until a run is held there."""
        wait_until(lambda: self.is_held(pipeline, at), f"a run of {pipeline} to be held at {at}")

    def wait_for_run(self, execution_id: str, pipeline: str) -> str:
        """Wait until a pipeline's run has ended, and return its status."""
        codepipeline = self.client("codepipeline")

        def ended() -> str | None:
            run = {"pipelineName": pipeline, "pipelineExecutionId": execution_id}
            status: str = codepipeline.get_pipeline_execution(**run)["pipelineExecution"]["status"]
            return None if status == "InProgress" else status

        return wait_until(ended, f"run {execution_id} of {pipeline} to end")

    def _control(self, name: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        arguments = {"positional": positional, "named": named}
        body = json.dumps(arguments, default=datetime.isoformat).encode()
        status, text = send("POST", f"{self.endpoint}/_cloud/{name}", body, {})
        answer = json.loads(text)
        if status != 200:
            raise ValueError(answer)
        return answer


def make_client(
    endpoint: str, credentials: Credentials, service: str, region: str, **config: Any
) -> Any:
    """Return a boto3 client of a cloud, which ignores the user's own settings."""
    return _session().client(  # type: ignore[call-overload]
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        # The machine's proxies cannot reach the loopback interface.
        config=Config(proxies={}, **config),
    )


@functools.cache
def _session() -> boto3.session.Session:
    core = botocore.session.Session(_IMPERSONAL)
    return boto3.session.Session(botocore_session=core)


def send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, str]:
    """Send an HTTP request as it is; return the status and the answer's text."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    try:
        connection.request(method, url.removeprefix(f"http://{parts.netloc}"), body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def wait_until(done: Callable[[], T | None], what: str, timeout: float = 60) -> T:
    """Wait until a function returns a true value, and return it."""
    deadline = monotonic() + timeout
    while monotonic() < deadline:
        result = done()
        if result:
            return result
        sleep(_POLL_SECONDS)
    raise TimeoutError(f"waited {timeout} s for {what}")
