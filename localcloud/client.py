"""A handle on a local cloud: starts it, steers it, and makes clients of it.

with LocalCloud.start() as cloud:
    cloud.client("ssm").put_parameter(Name="latest", Value="dummyvalue", Type="String")
"""

import contextlib
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
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from localcloud import variables
from localcloud.accounts import ACCEPTANCE, REGION, Key, key_of

T = TypeVar("T")
Json = dict[str, Any]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0
_NOTHING = (None, None, None, None)
# What a session would read from the user's own variables and files.
_IMPERSONAL = {
    "profile": _NOTHING,
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


class LocalCloud:
    """A running local cloud.

    ``endpoint`` is its URL, ``region`` its usual Region. Methods that steer it raise ValueError with the
    cloud's own words if it refuses.
    """

    region = REGION

    def __init__(self, endpoint: str, process: subprocess.Popen[str] | None = None) -> None:
        self.endpoint = endpoint
        self._process = process
        core = botocore.session.Session(_IMPERSONAL)
        self._session = boto3.session.Session(botocore_session=core)
        self._clients: dict[tuple[str, Key, str], Any] = {}

    @classmethod
    def start(cls, log: Path | None = None) -> Self:
        """Start a local cloud and wait until it answers; its log goes to the file, or to our own stderr."""
        with log.open("w") if log else contextlib.nullcontext() as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "localcloud", "--until-eof"],
                cwd=Path(__file__).parents[1],
                env=variables.cleared(os.environ),
                # Held open as long as we live: its end is the server's end, even if we are killed.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                # Ctrl-C is for us, who stop the server when we have no more need of it.
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
        """Return the environment variables with which any AWS tool talks to this cloud as that user."""
        return variables.of(self.endpoint, key_of(account, user))

    def client(
        self, service: str, account: str = ACCEPTANCE, user: str = "admin", region: str = REGION
    ) -> Any:
        """Return a boto3 client of this cloud; the same one each time, because making one takes long."""
        key = key_of(account, user)
        if (service, key, region) not in self._clients:
            self._clients[service, key, region] = self._session.client(  # type: ignore[call-overload]
                service,
                region_name=region,
                endpoint_url=self.endpoint,
                aws_access_key_id=key.access_key_id,
                aws_secret_access_key=key.secret_access_key,
                # No proxy of the machine's environment leads to the loopback interface.
                config=Config(proxies={}),
            )
        return self._clients[service, key, region]

    # --- the control surface ----------------------------------------------------------------------

    def reset(self) -> None:
        """Put everything back to the start."""
        self._control("POST", "reset")

    def set_clock(self, now: datetime | None) -> None:
        """Set the cloud's clock, which ticks on from there; None: real time again."""
        self._control("PUT", "clock", {"now": now and now.isoformat()})

    def now(self) -> datetime:
        """Return the time by the cloud's clock."""
        return datetime.fromisoformat(self._control("GET", "clock")["now"])

    def seed_snapshots(self, snapshots: Sequence[Mapping[str, Any]]) -> Any:
        """Create cluster snapshots; ``created`` may be a datetime.

        Another account can use an encrypted one (``kms_key_id``) if it is among ``kms_granted_to``. One of
        ``sse_rds`` is under a key that AWS owns. One with ``rows`` holds what its cluster holds now, any
        other holds nothing. ``region`` is where it is, if that is not the usual one.
        """
        return self._control("POST", "snapshots", [_plain(snapshot) for snapshot in snapshots])

    def patch_snapshot(self, arn: str, **changes: Any) -> Any:
        """Change a snapshot's status, create time, or the accounts that it or its key is shared with.

        For all copies: ``copy_seconds``, ``copies_keep_date`` and ``encrypts_sse_rds`` say how they are made.
        """
        return self._control("PATCH", "snapshots", {"arn": arn, **_plain(changes)})

    def sql(self, cluster: str, statements: str, account: str = ACCEPTANCE) -> list[Json]:
        """Run SQL in an Aurora PostgreSQL cluster as its master user; returns the last one's rows."""
        body = {"cluster": cluster, "sql": statements, "account": account}
        rows: list[Json] = self._control("POST", "rows", body)
        return rows

    def database_address(self, cluster: str, account: str = ACCEPTANCE) -> Json:
        """Return host, port, dbname and user with which psql reaches a cluster; no password is asked."""
        address: Json = self._control("GET", "rows", cluster=cluster, account=account)
        return address

    def create_pipeline(
        self, name: str, run_seconds: float, databases: Sequence[Mapping[str, str]], **more: Any
    ) -> Any:
        """Create the main pipeline, which restores each database from the snapshot its parameter names.

        A database has a ``parameter`` and a ``cluster``, and may have ``engine`` and ``engine_version``.
        ``more`` is the ``stack``, by default of the pipeline's name; the ``stages``, by default Source,
        Build, Deploy and Test; and what :meth:`patch_pipeline` takes.
        """
        body = {"name": name, "run_seconds": run_seconds, "databases": list(databases), **more}
        return self._control("POST", "pipelines", body)

    def patch_pipeline(self, name: str, **changes: Any) -> Any:
        """Change how a pipeline's runs go.

        - ``run_seconds``: half of it in each Build and half in each Deploy action;
          ``action_seconds``: those of actions by name;
        - ``next_outcomes`` of the next runs, retries and roll-backs: Succeeded, ``Failed in NAME`` (a stage
          or an action), ``Skip STAGE``; Failed is in Build;
        - ``hold``: where runs wait until this is changed: at the start of an action, ``NAME`` (a stage or
          an action), or while the new clusters of one that deploys are being made, ``NAME:restoring``;
        - ``loses_events``: whether EventBridge delivers none of the events;
        - ``template`` and its ``parameters``: what the next runs deploy.
        """
        return self._control("PATCH", "pipelines", {"name": name, **changes})

    def wait_for_execution(self, arn: str) -> Json:
        """Wait until a state machine's execution has ended, and describe it."""
        stepfunctions = self.client("stepfunctions", arn.split(":")[4])

        def ended() -> Json | None:
            described: Json = stepfunctions.describe_execution(executionArn=arn)
            return None if described["status"] == "RUNNING" else described

        return _wait(ended, f"execution {arn} to end")

    def wait_until_held(self, pipeline: str, at: str) -> str:
        """Wait until a run is held there, and return its id."""

        def held() -> str | None:
            runs = self._control("GET", "pipelines/held", name=pipeline)
            return next((run["execution_id"] for run in runs if run["at"] == at), None)

        return _wait(held, f"a run of {pipeline} to be held at {at}")

    def wait_for_run(self, execution_id: str, pipeline: str) -> str:
        """Wait until a pipeline's run has ended, and return its status."""
        codepipeline = self.client("codepipeline")

        def ended() -> str | None:
            answer = codepipeline.get_pipeline_execution(
                pipelineName=pipeline, pipelineExecutionId=execution_id
            )
            status: str = answer["pipelineExecution"]["status"]
            return None if status in ("InProgress", "Stopping") else status

        return _wait(ended, f"run {execution_id} of {pipeline} to end")

    def confirm_subscription(self, endpoint: str) -> None:
        """Let the person behind an e-mail address, or what is behind a URL, confirm its subscriptions."""
        self._control("POST", "subscriptions/confirm", {"endpoint": endpoint})

    def fire(
        self,
        function: str,
        time: datetime,
        event_id: str | None = None,
        wait: bool = True,
        account: str = ACCEPTANCE,
    ) -> list[Json]:
        """Let the schedules that target ``function`` (or a function whose name ends so) fire for ``time``.

        Returns the event's invocations, each attempt one record; all of them, unless ``wait`` is false.
        """
        body = {"function": function, "time": time.isoformat(), "id": event_id, "account": account}
        fired = self._control("POST", "schedules/fire", body)["event_id"]
        if wait:
            self.wait_until_idle()
        return [record for record in self.invocations() if record["event_id"] == fired]

    def invocations(self, function: str = "") -> list[Json]:
        """Return what ran, one record for each attempt, oldest first; of functions whose names end so."""
        records: list[Json] = self._control("GET", "invocations", function=function)
        return records

    def set_retries(self, seconds: Sequence[float]) -> None:
        """Set the delays before the two further attempts of a failed asynchronous invocation."""
        self._control("PUT", "retries", {"seconds": list(seconds)})

    def wait_until_idle(self) -> None:
        """Wait until no asynchronous invocation is running, or waits for its next attempt."""
        _wait(lambda: self._control("GET", "deliveries") == 0, "every event's delivery to end")

    def calls(self, function: str = "") -> list[Json]:
        """Return the journal of AWS calls, oldest first; of functions whose names end so."""
        journal: list[Json] = self._control("GET", "calls", function=function)
        return journal

    def clear_calls(self) -> None:
        """Empty the journal."""
        self._control("DELETE", "calls")

    def set_stack_seconds(self, seconds: float) -> None:
        """Set how long it takes to create, update or delete a stack."""
        self._control("PUT", "stacks", {"seconds": seconds})

    def set_faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Replace the list of faults."""
        self._control("PUT", "faults", list(faults))

    def _control(self, method: str, route: str, body: Any = None, **query: str) -> Any:
        url = f"{self.endpoint}/_cloud/{route}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        status, text = send(method, url, data, {"Content-Type": "application/json"})
        answer = json.loads(text)
        if status != 200:
            raise ValueError(answer["error"])
        return answer

    # --- the deployed API -------------------------------------------------------------------------

    def rest_url(self) -> str | None:
        """Return the base URL of the API's deployed stage, without a trailing slash; None if there is none."""
        apigateway = self.client("apigateway")
        for api in apigateway.get_rest_apis()["items"]:
            for stage in apigateway.get_stages(restApiId=api["id"])["item"]:
                return f"{self.endpoint}/_aws/execute-api/{api['id']}/{stage['stageName']}"
        return None

    def signed(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the deployed API as acceptance's admin; returns the status and the answer's JSON."""
        key = key_of(ACCEPTANCE)
        url = f"{self.rest_url()}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = AWSRequest(method=method, url=url, data=data, headers=headers)
        credentials = Credentials(key.access_key_id, key.secret_access_key)
        SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
        status, text = send(method, url, data, dict(request.headers))
        return status, json.loads(text)


def send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, str]:
    """Send an HTTP request as it is; returns the status and the answer's text."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    try:
        connection.request(method, url.removeprefix(f"http://{parts.netloc}"), body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _plain(values: Mapping[str, Any]) -> Json:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _wait(done: Callable[[], T | None], what: str, timeout: float = 60) -> T:
    deadline = monotonic() + timeout
    while monotonic() < deadline:
        result = done()
        if result:
            return result
        sleep(_POLL_SECONDS)
    raise TimeoutError(f"waited {timeout} s for {what}")
