"""The main pipeline's runs, compared with botocore's service model and the documented events."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import botocore.session
import pytest
from botocore.exceptions import ClientError

from localcloud import pipeline, rules
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from localcloud.shares import RESTORED_FROM

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
MODEL = botocore.session.get_session().get_service_model("codepipeline")
NAME = "main"
SHORT = 0.1


def refused(operation: str, code: str) -> Any:
    """Expect an error that the operation's model knows."""
    assert code in {shape.error_code for shape in MODEL.operation_model(operation).error_shapes}
    return pytest.raises(ClientError, match=rf"\({code}\)")


@pytest.fixture
def codepipeline(cloud: LocalCloud) -> Any:
    return client(cloud, "codepipeline")


def create(cloud: LocalCloud, run_seconds: float = SHORT, *parameters: str) -> None:
    databases = [{"parameter": name, "cluster": name.strip("/")} for name in parameters]
    cloud.create_pipeline(NAME, run_seconds, databases)


def start(codepipeline: Any, **parameters: Any) -> str:
    run: str = codepipeline.start_pipeline_execution(name=NAME, **parameters)["pipelineExecutionId"]
    return run


def status(codepipeline: Any, run: str) -> str:
    answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=run)
    found: str = answer["pipelineExecution"]["status"]
    return found


def seed(cloud: LocalCloud, identifier: str, **changes: Any) -> str:
    snapshot = {
        "account": PRODUCTION,
        "identifier": identifier,
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": "2026-01-04T01:00:00+00:00",
        "shared_with": [ACCEPTANCE],
    }
    arn: str = cloud.seed_snapshots([snapshot | changes])["arns"][0]
    return arn


def put(cloud: LocalCloud, name: str, value: str) -> None:
    client(cloud, "ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


def clusters(cloud: LocalCloud) -> dict[str, str]:
    """The acceptance clusters: identifier → the snapshot it was restored from."""
    found = client(cloud, "rds").describe_db_clusters()["DBClusters"]
    return {
        cluster["DBClusterIdentifier"]: next(
            (tag["Value"] for tag in cluster["TagList"] if tag["Key"] == RESTORED_FROM), ""
        )
        for cluster in found
    }


def run(cloud: LocalCloud) -> str:
    return cloud.wait_for_run(start(client(cloud, "codepipeline")), NAME)


def test_a_run_takes_its_time(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    execution = start(codepipeline)
    begun = status(codepipeline, execution)
    ended = cloud.wait_for_run(execution, NAME)
    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]

    assert (begun, ended) == ("InProgress", "Succeeded")
    assert summary["lastUpdateTime"] > summary["startTime"]
    assert summary["trigger"] == {
        "triggerType": "StartPipelineExecution",
        "triggerDetail": f"arn:aws:iam::{ACCEPTANCE}:user/admin",
    }
    assert summary.keys() <= MODEL.shape_for("PipelineExecutionSummary").members.keys()
    assert {begun, ended} <= set(MODEL.shape_for("PipelineExecutionStatus").enum)
    assert UUID(execution)


def test_a_run_keeps_time_by_the_clouds_clock(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)
    cloud.set_clock(datetime(2026, 1, 4, 4, tzinfo=UTC))
    run(cloud)

    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]
    assert f"{summary['startTime'].astimezone(UTC):%Y-%m-%d %H}" == "2026-01-04 04"


def test_equal_tokens_start_one_run(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    first = start(codepipeline, clientRequestToken="2026-01-04-refresh")
    cloud.wait_for_run(first, NAME)
    again = start(codepipeline, clientRequestToken="2026-01-04-refresh")
    other = start(codepipeline, clientRequestToken="2026-01-18-refresh")

    assert again == first
    assert other != first
    answer = codepipeline.list_pipeline_executions(pipelineName=NAME)
    assert len(answer["pipelineExecutionSummaries"]) == 2


def test_equal_tokens_start_one_run_even_at_once(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    with ThreadPoolExecutor(8) as pool:
        started = pool.map(lambda _: start(codepipeline, clientRequestToken="same"), range(16))

    assert len(set(started)) == 1


@pytest.mark.parametrize("token", ["arn:aws:events", "with space", "x" * 129])
def test_a_token_is_made_of_letters_digits_and_hyphens(
    cloud: LocalCloud, codepipeline: Any, token: str
) -> None:
    create(cloud)
    shape = MODEL.shape_for("ClientRequestToken")
    assert (shape.metadata["pattern"], shape.metadata["max"]) == ("^[a-zA-Z0-9-]+$", 128)

    with refused("StartPipelineExecution", "ValidationException"):
        start(codepipeline, clientRequestToken=token)


def test_a_pipeline_that_is_not_there_is_not_found(codepipeline: Any) -> None:
    with refused("StartPipelineExecution", "PipelineNotFoundException"):
        start(codepipeline)
    with refused("ListPipelineExecutions", "PipelineNotFoundException"):
        codepipeline.list_pipeline_executions(pipelineName=NAME)


def test_a_start_is_refused_once_if_so_ordered(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)
    cloud.patch_pipeline(NAME, start_error="ConflictException")

    with refused("StartPipelineExecution", "ConflictException"):
        start(codepipeline)
    assert cloud.wait_for_run(start(codepipeline), NAME) == "Succeeded"


def test_runs_are_listed_newest_first_and_in_pages(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 0)
    runs = []
    for _ in range(5):
        runs.append(start(codepipeline))
        cloud.wait_for_run(runs[-1], NAME)

    pages = list(
        codepipeline.get_paginator("list_pipeline_executions").paginate(
            pipelineName=NAME, PaginationConfig={"PageSize": 2}
        )
    )

    listed = [[s["pipelineExecutionId"] for s in p["pipelineExecutionSummaries"]] for p in pages]
    assert listed == [runs[:2:-1], runs[2:0:-1], runs[:1]]


def test_a_page_of_runs_is_asked_for_properly(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    with refused("ListPipelineExecutions", "ValidationException"):
        codepipeline.list_pipeline_executions(pipelineName=NAME, maxResults=101)
    for token in ("bm9uZQ==", "ü"):
        with refused("ListPipelineExecutions", "InvalidNextTokenException"):
            codepipeline.list_pipeline_executions(pipelineName=NAME, nextToken=token)


def test_a_new_value_replaces_the_cluster(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    first, second = seed(cloud, "first"), seed(cloud, "second")

    put(cloud, "/current", first)
    assert run(cloud) == "Succeeded"
    before = clusters(cloud)
    put(cloud, "/current", second)
    assert run(cloud) == "Succeeded"
    after = clusters(cloud)

    assert list(before.values()) == [first]
    assert list(after.values()) == [second]
    assert before.keys().isdisjoint(after)
    assert all(name.startswith("current-") for name in (*before, *after))


def test_an_existing_cluster_is_replaced_by_the_first_deployment(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    client(cloud, "rds").create_db_cluster(
        DBClusterIdentifier="current",
        Engine="aurora-postgresql",
        MasterUsername="owner",
        MasterUserPassword="no-secret-at-all",
    )
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)

    run(cloud)

    assert list(clusters(cloud).values()) == [arn]


def test_a_cluster_that_is_protected_from_deletion_stays_beside_the_new_one(
    cloud: LocalCloud,
) -> None:
    create(cloud, SHORT, "/current")
    first, second = seed(cloud, "first"), seed(cloud, "second")
    put(cloud, "/current", first)
    run(cloud)
    (old,) = clusters(cloud)
    client(cloud, "rds").modify_db_cluster(DBClusterIdentifier=old, DeletionProtection=True)

    put(cloud, "/current", second)

    assert run(cloud) == "Succeeded"
    assert sorted(clusters(cloud).values()) == [first, second]


def test_the_same_value_leaves_the_cluster_alone(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    put(cloud, "/current", seed(cloud, "first"))
    run(cloud)
    before = clusters(cloud)

    assert run(cloud) == "Succeeded"
    assert clusters(cloud) == before


@pytest.mark.parametrize("value", [None, "dummyvalue", "unavailable", "default-key"])
def test_a_value_that_cannot_be_restored_fails_the_run_and_changes_nothing(
    cloud: LocalCloud, codepipeline: Any, value: str | None
) -> None:
    """All or nothing, as a stack's update is: the first database's new cluster goes again."""
    create(cloud, SHORT, "/first", "/second")
    kept = seed(cloud, "kept")
    put(cloud, "/first", kept)
    put(cloud, "/second", kept)
    run(cloud)
    before = clusters(cloud)
    values = {
        "unavailable": lambda: seed(cloud, "unavailable", status="copying"),
        "default-key": lambda: seed(cloud, "default-key", kms_key_id="alias/aws/rds"),
    }

    put(cloud, "/first", seed(cloud, "new"))
    if value is None:
        client(cloud, "ssm").delete_parameter(Name="/second")
    else:
        put(cloud, "/second", values.get(value, lambda: value)())
    execution = start(codepipeline)

    assert cloud.wait_for_run(execution, NAME) == "Failed"
    assert clusters(cloud) == before
    answer = codepipeline.get_pipeline_execution(pipelineName=NAME, pipelineExecutionId=execution)
    assert answer["pipelineExecution"]["statusSummary"]


def test_a_run_may_fail_before_or_after_it_deploys(cloud: LocalCloud) -> None:
    create(cloud, SHORT, "/current")
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)
    cloud.patch_pipeline(NAME, next_outcomes=["Failed", "FailedAfterDeploy"])

    assert run(cloud) == "Failed"
    assert clusters(cloud) == {}
    assert run(cloud) == "Failed"
    assert list(clusters(cloud).values()) == [arn]
    assert run(cloud) == "Succeeded"


def test_a_newer_run_supersedes_one_that_has_not_reached_its_deploy_stage(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    create(cloud, 0.6, "/current")
    arn = seed(cloud, "first")
    put(cloud, "/current", arn)

    older, newer = start(codepipeline), start(codepipeline)

    assert cloud.wait_for_run(newer, NAME) == "Succeeded"
    assert status(codepipeline, older) == "Superseded"
    assert list(clusters(cloud).values()) == [arn]


def test_one_run_at_a_time_is_in_the_deploy_stage(cloud: LocalCloud, codepipeline: Any) -> None:
    """Two runs of 0.8 s, the second begun when the first deploys, end one after the other."""
    create(cloud, 0.8, "/current")
    put(cloud, "/current", seed(cloud, "first"))

    older = start(codepipeline)
    deadline = monotonic() + 10
    while not clusters(cloud):
        assert monotonic() < deadline
        sleep(0.02)
    newer = start(codepipeline)
    cloud.wait_for_run(newer, NAME)

    answer = codepipeline.list_pipeline_executions(pipelineName=NAME)
    second, first = answer["pipelineExecutionSummaries"]
    assert (first["pipelineExecutionId"], first["status"]) == (older, "Succeeded")
    assert second["status"] == "Succeeded"
    assert (second["lastUpdateTime"] - first["lastUpdateTime"]).total_seconds() >= 0.3


def test_a_run_is_abandoned_at_once(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud, 30, "/current")
    put(cloud, "/current", seed(cloud, "first"))
    execution = start(codepipeline)

    codepipeline.stop_pipeline_execution(
        pipelineName=NAME, pipelineExecutionId=execution, abandon=True, reason="not today"
    )

    (summary,) = codepipeline.list_pipeline_executions(pipelineName=NAME)[
        "pipelineExecutionSummaries"
    ]
    assert summary["status"] == "Stopped"
    assert summary["stopTrigger"] == {"reason": "not today"}
    assert clusters(cloud) == {}


def test_a_run_stops_when_its_stage_has_come_to_its_end(
    cloud: LocalCloud, codepipeline: Any
) -> None:
    create(cloud, 1, "/current")
    put(cloud, "/current", seed(cloud, "first"))
    execution = start(codepipeline)
    stop = {"pipelineName": NAME, "pipelineExecutionId": execution}

    codepipeline.stop_pipeline_execution(**stop)

    assert status(codepipeline, execution) == "Stopping"
    with refused("StopPipelineExecution", "DuplicatedStopRequestException"):
        codepipeline.stop_pipeline_execution(**stop)
    assert cloud.wait_for_run(execution, NAME) == "Stopped"
    assert clusters(cloud) == {}
    with refused("StopPipelineExecution", "PipelineExecutionNotStoppableException"):
        codepipeline.stop_pipeline_execution(**stop)


def test_the_state_tells_which_run_is_in_which_stage(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)
    done = start(codepipeline)
    cloud.wait_for_run(done, NAME)
    cloud.patch_pipeline(NAME, run_seconds=30)
    begun = start(codepipeline)

    state = codepipeline.get_pipeline_state(name=NAME)

    assert (
        state.keys() - {"ResponseMetadata"}
        <= MODEL.shape_for("GetPipelineStateOutput").members.keys()
    )
    assert [
        (stage["stageName"], stage["latestExecution"]["pipelineExecutionId"], status)
        for stage in state["stageStates"]
        if (status := stage["latestExecution"]["status"])
    ] == [("Source", begun, "InProgress"), ("Deploy", done, "Succeeded")]


def test_a_reset_ends_every_run(cloud: LocalCloud, codepipeline: Any) -> None:
    """Else the old run would deploy into the new cloud."""
    create(cloud, 0.4, "/current")
    start(codepipeline)

    cloud.reset()
    put(cloud, "/current", seed(cloud, "first"))
    sleep(0.6)

    assert clusters(cloud) == {}
    assert codepipeline.list_pipelines()["pipelines"] == []


def test_the_pipeline_has_its_service_role(cloud: LocalCloud, codepipeline: Any) -> None:
    create(cloud)

    definition = codepipeline.get_pipeline(name=NAME)["pipeline"]
    role = client(cloud, "iam").get_role(RoleName=f"{NAME}-service-role")["Role"]

    assert definition["roleArn"] == role["Arn"]
    assert [stage["name"] for stage in definition["stages"]] == ["Source", "Deploy"]
    assert "codepipeline.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"])


def test_the_control_surface_refuses_nonsense(cloud: LocalCloud) -> None:
    create(cloud)

    with pytest.raises(ValueError, match="already"):
        create(cloud)
    with pytest.raises(ValueError, match="outcome"):
        cloud.patch_pipeline(NAME, next_outcomes=["Exploded"])
    with pytest.raises(ValueError, match="no pipeline"):
        cloud.patch_pipeline("other", run_seconds=1)


class TestEvents:
    """In this process, as events are put on the bus rather than answered."""

    @pytest.fixture
    def events(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        published: list[dict[str, Any]] = []

        def publish(account: str, region: str, event: dict[str, Any]) -> None:
            assert (account, region) == (ACCEPTANCE, REGION)
            published.append(event)

        monkeypatch.setattr(rules, "publish", publish)
        return published

    @pytest.fixture
    def backend(self) -> Any:
        backend = pipeline.RunningCodePipelineBackend(REGION, ACCEPTANCE)
        backend.pipelines[NAME] = pipeline.CodePipeline(
            ACCEPTANCE, REGION, {"name": NAME, "stages": []}
        )
        return backend

    def begin(self, backend: Any, seconds: float, outcomes: tuple[str, ...] = ()) -> Any:
        backend.behaviour(NAME).run_seconds = seconds
        backend.behaviour(NAME).next_outcomes = list(outcomes)
        token = f"token-{len(backend.pipelines[NAME].executions)}"
        return backend.pipelines[NAME].executions[backend.start_run(NAME, None, token, "")]

    @staticmethod
    def states(events: list[dict[str, Any]], run: Any) -> list[str]:
        return [
            event["detail"]["state"]
            for event in events
            if event["detail"]["execution-id"] == run.pipeline_execution_id
        ]

    def test_an_event_has_the_documented_form(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        execution = self.begin(backend, 0)
        execution.thread.join()

        started, succeeded = events
        assert UUID(started.pop("id")) != UUID(succeeded.pop("id"))
        for event, state in ((started, "STARTED"), (succeeded, "SUCCEEDED")):
            assert event.pop("time").endswith("Z")
            start_time = event["detail"].pop("start-time")
            assert (start_time[10], start_time[-5], start_time[-1]) == ("T", ".", "Z")
            assert event == {
                "version": "0",
                "detail-type": "CodePipeline Pipeline Execution State Change",
                "source": "aws.codepipeline",
                "account": ACCEPTANCE,
                "region": REGION,
                "resources": [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{NAME}"],
                "detail": {
                    "pipeline": NAME,
                    "execution-id": execution.pipeline_execution_id,
                    "state": state,
                    "version": 1.0,
                },
            }

    def test_a_failure_is_told(self, backend: Any, events: list[dict[str, Any]]) -> None:
        execution = self.begin(backend, 0, ("Failed",))
        execution.thread.join()

        assert self.states(events, execution) == ["STARTED", "FAILED"]

    def test_being_superseded_is_told(self, backend: Any, events: list[dict[str, Any]]) -> None:
        older = self.begin(backend, 0.2)
        newer = self.begin(backend, 0.2)
        for execution in (older, newer):
            execution.thread.join()

        assert self.states(events, older) == ["STARTED", "SUPERSEDED"]
        assert self.states(events, newer) == ["STARTED", "SUCCEEDED"]

    @pytest.mark.parametrize("abandon", [True, False])
    def test_stopping_is_told(
        self, backend: Any, events: list[dict[str, Any]], abandon: bool
    ) -> None:
        execution = self.begin(backend, 0.4)
        backend.stop_run(NAME, execution.pipeline_execution_id, abandon, None)
        execution.thread.join()

        assert self.states(events, execution) == ["STARTED", "STOPPING", "STOPPED"]

    def test_a_forgotten_run_says_nothing_more(
        self, backend: Any, events: list[dict[str, Any]]
    ) -> None:
        execution = self.begin(backend, 30)
        backend.reset()

        assert not execution.thread.is_alive()
        assert backend.pipelines == {}
        assert self.states(events, execution) == ["STARTED"]

    def test_a_run_that_comes_to_grief_has_failed(
        self, backend: Any, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it was: the next run must not wait for ever."""

        def burst(_: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(backend, "_deploy", burst)
        execution = self.begin(backend, 0)
        execution.thread.join()

        assert (execution.status, execution.status_summary) == ("Failed", "OSError: no space left")
        assert self.states(events, execution) == ["STARTED", "FAILED"]
