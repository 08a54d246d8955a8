"""What Aurora Refresh assumes of AWS where its documentation is silent, or nobody tried it.

Each experiment tries a few facts in a sandbox and yields what it found.
"""

import io
import json
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError

from cli.livecheck.sandbox import Sandbox, wait_for

T = TypeVar("T")

_VERSIONS = 100
_EVENT_SECONDS = 180.0
_ROLE_SECONDS = 60.0
_RUN_SECONDS = 300.0
_STACK_SECONDS = 600.0
_CLUSTER_SECONDS = 3_600.0


@dataclass(frozen=True)
class Fact:
    """One assumption about AWS.

    Attributes:
        claim: a sentence, completed by the answer.
        expected: the answer relied on; None if each answer is handled.
        source: where AWS or somebody else says so.
    """

    claim: str
    expected: str | None
    source: str


class NotTried(Exception):
    """A fact cannot be tried here; the message says why."""


Found = tuple[str, str]
Experiment = Callable[[Sandbox], Iterator[Found]]


def parameters(box: Sandbox) -> Iterator[Found]:
    """Try values, descriptions and labels of Parameter Store."""
    ssm, name = box.client("ssm"), box.name
    put = {"Name": name, "Value": "same", "Type": "String"}
    first = ssm.put_parameter(**put, Description="first", Tags=box.tags)["Version"]

    def put_again(after: int) -> str:
        made = ssm.put_parameter(**put, Description="second", Overwrite=True)["Version"]
        return "a new version" if made == after + 1 else "no new version"

    yield "equal-put", _found(lambda: put_again(first))
    second = ssm.get_parameter(Name=name)["Parameter"]["Version"]
    yield "identical-put", _found(lambda: put_again(second))

    third = ssm.put_parameter(**put | {"Value": "other"}, Overwrite=True)["Version"]
    history = ssm.get_parameter_history(Name=name)["Parameters"]
    (last,) = [each for each in history if each["Version"] == third]
    inherits = last.get("Description") == "second"
    yield "inherited-description", "that of the version before" if inherits else "none"

    ssm.label_parameter_version(Name=name, ParameterVersion=third, Labels=["good"])
    ssm.put_parameter(**put, Overwrite=True)
    labelled = ssm.get_parameter(Name=f"{name}:good")["Parameter"]["Version"]
    yield "label", "the version that got it" if labelled == third else f"version {labelled}"
    yield "wrong-label", _found(lambda: _label(ssm, name, "1-is-no-letter"))

    full = {"Name": f"{name}-labelled", "Type": "String"}
    ssm.put_parameter(**full, Value="0", Tags=box.tags)
    ssm.label_parameter_version(Name=full["Name"], ParameterVersion=1, Labels=["good"])
    for value in range(1, _VERSIONS):
        ssm.put_parameter(**full, Value=str(value), Overwrite=True)
    yield "oldest-labelled", _refusal(ssm.put_parameter, **full, Value="more", Overwrite=True)


def rules(box: Sandbox) -> Iterator[Found]:
    """Try a rule on a schedule."""
    events, name = box.client("events"), f"{box.name}-schedule"
    rule = {"Name": name, "ScheduleExpression": "cron(* * * * ? *)"}
    events.put_rule(**rule, State="DISABLED", Tags=box.tags)
    events.put_rule(**rule)
    yield "rule-state", events.describe_rule(Name=name)["State"]

    _send_to_queue(box, name)
    event = _event(box, lambda event: event["detail-type"] == "Scheduled Event")
    if event is None:
        raise NotTried(f"the rule did not fire within {_EVENT_SECONDS:.0f} seconds")
    time = event["time"]
    yield "event-time", "the minute" if time.endswith(":00Z") else f"not the minute: {time}"


def pipelines(box: Sandbox) -> Iterator[Found]:
    """Try runs of a pipeline that waits for an approval."""
    pipeline, name = box.client("codepipeline"), box.name
    _create_pipeline(box)
    pattern = {"source": ["aws.codepipeline"], "detail": {"pipeline": [name]}}
    rule = f"{name}-runs"
    box.client("events").put_rule(Name=rule, EventPattern=json.dumps(pattern), Tags=box.tags)
    _send_to_queue(box, rule)

    def start(token: str) -> str:
        started = pipeline.start_pipeline_execution(name=name, clientRequestToken=token)
        return str(started["pipelineExecutionId"])

    token = str(uuid4())
    run = start(token)
    yield "equal-token", _found(lambda: _same(start(token), run, "run"))
    event = _event(box, lambda event: event["detail"].get("execution-id") == run)
    yield "run-event", "comes" if event else "does not come"

    _reject(box, run)
    retry = {"stageName": "Wait", "pipelineExecutionId": run, "retryMode": "FAILED_ACTIONS"}

    def retried() -> str:
        answer = pipeline.retry_stage_execution(pipelineName=name, **retry)
        return _same(answer["pipelineExecutionId"], run, "run")

    yield "retried-run", _found(retried)
    _reject(box, run)
    yield "old-token", _found(lambda: _same(start(token), run, "run"))


def state_machines(box: Sandbox) -> Iterator[Found]:
    """Try the names of executions."""
    states = box.client("stepfunctions")
    waits = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
    role = box.role("states")
    machine: str = _once_assumable(
        lambda: states.create_state_machine(
            name=box.name,
            definition=json.dumps(waits),
            roleArn=role,
            tags=box.tags_in_lower_case,
        )
    )["stateMachineArn"]
    wanted = {"stateMachineArn": machine, "name": "refresh", "input": "{}"}
    execution = states.start_execution(**wanted)["executionArn"]

    def again() -> str:
        return _same(states.start_execution(**wanted)["executionArn"], execution, "execution")

    yield "equal-name", _found(again)
    states.stop_execution(executionArn=execution)
    yield "old-name", _refusal(states.start_execution, **wanted)


def topics(box: Sandbox) -> Iterator[Found]:
    """Try a notification."""
    sns = box.client("sns")
    topic = sns.create_topic(Name=box.name, Tags=box.tags)["TopicArn"]
    refused = _refusal(sns.publish, TopicArn=topic, Subject="s" * 99, Message="live check")
    yield "subject", refused or "taken"


def stacks(box: Sandbox) -> Iterator[Found]:
    """Try a parameter of a stack whose update is rolled back."""
    cloudformation, ssm = box.client("cloudformation"), box.client("ssm")
    value = {"Name": f"{box.name}-value", "Type": "String"}
    ssm.put_parameter(**value, Value="before", Tags=box.tags)
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    # Parameter Store reserves names that begin with aws.
    properties = {"Name": "aws-live-check", "Type": "String", "Value": {"Ref": "Value"}}
    wrong = {"Type": "AWS::SSM::Parameter", "Properties": properties}
    parameter = {"Type": "AWS::SSM::Parameter::Value<String>", "Default": value["Name"]}

    def template(**resources: Any) -> str:
        return json.dumps({"Parameters": {"Value": parameter}, "Resources": resources})

    cloudformation.create_stack(
        StackName=box.name, TemplateBody=template(Handle=handle), Tags=box.tags
    )
    _settled(box)
    ssm.put_parameter(**value, Value="after", Overwrite=True)
    cloudformation.update_stack(
        StackName=box.name, TemplateBody=template(Handle=handle, Wrong=wrong)
    )
    stack = _settled(box)
    if stack["StackStatus"] != "UPDATE_ROLLBACK_COMPLETE":
        raise NotTried(f"the update ended as {stack['StackStatus']}")
    resolved = stack["Parameters"][0].get("ResolvedValue")
    yield "resolved-value", f"the one {resolved} the update" if resolved else "absent"


def shares(box: Sandbox) -> Iterator[Found]:
    """Look at a snapshot that somebody shares with this account."""
    rds = box.client("rds")
    listed = rds.describe_db_cluster_snapshots(SnapshotType="shared", MaxRecords=20)
    if not (found := listed["DBClusterSnapshots"]):
        raise NotTried("nobody shares a cluster snapshot with this account in this Region")
    share, arn = found[0], found[0]["DBClusterSnapshotArn"]
    identifier = share["DBClusterSnapshotIdentifier"]
    yield "share-identifier", "its ARN" if identifier == arn else identifier
    looked_up = rds.describe_db_cluster_snapshots(
        DBClusterSnapshotIdentifier=arn, IncludeShared=True
    )["DBClusterSnapshots"]
    arns = [each["DBClusterSnapshotArn"] for each in looked_up]
    yield "share-lookup", "it" if arns == [arn] else f"{len(arns)} snapshots"
    yield "share-tags", "present" if share.get("TagList") else "absent"


def clusters(box: Sandbox) -> Iterator[Found]:
    """Try a cluster without instances, its snapshot, and a cluster restored from that."""
    if not box.with_cluster:
        raise NotTried("needs --with-cluster")
    rds, name, engine = box.client("rds"), box.name, "aurora-postgresql"
    tags = {"Tags": box.tags}
    rds.create_db_cluster(
        DBClusterIdentifier=name,
        Engine=engine,
        MasterUsername="livecheck",
        MasterUserPassword=secrets.token_urlsafe(24),
        **tags,
    )
    old = _cluster(rds, name)
    rds.create_db_cluster_snapshot(
        DBClusterIdentifier=name, DBClusterSnapshotIdentifier=name, **tags
    )
    copy = f"{name}-copy"
    source = _snapshot(rds, name)
    first = rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=name, TargetDBClusterSnapshotIdentifier=copy, **tags
    )["DBClusterSnapshot"]
    yield "copy-status", first["Status"]
    copied = _snapshot(rds, copy)
    same = copied["SnapshotCreateTime"] == source["SnapshotCreateTime"]
    yield "copy-date", "its source's" if same else "its own"
    refused = _refusal(
        rds.copy_db_cluster_snapshot,
        SourceDBClusterSnapshotIdentifier=name,
        TargetDBClusterSnapshotIdentifier=f"{name}-encrypted",
        KmsKeyId="alias/aws/rds",
        **tags,
    )
    kind = source.get("StorageEncryptionType", "none")
    yield "copy-encrypted", f"{kind}: {'refused with ' + refused if refused else 'taken'}"

    restored = f"{name}-restored"
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier=restored, SnapshotIdentifier=copy, Engine=engine, **tags
    )
    new = _cluster(rds, restored)
    later = new["ClusterCreateTime"] > old["ClusterCreateTime"]
    yield "cluster-time", "the restore's" if later else "the first cluster's"
    yield (
        "cluster-label",
        _found(lambda: _label(box.client("ssm"), name, new["DbClusterResourceId"])),
    )


def _found(look: Callable[[], str]) -> str:
    """Return what was found, or the code with which AWS refused."""
    try:
        return look()
    except ClientError as error:
        return f"refused with {error.response['Error']['Code']}"


def _label(ssm: Any, name: str, label: str) -> str:
    """Label a parameter's newest version; return whether the label is listed as not allowed."""
    answer = ssm.label_parameter_version(Name=name, Labels=[label])
    return "listed" if answer.get("InvalidLabels") else "taken"


def _refusal(call: Callable[..., object], **arguments: Any) -> str:
    """Return the code of AWS's refusal; empty if there is none."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def _same(found: str, wanted: str, what: str) -> str:
    return f"the same {what}" if found == wanted else f"a new {what}"


def _once_assumable(create: Callable[[], T]) -> T:
    """Create something whose role is so new that AWS may not know it yet; raise ClientError."""
    refused: list[ClientError] = []

    def created() -> T | None:
        try:
            return create()
        except ClientError as error:
            refused[:] = [error]
            return None

    if (found := wait_for(created, _ROLE_SECONDS)) is None:
        raise refused[0]
    return found


def _send_to_queue(box: Sandbox, rule: str) -> None:
    target = {"Id": "queue", "Arn": box.arn("sqs", box.name)}
    box.client("events").put_targets(Rule=rule, Targets=[target])


def _create_pipeline(box: Sandbox) -> None:
    s3 = box.client("s3")
    # In us-east-1, the name of the Region is refused here.
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": box.region}}
    s3.create_bucket(Bucket=box.bucket, **({} if box.region == "us-east-1" else elsewhere))
    s3.put_bucket_versioning(Bucket=box.bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=box.bucket, Tagging={"TagSet": box.tags})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("source", "live check")
    s3.put_object(Bucket=box.bucket, Key="source.zip", Body=packed.getvalue())
    bucket = f"arn:{box.partition}:s3:::{box.bucket}"
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]}
    role = box.role("codepipeline", rights)
    configuration = {"S3Bucket": box.bucket, "S3ObjectKey": "source.zip"}
    configuration["PollForSourceChanges"] = "false"
    source = _action("Source", "Source", "S3") | {
        "configuration": configuration,
        "outputArtifacts": [{"name": "source"}],
    }
    declared = {
        "name": box.name,
        "roleArn": role,
        "artifactStore": {"type": "S3", "location": box.bucket},
        "pipelineType": "V1",
        "stages": [
            {"name": "Source", "actions": [source]},
            {"name": "Wait", "actions": [_action("Approve", "Approval", "Manual")]},
        ],
    }
    _once_assumable(
        lambda: box.client("codepipeline").create_pipeline(
            pipeline=declared, tags=box.tags_in_lower_case
        )
    )


def _action(name: str, category: str, provider: str) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind}


def _reject(box: Sandbox, run: str) -> None:
    """Wait until the run asks for its approval, and reject it; the runs before it as well."""
    pipeline = box.client("codepipeline")

    def rejected() -> bool:
        (_, stage) = pipeline.get_pipeline_state(name=box.name)["stageStates"]
        latest = stage.get("latestExecution", {})
        asked = stage["actionStates"][0].get("latestExecution", {})
        if asked.get("status") != "InProgress" or "token" not in asked:
            return False
        pipeline.put_approval_result(
            pipelineName=box.name,
            stageName="Wait",
            actionName="Approve",
            token=asked["token"],
            result={"summary": "live check", "status": "Rejected"},
        )
        return bool(latest["pipelineExecutionId"] == run)

    def ended() -> bool:
        found = pipeline.get_pipeline_execution(pipelineName=box.name, pipelineExecutionId=run)
        return bool(found["pipelineExecution"]["status"] == "Failed")

    if not (wait_for(rejected, _RUN_SECONDS) and wait_for(ended, _RUN_SECONDS)):
        raise NotTried(f"run {run} did not reach its approval")


def _event(box: Sandbox, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Wait for an event in the queue."""
    sqs = box.client("sqs")
    url = sqs.get_queue_url(QueueName=box.name)["QueueUrl"]

    def look() -> dict[str, Any] | None:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        events = [json.loads(each["Body"]) for each in received.get("Messages", ())]
        return next(filter(is_wanted, events), None)

    return wait_for(look, _EVENT_SECONDS)


def _settled(box: Sandbox) -> dict[str, Any]:
    cloudformation = box.client("cloudformation")

    def look() -> dict[str, Any] | None:
        (stack,) = cloudformation.describe_stacks(StackName=box.name)["Stacks"]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    if (stack := wait_for(look, _STACK_SECONDS)) is None:
        raise NotTried(f"stack {box.name} did not settle")
    return stack


def _cluster(rds: Any, name: str) -> dict[str, Any]:
    look = partial(rds.describe_db_clusters, DBClusterIdentifier=name)
    return _available(name, lambda: look()["DBClusters"])


def _snapshot(rds: Any, name: str) -> dict[str, Any]:
    look = partial(rds.describe_db_cluster_snapshots, DBClusterSnapshotIdentifier=name)
    return _available(name, lambda: look()["DBClusterSnapshots"])


def _available(name: str, look: Callable[[], list[dict[str, Any]]]) -> dict[str, Any]:
    """Wait until a cluster or snapshot is available; raise NotTried if it takes too long."""

    def available() -> dict[str, Any] | None:
        (found,) = look()
        return found if found["Status"] == "available" else None

    if (found := wait_for(available, _CLUSTER_SECONDS)) is None:
        raise NotTried(f"{name} is not available after {_CLUSTER_SECONDS / 60:.0f} minutes")
    return found


EXPERIMENTS: Mapping[Experiment, Mapping[str, Fact]] = {
    parameters: {
        "equal-put": Fact(
            "a put of the same value under another description makes",
            "a new version",
            "issue 42594 of hashicorp/terraform-provider-aws",
        ),
        "identical-put": Fact(
            "a put of the same value under the same description makes",
            None,
            "the API reference of PutParameter is silent",
        ),
        "inherited-description": Fact(
            "a put without a description has", None, "the API reference of PutParameter is silent"
        ),
        "label": Fact(
            "after another put, a label is on", "the version that got it", "LabelParameterVersion"
        ),
        "wrong-label": Fact("a label that is not allowed is", "listed", "LabelParameterVersion"),
        "oldest-labelled": Fact(
            "a put while the oldest of 100 versions has a label is refused with",
            "ParameterMaxVersionLimitExceeded",
            "PutParameter",
        ),
    },
    topics: {
        "subject": Fact(
            "a notification's subject of 99 characters is", "taken", "Publish, Subject"
        ),
    },
    state_machines: {
        "equal-name": Fact(
            "StartExecution with name and input of an execution in progress answers",
            "the same execution",
            "StartExecution",
        ),
        "old-name": Fact(
            "StartExecution with the name of an execution that has ended is refused with",
            "ExecutionAlreadyExists",
            "StartExecution",
        ),
    },
    pipelines: {
        "equal-token": Fact(
            "StartPipelineExecution with the token of a run in progress answers",
            "the same run",
            "StartPipelineExecution, clientRequestToken",
        ),
        "run-event": Fact(
            "EventBridge's event of a run, with its id,", "comes", "the CodePipeline User Guide"
        ),
        "retried-run": Fact("RetryStageExecution continues", "the same run", "RetryStageExecution"),
        "old-token": Fact(
            "StartPipelineExecution with the token of a run that has ended answers",
            None,
            "the API reference of StartPipelineExecution is silent",
        ),
    },
    rules: {
        "rule-state": Fact("PutRule without State makes a disabled rule", "ENABLED", "PutRule"),
        "event-time": Fact(
            "a scheduled event's time is",
            None,
            "the EventBridge User Guide promises the minute only",
        ),
    },
    stacks: {
        "resolved-value": Fact(
            "after an update that was rolled back, ResolvedValue is",
            None,
            "DescribeStacks is silent",
        ),
    },
    shares: {
        "share-identifier": Fact(
            "a shared snapshot's identifier is", "its ARN", "awslabs/aurora-snapshot-tool"
        ),
        "share-lookup": Fact(
            "a shared snapshot's ARN with IncludeShared finds",
            "it",
            "DescribeDBClusterSnapshots, and issue 31897 of hashicorp/terraform-provider-aws",
        ),
        "share-tags": Fact(
            "a shared snapshot's TagList is", "absent", "issue 60250 of ansible/ansible"
        ),
    },
    clusters: {
        "copy-status": Fact("a copy's first status is", None, "the samples differ"),
        "copy-date": Fact(
            "SnapshotCreateTime of a copy is", None, "the samples of CopyDBClusterSnapshot disagree"
        ),
        "copy-encrypted": Fact(
            "a copy under a key, given a source whose encryption is",
            None,
            "the Aurora User Guide and CopyDBClusterSnapshot disagree",
        ),
        "cluster-time": Fact(
            "ClusterCreateTime of a restored cluster is", "the restore's", "not stated"
        ),
        "cluster-label": Fact(
            "DbClusterResourceId as a label is", "taken", "LabelParameterVersion, DBCluster"
        ),
    },
}
