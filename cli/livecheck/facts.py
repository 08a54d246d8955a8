"""What Aurora Refresh assumes about AWS where its documentation is silent, or not enough to rely on.

Each experiment tries the facts that facts.csv lists for it, in a sandbox, and yields what it found.
"""

import csv
import json
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from uuid import uuid4

import yaml  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.exceptions import ClientError

from cli.calls import ROLE_SECONDS, wait_for
from cli.livecheck.sandbox import Sandbox

AS_EXPECTED, HANDLED, DIFFERS, NOT_TRIED = "as expected", "handled", "differs", "not tried"

_EVENT_SECONDS = 180.0
_HERE = Path(__file__).parent


class Fact(NamedTuple):
    """One assumption about AWS, and what was found.

    Attributes:
        experiment: the function that tries it.
        fact: a short name of it.
        claim: a sentence, completed by the answer.
        expected: the answer relied on; empty if each answer is handled.
        source: where AWS or somebody else says so.
        found: the answer; if it was not tried, the reason.
        verdict: how the answer compares with the expected one.
    """

    experiment: str
    fact: str
    claim: str
    expected: str
    source: str
    found: str = ""
    verdict: str = NOT_TRIED

    def judged(self, found: str) -> "Fact":
        """Return the fact with the answer and the verdict."""
        verdict = AS_EXPECTED if found == self.expected else DIFFERS
        return self._replace(found=found, verdict=verdict if self.expected else HANDLED)


class NotTried(Exception):
    """A fact cannot be tried here; the message says why."""


Found = tuple[str, str]
Experiment = Callable[[Sandbox], Iterator[Found]]


def parameters(box: Sandbox) -> Iterator[Found]:
    """Try values and descriptions of Parameter Store."""
    ssm, name = box.client("ssm"), box.name
    put = partial(ssm.put_parameter, Name=name, Value="same", Type="String", Overwrite=True)
    put(Description="first")
    for fact in ("equal-put", "identical-put"):
        before = ssm.get_parameter(Name=name)["Parameter"]["Version"]
        made = put(Description="second")["Version"]
        yield fact, "a new version" if made == before + 1 else "no new version"
    put(Value="other")
    last = ssm.get_parameter_history(Name=name)["Parameters"][-1]
    inherits = last.get("Description") == "second"
    yield "inherited-description", "that of the version before" if inherits else "none"


def pipelines(box: Sandbox) -> Iterator[Found]:
    """Try the token of a run, while it is in progress and afterwards."""
    pipeline, name = box.client("codepipeline"), box.name
    # In us-east-1, the name of the Region is refused here.
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": box.region}}
    bucket = {} if box.region == "us-east-1" else elsewhere
    box.client("s3").create_bucket(Bucket=name, **bucket)
    trust = _policy({"Service": "codepipeline.amazonaws.com"}, Action="sts:AssumeRole")
    created = box.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    text = Template((_HERE / "pipeline.yaml").read_text(encoding="utf-8"))
    declared = yaml.safe_load(text.substitute(name=name, role=created["Role"]["Arn"]))
    create = partial(pipeline.create_pipeline, pipeline=declared)
    wait_for(create, ROLE_SECONDS, {"InvalidStructureException"})

    start = partial(pipeline.start_pipeline_execution, name=name, clientRequestToken=str(uuid4()))
    run = start()["pipelineExecutionId"]

    def again() -> str:
        return "the same run" if start()["pipelineExecutionId"] == run else "a new run"

    def has_ended() -> bool:
        found = pipeline.get_pipeline_execution(pipelineName=name, pipelineExecutionId=run)
        return bool(found["pipelineExecution"]["status"] != "InProgress")

    yield "equal-token", _answer(again)
    if not wait_for(has_ended):
        raise NotTried(f"run {run} did not end")
    yield "old-token", _answer(again)


def stacks(box: Sandbox) -> Iterator[Found]:
    """Try a parameter of a stack whose update is rolled back."""
    cloudformation, ssm = box.client("cloudformation"), box.client("ssm")
    value = f"{box.name}-value"
    template = (_HERE / "stack.yaml").read_text(encoding="utf-8")

    def deploy(operation: Callable[..., object], waiter: str, made: str) -> None:
        given = {"Value": value, "Name": made}.items()
        parameters = [{"ParameterKey": key, "ParameterValue": each} for key, each in given]
        operation(StackName=box.name, TemplateBody=template, Parameters=parameters)
        box.wait("cloudformation", waiter, StackName=box.name)

    ssm.put_parameter(Name=value, Type="String", Value="before")
    deploy(cloudformation.create_stack, "stack_create_complete", f"{box.name}-made")
    ssm.put_parameter(Name=value, Type="String", Value="after", Overwrite=True)
    # Parameter Store reserves names that begin with aws.
    deploy(cloudformation.update_stack, "stack_rollback_complete", "aws-live-check")
    path = "Stacks[0].Parameters[?ParameterKey=='Value'].ResolvedValue | [0]"
    resolved = box.one("cloudformation:DescribeStacks", path, StackName=box.name)
    yield "resolved-value", f"the one {resolved} the update" if resolved else "absent"


def rules(box: Sandbox) -> Iterator[Found]:
    """Try a rule on a schedule."""
    events, sqs, name = box.client("events"), box.client("sqs"), box.name
    rule = {"Name": name, "ScheduleExpression": "cron(* * * * ? *)"}
    events.put_rule(**rule, State="DISABLED")
    arn = events.put_rule(**rule)["RuleArn"]
    yield "rule-state", events.describe_rule(Name=name)["State"]

    send = _policy(
        {"Service": "events.amazonaws.com"},
        Action="sqs:SendMessage",
        Resource="*",
        Condition={"ArnLike": {"aws:SourceArn": arn}},
    )
    url = sqs.create_queue(QueueName=name, Attributes={"Policy": send})["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": queue["QueueArn"]}])
    receive = partial(box.one, "sqs:ReceiveMessage", "Messages[0].Body", QueueUrl=url)
    event = wait_for(receive, _EVENT_SECONDS)
    if not event:
        raise NotTried(f"the rule did not fire within {_EVENT_SECONDS:.0f} seconds")
    time = json.loads(event)["time"]
    yield "event-time", "the minute" if time.endswith(":00Z") else f"not the minute: {time}"


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
    rds.create_db_cluster(
        DBClusterIdentifier=name,
        Engine=engine,
        MasterUsername="livecheck",
        MasterUserPassword=secrets.token_urlsafe(24),
    )
    old = _available(box, "DBCluster", name)
    rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=name)
    source = _available(box, "DBClusterSnapshot", name)

    def copied(target: str, **key: str) -> str:
        answer = rds.copy_db_cluster_snapshot(
            SourceDBClusterSnapshotIdentifier=name,
            TargetDBClusterSnapshotIdentifier=target,
            **key,
        )
        return str(answer["DBClusterSnapshot"]["Status"])

    copy = f"{name}-copy"
    yield "copy-status", copied(copy)
    made = _available(box, "DBClusterSnapshot", copy)
    same = made["SnapshotCreateTime"] == source["SnapshotCreateTime"]
    yield "copy-date", "its source's" if same else "its own"
    answer = _answer(partial(copied, f"{name}-encrypted", KmsKeyId="alias/aws/rds"))
    yield "copy-encrypted", f"{source.get('StorageEncryptionType', 'none')}: {answer}"

    restored = f"{name}-restored"
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier=restored, SnapshotIdentifier=copy, Engine=engine
    )
    new = _available(box, "DBCluster", restored)
    later = new["ClusterCreateTime"] > old["ClusterCreateTime"]
    yield "cluster-time", "the restore's" if later else "the first cluster's"
    labels = [new["DbClusterResourceId"]]
    labelled = box.client("ssm").label_parameter_version(Name=name, Labels=labels)
    yield "cluster-label", "not allowed" if labelled.get("InvalidLabels") else "taken"


def _answer(look: Callable[[], str]) -> str:
    """Return what was found, or the code with which AWS refused."""
    try:
        return look()
    except ClientError as error:
        return f"refused with {error.response['Error']['Code']}"


def _policy(principal: dict[str, str], **allowed: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, **allowed}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _available(box: Sandbox, kind: str, name: str) -> dict[str, Any]:
    """Wait until a DBCluster or DBClusterSnapshot is available, and describe it."""
    named = {f"{kind}Identifier": name}
    box.wait("rds", f"{xform_name(kind)}_available", **named)
    return dict(box.call(f"rds:Describe{kind}s", **named)[f"{kind}s"][0])


EXPERIMENTS: tuple[Experiment, ...] = (parameters, pipelines, stacks, rules, shares, clusters)
with (_HERE / "facts.csv").open(encoding="utf-8") as table:
    FACTS = [Fact(*row) for row in csv.reader(table)][1:]
