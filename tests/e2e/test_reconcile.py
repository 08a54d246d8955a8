"""What becomes of a refresh, whatever the main pipeline does: with its events, or with all of them lost.

Afterwards an ordinary run at noon must replace no database. tests/simulation has others' runs beside it, pins that
wait, and other roll-backs.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest

from demo.acceptance import PIPELINE, Company
from localcloud.client import wait_until
from tests.e2e.conftest import Night, answer_of

FAILED = "REFRESH FAILED: pipeline run failed, reverted"
NOTHING_RESTORED = "REFRESH FAILED: the run restored nothing, reverted"

# What the cluster was restored from, *current* holds and is good, which is the same; and the notifications.
Found = tuple[set[str], list[str]]


class Refresh(Night):
    """A night whose runs are followed, or polled because EventBridge loses the pipeline's events."""

    def __init__(self, company: Company, *, events: bool) -> None:
        super().__init__(company)
        self.events = events
        self.patch(loses_events=not events)
        self._settled: Counter[str] = Counter()

    def patch(self, **changes: Any) -> None:
        self.cloud.patch_pipeline(PIPELINE, **changes)

    def start(self, *outcomes: str) -> str:
        """Promote, and return the run, whose outcomes are these."""
        self.patch(next_outcomes=list(outcomes))
        self.update()
        return str(answer_of(self.restore())["execution_id"])

    def later(self, **time: float) -> None:
        self.cloud.set_clock(self.cloud.now() + timedelta(**time))

    def end(self, run: str) -> str:
        """Wait until the run has ended and was followed, by its event or by the next poll."""
        status = self.cloud.wait_for_run(run, PIPELINE)
        self._settled[run] += 1
        if self.events:
            self.company.followed(run, times=self._settled[run])
        else:
            self.poll()
        return status

    def subjects(self) -> list[str]:
        """Return the subjects of this night's notifications, without application, database, and age of the data."""
        subjects = [message["Subject"] for message in self.company.notifications()]
        return [
            re.sub(r"aurora-refresh: | in \d+ min, data \d+ h old| \(rds\)$", "", each)
            for each in subjects
        ]

    def found(self) -> Found:
        """Read the result with plain boto3."""
        names = {self.old: "old", self.new: "new"}
        (source,) = self.company.clusters().values()
        good = names.get(self.company.good(), "old")
        return {names[source], names[self.current()], good}, self.subjects()


def retry(night: Refresh, run: str, stage: str) -> str:
    night.pipelines.retry_stage_execution(
        pipelineName=PIPELINE, stageName=stage, pipelineExecutionId=run, retryMode="FAILED_ACTIONS"
    )
    return night.end(run)


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
    state = night.pipelines.get_pipeline_state(name=PIPELINE)
    found = jmespath.search("stageStates[].actionStates[].latestExecution.token | [0]", state)
    return found and str(found)


def the_tests_fail_and_are_retried(night: Refresh) -> None:
    run = night.start("Failed in Test")
    night.end(run)
    night.later(minutes=30)
    retry(night, run, "Test")


def the_deploy_stage_is_retried_after_it_was_taken_back(night: Refresh) -> None:
    run = night.start("Failed in Deploy")
    night.end(run)
    night.later(minutes=30)
    assert retry(night, run, "Deploy") == "Succeeded"


def the_deploy_stage_rolls_back_and_that_restores(night: Refresh) -> None:
    with changed(night, lambda stages: stages[2].update(onFailure={"result": "ROLLBACK"})):
        night.end(night.push())  # which it can be rolled back to
        night.patch(hold=["Deploy"])
        run = night.start("Failed in Deploy")
        night.cloud.wait_until_held(PIPELINE, "Deploy")
        night.later(minutes=10)
        night.patch(hold=[], run_seconds=2)
        assert night.end(run) == "Failed"
        rollback = night.listed_runs()[0]
        assert rollback["executionType"] == "ROLLBACK"
        night.end(rollback["pipelineExecutionId"])
        night.patch(run_seconds=0.1)


def the_deploy_stage_is_skipped(night: Refresh) -> None:
    assert night.end(night.start("Skip Deploy")) == "Succeeded"


def an_approval_is_rejected_the_next_day(night: Refresh) -> None:
    kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    action = {"name": "Ask", "actionTypeId": kind}
    with changed(night, lambda stages: stages.insert(2, {"name": "Approval", "actions": [action]})):
        run = night.start()
        token = wait_until(lambda: approval_of(night), f"run {run} to wait for approval")
        night.later(hours=20)
        night.poll()
        problems = "\n".join(night.ask("GET", "/status")["problems"])
        assert "waiting for approval in stage Approval, action Ask since" in problems
        assert f"When it goes on, it restores rds from {night.new}." in problems
        night.pipelines.put_approval_result(
            pipelineName=PIPELINE,
            stageName="Approval",
            actionName="Ask",
            result={"summary": "not now", "status": "Rejected"},
            token=token,
        )
        assert night.end(run) == "Failed"


def the_run_fails_before_it_restores(night: Refresh) -> None:
    assert night.end(night.start("Failed in Build")) == "Failed"


REFRESHED = {"new"}, ["refreshed"]
TAKEN_BACK = {"old"}, [FAILED]
HALF_WAY = {"new"}, ["restored, but the pipeline run failed afterwards", "refreshed"]
# Two are played both ways: an event that never comes changes nothing.
SCENARIOS: list[tuple[Callable[[Refresh], None], str, Found]] = [
    (the_run_fails_before_it_restores, "followed", TAKEN_BACK),
    (the_run_fails_before_it_restores, "polled", TAKEN_BACK),
    (the_tests_fail_and_are_retried, "followed", HALF_WAY),
    (the_tests_fail_and_are_retried, "polled", HALF_WAY),
    (the_deploy_stage_rolls_back_and_that_restores, "followed", REFRESHED),
    (
        the_deploy_stage_is_retried_after_it_was_taken_back,
        "polled",
        ({"old"}, [FAILED, NOTHING_RESTORED]),
    ),
    (the_deploy_stage_is_skipped, "polled", ({"old"}, [NOTHING_RESTORED])),
    (an_approval_is_rejected_the_next_day, "polled", TAKEN_BACK),
]


@pytest.mark.parametrize(("scenario", "end", "expected"), SCENARIOS)
def test_whatever_a_pipeline_does(
    deployed: Company, scenario: Callable[[Refresh], None], end: str, expected: Found
) -> None:
    night = Refresh(deployed, events=end == "followed")
    scenario(night)
    assert night.found() == expected

    before = deployed.clusters()
    night.later(hours=6)
    night.end(night.push())
    assert (deployed.clusters(), night.subjects()) == (before, [])
