"""moto's interpreter of state machines, with redrives; see ``executions.py``.

Importing this module imports the interpreter, which takes a second.
"""

import time
from types import SimpleNamespace
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.flow.start_at import StartAt
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.backend import execution as parser
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

from localcloud import clock
from localcloud.executions import started

_REDRIVABLE = ("FAILED", "ABORTED", "TIMED_OUT")


class Worker(ExecutionWorker):
    """Runs the program from where an earlier attempt ended."""

    at: tuple[str, Any] | None = None  # the state that was entered last, and its input

    def _get_evaluation_entrypoint(self) -> Any:
        program: Any = super()._get_evaluation_entrypoint()
        find = program._get_state  # noqa: SLF001

        def entered(name: str) -> Any:
            assert self.env is not None
            self.at = (name, self.env.states.get_input())
            return find(name)

        program._get_state = entered  # noqa: SLF001
        if self.at:
            program.start_at = StartAt(self.at[0])
        return program

    def _get_evaluation_environment(self) -> Any:
        environment: Any = super()._get_evaluation_environment()
        if self.at:
            environment.states.reset(self.at[1])
        return environment


class Execution(parser.Execution):
    """An execution that can be redriven."""

    exec_worker: Any

    def _get_start_execution_worker(self) -> Any:
        started.append(self)
        return super()._get_start_execution_worker()

    def redrive(self) -> None:
        """Continue at the state that did not succeed, with its input."""
        if self.status not in _REDRIVABLE:
            reason = f"The execution {self.exec_arn} cannot be redriven"
            raise JsonRESTError("ExecutionNotRedrivable", reason)
        worker = self._get_start_execution_worker()
        worker.at = self.exec_worker.at
        self.error = self.cause = self.stop_date = None
        self.exec_worker, self.exec_status = worker, ExecutionStatus.RUNNING
        worker.start()


parser.ExecutionWorker = Worker  # type: ignore[attr-defined]
# A failed task is retried as soon as a failed invocation, whatever interval it specifies.
vars(retrier_decl)["time"] = SimpleNamespace(sleep=lambda _: time.sleep(clock.seconds["retry"]))
