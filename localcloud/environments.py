"""Execution environments: a function's process and the Runtime API it talks to.

Restores *Understanding the Lambda execution environment lifecycle* and *Using the Lambda runtime API for
custom runtimes* (Lambda Developer Guide): one invocation at a time; an environment stays warm for the next; a
process that exits or runs out of time ends its environment. moto needs Docker for this.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from time import monotonic, time
from typing import Any

from localcloud import clock

# What the init phase may take beside the function's timeout, which begins when an event is fetched.
_INIT_SECONDS = 10.0
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class Specification:
    """A function's code and configuration, by which an environment is made."""

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
        #: Whether it is at work.
        self.is_busy = True
        self._killed = False
        self._clock = directory / "clock"
        self._write_clock()
        self._api = _RuntimeApi(specification)
        # A file, not a pipe: what was written before the answer is all there when the answer is.
        output = directory / "output"
        with output.open("wb") as sink:
            self._process = subprocess.Popen(  # noqa: S603 (to run it is what a package is deployed for)
                [
                    *(sys.executable, "-I", "-S", "-B", str(_BOOTSTRAP), specification.handler),
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
        self._output = output.open("rb")

    @property
    def pid(self) -> int | None:
        """The process, while it lives."""
        return self._process.pid if self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it can be used for another invocation."""
        return not self._killed and self._process.poll() is None

    def kill(self) -> None:
        """End the process, with all those that it may have started."""
        self._killed = True
        # macOS calls it a lack of permission where the process has ended already.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it and close what it uses; only for one that is not at work."""
        self.kill()
        self._process.wait()
        self._output.close()
        self._api.server_close()

    def invoke(self, request_id: str, event: bytes) -> Outcome:
        """Run one invocation; unless it ends in an answer of the function, the environment ends with it."""
        self._write_clock()
        timeout, api = self.specification.timeout, self._api
        api.event, api.answer = (request_id, event), None
        # If the init phase takes too long, it is done again within the function's timeout.
        api.deadline = monotonic() + _INIT_SECONDS + timeout
        # One request at a time: the process asks for an event, and then answers it.
        while api.answer is None and self._process.poll() is None and monotonic() < api.deadline:
            api.handle_request()
        if api.answer:
            succeeded, payload = api.answer
        elif self.alive:
            succeeded, payload = False, _error("Sandbox.Timedout", f"Timed out after {timeout} s")
            self.kill()
        else:
            status = f"exit status {self._process.wait()}"
            succeeded, payload = False, _error("Runtime.ExitError", f"Runtime exited: {status}")
        return Outcome(succeeded, payload, self._output.read().decode(errors="replace"))

    def _write_clock(self) -> None:
        """Tell the process the cloud's time."""
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
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_SESSION_TOKEN": self.credentials.session_token,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "LAMBDA_TASK_ROOT": str(libraries.task),
            "LAMBDA_RUNTIME_DIR": str(libraries.runtime),
            "AWS_ENDPOINT_URL": endpoint,
        }


class _RuntimeApi(TCPServer):
    timeout = 0.05  # after which it is seen whether the process has ended

    def __init__(self, specification: Specification) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.specification = specification
        self.event = ("", b"")
        #: The reading of the monotonic clock at which the process is out of time.
        self.deadline = 0.0
        self.answer: tuple[bool, bytes] | None = None


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    # Head and body are two writes, between which Nagle's algorithm would wait for 40 ms.
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def do_GET(self) -> None:
        """Answer with the next event."""
        request_id, event = self.server.event
        specification = self.server.specification
        self.server.deadline = monotonic() + specification.timeout
        deadline = int((time() + specification.timeout) * 1000)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", specification.arn)
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        """Take an answer; the path ends with response or error."""
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answer = (self.path.endswith("/response"), payload)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the function's log is what matters."""


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
