"""One suite for the fakes of the use cases and for the real adapters, on the local cloud."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.cloudformation import CloudFormationStacks
from chalicelib.aws.codepipeline import CodePipelines
from chalicelib.aws.rds import RdsClusters, RdsSnapshots
from chalicelib.domain.deployment import PREPARES_CHANGE_SET, Action, Cluster, Position, Stack
from chalicelib.domain.errors import AwsError, Refused, VersionLimitError
from chalicelib.domain.ledger import Note, Run, Version
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.snapshots import OwnSnapshot
from chalicelib.notifications import Notification
from localcloud.client import LocalCloud
from localcloud.company import nightly
from tests.contract.stages import CURRENT, MACHINE, CloudStage, FakeStage, Stage, clients_of
from tests.fakes import ACCEPTANCE, STACK, InMemoryAws, arn, snapshot

NOW = datetime(2026, 1, 4, 4, tzinfo=UTC)
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
NOTE = Note("pin", "kim", "because", "token-1")


@pytest.fixture(params=["fake", "real"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage(InMemoryAws(NOW))
    cloud: LocalCloud = request.getfixturevalue("cloud")
    cloud.set_clock(NOW)
    [any_snapshot] = cloud.seed_snapshots([nightly("any", NOW, account="333333333333")])["arns"]
    cloud.patch_snapshot(any_snapshot, shared_with=[], copy_seconds=3600)
    return CloudStage(BotoAws(clients_of(cloud), None), cloud)


# --- snapshots ------------------------------------------------------------------------------------


def test_every_share_is_listed_and_no_own_snapshot(stage: Stage) -> None:
    stage.share("one")
    stage.share("two", "999999999999", engine="docdb", engine_version="5.0.0")
    stage.share("made", status="creating", created=None)
    stage.share("mine", ACCEPTANCE)
    assert sorted(stage.aws.snapshots.shared(), key=lambda each: each.arn) == [
        snapshot("made", status="creating", created=None),
        snapshot("one"),
        snapshot("two", "999999999999", engine="docdb", engine_version="5.0.0"),
    ]


def test_a_snapshot_is_found_by_its_arn_in_this_region(stage: Stage) -> None:
    stage.share("one")
    stage.share("mine", ACCEPTANCE)
    for each in (snapshot("one"), snapshot("mine", ACCEPTANCE)):
        assert stage.aws.snapshots.find(each.arn) == each
    elsewhere = arn("one").replace("eu-west-1", "us-east-1")
    for text in (arn("none"), arn("none", ACCEPTANCE), elsewhere):
        assert stage.aws.snapshots.find(text) is None


def test_names_are_looked_up_here_and_in_the_other_account(stage: Stage) -> None:
    for name, account in (
        ("both", "111111111111"),
        ("both", ACCEPTANCE),
        ("mine", ACCEPTANCE),
        ("one", "111111111111"),
        ("strange", "999999999999"),
        ("rds:orders-1", ACCEPTANCE),
    ):
        stage.share(name, account)

    def named(name: str) -> list[str]:
        found = stage.aws.snapshots.named(name, "111111111111")
        return sorted(each.arn for each in found)

    assert named("both") == [arn("both"), arn("both", ACCEPTANCE)]
    assert named("mine") == [arn("mine", ACCEPTANCE)]
    assert named("one") == [arn("one")]
    assert named("strange") == []
    assert named("rds:orders-1") == [arn("rds:orders-1", ACCEPTANCE)]


# --- copies ---------------------------------------------------------------------------------------

TAGS = {"aurora-refresh:made-for": "/a/latest", "aurora-refresh:source": arn("one")}


def own(stage: Stage) -> dict[str, OwnSnapshot]:
    """This account's manual snapshots, by identifier."""
    return {each.snapshot.arn.rsplit(":", 1)[1]: each for each in stage.aws.snapshots.own()}


def test_own_manual_snapshots_are_listed_and_no_share(stage: Stage) -> None:
    stage.share("one")
    stage.share("mine", ACCEPTANCE)
    stage.share("rds:orders-2026-01-04", ACCEPTANCE)
    assert {name: (each.snapshot, each.tags) for name, each in own(stage).items()} == {
        "mine": (snapshot("mine", ACCEPTANCE), {}),
    }


def test_a_copy_is_an_own_snapshot_with_its_tags(stage: Stage) -> None:
    stage.share("one")
    asked = stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    assert asked is not None
    made = snapshot("copy-1", ACCEPTANCE, status="copying", created=asked.snapshot.created)
    assert asked == OwnSnapshot(made, TAGS, 0, arn("one"))
    listed = own(stage)["copy-1"]
    assert (listed.snapshot, listed.tags, listed.source) == (made, TAGS, arn("one"))
    assert 0 <= listed.progress < 100
    stage.end_copies()
    available = made._replace(status="available")
    assert own(stage)["copy-1"].snapshot == available
    assert stage.aws.snapshots.find(available.arn) == available
    assert list(stage.aws.snapshots.shared()) == [snapshot("one")]


@pytest.mark.parametrize("keeps_date", [False, True])
def test_a_copy_is_dated_by_its_own_making_or_as_its_source_is(
    stage: Stage, keeps_date: bool
) -> None:
    """So that the time of its data must be found in its tags."""
    stage.share("one")
    stage.make_copies(keeps_date=keeps_date)
    stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    created = own(stage)["copy-1"].snapshot.created
    assert created is not None
    expected = snapshot("one").created if keeps_date else NOW
    assert expected is not None
    assert timedelta() <= created - expected < timedelta(minutes=1)


def test_a_copy_may_be_available_at_once(stage: Stage) -> None:
    stage.share("one")
    stage.make_copies(at_once=True)
    made = stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    assert made is not None
    assert (made.snapshot.status, made.progress) == ("available", 100)
    assert own(stage)["copy-1"] == made


def test_a_name_is_copied_to_once(stage: Stage) -> None:
    stage.share("one")
    stage.share("two")
    key = stage.key()
    stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS)
    stage.share("mine", ACCEPTANCE)
    assert stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS) is None
    assert stage.aws.snapshots.copy(arn("two"), "copy-1", key, {}) is None
    assert stage.aws.snapshots.copy(arn("two"), "mine", key, TAGS) is None
    assert {name: each.tags for name, each in own(stage).items()} == {"copy-1": TAGS, "mine": {}}


def test_a_copy_that_failed_keeps_its_name_and_tags(stage: Stage) -> None:
    stage.share("one")
    key = stage.key()
    stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS)
    stage.end_copies("failed")
    assert stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS) is None
    listed = own(stage)["copy-1"]
    assert (listed.snapshot.status, listed.tags) == ("failed", TAGS)


def test_no_more_than_five_copies_are_under_way(stage: Stage) -> None:
    stage.share("one")
    key = stage.key()
    for number in range(5):
        stage.aws.snapshots.copy(arn("one"), f"copy-{number}", key, TAGS)
    with pytest.raises(Refused, match=f"RDS refused to copy {arn('one')}: ") as caught:
        stage.aws.snapshots.copy(arn("one"), "copy-5", key, TAGS)
    assert caught.value.reason == "copy-quota"
    stage.end_copies()
    assert stage.aws.snapshots.copy(arn("one"), "copy-5", key, TAGS)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda stage: stage.share("one"), "copy-key-denied"),
        (lambda stage: stage.unencrypted("one"), "copy-unencrypted"),
        (lambda stage: None, "snapshot-gone"),
        (lambda stage: stage.share("one", status="creating"), "snapshot-gone"),
        (lambda stage: stage.share("one", status="failed"), "snapshot-gone"),
    ],
    ids=["key", "unencrypted", "missing", "creating", "failed"],
)
def test_what_cannot_be_copied_is_a_decision(
    stage: Stage, spoil: Callable[[Stage], None], reason: str
) -> None:
    stage.share("another")
    spoil(stage)
    key = stage.denied_key() if reason == "copy-key-denied" else stage.key()
    with pytest.raises(Refused, match=f"RDS refused to copy {arn('one')}: ") as caught:
        stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS)
    assert caught.value.reason == reason
    assert own(stage) == {}


def test_a_deleted_snapshot_is_gone_with_its_tags(stage: Stage) -> None:
    stage.share("one")
    key = stage.key()
    stage.aws.snapshots.copy(arn("one"), "copy-1", key, TAGS)
    stage.end_copies()
    stage.aws.snapshots.delete("copy-1")
    stage.aws.snapshots.delete("copy-1")
    assert own(stage) == {}
    stage.aws.snapshots.copy(arn("one"), "copy-1", key, {})
    assert own(stage)["copy-1"].tags == {}


@pytest.mark.parametrize("status", ["copying", "failed"])
def test_a_copy_that_is_not_available_can_be_deleted(stage: Stage, status: str) -> None:
    stage.share("one")
    stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    stage.end_copies(status)
    stage.aws.snapshots.delete("copy-1")
    assert own(stage) == {}


def test_a_share_cannot_be_deleted(stage: Stage) -> None:
    stage.share("one")
    stage.share("mine", ACCEPTANCE)
    stage.aws.snapshots.delete("one")
    assert list(stage.aws.snapshots.shared()) == [snapshot("one")]
    assert list(own(stage)) == ["mine"]


# --- parameters -----------------------------------------------------------------------------------


def test_a_put_makes_a_version_and_only_parameters_that_exist_are_returned(stage: Stage) -> None:
    assert [stage.aws.parameters.put("/a", value, NOTE) for value in "12"] == [1, 2]
    assert stage.aws.parameters.get(["/a", "/b"]) == {"/a": Parameter("2", 2)}
    assert stage.aws.parameters.get([]) == {}
    assert stage.aws.parameters.history("/b") == []


def test_more_parameters_than_one_call_takes_are_all_returned(stage: Stage) -> None:
    names = [f"/p{number}" for number in range(23)]
    for name in names:
        stage.aws.parameters.put(name, name, NOTE)
    assert stage.aws.parameters.get(names) == {name: Parameter(name, 1) for name in names}


def versions(stage: Stage) -> list[Version]:
    """Return the history with the times, which must be those of the puts, all set to NOW."""
    found = stage.aws.parameters.history("/a")
    assert all(timedelta() <= each.modified - NOW < timedelta(minutes=1) for each in found)
    return [each._replace(modified=NOW) for each in found]


def labels(stage: Stage) -> list[set[str]]:
    return [set(each.labels) for each in versions(stage)]


def test_the_history_is_the_ledger_oldest_first(stage: Stage) -> None:
    """A put without a note has none, although the version before has one."""
    later = Note("undo", "kim", "it failed")
    for value, note in (("1", NOTE), ("2", None), ("3", later)):
        stage.aws.parameters.put("/a", value, note)
    assert versions(stage) == [
        Version(1, "1", NOW, NOTE),
        Version(2, "2", NOW, None),
        Version(3, "3", NOW, later),
    ]


def test_a_long_history_is_read_to_its_end(stage: Stage) -> None:
    for number in range(1, 61):
        stage.aws.parameters.put("/a", str(number), NOTE)
    assert [each.number for each in versions(stage)] == list(range(1, 61))


def test_a_label_is_on_one_version_and_moves(stage: Stage) -> None:
    for value in "12":
        stage.aws.parameters.put("/a", value, NOTE)
    stage.aws.parameters.label("/a", 1, {"good", "run-1"})
    stage.aws.parameters.label("/a", 1, {"good"})
    assert labels(stage) == [{"good", "run-1"}, set()]
    stage.aws.parameters.label("/a", 2, ["good", "cluster-ABC"])
    assert labels(stage) == [{"run-1"}, {"good", "cluster-ABC"}]
    stage.aws.parameters.unlabel("/a", 2, ["good"])
    assert labels(stage) == [{"run-1"}, {"cluster-ABC"}]


@pytest.mark.parametrize("label", ["1st", "aws-x", "ssm", "a b", "é", "x" * 101])
def test_a_label_that_parameter_store_does_not_accept_is_an_error(stage: Stage, label: str) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    with pytest.raises(AwsError, match=r"InvalidLabels|ValidationException"):
        stage.aws.parameters.label("/a", 1, [label])
    assert labels(stage) == [set()]


def test_a_version_has_at_most_ten_labels(stage: Stage) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    stage.aws.parameters.label("/a", 1, [f"l{number}" for number in range(10)])
    with pytest.raises(AwsError, match="ParameterVersionLabelLimitExceeded"):
        stage.aws.parameters.label("/a", 1, ["one-too-many"])


@pytest.mark.parametrize("method", ["label", "unlabel"])
def test_a_version_that_does_not_exist_bears_no_label(stage: Stage, method: str) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    with pytest.raises(AwsError, match="ParameterVersionNotFound"):
        getattr(stage.aws.parameters, method)("/a", 2, ["good"])


def test_the_oldest_of_a_hundred_versions_is_dropped_unless_it_bears_a_label(stage: Stage) -> None:
    for number in range(101):
        stage.aws.parameters.put("/a", str(number), NOTE)
    assert [each.number for each in versions(stage)] == list(range(2, 102))
    stage.aws.parameters.label("/a", 2, ["good"])
    with pytest.raises(VersionLimitError):
        stage.aws.parameters.put("/a", "one too many", NOTE)
    stage.aws.parameters.unlabel("/a", 2, ["good"])
    assert stage.aws.parameters.put("/a", "102", NOTE) == 102


def test_a_deleted_parameter_is_gone_with_its_history(stage: Stage) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    stage.aws.parameters.delete("/a")
    stage.aws.parameters.delete("/a")
    assert stage.aws.parameters.get(["/a"]) == {}
    assert stage.aws.parameters.history("/a") == []


# --- the pipeline ---------------------------------------------------------------------------------


def test_a_run_is_started_and_listed_newest_first(stage: Stage) -> None:
    stage.pipeline("main")
    first = stage.aws.pipelines.start("main", "token-1")
    second = stage.aws.pipelines.start("main", "token-2")
    runs = stage.aws.pipelines.runs("main")
    assert [run.execution_id for run in runs] == [second, first]
    assert (runs[0].status, runs[0].trigger, runs[0].is_rollback) == (
        *("InProgress", "StartPipelineExecution"),
        False,
    )
    assert runs[0].updated >= runs[0].started
    assert timedelta() <= runs[0].started - NOW < timedelta(minutes=1)


def test_one_token_starts_one_run(stage: Stage) -> None:
    stage.pipeline("main")
    first = stage.aws.pipelines.start("main", "token-1")
    assert stage.aws.pipelines.start("main", "token-1") == first
    assert len(stage.aws.pipelines.runs("main")) == 1


def test_a_run_has_records_of_its_actions(stage: Stage) -> None:
    stage.deploying_pipeline("main")
    stage.share("one")
    stage.aws.parameters.put(CURRENT, arn("one"), NOTE)
    assert stage.aws.pipelines.actions("main") == []
    runs = [stage.run("main"), stage.run("main", "Failed")]
    assert [each.status for each in stage.aws.pipelines.runs("main")] == ["Failed", "Succeeded"]
    assert stage.aws.pipelines.positions("main") == {}

    def deploys(run: str | None = None) -> list[Action]:
        found = stage.aws.pipelines.actions("main", run)
        assert all(each.started <= each.updated for each in found)
        assert all(each.covers(NOW) for each in found)
        deploying = [each for each in found if each.category == "Deploy"]
        return [each._replace(started=NOW, updated=NOW, reads_since=None) for each in deploying]

    succeeded, failed = (
        Action(run, "Deploy", "Deploy", status, NOW, NOW, "Deploy", STACK)
        for run, status in zip(runs, ["Succeeded", "Failed"], strict=True)
    )
    assert deploys() == [failed, succeeded]
    assert deploys(runs[0]) == [succeeded]


@pytest.mark.parametrize(
    "ask",
    [
        lambda pipelines: pipelines.runs("none"),
        lambda pipelines: pipelines.start("none", "t"),
        lambda pipelines: pipelines.actions("none"),
        lambda pipelines: pipelines.actions("none", "7ab2bd1c-8bbd-4a1c-9f0f-2f6d0d2e5e1b"),
        lambda pipelines: pipelines.positions("none"),
    ],
    ids=["runs", "start", "actions", "actions of a run", "positions"],
)
def test_a_missing_pipeline_is_a_decision(stage: Stage, ask: Callable[[Any], object]) -> None:
    with pytest.raises(Refused, match="there is no pipeline named none") as caught:
        ask(stage.aws.pipelines)
    assert caught.value.reason == "pipeline-missing"


# --- what is deployed -----------------------------------------------------------------------------


def deployed(stage: Stage) -> tuple[Stack, Cluster]:
    """Return the stack and its only cluster."""
    stack = stage.aws.stacks.find(STACK)
    assert stack is not None
    cluster = stage.aws.clusters.deployed(stack.clusters["Orders"])
    assert cluster is not None
    assert timedelta() <= cluster.created - NOW < timedelta(minutes=1)
    return stack, cluster


def test_a_stack_shows_its_cluster_which_each_restore_replaces(stage: Stage) -> None:
    stage.deploying_pipeline("main")
    stage.share("one")
    stage.share("two")
    found = []
    for value in (arn("one"), arn("one"), arn("two")):
        stage.aws.parameters.put(CURRENT, value, NOTE)
        stage.run("main")
        stack, cluster = deployed(stage)
        assert stack.resolved == {CURRENT: value}
        assert stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        assert list(stack.clusters) == ["Orders"]
        found.append(cluster)
    assert found[0] == found[1]
    assert found[0].resource_id != found[2].resource_id


def test_a_failed_restore_leaves_the_cluster_as_it_was(stage: Stage) -> None:
    stage.deploying_pipeline("main")
    for name in ("one", "two"):
        stage.share(name)
    stage.aws.parameters.put(CURRENT, arn("one"), NOTE)
    stage.run("main")
    _, before = deployed(stage)
    stage.aws.parameters.put(CURRENT, arn("two"), NOTE)
    stage.run("main", "Failed")
    stack, after = deployed(stage)
    assert after == before
    assert not stack.is_deploying


def test_a_stack_or_cluster_that_does_not_exist_is_not_found(stage: Stage) -> None:
    assert stage.aws.stacks.find("none") is None
    assert stage.aws.clusters.deployed("none") is None


# --- after-restore work ---------------------------------------------------------------------------


def test_an_execution_is_started_once_for_each_name(stage: Stage) -> None:
    stage.state_machine()
    machines = stage.aws.state_machines
    assert machines.execution(MACHINE, "rds-1") is None
    machines.start(MACHINE, "rds-1", {"database": "rds"})
    machines.start(MACHINE, "rds-1", {"database": "another"})
    found = machines.execution(MACHINE, "rds-1")
    assert found is not None
    assert (found.status, found.state) == ("RUNNING", "preparing")
    assert machines.execution(MACHINE, "rds-2") is None


def test_a_missing_state_machine_is_a_decision(stage: Stage) -> None:
    stage.state_machine()
    with pytest.raises(Refused, match=f"there is no state machine {MACHINE}-missing") as caught:
        stage.aws.state_machines.start(f"{MACHINE}-missing", "rds-1", {})
    assert caught.value.reason == "not-prepared"


# --- the real adapters alone -----------------------------------------------------------------------


@pytest.fixture
def aws(cloud: LocalCloud) -> BotoAws:
    return BotoAws(clients_of(cloud), None)


@pytest.fixture
def rds() -> Iterator[Stubber]:
    """An RDS client with prepared answers, and no other call."""
    with Stubber(boto3.client("rds", "eu-west-1", **KEYS)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("manual", True),
        ("automated", True),
        ("awsbackup", True),
        ("shared", False),
        ("public", False),
        ("Manual", False),
        ("", False),
        ("a type of next year", False),
        (None, False),
    ],
)
def test_a_snapshot_is_own_if_its_type_is_known_to_be(
    rds: Stubber, kind: str | None, *, own: bool
) -> None:
    """An own snapshot may be pinned whatever its account."""
    facts = {"DBClusterSnapshotArn": arn("one"), **({} if kind is None else {"SnapshotType": kind})}
    rds.add_response(
        "describe_db_cluster_snapshots",
        {"DBClusterSnapshots": [facts]},
        {"DBClusterSnapshotIdentifier": arn("one"), "IncludeShared": True},
    )
    found = RdsSnapshots(rds.client).find(arn("one"))
    assert found is not None
    assert found.own is own


@pytest.mark.parametrize(
    "text", [arn("one").replace("eu-west-1", "us-east-1"), "dummyvalue", "one", ""]
)
def test_what_cannot_be_in_this_region_is_not_looked_up(rds: Stubber, text: str) -> None:
    assert RdsSnapshots(rds.client).find(text) is None


# --- the pipeline's runs, as only a real adapter sees them ---


@pytest.fixture
def codepipeline() -> Iterator[Stubber]:
    """A CodePipeline client with prepared answers, and no other call."""
    with Stubber(boto3.client("codepipeline", "eu-west-1", **KEYS)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def positions(cloud: LocalCloud, aws: BotoAws, until: Callable[[Position], bool]) -> Position:
    """Start a run, wait until it is where a test expects it, and return its position."""
    run = aws.pipelines.start("main", "token-1")
    deadline = monotonic() + 20
    while True:
        found = aws.pipelines.positions("main").get(run)
        if found and until(found):
            return found
        assert monotonic() < deadline, found
        sleep(0.05)


@pytest.mark.parametrize(
    ("behaviour", "disabled", "expected"),
    [
        ({"hold": ["Build"]}, False, Position("Build", "Build")),
        (
            {"stages": ["Source", "Approval", "Deploy"]},
            False,
            Position("Approval", "Approval", waits_for="approval"),
        ),
        ({}, True, Position("Deploy", waits_for="its disabled transition to be enabled")),
    ],
)
def test_a_run_in_progress_has_a_position(
    aws: BotoAws,
    cloud: LocalCloud,
    behaviour: dict[str, Any],
    disabled: bool,
    expected: Position,
) -> None:
    CloudStage(aws, cloud).deploying_pipeline("main", **behaviour)
    if disabled:
        cloud.client("codepipeline").disable_stage_transition(
            pipelineName="main", stageName="Deploy", transitionType="Inbound", reason="freeze"
        )
    found = positions(cloud, aws, lambda each: each._replace(since=None) == expected)
    assert (found.since is None) is disabled


def test_a_run_waits_for_the_run_before_it(aws: BotoAws, cloud: LocalCloud) -> None:
    CloudStage(aws, cloud).deploying_pipeline("main", hold=["Build"])
    first = aws.pipelines.start("main", "first")
    cloud.wait_until_held("main", "Build")
    waiting = Position("Build", waits_for="the run before it")
    positions(cloud, aws, lambda each: each == waiting)
    assert str(aws.pipelines.positions("main")[first]).startswith("in stage Build, action Build")


def test_a_stage_between_two_actions_is_a_position_too(codepipeline: Stubber) -> None:
    done = {"actionName": "Scan", "latestExecution": {"status": "Succeeded"}}
    execution = {"pipelineExecutionId": "run-1", "status": "Stopping"}
    state = {
        "stageName": "Build",
        "actionStates": [done, {"actionName": "Pack"}],
        "latestExecution": execution,
    }
    ended = {"stageName": "Source", "latestExecution": execution | {"status": "Succeeded"}}
    codepipeline.add_response("get_pipeline_state", {"stageStates": [ended, state]}, {"name": "m"})
    assert CodePipelines(codepipeline.client).positions("m") == {"run-1": Position("Build")}


def test_a_rollback_run_is_one(aws: BotoAws, cloud: LocalCloud) -> None:
    stage = CloudStage(aws, cloud)
    stage.deploying_pipeline("main")
    stage.share("one")
    aws.parameters.put(CURRENT, arn("one"), NOTE)
    target = stage.run("main")
    started = cloud.client("codepipeline").rollback_stage(
        pipelineName="main", stageName="Deploy", targetPipelineExecutionId=target
    )["pipelineExecutionId"]
    cloud.wait_for_run(started, "main")
    rollback, standard = aws.pipelines.runs("main")
    assert (rollback.execution_id, rollback.trigger) == (started, "ManualRollback")
    assert (rollback.is_rollback, standard.is_rollback) == (True, False)


@pytest.mark.parametrize(("status", "answered"), [(400, True), (499, True), (500, False)])
def test_a_server_error_does_not_prove_that_the_call_had_no_effect(
    codepipeline: Stubber, status: int, answered: bool
) -> None:
    codepipeline.add_client_error("start_pipeline_execution", "Code", "why", status)
    with pytest.raises(AwsError, match="why") as caught:
        CodePipelines(codepipeline.client).start("m", "token-1")
    assert caught.value.answered is answered


def test_times_that_codepipeline_does_not_state_yet(codepipeline: Stubber) -> None:
    """They are optional, as is everything of an action's input."""
    listed = [
        {"pipelineExecutionId": "run-2", "status": "InProgress"},
        {"pipelineExecutionId": "run-1", "status": "InProgress", "startTime": NOW},
    ]
    codepipeline.add_response(
        "list_pipeline_executions",
        {"pipelineExecutionSummaries": listed},
        {"pipelineName": "m", "maxResults": 100},
    )
    new, old = CodePipelines(codepipeline.client).runs("m")
    assert old == Run("run-1", "InProgress", NOW, NOW)
    assert new == Run("run-2", "InProgress", new.started, new.started)
    assert timedelta() <= datetime.now(UTC) - new.started < timedelta(minutes=1)

    bare = {
        "pipelineExecutionId": "run-1",
        "stageName": "Build",
        "actionName": "Scan",
        "status": "InProgress",
    }
    codepipeline.add_response(
        "list_action_executions",
        {"actionExecutionDetails": [bare, bare | {"startTime": NOW}]},
        {"pipelineName": "m", "maxResults": 100},
    )
    assert CodePipelines(codepipeline.client).actions("m") == [
        Action("run-1", "Build", "Scan", "InProgress", NOW, NOW, reads_since=NOW)
    ]


def test_a_change_set_reads_when_its_own_run_prepares_it(codepipeline: Stubber) -> None:
    def detail(run: str, mode: str, minute: int, stack: str = STACK) -> dict[str, Any]:
        started = NOW + timedelta(minutes=minute)
        kind = {"category": "Deploy", "owner": "AWS", "provider": "CloudFormation", "version": "1"}
        return {
            "pipelineExecutionId": run,
            "stageName": "Deploy",
            "actionName": mode,
            "status": "Succeeded",
            "startTime": started,
            "lastUpdateTime": started,
            "input": {
                "actionTypeId": kind,
                "configuration": {"ActionMode": f"CHANGE_SET_{mode}", "StackName": "#{Name}"},
                "resolvedConfiguration": {"StackName": stack},
            },
        }

    details = [
        detail("run-2", "EXECUTE", 50),
        detail("run-1", "EXECUTE", 40),
        detail("run-1", "REPLACE", 30, "other"),
        detail("run-1", "REPLACE", 10),
    ]
    wanted = {"pipelineName": "m", "filter": {"pipelineExecutionId": "run-1"}}
    for page, more, token in (
        (details[:2], {"nextToken": "t"}, {}),
        (details[2:], {}, {"nextToken": "t"}),
    ):
        answer = {"actionExecutionDetails": page, **more}
        codepipeline.add_response("list_action_executions", answer, wanted | token)
    found = CodePipelines(codepipeline.client).actions("m", "run-1")
    minutes = [(each.reads_since or NOW) - NOW for each in found]
    assert minutes == [timedelta(minutes=minute) for minute in (50, 10, 30, 10)]
    assert [each.stack for each in found] == [STACK, STACK, "other", STACK]
    assert [each.category for each in found] == [
        *("Deploy", "Deploy", PREPARES_CHANGE_SET, PREPARES_CHANGE_SET)
    ]


# --- stacks and clusters, as only a real adapter sees them ---


def test_a_stack_is_deploying_while_its_cluster_is_restored(
    aws: BotoAws, cloud: LocalCloud
) -> None:
    stage = CloudStage(aws, cloud)
    stage.deploying_pipeline("main", hold=["Deploy:restoring"])
    stage.share("one")
    aws.parameters.put(CURRENT, arn("one"), NOTE)
    aws.pipelines.start("main", "token-1")
    cloud.wait_until_held("main", "Deploy:restoring")
    stack = aws.stacks.find(STACK)
    assert stack is not None
    assert stack.is_deploying
    (action,) = [each for each in aws.pipelines.actions("main") if each.category == "Deploy"]
    assert action.status == "InProgress"


def test_a_stack_has_the_clusters_that_exist_and_the_parameters_that_are_resolved() -> None:
    resources = [
        ("Orders", "AWS::RDS::DBCluster", "UPDATE_COMPLETE", "orders-1"),
        ("Docs", "AWS::DocDB::DBCluster", "CREATE_COMPLETE", "docs-1"),
        ("Graph", "AWS::Neptune::DBCluster", "DELETE_COMPLETE", "graph-1"),
        ("New", "AWS::RDS::DBCluster", "CREATE_IN_PROGRESS", None),
        ("Topic", "AWS::SNS::Topic", "CREATE_COMPLETE", "topic-1"),
    ]
    summaries = [
        {
            "LogicalResourceId": logical_id,
            "ResourceType": kind,
            "ResourceStatus": status,
            "LastUpdatedTimestamp": NOW,
            **({"PhysicalResourceId": physical_id} if physical_id else {}),
        }
        for logical_id, kind, status, physical_id in resources
    ]
    parameters = [
        {"ParameterKey": "Size", "ParameterValue": "large"},
        {"ParameterKey": "Snapshot", "ParameterValue": CURRENT, "ResolvedValue": arn("one")},
    ]
    described = {"StackName": "data", "CreationTime": NOW, "StackStatus": "UPDATE_COMPLETE"}
    with Stubber(boto3.client("cloudformation", "eu-west-1", **KEYS)) as cloudformation:
        name = {"StackName": "data"}
        for more in ({"Parameters": parameters}, {}):
            cloudformation.add_response("describe_stacks", {"Stacks": [described | more]}, name)
            answer = {"StackResourceSummaries": summaries[:2], "NextToken": "t"}
            cloudformation.add_response("list_stack_resources", answer, name)
            answer = {"StackResourceSummaries": summaries[2:]}
            cloudformation.add_response("list_stack_resources", answer, name | {"NextToken": "t"})
        clusters = {"Orders": "orders-1", "Docs": "docs-1"}
        stacks = CloudFormationStacks(cloudformation.client)
        assert stacks.find("data") == Stack("UPDATE_COMPLETE", clusters, {CURRENT: arn("one")})
        assert stacks.find("data") == Stack("UPDATE_COMPLETE", clusters, {})
        cloudformation.add_client_error("describe_stacks", "ValidationError", "1 error detected")
        with pytest.raises(AwsError, match=r"^DescribeStacks of stack data failed: Validation"):
            stacks.find("data")


def test_a_cluster_has_what_its_preparation_needs(rds: Stubber) -> None:
    listed = {
        "DBClusterIdentifier": "orders-1",
        "DbClusterResourceId": "cluster-ABC",
        "DBClusterArn": "arn:aws:rds:eu-west-1:222222222222:cluster:orders-1",
        "Engine": "docdb",
    }
    facts = {
        "ClusterCreateTime": NOW,
        "Endpoint": "orders-1.example",
        "Port": 5432,
        "MasterUserSecret": {"SecretArn": "arn:secret"},
    }
    for each in (listed, listed | {"ClusterCreateTime": NOW}, listed | facts):
        answer = {"DBClusters": [each]}
        rds.add_response("describe_db_clusters", answer, {"DBClusterIdentifier": "orders-1"})
    bare = Cluster("cluster-ABC", NOW, "orders-1", listed["DBClusterArn"], engine="docdb")
    full = Cluster(*bare[:4], "orders-1.example", 5432, "docdb", "arn:secret")
    clusters = RdsClusters(rds.client)
    assert [clusters.deployed("orders-1") for _ in range(3)] == [None, bare, full]


def test_shares_of_another_region_are_read_there_and_copied_here(cloud: LocalCloud) -> None:
    facts = {"region": "us-east-1", "kms_granted_to": [ACCEPTANCE]}
    key = "arn:aws:kms:us-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    there, same_name = (
        nightly("orders", NOW, identifier=name, kms_key_id=key, **facts) for name in ("one", "mine")
    )
    mine = nightly("orders", NOW, account=ACCEPTANCE, identifier="mine", shared_with=[])
    here = nightly("orders", NOW, identifier="one")
    share, other, own, _ = cloud.seed_snapshots([there, same_name, mine, here])["arns"]
    aws = BotoAws(clients_of(cloud), None, source_region="us-east-1")
    assert sorted(each.arn for each in aws.snapshots.shared()) == sorted([share, other])
    assert [each.arn for each in aws.snapshots.named("mine", "111111111111")] == [own, other]
    for each in (share, own):
        found = aws.snapshots.find(each)
        assert found
        assert found.arn == each
    assert aws.snapshots.find(share.replace("us-east-1", "us-west-2")) is None
    home = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    made = aws.snapshots.copy(share, "copy-1", home, TAGS)
    assert made
    assert (made.source, made.snapshot.arn) == (share, arn("copy-1", ACCEPTANCE))


def test_a_copy_from_another_region_says_which(rds: Stubber) -> None:
    """botocore makes it the presigned URL that GovCloud's Regions need."""
    share = arn("one").replace("eu-west-1", "us-east-1")
    answer = {"DBClusterSnapshotArn": arn("copy-1", ACCEPTANCE), "Status": "copying"}
    expected = COPY | {"SourceDBClusterSnapshotIdentifier": share, "SourceRegion": "us-east-1"}
    rds.add_response("copy_db_cluster_snapshot", {"DBClusterSnapshot": answer}, expected)
    tags = {each["Key"]: each["Value"] for each in COPY["Tags"]}
    assert RdsSnapshots(rds.client).copy(share, "copy-1", "alias/acceptance", tags)


def test_an_error_names_operation_subject_and_code(aws: BotoAws, cloud: LocalCloud) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "deny", "times": 0}])
    with pytest.raises(AwsError, match=r"^PutParameter of /a failed: AccessDeniedException: ") as e:
        aws.parameters.put("/a", "1", NOTE)
    assert (e.value.operation, e.value.subject) == ("PutParameter", "/a")
    assert e.value.code == "AccessDeniedException"


@pytest.mark.parametrize(("kind", "account"), [("shared", "111111111111"), ("own", ACCEPTANCE)])
def test_snapshots_are_listed_to_the_end_or_not_at_all(
    aws: BotoAws, cloud: LocalCloud, kind: str, account: str
) -> None:
    names = [f"o{number}" for number in range(101)]
    cloud.seed_snapshots([nightly("orders", NOW, account=account, identifier=n) for n in names])
    assert len(list(getattr(aws.snapshots, kind)())) == 101
    fault = {"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny", "nth": 2, "times": 0}
    cloud.set_faults([fault])
    with pytest.raises(
        AwsError, match=f"DescribeDBClusterSnapshots of the {kind} snapshots failed"
    ):
        list(getattr(aws.snapshots, kind)())


COPY = {
    "SourceDBClusterSnapshotIdentifier": arn("one"),
    "TargetDBClusterSnapshotIdentifier": "copy-1",
    "KmsKeyId": "alias/acceptance",
    "Tags": [{"Key": "made-for", "Value": "/a/latest"}],
}


def start_copy(rds: Stubber) -> OwnSnapshot | None:
    tags = {"made-for": "/a/latest"}
    return RdsSnapshots(rds.client).copy(arn("one"), "copy-1", "alias/acceptance", tags)


def test_a_copy_is_started_with_its_key_and_tags(rds: Stubber) -> None:
    """RDS's answer may lack the tags and the progress."""
    answer = {"DBClusterSnapshotArn": arn("copy-1", ACCEPTANCE), "Status": "copying"}
    rds.add_response("copy_db_cluster_snapshot", {"DBClusterSnapshot": answer}, COPY)
    asked = start_copy(rds)
    assert asked is not None
    assert (asked.snapshot.arn, asked.snapshot.created) == (arn("copy-1", ACCEPTANCE), None)
    assert (asked.tags, asked.progress) == ({"made-for": "/a/latest"}, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("SnapshotQuotaExceeded", "copy-quota"),
        ("KMSKeyNotAccessibleFault", "copy-key-denied"),
        ("DBClusterSnapshotNotFoundFault", "snapshot-gone"),
        ("InvalidDBClusterSnapshotStateFault", "snapshot-gone"),
    ],
)
def test_what_only_people_can_resolve_is_a_decision_in_rds_s_own_words(
    rds: Stubber, code: str, reason: str
) -> None:
    rds.add_client_error("copy_db_cluster_snapshot", code, "because", 400, expected_params=COPY)
    with pytest.raises(Refused) as caught:
        start_copy(rds)
    assert (caught.value.reason, str(caught.value)) == (
        reason,
        f"RDS refused to copy {arn('one')}: because",
    )


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValue", "Throttling"])
def test_any_other_refusal_of_a_copy_is_raised(rds: Stubber, code: str) -> None:
    rds.add_client_error("copy_db_cluster_snapshot", code, "because", 400, expected_params=COPY)
    with pytest.raises(AwsError, match=f"^CopyDBClusterSnapshot of {arn('one')} failed: {code}: "):
        start_copy(rds)


def test_a_snapshot_that_may_not_be_deleted_is_an_error(aws: BotoAws, cloud: LocalCloud) -> None:
    cloud.set_faults([{"operation": "rds:DeleteDBClusterSnapshot", "kind": "deny", "times": 0}])
    with pytest.raises(AwsError, match=r"^DeleteDBClusterSnapshot of copy-1 failed: AccessDenied"):
        aws.snapshots.delete("copy-1")


@pytest.mark.parametrize("granted", [[], ["999999999999"]])
def test_production_s_key_must_be_granted_as_well(cloud: LocalCloud, granted: list[str]) -> None:
    stage = CloudStage(BotoAws(clients_of(cloud), None), cloud)
    stage.share("one", kms_granted_to=granted)
    with pytest.raises(Refused) as caught:
        stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    assert caught.value.reason == "copy-key-denied"


@pytest.mark.parametrize(
    ("ask", "operation", "repeated"),
    [
        (lambda aws: aws.parameters.get(["/a"]), "ssm:GetParameters", 6),
        (lambda aws: aws.pipelines.runs("a"), "codepipeline:ListPipelineExecutions", 6),
        (lambda aws: aws.stacks.find("a"), "cloudformation:DescribeStacks", 6),
        (lambda aws: aws.state_machines.execution(MACHINE, "a"), "states:DescribeExecution", 6),
        (lambda aws: list(aws.snapshots.shared()), "rds:DescribeDBClusterSnapshots", 9),
    ],
)
def test_a_throttled_call_is_repeated_at_growing_intervals(
    aws: BotoAws,
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[BotoAws], object],
    operation: str,
    repeated: int,
) -> None:
    """A large listing is throttled page by page, so a second lost at each adds up."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", slept.append)
    cloud.set_faults([{"operation": operation, "kind": "throttle", "times": 0}])
    with pytest.raises(AwsError, match="Throttling"):
        ask(aws)
    longest = [min(0.1 * 2**number, 20) for number in range(repeated)]
    assert len(slept) == repeated
    assert all(most / 2 <= each <= most for each, most in zip(slept, longest, strict=True))


def test_a_call_that_is_throttled_for_a_while_succeeds(aws: BotoAws, cloud: LocalCloud) -> None:
    aws.parameters.put("/a", "1", NOTE)
    cloud.set_faults([{"operation": "ssm:GetParameters", "kind": "throttle", "times": 2}])
    assert aws.parameters.get(["/a"]) == {"/a": Parameter("1", 1)}


def test_no_answer_at_all_is_an_error_too() -> None:
    make = botocore.session.get_session().create_client

    def client(service: str, config: Config) -> Any:
        once = config.merge(Config(retries={"total_max_attempts": 1}))
        return make(service, "eu-west-1", endpoint_url="http://127.0.0.1:9", config=once, **KEYS)

    with pytest.raises(AwsError, match=r"^DeleteParameter of /a failed: EndpointConnectionError"):
        BotoAws(client, None).parameters.delete("/a")


NOTIFICATION = Notification("a subject", "a body\nof two lines", {"reason": "no-latest"}, "thread")
MISSING_TOPIC = f"arn:aws:sns:eu-west-1:{ACCEPTANCE}:none"


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_notification_is_published_to_people_and_to_chat(
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    *,
    is_missing: bool,
) -> None:
    """A topic that fails is logged, and keeps nothing from the other one."""
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    inboxes, topics = [], []
    for name in ("people", "chat"):
        topics.append(sns.create_topic(Name=name)["TopicArn"])
        inboxes.append(sqs.create_queue(QueueName=name)["QueueUrl"])
        queue = sqs.get_queue_attributes(QueueUrl=inboxes[-1], AttributeNames=["QueueArn"])
        arn_of_queue = queue["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topics[-1], Protocol="sqs", Endpoint=arn_of_queue)
    people = MISSING_TOPIC if is_missing else topics[0]
    BotoAws(clients_of(cloud), people, topics[1]).notifier.notify(NOTIFICATION)
    bodies = [
        [
            json.loads(each["Body"])
            for each in sqs.receive_message(QueueUrl=inbox).get("Messages", [])
        ]
        for inbox in inboxes
    ]
    assert [each["Message"] for each in bodies[1]] == [NOTIFICATION.to_chat()]
    logged = [record.getMessage() for record in caplog.records]
    if is_missing:
        assert logged == ["notification not published: a subject"]
        counted = json.loads(capsys.readouterr().out)
        assert (counted["stage"], counted["NotificationFailed"]) == ("local", [1])
        (definition,) = counted["_aws"]["CloudWatchMetrics"]
        assert definition["Dimensions"] == [["stage"]]
        return
    (body,) = bodies[0]
    assert (body["Subject"], body["Message"]) == (NOTIFICATION.subject, NOTIFICATION.body)
    assert body["MessageAttributes"] == {"reason": {"Type": "String", "Value": "no-latest"}}
    assert logged == []


def test_without_a_topic_nothing_is_published(aws: BotoAws, cloud: LocalCloud) -> None:
    cloud.clear_calls()
    aws.notifier.notify(NOTIFICATION)
    assert cloud.calls() == []


def test_the_clock_is_in_utc() -> None:
    assert BotoAws(boto3.client, None).now().tzinfo == UTC


def test_a_client_is_made_once(aws: BotoAws) -> None:
    assert aws.parameters is aws.parameters
    assert aws.snapshots is aws.snapshots
    assert aws.pipelines is aws.pipelines
