"""An account whose pipeline behaves as CodePipeline does. Its truth is what each cluster came from.

https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from chalicelib.domain.deployment import PREPARES_CHANGE_SET, Action, Stack
from chalicelib.domain.ledger import Run, Version
from chalicelib.domain.snapshots import Snapshot
from tests.fakes import ACCEPTANCE, InMemoryAws, InMemoryPipelines, InMemorySnapshots, arn

STAGES = ("Build", "Approval", "Deploy", "Test")
DEPLOY = "Deploy"

# A process that takes its steps one at a time, each with the fate that somebody chose for it.
Steps = Generator[None, str | None, bool]


class Behaviour(NamedTuple):
    """What differs from one account to another."""

    queued: bool = False
    change_sets: bool = False
    automatic_rollback: bool = False
    # A cluster may have to wait for other resources of its stack.
    creates_late: bool = False
    # A property such as a build number may make every update restore anew.
    replaces: bool = False
    # What ResolvedValue says after an update was rolled back is not documented.
    resolved_after_rollback: str = "old"
    listing_lag: timedelta = timedelta()
    pipeline_clock: timedelta = timedelta()
    rds_clock: timedelta = timedelta()
    ssm_clock: timedelta = timedelta()
    # Neither is documented: a copy's date may be its data's, and it may be available at once.
    copies_keep_date: bool = False
    copies_at_once: bool = False


@dataclass(eq=False)
class Execution:
    """A run of the pipeline; `is_inside` is whether it holds its stage, or waits in front of it."""

    execution_id: str
    trigger: str
    started: datetime
    is_rollback: bool = False
    stage: str = STAGES[0]
    is_inside: bool = False
    is_stopping: bool = False
    is_abandoned: bool = False
    statuses: list[tuple[datetime, str]] = field(default_factory=list)
    steps: Steps | None = None
    superseded_by: "Execution | None" = None

    @property
    def status(self) -> str:
        return self.statuses[-1][1]

    @property
    def succeeded(self) -> bool:
        """Whether it, or the run that has superseded it, ended well."""
        after = self.superseded_by
        return after.succeeded if after else self.status == "Succeeded"

    @property
    def is_live(self) -> bool:
        return self.status in ("InProgress", "Stopping")


@dataclass(eq=False)
class Update:
    """An update of a stack, with the version of each `current` that CloudFormation has read."""

    stack: str
    execution: Execution
    read: Mapping[str, Version]
    steps: Steps | None = None
    has_succeeded: bool | None = None

    @property
    def is_live(self) -> bool:
        return self.has_succeeded is None


class SimulatedSnapshots(InMemorySnapshots):
    """Snapshots that people change; `judge` is asked before the application deletes one."""

    judge: Callable[[str], None]

    def delete(self, identifier: str) -> None:
        if self.get(arn(identifier, ACCEPTANCE)):  # or another delivery was faster
            self.judge(arn(identifier, ACCEPTANCE))
        super().delete(identifier)

    def get(self, value: str) -> Snapshot | None:
        return next((each for each in self.all if each.arn == value), None)

    def change(self, value: str, status: str) -> None:
        """Give a snapshot another status; `deleted` also fails its copies in progress."""
        changed = [each._replace(status=status) if each.arn == value else each for each in self.all]
        if status != "deleted":
            self.all = changed
            return
        self.remove(value)
        for each in [each for each in self.all if each.in_progress and each.arn in self.copies]:
            if self.copies[each.arn].source.arn == value:
                self.change(each.arn, "failed")


class SimulatedPipelines(InMemoryPipelines):
    """The main pipeline as CodePipeline lists it, which may be some moments ago."""

    def listed(self, name: str) -> list[Run]:
        then = self.aws.time - self.aws.behaviour.listing_lag
        clock, found = self.aws.behaviour.pipeline_clock, []
        for each in self.aws.executions:
            for updated, status in [state for state in each.statuses if state[0] <= then][-1:]:
                times = each.started + clock, updated + clock
                found.append(Run(each.execution_id, status, *times, each.trigger, each.is_rollback))
        return found

    def actions(self, name: str, execution_id: str | None = None) -> list[Action]:
        found = super().actions(name, execution_id)
        # A pipeline that has never deployed would look like one that runs Terraform in a build.
        return found if execution_id or any(each.stage == DEPLOY for each in found) else []

    def begin(self, name: str, trigger: str = "StartPipelineExecution") -> str:
        return self.aws.begin(trigger).execution_id

    @property
    def started(self) -> set[str]:
        """The runs that the application has started."""
        return set(self.by_token.values())


class SimulatedAws(InMemoryAws):
    """AWS with one main pipeline. Nothing goes on by itself: `go_on` takes the next step."""

    def __init__(self, now: datetime, behaviour: Behaviour) -> None:
        super().__init__(now)
        self.behaviour = behaviour
        self.pipelines = SimulatedPipelines(self)
        self.snapshots = SimulatedSnapshots(self)
        self.snapshots.keeps_date = behaviour.copies_keep_date
        self.snapshots.at_once = behaviour.copies_at_once
        self.parameters.clock = behaviour.ssm_clock
        self.stacks.replaces = behaviour.replaces
        self.executions: list[Execution] = []
        self.updates: list[Update] = []
        # Each update that replaced a cluster, with its parameter, and what was deployed before.
        self.replaced: list[tuple[Update, str, str | None]] = []
        self.latest: dict[str, Execution] = {}  # of each stage, the run that entered it last
        self.disabled: set[str] = set()
        # Versions that somebody put by hand, with a Description as only the application writes it.
        self.like_ours: set[tuple[str, int]] = set()
        self.moment: Callable[[], None] = lambda: None  # between an action's start and its read

    @property
    def live(self) -> list[Execution | Update]:
        """Everything that may go on."""
        return [each for each in (*self.executions, *self.updates) if each.is_live]

    def own_run(self, token: str | None) -> Execution | None:
        """Return the run that the application has started with this token."""
        started = self.pipelines.by_token.get(token or "")
        return next((each for each in self.executions if each.execution_id == started), None)

    def go_on(self, process: Execution | Update, fate: str | None = "ok") -> None:
        """Take the next step of a run or a stack update, unless it has to wait."""
        try:
            process.steps.send(fate)
        except StopIteration as end:
            if isinstance(process, Update):
                process.has_succeeded = end.value
            elif process.is_live:
                self._end(process, "Succeeded" if end.value else "Failed")

    # --- what people and pushes do ---

    def begin(self, trigger: str = "Webhook", *, rolls_back: bool = False) -> Execution:
        """Start a run: of the whole pipeline, or of its deploy stage alone to roll that back."""
        run = Execution(f"run-{len(self.executions) + 1}", trigger, self.time, rolls_back)
        self.executions.append(run)
        run.statuses.append((self.time, "InProgress"))
        self._launch(run, (DEPLOY,) if rolls_back else STAGES)
        return run

    def may_roll_back(self) -> bool:
        return self._holder(DEPLOY) is None and any(
            action.status == "Succeeded" and action.category == DEPLOY
            for action in self.pipelines.executed
        )

    def may_retry(self, run: Execution) -> bool:
        """Only the latest run of a stage can be retried there."""
        is_free = self._holder(run.stage) is None
        return is_free and run.status == "Failed" and self.latest[run.stage] is run

    def retry(self, run: Execution) -> None:
        """Continue a failed run in the stage where it failed, under the same id."""
        run.statuses.append((self.time, "InProgress"))
        self._launch(run, STAGES[STAGES.index(run.stage) :] if not run.is_rollback else (DEPLOY,))

    def stop(self, run: Execution, *, abandons: bool) -> None:
        """Stop a run: at once, its action going on unobserved, or when its action has ended."""
        if run.is_inside and run.stage == DEPLOY and not abandons:
            run.is_stopping = True
            run.statuses.append((self.time, "Stopping"))
            return
        run.is_abandoned = True
        for index, action in enumerate(self.pipelines.executed):
            if (action.execution_id, action.status) == (run.execution_id, "InProgress"):
                self._end_action(index, "Abandoned")
        self._end(run, "Stopped")

    def continue_rollback(self) -> None:
        """Somebody repairs every stack whose roll-back failed."""
        for name, stack in self.stacks.all.items():
            if stack.status == "UPDATE_ROLLBACK_FAILED":
                self.stacks.all[name] = stack._replace(status="UPDATE_ROLLBACK_COMPLETE")

    # --- CodePipeline ---

    def _launch(self, run: Execution, stages: tuple[str, ...]) -> None:
        run.steps = self._pass(run, stages)
        self.go_on(run, None)

    def _pass(self, run: Execution, stages: tuple[str, ...]) -> Steps:
        for stage in stages:
            run.stage, run.is_inside = stage, False
            self._supersede(run)
            fate = "ok" if stage == stages[0] else (yield)
            while not self._may_enter(run):
                fate = yield
            run.is_inside, self.latest[stage] = True, run
            if stage != DEPLOY:
                index = self._begin_action(run, stage, stage, None)
                fate = yield
                has_passed = fate != "fail"
                self._end_action(index, "Succeeded" if has_passed else "Failed")
            else:
                has_passed = fate == "skip" or (yield from self._deploy(run))
            if run.is_stopping:
                self._end(run, "Stopped")
                return False
            if not has_passed:
                if stage == DEPLOY and self.behaviour.automatic_rollback and not run.is_rollback:
                    self._end(run, "Failed")
                    self.begin("AutomatedRollback", rolls_back=True)
                return False
        return True

    def _supersede(self, run: Execution) -> None:
        """A newer run replaces an older one only where that waits between two stages."""
        if self.behaviour.queued or run.is_rollback:
            return
        for other in self.executions:
            if other is not run and self._waits_at(other, run.stage):
                self._end(other, "Superseded")
                other.superseded_by = run

    def _may_enter(self, run: Execution) -> bool:
        if self._holder(run.stage) is not None or run.stage in self.disabled:
            return False
        ahead = next(each for each in self.executions if self._waits_at(each, run.stage))
        return ahead is run or not self.behaviour.queued

    def _holder(self, stage: str) -> Execution | None:
        holders = (each for each in self.executions if each.is_live and each.is_inside)
        return next((each for each in holders if each.stage == stage), None)

    @staticmethod
    def _waits_at(run: Execution, stage: str) -> bool:
        return run.is_live and not run.is_inside and run.stage == stage

    def _end(self, run: Execution, status: str) -> None:
        run.statuses.append((self.time, status))
        run.is_inside = run.is_stopping = False

    def _deploy(self, run: Execution) -> Steps:
        for stack in self.stacks.deploys:
            index = self._begin_deploy(run, stack)
            self.time += timedelta(seconds=10)
            self.moment()
            self.time += timedelta(seconds=15)
            update = self._read(run, stack)
            if update and self.behaviour.change_sets:
                self._end_action(index, "Succeeded")
                known = len(self.updates)
                fate = yield  # an approval between the two
                if fate == "fail":
                    return False
                index = self._begin_deploy(run, stack, self.pipelines.executed[index])
                if any(each.stack == stack for each in self.updates[known:]):
                    update = None  # the change set is OBSOLETE
            if update:
                self.updates.append(update)
                update.steps = self._update(update)
                next(update.steps)
                while update.is_live:
                    yield
                yield  # CodePipeline learns it a moment after CloudFormation
                self.time += timedelta(seconds=10)
            has_succeeded = bool(update and update.has_succeeded)
            self._end_action(index, "Succeeded" if has_succeeded else "Failed")
            if not has_succeeded:
                return False
        return True

    def _begin_deploy(self, run: Execution, stack: str, prepared: Action | None = None) -> int:
        """Begin to deploy a stack, or to prepare a change set, which is not a deployment yet."""
        prepares = self.behaviour.change_sets and not prepared
        category = PREPARES_CHANGE_SET if prepares else DEPLOY
        return self._begin_action(run, category, f"{category}-{stack}", stack, prepared)

    def _begin_action(
        self,
        run: Execution,
        category: str,
        name: str,
        stack: str | None,
        prepared: Action | None = None,
    ) -> int:
        now = self.time + self.behaviour.pipeline_clock
        action = Action(run.execution_id, run.stage, name, "InProgress", now, now, category, stack)
        since = prepared.started if prepared else now
        self.pipelines.executed.append(action._replace(reads_since=since))
        return len(self.pipelines.executed) - 1

    def deploy_by_hand(self, stack: str) -> None:
        """Somebody updates a stack without the pipeline, which takes an hour, if it can be updated."""
        person = Execution("by hand", "hand", self.time, is_abandoned=True)
        person.statuses.append((self.time, "Succeeded"))
        if update := self._read(person, stack):
            self.time += timedelta(minutes=1)
            self.updates.append(update)
            update.steps = self._update(update)
            next(update.steps)
            self.time += timedelta(hours=1)
            while update.is_live:
                self.go_on(update, "ok")

    def _end_action(self, index: int, status: str) -> None:
        self.pipelines.executed[index] = self.pipelines.executed[index]._replace(
            status=status, updated=self.time + self.behaviour.pipeline_clock
        )

    # --- CloudFormation ---

    def _read(self, run: Execution, name: str) -> Update | None:
        """Resolve the parameters; None if the stack cannot be updated now."""
        stack = self.stacks.all.get(name)
        if stack and stack.status.endswith(("_IN_PROGRESS", "ROLLBACK_FAILED")):
            return None
        kept, names = self.parameters.kept, self.stacks.deploys[name].values()
        if any(each not in kept for each in names):
            return None
        return Update(name, run, {each: kept[each][-1] for each in names})

    def _update(self, update: Update) -> Steps:
        """Restore what has changed, which takes minutes to hours, or roll back."""
        name, before = update.stack, self.stacks.all.get(update.stack)
        exists = before is not None and before.status != "ROLLBACK_COMPLETE"
        action, prefix = ("UPDATE", "UPDATE_") if exists else ("CREATE", "")
        before = before or Stack("", {}, {})
        self.stacks.all[name] = before._replace(status=f"{action}_IN_PROGRESS")
        if self.behaviour.replaces:
            self.time += timedelta(minutes=2)  # or nobody could tell which of two updates made it
        begun = self.time
        resolved = {parameter: version.value for parameter, version in update.read.items()}
        to_restore = self.stacks.to_restore(name, resolved).values()
        fate = yield
        exist = {each.arn for each in self.snapshots.all if each.status == "available"}
        if fate == "fail" or any(resolved[each] not in exist for each in to_restore):
            self.stacks.set_status(f"{prefix}ROLLBACK_IN_PROGRESS", name)
            fate = yield
            lies = exists and self.behaviour.resolved_after_rollback == "new"
            status = "FAILED" if fate == "fail" and exists else "COMPLETE"
            resolved = resolved if lies else before.resolved
            self.stacks.all[name] = Stack(f"{prefix}ROLLBACK_{status}", before.clusters, resolved)
            return False
        for each in to_restore:
            self.replaced.append((update, each, self.stacks.restored_from(each)))
        created = self.time if self.behaviour.creates_late else begun + timedelta(seconds=5)
        created += self.behaviour.rds_clock
        self.stacks.deploy(name, resolved, created, f"{action}_COMPLETE")
        return True
