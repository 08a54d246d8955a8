"""Execution environments: a function's process and the Runtime API it talks to.

Restores *Understanding the Lambda execution environment lifecycle* and *Using the Lambda runtime API for
custom runtimes* (Lambda Developer Guide): one invocation at a time; an environment stays warm for the next; a
process that exits or runs out of time ends its environment. moto needs Docker for this.
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

# What the init phase may take beside the function's timeout, which begins when an event is fetched.
_INIT_SECONDS = 10.0
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended: with the function's answer or with an error's JSON."""

    succeeded: bool
    payload: bytes
    log: str


class Environment:
    """One execution environment; not to be used by two invocations at once.

    ``configuration`` is what GetFunctionConfiguration answers. The function sees its unpacked package ``task`` and,
    in the folder ``libraries``, what the runtime has.
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
        #: Whether it is at work.
        self.is_busy = True
        self._clock = directory / "clock"
        self._clock.write_text(str(clock.offset()))
        #: What the Runtime API hands out, until when it may take, and how it was answered.
        self.event = ("", b"")
        self.deadline = 0.0
        self.answer: tuple[bool, bytes] | None = None
        self._api = TCPServer(("127.0.0.1", 0), functools.partial(_RuntimeApi, self))
        self._api.timeout = 0.05  # after which it is seen whether the process has ended
        # A file, not a pipe: what was written before the answer is all there when the answer is.
        output = directory / "output"
        with output.open("wb") as sink:
            self.process = subprocess.Popen(  # noqa: S603 (to run it is what a package is deployed for)
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
        """End the process, with all those that it may have started."""
        # macOS calls it a lack of permission where the process has ended already.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Kill it and close what it uses; only for one that is not at work."""
        self.kill()
        self._output.close()
        self._api.server_close()

    def invoke(self, request_id: str, event: bytes) -> Outcome:
        """Run one invocation; unless it ends in an answer of the function, the environment ends with it."""
        self._clock.write_text(str(clock.offset()))
        timeout = self.configuration["Timeout"]
        self.event, self.answer = (request_id, event), None
        # If the init phase takes too long, it is done again within the function's timeout.
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
        """*Defined runtime environment variables* (Lambda Developer Guide), the function's own, our URL."""
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
    # Head and body are two writes, between which Nagle's algorithm would wait for 40 ms.
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
        """Take an answer; the path ends with response or error."""
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self._environment.answer = (self.path.endswith("/response"), payload)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the function's log is what matters."""


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
