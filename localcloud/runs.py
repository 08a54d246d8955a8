"""A pipeline's runs, which move through stages and actions as in CodePipeline.

The sources are the CodePipeline User Guide (*How pipeline executions work*, *Configuring stage retry*,
*Add a manual approval action*) and botocore's ``codepipeline`` model:

- a stage holds one run at a time. A run that finds it locked waits, and is superseded when a newer
  run arrives (mode SUPERSEDED, the only one here);
- a CloudFormation action deploys its stack (``stacks.py``) from the revision that was current when the run began;
  the stack reads Parameter Store when the action runs;
- a retry continues the same run, here with all actions of the stage;
- every change of a run's state emits an event.

The actions of a stage run one after the other, in the order of ``runOrder``.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.codepipeline.models import CodePipeline, PipelineExecution
from moto.core.utils import utcnow

from localcloud import rules, stacks
from localcloud.resources import Failed

Json = dict[str, Any]

SUCCEEDED = "Succeeded"
# A run's status in CodePipeline's API, and the same state in its events.
_STATES = {"Cancelled": "CANCELED", "InProgress": "RESUMED"}


class Pipeline(CodePipeline):
    """A pipeline, with what it deploys and what is to happen to its runs.

    A pipeline that was only created through the API deploys nothing. ``changed`` guards the state of its runs.
    """

    executions: dict[str, Any]

    def __init__(self, account_id: str, region: str, pipeline: Json) -> None:
        super().__init__(account_id, region, pipeline)
        self.place = (account_id, region)
        self.run_seconds = 1.0
        self.revision: tuple[str, Mapping[str, str]] | None = None  # a template, and parameters
        self.next_outcomes: list[str] = []
        self.hold: list[str] = []
        self.loses_events = False
        self.page_size = 100
        self.tokens: dict[str, str] = {}
        self.actions: list[ActionExecution] = []
        self.queues: dict[str, list[Run]] = {}  # by stage: the run in it, then those waiting
        self.latest: dict[str, Run] = {}
        self.forgotten = False
        self.changed = threading.Condition()

    @property
    def runs(self) -> list["Run"]:
        """The pipeline's runs, oldest first."""
        return list(self.executions.values())

    def forget(self) -> None:
        """End every run."""
        with self.changed:
            self.forgotten = self.loses_events = True
            self.cancel_runs()
            self.changed.notify_all()
        for run in self.runs:
            if run.thread is not None:
                run.thread.join()

    def cancel_runs(self) -> None:
        """Cancel the runs in progress."""
        for run in self.runs:
            if not run.ended:
                run.cancel()


class Run(PipelineExecution):
    """A pipeline execution in its own thread; ``stages`` has the status of each stage that it has entered."""

    def __init__(self, pipeline: Pipeline, trigger: str) -> None:
        definition = pipeline.pipeline
        super().__init__(definition["name"], definition["version"], None)
        self.status = "InProgress"
        self.pipeline = pipeline
        self.revision = pipeline.revision
        self.stages: dict[str, str] = {}
        self.held_at: str | None = None
        self.thread: threading.Thread | None = None
        self._trigger = trigger

    @property
    def ended(self) -> bool:
        """Whether it has ended; it may still be retried."""
        return self.status != "InProgress"

    def start(self, stages: Sequence[Json]) -> None:
        """Start a new run at its first stage."""
        with self.pipeline.changed:
            self.pipeline.executions[self.pipeline_execution_id] = self
            self._arrive(stages[0]["name"])
            self._announce("STARTED")
        self._go_on(stages)

    def retry(self, stages: Sequence[Json]) -> None:
        """Continue where it failed."""
        self.change("InProgress")
        self.pipeline.queues[stages[0]["name"]].insert(0, self)
        self._go_on(stages)

    def change(self, status: str, summary: str | None = None) -> None:
        """Set the status, and emit an event."""
        self.status = status
        self.status_summary = summary
        self.last_update_time = utcnow()
        self.pipeline.changed.notify_all()
        self._announce(_STATES.get(status, status.upper()))

    def cancel(self) -> None:
        """End the run at once, without waiting for its actions."""
        self.change("Cancelled")
        for stage in filter(self.is_in, list(self.stages)):
            self._leave(stage, "Cancelled")
        for action in self.pipeline.actions:
            if action.run is self and action.status == "InProgress":
                action.finish("Abandoned")

    def is_in(self, stage: str) -> bool:
        """Return whether the run is in the stage, which it locks."""
        return self.stages.get(stage) == "InProgress"

    def to_dict(self) -> Json:
        """Return the answer of GetPipelineExecution."""
        return super().to_dict() | self._details()

    def to_summary_dict(self) -> Json:
        """Return the entry of ListPipelineExecutions."""
        start, update = seconds(self.start_time), seconds(self.last_update_time)
        times = {"startTime": start, "lastUpdateTime": update}
        return super().to_summary_dict() | self._details() | times

    def _details(self) -> Json:
        modes = {"executionMode": "SUPERSEDED", "executionType": "STANDARD"}
        return {"trigger": {"triggerType": self._trigger}, **modes}

    def _announce(self, state: str) -> None:
        """Publish the run's state to the account's bus, unless the pipeline loses events."""
        if self.pipeline.loses_events:
            return
        event = {
            "detail-type": "CodePipeline Pipeline Execution State Change",
            "source": "aws.codepipeline",
            "resources": [self.pipeline.metadata["pipelineArn"]],
            "detail": {
                "pipeline": self.pipeline_name,
                "execution-id": self.pipeline_execution_id,
                "start-time": f"{self.start_time.isoformat(timespec='milliseconds')}Z",
                "state": state,
                "version": float(self.pipeline_version),
            },
        }
        rules.publish(*self.pipeline.place, event)

    def _go_on(self, stages: Sequence[Json]) -> None:
        ordered = self.pipeline.next_outcomes
        self.outcome = ordered.pop(0) if ordered else SUCCEEDED
        self.thread = threading.Thread(target=self._pass, args=(stages,), daemon=True)
        self.thread.start()

    def _pass(self, stages: Sequence[Json]) -> None:
        """Go through the stages one after the other."""
        problem = None
        for stage in stages:
            if not self._enter(stage["name"]):
                break
            problem = self._carry_out(stage)
            if problem or self.status != "InProgress":
                break
        with self.pipeline.changed:
            if self.ended:
                return
            self.change("Failed" if problem else SUCCEEDED, problem)

    def _arrive(self, stage: str) -> None:
        """Enter the stage or wait for it; older runs that wait are superseded."""
        queue = self.pipeline.queues.setdefault(stage, [])
        if self in queue:
            return
        for older in [each for each in queue if not each.is_in(stage)]:
            queue.remove(older)
            older.change("Superseded")
        queue.append(self)
        self._admit(stage)

    def _admit(self, stage: str) -> bool:
        """Enter the stage if it is the run's turn; return whether it is."""
        is_first = self.pipeline.queues[stage][:1] == [self]
        if is_first and not self.is_in(stage):
            self.stages[stage] = "InProgress"
            self.pipeline.latest[stage] = self
        return self.is_in(stage)

    def _enter(self, stage: str) -> bool:
        """Wait for the stage; return whether the run has entered it."""
        changed = self.pipeline.changed
        with changed:
            self._arrive(stage)
            changed.wait_for(lambda: self.status != "InProgress" or self._admit(stage))
            if not self.is_in(stage):
                self._leave(stage)
            return self.is_in(stage)

    def _leave(self, stage: str, status: str | None = None) -> None:
        """Unlock the stage; if the run was in it, record this status."""
        if status:
            self.stages[stage] = status
        queue = self.pipeline.queues[stage]
        queue[:] = [each for each in queue if each is not self]
        self.pipeline.changed.notify_all()

    def _carry_out(self, stage: Json) -> str | None:
        """Carry out the stage's actions; return why it failed, if it did."""
        name, problem = stage["name"], None
        is_skipped = self.outcome == f"Skip {name}"
        actions = sorted(stage["actions"], key=lambda each: int(each.get("runOrder", 1)))
        for declaration in [] if is_skipped else actions:
            with self.pipeline.changed:
                if self.status != "InProgress":
                    break
                action = ActionExecution(self, name, declaration)
            problem = action.carry_out()
            if problem:
                break
        with self.pipeline.changed:
            if self.is_in(name):
                ended = "Failed" if problem else "Skipped" if is_skipped else SUCCEEDED
                self._leave(name, ended)
        return problem


class ActionExecution:
    """One execution of an action."""

    def __init__(self, run: Run, stage: str, declaration: Json) -> None:
        self.run = run
        self.stage = stage
        self.name: str = declaration["name"]
        self.kind: Json = declaration["actionTypeId"]
        self.configuration: dict[str, str] = declaration.get("configuration", {})
        self.started = self.updated = utcnow()
        self.status = "InProgress"
        self.token: str | None = None
        run.pipeline.actions.append(self)

    def finish(self, status: str) -> None:
        """Set the final status."""
        self.status = status
        self.updated = utcnow()
        self.run.pipeline.changed.notify_all()

    def to_detail(self) -> Json:
        """Return the entry of ListActionExecutions."""
        return {
            "pipelineExecutionId": self.run.pipeline_execution_id,
            "stageName": self.stage,
            "actionName": self.name,
            "startTime": seconds(self.started),
            "lastUpdateTime": seconds(self.updated),
            "status": self.status,
            "input": {
                "actionTypeId": self.kind,
                "configuration": self.configuration,
                "resolvedConfiguration": self.configuration,
            },
        }

    def to_state(self) -> Json:
        """Return the entry of GetPipelineState."""
        state = {"status": self.status, "lastStatusChange": seconds(self.updated)}
        return state | ({"token": self.token} if self.status == "InProgress" else {})

    def carry_out(self) -> str | None:
        """Carry out the action; return why it failed, if it did."""
        try:
            approves = self.kind["category"] == "Approval"
            problem = self._wait_for_approval() if approves else self._perform()
        except Exception as error:  # noqa: BLE001 (whatever it is, a run must not be left in progress)
            problem = f"{type(error).__name__}: {error}"
        with self.run.pipeline.changed:
            if self.status == "InProgress":
                self.finish("Failed" if problem else SUCCEEDED)
        return problem

    def _wait_for_approval(self) -> str | None:
        with self.run.pipeline.changed:
            self.token = str(uuid4())
            self.run.pipeline.changed.wait_for(lambda: self.status != "InProgress")
        return "Rejected" if self.status == "Failed" else None

    def _perform(self) -> str | None:
        run, stack = self.run, self.configuration.get("StackName", "")
        fails = run.outcome in (f"Failed in {self.stage}", f"Failed in {self.name}")
        problem = f"{self.name} failed" if fails else None

        def restore() -> None:
            self._hold(":restoring")
            self._spend_time()
            if problem or run.pipeline.forgotten:
                raise Failed(problem)

        self._hold()
        if self.status != "InProgress":  # somebody has ended it meanwhile
            return None
        if not stack or run.revision is None:
            self._spend_time()
            return problem
        template, parameters = run.revision
        failure = stacks.deploy(*run.pipeline.place, stack, template, parameters, restore)
        return failure or problem

    def _hold(self, moment: str = "") -> None:
        """Wait while a test holds runs at this moment of the action, given by its own or its stage's name."""
        run, pipeline = self.run, self.run.pipeline
        points = {self.stage + moment, self.name + moment}
        with pipeline.changed:
            while (held := points.intersection(pipeline.hold)) and not pipeline.forgotten:
                run.held_at = held.pop()
                pipeline.changed.wait()
            run.held_at = None

    def _spend_time(self) -> None:
        pipeline = self.run.pipeline
        if self.kind["category"] in ("Build", "Deploy"):
            with pipeline.changed:
                pipeline.changed.wait_for(lambda: pipeline.forgotten, pipeline.run_seconds / 2)


def seconds(time: datetime) -> float:
    """Convert one of moto's naive UTC times to seconds since the epoch, as in JSON."""
    return time.replace(tzinfo=UTC).timestamp()
