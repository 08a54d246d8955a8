"""What runs first in a function's process; a script of its own, which cannot see this package.

It arranges ``sys.path`` as the Lambda runtime does (the function's package, the runtime's own packages, the
standard library), lets the process's clock follow the cloud's, and hands over to Lambda's runtime client,
awslambdaric. Where awslambdaric has no wheel (macOS) a loop of its own speaks the same Runtime API
(*Using the Lambda runtime API for custom runtimes*, Lambda Developer Guide), so that the package still runs
in a process like the one it will run in, though not in the very client.

``time_machine`` is the machine's clock and no part of the runtime: it is looked up in a directory that the
function cannot import from.
"""

import http.client
import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


class Clock:
    """The process's clock, as far ahead of the world's as the file says."""

    def __init__(self, machine: str, file: Path) -> None:
        self._machine = machine
        self._file = file
        self._travel: Any = None

    def follow(self) -> None:
        """Take over the offset which the file tells now."""
        offset = float(self._file.read_text())
        if self._travel is not None:
            self._travel.stop()
            self._travel = None
        if offset:
            time_machine = self._import_time_machine()
            self._travel = time_machine.travel(time.time() + offset, tick=True)
            self._travel.start()

    def _import_time_machine(self) -> Any:
        path = sys.path[:]
        sys.path[:] = [self._machine, *(entry for entry in path if entry in _STANDARD_LIBRARY)]
        try:
            return importlib.import_module("time_machine")
        finally:
            sys.path[:] = path


_STANDARD_LIBRARY = tuple(sys.path)


def run_awslambdaric(handler: str, clock: Clock) -> None:
    """Lambda's own runtime client, which sets the clock before it handles an event."""
    bootstrap = importlib.import_module("awslambdaric.bootstrap")
    client = importlib.import_module("awslambdaric.lambda_runtime_client")
    configuration = importlib.import_module("awslambdaric.lambda_config")
    config = configuration.LambdaConfigProvider([sys.argv[0], handler])

    class Client(client.LambdaRuntimeClient):  # type: ignore[misc, name-defined]
        def wait_next_invocation(self) -> Any:
            request = super().wait_next_invocation()
            clock.follow()
            return request

    bootstrap.run(config.handler, Client(config.api_address, config.use_thread_polling))


def run_plainly(handler: str, clock: Clock) -> None:
    """The same for a machine that awslambdaric has no wheel for."""
    module, _, name = handler.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 (a module may raise anything while it is imported)
        kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else _kind(error)
        text = f"Unable to import module '{module}': {error}"
        _call("POST", "init/error", {"errorMessage": text, "errorType": kind})
        sys.exit(1)
    while True:
        headers, event = _call("GET", "invocation/next")
        request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        clock.follow()
        try:
            result = function(json.loads(event), _Context(headers))
            json.dumps(result)
        except Exception as error:  # noqa: BLE001 (whatever a handler raises is its answer)
            traceback.print_exc()
            report = {
                "errorMessage": str(error),
                "errorType": _kind(error),
                "requestId": request_id,
                "stackTrace": traceback.format_tb(error.__traceback__)[1:],
            }
            _call("POST", f"invocation/{request_id}/error", report)
        else:
            _call("POST", f"invocation/{request_id}/response", result)


class _Context:
    """The documented attributes of a Python function's context object."""

    def __init__(self, headers: http.client.HTTPMessage) -> None:
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = None
        self.client_context = None
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self) -> int:
        return max(self._deadline_ms - int(time.time() * 1000), 0)


def _kind(error: Exception) -> str:
    return type(error).__name__


def _call(method: str, path: str, body: Any = None) -> tuple[http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, f"/2018-06-01/runtime/{path}", json.dumps(body))
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.headers, content


def main() -> None:
    """Arguments: the handler, the function's package, the runtime's packages, the machine's, the clock."""
    handler, task, runtime, machine, clock_file = sys.argv[1:]
    sys.argv = [handler]
    # The script's own directory is not on it, as Python is run isolated.
    sys.path[:] = [task, runtime, *_STANDARD_LIBRARY]
    clock = Clock(machine, Path(clock_file))
    clock.follow()
    if importlib.util.find_spec("runtime_client"):
        run_awslambdaric(handler, clock)
    else:
        run_plainly(handler, clock)


if __name__ == "__main__":
    main()
