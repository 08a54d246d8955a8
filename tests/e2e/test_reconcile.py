"""What becomes of a refresh, whatever the main pipeline does: with its events, and with all of them lost.

The deployed package runs against a pipeline that is held where a scenario needs it. Afterwards an ordinary run
at noon must replace no database, unless a pin waits and the status says so.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from time import sleep
from typing import Any, NamedTuple

import pytest

from localcloud.company import PIPELINE, STACK, Company, arn_of, nightly
from tests.e2e.conftest import RECONCILE, RESTORE, Night

ROUTE = "/snapshots/current"
API = "aurora-refresh-local"
FAILED = "REFRESH FAILED: pipeline run failed, taken back"


class Expected(NamedTuple):
    """What the cluster was restored from, what `current` holds, what is good, and what was notified."""

    cluster: str
    current: str
    good: str
    notified: tuple[str, ...]


class Refresh(Night):
    """A night with a new snapshot, an older one to pin, and events that come or do not come."""

    def __init__(self, company: Company, *, events: bool) -> None:
        super().__init__(company, events=events)
        pinned = nightly(
            "orders", self.two - timedelta(days=3), identifier=f"pin-{self.two:%Y%m%d}"
        )
        self.cloud.seed_snapshots([pinned])
        self.pinned = arn_of(pinned)
        self.pipelines = self.cloud.client("codepipeline")
        self._settled: Counter[str] = Counter()
        self.cloud.set_clock(self.two - timedelta(hours=1))
        self.poll()  # so that what is deployed is known
        company.notifications()
        self.cloud.set_clock(self.two)

    def patch(self, **changes: Any) -> None:
        self.cloud.patch_pipeline(PIPELINE, **changes)

    def start(self, *outcomes: str, hold: str | None = None) -> str:
        """Promote, and return the run once it is held, or has ended."""
        self.patch(next_outcomes=list(outcomes), hold=[hold] if hold else [])
        self.update()
        (record,) = self.restore()
        assert record["payload"]["outcome"] == "started", record
        if hold:
            self.wait_until_held(hold)
        run: str = record["payload"]["execution_id"]
        return run

    def push(self) -> str:
        """Start an ordinary run, as a developer's commit does."""
        run: str = self.pipelines.start_pipeline_execution(name=PIPELINE)["pipelineExecutionId"]
        return run

    def wait_until_held(self, at: str) -> None:
        self.cloud.wait_until_held(PIPELINE, at)

    def later(self, **time: float) -> None:
        self.cloud.set_clock(self.cloud.now() + timedelta(**time))

    def settle(self, run: str) -> str:
        """Wait until the run has ended and was followed, by its event or by the next poll."""
        status = self.cloud.wait_for_run(run, PIPELINE)
        self._settled[run] += 1
        if self.events:
            self.company.followed(run, times=self._settled[run])
        else:
            self.poll()
        return status

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.cloud.signed(method, path, body)
        assert status == 200, answer
        return answer

    def pin(self) -> Any:
        return self.ask("PUT", ROUTE, {"snapshot": self.pinned})

    def status(self) -> Any:
        return self.ask("GET", "/status")

    def newest_run(self) -> Any:
        return self.pipelines.list_pipeline_executions(pipelineName=PIPELINE)[
            "pipelineExecutionSummaries"
        ][0]

    def found(self) -> Expected:
        """Read the result with plain boto3."""
        names = {self.old: "old", self.new: "new", self.pinned: "pin"}
        (source,) = self.company.clusters().values()
        return Expected(
            names[source],
            names[self.current()],
            names.get(self.company.good(), "old"),
            tuple(_gist(subject) for subject in self.subjects()),
        )


def _gist(subject: str) -> str:
    """Return a subject without the application, the database, durations and ages."""
    text = subject.removeprefix("aurora-refresh: ").removesuffix(" (rds)")
    return re.sub(r"^refreshed in \d+ min, data \d+ h old$", "refreshed", text)


def retry(night: Refresh, run: str, stage: str) -> str:
    night.pipelines.retry_stage_execution(
        pipelineName=PIPELINE, stageName=stage, pipelineExecutionId=run, retryMode="FAILED_ACTIONS"
    )
    return night.settle(run)


@contextmanager
def changed(night: Refresh, change: Callable[[list[Any]], None]) -> Iterator[None]:
    """Change the pipeline's stages, and change them back."""
    pipeline = night.pipelines.get_pipeline(name=PIPELINE)["pipeline"]
    other = deepcopy(pipeline)
    change(other["stages"])
    night.pipelines.update_pipeline(pipeline=other)
    yield
    night.pipelines.update_pipeline(pipeline=pipeline)


def approval_of(night: Refresh) -> str | None:
    """Return the token of the approval that a run waits for."""
    for stage in night.pipelines.get_pipeline_state(name=PIPELINE)["stageStates"]:
        for action in stage["actionStates"]:
            if token := action.get("latestExecution", {}).get("token"):
                return str(token)
    return None


def waits_for_two_hours(night: Refresh, run: str, place: str) -> None:
    """The status and the answer to a hold say where the run waits, and what it will restore."""
    night.later(hours=20)
    night.poll()
    (problem,) = [each for each in night.status()["problems"] if "is in progress since" in each]
    assert problem.startswith(f"run {run} of {PIPELINE} ")
    assert place in problem
    assert problem.endswith(f"When it goes on, it restores rds from {night.new}.")
    until = f"{night.two + timedelta(days=3):%Y-%m-%d}"
    under_way = night.ask("PUT", "/hold", {"until": until})["under_way"]
    assert run in under_way
    assert under_way.endswith(f"it restores rds from {night.new}")
    night.ask("DELETE", "/hold")


def the_tests_fail_after_the_restore(night: Refresh) -> None:
    assert night.settle(night.start("Failed in Test")) == "Failed"


def the_tests_fail_and_are_retried(night: Refresh) -> None:
    run = night.start("Failed in Test")
    night.settle(run)
    night.later(minutes=30)
    retry(night, run, "Test")


def a_commit_waits_behind_the_restore_that_fails(night: Refresh) -> None:
    run = night.start("Failed in Deploy", hold="Deploy:restoring")
    commit = night.push()
    night.later(minutes=10)
    night.patch(hold=["Deploy"])
    night.wait_until_held("Deploy")
    night.settle(run)
    night.later(minutes=10)
    night.patch(hold=[])
    assert night.settle(commit) == "Succeeded"


def the_deploy_stage_is_retried_after_it_was_taken_back(night: Refresh) -> None:
    run = night.start("Failed in Deploy")
    night.settle(run)
    night.later(minutes=30)
    assert retry(night, run, "Deploy") == "Succeeded"


def the_deploy_stage_rolls_back_and_that_restores(night: Refresh) -> None:
    with changed(night, lambda stages: stages[2].update(onFailure={"result": "ROLLBACK"})):
        night.settle(night.push())  # which it can be rolled back to
        run = night.start("Failed in Deploy", hold="Deploy")
        night.later(minutes=10)
        night.patch(hold=[], action_seconds={"Deploy": 1})
        assert night.settle(run) == "Failed"
        rollback = night.newest_run()
        assert rollback["executionType"] == "ROLLBACK"
        night.settle(rollback["pipelineExecutionId"])
        night.patch(action_seconds={})


def a_pin_is_set_while_a_run_builds(night: Refresh) -> None:
    night.patch(hold=["Build"])
    run = night.push()
    night.wait_until_held("Build")
    assert run in night.pin()["under_way"]
    status = night.status()
    assert status["databases"][0]["waiting"]
    assert status["pipeline"]["under_way"]["restores"] == f"rds from {night.pinned}"
    night.later(minutes=10)
    night.patch(hold=[])
    night.settle(run)


def the_deploy_stage_is_skipped(night: Refresh) -> None:
    assert night.settle(night.start("Skip Deploy")) == "Succeeded"


def the_template_ignores_the_parameter(night: Refresh) -> None:
    template = night.cloud.client("cloudformation").get_template(StackName=STACK)["TemplateBody"]
    text = template if isinstance(template, str) else json.dumps(template)
    fixed = json.loads(text)
    fixed["Resources"]["Orders"]["Properties"]["SnapshotIdentifier"] = night.old
    night.patch(template=json.dumps(fixed))
    assert night.settle(night.start()) == "Succeeded"
    night.patch(template=text)


def a_disabled_transition_is_enabled_the_next_day(night: Refresh) -> None:
    stage = {"pipelineName": PIPELINE, "stageName": "Deploy", "transitionType": "Inbound"}
    night.pipelines.disable_stage_transition(**stage, reason="freeze")
    run = night.start()
    waits_for_two_hours(
        night, run, "waiting for its disabled transition to be enabled in stage Deploy"
    )
    night.pipelines.enable_stage_transition(**stage)
    assert night.settle(run) == "Succeeded"


def an_approval_is_rejected_the_next_day(night: Refresh) -> None:
    kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    action = {"name": "Ask", "actionTypeId": kind}
    with changed(night, lambda stages: stages.insert(2, {"name": "Approval", "actions": [action]})):
        run = night.start()
        while (token := approval_of(night)) is None:
            sleep(0.05)
        waits_for_two_hours(night, run, "waiting for approval in stage Approval, action Ask since")
        night.pipelines.put_approval_result(
            pipelineName=PIPELINE,
            stageName="Approval",
            actionName="Ask",
            result={"summary": "not now", "status": "Rejected"},
            token=token,
        )
        assert night.settle(run) == "Failed"


def a_broken_push_fails_while_the_refresh_restores(night: Refresh) -> None:
    run = night.start(hold="Deploy:restoring")
    night.patch(next_outcomes=["Failed in Build"])
    push = night.push()
    assert night.settle(push) == "Failed"
    assert (night.current(), night.subjects()) == (night.new, [])
    night.later(minutes=30)
    night.patch(hold=[])
    assert night.settle(run) == "Succeeded"


def another_stage_rolls_back_while_a_pin_waits(night: Refresh) -> None:
    target = night.newest_run()["pipelineExecutionId"]
    night.pin()
    night.later(minutes=10)
    rollback = night.pipelines.rollback_stage(
        pipelineName=PIPELINE, stageName="Test", targetPipelineExecutionId=target
    )
    assert night.settle(rollback["pipelineExecutionId"]) == "Succeeded"
    assert night.status()["databases"][0]["waiting"]


def the_run_fails_before_it_restores(night: Refresh) -> None:
    assert night.settle(night.start("Failed in Build")) == "Failed"


SCENARIOS: dict[Callable[[Refresh], None], Expected] = {
    the_tests_fail_after_the_restore: Expected(
        "new", "new", "old", ("restored, but the pipeline run failed afterwards",)
    ),
    the_tests_fail_and_are_retried: Expected(
        "new", "new", "new", ("restored, but the pipeline run failed afterwards", "refreshed")
    ),
    a_commit_waits_behind_the_restore_that_fails: Expected("old", "old", "old", (FAILED,)),
    the_deploy_stage_is_retried_after_it_was_taken_back: Expected(
        "old", "old", "old", (FAILED, "REFRESH FAILED: the run restored nothing, taken back")
    ),
    the_deploy_stage_rolls_back_and_that_restores: Expected("new", "new", "new", ("refreshed",)),
    a_pin_is_set_while_a_run_builds: Expected("pin", "pin", "pin", ("refreshed",)),
    the_deploy_stage_is_skipped: Expected(
        "old", "old", "old", ("REFRESH FAILED: the run restored nothing, taken back",)
    ),
    the_template_ignores_the_parameter: Expected(
        "old", "old", "old", ("REFRESH FAILED: the run restored nothing, taken back",)
    ),
    a_disabled_transition_is_enabled_the_next_day: Expected("new", "new", "new", ("refreshed",)),
    an_approval_is_rejected_the_next_day: Expected("old", "old", "old", (FAILED,)),
    a_broken_push_fails_while_the_refresh_restores: Expected("new", "new", "new", ("refreshed",)),
    another_stage_rolls_back_while_a_pin_waits: Expected("old", "pin", "old", ()),
    the_run_fails_before_it_restores: Expected("old", "old", "old", (FAILED,)),
}


@pytest.mark.parametrize("events", [True, False], ids=["followed", "polled"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_whatever_a_pipeline_does(
    deployed: Company, scenario: Callable[[Refresh], None], events: bool
) -> None:
    night = Refresh(deployed, events=events)
    scenario(night)
    assert night.found() == SCENARIOS[scenario]

    before, waits = deployed.clusters(), night.status()["databases"][0]["waiting"]
    night.later(hours=6)
    night.settle(night.push())
    assert (deployed.clusters() != before) == waits
    assert [_gist(each) for each in night.subjects()] == (["refreshed"] if waits else [])


def test_calls_are_few(deployed: Company) -> None:
    night = Refresh(deployed, events=True)
    night.settle(night.start())
    night.poll()
    assert len(night.calls(RESTORE)) <= 9
    night.cloud.clear_calls()
    assert night.poll()["outcome"] == "ignored"
    night.pin()
    assert len(night.calls(RECONCILE)) <= 6
    assert len(night.calls(API)) <= 6
