"""CodePipeline's API, and the controls of a pipeline.

moto's executions succeed as soon as they are started, without stages and actions. Here they follow the rules in
``runs.py``. This module restores the operations on runs, from the CodePipeline API reference (botocore's
``codepipeline`` model): equal ``clientRequestToken``s start one run, and an operation is refused if the run's state
does not permit it. A test determines with ``patch_pipeline`` what a pipeline deploys.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from moto.codepipeline import models
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.exceptions import JsonRESTError

from localcloud import accounts
from localcloud.controls import control
from localcloud.runs import SUCCEEDED, Json, Pipeline, Run

_TOKEN = re.compile(r"[a-zA-Z0-9-]{1,128}")


class RunningCodePipelineResponse(CodePipelineResponse):
    """moto's CodePipeline API with executions that run."""

    def start_pipeline_execution(self) -> str:
        """StartPipelineExecution; without a token, every request is a new one."""
        pipeline = self._pipeline("name")
        token = self._get_param("clientRequestToken", str(uuid4()))
        if not _TOKEN.fullmatch(token):
            reason = f"Value '{token}' at 'clientRequestToken' is invalid"
            raise JsonRESTError("ValidationException", reason)
        with pipeline.changed:
            if token in pipeline.tokens:
                return _execution(pipeline.tokens[token])
            run = Run(pipeline, "StartPipelineExecution")
            pipeline.tokens[token] = run.pipeline_execution_id
            run.start(pipeline.pipeline["stages"])
        return _execution(run.pipeline_execution_id)

    def retry_stage_execution(self) -> str:
        """RetryStageExecution: repeat the stage in which a run failed, and continue."""
        pipeline = self._pipeline()
        stages = pipeline.pipeline["stages"]
        position = stages.index(stage := self._stage(pipeline))
        with pipeline.changed:
            run = pipeline.latest.get(stage["name"])
            if run is None or run.pipeline_execution_id != self._get_param("pipelineExecutionId"):
                reason = "It is not the stage's latest execution"
                raise JsonRESTError("NotLatestPipelineExecutionException", reason)
            if run.stages[stage["name"]] != "Failed":
                reason = "The stage contains no failed actions"
                raise JsonRESTError("StageNotRetryableException", reason)
            run.retry(stages[position:])
        return _execution(run.pipeline_execution_id)

    def put_approval_result(self) -> str:
        pipeline = self._pipeline()
        token, result = self._get_param("token"), self._get_param("result")
        with pipeline.changed:
            waiting = next((each for each in pipeline.actions if each.token == token), None)
            if waiting is None or waiting.status != "InProgress":
                reason = "There is a response, or no request"
                raise JsonRESTError("InvalidApprovalTokenException", reason)
            waiting.finish(SUCCEEDED if result["status"] == "Approved" else "Failed")
        return "{}"

    def list_pipeline_executions(self) -> str:
        """ListPipelineExecutions, newest first, in pages."""
        pipeline = self._pipeline()
        first = int(self._get_param("nextToken") or 0)
        end = first + min(self._get_param("maxResults") or 100, pipeline.page_size)
        with pipeline.changed:
            runs = pipeline.runs[::-1]
            listed = [run.to_summary_dict() for run in runs[first:end]]
        more = {"nextToken": str(end)} if end < len(runs) else {}
        return json.dumps({"pipelineExecutionSummaries": listed, **more})

    def list_action_executions(self) -> str:
        """ListActionExecutions of one run or of all, newest first."""
        pipeline = self._pipeline()
        wanted = self._get_param("filter", {}).get("pipelineExecutionId")
        with pipeline.changed:
            details = [
                action.to_detail()
                for action in reversed(pipeline.actions)
                if wanted in (None, action.run.pipeline_execution_id)
            ]
        return json.dumps({"actionExecutionDetails": details[: self._get_param("maxResults")]})

    def get_pipeline_state(self) -> str:
        pipeline = self._pipeline("name")
        with pipeline.changed:
            stages = [_stage_state(pipeline, stage) for stage in pipeline.pipeline["stages"]]
        return json.dumps({"pipelineName": pipeline.pipeline["name"], "stageStates": stages})

    def update_pipeline(self) -> str:
        """UpdatePipeline, which cancels the runs in progress."""
        answer: str = super().update_pipeline()
        pipeline: Any = self.codepipeline_backend.pipelines[self._get_param("pipeline")["name"]]
        with pipeline.changed:
            pipeline.cancel_runs()
        return answer

    def _pipeline(self, member: str = "pipelineName") -> Pipeline:
        name, backend = self._get_param(member), self.codepipeline_backend
        backend.get_pipeline(name)  # which raises PipelineNotFoundException
        pipeline: Any = backend.pipelines[name]
        return pipeline  # type: ignore[no-any-return]

    def _stage(self, pipeline: Pipeline) -> Json:
        name = self._get_param("stageName")
        for stage in pipeline.pipeline["stages"]:
            if stage["name"] == name:
                return dict(stage)
        raise JsonRESTError("StageNotFoundException", f"There is no stage {name}")


def _execution(execution_id: str) -> str:
    return json.dumps({"pipelineExecutionId": execution_id})


def _stage_state(pipeline: Pipeline, stage: Json) -> Json:
    name, run = stage["name"], pipeline.latest.get(stage["name"])
    waiting = [each for each in pipeline.queues.get(name, []) if not each.is_in(name)]
    newest = {each.name: each.to_state() for each in pipeline.actions if each.stage == name}
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
        state["latestExecution"] = _stage_execution(run, run.stages[name])
    return state


def _stage_execution(run: Run, status: str) -> Json:
    return {"pipelineExecutionId": run.pipeline_execution_id, "status": status}


def install() -> None:
    """Replace moto's pipelines with ones that have runs."""
    models.CodePipeline = Pipeline  # type: ignore[misc]


def reset() -> None:
    """End every run before its stacks are forgotten."""
    for regions in models.codepipeline_backends.values():
        for backend in regions.values():
            for pipeline in backend.pipelines.values():
                pipeline.forget()  # type: ignore[attr-defined]


def _acceptance(name: str) -> Any:
    return models.codepipeline_backends[accounts.ACCEPTANCE][accounts.REGION].pipelines[name]


@control
def patch_pipeline(
    name: str, *, template: str = "", parameters: Mapping[str, str] | None = None, **changes: Any
) -> None:
    """Change what a pipeline's runs do.

    - ``run_seconds``: their duration, half in each Build and half in each Deploy action;
    - ``next_outcomes`` of the next runs and retries: Succeeded, ``Failed in NAME`` (a stage or an action),
      ``Skip STAGE``;
    - ``hold``: where runs wait until this is changed: at the start of an action, ``NAME`` (a stage or an action), or
      while an action that deploys creates new clusters, ``NAME:restoring``;
    - ``loses_events``: whether EventBridge loses all events;
    - ``page_size``: how many runs are listed at once;
    - ``template`` and its ``parameters``: what the next runs deploy.
    """
    pipeline = _acceptance(name)
    if unknown := changes.keys() - vars(pipeline).keys():
        raise TypeError(f"a pipeline has no {unknown}")
    with pipeline.changed:
        for changed, value in changes.items():
            setattr(pipeline, changed, value)
        if template:
            pipeline.revision = (template, parameters or {})
        pipeline.changed.notify_all()


@control
def is_held(name: str, at: str) -> bool:
    """Return whether one of a pipeline's runs waits there."""
    return any(run.held_at == at for run in _acceptance(name).runs)
