"""What Aurora Refresh assumes about AWS where its documentation is silent, or not enough to rely on.

Each experiment tries the facts that facts.csv lists for it, in a sandbox, and yields what it found.
"""

import csv
import io
import json
import secrets
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from uuid import uuid4

import yaml  # type: ignore[import-untyped]
from botocore.exceptions import ClientError

from cli.livecheck.sandbox import Sandbox, retry, wait_for

_EVENT_SECONDS = 180.0
_ROLE_SECONDS = 60.0
_RUN_SECONDS = 300.0
_STACK_SECONDS = 600.0
_CLUSTER_SECONDS = 3_600.0


class Fact(NamedTuple):
    """One assumption about AWS.

    Attributes:
        experiment: the function that tries it.
        name: a short name of it.
        claim: a sentence, completed by the answer.
        expected: the answer relied on; empty if each answer is handled.
        source: where AWS or somebody else says so.
    """

    experiment: str
    name: str
    claim: str
    expected: str
    source: str


class NotTried(Exception):
    """A fact cannot be tried here; the message says why."""


Found = tuple[str, str]
Experiment = Callable[[Sandbox], Iterator[Found]]


def parameters(box: Sandbox) -> Iterator[Found]:
    """Try values and descriptions of Parameter Store."""
    ssm, name = box.client("ssm"), box.name
    put = {"Name": name, "Value": "same", "Type": "String"}
    ssm.put_parameter(**put, Description="first", Tags=box.tags)

    def put_again() -> str:
        before = ssm.get_parameter(Name=name)["Parameter"]["Version"]
        made = ssm.put_parameter(**put, Description="second", Overwrite=True)["Version"]
        return "a new version" if made == before + 1 else "no new version"

    yield "equal-put", _answer(put_again)
    yield "identical-put", _answer(put_again)

    third = ssm.put_parameter(**put | {"Value": "other"}, Overwrite=True)["Version"]
    history = ssm.get_parameter_history(Name=name)["Parameters"]
    (last,) = [each for each in history if each["Version"] == third]
    inherits = last.get("Description") == "second"
    yield "inherited-description", "that of the version before" if inherits else "none"


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
    yield "equal-token", _answer(lambda: _same(start(token), run))
    event = _event(box, lambda event: event["detail"].get("execution-id") == run)
    yield "run-event", "comes" if event else "does not come"

    _reject(box, run)
    retry = {"stageName": "Wait", "pipelineExecutionId": run, "retryMode": "FAILED_ACTIONS"}

    def retried() -> str:
        answer = pipeline.retry_stage_execution(pipelineName=name, **retry)
        return _same(answer["pipelineExecutionId"], run)

    yield "retried-run", _answer(retried)
    _reject(box, run)
    yield "old-token", _answer(lambda: _same(start(token), run))


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
    box.wait("cloudformation", "stack_create_complete", _STACK_SECONDS, StackName=box.name)
    ssm.put_parameter(**value, Value="after", Overwrite=True)
    cloudformation.update_stack(
        StackName=box.name, TemplateBody=template(Handle=handle, Wrong=wrong)
    )
    box.wait("cloudformation", "stack_rollback_complete", _STACK_SECONDS, StackName=box.name)
    (stack,) = cloudformation.describe_stacks(StackName=box.name)["Stacks"]
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
    old = _cluster(box, name)
    rds.create_db_cluster_snapshot(
        DBClusterIdentifier=name, DBClusterSnapshotIdentifier=name, **tags
    )
    source = _snapshot(box, name)

    def copied(target: str, **key: str) -> Any:
        return rds.copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier=name,
            TargetDBClusterSnapshotIdentifier=target,
            **key,
            **tags,
        )["DBClusterSnapshot"]

    copy = f"{name}-copy"
    yield "copy-status", copied(copy)["Status"]
    same = _snapshot(box, copy)["SnapshotCreateTime"] == source["SnapshotCreateTime"]
    yield "copy-date", "its source's" if same else "its own"
    answer = _answer(lambda: _taken(copied(f"{name}-encrypted", KmsKeyId="alias/aws/rds")))
    yield "copy-encrypted", f"{source.get('StorageEncryptionType', 'none')}: {answer}"

    restored = f"{name}-restored"
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier=restored, SnapshotIdentifier=copy, Engine=engine, **tags
    )
    new = _cluster(box, restored)
    later = new["ClusterCreateTime"] > old["ClusterCreateTime"]
    yield "cluster-time", "the restore's" if later else "the first cluster's"
    labels = [new["DbClusterResourceId"]]
    answer = box.client("ssm").label_parameter_version(Name=name, Labels=labels)
    yield "cluster-label", "not allowed" if answer.get("InvalidLabels") else "taken"


def _answer(look: Callable[[], str]) -> str:
    """Return what was found, or the code with which AWS refused."""
    try:
        return look()
    except ClientError as error:
        return f"refused with {error.response['Error']['Code']}"


def _taken(_: object) -> str:
    return "taken"


def _same(found: str, wanted: str) -> str:
    return "the same run" if found == wanted else "a new run"


def _send_to_queue(box: Sandbox, rule: str) -> None:
    box.queue()
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
    text = Path(__file__).with_name("pipeline.yaml").read_text(encoding="utf-8")
    declared = yaml.safe_load(
        Template(text).substitute(name=box.name, role=role, bucket=box.bucket)
    )
    tags = [{"key": tag["Key"], "value": tag["Value"]} for tag in box.tags]
    create = partial(box.client("codepipeline").create_pipeline, pipeline=declared, tags=tags)
    retry(create, _ROLE_SECONDS)  # AWS may not know the new role yet


def _reject(box: Sandbox, run: str) -> None:
    """Reject each approval that is asked for, until the run has failed."""
    pipeline, rejected = box.client("codepipeline"), set[str]()

    def has_failed() -> bool:
        (_, stage) = pipeline.get_pipeline_state(name=box.name)["stageStates"]
        asked = stage["actionStates"][0].get("latestExecution", {})
        token = asked.get("token") if asked.get("status") == "InProgress" else None
        if token and token not in rejected:
            pipeline.put_approval_result(
                pipelineName=box.name,
                stageName="Wait",
                actionName="Approve",
                token=token,
                result={"summary": "live check", "status": "Rejected"},
            )
            rejected.add(token)
        found = pipeline.get_pipeline_execution(pipelineName=box.name, pipelineExecutionId=run)
        # A run that was retried may still be shown as it was before.
        return bool(rejected) and found["pipelineExecution"]["status"] == "Failed"

    if not wait_for(has_failed, _RUN_SECONDS):
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


def _cluster(box: Sandbox, name: str) -> dict[str, Any]:
    """Wait until a cluster is available, and describe it."""
    named = {"DBClusterIdentifier": name}
    box.wait("rds", "db_cluster_available", _CLUSTER_SECONDS, **named)
    (found,) = box.client("rds").describe_db_clusters(**named)["DBClusters"]
    return dict(found)


def _snapshot(box: Sandbox, name: str) -> dict[str, Any]:
    """Wait until a snapshot is available, and describe it."""
    named = {"DBClusterSnapshotIdentifier": name}
    box.wait("rds", "db_cluster_snapshot_available", _CLUSTER_SECONDS, **named)
    (found,) = box.client("rds").describe_db_cluster_snapshots(**named)["DBClusterSnapshots"]
    return dict(found)


EXPERIMENTS: tuple[Experiment, ...] = (parameters, pipelines, rules, stacks, shares, clusters)
with Path(__file__).with_suffix(".csv").open(encoding="utf-8") as table:
    FACTS = [Fact(*row) for row in csv.reader(table)][1:]
