"""The main pipeline: runs that take their time, deploy the databases, and tell EventBridge.

moto's executions have succeeded as soon as they are started. What is restored here, from the CodePipeline
API reference (botocore's ``codepipeline`` model), the CodePipeline User Guide's *How pipeline executions
work* and *Monitoring CodePipeline events*, and the CloudFormation reference of ``AWS::RDS::DBCluster``:

- equal ``clientRequestToken``s start one run;
- a run is ``InProgress`` until it ends; it can be stopped; one run at a time may occupy the deploy stage;
- a newer run supersedes an older one, here as soon as it starts, if the older one has not reached the deploy
  stage. That is simpler than AWS, where an older run is superseded only while it waits between two stages, so
  that two runs started shortly after each other may both deploy;
- every change of a run's state is an event on the account's bus;
- executions are listed newest first, in pages.

The deploy stage does what CloudFormation does with ``SnapshotIdentifier`` read from Parameter Store: the
same value as deployed last leaves the cluster alone; another one has a new cluster restored from that
snapshot, under a new name, and the old one deleted; what cannot be restored rolls back and fails the run.
A pipeline that is given a template deploys that instead, as a stack (``mainstack.py``).
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import moto.codepipeline.urls
from moto.codepipeline.exceptions import PipelineNotFoundException
from moto.codepipeline.models import (
    CodePipeline,
    CodePipelineBackend,
    PipelineExecution,
    codepipeline_backends,
)
from moto.codepipeline.responses import CodePipelineResponse
from moto.core.exceptions import JsonRESTError, ServiceException
from moto.iam.models import iam_backends
from moto.rds.models import rds_backends
from moto.ssm.models import ssm_backends

from localcloud import accounts, identities, rules

OUTCOMES = ("Succeeded", "Failed", "FailedAfterDeploy")

_TOKEN = re.compile(r"[a-zA-Z0-9-]{1,128}")
_RUN_SECONDS = 1.0
_MOST_RESULTS = 100
_STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Stopped": "STOPPED"}


@dataclass
class Database:
    """A database of the stack: where its snapshot's ARN is read from, and what is deployed.

    ``cluster`` is the present cluster's identifier. Before the first deployment it is the name the cluster
    has if it exists, and what the names of all later ones begin with.
    """

    parameter: str
    cluster: str
    prefix: str
    value: str | None = None


@dataclass
class Behaviour:
    """What CodePipeline does not know of a pipeline: what it does, and what is to happen to it."""

    run_seconds: float = _RUN_SECONDS
    databases: list[Database] = field(default_factory=list)
    template: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    next_outcomes: list[str] = field(default_factory=list)
    start_error: str | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    deploying: "Run | None" = None
    changed: threading.Condition = field(default_factory=threading.Condition)


class Run(PipelineExecution):
    """A pipeline execution under way.

    ``half`` is how long it is before the deploy stage, and in it, in seconds of real time.
    """

    def __init__(
        self,
        pipeline: CodePipeline,
        variables: list[dict[str, str]] | None,
        behaviour: Behaviour,
        started_by: str,
    ) -> None:
        definition = pipeline.pipeline
        super().__init__(definition["name"], definition["version"], variables)
        self.status = "InProgress"
        self.behaviour = behaviour
        self.half = behaviour.run_seconds / 2
        self.outcome = behaviour.next_outcomes.pop(0) if behaviour.next_outcomes else OUTCOMES[0]
        self.before_deploy = True
        self.stop_reason: str | None = None
        self.waking = threading.Event()
        self.thread: threading.Thread | None = None
        self._trigger = {"triggerType": "StartPipelineExecution", "triggerDetail": started_by}

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status not in ("InProgress", "Stopping")

    def change(self, status: str, summary: str | None = None) -> None:
        """Enter a status; the behaviour's condition must be held."""
        self.status = status
        self.status_summary = summary
        self.last_update_time = datetime.now(UTC).replace(tzinfo=None)
        if self.ended:
            self.waking.set()
        self.behaviour.changed.notify_all()

    def to_dict(self) -> dict[str, Any]:
        """GetPipelineExecution's answer."""
        return super().to_dict() | {
            "trigger": self._trigger,
            "executionMode": "SUPERSEDED",
            "executionType": "STANDARD",
        }

    def to_summary_dict(self) -> dict[str, Any]:
        """ListPipelineExecutions' answer; times as the JSON protocol has them, seconds of the epoch."""
        summary = super().to_summary_dict() | {
            "startTime": self.start_time.replace(tzinfo=UTC).timestamp(),
            "lastUpdateTime": self.last_update_time.replace(tzinfo=UTC).timestamp(),
            "trigger": self._trigger,
            "executionMode": "SUPERSEDED",
            "executionType": "STANDARD",
        }
        if self.stop_reason is not None:
            summary["stopTrigger"] = {"reason": self.stop_reason}
        return summary


class RunningCodePipelineBackend(CodePipelineBackend):
    """moto's CodePipeline of one account and Region, whose executions run."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._behaviours: dict[str, Behaviour] = {}

    @property
    def _url_module(self) -> Any:
        # moto finds a service's URLs beside its backend's module, which for this one is not moto's.
        return moto.codepipeline.urls

    def behaviour(self, name: str) -> Behaviour:
        """What the pipeline does; one made through the API alone deploys nothing."""
        return self._behaviours.setdefault(name, Behaviour())

    def start_run(
        self, name: str, variables: list[dict[str, str]] | None, token: str, started_by: str
    ) -> str:
        """StartPipelineExecution: the new run's id, or that of the run the token has started."""
        pipeline = self._pipeline(name)
        behaviour = self.behaviour(name)
        if not _TOKEN.fullmatch(token):
            raise _error(
                "ValidationException",
                f"1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy "
                "constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9-]+$",
            )
        with behaviour.changed:
            if behaviour.start_error:
                code, behaviour.start_error = behaviour.start_error, None
                raise _error(code, "The local cloud was told to answer so.")
            if token in behaviour.tokens:
                return behaviour.tokens[token]
            older = [
                run for run in _runs(pipeline) if run.status == "InProgress" and run.before_deploy
            ]
            for run in older:
                run.change("Superseded")
            new = Run(pipeline, variables, behaviour, started_by)
            behaviour.tokens[token] = new.pipeline_execution_id
            pipeline.executions[new.pipeline_execution_id] = new
        for run in older:
            self._announce(run, "SUPERSEDED")
        self._announce(new, "STARTED")
        new.thread = threading.Thread(target=self._carry_out, args=(new,), daemon=True)
        new.thread.start()
        return new.pipeline_execution_id

    def stop_run(self, name: str, execution_id: str, abandon: bool, reason: str | None) -> str:
        """StopPipelineExecution: at once if abandoned, else when the stage it is in has come to its end."""
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
                run.change("Stopped")
                states.append("STOPPED")
        for state in states:
            self._announce(run, state)
        return execution_id

    def page_of_executions(
        self, name: str, most: int, token: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """ListPipelineExecutions: one page, newest first, and the token of the next one."""
        if not 1 <= most <= _MOST_RESULTS:
            raise _error(
                "ValidationException",
                f"1 validation error detected: Value '{most}' at 'maxResults' failed to satisfy "
                f"constraint: Member must have value between 1 and {_MOST_RESULTS}",
            )
        newest_first = list(reversed(list(self._pipeline(name).executions.values())))
        start = 0
        if token is not None:
            ids = [execution.pipeline_execution_id for execution in newest_first]
            try:
                start = ids.index(base64.b64decode(token).decode()) + 1
            except ValueError as error:
                raise _error("InvalidNextTokenException", "Invalid nextToken") from error
        page = newest_first[start : start + most]
        more = start + most < len(newest_first)
        return (
            [execution.to_summary_dict() for execution in page],
            base64.b64encode(page[-1].pipeline_execution_id.encode()).decode() if more else None,
        )

    def state(self, name: str) -> dict[str, Any]:
        """GetPipelineState: for each stage, the newest run that has reached it, and how it fared there."""
        pipeline = self._pipeline(name)
        newest_first = _runs(pipeline)[::-1]
        first, *later = pipeline.pipeline["stages"]
        stages = [_stage(first["name"], newest_first, lambda run: run.before_deploy)]
        deployed = [run for run in newest_first if not run.before_deploy]
        stages += [_stage(stage["name"], deployed, lambda _: True) for stage in later]
        return {
            "pipelineName": name,
            "pipelineVersion": pipeline.pipeline["version"],
            "stageStates": stages,
            "created": pipeline.metadata["created"],
            "updated": pipeline.metadata["updated"],
        }

    def delete_pipeline(self, name: str) -> None:
        """DeletePipeline; its runs end with it."""
        self._forget_runs(filter(None, [self.pipelines.get(name)]))
        self._behaviours.pop(name, None)
        super().delete_pipeline(name)

    def reset(self) -> None:
        """Forget everything, with no run left that would still change or say something."""
        self._forget_runs(self.pipelines.values())
        super().reset()

    @staticmethod
    def _forget_runs(pipelines: Iterable[CodePipeline]) -> None:
        for run in [run for pipeline in pipelines for run in _runs(pipeline)]:
            with run.behaviour.changed:
                if not run.ended:
                    run.change("Cancelled")
            if run.thread is not None:
                run.thread.join()

    def _pipeline(self, name: str) -> CodePipeline:
        pipeline = self.pipelines.get(name)
        if pipeline is None:
            raise PipelineNotFoundException(
                f"Account '{self.account_id}' does not have a pipeline with name '{name}'"
            )
        return pipeline

    def _carry_out(self, run: Run) -> None:
        """One run's thread: wait, enter the deploy stage when it is free, deploy, wait, end."""
        behaviour = run.behaviour
        run.waking.wait(run.half)
        if run.outcome == "Failed":
            self._end(run, "Failed", "An action before the deploy stage failed.")
            return
        with behaviour.changed:
            behaviour.changed.wait_for(
                lambda: run.status != "InProgress" or not behaviour.deploying
            )
            entered = run.status == "InProgress"
            if entered:
                run.before_deploy = False
                behaviour.deploying = run
        if not entered:
            self._end(run, "Stopped")
            return
        try:
            problem = self._enter_deploy(run.pipeline_name, behaviour)
            if problem is None:
                run.waking.wait(run.half)
        except Exception as error:  # noqa: BLE001 (whatever it is, a run must not be left in progress)
            problem = f"{type(error).__name__}: {error}"
        finally:
            with behaviour.changed:
                behaviour.deploying = None
                behaviour.changed.notify_all()
        if problem is None and run.outcome == "FailedAfterDeploy":
            problem = "An action after the deployment failed."
        self._end(run, "Failed" if problem else "Succeeded", problem)

    def _end(self, run: Run, status: str, summary: str | None = None) -> None:
        """End the run so, unless it has ended otherwise; one that is being stopped has been stopped."""
        with run.behaviour.changed:
            if run.ended:
                return
            final = "Stopped" if run.status == "Stopping" else status
            run.change(final, summary)
        self._announce(run, _STATES[final])

    def _enter_deploy(self, name: str, behaviour: Behaviour) -> str | None:
        """What the deploy stage does; returns what went wrong."""
        if behaviour.template is None:
            return self._deploy(behaviour.databases)
        # moto's CloudFormation takes half a second to import, for which no other cloud should wait.
        from localcloud import mainstack  # noqa: PLC0415

        return mainstack.deploy(
            self.account_id, self.region_name, name, behaviour.template, behaviour.parameters
        )

    def _deploy(self, databases: list[Database]) -> str | None:
        """Replace the clusters whose parameter has changed, all or none; returns what went wrong."""
        rds: Any = rds_backends[self.account_id][self.region_name]
        replacements: list[tuple[Database, str, str]] = []
        try:
            for database in databases:
                value = self._value_of(database.parameter)
                if value == database.value:
                    continue
                source = rds.find(value)
                identifier = f"{database.prefix}-{uuid4().hex[:6]}"
                rds.restore_db_cluster_from_snapshot(
                    value,
                    {
                        "db_cluster_identifier": identifier,
                        "engine": source.engine,
                        "engine_version": source.engine_version,
                    },
                )
                replacements.append((database, value, identifier))
        except ServiceException as error:
            for _, _, identifier in replacements:
                rds.delete_db_cluster(identifier)
            return str(error)
        for database, value, identifier in replacements:
            # What cannot be deleted when a stack cleans up (nothing there, or deletion protection) is left
            # as it is; the update has been completed all the same.
            with suppress(ServiceException):
                rds.delete_db_cluster(database.cluster)
            database.value, database.cluster = value, identifier
        return None

    def _value_of(self, name: str) -> str:
        parameter = ssm_backends[self.account_id][self.region_name].get_parameter(name)
        if parameter is None:
            raise ServiceException(
                "ValidationError", f"Unable to fetch parameters [{name}] from parameter store"
            )
        return str(parameter.value)

    def _announce(self, run: Run, state: str) -> None:
        """Put the run's change of state on the account's bus."""
        pipeline_arn = (
            f"arn:aws:codepipeline:{self.region_name}:{self.account_id}:{run.pipeline_name}"
        )
        event = {
            "version": "0",
            "id": str(uuid4()),
            "detail-type": "CodePipeline Pipeline Execution State Change",
            "source": "aws.codepipeline",
            "account": self.account_id,
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": self.region_name,
            "resources": [pipeline_arn],
            "detail": {
                "pipeline": run.pipeline_name,
                "execution-id": run.pipeline_execution_id,
                "start-time": f"{run.start_time.isoformat(timespec='milliseconds')}Z",
                "state": state,
                "version": float(run.pipeline_version),
            },
        }
        rules.publish(self.account_id, self.region_name, event)


class RunningCodePipelineResponse(CodePipelineResponse):
    """moto's CodePipeline API with the parameters and the operation it leaves out."""

    @property
    def codepipeline_backend(self) -> Any:
        """The backend, which :func:`install` has replaced."""
        return codepipeline_backends[self.current_account][self.region]

    def start_pipeline_execution(self) -> str:
        """Start a run; a client that sends no token has every request taken for a new one."""
        execution_id = self.codepipeline_backend.start_run(
            self._get_param("name"),
            self._get_param("variables"),
            self._get_param("clientRequestToken", str(uuid4())),
            identities.identify(self.access_key, self.headers.get("X-Amz-Security-Token")).arn,
        )
        return json.dumps({"pipelineExecutionId": execution_id})

    def stop_pipeline_execution(self) -> str:
        """Stop a run."""
        execution_id = self.codepipeline_backend.stop_run(
            self._get_param("pipelineName"),
            self._get_param("pipelineExecutionId"),
            bool(self._get_param("abandon", False)),
            self._get_param("reason"),
        )
        return json.dumps({"pipelineExecutionId": execution_id})

    def list_pipeline_executions(self) -> str:
        """List one page of runs."""
        summaries, token = self.codepipeline_backend.page_of_executions(
            self._get_param("pipelineName"),
            self._get_param("maxResults", _MOST_RESULTS),
            self._get_param("nextToken"),
        )
        page: dict[str, Any] = {"pipelineExecutionSummaries": summaries}
        return json.dumps(page | ({"nextToken": token} if token else {}))

    def get_pipeline_state(self) -> str:
        """Tell where the pipeline stands."""
        return json.dumps(self.codepipeline_backend.state(self._get_param("name")))


def install() -> None:
    """Put the bridge in moto's CodePipeline's place."""
    codepipeline_backends.backend = RunningCodePipelineBackend
    moto.codepipeline.urls.url_paths["{0}/$"] = RunningCodePipelineResponse.dispatch


def _error(code: str, message: str) -> JsonRESTError:
    return JsonRESTError(code, message)


def _runs(pipeline: CodePipeline) -> list[Run]:
    return [run for run in list(pipeline.executions.values()) if isinstance(run, Run)]


def _stage(name: str, newest_first: list[Run], is_there: Callable[[Run], bool]) -> dict[str, Any]:
    """A stage's state; a run that ``is_there`` no longer has succeeded in it."""
    state: dict[str, Any] = {"stageName": name, "inboundTransitionState": {"enabled": True}}
    for run in newest_first[:1]:
        # A stage knows no status Superseded.
        status = run.status.replace("Superseded", "Cancelled") if is_there(run) else "Succeeded"
        state["latestExecution"] = {
            "pipelineExecutionId": run.pipeline_execution_id,
            "status": status,
            "type": "STANDARD",
        }
    return state


def _acceptance() -> Any:
    return codepipeline_backends[accounts.ACCEPTANCE][accounts.REGION]


def _create_pipeline(body: dict[str, Any]) -> dict[str, Any]:
    """POST: the main pipeline and its service role, in acceptance."""
    name, backend = body["name"], _acceptance()
    if name in backend.pipelines:
        raise ValueError(f"there is already a pipeline {name}")
    databases = [
        Database(database["parameter"], database["cluster"], database["cluster"])
        for database in body["databases"]
    ]
    role = iam_backends[accounts.ACCEPTANCE]["aws"].create_role(
        role_name=f"{name}-service-role",
        assume_role_policy_document=_TRUST,
        path="/",
        permissions_boundary=None,
        description="What the main pipeline runs as",
        tags=[],
        max_session_duration=None,
    )
    backend.create_pipeline(_definition(name, role.arn), [])
    _patch_pipeline(body)
    backend.behaviour(name).databases = databases
    return {"name": name, "role_arn": role.arn}


def _patch_pipeline(body: dict[str, Any]) -> dict[str, Any]:
    """PATCH: how the next runs go, and what they deploy: a template and its parameters' values."""
    name, backend = body["name"], _acceptance()
    if name not in backend.pipelines:
        raise ValueError(f"there is no pipeline {name}")
    behaviour = backend.behaviour(name)
    outcomes = body.get("next_outcomes", behaviour.next_outcomes)
    if not set(outcomes) <= set(OUTCOMES):
        raise ValueError(f"a run's outcome is one of {OUTCOMES}")
    with behaviour.changed:
        behaviour.run_seconds = float(body.get("run_seconds", behaviour.run_seconds))
        behaviour.next_outcomes = list(outcomes)
        behaviour.start_error = body.get("start_error", behaviour.start_error)
        behaviour.template = body.get("template", behaviour.template)
        behaviour.parameters = dict(body.get("parameters", behaviour.parameters))
    return {"name": name}


ROUTES = {
    ("POST", "/_cloud/pipelines"): _create_pipeline,
    ("PATCH", "/_cloud/pipelines"): _patch_pipeline,
}

_TRUST = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
"Principal": {"Service": "codepipeline.amazonaws.com"}}]}"""


def _definition(name: str, role_arn: str) -> dict[str, Any]:
    """A pipeline of two stages, as GetPipeline shows it."""
    bucket = f"{name}-artifacts"
    return {
        "name": name,
        "roleArn": role_arn,
        "artifactStore": {"type": "S3", "location": bucket},
        "stages": [
            {
                "name": "Source",
                "actions": [
                    _action("Source", "Source", "S3")
                    | {
                        "configuration": {"S3Bucket": bucket, "S3ObjectKey": "infrastructure.zip"},
                        "outputArtifacts": [{"name": "infrastructure"}],
                    }
                ],
            },
            {
                "name": "Deploy",
                "actions": [
                    _action("Deploy", "Deploy", "CloudFormation")
                    | {
                        "configuration": {"ActionMode": "CREATE_UPDATE", "StackName": name},
                        "inputArtifacts": [{"name": "infrastructure"}],
                    }
                ],
            },
        ],
        "executionMode": "SUPERSEDED",
        "pipelineType": "V2",
    }


def _action(name: str, category: str, provider: str) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind}
