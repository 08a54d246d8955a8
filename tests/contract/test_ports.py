"""One suite for the fakes of the use cases and for the real adapters, on the local cloud."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Action
from chalicelib.domain.errors import VERSION_LIMIT, AwsError, Refused
from chalicelib.domain.ledger import Note, Run, Version
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.snapshots import Snapshot
from tests.contract.stages import CURRENT, MACHINE, NOW, PIPELINE, CloudStage, FakeStage, Stage
from tests.fakes import ACCEPTANCE, PRODUCTION, STACK, arn, snapshot

STRANGER = "999999999999"
NOTE = Note("pin", "kim", "because", "token-1")


def as_of_now(found: Any) -> Any:
    """Return records with each of their times that lies in the minute after NOW as NOW."""
    if isinstance(found, datetime) and timedelta() <= found - NOW < timedelta(minutes=1):
        return NOW
    if isinstance(found, list):
        return [as_of_now(each) for each in found]
    return found._make(map(as_of_now, found)) if hasattr(found, "_make") else found


def stage_of(account: str, request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage(account)
    return CloudStage(request.getfixturevalue("cloud"), account)


@pytest.fixture(params=["fake", "real"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return stage_of(ACCEPTANCE, request)


@pytest.fixture(params=["fake", "real"])
def production(request: pytest.FixtureRequest) -> Stage:
    return stage_of(PRODUCTION, request)


# --- snapshots ------------------------------------------------------------------------------------


def own(stage: Stage) -> dict[str, Snapshot]:
    """Return this account's manual snapshots by identifier."""
    found = as_of_now(list(stage.aws.snapshots.own()))
    return {each.arn.rsplit(":", 1)[1]: each for each in found}


def test_shares_and_own_snapshots_are_listed_apart_and_found_by_arn_and_name(stage: Stage) -> None:
    for name in ("both", "one"):
        stage.have(name)
    for name in ("both", "mine", "rds:orders-1"):
        stage.have(name, ACCEPTANCE)
    stage.have("strange", STRANGER, engine="docdb", engine_version="5.0.0")
    stage.have("made", status="creating", created=None)
    shared = [
        snapshot("both"),
        snapshot("made", status="creating", created=None),
        snapshot("one"),
        snapshot("strange", STRANGER, engine="docdb", engine_version="5.0.0"),
    ]
    snapshots, mine = stage.aws.snapshots, snapshot("mine", ACCEPTANCE)
    assert sorted(snapshots.shared(), key=lambda each: each.arn) == sorted(shared)
    listed = {name: each._replace(progress=0) for name, each in own(stage).items()}
    assert listed == {"both": snapshot("both", ACCEPTANCE), "mine": mine}
    assert [snapshots.find(each.arn) for each in (*shared, mine)] == [*shared, mine]
    elsewhere = arn("one").replace("eu-west-1", "us-east-1")
    for text in (arn("none"), arn("none", ACCEPTANCE), elsewhere, "dummyvalue"):
        assert snapshots.find(text) is None
    for name, accounts in {
        "both": [PRODUCTION, ACCEPTANCE],
        "mine": [ACCEPTANCE],
        "one": [PRODUCTION],
        "strange": [],
        "rds:orders-1": [ACCEPTANCE],
    }.items():
        found = sorted(each.arn for each in snapshots.named(name, PRODUCTION))
        assert found == [arn(name, account) for account in accounts]


# --- copies ---------------------------------------------------------------------------------------

TAGS = {"aurora-refresh:made-for": "/a/latest", "aurora-refresh:source": arn("one")}


def test_a_copy_is_an_own_snapshot_with_its_tags(stage: Stage) -> None:
    stage.have("one")
    asked = stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key, TAGS)
    made = snapshot("copy-1", ACCEPTANCE, status="copying", created=NOW)
    assert as_of_now(asked) == made._replace(tags=TAGS, source=arn("one"))
    listed = own(stage)["copy-1"]
    assert listed == asked._replace(created=NOW, progress=listed.progress)
    assert 0 <= listed.progress < 100
    stage.end_copies()
    available = made._replace(status="available")
    assert own(stage)["copy-1"] == available._replace(tags=TAGS, progress=100, source=arn("one"))
    assert as_of_now(stage.aws.snapshots.find(available.arn)) == available
    assert list(stage.aws.snapshots.shared()) == [snapshot("one")]


def test_a_name_is_copied_to_once_until_that_copy_is_deleted(stage: Stage) -> None:
    for name, account in (("one", PRODUCTION), ("two", PRODUCTION), ("mine", ACCEPTANCE)):
        stage.have(name, account)
    key, snapshots = stage.key, stage.aws.snapshots
    snapshots.copy(arn("one"), "copy-1", key, TAGS)
    assert snapshots.copy(arn("two"), "copy-1", key, {}) is None
    assert snapshots.copy(arn("two"), "mine", key, TAGS) is None
    stage.end_copies("failed")
    assert snapshots.copy(arn("one"), "copy-1", key, TAGS) is None
    found = own(stage)
    assert {name: each.tags for name, each in found.items()} == {"copy-1": TAGS, "mine": {}}
    assert found["copy-1"].status == "failed"
    for name in ("copy-1", "copy-1", "one"):  # of which the last is a share
        snapshots.delete(name)
    assert list(own(stage)) == ["mine"]
    assert {each.arn for each in snapshots.shared()} == {arn("one"), arn("two")}
    snapshots.copy(arn("one"), "copy-1", key, {})
    assert own(stage)["copy-1"].tags == {}


def test_what_is_missing_or_not_available_cannot_be_copied(stage: Stage) -> None:
    stage.have("one", status="creating")
    for name in ("one", "none"):
        with pytest.raises(Refused, match=f"^RDS refused to copy {arn(name)}: .") as caught:
            stage.aws.snapshots.copy(arn(name), "copy-1", stage.key, TAGS)
        assert caught.value.reason == "snapshot-gone"
    assert own(stage) == {}


# --- parameters -----------------------------------------------------------------------------------


def test_more_parameters_than_one_call_takes_are_all_returned(stage: Stage) -> None:
    names = [f"/p{number}" for number in range(23)]
    for name in names:
        stage.aws.parameters.put(name, name, NOTE)
    found = stage.aws.parameters.get([*names, "/none"])
    assert {name: each[:2] for name, each in found.items()} == {name: (name, 1) for name in names}
    assert stage.aws.parameters.get([]) == {}


def labels(stage: Stage) -> list[set[str]]:
    return [set(each.labels) for each in stage.aws.parameters.history("/a")]


def test_the_history_is_the_ledger_oldest_first_until_it_is_deleted(stage: Stage) -> None:
    """A put without a note has none, although the version before has one."""
    parameters, later = stage.aws.parameters, Note("undo", "kim", "it failed")
    puts = (("1", NOTE), ("2", None), ("3", later))
    assert [parameters.put("/a", value, note) for value, note in puts] == [1, 2, 3]
    history = parameters.history("/a")
    modified = history[-1].modified
    versions = [Version(number, value, NOW, note) for number, (value, note) in enumerate(puts, 1)]
    assert as_of_now(history) == versions
    assert parameters.get(["/a"]) == {"/a": Parameter("3", 3, modified)}
    parameters.delete("/a")
    parameters.delete("/a")
    assert (parameters.get(["/a"]), parameters.history("/a")) == ({}, [])


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


@pytest.mark.parametrize(
    ("method", "version", "refused", "code"),
    [
        ("label", 1, ["one-too-many"], "ParameterVersionLabelLimitExceeded"),
        ("label", 2, ["good"], "ParameterVersionNotFound"),
        ("unlabel", 2, ["good"], "ParameterVersionNotFound"),
    ],
)
def test_a_label_that_parameter_store_does_not_accept_is_an_error(
    stage: Stage, method: str, version: int, refused: Sequence[str], code: str
) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    ten = {f"label-{number}" for number in range(10)}
    stage.aws.parameters.label("/a", 1, ten)
    with pytest.raises(AwsError, match=code):
        getattr(stage.aws.parameters, method)("/a", version, refused)
    assert labels(stage) == [ten]


def test_the_oldest_of_a_hundred_versions_is_dropped_unless_it_bears_a_label(stage: Stage) -> None:
    parameters = stage.aws.parameters
    for number in range(101):
        parameters.put("/a", str(number), NOTE)
    assert [each.number for each in parameters.history("/a")] == list(range(2, 102))
    parameters.label("/a", 2, ["good"])
    with pytest.raises(AwsError, match=VERSION_LIMIT):
        parameters.put("/a", "one too many", NOTE)
    parameters.unlabel("/a", 2, ["good"])
    assert parameters.put("/a", "102", NOTE) == 102


# --- the pipeline ---------------------------------------------------------------------------------


def test_a_token_starts_one_run_and_runs_are_listed_newest_first(stage: Stage) -> None:
    stage.pipeline(hold=["Build"])
    tokens = ("token-1", "token-2", "token-1")
    first, second, again = [stage.aws.pipelines.start(PIPELINE, token) for token in tokens]
    run = Run(first, "InProgress", NOW, NOW, "StartPipelineExecution")
    found = as_of_now(stage.aws.pipelines.runs(PIPELINE))
    assert (again, found) == (first, [run._replace(execution_id=second), run])


@pytest.mark.parametrize(
    ("ask", "arguments"), [("runs", []), ("start", ["t"]), ("actions", []), ("positions", [])]
)
def test_a_missing_pipeline_is_a_decision(stage: Stage, ask: str, arguments: list[str]) -> None:
    with pytest.raises(Refused, match="there is no pipeline named none") as caught:
        getattr(stage.aws.pipelines, ask)("none", *arguments)
    assert caught.value.reason == "pipeline-missing"


def test_a_run_leaves_records_of_its_actions_and_a_stack_with_its_cluster(stage: Stage) -> None:
    stage.pipeline()
    stage.have("one")
    stage.have("two")
    pipelines, stacks, clusters = stage.aws.pipelines, stage.aws.stacks, stage.aws.clusters
    assert (stacks.find("none"), clusters.describe("none")) == (None, None)
    assert pipelines.actions(PIPELINE) == []

    def deploy(value: str, status: str) -> Action:
        """Return the deploy action of a run, at another time."""
        stage.aws.parameters.put(CURRENT, value, NOTE)
        return Action(stage.run(status), "Deploy", "Deploy", status, NOW, NOW, "Deploy", STACK)

    def deploys(run: str | None = None) -> list[Action]:
        found = as_of_now(pipelines.actions(PIPELINE, run))
        return [each._replace(reads_since=None) for each in found if each.category == "Deploy"]

    def deployed() -> tuple[dict[str, str], str]:
        """Return what its stack has resolved, and the identity of its cluster."""
        stack = stacks.find(STACK)
        assert (stack.is_deploying, list(stack.clusters)) == (False, ["Orders"])
        cluster = as_of_now(clusters.describe(stack.clusters["Orders"]))
        assert cluster.created == NOW
        return stack.resolved, cluster.resource_id

    first = deploy(arn("one"), "Succeeded")
    resolved, made = deployed()
    assert resolved == {CURRENT: arn("one")}
    again = deploy(arn("one"), "Succeeded")
    assert deployed() == (resolved, made)
    failed = deploy(arn("two"), "Failed")
    assert deployed()[1] == made
    last = deploy(arn("two"), "Succeeded")
    resolved, replaced = deployed()
    assert (resolved, replaced == made) == ({CURRENT: arn("two")}, False)
    assert deploys() == [last, failed, again, first]
    assert deploys(failed.execution_id) == [failed]
    assert [each.status for each in pipelines.runs(PIPELINE)[:2]] == ["Succeeded", "Failed"]
    assert pipelines.positions(PIPELINE) == {}


# --- after-restore work ---------------------------------------------------------------------------


def test_an_execution_is_started_once_for_each_name_of_a_machine_that_exists(stage: Stage) -> None:
    machines = stage.aws.state_machines
    assert machines.execution(MACHINE, "rds-1") is None
    machines.start(MACHINE, "rds-1", {"database": "rds"})
    machines.start(MACHINE, "rds-1", {"database": "another"})
    found = machines.execution(MACHINE, "rds-1")
    assert (found.status, found.state) == ("RUNNING", "preparing")
    assert machines.execution(MACHINE, "rds-2") is None
    with pytest.raises(Refused, match=f"{MACHINE}-missing") as caught:
        machines.start(f"{MACHINE}-missing", "rds-1", {})
    assert caught.value.reason == "not-prepared"


# --- in production --------------------------------------------------------------------------------


def test_a_cluster_has_its_key_and_the_account_a_default_one(production: Stage) -> None:
    key, clusters = production.key, production.aws.clusters
    production.cluster("plain")
    production.cluster("secret", key)
    plain, secret, missing = (clusters.describe(each) for each in ("plain", "secret", "none"))
    assert [plain.key, secret.key, missing] == [None, key, None]
    assert [plain.identifier, secret.identifier] == ["plain", "secret"]
    assert production.aws.keys.default() == production.default_key


def test_a_snapshot_of_a_cluster_is_started_once_with_its_tags(production: Stage) -> None:
    production.cluster("orders")
    snapshots = production.aws.snapshots
    made = snapshots.take("orders", "share-1", TAGS)
    expected = snapshot("share-1", own=True, status="creating", created=NOW)
    assert as_of_now(made) == expected._replace(tags=TAGS)
    assert snapshots.take("orders", "share-1", {"other": "tags"}) is None
    listed = own(production)
    assert listed == {"share-1": expected._replace(tags=TAGS, progress=listed["share-1"].progress)}


def test_automated_snapshots_are_listed_by_their_cluster_and_copied(production: Stage) -> None:
    production.have("rds:orders-a")
    production.have("rds:billing-a", cluster="billing")
    production.have("orders-by-hand")
    production.cluster("orders")  # of which the local cloud takes a snapshot by itself
    found = {each.arn: each for each in production.aws.snapshots.automated("orders")}
    assert found[arn("rds:orders-a")] == snapshot("rds:orders-a", own=True)
    assert found.keys().isdisjoint({arn("rds:billing-a"), arn("orders-by-hand")})
    made = production.aws.snapshots.copy(arn("rds:orders-a"), "share-1", production.key, TAGS)
    listed = own(production)["share-1"]
    assert (made.source, listed.source, listed.tags) == (*[arn("rds:orders-a")] * 2, TAGS)


def test_only_an_available_snapshot_is_shared_and_a_share_can_be_deleted(production: Stage) -> None:
    """InvalidDBClusterSnapshotStateFault of ModifyDBClusterSnapshotAttribute's model."""
    production.have("share-1")
    production.have("share-2", status="creating")
    snapshots = production.aws.snapshots
    with pytest.raises(AwsError) as caught:
        snapshots.share("share-2", ACCEPTANCE)
    assert caught.value.code == "InvalidDBClusterSnapshotStateFault"
    assert set(snapshots.shared_with("share-1")) == set()
    snapshots.share("share-1", ACCEPTANCE)
    snapshots.share("share-1", ACCEPTANCE)
    snapshots.share("share-1", STRANGER)
    assert set(snapshots.shared_with("share-1")) == {ACCEPTANCE, STRANGER}
    assert set(snapshots.shared_with("share-2")) == set()
    snapshots.delete("share-1")
    assert list(own(production)) == ["share-2"]
