"""Step Functions: moto's interpreter executes state machines, as far as the after-restore work needs it.

Restores the following, from the Step Functions API reference (*RedriveExecution*) and the Developer Guide (*Redriving
executions*, *IAM policies for integrated services*):

- a redrive continues a failed, stopped or timed-out execution at the state that did not succeed, with that
  state's input, under the same ARN;
- a task calls AWS as the state machine's role, whose policies are evaluated;
- a task waits for a build of CodeBuild (``.sync``). moto's builds succeed without running anything.

Unlike AWS, the results of SDK tasks have botocore's names, and a redriven Map or Parallel state starts again.
"""

import functools
import importlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.core.config import default_user_config
from moto.core.responses import ActionResult
from moto.core.utils import get_service_model
from moto.stepfunctions.responses import StepFunctionResponse

from localcloud.client import make_client
from localcloud.functions import fleet, session_of

Json = dict[str, Any]

#: The executions since the last reset.
started: list[Any] = []
_PARSER = "moto.stepfunctions.parser"
_TASKS = f"{_PARSER}.asl.component.state.exec.state_task.service"


@functools.cache
def _load() -> None:
    """Replace moto's executions and their clients; importing its interpreter takes a second."""
    load: Callable[[str], Any] = importlib.import_module
    # Before other modules of the interpreter import it.
    load(f"{_PARSER}.asl.utils.boto_client").boto_client_for = _client_of_role
    sdk = load(f"{_TASKS}.state_task_service_aws_sdk").StateTaskServiceAwsSdk
    sdk._normalise_parameters = _in_botocores_case  # noqa: SLF001
    unsupported = load(f"{_TASKS}.state_task_service_unsupported")
    unsupported._SUPPORTED_INTEGRATION_PATTERNS.add("sync")  # noqa: SLF001
    build = unsupported.StateTaskServiceUnsupported
    build._normalise_parameters = _in_botocores_case  # noqa: SLF001
    build._build_sync_resolver = _end_of_build  # noqa: SLF001
    load(f"{_PARSER}.models").Execution = load("localcloud.interpreter").Execution


class ExecutionResponse(StepFunctionResponse):
    """moto's Step Functions API with executions that run."""

    @property
    def stepfunction_backend(self) -> Any:
        """Return moto's backend with the interpreter."""
        _load()
        return super().stepfunction_backend

    def redrive_execution(self) -> ActionResult:
        arn = self._get_param("executionArn")
        self.stepfunction_backend.describe_execution(arn).redrive()
        return ActionResult({"redriveDate": datetime.now(UTC)})


def _client_of_role(region: str, service: str, state_credentials: Any) -> Any:
    """Return the client with which a task calls AWS as the state machine's role."""
    session = session_of(region, state_credentials.role_arn, "states")
    once = {"total_max_attempts": 1}
    return make_client(
        fleet.endpoint, session, service, region, parameter_validation=False, retries=once
    )


def _in_botocores_case(task: Any, parameters: Json, *_: Any) -> None:
    """Rename a task's parameters to botocore's: ``DBClusterIdentifier`` for ``DbClusterIdentifier``."""
    service = get_service_model(task.resource.api_name)
    operations = {operation.lower(): operation for operation in service.operation_names}
    operation = service.operation_model(operations[task.resource.api_action.lower()])
    task._to_boto_request(parameters, operation.input_shape)  # noqa: SLF001


def _end_of_build(
    _: Any, env: Any, resource_runtime_part: Any, state_credentials: Any, **_parameters: Any
) -> Callable[[], Json | None]:
    """Wait for CodeBuild, the one service here with ``.sync``; moto's builds always succeed."""
    codebuild = _client_of_role(resource_runtime_part.region, "codebuild", state_credentials)
    build_id = env.stack.pop()["build"]["id"]

    def ended() -> Json | None:
        (build,) = codebuild.batch_get_builds(ids=[build_id])["builds"]
        return {"Build": build} if build["buildStatus"] == "SUCCEEDED" else None

    return ended


def reset() -> None:
    """Stop the executions in progress, which would otherwise continue with the next test's resources."""
    for execution in started:
        if execution.exec_worker.env is not None:
            execution.stop(datetime.now(UTC), None, None)
    started.clear()


def install() -> None:
    """Enable the execution of state machines."""
    # The interpreter logs whole programs when a state fails; the execution's own error is clearer.
    logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
