"""What IAM allows: the evaluation of policies, the resources of calls, and the services' refusals."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.authorization import Decision, NotRestored, decide, needs
from localcloud.client import LocalCloud
from localcloud.wire import Call

PARAMETER = f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter"
STACKS = f"arn:aws:cloudformation:{REGION}:{ACCEPTANCE}:stack"
SNAPSHOTS = f"arn:aws:rds:{REGION}:{ACCEPTANCE}:cluster-snapshot"
ROLE = "db-restore-from-snapshot"
SESSION = f"arn:aws:sts::{ACCEPTANCE}:assumed-role/{ROLE}/night"

client = cache(LocalCloud.client)


def statement(action: Any, resource: Any = "*", effect: str = "Allow", **more: Any) -> Any:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], Decision.IMPLICIT_DENY),
        ([statement("ssm:GetParameter")], Decision.IMPLICIT_DENY),
        ([statement("ssm:PutParameter", f"{PARAMETER}/other")], Decision.IMPLICIT_DENY),
        ([statement("ssm:PutParameter", f"{PARAMETER}/a.b")], Decision.ALLOWED),
        ([statement("SSM:putparameter")], Decision.ALLOWED),
        ([statement(["ssm:Get*", "ssm:Put*"], [f"{PARAMETER}/x", f"{PARAMETER}/a?b"])],
         Decision.ALLOWED),
        ([statement("*"), statement("ssm:Put*", effect="Deny")], Decision.EXPLICIT_DENY),
        ([statement("ssm:Put*", effect="Deny"), statement("*")], Decision.EXPLICIT_DENY),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], Decision.ALLOWED),
        ([{"Effect": "Allow", "NotAction": "ssm:*", "Resource": "*"}], Decision.IMPLICIT_DENY),
        ([{"Effect": "Allow", "Action": "*", "NotResource": f"{PARAMETER}/*"}],
         Decision.IMPLICIT_DENY),
    ],
)  # fmt: skip
def test_deny_wins_then_allow_else_the_call_is_refused(
    statements: list[Any], decision: Decision
) -> None:
    document = policy(*statements)
    assert decide([document], "ssm:PutParameter", f"{PARAMETER}/a.b") is decision


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"StringEquals": {"cloudwatch:namespace": "AuroraRefresh"}}, True),
        ({"StringEquals": {"CloudWatch:Namespace": ["Other", "AuroraRefresh"]}}, True),
        ({"StringEquals": {"cloudwatch:namespace": "Other"}}, False),
        ({"StringLike": {"cloudwatch:namespace": "Aurora*"}}, True),
        ({"StringNotEquals": {"cloudwatch:namespace": "Other"}}, True),
        ({"StringNotLike": {"cloudwatch:namespace": "Aurora*"}}, False),
        ({"StringEquals": {"kms:ViaService": "x"}}, False),
        ({"StringNotEquals": {"kms:ViaService": "x"}}, True),
        ({"StringEqualsIfExists": {"kms:ViaService": "x"}}, True),
        ({"Null": {"kms:ViaService": "true"}}, True),
        ({"Null": {"kms:ViaService": "false"}}, False),
        ({"Null": {"cloudwatch:namespace": False}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
    ],
)
def test_a_condition_that_is_not_met_makes_a_statement_silent(condition: Any, met: bool) -> None:
    """It does not turn an Allow into a Deny, as it does with moto."""
    context = {"cloudwatch:namespace": "AuroraRefresh", "aws:securetransport": "true"}
    guarded = statement("cloudwatch:PutMetricData", Condition=condition)

    alone = decide([policy(guarded)], "cloudwatch:PutMetricData", "*", context)
    beside = decide([policy(guarded, statement("*"))], "cloudwatch:PutMetricData", "*", context)

    assert alone is (Decision.ALLOWED if met else Decision.IMPLICIT_DENY)
    assert beside is Decision.ALLOWED


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"Condition": {"DateGreaterThan": {"aws:SecureTransport": "x"}}}, "DateGreaterThan"),
        ({"Condition": {"ForAllValues:StringEquals": {"aws:PrincipalArn": "x"}}}, "ForAllValues"),
        ({"Condition": {"StringEquals": {"aws:TagKeys": "x"}}}, "aws:tagkeys"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false"},
                        "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, "IpAddress"),
        ({"Resource": "arn:aws:ssm:*:*:parameter/${aws:username}"}, "aws:username"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_what_is_not_known_of_a_policy_is_never_passed_over(
    more: Any, name: str, effect: str
) -> None:
    """A Deny left out would let somebody in whom AWS keeps out."""
    document = policy(statement("*"), statement("ssm:*", effect=effect) | more)

    with pytest.raises(NotRestored, match=name):
        decide([document], "ssm:PutParameter", "*", {"aws:securetransport": "true"})
    assert decide([document], "rds:DescribeDBClusters", "*") is Decision.ALLOWED


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "needed"),
    [
        ("ssm", "GetParameter", {"Name": "/db/current"}, [f"{PARAMETER}/db/current"]),
        ("ssm", "GetParameter", {"Name": "current:good"}, [f"{PARAMETER}/current"]),
        ("ssm", "GetParameters", {"Names": ["/a", "b:3"]}, [f"{PARAMETER}/a", f"{PARAMETER}/b"]),
        ("ssm", "GetParametersByPath", {"Path": "/db/"}, [f"{PARAMETER}/db"]),
        ("ssm", "LabelParameterVersion", {"Name": "/a"}, [f"{PARAMETER}/a"]),
        ("ssm", "DescribeParameters", {}, ["*"]),
        ("codepipeline", "StartPipelineExecution", {"name": "main"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main"]),
        ("codepipeline", "ListPipelineExecutions", {"pipelineName": "main"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main"]),
        ("codepipeline", "ListActionExecutions", {"pipelineName": "main"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main"]),
        ("codepipeline", "GetPipelineState", {"name": "main"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main"]),
        ("codepipeline", "RetryStageExecution", {"pipelineName": "main", "stageName": "Deploy"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main/Deploy"]),
        ("codepipeline", "PutApprovalResult",
         {"pipelineName": "main", "stageName": "Approval", "actionName": "Lead"},
         [f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:main/Approval/Lead"]),
        ("cloudformation", "DescribeStacks", {"StackName": "main"},
         [f"arn:aws:cloudformation:{REGION}:{ACCEPTANCE}:stack/main/*"]),
        ("cloudformation", "ListStackResources", {"StackName": f"{STACKS}/main/1"},
         [f"{STACKS}/main/1"]),
        ("cloudformation", "DescribeStacks", {}, ["*"]),
        ("rds", "DescribeDBClusters", {"DBClusterIdentifier": "Orders"},
         [f"arn:aws:rds:{REGION}:{ACCEPTANCE}:cluster:orders"]),
        ("rds", "DescribeDBClusters", {}, [f"arn:aws:rds:{REGION}:{ACCEPTANCE}:cluster:*"]),
        ("rds", "DescribeDBClusterSnapshots", {"DBClusterSnapshotIdentifier": "x"}, ["*"]),
        ("rds", "CopyDBClusterSnapshot",
         {"SourceDBClusterSnapshotIdentifier": "arn:aws:rds:source",
          "TargetDBClusterSnapshotIdentifier": "Copy"},
         ["arn:aws:rds:source", f"{SNAPSHOTS}:copy"]),
        ("rds", "DescribeDBClusterSnapshotAttributes", {"DBClusterSnapshotIdentifier": "x"},
         [f"{SNAPSHOTS}:x"]),
        ("rds", "CreateDBClusterSnapshot",
         {"DBClusterSnapshotIdentifier": "x", "DBClusterIdentifier": "c"},
         [f"arn:aws:rds:{REGION}:{ACCEPTANCE}:cluster:c", f"{SNAPSHOTS}:x"]),
        ("rds", "DeleteDBClusterSnapshot", {"DBClusterSnapshotIdentifier": "x"},
         [f"{SNAPSHOTS}:x"]),
        ("sns", "Publish", {"TopicArn": "arn:aws:sns:topic"}, ["arn:aws:sns:topic"]),
        ("kms", "DescribeKey", {"KeyId": "1-2"}, [f"arn:aws:kms:{REGION}:{ACCEPTANCE}:key/1-2"]),
        ("logs", "CreateLogStream", {"logGroupName": "/aws/lambda/x", "logStreamName": "s"},
         [f"arn:aws:logs:{REGION}:{ACCEPTANCE}:log-group:/aws/lambda/x:log-stream:s"]),
        ("cloudwatch", "PutMetricData", {"Namespace": "x"}, ["*"]),
        ("sts", "AssumeRole", {"RoleArn": "arn:aws:iam::role"}, ["arn:aws:iam::role"]),
        ("sts", "GetCallerIdentity", {}, []),
    ],
)  # fmt: skip
def test_a_call_needs_its_action_on_its_resources(
    service: str, operation: str, parameters: dict[str, Any], needed: list[str]
) -> None:
    call = Call("AKIA", None, ACCEPTANCE, REGION, service, operation, parameters=parameters)
    assert needs(call) == [(f"{service}:{operation}", resource) for resource in needed]


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (
            "CopyDBClusterSnapshot",
            {
                "SourceDBClusterSnapshotIdentifier": "arn:aws:rds:source",
                "TargetDBClusterSnapshotIdentifier": "made",
            },
        ),
        (
            "CreateDBClusterSnapshot",
            {"DBClusterSnapshotIdentifier": "made", "DBClusterIdentifier": "c"},
        ),
    ],
)
def test_tags_on_creation_need_the_right_to_tag(operation: str, named: dict[str, str]) -> None:
    given = {**named, "Tags": [{"Key": "a", "Value": "b"}]}
    call = Call("A", None, ACCEPTANCE, REGION, "rds", operation, parameters=given)
    tagging = [resource for action, resource in needs(call) if action == "rds:AddTagsToResource"]
    assert tagging == [f"{SNAPSHOTS}:made"]


class Role:
    """A role in acceptance, and clients of a session of it."""

    def __init__(self, cloud: LocalCloud, *statements: Any) -> None:
        self._cloud = cloud
        iam = client(cloud, "iam")
        trust = policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}})
        role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        iam.put_role_policy(
            RoleName=ROLE, PolicyName="p", PolicyDocument=json.dumps(policy(*statements))
        )
        self.credentials = client(cloud, "sts").assume_role(
            RoleArn=role["Arn"], RoleSessionName="night"
        )["Credentials"]

    def client(self, service: str, token: str | None = None, **more: Any) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=REGION,
            endpoint_url=self._cloud.endpoint,
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=token or self.credentials["SessionToken"],
            **more,
        )


def refusal(call: Any, **parameters: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    response = refused.value.response
    return response["Error"] | {"status": response["ResponseMetadata"]["HTTPStatusCode"]}


def test_a_role_does_what_its_policy_allows_and_nothing_else(cloud: LocalCloud) -> None:
    role = Role(cloud, statement(["ssm:PutParameter", "ssm:GetParameters"], f"{PARAMETER}/db/*"))
    ssm = role.client("ssm")

    ssm.put_parameter(Name="/db/current", Value="x", Type="String")
    error = refusal(ssm.put_parameter, Name="/other", Value="x", Type="String")
    mixed = refusal(ssm.get_parameters, Names=["/db/current", "/other"])

    assert error == {
        "Code": "AccessDeniedException",
        "Message": f"User: {SESSION} is not authorized to perform: ssm:PutParameter on resource: "
        f"{PARAMETER}/other because no identity-based policy allows the ssm:PutParameter action",
        "status": 400,
    }
    assert f"{PARAMETER}/other" in mixed["Message"]
    assert client(cloud, "ssm").get_parameters(Names=["/other"])["InvalidParameters"] == ["/other"]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "status"),
    [
        ("codepipeline", "start_pipeline_execution", {"name": "x"}, "AccessDeniedException", 400),
        ("cloudwatch", "list_metrics", {}, "AccessDeniedException", 400),
        ("kms", "describe_key", {"KeyId": "x"}, "AccessDeniedException", 400),
        ("rds", "describe_db_cluster_snapshots", {}, "AccessDenied", 403),
        (
            "sns",
            "publish",
            {"TopicArn": "arn:aws:sns:x", "Message": "m"},
            "AuthorizationError",
            403,
        ),
        ("lambda", "list_functions", {}, "AccessDeniedException", 403),
        ("sts", "get_session_token", {}, "AccessDenied", 403),
    ],
)
def test_each_service_refuses_in_its_own_protocol(
    cloud: LocalCloud,
    service: str,
    operation: str,
    parameters: dict[str, Any],
    code: str,
    status: int,
) -> None:
    role = Role(cloud, statement("iam:*"))

    error = refusal(getattr(role.client(service), operation), **parameters)

    assert (error["Code"], error["status"]) == (code, status)
    assert error["Message"].startswith(f"User: {SESSION} is not authorized to perform: {service}:")


def test_a_policy_that_cannot_be_weighed_is_an_error_that_names_what_is_missing(
    cloud: LocalCloud,
) -> None:
    guarded = statement("*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    impatient = Config(retries={"total_max_attempts": 1})

    error = refusal(Role(cloud, guarded).client("ssm", config=impatient).describe_parameters)

    assert (error["Code"], error["status"]) == ("InternalFailure", 500)
    assert "IpAddress" in error["Message"]


def share(cloud: LocalCloud, **changes: Any) -> str:
    snapshot = {
        "account": PRODUCTION,
        "identifier": "nightly",
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": None,
        "shared_with": [ACCEPTANCE],
    }
    arn: str = cloud.seed_snapshots([snapshot | changes])["arns"][0]
    return arn


def test_a_role_reads_shares_but_copies_none_without_the_right_to_tag(cloud: LocalCloud) -> None:
    role = Role(cloud, statement(["rds:DescribeDBClusterSnapshots", "rds:CopyDBClusterSnapshot"]))
    arn = share(cloud)
    rds = role.client("rds")

    listed = rds.describe_db_cluster_snapshots(SnapshotType="shared")["DBClusterSnapshots"]
    error = refusal(
        rds.copy_db_cluster_snapshot,
        SourceDBClusterSnapshotIdentifier=arn,
        TargetDBClusterSnapshotIdentifier="copy",
        Tags=[{"Key": "a", "Value": "b"}],
    )

    assert [s["DBClusterSnapshotArn"] for s in listed] == [arn]
    assert "rds:AddTagsToResource" in error["Message"]


PRODUCTIONS_KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
GRANTING = ["kms:DescribeKey", "kms:CreateGrant"]
USE = [*GRANTING, "kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
OF_THE_COPY = [*GRANTING, "kms:GenerateDataKey*", "kms:ReEncrypt*"]
OF_THE_SHARE = [*GRANTING, "kms:Decrypt", "kms:ReEncrypt*"]
THROUGH_RDS = {"StringEquals": {"kms:ViaService": f"rds.{REGION}.amazonaws.com"}}


@pytest.mark.parametrize(
    ("own", "productions", "accessible"),
    [
        ([], USE, False),
        (USE, [], False),
        *(([each for each in USE if each != right], USE, False) for right in OF_THE_COPY),
        *((USE, [each for each in USE if each != right], False) for right in OF_THE_SHARE),
        (OF_THE_COPY, OF_THE_SHARE, True),
        (USE, USE, True),
    ],
)
def test_a_copy_needs_rights_on_both_keys(
    cloud: LocalCloud, own: list[str], productions: list[str], accessible: bool
) -> None:
    key = aliased_key(cloud)
    granted = [
        statement(rights, resource, Condition=THROUGH_RDS)
        for rights, resource in ((own, key), (productions, PRODUCTIONS_KEY))
        if rights
    ]
    rds = Role(cloud, statement("rds:*"), *granted).client("rds")

    if accessible:
        assert copied(cloud, rds)["DBClusterSnapshot"]["KmsKeyId"] == key
    else:
        assert refusal(copied, cloud=cloud, rds=rds)["Code"] == "KMSKeyNotAccessibleFault"


@pytest.mark.parametrize(("alias", "accessible"), [("copies", True), ("other", False)])
def test_a_policy_may_name_a_key_by_what_it_is_called(
    cloud: LocalCloud, alias: str, accessible: bool
) -> None:
    key = aliased_key(cloud)
    called = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [f"alias/{alias}"]}}
    keys = f"{key.rpartition('/')[0]}/*"
    rds = Role(
        cloud,
        statement("rds:*"),
        statement(USE, keys, Condition=called | THROUGH_RDS),
        statement(USE, PRODUCTIONS_KEY),
    ).client("rds")

    if accessible:
        assert copied(cloud, rds)["DBClusterSnapshot"]["KmsKeyId"] == key
    else:
        assert refusal(copied, cloud=cloud, rds=rds)["Code"] == "KMSKeyNotAccessibleFault"


def test_everybody_in_an_account_may_use_its_default_key_through_rds(cloud: LocalCloud) -> None:
    key = aliased_key(cloud)
    default = client(cloud, "kms").describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
    source = share(cloud, account=ACCEPTANCE, identifier="own", kms_key_id=default)
    rds = Role(cloud, statement("rds:*"), statement(GRANTING, key)).client("rds")

    copy = rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=source,
        TargetDBClusterSnapshotIdentifier="copy",
        KmsKeyId=key,
    )

    assert copy["DBClusterSnapshot"]["KmsKeyId"] == key


def test_what_is_one_s_own_is_re_encrypted_by_the_grant(cloud: LocalCloud) -> None:
    """ "Authorizing use of a customer managed key", Aurora User Guide, names two rights and no more."""
    key = aliased_key(cloud)
    other = client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
    source = share(cloud, account=ACCEPTANCE, identifier="own", kms_key_id=other)
    rds = Role(cloud, statement("rds:*"), statement(GRANTING, [key, other])).client("rds")

    copy = rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=source,
        TargetDBClusterSnapshotIdentifier="copy",
        KmsKeyId=key,
    )

    assert copy["DBClusterSnapshot"]["KmsKeyId"] == key


@pytest.mark.parametrize("named", ["alias/copies", "arn:aws:kms:{}:{}:alias/copies"])
def test_a_key_called_by_an_alias_is_weighed_as_the_key(cloud: LocalCloud, named: str) -> None:
    """ "Use aliases to control access to KMS keys", KMS Developer Guide."""
    key = aliased_key(cloud)
    kms = Role(cloud, statement("kms:DescribeKey", key)).client("kms")
    described = kms.describe_key(KeyId=named.format(REGION, ACCEPTANCE))
    assert described["KeyMetadata"]["Arn"] == key


def test_an_alias_as_a_resource_lets_nobody_use_the_key(cloud: LocalCloud) -> None:
    aliased_key(cloud)
    alias = f"arn:aws:kms:{REGION}:{ACCEPTANCE}:alias/copies"
    kms = Role(cloud, statement("kms:DescribeKey", alias)).client("kms")
    with pytest.raises(ClientError, match="AccessDenied"):
        kms.describe_key(KeyId="alias/copies")


def aliased_key(cloud: LocalCloud) -> str:
    kms = client(cloud, "kms")
    key: str = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/copies", TargetKeyId=key)
    kms.create_alias(AliasName="alias/another-name", TargetKeyId=key)
    return key


def copied(cloud: LocalCloud, rds: Any) -> Any:
    return rds.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=share(
            cloud, kms_key_id=PRODUCTIONS_KEY, kms_granted_to=[ACCEPTANCE]
        ),
        TargetDBClusterSnapshotIdentifier="copy",
        KmsKeyId="alias/copies",
    )


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("ssm", "describe_parameters", "UnrecognizedClientException"),
        ("rds", "describe_db_clusters", "InvalidClientTokenId"),
    ],
)
def test_a_key_or_token_that_is_nobodys_is_refused(
    cloud: LocalCloud, service: str, operation: str, code: str
) -> None:
    role = Role(cloud, statement("*"))
    stranger = boto3.client(  # type: ignore[call-overload]
        service,
        region_name=REGION,
        endpoint_url=cloud.endpoint,
        aws_access_key_id="AKIAUNKNOWNTOALLOFUS",
        aws_secret_access_key="x",  # noqa: S106 (nobody's)
    )

    for caller in (stranger, role.client(service, token="another")):  # noqa: S106
        error = refusal(getattr(caller, operation))
        assert error["Code"] == code
        assert error["Message"] == "The security token included in the request is invalid."


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("ssm", "describe_parameters", "ExpiredTokenException"),
        ("rds", "describe_db_clusters", "ExpiredToken"),
    ],
)
def test_a_session_whose_time_is_over_is_refused(
    cloud: LocalCloud, service: str, operation: str, code: str
) -> None:
    role = Role(cloud, statement("*"))
    getattr(role.client(service), operation)()

    cloud.set_clock(datetime.now(UTC) + timedelta(hours=2))

    assert refusal(getattr(role.client(service), operation))["Code"] == code


def test_a_session_ends_with_its_role(cloud: LocalCloud) -> None:
    role = Role(cloud, statement("*"))
    iam = client(cloud, "iam")
    iam.delete_role_policy(RoleName=ROLE, PolicyName="p")
    iam.delete_role(RoleName=ROLE)

    error = refusal(role.client("ssm").describe_parameters)

    assert error["Code"] == "UnrecognizedClientException"
