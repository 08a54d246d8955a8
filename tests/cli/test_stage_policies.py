"""The functions' policies: what they grant, by hand, and what each setting adds.

tests/cli/test_configure.py compares the checked-in files with the settings.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cfnlint import ManualArgs, lint

from chalicelib.domain.functions import API, RECONCILE, RESTORE, SHARE, UPDATE
from chalicelib.domain.functions import FOLLOW_PIPELINE as FOLLOW
from cli.policies import Policy, file_name, policies
from cli.stages import ACCOUNT, PIPELINE, REGION, build
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE_NAME, STAGE, TWO

CHALICE = Path(__file__).resolve().parents[2] / ".chalice"
PIPELINE_ARN = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
BY_ALIAS = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/own"]}}
NOTIFYING = (UPDATE, RESTORE, FOLLOW, RECONCILE)

# An action, a resource that it is granted on, and the condition as JSON.
Grant = tuple[str, str, str]
Granted = dict[str, set[Grant]]


def own(service: str, resource: str, account: str = "222222222222") -> str:
    return f"arn:aws:{service}:eu-west-1:{account}:{resource}"


def through(service: str, *regions: str) -> dict[str, Any]:
    via = [f"{service}.{each}.amazonaws.com" for each in regions or ("eu-west-1",)]
    return {"StringEquals": {"kms:ViaService": via if regions else via[0]}}


def allow(service: str, resource: str, *actions: str, condition: Any = None) -> set[Grant]:
    return {(f"{service}:{each}", resource, json.dumps(condition or {})) for each in actions}


def parameter(name: str, *actions: str) -> set[Grant]:
    return allow("ssm", own("ssm", f"parameter{name}"), *actions)


def grants_of(policy: Policy) -> set[Grant]:
    """Every action with every resource that it is granted on."""
    granted: set[Grant] = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        resources, condition = statement["Resource"], json.dumps(statement.get("Condition", {}))
        for resource in [resources] if isinstance(resources, str) else resources:
            granted |= {(action, resource, condition) for action in statement["Action"]}
    return granted


# --- acceptance -----------------------------------------------------------------------------------


def made(pipeline: str = PIPELINE_ARN, in_vpc: Any = (), **variables: str) -> dict[str, Policy]:
    """The policies of a stage `x` with these variables besides the required ones."""
    return policies(replace(build("x", STAGE | variables, {PIPELINE: pipeline}), in_vpc=in_vpc))


LIST_SNAPSHOTS = allow("rds", "*", "DescribeDBClusterSnapshots")
MOVE = ("DeleteParameter", "GetParameterHistory", "LabelParameterVersion", "PutParameter")
MOVE_CURRENT = parameter(CURRENT, *MOVE, "UnlabelParameterVersion")
TOPIC = own("sns", "aurora-refresh")
FOR_TOPIC = {"kms:EncryptionContext:aws:sns:topicArn": [TOPIC]}
PUBLISH = allow("sns", TOPIC, "Publish") | allow(
    "kms",
    own("kms", "key/*"),
    *("Decrypt", "GenerateDataKey*"),
    condition={"StringEquals": through("sns")["StringEquals"] | FOR_TOPIC},
)


def test_each_function_may_do_what_it_does() -> None:
    """And nothing else: no pattern of actions, and `*` only for the listing of snapshots."""
    hold = "/acceptance/refresh/hold"
    stack = own("cloudformation", "stack/acceptance-data/*")
    look = (
        LIST_SNAPSHOTS
        | allow("cloudformation", stack, "DescribeStacks", "ListStackResources")
        | allow("rds", own("rds", "cluster:*"), "DescribeDBClusters")
        | allow("codepipeline", PIPELINE_ARN, "ListPipelineExecutions", "ListActionExecutions")
    )
    run = allow("codepipeline", PIPELINE_ARN, "GetPipelineState", "StartPipelineExecution")
    names = (PIPELINE_NAME, LATEST, CURRENT, hold)
    read_all = {grant for name in names for grant in parameter(name, "GetParameters")}
    reconcile = look | read_all | MOVE_CURRENT | PUBLISH
    set_latest = parameter(LATEST, "GetParameters", "PutParameter")
    set_hold = parameter(hold, "GetParameterHistory", "PutParameter")
    expected = {
        UPDATE: LIST_SNAPSHOTS | set_latest | parameter(CURRENT, "GetParameters") | PUBLISH,
        RESTORE: look | read_all | MOVE_CURRENT | run | PUBLISH,
        FOLLOW: reconcile,
        RECONCILE: reconcile,
        API: look | read_all | MOVE_CURRENT | run | set_hold,
    }
    # Chalice names the REST API's function after the app and the stage alone.
    deployed = {name: f"acceptance-{name}" for name in expected} | {API: "acceptance"}
    for name, grants in expected.items():
        group = own("logs", f"log-group:/aws/lambda/aurora-refresh-{deployed[name]}:*")
        logs = allow("logs", group, "CreateLogGroup", "CreateLogStream", "PutLogEvents")
        policy = json.loads((CHALICE / file_name("acceptance", name)).read_text())
        assert grants_of(policy) == grants | logs


OUR_COPIES = own("rds", "cluster-snapshot:aurora-refresh-copy-*")


def use(key: str, **condition: Any) -> set[Grant]:
    """The use of a key for copying, by RDS alone."""
    actions = ("CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKey*", "ReEncrypt*")
    return allow("kms", key, *actions, condition=through("rds") | condition)


def copying(use_own_key: set[Grant], region: str = "eu-west-1", **condition: Any) -> Granted:
    """What the functions that copy production's shares need: our own names for what is made."""
    shares = f"arn:aws:rds:{region}:111111111111:cluster-snapshot:*"
    copy = use_own_key | use(f"arn:aws:kms:{region}:111111111111:key/*", **condition)
    for resource in (shares, OUR_COPIES):
        copy |= allow("rds", resource, "CopyDBClusterSnapshot")
    copy |= allow("rds", OUR_COPIES, "AddTagsToResource")
    record = ("GetParameterHistory", "PutParameter", "UnlabelParameterVersion")
    delete = allow("rds", OUR_COPIES, "DeleteDBClusterSnapshot")
    return {
        UPDATE: copy | parameter(LATEST, "LabelParameterVersion"),
        RECONCILE: copy | parameter(LATEST, *record) | delete,
    }


KEY_ARN, COPY_KEY = own("kms", f"key/{KEY}"), "RDS_COPY_KMS_KEY_ID"
MACHINE = own("states", "stateMachine:after-restore")
LOOK_AT_IT = allow("states", own("states", "execution:after-restore:*"), "DescribeExecution")
PREPARE = LOOK_AT_IT | allow("states", MACHINE, "StartExecution")
PREPARING = {FOLLOW: PREPARE, RECONCILE: PREPARE, API: LOOK_AT_IT}
JOIN_VPC = ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DeleteNetworkInterface")
JOIN_VPC += ("DescribeSubnets", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses")
READ_OTHERS = parameter(OTHER_LATEST, "GetParameters") | parameter(OTHER_CURRENT, "GetParameters")
MOVE_OTHER = READ_OTHERS | parameter(OTHER_CURRENT, *MOVE, "UnlabelParameterVersion")
ADDED: dict[str, tuple[dict[str, Any], Granted]] = {
    "chat topic": ({"CHAT_TOPIC_ARN": TOPIC}, dict.fromkeys(NOTIFYING, PUBLISH)),
    "after-restore work": ({"RDS_AFTER_RESTORE": MACHINE}, PREPARING),
    "VPC of one function": ({"in_vpc": [API]}, {API: allow("ec2", "*", *JOIN_VPC)}),
    "second database": (
        TWO,
        {
            UPDATE: READ_OTHERS | parameter(OTHER_LATEST, "PutParameter"),
            **dict.fromkeys((RESTORE, FOLLOW, RECONCILE, API), MOVE_OTHER),
        },
    ),
    "copies": ({COPY_KEY: KEY}, copying(use(KEY_ARN))),
    "copies under a key's ARN": ({COPY_KEY: KEY_ARN}, copying(use(KEY_ARN))),
    "copies under an alias": (
        {COPY_KEY: own("kms", "alias/own")},
        copying(use(own("kms", "key/*"), **BY_ALIAS)),
    ),
    "copies of another Region's shares": (
        {COPY_KEY: KEY, "SOURCE_REGION": "us-east-1"},
        copying(use(KEY_ARN), "us-east-1", **through("rds", "us-east-1", "eu-west-1")),
    ),
}


def compare(without: Mapping[str, Policy], with_it: Mapping[str, Policy], added: Granted) -> None:
    """Check that the settings add these grants and take none away."""
    before = {name: grants_of(policy) for name, policy in without.items()}
    assert {name: grants_of(policy) for name, policy in with_it.items()} == {
        name: grants | added.get(name, set()) for name, grants in before.items()
    }
    assert not any(before[name] & grants for name, grants in added.items())


@pytest.mark.parametrize(("settings", "added"), ADDED.values(), ids=ADDED)
def test_a_setting_grants_what_it_needs_and_nothing_else(settings: Any, added: Granted) -> None:
    stack = {"RDS_STACK_NAME": "data"}
    compare(made(**stack), made(**stack, **settings), added)


def test_arns_are_in_the_pipeline_s_place_and_a_name_without_a_path_has_a_slash() -> None:
    pipeline = "arn:aws-us-gov:codepipeline:us-gov-west-1:333333333333:main"
    found = made(pipeline, SSM_RDS_LATEST_SNAPSHOT_NAME="latest").values()
    grants = {grant for policy in found for grant in grants_of(policy)}
    arns = {resource for _, resource, _ in grants if resource != "*"}
    place = ("aws-us-gov", "us-gov-west-1", "333333333333")
    assert {(*arn.split(":")[1:5:2], arn.split(":")[4]) for arn in arns} == {place}
    assert {pipeline, "arn:aws-us-gov:ssm:us-gov-west-1:333333333333:parameter/latest"} <= arns


# --- production -----------------------------------------------------------------------------------

CLUSTERS = ("billing", "documents", "orders")
PRODUCTION = "111111111111"
OWN_SHARES = own("rds", "cluster-snapshot:aurora-refresh-share-*", PRODUCTION)


def sharing(**variables: str) -> dict[str, Policy]:
    """The policies of production's stage `weekly`."""
    given = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": ",".join(CLUSTERS)} | variables
    return policies(build("weekly", given, {ACCOUNT: PRODUCTION, REGION: "eu-west-1"}))


def test_with_a_key_automated_snapshots_are_copied_under_it() -> None:
    """The checked-in stage of production has the rest, with a key that is named by its alias."""
    key = own("kms", f"key/{KEY}", PRODUCTION)
    # Another account's key, too, of which nothing else lets it read anything.
    added = allow("kms", key, "CreateGrant", "DescribeKey", condition=through("rds"))
    # `*` would match the snapshots of a cluster orders-archive as well.
    automated = [f"cluster-snapshot:rds:{name}-????-??-??-??-??" for name in CLUSTERS]
    for arn in (OWN_SHARES, *(own("rds", name, PRODUCTION) for name in automated)):
        added |= allow("rds", arn, "CopyDBClusterSnapshot")
    compare(sharing(), sharing(SHARE_KMS_KEY_ID=KEY), {SHARE: added})


# --- both -----------------------------------------------------------------------------------------


def test_a_linter_that_knows_every_service_s_actions_and_their_resources_finds_nothing() -> None:
    stack = {"RDS_STACK_NAME": "data", "SSM_REFRESH_HOLD_NAME": "/hold"}
    documents = [*sharing(SHARE_KMS_KEY_ID=KEY).values()]
    for settings, _ in ADDED.values():
        documents += made(**stack, **settings).values()
    kind = "AWS::IAM::ManagedPolicy"
    resources = {
        f"Policy{number}": {"Type": kind, "Properties": {"PolicyDocument": document}}
        for number, document in enumerate(documents)
    }
    config = ManualArgs(include_checks=["I"], regions=["eu-west-1"])
    assert lint(json.dumps({"Resources": resources}), config=config) == []
