"""moto's interpreter of state machines with redrives and events; ``executions.py`` says which rules those are.

To import this imports the interpreter, which takes a second.
"""

import threading
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

from moto.core.exceptions import AWSError
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.flow.start_at import StartAt
from moto.stepfunctions.parser.backend import execution as parser
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

from localcloud import executions, rules

_REDRIVABLE = ("FAILED", "ABORTED", "TIMED_OUT")
_REDRIVABLE_FOR = timedelta(days=14)


class _ExecutionNotRedrivable(AWSError):
    TYPE = "ExecutionNotRedrivable"
    STATUS = 400


class Worker(ExecutionWorker):
    """Runs the program, from where an earlier attempt ended."""

    at: tuple[str, Any] | None = None
    variables: Any = None

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
            environment.variable_store = self.variables
        return environment

    def start(self) -> None:
        self.thread = threading.Thread(target=self._execution_logic, daemon=True)
        self.thread.start()

    def stop(self, stop_date: datetime, error: str | None, cause: str | None) -> None:
        while self.env is None and self.thread.is_alive():
            sleep(0.01)  # it parses the definition
        if self.env is not None:
            super().stop(stop_date, error, cause)


class _Communication(parser.BaseExecutionWorkerCommunication):
    execution: "Execution"
    worker: Worker

    def terminated(self) -> None:
        # Neither stopped meanwhile, nor redriven since.
        if self.execution.status == "RUNNING" and self.execution.exec_worker is self.worker:
            super().terminated()
            self.execution.announce()


class Execution(parser.Execution):
    """An execution whose changes are announced, and that can be redriven."""

    exec_worker: Any
    redrive_count = 0
    redrive_date: datetime | None = None

    def _get_start_execution_worker(self) -> Any:
        made: Any = super()._get_start_execution_worker()
        communication = _Communication(self)
        communication.worker = Worker(
            made._evaluation_details,  # noqa: SLF001
            communication,
            made._cloud_watch_logging_session,  # noqa: SLF001
            made._activity_store,  # noqa: SLF001
        )
        return communication.worker

    def start(self) -> None:
        executions.started.append(self)
        self._run(self._get_start_execution_worker())

    def stop(self, stop_date: datetime, error: str | None, cause: str | None) -> None:
        if self.status != "RUNNING":
            return
        super().stop(stop_date, error, cause)
        self.exec_status = ExecutionStatus.ABORTED
        self.stop_date, self.error, self.cause = stop_date, error, cause
        self.announce()

    def redrive(self) -> datetime:
        now = datetime.now(UTC)
        if self.status not in _REDRIVABLE or now - (self.stop_date or now) > _REDRIVABLE_FOR:
            raise _ExecutionNotRedrivable(f"The execution {self.exec_arn} cannot be redriven")
        worker = self._get_start_execution_worker()
        worker.at, worker.variables = self.exec_worker.at, self.exec_worker.env.variable_store
        self.error = self.cause = self.stop_date = None
        self.redrive_count, self.redrive_date = self.redrive_count + 1, now
        self._run(worker)
        return now

    def _run(self, worker: Any) -> None:
        self.exec_worker = worker
        self.exec_status = ExecutionStatus.RUNNING
        self.announce()
        worker.start()

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {**self.to_describe_output()}
        redrivable = self.status in _REDRIVABLE
        return {
            **described,
            "redriveCount": self.redrive_count,
            "redriveDate": self.redrive_date,
            "redriveStatus": "REDRIVABLE" if redrivable else "NOT_REDRIVABLE",
        }

    def announce(self) -> None:
        described = self.describe()
        for name in ("redriveStatus", "traceHeader"):
            del described[name]
        detail = dict.fromkeys(("output", "outputDetails", "error", "cause")) | {
            name: int(value.timestamp() * 1000) if isinstance(value, datetime) else value
            for name, value in described.items()
        }
        event = {
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "resources": [self.exec_arn],
            "detail": detail,
        }
        rules.publish(self.account_id, self.region_name, event)
