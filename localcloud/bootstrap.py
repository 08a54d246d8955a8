"""Start a function's process. This is a script of its own, which cannot import this package.

It sets ``sys.path`` as the Lambda runtime does, keeps the process's clock in step with the cloud's, and hands over to
Lambda's runtime client, awslambdaric. That has no wheel for macOS, where a loop in this script uses the same API:
*Using the Lambda runtime API for custom runtimes*, Lambda Developer Guide.
"""

import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Clock:
    """The process's clock, which is ahead of real time by the offset in a file."""

    def __init__(self, machine: str, file: Path) -> None:
        self._machine = machine
        self._file = file
        self._travel: Any = None

    def follow(self) -> None:
        """Set the clock to the offset in the file."""
        if self._travel is not None:
            self._travel.stop()
            self._travel = None
        offset = float(self._file.read_text())
        if offset:
            self._travel = self._import_time_machine().travel(time.time() + offset, tick=True)
            self._travel.start()

    def _import_time_machine(self) -> Any:
        """Import it from a directory that the function does not see: it is not part of the runtime."""
        sys.path.insert(0, self._machine)
        try:
            return importlib.import_module("time_machine")
        finally:
            sys.path.remove(self._machine)


def run_awslambdaric(handler: str, clock: Clock) -> None:
    """Run Lambda's own runtime client, which sets the clock before it handles an event."""
    bootstrap = importlib.import_module("awslambdaric.bootstrap")
    client = importlib.import_module("awslambdaric.lambda_runtime_client")

    class Client(client.LambdaRuntimeClient):  # type: ignore[misc, name-defined]
        def wait_next_invocation(self) -> Any:
            request = super().wait_next_invocation()
            clock.follow()
            return request

    bootstrap.run(handler, Client(os.environ["AWS_LAMBDA_RUNTIME_API"]))


def run_plainly(handler: str, clock: Clock) -> None:
    """Do the same on a machine for which awslambdaric has no wheel."""
    module, _, name = handler.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    request = importlib.import_module("urllib.request")
    # On macOS, the system's settings may name a proxy, which cannot reach the loopback interface.
    send = request.build_opener(request.ProxyHandler({})).open
    api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
    while True:
        with send(f"{api}/next") as invocation:
            event = json.load(invocation)
        request_id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
        clock.follow()
        try:
            result = function(event, SimpleNamespace(aws_request_id=request_id))
            ending = "response"
        except Exception as error:  # noqa: BLE001 (a handler may raise anything)
            traceback.print_exc()
            result = {"errorMessage": str(error), "errorType": type(error).__name__}
            ending = "error"
        send(f"{api}/{request_id}/{ending}", json.dumps(result).encode()).close()


def main() -> None:
    """Run the handler. Arguments: the handler, the folders of package, runtime and machine, and the clock's file."""
    handler, task, runtime, machine, clock_file = sys.argv[1:]
    sys.argv = [handler]
    # Python runs isolated, so the script's own directory is not on it.
    sys.path[:] = [task, runtime, *sys.path]
    clock = Clock(machine, Path(clock_file))
    clock.follow()
    if importlib.util.find_spec("runtime_client"):
        run_awslambdaric(handler, clock)
    else:
        run_plainly(handler, clock)


if __name__ == "__main__":
    main()
