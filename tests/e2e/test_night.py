"""The scheduled runs, night after night, with the policies of the function's own role evaluated for every call."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from demo.acceptance import nightly
from localcloud.accounts import ACCEPTANCE, STRANGER
from tests.e2e.conftest import RESTORE, Night

START = "codepipeline:StartPipelineExecution"


def test_production_s_newest_data_replaces_the_acceptance_cluster(night: Night) -> None:
    before = night.company.clusters()

    updated = night.update()
    (restored,) = night.restore()

    assert (updated["outcome"], updated["databases"][0]["latest"]) == ("updated", night.new)
    assert (restored["payload"]["outcome"], night.current()) == ("started", night.new)
    (run,) = night.runs()
    assert (run["pipelineExecutionId"], run["status"]) == (
        restored["payload"]["execution_id"],
        "Succeeded",
    )
    after = night.company.clusters()
    assert list(after.values()) == [night.new]
    assert not before.keys() & after.keys()
    assert night.company.good() == night.new
    (subject,) = night.subjects()
    assert subject.startswith("aurora-refresh: refreshed in ")
    assert night.poll()["outcome"] == "ignored"


def test_what_strangers_share_is_not_taken(night: Night) -> None:
    """Nor what is half made, or of another kind of cluster in the same listing."""
    others: list[dict[str, Any]] = [
        {"account": STRANGER},
        {"status": "creating", "created": None},
        {"engine": "postgres"},  # a Multi-AZ cluster
        {"engine_version": "15.6-limitless"},
    ]
    later = night.two - timedelta(minutes=5)
    night.cloud.seed_snapshots(
        [
            nightly("orders", later, identifier=f"other-{number}-{later:%m-%d}", **facts)
            for number, facts in enumerate(others)
        ]
    )
    assert night.update()["databases"][0]["latest"] == night.new


def test_a_share_withdrawn_between_two_and_four_is_not_restored(night: Night) -> None:
    night.update()
    night.cloud.patch_snapshot(night.new, shared_with=[])
    (record,) = night.restore()
    night.cloud.patch_snapshot(night.new, shared_with=[ACCEPTANCE])
    assert (record["payload"]["outcome"], record["payload"]["reason"]) == (
        "failed",
        "snapshot-gone",
    )
    assert (night.current(), night.runs()) == (night.old, [])


@pytest.mark.parametrize(
    ("operation", "kind", "times", "first"),
    [
        ("ssm:PutParameter", "throttle", 2, "succeeded"),
        (START, "timeout-after", 1, "succeeded"),
        (START, "deny", 1, "failed"),
        # A real SIGKILL of the runtime client's process.
        ("ssm:PutParameter", "kill-after", 1, "failed"),
        (START, "kill-after", 1, "failed"),
    ],
)
def test_a_promotion_that_is_disturbed_is_completed_and_starts_one_run(
    night: Night, operation: str, kind: str, times: int, first: str
) -> None:
    night.update()
    fault = {"function": RESTORE, "operation": operation, "kind": kind, "times": times}
    night.cloud.set_faults([fault])
    attempts = night.restore()
    assert (attempts[0]["status"], attempts[-1]["status"]) == (first, "succeeded")
    assert kind != "kill-after" or attempts[0]["error"]["errorType"] == "Runtime.ExitError"
    assert (night.current(), len(night.runs())) == (night.new, 1)


def test_an_event_delivered_twice_at_once_starts_one_run(night: Night) -> None:
    night.update()
    night.cloud.set_clock(night.four)
    event = str(uuid.uuid4())
    for _ in range(2):
        night.cloud.fire(RESTORE, night.four, event_id=event, wait=False)
    night.cloud.wait_until_idle()
    records = [each for each in night.cloud.invocations(RESTORE) if each["event_id"] == event]
    assert sorted(
        (record["payload"]["outcome"], record["payload"]["reason"]) for record in records
    ) == [("skipped", "nothing-new"), ("started", None)]
    assert (night.current(), len(night.runs())) == (night.new, 1)
