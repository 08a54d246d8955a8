"""A pipeline's runs, which pass its stages and actions as CodePipeline's do.

The sources are the CodePipeline User Guide (*How pipeline executions work*, *Configuring stage retry*,
*Configuring stage rollback*, *Add a manual approval action*) and botocore's ``codepipeline`` model:

- a stage holds one run at a time. A run that finds it locked, or its inbound transition disabled, waits in
  front of it, and is superseded by a newer run that arrives there (mode SUPERSEDED, the only one here);
- a CloudFormation action deploys its stack (``stacks.py``) from the revision that the run's source action read;
  the stack reads Parameter Store when the action runs;
- *stop and wait* lets the actions in progress complete, *stop and abandon* does not wait for them; a stack
  that is being deployed then goes on;
- a retry continues the same run with actions of its own; a rollback is a new run of one stage, from the
  revision of an earlier run.

Actions of one stage run one after the other, in the order of ``runOrder``.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.codepipeline.models import CodePipeline, PipelineExecution
from moto.core.utils import utcnow

from localcloud import rules, stacks
from localcloud.resources import Failed

Json = dict[str, Any]
Revision = Mapping[str, tuple[str, dict[str, str]]]  # each stack's template and parameters

SUCCEEDED = "Succeeded"
# CodePipeline's two ways to say how a run ended: its status, and its event's state.
_STATES = {SUCCEEDED: "SUCCEEDED", "Failed": "FAILED", "Stopped": "STOPPED"}


@dataclass
class Behaviour:
    """What CodePipeline does not know of a pipeline: what it deploys, and what is to happen to it.

    ``changed`` guards this and everything about the pipeline's runs.
    """

    run_seconds: float = 1.0
    action_seconds: dict[str, float] = field(default_factory=dict)
    revision: Revision = field(default_factory=dict)
    next_outcomes: list[str] = field(default_factory=list)
    hold: set[str] = field(default_factory=set)
    loses_events: bool = False
    tokens: dict[str, str] = field(default_factory=dict)
    actions: list["ActionExecution"] = field(default_factory=list)
    occupants: dict[str, "Run"] = field(default_factory=dict)
    latest: dict[str, "Run"] = field(default_factory=dict)
    waiting: dict[str, list["Run"]] = field(default_factory=dict)
    disabled: dict[str, str] = field(default_factory=dict)  # why no run may enter a stage
    forgotten: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class Run(PipelineExecution):
    """A pipeline execution under way; ``stages`` has the status of each stage that it entered."""

    def __init__(
        self,
        pipeline: CodePipeline,
        behaviour: Behaviour,
        trigger: dict[str, str],
        target: "Run | None" = None,
    ) -> None:
        definition = pipeline.pipeline
        super().__init__(definition["name"], definition["version"], None)
        self.status = "InProgress"
        self.behaviour = behaviour
        self.pipeline = pipeline
        self.target = target
        self.revision: Revision = target.revision if target else behaviour.revision
        self.stages: dict[str, str] = {}
        self.held_at: str | None = None
        self.thread: threading.Thread | None = None
        self._trigger = trigger
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Take the next outcome that was ordered."""
        ordered = self.behaviour.next_outcomes
        self.outcome = ordered.pop(0) if ordered else SUCCEEDED

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it unless it is retried."""
        return self.status not in ("InProgress", "Stopping")

    def change(self, status: str, summary: str | None = None) -> None:
        """Enter a status."""
        self.status = status
        self.status_summary = summary
        self.last_update_time = utcnow()
        self.behaviour.changed.notify_all()

    def withdraw(self, status: str) -> None:
        """End the run where it is, without waiting for its actions."""
        self.change(status)
        for stage, state in list(self.stages.items()):
            if state == "InProgress":
                self.leave(stage, status)
        for action in self.behaviour.actions:
            if action.run is self and action.status == "InProgress":
                action.finish("Abandoned")

    def is_target(self, stage: str) -> bool:
        """Return whether the stage can be rolled back to this run."""
        return self.target is None and self.stages.get(stage) == SUCCEEDED

    def occupy(self, stage: str) -> None:
        """Lock the stage."""
        self.behaviour.occupants[stage] = self.behaviour.latest[stage] = self
        self.stages[stage] = "InProgress"
        self.behaviour.changed.notify_all()

    def leave(self, stage: str, status: str) -> None:
        """Unlock the stage, in which the run came to this status."""
        self.stages[stage] = status
        if self.behaviour.occupants.get(stage) is self:
            del self.behaviour.occupants[stage]
        self.behaviour.changed.notify_all()

    def to_dict(self) -> Json:
        """Return GetPipelineExecution's answer."""
        return super().to_dict() | self._details()

    def to_summary_dict(self) -> Json:
        """Return ListPipelineExecutions' answer; JSON has times in seconds of the epoch."""
        times = {
            "startTime": seconds(self.start_time),
            "lastUpdateTime": seconds(self.last_update_time),
        }
        return super().to_summary_dict() | self._details() | times

    def _details(self) -> Json:
        kind = {"executionType": "ROLLBACK" if self.target else "STANDARD"}
        return {"trigger": self._trigger, "executionMode": "SUPERSEDED", **kind}


class ActionExecution:
    """One execution of an action."""

    def __init__(self, run: Run, stage: str, declaration: Json) -> None:
        self.id = str(uuid4())
        self.run = run
        self.stage = stage
        self.name: str = declaration["name"]
        self.kind: Json = declaration["actionTypeId"]
        self.configuration: dict[str, str] = declaration.get("configuration", {})
        self.started = self.updated = utcnow()
        self.status = "InProgress"
        self.token: str | None = None
        run.behaviour.actions.append(self)

    def finish(self, status: str) -> None:
        """Enter a final status."""
        self.status = status
        self.updated = utcnow()
        self.run.behaviour.changed.notify_all()

    def to_detail(self) -> Json:
        """Return ListActionExecutions' answer."""
        return {
            "pipelineExecutionId": self.run.pipeline_execution_id,
            "actionExecutionId": self.id,
            "pipelineVersion": self.run.pipeline_version,
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
        """Return GetPipelineState's answer."""
        state = {
            "actionExecutionId": self.id,
            "status": self.status,
            "lastStatusChange": seconds(self.updated),
        }
        return state | ({"token": self.token} if self.status == "InProgress" else {})


class Runner:
    """Carries out the runs of one account and Region, each attempt in a thread of its own."""

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region

    def start(self, run: Run, stages: Sequence[Json]) -> None:
        """Let a new run arrive at its first stage, and carry it out."""
        with run.behaviour.changed:
            run.pipeline.executions[run.pipeline_execution_id] = run
            superseded = self._arrive(run, stages[0]["name"])
        self._announce_superseded(superseded)
        self.go_on(run, stages, "STARTED")

    def go_on(
        self, run: Run, stages: Sequence[Json], state: str, done: Collection[str] = ()
    ) -> None:
        """Carry out the stages in a thread, without the first one's actions that are ``done``."""
        self.announce(run, state)
        run.thread = threading.Thread(target=self._carry_out, args=(run, stages, done), daemon=True)
        run.thread.start()

    def announce(self, run: Run, state: str) -> None:
        """Put the run's change of state on the account's bus, unless it is to be lost."""
        if run.behaviour.loses_events:
            return
        event = {
            "detail-type": "CodePipeline Pipeline Execution State Change",
            "source": "aws.codepipeline",
            "resources": [
                f"arn:aws:codepipeline:{self._region}:{self._account}:{run.pipeline_name}"
            ],
            "detail": {
                "pipeline": run.pipeline_name,
                "execution-id": run.pipeline_execution_id,
                "start-time": f"{run.start_time.isoformat(timespec='milliseconds')}Z",
                "state": state,
                "version": float(run.pipeline_version),
            },
        }
        rules.publish(self._account, self._region, event)

    def _carry_out(self, run: Run, stages: Sequence[Json], done: Collection[str]) -> None:
        """Pass the stages one after the other, the first of which the run has arrived at."""
        problem = None
        for stage in stages:
            if stage is not stages[0]:
                done = ()
                with run.behaviour.changed:
                    superseded = self._arrive(run, stage["name"])
                self._announce_superseded(superseded)
            if not self._enter(run, stage["name"]):
                break
            problem = self._carry_out_stage(run, stage, done)
            if problem or run.status != "InProgress":
                break
        with run.behaviour.changed:
            if run.ended:
                return
            ended = "Failed" if problem else SUCCEEDED
            run.change("Stopped" if run.status == "Stopping" else ended, problem)
        self.announce(run, _STATES[run.status])
        if run.status == "Failed" and not run.target:
            self._roll_back_automatically(run, stage)

    @staticmethod
    def _arrive(run: Run, stage: str) -> list[Run]:
        """Let the run wait for the stage, or enter it at once; returns the runs that it supersedes.

        Whether a rollback supersedes, or is superseded, is undocumented: here it does neither.
        """
        waiting = run.behaviour.waiting.setdefault(stage, [])
        superseded = [] if run.target else [each for each in waiting if not each.target]
        for older in superseded:
            waiting.remove(older)
            older.change("Superseded")
        waiting.append(run)
        _admit(run, stage)
        return superseded

    @staticmethod
    def _enter(run: Run, stage: str) -> bool:
        """Wait for the stage; returns whether the run is in it."""
        behaviour = run.behaviour
        with behaviour.changed:
            behaviour.changed.wait_for(lambda: run.status != "InProgress" or _admit(run, stage))
            if run in behaviour.waiting[stage]:
                behaviour.waiting[stage].remove(run)
                behaviour.changed.notify_all()
            return behaviour.occupants.get(stage) is run

    def _carry_out_stage(self, run: Run, stage: Json, done: Collection[str]) -> str | None:
        """Carry out the stage's actions; returns why it failed, if it did."""
        name, problem = stage["name"], None
        if run.outcome == f"Skip {name}":
            with run.behaviour.changed:
                run.leave(name, "Skipped")
            return None
        for declaration in sorted(stage["actions"], key=lambda each: int(each.get("runOrder", 1))):
            with run.behaviour.changed:
                if run.status != "InProgress":
                    break
                if declaration["name"] in done:
                    continue
                action = ActionExecution(run, name, declaration)
            problem = self._act(action)
            if problem:
                break
        with run.behaviour.changed:
            if run.stages[name] == "InProgress":
                ended = "Failed" if problem else SUCCEEDED
                run.leave(name, "Stopped" if run.status == "Stopping" else ended)
        return problem

    def _act(self, action: ActionExecution) -> str | None:
        """Carry out an action; returns why it failed, if it did."""
        try:
            approval = action.kind["category"] == "Approval"
            problem = _wait_for_approval(action) if approval else self._perform(action)
        except Exception as error:  # noqa: BLE001 (whatever it is, a run must not be left in progress)
            problem = f"{type(error).__name__}: {error}"
        with action.run.behaviour.changed:
            if action.status == "InProgress":
                action.finish("Failed" if problem else SUCCEEDED)
        return problem

    def _perform(self, action: ActionExecution) -> str | None:
        run, stack = action.run, action.configuration.get("StackName", "")
        problem = None
        if run.outcome in (f"Failed in {action.stage}", f"Failed in {action.name}"):
            problem = f"{action.name} failed"

        def restore() -> None:
            _hold(action, ":restoring")
            _spend_time(action)
            if problem or run.behaviour.forgotten:
                raise Failed(problem)

        _hold(action)
        if action.status != "InProgress":  # abandoned meanwhile
            return None
        if stack not in run.revision:
            _spend_time(action)
            return problem
        template, parameters = run.revision[stack]
        failure = stacks.deploy(self._account, self._region, stack, template, parameters, restore)
        return failure or problem

    def _roll_back_automatically(self, run: Run, stage: Json) -> None:
        """Roll the stage back to the newest run that succeeded in it, if the stage is configured so."""
        if stage.get("onFailure", {}).get("result") != "ROLLBACK":
            return
        targets = [each for each in runs_of(run.pipeline) if each.is_target(stage["name"])]
        if targets:
            trigger = {"triggerType": "AutomatedRollback"}
            self.start(Run(run.pipeline, run.behaviour, trigger, targets[-1]), [stage])

    def _announce_superseded(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.announce(run, "SUPERSEDED")


def runs_of(pipeline: CodePipeline) -> list[Run]:
    """Return the pipeline's runs, oldest first."""
    return [run for run in list(pipeline.executions.values()) if isinstance(run, Run)]


def seconds(time: datetime) -> float:
    """Return a naive UTC time, as moto keeps it, in seconds of the epoch, as JSON has it."""
    return time.replace(tzinfo=UTC).timestamp()


def _admit(run: Run, stage: str) -> bool:
    """Let the run into the stage if it is its turn; returns whether it is in."""
    behaviour = run.behaviour
    waiting = behaviour.waiting[stage]
    locked = stage in behaviour.occupants or stage in behaviour.disabled
    if waiting[:1] == [run] and not locked:
        waiting.remove(run)
        run.occupy(stage)
    return behaviour.occupants.get(stage) is run


def _wait_for_approval(action: ActionExecution) -> str | None:
    changed = action.run.behaviour.changed
    with changed:
        action.token = str(uuid4())
        changed.wait_for(lambda: action.status != "InProgress")
    return "Rejected" if action.status == "Failed" else None


def _hold(action: ActionExecution, moment: str = "") -> None:
    """Wait while a test holds runs at this moment of the action, named by its stage or by itself."""
    run, behaviour = action.run, action.run.behaviour
    points = {action.stage + moment, action.name + moment}
    with behaviour.changed:
        while (held := points & behaviour.hold) and not behaviour.forgotten:
            run.held_at = held.pop()
            behaviour.changed.wait()
        run.held_at = None


def _spend_time(action: ActionExecution) -> None:
    behaviour = action.run.behaviour
    usual = behaviour.run_seconds / 2 if action.kind["category"] in ("Build", "Deploy") else 0.0
    with behaviour.changed:
        behaviour.changed.wait_for(
            lambda: behaviour.forgotten, behaviour.action_seconds.get(action.name, usual)
        )
