"""What only the real adapters do: rare answers of AWS, errors, retries, other Regions, topics."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from urllib3 import HTTPResponse

from chalicelib.aws.clients import BotoAws, _LazyClient
from chalicelib.aws.cloudformation import CloudFormationStacks
from chalicelib.aws.codepipeline import CodePipelines
from chalicelib.aws.errors import translate_errors
from chalicelib.aws.kms import KmsKeys
from chalicelib.aws.rds import RdsClusters, RdsSnapshots, to_snapshot
from chalicelib.aws.sns import SnsNotifier
from chalicelib.aws.ssm import SsmParameters
from chalicelib.aws.stepfunctions import StepFunctions
from chalicelib.domain.deployment import (
    PREPARES_CHANGE_SET,
    Action,
    Cluster,
    Position,
    Preparation,
    Stack,
)
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import Run
from chalicelib.notifications import Notification
from demo.acceptance import nightly
from localcloud.client import LocalCloud
from tests.contract.stages import CURRENT, NOW, boto_aws, clients_of
from tests.fakes import ACCEPTANCE, PRODUCTION, STACK, arn

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
ELSEWHERE = arn("one").replace("eu-west-1", "us-east-1")
ERROR = "<ErrorResponse><Error><Code>{}</Code></Error></ErrorResponse>"
NO = 400, ERROR.format("No")


def expecting(service: str, *calls: tuple[str, Any, dict[str, Any]]) -> Any:
    """Make a client that answers these calls in this order, each with its arguments, and no others."""
    stub = Stubber(boto3.client(service, "eu-west-1", **KEYS))
    for operation, arguments, answer in calls:
        stub.add_response(operation, answer, arguments)
    stub.activate()
    return stub.client


def answered_by(service: str, *answers: tuple[int, str]) -> Any:
    """Make a client that gets these answers, as statuses and texts, one an attempt."""
    retries = {"mode": "standard", "total_max_attempts": len(answers)}
    client = boto3.client(service, "eu-west-1", config=Config(retries=retries), **KEYS)
    left = iter(answers)

    def answer(**_: Any) -> AWSResponse:
        status, text = next(left)
        raw = HTTPResponse(io.BytesIO(text.encode()), preload_content=False)
        return AWSResponse("https://aws", status, {}, raw)

    client.meta.events.register("before-send", answer)
    return _LazyClient(lambda *_, **__: client, service)


@pytest.fixture
def aws(cloud: LocalCloud) -> BotoAws:
    return boto_aws(cloud)


# --- errors and retries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("rds:DescribeDBClusters", lambda aws: aws.clusters.describe("it")),
        ("rds:CreateDBClusterSnapshot", lambda aws: aws.snapshots.take("it", "name", {})),
        ("rds:CopyDBClusterSnapshot", lambda aws: aws.snapshots.copy("it", "name", "key", {})),
        ("rds:DeleteDBClusterSnapshot", lambda aws: aws.snapshots.delete("it")),
        ("rds:DescribeDBClusterSnapshots", lambda aws: list(aws.snapshots.automated("it"))),
        ("rds:DescribeDBClusterSnapshotAttributes", lambda aws: aws.snapshots.shared_with("it")),
        ("rds:ModifyDBClusterSnapshotAttribute", lambda aws: aws.snapshots.share("it", "1")),
        ("cloudformation:DescribeStacks", lambda aws: aws.stacks.find("it")),
        ("kms:DescribeKey", lambda aws: aws.keys.default()),
        ("ssm:PutParameter", lambda aws: aws.parameters.put("it", "1", None)),
    ],
)
def test_a_refused_call_is_an_error_that_names_operation_subject_and_code(
    aws: BotoAws, cloud: LocalCloud, operation: str, ask: Callable[[BotoAws], object]
) -> None:
    cloud.set_faults([{"operation": operation, "kind": "deny", "times": 0}])
    name = operation.partition(":")[2]
    with pytest.raises(AwsError, match=rf"^{name} of .*\b(it|rds) failed: AccessDenied"):
        ask(aws)


@pytest.mark.parametrize(
    ("answers", "code", "answered"),
    [
        ([(503, "Service Unavailable")], "ResponseParserError", False),
        ([(200, "<html>")], "ResponseParserError", False),
        ([(400, "<ErrorResponse><RequestId>1</RequestId></ErrorResponse>")], "Unknown", True),
        ([(400, ERROR.format(""))], "Unknown", True),
        ([NO], "No", True),
        ([(500, ERROR.format("No"))], "No", False),
        ([(400, ERROR.format("Throttling")), NO], "No", True),
        ([(500, ""), NO], "No", False),
        ([(500, ""), (400, ERROR.format("Throttling")), NO], "No", False),
    ],
)
def test_whatever_is_answered_is_an_error_that_may_prove_that_the_call_had_no_effect(
    monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, str]], code: str, answered: bool
) -> None:
    """What a service, one in trouble, or a proxy answers; an attempt before the last one may have had it."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    snapshots = RdsSnapshots(answered_by("rds", *answers))
    with pytest.raises(AwsError, match=rf"\bit failed: {code}: .") as caught:
        snapshots.copy("it", "name", "key", {})
    assert (caught.value.code, caught.value.answered) == (code, answered)


def test_no_answer_at_all_is_an_error_that_proves_nothing() -> None:
    once, nobody = Config(retries={"total_max_attempts": 1}), "http://127.0.0.1:9"
    ssm = boto3.client("ssm", "eu-west-1", endpoint_url=nobody, config=once, **KEYS)
    with pytest.raises(AwsError, match="of /a failed: EndpointConnectionError") as caught:
        SsmParameters(ssm).delete("/a")
    assert not caught.value.answered


def test_a_throttled_call_is_repeated_at_growing_intervals(
    aws: BotoAws, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large listing is throttled page by page, so a second lost at each adds up."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", slept.append)
    cloud.set_faults([{"operation": "*", "kind": "throttle", "times": 0}])
    with pytest.raises(AwsError, match="Throttling"):
        aws.parameters.get(["/a"])
    assert len(slept) == 7
    with pytest.raises(AwsError, match="Throttling"):
        list(aws.snapshots.shared())
    longest = [min(0.1 * 2**number, 20) for number in [*range(7), *range(7)]]
    assert all(most / 2 <= each <= most for each, most in zip(slept, longest, strict=True))


def test_a_change_waits_until_another_one_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both services take one at a time, and botocore repeats neither refusal."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    busy, done = (400, '{"__type": "TooManyUpdates"}'), (200, '{"Version": 2}')
    assert SsmParameters(answered_by("ssm", busy, done)).put("/a", "1", None) == 2
    busy, done = (400, '{"__type": "ConflictException"}'), (200, '{"pipelineExecutionId": "run-1"}')
    assert CodePipelines(answered_by("codepipeline", busy, done)).start("m", "t") == "run-1"


def test_the_clock_is_in_utc() -> None:
    assert BotoAws(boto3.client, None).now().tzinfo == UTC


# --- snapshots and clusters -----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "account"), [("shared", PRODUCTION), ("own", ACCEPTANCE)])
def test_snapshots_are_listed_to_the_end_or_not_at_all(
    aws: BotoAws, cloud: LocalCloud, kind: str, account: str
) -> None:
    names = [f"o{number}" for number in range(101)]
    cloud.seed_snapshots([nightly("orders", NOW, account=account, identifier=n) for n in names])
    assert len(list(getattr(aws.snapshots, kind)())) == 101
    fault = {"operation": "rds:DescribeDBClusterSnapshots", "kind": "deny", "nth": 2, "times": 0}
    cloud.set_faults([fault])
    with pytest.raises(AwsError, match=f"of the {kind} snapshots failed"):
        list(getattr(aws.snapshots, kind)())


def test_a_snapshot_is_own_if_its_type_is_known_to_be() -> None:
    """An own snapshot may be pinned whatever its account."""
    listed = {"DBClusterSnapshotArn": arn("one")}
    kinds = ("manual", "automated", "awsbackup", "shared", "Manual", "one of next year")
    found = [to_snapshot({**listed, "SnapshotType": kind}).own for kind in kinds]
    assert found == [True, True, True, False, False, False]
    assert not to_snapshot(listed).own
    share = {**listed, "DBClusterSnapshotIdentifier": arn("one"), "SnapshotType": "manual"}
    assert not to_snapshot(share).own


COPY = methodcaller("copy", arn("a"), "name", "key", {})
TAKE = methodcaller("take", "a", "name", {})
DESCRIBED = (
    "<DescribeDBClusterSnapshotsResponse><DescribeDBClusterSnapshotsResult><DBClusterSnapshots>{}"
    "</DBClusterSnapshots></DescribeDBClusterSnapshotsResult></DescribeDBClusterSnapshotsResponse>"
)
ONE = "<DBClusterSnapshot><DBClusterSnapshotArn>{}</DBClusterSnapshotArn></DBClusterSnapshot>"


@pytest.mark.parametrize(
    ("code", "reason", "make"),
    [
        ("SnapshotQuotaExceeded", "copy-quota", COPY),
        ("KMSKeyNotAccessibleFault", "copy-key-denied", COPY),
        ("InvalidParameterCombination", "copy-unencrypted", COPY),
        ("InvalidDBClusterStateFault", "cluster-busy", TAKE),
        ("SnapshotQuotaExceeded", "snapshot-quota", TAKE),
    ],
)
def test_a_refusal_is_a_decision_unless_another_request_was_given_what_is_refused(
    monkeypatch: pytest.MonkeyPatch, code: str, reason: str, make: Callable[[RdsSnapshots], object]
) -> None:
    """The other request's copy may be the fifth; a cluster is busy while its snapshot is taken."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    lost, no = (500, ""), (400, ERROR.format(code))
    begun, absent = ((200, DESCRIBED.format(text)) for text in (ONE.format(arn("name")), ""))
    for before in ([lost], []):
        assert make(RdsSnapshots(answered_by("rds", *before, no, begun))) is None
        with pytest.raises(Refused, match=r"^RDS refused to (copy|take) .*\ba: ") as caught:
            make(RdsSnapshots(answered_by("rds", *before, no, absent)))
        assert caught.value.reason == reason


def test_an_error_without_metadata_is_an_answer() -> None:
    with pytest.raises(AwsError) as caught, translate_errors("GetIt", "it"):
        raise ClientError({"Error": {"Code": "No"}}, "GetIt")
    assert (caught.value.code, caught.value.answered) == ("No", True)


def test_a_default_key_that_was_never_used_is_none() -> None:
    assert KmsKeys(answered_by("kms", (400, '{"__type": "NotFoundException"}'))).default() is None


def test_a_copy_from_another_region_is_started_with_its_key_and_tags() -> None:
    """RDS's answer may lack tags and progress. botocore makes the URL that GovCloud's Regions need."""
    wanted = {
        "SourceDBClusterSnapshotIdentifier": ELSEWHERE,
        "TargetDBClusterSnapshotIdentifier": "copy-1",
        "KmsKeyId": "alias/acceptance",
        "Tags": [{"Key": "made-for", "Value": "/a/latest"}],
        "SourceRegion": "us-east-1",
    }
    answer = {"DBClusterSnapshot": {"DBClusterSnapshotArn": arn("copy-1"), "Status": "copying"}}
    rds = expecting("rds", ("copy_db_cluster_snapshot", wanted, answer))
    tags = {"made-for": "/a/latest"}
    asked = RdsSnapshots(rds).copy(ELSEWHERE, "copy-1", "alias/acceptance", tags)
    assert (asked.arn, asked.created) == (arn("copy-1"), None)
    assert (asked.tags, asked.progress) == (tags, 0)


def test_shares_of_another_region_are_read_there(cloud: LocalCloud) -> None:
    elsewhere = {"region": "us-east-1"}
    there, same_name = (nightly("orders", NOW, identifier=n, **elsewhere) for n in ("one", "two"))
    mine = nightly("orders", NOW, account=ACCEPTANCE, identifier="two", shared_with=[])
    here = nightly("orders", NOW, identifier="one")
    share, other, own, _ = cloud.seed_snapshots([there, same_name, mine, here])["arns"]
    snapshots = BotoAws(clients_of(cloud), None, source_region="us-east-1").snapshots
    assert {each.arn for each in snapshots.shared()} == {share, other}
    assert [each.arn for each in snapshots.named("two", PRODUCTION)] == [own, other]
    for text, expected in ((share, share), (own, own), (share.replace("us-east", "us-west"), None)):
        found = snapshots.find(text)
        assert (found and found.arn) == expected


def test_a_cluster_has_what_its_preparation_needs() -> None:
    created = {
        "DBClusterIdentifier": "orders-1",
        "DbClusterResourceId": "cluster-ABC",
        "DBClusterArn": f"arn:aws:rds:eu-west-1:{ACCEPTANCE}:cluster:orders-1",
        "Engine": "docdb",
    }
    dated = created | {"ClusterCreateTime": NOW, "Status": "creating"}
    available = dated | {
        "Status": "available",
        "Endpoint": "orders-1.example",
        "Port": 5432,
        "MasterUserSecret": {"SecretArn": "arn:secret"},
    }
    wanted = {"DBClusterIdentifier": "orders-1"}
    answers = [{"DBClusters": [each]} for each in (created, dated, available)]
    rds = expecting("rds", *(("describe_db_clusters", wanted, answer) for answer in answers))
    known = Cluster("cluster-ABC", NOW, "orders-1", created["DBClusterArn"], engine="docdb")
    bare = known._replace(is_creating=True)
    full = Cluster(*known[:4], "orders-1.example", 5432, "docdb", "arn:secret")
    clusters = RdsClusters(rds)
    assert [clusters.describe("orders-1") for _ in answers] == [None, bare, full]


# --- the pipeline and its stack -------------------------------------------------------------------


def test_a_run_in_progress_has_a_position() -> None:
    def stage(name: str, actions: dict[str, Any], **facts: Any) -> dict[str, Any]:
        states = [{"actionName": each, "latestExecution": run} for each, run in actions.items()]
        return {"stageName": name, "actionStates": states, **facts}

    def run(execution_id: str, status: str = "InProgress") -> dict[str, str]:
        return {"pipelineExecutionId": execution_id, "status": status}

    done = {"status": "Succeeded"}
    runs = {"status": "InProgress", "lastStatusChange": NOW}
    disabled = {"enabled": False}
    stages = [
        stage("Source", {}, latestExecution=run("run-5", "Succeeded")),
        stage("Build", {"Lint": done, "Pack": runs}, latestExecution=run("run-4")),
        stage("Scan", {"Scan": done, "Sign": {}}, latestExecution=run("run-3", "Stopping")),
        stage("Approve", {"Ask": runs | {"token": "t"}}, latestExecution=run("run-2")),
        stage("Load", {}, inboundExecutions=[run("run-1")]),
        stage("Deploy", {}, inboundExecutions=[run("run-0")], inboundTransitionState=disabled),
    ]
    call = ("get_pipeline_state", {"name": "m"}, {"stageStates": stages})
    assert CodePipelines(expecting("codepipeline", call)).positions("m") == {
        "run-4": Position("Build", "Pack", NOW),
        "run-3": Position("Scan"),
        "run-2": Position("Approve", "Ask", NOW, waits_for="approval"),
        "run-1": Position("Load", waits_for="an earlier run"),
        "run-0": Position("Deploy", waits_for="a disabled transition"),
    }


LISTED = {"pipelineName": "m", "maxResults": 100}


def test_the_runs_of_a_month_are_listed_whatever_they_lack() -> None:
    """One that has waited for an approval for days may be older than a hundred others."""

    def page(token: str, *runs: dict[str, Any]) -> dict[str, Any]:
        summaries = [{"status": "InProgress", **each} for each in runs]
        return {"pipelineExecutionSummaries": summaries, "nextToken": token}

    now = datetime.now(UTC)
    recent, old = now - timedelta(days=29), now - timedelta(days=31)
    rollback = {"trigger": {"triggerType": "ManualRollback"}, "executionType": "ROLLBACK"}
    second = {"pipelineExecutionId": "run-2", "startTime": recent, **rollback}
    codepipeline = expecting(
        "codepipeline",
        ("list_pipeline_executions", LISTED, page("t", second, {"pipelineExecutionId": "run-3"})),
        (
            "list_pipeline_executions",
            LISTED | {"nextToken": "t"},
            page("u", {"pipelineExecutionId": "run-1", "startTime": old}),
        ),
    )
    new, *others = CodePipelines(codepipeline).runs("m")
    assert others == [
        Run("run-2", "InProgress", recent, recent, "ManualRollback", is_rollback=True),
        Run("run-1", "InProgress", old, old),
    ]
    assert new == Run("run-3", "InProgress", new.started, new.started)
    assert timedelta() <= new.started - now < timedelta(minutes=1)


def action(run: str, name: str, **facts: Any) -> dict[str, Any]:
    return {
        "pipelineExecutionId": run,
        "stageName": "Deploy",
        "actionName": name,
        "status": "InProgress",
        **facts,
    }


def test_a_change_set_reads_when_its_run_prepares_it_and_an_action_when_it_begins() -> None:
    def change_set(
        run: str, mode: str, minute: int, stack: str = STACK, **place: str
    ) -> dict[str, Any]:
        kind = {"category": "Deploy", "owner": "AWS", "provider": "CloudFormation", "version": "1"}
        given = {
            "actionTypeId": kind,
            "configuration": {"ActionMode": f"CHANGE_SET_{mode}", "StackName": "#{Name}"},
            "resolvedConfiguration": {"StackName": stack},
            **place,
        }
        return action(run, mode, input=given, startTime=NOW + timedelta(minutes=minute))

    elsewhere = {"region": "us-east-1", "roleArn": "arn:aws:iam::111111111111:role/deploy"}
    newer = [change_set("run-1", "EXECUTE", 40), change_set("run-2", "EXECUTE", 50)]
    older = [change_set("run-1", "REPLACE", 30, "other"), change_set("run-1", "REPLACE", 10)]
    # Of the first attempt; the stage was retried.
    older += [change_set("run-1", "EXECUTE", 7), change_set("run-1", "REPLACE", 5)]
    older.append(change_set("run-1", "REPLACE", 0, **elsewhere))
    bare = [action("run-1", "Scan"), action("run-1", "Scan", startTime=NOW)]
    first = {"pipelineName": "m", "filter": {"pipelineExecutionId": "run-1"}}
    second = first | {"nextToken": "t"}
    every = {"pipelineName": "m"}

    def page(found: list[dict[str, Any]], then: str) -> dict[str, Any]:
        return {"actionExecutionDetails": found, "nextToken": then}

    codepipeline = expecting(
        "codepipeline",
        ("list_action_executions", first, page(newer, "t")),
        ("list_action_executions", second, {"actionExecutionDetails": older}),
        # Up to the first deploy, and to what it executes.
        ("list_action_executions", every, page(bare, "t")),
        ("list_action_executions", every | {"nextToken": "t"}, page(newer, "u")),
        ("list_action_executions", every | {"nextToken": "u"}, page(older, "v")),
    )
    pipelines = CodePipelines(codepipeline)
    found = pipelines.actions("m", "run-1")
    assert [(each.stack, each.category, (each.reads_since or NOW) - NOW) for each in found] == [
        (STACK, "Deploy", timedelta(minutes=50)),
        (STACK, "Deploy", timedelta(minutes=10)),
        ("other", PREPARES_CHANGE_SET, timedelta(minutes=30)),
        (STACK, PREPARES_CHANGE_SET, timedelta(minutes=10)),
        (STACK, "Deploy", timedelta(minutes=5)),
        (STACK, PREPARES_CHANGE_SET, timedelta(minutes=5)),
        (STACK, PREPARES_CHANGE_SET, timedelta(minutes=0)),
    ]
    assert (found[-1].account, found[-1].region) == ("111111111111", "us-east-1")
    scan = Action("run-1", "Deploy", "Scan", "InProgress", NOW, NOW, reads_since=NOW)
    recent = pipelines.actions("m")
    assert (recent.count(scan), len(recent)) == (1, 8)
    unknown = 400, '{"__type": "PipelineExecutionNotFoundException"}'  # a run that was just listed
    assert CodePipelines(answered_by("codepipeline", unknown)).actions("m", "run-1") == []


ID = "arn:aws:cloudformation:eu-west-1:222222222222:stack/data/1"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"


def test_a_stack_has_the_clusters_that_exist_and_the_parameters_that_are_resolved() -> None:
    def resource(name: str, kind: str, status: str = "UPDATE_COMPLETE") -> dict[str, Any]:
        return {
            "LogicalResourceId": name,
            "PhysicalResourceId": name.lower(),
            "ResourceType": f"AWS::{kind}",
            "ResourceStatus": status,
            "LastUpdatedTimestamp": NOW,
        }

    new = resource("New", "RDS::DBCluster", "CREATE_IN_PROGRESS")
    del new["PhysicalResourceId"]
    resources = [
        *(resource("Orders", "RDS::DBCluster"), resource("Docs", "DocDB::DBCluster")),
        *(resource("Graph", "Neptune::DBCluster"), resource("Topic", "SNS::Topic")),
        *(resource("Old", "RDS::DBCluster", "DELETE_COMPLETE"), new),
    ]
    parameters = [
        {"ParameterKey": "Size", "ParameterValue": "large"},
        {"ParameterKey": "Snapshot", "ParameterValue": CURRENT, "ResolvedValue": arn("one")},
    ]
    stack = {"StackName": "data", "CreationTime": NOW, "StackStatus": "UPDATE_COMPLETE"}
    name = {"StackName": "data"}
    first = {"StackResourceSummaries": resources[:1], "NextToken": "t"}
    second = {"StackResourceSummaries": resources[1:]}
    cloudformation = expecting(
        "cloudformation",
        ("describe_stacks", name, {"Stacks": [stack | {"Parameters": parameters, "StackId": ID}]}),
        ("list_stack_resources", name, first),
        ("list_stack_resources", name | {"NextToken": "t"}, second),
        ("describe_stacks", name, {"Stacks": [stack]}),
        ("list_stack_resources", name, {"StackResourceSummaries": []}),
    )
    stacks = CloudFormationStacks(cloudformation)
    clusters = {each: each.lower() for each in ("Orders", "Docs", "Graph")}
    assert stacks.find("data") == Stack("UPDATE_COMPLETE", clusters, {CURRENT: arn("one")}, ID)
    assert stacks.find("data") == Stack("UPDATE_COMPLETE", {}, {})


@pytest.mark.parametrize("code", ["AccessDeniedException", "KmsAccessDeniedException"])
def test_a_state_machine_that_may_not_be_started_is_for_people_to_resolve(code: str) -> None:
    states = boto3.client("stepfunctions", "eu-west-1", **KEYS)
    stub = Stubber(states)
    stub.add_client_error("start_execution", code, "no right")
    stub.activate()
    with pytest.raises(Refused, match=f"{MACHINE} was not started: {code}: no right"):
        StepFunctions(states).start(MACHINE, "rds-1", {})


def test_an_execution_is_looked_at_without_its_data() -> None:
    """Which may be under a key that the function may not use."""
    name = "arn:aws:states:eu-west-1:222222222222:execution:mask:rds-1"
    asked, times = {"executionArn": name, "includedData": "METADATA_ONLY"}, {"startDate": NOW}
    found = {"executionArn": name, "stateMachineArn": MACHINE, "status": "RUNNING", **times}
    states = expecting("stepfunctions", ("describe_execution", asked, found))
    assert StepFunctions(states).execution(MACHINE, "rds-1") == Preparation("RUNNING", name)


# --- notifications --------------------------------------------------------------------------------

NOTIFICATION = Notification(
    "a subject", "a body\nof two lines", ["Look."], {"reason": "no-latest"}, "thread"
)
PEOPLE, CHAT = (f"arn:aws:sns:eu-west-1:{ACCEPTANCE}:{name}" for name in ("people", "chat"))
TO_PEOPLE = {
    "TopicArn": PEOPLE,
    "Subject": NOTIFICATION.subject,
    "Message": NOTIFICATION.body,
    "MessageAttributes": {"reason": {"DataType": "String", "StringValue": "no-latest"}},
}
TO_CHAT = {"TopicArn": CHAT, "Message": NOTIFICATION.to_chat()}


def test_a_topic_that_fails_is_logged_and_keeps_nothing_from_the_other_one(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = Stubber(boto3.client("sns", "eu-west-1", **KEYS))
    stub.add_response("publish", {"MessageId": "1"}, TO_PEOPLE)
    stub.add_response("publish", {"MessageId": "2"}, TO_CHAT)
    stub.add_client_error("publish", expected_params=TO_PEOPLE)
    stub.add_response("publish", {"MessageId": "3"}, TO_CHAT)
    stub.activate()
    SnsNotifier(stub.client, None).notify(NOTIFICATION)
    SnsNotifier(stub.client, PEOPLE, CHAT).notify(NOTIFICATION)
    assert caplog.messages == []
    SnsNotifier(stub.client, PEOPLE, CHAT).notify(NOTIFICATION)
    assert caplog.messages == ["notification not published: a subject"]
    stub.assert_no_pending_responses()
    counted = json.loads(capsys.readouterr().out)
    assert (counted["stage"], counted["NotificationFailed"]) == ("local", [1])
    (definition,) = counted["_aws"]["CloudWatchMetrics"]
    assert definition["Dimensions"] == [["stage"]]
