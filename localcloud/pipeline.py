"""CodePipeline's API, and what a test may do to a pipeline.

moto's executions have succeeded as soon as they are started, and it knows no stages, actions or roll-backs. The
rules of a run are in ``runs.py``; restored here, from the CodePipeline API reference (botocore's
``codepipeline`` model), are the operations on runs: equal ``clientRequestToken``s start one run, listings
are newest first and in pages, and an operation that a run's state does not allow is refused.

Stages can be defined at creation, or with UpdatePipeline. By default they are Source, Build, Deploy and Test.
Deploy has a CloudFormation action for each stack; without a template of its own, a stack restores one
cluster for each database from the snapshot that its parameter names.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import moto.codepipeline.urls
from moto.codepipeline.exceptions import PipelineNotFoundException
from moto.codepipeline.models import CodePipeline, CodePipelineBackend, codepipeline_backends
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.exceptions import JsonRESTError
from moto.core.utils import utcnow
from moto.iam.models import iam_backends

from localcloud import accounts, identities
from localcloud.runs import SUCCEEDED, Behaviour, Json, Run, Runner, runs_of, seconds

_DEFAULT_STAGES = ("Source", "Build", "Deploy", "Test")
_ALIASES = {"Failed": "Failed in Build", "FailedAfterDeploy": "Failed in Test"}
_EVENT_FAULTS = ("lost", "late", "twice")
_TOKEN = re.compile(r"[a-zA-Z0-9-]{1,128}")
_MOST_RESULTS = 100


class RunningCodePipelineBackend(CodePipelineBackend):
    """moto's CodePipeline of one account and Region, whose executions run."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.runner = Runner(account_id, region_name)
        self._behaviours: dict[str, Behaviour] = {}

    @property
    def _url_module(self) -> Any:
        # moto finds a service's URLs beside its backend's module, which for this one is not moto's.
        return moto.codepipeline.urls

    def behaviour(self, name: str) -> Behaviour:
        """Return what the pipeline does; one made through the API alone deploys nothing."""
        return self._behaviours.setdefault(name, Behaviour())

    def start_run(
        self, name: str, variables: list[dict[str, str]] | None, token: str, started_by: str
    ) -> str:
        """Start a run; returns its id, or that of the run that the token has started."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        if not _TOKEN.fullmatch(token):
            raise _error(
                "ValidationException",
                f"1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy "
                "constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9-]+$",
            )
        with behaviour.changed:
            if behaviour.start_error:
                code, behaviour.start_error = behaviour.start_error, None
                raise _error(code, "The local cloud answers so because its start_error is set.")
            if token in behaviour.tokens:
                return behaviour.tokens[token]
            trigger = {"triggerType": "StartPipelineExecution", "triggerDetail": started_by}
            run = Run(pipeline, behaviour, trigger, variables=variables)
            behaviour.tokens[token] = run.pipeline_execution_id
            stages = pipeline.pipeline["stages"]
            superseded = self.runner.enlist(run, stages[0])
        self.runner.begin(run, stages, "STARTED", superseded=superseded)
        return run.pipeline_execution_id

    def stop_run(self, name: str, execution_id: str, abandon: bool, reason: str | None) -> str:
        """Stop a run: at once if abandoned, else when its actions in progress have completed."""
        run = self._pipeline(name).executions.get(execution_id)
        if not isinstance(run, Run):
            raise _error(
                "PipelineExecutionNotStoppableException",
                f"There is no execution {execution_id} of pipeline {name}",
            )
        with run.behaviour.changed:
            if run.ended:
                raise _error(
                    "PipelineExecutionNotStoppableException",
                    f"The execution {execution_id} is not in progress: {run.status}",
                )
            if run.status == "Stopping" and not abandon:
                raise _error(
                    "DuplicatedStopRequestException",
                    f"The execution {execution_id} is being stopped",
                )
            run.stop_reason = reason
            states = ["STOPPING"] if run.status == "InProgress" else []
            run.change("Stopping")
            if abandon:
                run.withdraw("Stopped")
                states.append("STOPPED")
            # Once the lock is released, the run's thread may announce STOPPED.
            for state in states:
                self.runner.announce(run, state)
        return execution_id

    def retry_stage(self, name: str, stage: str, execution_id: str, mode: str) -> str:
        """Continue a run at the stage in which it failed, with all its actions or those that did not succeed."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        position = _position(pipeline, stage)
        with behaviour.changed:
            run = behaviour.latest.get(stage)
            if run is None or run.pipeline_execution_id != execution_id:
                raise _error(
                    "NotLatestPipelineExecutionException",
                    f"The execution {execution_id} is not the latest one of stage {stage}",
                )
            unchanged = run.pipeline_version == pipeline.pipeline["version"]
            if not (unchanged and run.ended and run.stages[stage] == "Failed"):
                raise _error("StageNotRetryableException", f"Stage {stage} cannot be retried")
            done = {
                action.name
                for action in behaviour.actions
                if action.run is run and action.stage == stage and action.status == SUCCEEDED
            }
            run.begin_attempt()
            run.change("InProgress")
            run.occupy(stage)
        # A rollback is of one stage.
        stages = pipeline.pipeline["stages"][position : position + 1 if run.target else None]
        done = set() if mode == "ALL_ACTIONS" else done
        self.runner.begin(run, stages, "RESUMED", done=done)
        return execution_id

    def roll_back_stage(self, name: str, stage: str, target_id: str, started_by: str) -> str:
        """Run a stage again as the target did; returns the new run's id."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        position = _position(pipeline, stage)
        with behaviour.changed:
            target = pipeline.executions.get(target_id)
            if not isinstance(target, Run):
                raise _error(
                    "PipelineExecutionNotFoundException",
                    f"There is no execution {target_id} of pipeline {name}",
                )
            if target.pipeline_version != pipeline.pipeline["version"]:
                raise _error(
                    "PipelineExecutionOutdatedException",
                    f"The execution {target_id} is of an earlier version of the pipeline",
                )
            if position == 0 or not target.is_target(stage):
                raise _error(
                    "UnableToRollbackStageException",
                    f"Stage {stage} cannot be rolled back to execution {target_id}",
                )
            trigger = {"triggerType": "ManualRollback", "triggerDetail": started_by}
            run = Run(pipeline, behaviour, trigger, target=target)
            declaration = pipeline.pipeline["stages"][position]
            self.runner.enlist(run, declaration)
        self.runner.begin(run, [declaration], "STARTED")
        return run.pipeline_execution_id

    def put_approval_result(
        self, name: str, stage: str, action: str, token: str, result: dict[str, str]
    ) -> float:
        """Approve or reject; returns when."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        declared = pipeline.pipeline["stages"][_position(pipeline, stage)]["actions"]
        if action not in [each["name"] for each in declared]:
            raise _error("ActionNotFoundException", f"Stage {stage} has no action {action}")
        with behaviour.changed:
            found = next((each for each in behaviour.actions if each.token == token), None)
            if found is None or (found.stage, found.name) != (stage, action):
                raise _error("InvalidApprovalTokenException", "Invalid approval token")
            if found.status != "InProgress":
                raise _error("ApprovalAlreadyCompletedException", "Approval already completed")
            approved = result["status"] == "Approved"
            found.finish(SUCCEEDED if approved else "Failed", result["summary"])
            return seconds(found.updated)

    def set_transition(
        self, name: str, stage: str, *, enabled: bool, changed_by: str, reason: str | None = None
    ) -> None:
        """Let runs enter the stage or not; only inbound transitions are known here."""
        _position(self._pipeline(name), stage)
        behaviour = self.behaviour(name)
        with behaviour.changed:
            state = {
                "enabled": enabled,
                "lastChangedBy": changed_by,
                "lastChangedAt": seconds(utcnow()),
            }
            behaviour.transitions[stage] = state | ({"disabledReason": reason} if reason else {})
            behaviour.changed.notify_all()

    def page_of_executions(
        self, name: str, most: int, token: str | None
    ) -> tuple[list[Json], str | None]:
        """Return one page of runs, newest first, and the token of the next one."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        with behaviour.changed:
            listed = [run.listed(first_page=token is None) for run in runs_of(pipeline)]
        summaries = [summary for summary in reversed(listed) if summary]
        return _page(summaries, "pipelineExecutionId", most, token)

    def page_of_actions(
        self, name: str, wanted: Json, most: int, token: str | None
    ) -> tuple[list[Json], str | None]:
        """Return one page of action executions, newest first, and the token of the next one."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        latest = wanted.get("latestInPipelineExecution", {})
        execution_id = latest.get("pipelineExecutionId") or wanted.get("pipelineExecutionId")
        if execution_id and execution_id not in pipeline.executions:
            raise _error(
                "PipelineExecutionNotFoundException",
                f"There is no execution {execution_id} of pipeline {name}",
            )
        with behaviour.changed:
            details = [
                action.to_detail()
                for action in reversed(behaviour.actions)
                if execution_id in (None, action.run.pipeline_execution_id)
                # "Latest" is taken to be the latest attempt.
                and (latest.get("startTimeRange") != "Latest" or action.of_latest_attempt)
            ]
        return _page(details, "actionExecutionId", most, token)

    def state(self, name: str) -> Json:
        """Return the state of each stage and its actions."""
        pipeline, behaviour = self._pipeline(name), self.behaviour(name)
        with behaviour.changed:
            stages = [_stage_state(behaviour, stage) for stage in pipeline.pipeline["stages"]]
        return {
            "pipelineName": name,
            "pipelineVersion": pipeline.pipeline["version"],
            "stageStates": stages,
            "created": pipeline.metadata["created"],
            "updated": pipeline.metadata["updated"],
        }

    def update_pipeline(self, pipeline: Json) -> Json:
        """Change the structure; runs in progress are cancelled."""
        updated = super().update_pipeline(pipeline)
        behaviour = self.behaviour(pipeline["name"])
        with behaviour.changed:
            running = [run for run in runs_of(self.pipelines[pipeline["name"]]) if not run.ended]
            for run in running:
                run.withdraw("Cancelled")
        for run in running:
            self.runner.announce(run, "CANCELED")
        return updated

    def delete_pipeline(self, name: str) -> None:
        """Delete the pipeline; its runs end with it."""
        self._forget_runs(name)
        self._behaviours.pop(name, None)
        super().delete_pipeline(name)

    def reset(self) -> None:
        """Forget everything, with no run left that would still change or say something."""
        for name in self.pipelines:
            self._forget_runs(name)
        super().reset()

    def _forget_runs(self, name: str) -> None:
        behaviour, runs = self.behaviour(name), runs_of(self._pipeline(name))
        with behaviour.changed:
            behaviour.forgotten = True
            for run in runs:
                if not run.ended:
                    run.withdraw("Cancelled")
            behaviour.changed.notify_all()
        for run in runs:
            if run.thread is not None:
                run.thread.join()

    def _pipeline(self, name: str) -> CodePipeline:
        pipeline = self.pipelines.get(name)
        if pipeline is None:
            raise PipelineNotFoundException(
                f"Account '{self.account_id}' does not have a pipeline with name '{name}'"
            )
        return pipeline


class RunningCodePipelineResponse(CodePipelineResponse):
    """moto's CodePipeline API with the parameters and the operations it leaves out."""

    @property
    def codepipeline_backend(self) -> Any:
        """Return the backend, which :func:`install` has replaced."""
        return codepipeline_backends[self.current_account][self.region]

    def start_pipeline_execution(self) -> str:
        """Start a run; a client that sends no token has every request taken for a new one."""
        return self._execution(
            self.codepipeline_backend.start_run(
                self._get_param("name"),
                self._get_param("variables"),
                self._get_param("clientRequestToken", str(uuid4())),
                self._caller(),
            )
        )

    def stop_pipeline_execution(self) -> str:
        """Stop a run."""
        return self._execution(
            self.codepipeline_backend.stop_run(
                self._get_param("pipelineName"),
                self._get_param("pipelineExecutionId"),
                bool(self._get_param("abandon", False)),
                self._get_param("reason"),
            )
        )

    def retry_stage_execution(self) -> str:
        """Retry a stage."""
        return self._execution(
            self.codepipeline_backend.retry_stage(
                *self._stage(),
                self._get_param("pipelineExecutionId"),
                self._get_param("retryMode"),
            )
        )

    def rollback_stage(self) -> str:
        """Roll a stage back."""
        return self._execution(
            self.codepipeline_backend.roll_back_stage(
                *self._stage(), self._get_param("targetPipelineExecutionId"), self._caller()
            )
        )

    def put_approval_result(self) -> str:
        """Approve or reject."""
        approved_at = self.codepipeline_backend.put_approval_result(
            *self._stage(),
            self._get_param("actionName"),
            self._get_param("token"),
            self._get_param("result"),
        )
        return json.dumps({"approvedAt": approved_at})

    def disable_stage_transition(self) -> str:
        """Keep runs from entering a stage."""
        return self._set_transition(enabled=False)

    def enable_stage_transition(self) -> str:
        """Let runs enter a stage again."""
        return self._set_transition(enabled=True)

    def list_pipeline_executions(self) -> str:
        """List one page of runs."""
        return self._listing(
            "pipelineExecutionSummaries",
            self.codepipeline_backend.page_of_executions(
                self._get_param("pipelineName"), *self._page_wanted()
            ),
        )

    def list_action_executions(self) -> str:
        """List one page of action executions."""
        return self._listing(
            "actionExecutionDetails",
            self.codepipeline_backend.page_of_actions(
                self._get_param("pipelineName"), self._get_param("filter", {}), *self._page_wanted()
            ),
        )

    def get_pipeline_state(self) -> str:
        """Return the state of the stages."""
        return json.dumps(self.codepipeline_backend.state(self._get_param("name")))

    def _caller(self) -> str:
        return identities.identify(self.access_key, self.headers.get("X-Amz-Security-Token")).arn

    def _stage(self) -> tuple[str, str]:
        return self._get_param("pipelineName"), self._get_param("stageName")

    def _page_wanted(self) -> tuple[int, str | None]:
        return self._get_param("maxResults", _MOST_RESULTS), self._get_param("nextToken")

    def _set_transition(self, *, enabled: bool) -> str:
        if self._get_param("transitionType") != "Inbound":
            raise _error("ValidationException", "The local cloud knows inbound transitions only")
        reason = self._get_param("reason")
        self.codepipeline_backend.set_transition(
            *self._stage(), enabled=enabled, changed_by=self._caller(), reason=reason
        )
        return "{}"

    @staticmethod
    def _execution(execution_id: str) -> str:
        return json.dumps({"pipelineExecutionId": execution_id})

    @staticmethod
    def _listing(member: str, page: tuple[list[Json], str | None]) -> str:
        entries, token = page
        return json.dumps({member: entries} | ({"nextToken": token} if token else {}))


def install() -> None:
    """Put the bridge in moto's CodePipeline's place."""
    codepipeline_backends.backend = RunningCodePipelineBackend
    moto.codepipeline.urls.url_paths["{0}/$"] = RunningCodePipelineResponse.dispatch


def reset() -> None:
    """End every run before what it deploys is forgotten."""
    for regions in codepipeline_backends.values():
        for backend in regions.values():
            backend.reset()


def _error(code: str, message: str) -> JsonRESTError:
    return JsonRESTError(code, message)


def _position(pipeline: CodePipeline, stage: str) -> int:
    names = [each["name"] for each in pipeline.pipeline["stages"]]
    if stage not in names:
        raise _error("StageNotFoundException", f"The pipeline has no stage {stage}")
    return names.index(stage)


def _page(
    entries: Sequence[Json], key: str, most: int, token: str | None
) -> tuple[list[Json], str | None]:
    """Return the page after the entry that the token names, and the token of the next one."""
    if not 1 <= most <= _MOST_RESULTS:
        raise _error(
            "ValidationException",
            f"1 validation error detected: Value '{most}' at 'maxResults' failed to satisfy "
            f"constraint: Member must have value between 1 and {_MOST_RESULTS}",
        )
    start = 0
    if token is not None:
        try:
            start = [entry[key] for entry in entries].index(base64.b64decode(token).decode()) + 1
        except ValueError as error:
            raise _error("InvalidNextTokenException", "Invalid nextToken") from error
    page = list(entries[start : start + most])
    more = start + most < len(entries)
    return page, base64.b64encode(page[-1][key].encode()).decode() if more else None


def _stage_state(behaviour: Behaviour, stage: Json) -> Json:
    name = stage["name"]
    inbound = [_stage_execution(run, run.status) for run in behaviour.waiting.get(name, [])]
    state: Json = {
        "stageName": name,
        "inboundTransitionState": behaviour.transitions.get(name, {"enabled": True}),
        "inboundExecutions": inbound,
        "actionStates": [_action_state(behaviour, name, each["name"]) for each in stage["actions"]],
    }
    if inbound:
        state["inboundExecution"] = inbound[-1]
    if run := behaviour.latest.get(name):
        status = run.stages[name]
        # A run is stopped in the stage that it is in.
        status = "Stopping" if (status, run.status) == ("InProgress", "Stopping") else status
        state["latestExecution"] = _stage_execution(run, status)
    return state


def _stage_execution(run: Run, status: str) -> Json:
    kind = "ROLLBACK" if run.target else "STANDARD"
    return {"pipelineExecutionId": run.pipeline_execution_id, "status": status, "type": kind}


def _action_state(behaviour: Behaviour, stage: str, name: str) -> Json:
    state: Json = {"actionName": name}
    for action in behaviour.actions:
        if (action.stage, action.name) == (stage, name):
            state["latestExecution"] = action.to_state()
    return state


def _acceptance() -> Any:
    return codepipeline_backends[accounts.ACCEPTANCE][accounts.REGION]


def _create_pipeline(body: Json) -> Json:
    """POST: the main pipeline and its service role, in acceptance."""
    name, backend = body["name"], _acceptance()
    if name in backend.pipelines:
        raise ValueError(f"there is already a pipeline {name}")
    usual = body.get("stack") or name
    stacks: dict[str, list[Json]] = {} if body["databases"] else {usual: []}
    for database in body["databases"]:
        stacks.setdefault(database.get("stack", usual), []).append(database)
    role = iam_backends[accounts.ACCEPTANCE]["aws"].create_role(
        role_name=f"{name}-service-role",
        assume_role_policy_document=_TRUST,
        path="/",
        permissions_boundary=None,
        description="What the main pipeline runs as",
        tags=[],
        max_session_duration=None,
    )
    declared = {
        "name": name,
        "roleArn": role.arn,
        "artifactStore": {"type": "S3", "location": f"{name}-artifacts"},
        "stages": [
            _declare(each, name, list(stacks)) for each in body.get("stages", _DEFAULT_STAGES)
        ],
        "executionMode": body.get("mode", "SUPERSEDED"),
        "pipelineType": "V2",
    }
    backend.create_pipeline(declared, [])
    backend.behaviour(name).revision = {
        stack: (_template(databases), {}) for stack, databases in stacks.items() if databases
    }
    _patch_pipeline(body)
    return {"name": name, "role_arn": role.arn}


def _patch_pipeline(body: Json) -> Json:
    """PATCH: how the next runs go, and what they deploy: a template and its parameters' values."""
    name, backend = body["name"], _acceptance()
    if name not in backend.pipelines:
        raise ValueError(f"there is no pipeline {name}")
    behaviour, stages = backend.behaviour(name), backend.pipelines[name].pipeline["stages"]
    wanted = body.get("next_outcomes", behaviour.next_outcomes)
    outcomes = [_ALIASES.get(outcome, outcome) for outcome in wanted]
    if not set(outcomes) <= (known := _outcomes(stages)):
        raise ValueError(f"a run's outcome is one of {sorted(known)}")
    faults = body.get("event_faults", [])
    if not {fault["kind"] for fault in faults} <= set(_EVENT_FAULTS):
        raise ValueError(f"an event's fault is one of {_EVENT_FAULTS}")
    late: list[Json] = []
    with behaviour.changed:
        behaviour.run_seconds = float(body.get("run_seconds", behaviour.run_seconds))
        behaviour.action_seconds = dict(body.get("action_seconds", behaviour.action_seconds))
        behaviour.next_outcomes = outcomes
        behaviour.start_error = body.get("start_error", behaviour.start_error)
        behaviour.hold = set(body.get("hold", behaviour.hold))
        behaviour.listing_lag = int(body.get("listing_lag", behaviour.listing_lag))
        if "event_faults" in body:
            behaviour.event_faults = [{"times": 1, **fault} for fault in faults]
            late, behaviour.late_events = behaviour.late_events, late
        if "template" in body:
            stack = body.get("stack") or _stacks(stages)[0]
            revision = (body["template"], dict(body.get("parameters", {})))
            behaviour.revision = {**behaviour.revision, stack: revision}
        behaviour.changed.notify_all()
    for event in late:
        backend.runner.publish(event)
    return {"name": name}


def _get_held(query: Json) -> list[Json]:
    """GET: the runs that are held, and where."""
    return [
        {"execution_id": run.pipeline_execution_id, "at": run.held_at}
        for run in runs_of(_acceptance().pipelines[query["name"]])
        if run.held_at
    ]


ROUTES = {
    ("POST", "/_cloud/pipelines"): _create_pipeline,
    ("PATCH", "/_cloud/pipelines"): _patch_pipeline,
    ("GET", "/_cloud/pipelines/held"): _get_held,
}

_TRUST = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
"Principal": {"Service": "codepipeline.amazonaws.com"}}]}"""


def _outcomes(stages: list[Json]) -> set[str]:
    names = {stage["name"] for stage in stages}
    failing = names | {action["name"] for stage in stages for action in stage["actions"]}
    return {SUCCEEDED} | {f"Failed in {n}" for n in failing} | {f"Skip {n}" for n in names}


def _stacks(stages: list[Json]) -> list[str]:
    """Return the stacks that the pipeline deploys."""
    configurations = [
        each.get("configuration", {}) for stage in stages for each in stage["actions"]
    ]
    return [each["StackName"] for each in configurations if "StackName" in each]


def _declare(stage: str | Json, pipeline: str, stacks: list[str]) -> Json:
    """Declare a stage: the usual one of that name, with what else is given of it."""
    given = {"name": stage} if isinstance(stage, str) else stage
    name = given["name"]
    source = {"S3Bucket": f"{pipeline}-artifacts", "S3ObjectKey": "infrastructure.zip"}
    usual = {
        "Source": [_action(name, "Source", "S3", **source)],
        "Approval": [_action(name, "Approval", "Manual")],
        "Deploy": [
            _action(
                name if stack == stacks[0] else f"{name}-{stack}",
                "Deploy",
                "CloudFormation",
                ActionMode="CREATE_UPDATE",
                StackName=stack,
            )
            | {"runOrder": order}
            for order, stack in enumerate(stacks, 1)
        ],
    }
    category = "Test" if name == "Test" else "Build"
    build = [_action(name, category, "CodeBuild", ProjectName=f"{pipeline}-{name}".lower())]
    return {"actions": usual.get(name, build), **given}


def _action(name: str, category: str, provider: str, **configuration: str) -> Json:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    artifacts = [{"name": "infrastructure"}]
    return {
        "name": name,
        "actionTypeId": kind,
        "configuration": configuration,
        "inputArtifacts": artifacts if category in ("Build", "Deploy", "Test") else [],
        "outputArtifacts": artifacts if category == "Source" else [],
    }


def _template(databases: list[Json]) -> str:
    """Return a template of one cluster for each database, restored from what its parameter holds."""
    parameters, resources = {}, {}
    for database in databases:
        name = re.sub("[^A-Za-z0-9]", "", database["cluster"].title())
        engine = database.get("engine", "aurora-postgresql")
        properties = {
            "EngineVersion": database.get("engine_version", "15.4"),
            "SnapshotIdentifier": {"Ref": f"{name}Snapshot"},
        }
        if engine not in _OWN_TYPE:
            properties["Engine"] = engine
        parameters[f"{name}Snapshot"] = {
            "Type": "AWS::SSM::Parameter::Value<String>",
            "Default": database["parameter"],
        }
        resources[name] = {
            "Type": _OWN_TYPE.get(engine, "AWS::RDS::DBCluster"),
            "DeletionPolicy": "Delete",
            "Properties": properties,
        }
    return json.dumps({"Parameters": parameters, "Resources": resources})


_OWN_TYPE = {"docdb": "AWS::DocDB::DBCluster", "neptune": "AWS::Neptune::DBCluster"}
