"""One suite for the fakes of the use cases and for the real adapters, on the local cloud."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from chalicelib.aws.clients import BotoAws
from chalicelib.aws.rds import RdsSnapshots
from chalicelib.domain.errors import AwsError, Refused, VersionLimitError
from chalicelib.domain.ledger import Note, Parameter
from chalicelib.domain.snapshots import OwnSnapshot
from chalicelib.notifications import Notification
from chalicelib.ports import Aws
from localcloud.client import LocalCloud
from localcloud.company import nightly
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot

NOW = datetime(2026, 1, 4, 4, tzinfo=UTC)
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
NOTE = Note("pin", "kim", "because", "token-1")


class Stage(Protocol):
    """A Aws, and the hand that arranges it."""

    aws: Aws

    def share(self, name: str, account: str = ..., **facts: Any) -> None: ...

    def unencrypted(self, name: str) -> None: ...

    def pipeline(self, name: str) -> None: ...

    def key(self) -> str: ...

    def denied_key(self) -> str: ...

    def end_copies(self, status: str = ...) -> None: ...


@dataclass
class FakeStage:
    aws: InMemoryAws

    def share(self, name: str, account: str = "111111111111", **facts: Any) -> None:
        self.aws.snapshots.all.append(snapshot(name, account, **facts))

    def unencrypted(self, name: str) -> None:
        self.share(name)
        self.aws.snapshots.unencrypted.add(arn(name))

    def pipeline(self, name: str) -> None:
        self.aws.pipelines.pipelines[name] = []

    def key(self) -> str:
        return "alias/acceptance"

    def denied_key(self) -> str:
        self.aws.snapshots.denied.add("alias/denied")
        return "alias/denied"

    def end_copies(self, status: str = "available") -> None:
        self.aws.snapshots.settle(status)


@dataclass
class CloudStage:
    aws: BotoAws
    cloud: LocalCloud

    def share(self, name: str, account: str = "111111111111", **facts: Any) -> None:
        taken = datetime(2026, 1, 3, 22, tzinfo=UTC)
        facts = {"account": account, "identifier": name, **facts}
        if facts.pop("encrypted", True):
            key = f"arn:aws:kms:eu-west-1:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
            facts = {"kms_key_id": key, "kms_granted_to": [ACCEPTANCE]} | facts
        if account == ACCEPTANCE:
            facts["shared_with"] = []
        if name.startswith("rds:"):
            facts["snapshot_type"] = "automated"
        self.cloud.seed_snapshots([nightly("orders", taken, **facts)])

    def unencrypted(self, name: str) -> None:
        self.share(name, encrypted=False)

    def pipeline(self, name: str) -> None:
        self.cloud.create_pipeline(name, 30, [])

    def key(self) -> str:
        arn: str = self.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
        return arn

    def denied_key(self) -> str:
        return "00000000-0000-0000-0000-000000000000"  # which nobody has made

    def end_copies(self, status: str = "available") -> None:
        for each in self.aws.snapshots.own():
            if each.snapshot.status == "copying":
                self.cloud.patch_snapshot(each.snapshot.arn, status=status)


@pytest.fixture(params=["fake", "real"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage(InMemoryAws(NOW))
    cloud: LocalCloud = request.getfixturevalue("cloud")
    cloud.set_clock(NOW)
    [any_snapshot] = cloud.seed_snapshots([nightly("any", NOW, account="333333333333")])["arns"]
    cloud.patch_snapshot(any_snapshot, shared_with=[], copy_seconds=3600)
    return CloudStage(BotoAws(clients_of(cloud), None), cloud)


def clients_of(cloud: LocalCloud) -> Callable[..., Any]:
    """Makes clients as a function has them: credentials and endpoint come from its surroundings."""
    environment = cloud.environment()
    return functools.partial(
        botocore.session.get_session().create_client,
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
    )


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


def test_a_share_is_found_by_its_arn(stage: Stage) -> None:
    stage.share("one")
    assert stage.aws.snapshots.find(arn("one")) == snapshot("one")


def test_an_own_snapshot_is_found_by_its_arn(stage: Stage) -> None:
    stage.share("mine", ACCEPTANCE)
    assert stage.aws.snapshots.find(arn("mine", ACCEPTANCE)) == snapshot("mine", ACCEPTANCE)


@pytest.mark.parametrize("wish", [arn("none"), arn("none", ACCEPTANCE)])
def test_an_unknown_snapshot_is_not_found(stage: Stage, wish: str) -> None:
    assert stage.aws.snapshots.find(wish) is None


def test_a_snapshot_of_another_region_is_not_found(stage: Stage) -> None:
    stage.share("one")
    assert stage.aws.snapshots.find(arn("one").replace("eu-west-1", "us-east-1")) is None


def test_names_are_looked_up_here_and_in_the_other_account(stage: Stage) -> None:
    for name, account in (
        ("both", "111111111111"),
        ("both", ACCEPTANCE),
        ("mine", ACCEPTANCE),
        ("one", "111111111111"),
        ("strange", "999999999999"),
    ):
        stage.share(name, account)

    def named(name: str) -> list[str]:
        found = stage.aws.snapshots.named(name, "111111111111")
        return sorted(each.arn for each in found)

    assert named("both") == [arn("both"), arn("both", ACCEPTANCE)]
    assert named("mine") == [arn("mine", ACCEPTANCE)]
    assert named("one") == [arn("one")]
    assert named("strange") == []


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


def test_a_copy_is_dated_by_its_own_making(stage: Stage) -> None:
    """So that the time of its data must be found in its tags."""
    stage.share("one")
    stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    created = own(stage)["copy-1"].snapshot.created
    assert created is not None
    assert timedelta() <= created - NOW < timedelta(minutes=1)


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


def test_a_key_that_may_not_be_used_is_a_decision(stage: Stage) -> None:
    stage.share("one")
    with pytest.raises(Refused, match=f"RDS refused to copy {arn('one')}: ") as caught:
        stage.aws.snapshots.copy(arn("one"), "copy-1", stage.denied_key(), TAGS)
    assert caught.value.reason == "copy-key-denied"
    assert own(stage) == {}


def test_what_rds_does_not_encrypt_by_copying_is_a_decision(stage: Stage) -> None:
    stage.share("one")
    stage.unencrypted("plain")
    with pytest.raises(Refused, match=f"RDS refused to copy {arn('plain')}: ") as caught:
        stage.aws.snapshots.copy(arn("plain"), "copy-1", stage.key(), TAGS)
    assert caught.value.reason == "copy-unencrypted"
    assert own(stage) == {}


@pytest.mark.parametrize("status", [None, "creating", "failed"])
def test_a_source_that_is_not_available_is_a_decision(stage: Stage, status: str | None) -> None:
    if status:
        stage.share("one", status=status)
    with pytest.raises(Refused, match=f"RDS refused to copy {arn('one')}: ") as caught:
        stage.aws.snapshots.copy(arn("one"), "copy-1", stage.key(), TAGS)
    assert caught.value.reason == "snapshot-gone"
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


def test_a_share_is_not_deleted(stage: Stage) -> None:
    stage.share("one")
    stage.share("mine", ACCEPTANCE)
    stage.aws.snapshots.delete("one")
    assert list(stage.aws.snapshots.shared()) == [snapshot("one")]
    assert list(own(stage)) == ["mine"]


# --- parameters -----------------------------------------------------------------------------------


def test_only_parameters_that_exist_are_answered(stage: Stage) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    assert stage.aws.parameters.get(["/a", "/b"]) == {"/a": Parameter("1", 1)}


def test_no_parameters_are_none(stage: Stage) -> None:
    assert stage.aws.parameters.get([]) == {}


def test_more_parameters_than_one_call_takes_are_all_answered(stage: Stage) -> None:
    names = [f"/p{number}" for number in range(23)]
    for name in names:
        stage.aws.parameters.put(name, name, NOTE)
    assert stage.aws.parameters.get(names) == {name: Parameter(name, 1) for name in names}


def test_a_put_makes_a_version(stage: Stage) -> None:
    assert [stage.aws.parameters.put("/a", value, NOTE) for value in "12"] == [1, 2]
    assert stage.aws.parameters.get(["/a"]) == {"/a": Parameter("2", 2)}


def test_the_history_is_the_ledger_oldest_first(stage: Stage) -> None:
    later = Note("undo", "kim", "it failed")
    stage.aws.parameters.put("/a", "1", NOTE)
    stage.aws.parameters.put("/a", "2", later)
    told = [
        (entry.version, entry.value, entry.note) for entry in stage.aws.parameters.history("/a")
    ]
    assert told == [(1, "1", NOTE), (2, "2", later)]


def test_the_history_tells_when(stage: Stage) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    (entry,) = stage.aws.parameters.history("/a")
    assert timedelta() <= entry.modified - NOW < timedelta(minutes=1)


def test_a_parameter_that_does_not_exist_has_no_history(stage: Stage) -> None:
    assert stage.aws.parameters.history("/a") == []


def test_a_long_history_is_read_to_its_end(stage: Stage) -> None:
    for number in range(1, 61):
        stage.aws.parameters.put("/a", str(number), NOTE)
    assert [entry.version for entry in stage.aws.parameters.history("/a")] == list(range(1, 61))


def goods(stage: Stage) -> list[int]:
    return [entry.version for entry in stage.aws.parameters.history("/a") if entry.good]


def test_good_is_on_one_version_and_moves(stage: Stage) -> None:
    for value in "123":
        stage.aws.parameters.put("/a", value, NOTE)
    assert goods(stage) == []
    stage.aws.parameters.mark_good("/a", 1)
    assert goods(stage) == [1]
    stage.aws.parameters.mark_good("/a", 3)
    stage.aws.parameters.mark_good("/a", 3)
    assert goods(stage) == [3]
    stage.aws.parameters.unmark_good("/a", 3)
    assert goods(stage) == []


def test_the_oldest_of_a_hundred_versions_is_dropped_unless_it_is_good(stage: Stage) -> None:
    for number in range(101):
        stage.aws.parameters.put("/a", str(number), NOTE)
    assert [entry.version for entry in stage.aws.parameters.history("/a")] == list(range(2, 102))
    stage.aws.parameters.mark_good("/a", 2)
    with pytest.raises(VersionLimitError):
        stage.aws.parameters.put("/a", "one too many", NOTE)
    assert stage.aws.parameters.get(["/a"]) == {"/a": Parameter("100", 101)}


def test_a_deleted_parameter_is_gone_with_its_history(stage: Stage) -> None:
    stage.aws.parameters.put("/a", "1", NOTE)
    stage.aws.parameters.delete("/a")
    stage.aws.parameters.delete("/a")
    assert stage.aws.parameters.get(["/a"]) == {}
    assert stage.aws.parameters.history("/a") == []


# --- the pipeline ---------------------------------------------------------------------------------


def test_a_run_is_started_and_listed(stage: Stage) -> None:
    stage.pipeline("main")
    first = stage.aws.pipelines.start("main", "token-1")
    second = stage.aws.pipelines.start("main", "token-2")
    runs = stage.aws.pipelines.runs("main")
    assert [run.execution_id for run in runs] == [second, first]
    assert runs[0].in_progress
    assert runs[0].updated >= runs[0].started
    assert timedelta() <= runs[0].started - NOW < timedelta(minutes=1)


def test_one_token_starts_one_run(stage: Stage) -> None:
    stage.pipeline("main")
    first = stage.aws.pipelines.start("main", "token-1")
    assert stage.aws.pipelines.start("main", "token-1") == first
    assert len(stage.aws.pipelines.runs("main")) == 1


@pytest.mark.parametrize(
    "ask",
    [lambda pipelines: pipelines.runs("none"), lambda pipelines: pipelines.start("none", "t")],
    ids=["runs", "start"],
)
def test_a_missing_pipeline_is_a_decision(stage: Stage, ask: Callable[[Any], object]) -> None:
    with pytest.raises(Refused, match="there is no pipeline named none") as caught:
        ask(stage.aws.pipelines)
    assert caught.value.reason == "pipeline-missing"


# --- the real ones alone --------------------------------------------------------------------------


@pytest.fixture
def aws(cloud: LocalCloud) -> BotoAws:
    return BotoAws(clients_of(cloud), None)


@pytest.fixture
def rds() -> Iterator[Stubber]:
    """An RDS client that answers what it is told to, and no other call."""
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
def test_a_snapshot_is_own_where_its_type_is_known_to_be(
    rds: Stubber, kind: str | None, *, own: bool
) -> None:
    """What is taken for own may be pinned whatever its account."""
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
    "wish", [arn("one").replace("eu-west-1", "us-east-1"), "dummyvalue", "one", ""]
)
def test_what_cannot_be_in_this_region_is_not_asked_for(rds: Stubber, wish: str) -> None:
    assert RdsSnapshots(rds.client).find(wish) is None


def test_an_error_names_operation_subject_and_code(aws: BotoAws, cloud: LocalCloud) -> None:
    cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "deny", "times": 0}])
    with pytest.raises(AwsError, match=r"^PutParameter of /a failed: AccessDeniedException: ") as e:
        aws.parameters.put("/a", "1", NOTE)
    assert (e.value.operation, e.value.subject) == ("PutParameter", "/a")
    assert e.value.code == "AccessDeniedException"


def test_a_listing_that_fails_on_its_second_page_is_no_short_listing(
    aws: BotoAws, cloud: LocalCloud
) -> None:
    taken = datetime(2026, 1, 3, 22, tzinfo=UTC)
    cloud.seed_snapshots([nightly("orders", taken, identifier=f"o{n}") for n in range(101)])
    cloud.set_faults(
        [{"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny", "nth": 2, "times": 0}]
    )
    with pytest.raises(AwsError, match="DescribeDBClusterSnapshots of the shared snapshots failed"):
        list(aws.snapshots.shared())


def test_own_snapshots_are_listed_to_the_end_or_not_at_all(aws: BotoAws, cloud: LocalCloud) -> None:
    taken = datetime(2026, 1, 3, 22, tzinfo=UTC)
    cloud.seed_snapshots(
        [nightly("orders", taken, account=ACCEPTANCE, identifier=f"o{n}") for n in range(101)]
    )
    assert len(list(aws.snapshots.own())) == 101
    cloud.set_faults(
        [{"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny", "nth": 2, "times": 0}]
    )
    with pytest.raises(AwsError, match="DescribeDBClusterSnapshots of the own snapshots failed"):
        list(aws.snapshots.own())


COPY = {
    "SourceDBClusterSnapshotIdentifier": arn("one"),
    "TargetDBClusterSnapshotIdentifier": "copy-1",
    "KmsKeyId": "alias/acceptance",
    "Tags": [{"Key": "made-for", "Value": "/a/latest"}],
}


def ask_for_copy(rds: Stubber) -> OwnSnapshot | None:
    tags = {"made-for": "/a/latest"}
    return RdsSnapshots(rds.client).copy(arn("one"), "copy-1", "alias/acceptance", tags)


def test_a_copy_is_asked_for_with_key_and_tags_and_is_known_by_them(rds: Stubber) -> None:
    """RDS need not tell the tags in its answer, nor how far it is."""
    told = {"DBClusterSnapshotArn": arn("copy-1", ACCEPTANCE), "Status": "copying"}
    rds.add_response("copy_db_cluster_snapshot", {"DBClusterSnapshot": told}, COPY)
    asked = ask_for_copy(rds)
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
def test_what_only_people_can_mend_is_a_decision_in_rds_own_words(
    rds: Stubber, code: str, reason: str
) -> None:
    rds.add_client_error("copy_db_cluster_snapshot", code, "because", 400, expected_params=COPY)
    with pytest.raises(Refused) as caught:
        ask_for_copy(rds)
    assert (caught.value.reason, str(caught.value)) == (
        reason,
        f"RDS refused to copy {arn('one')}: because",
    )


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValue", "Throttling"])
def test_what_rds_does_not_do_for_another_reason_is_raised(rds: Stubber, code: str) -> None:
    rds.add_client_error("copy_db_cluster_snapshot", code, "because", 400, expected_params=COPY)
    with pytest.raises(AwsError, match=f"^CopyDBClusterSnapshot of {arn('one')} failed: {code}: "):
        ask_for_copy(rds)


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
        (lambda aws: list(aws.snapshots.shared()), "rds:DescribeDBClusterSnapshots", 9),
    ],
)
def test_a_throttled_call_is_repeated_soon_and_then_ever_later(
    aws: BotoAws,
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[BotoAws], object],
    operation: str,
    repeated: int,
) -> None:
    """A listing as large as a company's is throttled page by page: a second lost at each adds up."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", slept.append)
    cloud.set_faults([{"operation": operation, "kind": "throttle", "times": 0}])
    with pytest.raises(AwsError, match="Throttling"):
        ask(aws)
    longest = [min(0.1 * 2**number, 20) for number in range(repeated)]
    assert len(slept) == repeated
    assert all(most / 2 <= each <= most for each, most in zip(slept, longest, strict=True))


def test_a_call_that_is_throttled_for_a_while_is_answered(aws: BotoAws, cloud: LocalCloud) -> None:
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


NOTICE = Notification(
    "a subject", "a body\nof two lines", {"outcome": "failed", "reason": "no-latest"}
)


def test_people_are_told_through_the_topic(cloud: LocalCloud) -> None:
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    topic = sns.create_topic(Name="people")["TopicArn"]
    inbox = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue["Attributes"]["QueueArn"])
    BotoAws(clients_of(cloud), topic).notifier.notify(NOTICE)
    (message,) = sqs.receive_message(QueueUrl=inbox)["Messages"]
    told = json.loads(message["Body"])
    assert (told["Subject"], told["Message"]) == (NOTICE.subject, NOTICE.body)
    assert {name: each["Value"] for name, each in told["MessageAttributes"].items()} == dict(
        NOTICE.attributes
    )


def test_a_topic_that_fails_is_logged_and_changes_nothing(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    BotoAws(clients_of(cloud), "arn:aws:sns:eu-west-1:222222222222:none").notifier.notify(NOTICE)
    (record,) = caplog.records
    assert record.getMessage() == "notification not published: a subject"


def test_without_a_topic_nobody_is_told(aws: BotoAws, caplog: pytest.LogCaptureFixture) -> None:
    aws.notifier.notify(NOTICE)
    assert not caplog.records


def test_the_clock_is_in_utc() -> None:
    assert BotoAws.now().tzinfo == UTC


def test_a_client_is_made_once(aws: BotoAws) -> None:
    assert aws.parameters is aws.parameters
    assert aws.snapshots is aws.snapshots
    assert aws.pipelines is aws.pipelines
