"""CodePipeline's API, and what a test may do to a pipeline.

moto's executions have succeeded as soon as they are started, and it knows no stages, actions or roll-backs. The
rules of a run are in ``runs.py``; restored here, from the CodePipeline API reference (botocore's ``codepipeline``
model), are the operations on runs: equal ``clientRequestToken``s start one run, and what the state of a run does not
permit is refused. What a pipeline deploys, a test says by ``patch_pipeline``.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from moto.codepipeline.models import CodePipeline, codepipeline_backends
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.exceptions import JsonRESTError

from localcloud import accounts
from localcloud.controls import control
from localcloud.runs import SUCCEEDED, Behaviour, Json, Run, runs_of

_STEERED = {"run_seconds", "action_seconds", "loses_events", "hold", "next_outcomes"}
_TOKEN = re.compile(r"[a-zA-Z0-9-]{1,128}")

_behaviours: WeakKeyDictionary[CodePipeline, Behaviour] = WeakKeyDictionary()


def behaviour_of(pipeline: CodePipeline) -> Behaviour:
    """Return what the pipeline does; one made through the API alone deploys nothing."""
    return _behaviours.setdefault(pipeline, Behaviour())


class RunningCodePipelineResponse(CodePipelineResponse):
    """moto's CodePipeline API, whose executions run."""

    def start_pipeline_execution(self) -> str:
        """StartPipelineExecution; a client that sends no token has every request taken for a new one."""
        pipeline, behaviour = self._pipeline("name")
        token = self._get_param("clientRequestToken", str(uuid4()))
        if not _TOKEN.fullmatch(token):
            raise JsonRESTError(
                "ValidationException", f"Value '{token}' at 'clientRequestToken' is invalid"
            )
        with behaviour.changed:
            if token in behaviour.tokens:
                return _execution(behaviour.tokens[token])
            run = Run(pipeline, behaviour, "StartPipelineExecution")
            behaviour.tokens[token] = run.pipeline_execution_id
            run.start(pipeline.pipeline["stages"])
        return _execution(run.pipeline_execution_id)

    def stop_pipeline_execution(self) -> str:
        """StopPipelineExecution, when the action in progress has completed."""
        pipeline, behaviour = self._pipeline()
        run = self._run(pipeline, "pipelineExecutionId")
        with behaviour.changed:
            if run.ended:
                raise JsonRESTError("PipelineExecutionNotStoppableException", f"It is {run.status}")
            if run.status == "Stopping":
                raise JsonRESTError("DuplicatedStopRequestException", "It is stopping")
            run.change("Stopping")
        return _execution(run.pipeline_execution_id)

    def retry_stage_execution(self) -> str:
        """RetryStageExecution: the stage in which a run failed, and what follows."""
        pipeline, behaviour = self._pipeline()
        stages = pipeline.pipeline["stages"]
        position = stages.index(stage := self._stage(pipeline))
        with behaviour.changed:
            run, wanted = (
                behaviour.latest.get(stage["name"]),
                self._get_param("pipelineExecutionId"),
            )
            if run is None or run.pipeline_execution_id != wanted:
                raise JsonRESTError(
                    "NotLatestPipelineExecutionException", f"{wanted} is not the latest"
                )
            if run.stages[stage["name"]] != "Failed":
                raise JsonRESTError(
                    "StageNotRetryableException", "The stage contains no failed actions"
                )
            # A rollback is of one stage.
            run.retry(stages[position : position + 1 if run.target else None])
        return _execution(run.pipeline_execution_id)

    def rollback_stage(self) -> str:
        """RollbackStage: run a stage again as the target did."""
        pipeline, behaviour = self._pipeline()
        stage, target = self._stage(pipeline), self._run(pipeline, "targetPipelineExecutionId")
        with behaviour.changed:
            latest = behaviour.latest.get(stage["name"])
            is_running = latest is not None and latest.is_in(stage["name"])
            if is_running or not target.is_target(stage["name"]):
                reason = "The stage is running, or the target did not pass it"
                raise JsonRESTError("UnableToRollbackStageException", reason)
        run = Run(pipeline, behaviour, "ManualRollback", target)
        run.start([stage])
        return _execution(run.pipeline_execution_id)

    def put_approval_result(self) -> str:
        _, behaviour = self._pipeline()
        token, result = self._get_param("token"), self._get_param("result")
        with behaviour.changed:
            waiting = next((each for each in behaviour.actions if each.token == token), None)
            if waiting is None or waiting.status != "InProgress":
                raise JsonRESTError(
                    "InvalidApprovalTokenException", "There is a response, or no request"
                )
            waiting.finish(SUCCEEDED if result["status"] == "Approved" else "Failed")
        return "{}"

    def list_action_executions(self) -> str:
        """ListActionExecutions, newest first, of one run or of all."""
        _, behaviour = self._pipeline()
        wanted = self._get_param("filter", {}).get("pipelineExecutionId")
        with behaviour.changed:
            details = [
                action.to_detail()
                for action in reversed(behaviour.actions)
                if wanted in (None, action.run.pipeline_execution_id)
            ]
        return json.dumps({"actionExecutionDetails": details[: self._get_param("maxResults")]})

    def get_pipeline_state(self) -> str:
        pipeline, behaviour = self._pipeline("name")
        with behaviour.changed:
            stages = [_stage_state(behaviour, stage) for stage in pipeline.pipeline["stages"]]
        return json.dumps({"pipelineName": pipeline.pipeline["name"], "stageStates": stages})

    def update_pipeline(self) -> str:
        """UpdatePipeline, which cancels the runs in progress."""
        answer: str = super().update_pipeline()
        pipeline = self.codepipeline_backend.pipelines[self._get_param("pipeline")["name"]]
        with behaviour_of(pipeline).changed:
            for run in runs_of(pipeline):
                if not run.ended:
                    run.cancel()
        return answer

    def _pipeline(self, member: str = "pipelineName") -> tuple[CodePipeline, Behaviour]:
        name, backend = self._get_param(member), self.codepipeline_backend
        backend.get_pipeline(name)  # which raises PipelineNotFoundException
        return backend.pipelines[name], behaviour_of(backend.pipelines[name])

    def _run(self, pipeline: CodePipeline, member: str) -> Run:
        name, execution_id = pipeline.pipeline["name"], self._get_param(member)
        run: Any = self.codepipeline_backend.get_pipeline_execution(name, execution_id)
        return run  # type: ignore[no-any-return]

    def _stage(self, pipeline: CodePipeline) -> Json:
        name = self._get_param("stageName")
        for stage in pipeline.pipeline["stages"]:
            if stage["name"] == name:
                return dict(stage)
        raise JsonRESTError("StageNotFoundException", f"There is no stage {name}")


def _execution(execution_id: str) -> str:
    return json.dumps({"pipelineExecutionId": execution_id})


def _stage_state(behaviour: Behaviour, stage: Json) -> Json:
    name, run = stage["name"], behaviour.latest.get(stage["name"])
    waiting = [each for each in behaviour.queues.get(name, []) if not each.is_in(name)]
    newest = {each.name: each.to_state() for each in behaviour.actions if each.stage == name}
    state: Json = {
        "stageName": name,
        "inboundTransitionState": {"enabled": True},
        "inboundExecutions": [_stage_execution(each, each.status) for each in waiting],
        "actionStates": [
            {"actionName": each["name"], "latestExecution": newest.get(each["name"], {})}
            for each in stage["actions"]
        ],
    }
    if run:
        # A run is stopped in the stage that it is in.
        status = run.stages[name]
        status = run.status if (status, run.status) == ("InProgress", "Stopping") else status
        state["latestExecution"] = _stage_execution(run, status)
    return state


def _stage_execution(run: Run, status: str) -> Json:
    return {"pipelineExecutionId": run.pipeline_execution_id, "status": status}


def reset() -> None:
    """End every run before what it deploys is forgotten."""
    backends = [each for regions in codepipeline_backends.values() for each in regions.values()]
    for pipeline in [each for backend in backends for each in backend.pipelines.values()]:
        behaviour, runs = behaviour_of(pipeline), runs_of(pipeline)
        with behaviour.changed:
            behaviour.forgotten = behaviour.loses_events = True
            for run in runs:
                if not run.ended:
                    run.cancel()
            behaviour.changed.notify_all()
        for run in runs:
            if run.thread is not None:
                run.thread.join()


def _acceptance() -> Any:
    return codepipeline_backends[accounts.ACCEPTANCE][accounts.REGION]


@control
def patch_pipeline(
    name: str, *, template: str = "", parameters: Mapping[str, str] | None = None, **changes: Any
) -> None:
    """Change how a pipeline's runs go.

    - ``run_seconds``: half of it in each Build and half in each Deploy action;
      ``action_seconds``: those of actions by name;
    - ``next_outcomes`` of the next runs, retries and roll-backs: Succeeded, ``Failed in NAME`` (a stage or an
      action), ``Skip STAGE``; Failed is in Build;
    - ``hold``: where runs wait until this is changed: at the start of an action, ``NAME`` (a stage or an action), or
      while the new clusters of one that deploys are being made, ``NAME:restoring``;
    - ``loses_events``: whether EventBridge delivers none of the events;
    - ``template`` and its ``parameters``: what the next runs deploy.
    """
    behaviour = behaviour_of(_acceptance().pipelines[name])
    if unknown := changes.keys() - _STEERED:
        raise TypeError(f"a pipeline has no {unknown}")
    with behaviour.changed:
        for changed, value in changes.items():
            setattr(behaviour, changed, value)
        if template:
            behaviour.revision = (template, parameters or {})
        behaviour.changed.notify_all()


@control
def held_runs(name: str) -> dict[str, str]:
    """Return where a pipeline's runs are held, and the run."""
    runs = runs_of(_acceptance().pipelines[name])
    return {run.held_at: run.pipeline_execution_id for run in runs if run.held_at}
