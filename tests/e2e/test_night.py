"""Nights on which something disturbs the promotion itself.

On quiet ones production's newest data replaces the cluster in test_readme.py, by the demo, and in test_newcomer.py.
"""

import pytest

from chalicelib.domain.functions import RESTORE
from tests.e2e.conftest import Night

START = "codepipeline:StartPipelineExecution"


@pytest.mark.parametrize(
    ("operation", "kind", "statuses"),
    [
        (START, "timeout-after", ["succeeded"]),
        # A real SIGKILL of the runtime client's process.
        ("ssm:PutParameter", "kill-after", ["failed", "succeeded"]),
        (START, "kill-after", ["failed", "succeeded"]),
    ],
)
def test_a_promotion_that_is_disturbed_is_completed_and_starts_one_run(
    night: Night, operation: str, kind: str, statuses: list[str]
) -> None:
    night.update()
    fault = {"function": RESTORE, "operation": operation, "kind": kind, "times": 1}
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
