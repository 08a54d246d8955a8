"""Execution environments: a function's process and the Runtime API it talks to.

Restores what *Understanding the Lambda execution environment lifecycle* and *Using the Lambda runtime API for
custom runtimes* (Lambda Developer Guide) state: one invocation at a time; an environment stays warm for the
next; a process that exits or runs out of time ends its environment. moto would want Docker for this.
"""

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

from localcloud import clock

# The Init phase is limited to 10 seconds, and if it takes longer, it is run again at the time of the first
# invocation with the function's time-out. Here it is one process that is given both.
_INIT_SECONDS = 10.0
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_API = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Specification:
    """A function's code and configuration: what an environment is made from, and is stale without."""

    account: str
    region: str
    name: str
    arn: str
    role: str
    handler: str
    runtime: str
    timeout: int
    memory: int
    variables: tuple[tuple[str, str], ...]
    code_sha256: str

    @property
    def log_group(self) -> str:
        """The log group Lambda writes a function's output to."""
        return f"/aws/lambda/{self.name}"


@dataclass(frozen=True)
class Credentials:
    """Temporary credentials of the function's role."""

    access_key_id: str
    secret_access_key: str
    session_token: str


@dataclass(frozen=True)
class Libraries:
    """The directories a function's process sees: its package, the runtime's packages, the machine's."""

    task: Path
    runtime: Path
    machine: Path


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended: with the function's answer or with an error's JSON."""

    succeeded: bool
    payload: bytes
    log: str
    cold: bool


@dataclass(frozen=True)
class _Event:
    request_id: str
    body: bytes


@dataclass(frozen=True)
class _Signal:
    kind: str  # taken, response, error, init-error, or exit
    payload: bytes = b""


class Environment:
    """One execution environment; not to be used by two invocations at once."""

    def __init__(
        self,
        specification: Specification,
        libraries: Libraries,
        credentials: Credentials,
        endpoint: str,
        directory: Path,
    ) -> None:
        self.specification = specification
        self.credentials = credentials
        self.log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}"
        self._events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._signals: queue.SimpleQueue[_Signal] = queue.SimpleQueue()
        self._cold = True
        self._killed = False
        self._clock = directory / "clock"
        self._tell_clock()
        self._api = _RuntimeApi(self)
        try:
            self._process = self._start(libraries, endpoint, directory / "output")
        except BaseException:
            self._api.server_close()
            raise
        self._output = (directory / "output").open("rb")
        threading.Thread(target=self._api.serve_forever, args=(0.1,), daemon=True).start()
        threading.Thread(target=self._await_exit, daemon=True).start()

    @property
    def pid(self) -> int | None:
        """The process, while it lives."""
        return self._process.pid if self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it can be used for another invocation."""
        return not self._killed and self._process.poll() is None

    def kill(self) -> None:
        """End it, with all processes it may have started."""
        self._killed = True
        # macOS calls it a lack of permission where the process has ended already.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it and let go of its log; only for one that is not at work."""
        self.kill()
        self._output.close()

    def invoke(self, request_id: str, event: bytes) -> Outcome:
        """Run one invocation. Unless it ends in an answer of the function, the environment ends with it."""
        cold, self._cold = self._cold, False
        began = time.monotonic()
        self._events.put(_Event(request_id, event))
        succeeded, payload = self._await_answer(request_id)
        milliseconds = (time.monotonic() - began) * 1000
        log = (
            f"START RequestId: {request_id} Version: $LATEST\n"
            f"{self._output.read().decode(errors='replace')}"
            f"END RequestId: {request_id}\n"
            f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Memory Size: {self.specification.memory} MB\n"
        )
        return Outcome(succeeded, payload, log, cold)

    def _start(self, libraries: Libraries, endpoint: str, output: Path) -> subprocess.Popen[bytes]:
        # A file, not a pipe: what was written before the answer is all there when the answer is.
        with output.open("ab") as sink:
            return subprocess.Popen(  # noqa: S603 (to run it is what a package is deployed for)
                [
                    *(sys.executable, "-I", "-S", "-B", str(_BOOTSTRAP)),
                    self.specification.handler,
                    *(str(libraries.task), str(libraries.runtime), str(libraries.machine)),
                    str(self._clock),
                ],
                cwd=libraries.task,
                env=self._variables(libraries, endpoint),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _await_answer(self, request_id: str) -> tuple[bool, bytes]:
        timeout = self.specification.timeout
        try:
            answer = self._signals.get(timeout=_INIT_SECONDS + timeout)
            if answer.kind == "taken":
                answer = self._signals.get(timeout=timeout)
        except queue.Empty:
            self.kill()
            return False, _error(
                "Sandbox.Timedout", request_id, f"Task timed out after {timeout:.2f} seconds"
            )
        if answer.kind == "exit":
            words = f"Runtime exited with error: exit status {self._process.wait()}"
            return False, _error("Runtime.ExitError", request_id, words)
        if answer.kind == "init-error":
            self.kill()
        return answer.kind == "response", answer.payload

    def _await_exit(self) -> None:
        self._process.wait()
        self._signals.put(_Signal("exit"))
        self._events.put(None)
        self._api.shutdown()
        self._api.server_close()

    def _tell_clock(self) -> None:
        self._clock.write_text(str(clock.offset()))

    def _variables(self, libraries: Libraries, endpoint: str) -> dict[str, str]:
        """*Defined runtime environment variables* (Lambda Developer Guide), the function's own, our URL."""
        specification = self.specification
        return {
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TZ": ":UTC",
            **dict(specification.variables),
            "_HANDLER": specification.handler,
            "AWS_DEFAULT_REGION": specification.region,
            "AWS_REGION": specification.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{specification.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": specification.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(specification.memory),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": specification.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_SESSION_TOKEN": self.credentials.session_token,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "LAMBDA_TASK_ROOT": str(libraries.task),
            "LAMBDA_RUNTIME_DIR": str(libraries.runtime),
            "AWS_ENDPOINT_URL": endpoint,
        }

    # The Runtime API's side.

    def next_event(self) -> _Event | None:
        """The next event, when there is one; None when the environment has ended."""
        event = self._events.get()
        if event is not None:
            self._tell_clock()
            self._signals.put(_Signal("taken"))
        return event

    def answer(self, kind: str, payload: bytes) -> None:
        """Take the process's answer."""
        self._signals.put(_Signal(kind, payload))


class _RuntimeApi(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.environment = environment


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes, between which Nagle's algorithm would wait for 40 ms.
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def handle(self) -> None:
        """Serve the process until it ends; one that is killed resets its connection."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with the next event."""
        environment = self.server.environment
        event = environment.next_event()
        if event is None:
            self.close_connection = True
            return
        specification = environment.specification
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + specification.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": specification.arn,
        }
        self._send(200, headers, event.body)

    def do_POST(self) -> None:
        """Take an answer, of which the path tells the kind."""
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        init = self.path == f"{_API}/init/error"
        kind = "init-error" if init else self.path.rpartition("/")[2]
        self.server.environment.answer(kind, payload)
        self._send(202, {"Content-Type": "application/json"}, b'{"status":"OK"}')

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the function's log is what matters."""


def _error(kind: str, request_id: str, message: str) -> bytes:
    report = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    return json.dumps(report).encode()
