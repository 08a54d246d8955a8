"""The main pipeline's runs, held to the CodePipeline User Guide (the guide).

Tokens are in tests/contract, approvals, retries and skipped stages in tests/e2e/test_reconcile.py, what is restored in
tests/e2e/test_main_pipeline.py.
"""

from typing import Any

from demo.pipeline import create_pipeline
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud, wait_until
from tests.localcloud.probe import create_rule, permit

NAME = "main"


def test_a_run_that_waits_for_a_stage_is_superseded_and_each_change_of_state_is_an_event(
    cloud: LocalCloud,
) -> None:
    """The guide, *How executions are processed in SUPERSEDED mode* and "Pipeline-level state change events"."""
    codepipeline = cloud.client("codepipeline")
    create_pipeline(cloud, NAME, [], run_seconds=0, hold=["Build"])
    permit(cloud, create_rule(cloud, EventPattern='{"source": ["aws.codepipeline"]}'))

    def start() -> str:
        return str(codepipeline.start_pipeline_execution(name=NAME)["pipelineExecutionId"])

    def waits() -> bool:
        _, build, *_ = codepipeline.get_pipeline_state(name=NAME)["stageStates"]
        return bool(build["inboundExecutions"])

    start()
    cloud.wait_until_held(NAME, "Build")
    run = start()
    wait_until(waits, "a run to wait for Build")
    start()
    assert cloud.wait_for_run(run, NAME) == "Superseded"
    cloud.patch_pipeline(NAME, hold=[])

    def events() -> list[dict[str, Any]]:
        received = [record["event"] for record in cloud.invocations("probe")]
        return [each for each in received if each["detail"]["execution-id"] == run]

    wait_until(lambda: len(events()) == 2, "both events to be delivered")
    # In no promised order.
    assert sorted(each["detail"]["state"] for each in events()) == ["STARTED", "SUPERSEDED"]
    first = events()[0]
    assert first["detail"].pop("start-time").endswith("Z")
    assert first["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"]
    assert first["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert first["detail"].keys() == {"pipeline", "execution-id", "state", "version"}
