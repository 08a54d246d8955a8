"""Execution environments: a function's process, and the Runtime API that it calls.

Restores *Understanding the Lambda execution environment lifecycle* and *Using the Lambda runtime API for
custom runtimes* (Lambda Developer Guide): an environment runs one invocation at a time and stays warm for the
next; it ends if its process exits or times out. moto needs Docker for this.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from time import monotonic, time
from typing import Any

from botocore.credentials import Credentials

from localcloud import clock

# The limit of the init phase; the function's timeout begins when an event is fetched.
_INIT_SECONDS = 10.0
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class Outcome:
    """The outcome of an invocation: the function's answer, or the JSON of an error."""

    succeeded: bool
    payload: bytes
    log: str


class Environment:
    """One execution environment, for one invocation at a time.

    ``configuration`` is the answer of GetFunctionConfiguration. The function sees its unpacked package ``task`` and
    the runtime's own packages in the folder ``libraries``.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        task: Path,
        libraries: Path,
        credentials: Credentials,
        endpoint: str,
        directory: Path,
    ) -> None:
        self.configuration = configuration
        self.arn: str = configuration["FunctionArn"]
        self.credentials = credentials
        #: Whether it is running an invocation.
        self.is_busy = True
        self._clock = directory / "clock"
        self._clock.write_text(str(clock.offset()))
        #: The event that the Runtime API returns, its deadline, and its outcome.
        self.event = ("", b"")
        self.deadline = 0.0
        self.answer: tuple[bool, bytes] | None = None
        self._api = TCPServer(("127.0.0.1", 0), functools.partial(_RuntimeApi, self))
        self._api.timeout = 0.05  # how often to look whether the process has ended
        # A file, not a pipe: whatever was written before the answer is complete when the answer arrives.
        output = directory / "output"
        with output.open("wb") as sink:
            self.process = subprocess.Popen(  # noqa: S603 (a package is deployed to be run)
                [
                    *(sys.executable, "-I", "-S", "-B", _BOOTSTRAP, configuration["Handler"]),
                    *(task, libraries / "runtime", libraries / "machine", self._clock),
                ],
                cwd=task,
                env=self._variables(task, libraries, endpoint),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._output = output.open("rb")

    @property
    def alive(self) -> bool:
        """Whether it can be used for another invocation."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill the process and all that it has started."""
        # macOS reports a lack of permission if the process has already ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Kill the process and close its files; not during an invocation."""
        self.kill()
        self._output.close()
        self._api.server_close()

    def invoke(self, request_id: str, event: bytes) -> Outcome:
        """Run one invocation; unless the function answers, the environment ends with it."""
        self._clock.write_text(str(clock.offset()))
        timeout = self.configuration["Timeout"]
        self.event, self.answer = (request_id, event), None
        # If the init phase takes too long, it is repeated within the function's timeout.
        self.deadline = monotonic() + _INIT_SECONDS + timeout
        # One request at a time: the process asks for an event, and then answers it.
        while self.answer is None and self.alive and monotonic() < self.deadline:
            self._api.handle_request()
        if self.answer:
            succeeded, payload = self.answer
        elif self.alive:
            succeeded, payload = False, _error("Sandbox.Timedout", f"Timed out after {timeout} s")
            self.kill()
        else:
            status = f"exit status {self.process.wait()}"
            succeeded, payload = False, _error("Runtime.ExitError", f"Runtime exited: {status}")
        return Outcome(succeeded, payload, self._output.read().decode(errors="replace"))

    def _variables(self, task: Path, libraries: Path, endpoint: str) -> dict[str, str]:
        """Return the variables of *Defined runtime environment variables*, the function's, and the URL."""
        configuration = self.configuration
        region = self.arn.split(":")[3]
        return {
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TZ": ":UTC",
            **configuration.get("Environment", {}).get("Variables", {}),
            "_HANDLER": configuration["Handler"],
            "AWS_DEFAULT_REGION": region,
            "AWS_REGION": region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration['Runtime']}",
            "AWS_LAMBDA_FUNCTION_NAME": configuration["FunctionName"],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_SESSION_TOKEN": self.credentials.token,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "LAMBDA_TASK_ROOT": str(task),
            "LAMBDA_RUNTIME_DIR": str(libraries / "runtime"),
            "AWS_ENDPOINT_URL": endpoint,
        }


class _RuntimeApi(BaseHTTPRequestHandler):
    # Head and body are two writes, between which Nagle's algorithm would wait 40 ms.
    disable_nagle_algorithm = True

    def __init__(self, environment: Environment, *request: Any) -> None:
        self._environment = environment
        super().__init__(*request)

    def do_GET(self) -> None:
        """Answer with the next event."""
        request_id, event = self._environment.event
        timeout = self._environment.configuration["Timeout"]
        self._environment.deadline = monotonic() + timeout
        deadline = int((time() + timeout) * 1000)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", self._environment.arn)
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        """Receive an outcome; the path ends with response or error."""
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self._environment.answer = (self.path.endswith("/response"), payload)

    def log_message(self, *_: Any) -> None:
        """Log nothing; only the function's own log matters."""


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
