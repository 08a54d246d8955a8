"""The main pipeline's runs, held to the CodePipeline User Guide.

Tokens are in tests/contract, approvals in tests/e2e/test_night.py, retries and skipped stages in the demo, what is
restored in tests/e2e/test_main_pipeline.py; the events of runs reach the functions in tests/e2e.
"""

from demo.pipeline import create_pipeline
from localcloud.client import LocalCloud, wait_until

NAME = "main"


def test_a_run_that_waits_for_a_stage_is_superseded(cloud: LocalCloud) -> None:
    """*How executions are processed in SUPERSEDED mode*."""
    codepipeline = cloud.client("codepipeline")
    create_pipeline(cloud, NAME, [], run_seconds=0, hold=["Build"])

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
