"""What becomes of a refresh, whatever the main pipeline does, with all of its events lost.

The demo, which test_readme.py runs, follows them. Afterwards an ordinary run at noon must replace no database.
tests/simulation has others' runs beside it, pins that wait, roll-backs, and retries of the deployment.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest

from demo.acceptance import PIPELINE, Company
from localcloud.client import wait_until
from tests.e2e.conftest import Night, answer_of

# What the cluster was restored from, *current* holds and is good, which is the same; and the notifications.
Found = tuple[set[str], list[str]]


class Refresh(Night):
    """A night whose runs are polled, because EventBridge loses the pipeline's events."""

    def __init__(self, company: Company) -> None:
        super().__init__(company)
        self.cloud.patch_pipeline(PIPELINE, loses_events=True)

    def start(self, *outcomes: str) -> str:
        """Promote, and return the run, whose outcomes are these."""
        self.cloud.patch_pipeline(PIPELINE, next_outcomes=list(outcomes))
        self.update()
        return str(answer_of(self.restore())["execution_id"])

    def later(self, **time: float) -> None:
        self.cloud.set_clock(self.cloud.now() + timedelta(**time))

    def end(self, run: str) -> str:
        """Wait until the run has ended, and poll."""
        status = self.cloud.wait_for_run(run, PIPELINE)
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


def the_tests_fail_and_are_retried(night: Refresh) -> None:
    run = night.start("Failed in Test")
    night.end(run)
    night.later(minutes=30)
    night.pipelines.retry_stage_execution(
        pipelineName=PIPELINE,
        stageName="Test",
        pipelineExecutionId=run,
        retryMode="FAILED_ACTIONS",
    )
    night.end(run)


def the_deploy_stage_is_skipped(night: Refresh) -> None:
    assert night.end(night.start("Skip Deploy")) == "Succeeded"


def an_approval_is_rejected_the_next_day(night: Refresh) -> None:
    pipelines = night.pipelines
    pipeline = pipelines.get_pipeline(name=PIPELINE)["pipeline"]
    source, build, *others = pipeline["stages"]
    kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    approval = {"name": "Approval", "actions": [{"name": "Ask", "actionTypeId": kind}]}
    pipelines.update_pipeline(pipeline=pipeline | {"stages": [source, build, approval, *others]})

    def token() -> Any:
        state = pipelines.get_pipeline_state(name=PIPELINE)
        return jmespath.search("stageStates[].actionStates[].latestExecution.token | [0]", state)

    run = night.start()
    waiting = wait_until(token, f"run {run} to wait for approval")
    night.later(hours=20)
    night.poll()
    problems = "\n".join(night.ask("GET", "/status")["problems"])
    assert "waiting for approval in stage Approval, action Ask since" in problems
    pipelines.put_approval_result(
        pipelineName=PIPELINE,
        stageName="Approval",
        actionName="Ask",
        result={"summary": "not now", "status": "Rejected"},
        token=waiting,
    )
    assert night.end(run) == "Failed"
    pipelines.update_pipeline(pipeline=pipeline)


REVERTED = {"old"}, ["REFRESH FAILED: pipeline run failed, reverted"]
NOTHING_RESTORED = {"old"}, ["REFRESH FAILED: the run restored nothing, reverted"]
HALF_WAY = {"new"}, ["restored, but the pipeline run failed afterwards", "refreshed"]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (the_tests_fail_and_are_retried, HALF_WAY),
        (the_deploy_stage_is_skipped, NOTHING_RESTORED),
        (an_approval_is_rejected_the_next_day, REVERTED),
    ],
)
def test_whatever_a_pipeline_does(
    deployed: Company, scenario: Callable[[Refresh], None], expected: Found
) -> None:
    night = Refresh(deployed)
    scenario(night)
    assert night.found() == expected

    before = deployed.clusters()
    night.later(hours=6)
    night.end(night.push())
    assert (deployed.clusters(), night.subjects()) == (before, [])
