"""Nights on which something disturbs the promotion, or the run that it started.

On quiet ones production's newest data replaces the cluster in test_readme.py, by the demo, and in test_newcomer.py. The
demo's other runs fail, restore nothing, or fail after their restore. tests/simulation has others' runs beside these, pins
that wait, roll-backs, and retries of the deployment.
"""

from datetime import timedelta
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest

from chalicelib.domain.functions import RESTORE
from demo.acceptance import PIPELINE
from localcloud.client import wait_until
from tests.e2e.conftest import Night, answer_of

START = "codepipeline:StartPipelineExecution"


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("timeout-after", ["succeeded"]),
        # A real SIGKILL of the runtime client's process.
        ("kill-after", ["failed", "succeeded"]),
    ],
)
def test_a_promotion_that_is_disturbed_is_completed_and_starts_one_run(
    night: Night, kind: str, statuses: list[str]
) -> None:
    night.update()
    fault = {"function": RESTORE, "operation": START, "kind": kind, "times": 1}
    night.cloud.set_faults([fault])
    assert [attempt["status"] for attempt in night.restore()] == statuses
    assert (night.current(), len(night.runs())) == (night.new, 1)


def test_an_event_delivered_twice_at_once_starts_one_run(night: Night) -> None:
    night.update()
    night.cloud.set_clock(night.four)
    event = "delivered-twice"
    for _ in range(2):
        night.cloud.fire(RESTORE, night.four, event_id=event, wait=False)
    night.cloud.wait_until_idle()
    records = [each for each in night.cloud.invocations(RESTORE) if each["event_id"] == event]
    assert sorted(
        (record["payload"]["outcome"], record["payload"]["reason"]) for record in records
    ) == [("skipped", "nothing-new"), ("started", None)]
    assert (night.current(), len(night.runs())) == (night.new, 1)


def test_a_poll_reverts_after_lost_events_and_the_next_run_replaces_nothing(night: Night) -> None:
    """The run waits for an approval until the next day, and is rejected."""
    cloud, pipelines, before = night.cloud, night.pipelines, night.company.clusters()
    pipeline = pipelines.get_pipeline(name=PIPELINE)["pipeline"]
    source, build, *others = pipeline["stages"]
    kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    approval = {"name": "Approval", "actions": [{"name": "Ask", "actionTypeId": kind}]}
    pipelines.update_pipeline(pipeline=pipeline | {"stages": [source, build, approval, *others]})
    cloud.patch_pipeline(PIPELINE, loses_events=True)

    def token() -> Any:
        state = pipelines.get_pipeline_state(name=PIPELINE)
        return jmespath.search("stageStates[].actionStates[].latestExecution.token | [0]", state)

    night.update()
    run = answer_of(night.restore())["execution_id"]
    waiting = wait_until(token, f"run {run} to wait for approval")
    cloud.set_clock(night.four + timedelta(hours=20))
    night.poll()
    problems = "\n".join(night.ask("GET", "/status")["problems"])
    assert "waiting for approval in stage Approval, action Ask since" in problems
    assert night.current() == night.new
    pipelines.put_approval_result(
        pipelineName=PIPELINE,
        stageName="Approval",
        actionName="Ask",
        result={"summary": "not now", "status": "Rejected"},
        token=waiting,
    )
    assert cloud.wait_for_run(run, PIPELINE) == "Failed"
    night.poll()
    pipelines.update_pipeline(pipeline=pipeline)
    assert cloud.wait_for_run(night.push(), PIPELINE) == "Succeeded"
    night.poll()
    assert (night.current(), night.company.clusters()) == (night.old, before)
    (notification,) = night.company.notifications()
    assert notification["Subject"].startswith("aurora-refresh: REFRESH FAILED: pipeline run failed")
