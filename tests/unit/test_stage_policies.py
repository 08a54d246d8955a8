"""The functions' policies: what they grant, by hand, and that the files are what the settings make of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cfnlint import ManualArgs, lint

from chalicelib.settings.acceptance import Settings
from cli import stages
from cli.policies import file_name, policies
from cli.stages import AcceptanceStage
from tests.stage import STAGE, TWO

PROJECT = Path(__file__).resolve().parents[2]
CHALICE = PROJECT / ".chalice"
# The acceptance stage is a template to edit: what its topic's ARN says, its policies must say, too.
STAGES = json.loads((CHALICE / "config.json").read_text())["stages"]
PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"

ACCOUNT = "eu-west-1:222222222222"

FUNCTIONS = (
    "db-update-latest-snapshot-id",
    "db-restore-from-snapshot",
    "db-follow-pipeline",
    "db-reconcile",
    "api_handler",
)


def grants_of(policy: dict[str, Any]) -> list[tuple[str, str]]:
    """Every action with every resource that it is granted on."""
    return [
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in (
            [statement["Resource"]]
            if isinstance(statement["Resource"], str)
            else statement["Resource"]
        )
    ]


def grants(function: str) -> list[tuple[str, str]]:
    """What the checked-in policy of acceptance's function grants."""
    file = CHALICE / STAGES["acceptance"]["lambda_functions"][function]["iam_policy_file"]
    return grants_of(json.loads(file.read_text()))


def made(pipeline: str = PIPELINE, **variables: str) -> dict[str, dict[str, Any]]:
    """The policies of a stage ``x`` with these variables."""
    return policies(AcceptanceStage("x", variables, Settings.from_environment(variables), pipeline))


# --- the files ------------------------------------------------------------------------------------


def test_the_checked_in_policies_are_what_the_settings_make_of_them() -> None:
    expected = {}
    for name in STAGES:
        for function, policy in policies(stages.load(PROJECT, name)).items():
            expected[file_name(name, function)] = stages.to_text(policy)
    assert {file.name: file.read_text() for file in CHALICE.glob("policy-*")} == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_the_listing_of_snapshots_is_granted_on_all(function: str) -> None:
    assert {action for action, resource in grants(function) if resource == "*"} == {
        "rds:DescribeDBClusterSnapshots"
    }


def test_a_function_in_a_vpc_and_no_other_may_make_network_interfaces() -> None:
    plain = stages.load(PROJECT, "acceptance")
    joined = policies(replace(plain, in_vpc=frozenset({"api_handler"})))
    added = {
        function: {*grants_of(joined[function])} - {*grants_of(policy)}
        for function, policy in policies(plain).items()
    }
    assert {function: found for function, found in added.items() if found} == {
        "api_handler": {
            (f"ec2:{action}NetworkInterface{plural}", "*")
            for action, plural in (("Create", ""), ("Describe", "s"), ("Delete", ""))
        }
    }


def test_who_notifies_may_use_the_topics_key_by_sns_alone() -> None:
    key = "arn:aws:kms:eu-west-1:222222222222:key/1"
    stage = replace(stages.load(PROJECT, "acceptance"), topic_keys=(key,))
    added = {
        function: [each for each in policy["Statement"] if each["Sid"] == "UseTopicKeys"]
        for function, policy in policies(stage).items()
    }
    assert added.pop("api_handler") == []
    assert {*map(str, added.values())} == {
        str(
            [
                {
                    "Sid": "UseTopicKeys",
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                    "Resource": key,
                    "Condition": {
                        "StringEquals": {"kms:ViaService": "sns.eu-west-1.amazonaws.com"}
                    },
                }
            ]
        )
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_granted_by_pattern(function: str) -> None:
    assert not [action for action, _ in grants(function) if "*" in action]


def test_each_function_may_do_what_it_does() -> None:
    variables = STAGES["acceptance"]["environment_variables"]

    def parameter(name: str) -> str:
        return f"arn:aws:ssm:{ACCOUNT}:parameter{variables[name]}"

    def allow(service: str, resource: str, *actions: str) -> list[tuple[str, str]]:
        return [(f"{service}:{action}", resource) for action in actions]

    latest = parameter("SSM_RDS_LATEST_SNAPSHOT_NAME")
    current = parameter("SSM_RDS_CURRENT_SNAPSHOT_NAME")
    pipeline_name = parameter("SSM_MAIN_CICD_NAME")
    hold = parameter("SSM_REFRESH_HOLD_NAME")
    stack = f"arn:aws:cloudformation:{ACCOUNT}:stack/acceptance-data/*"
    list_snapshots = allow("rds", "*", "DescribeDBClusterSnapshots")
    look = [
        *list_snapshots,
        *allow("cloudformation", stack, "DescribeStacks", "ListStackResources"),
        *allow("rds", f"arn:aws:rds:{ACCOUNT}:cluster:*", "DescribeDBClusters"),
        *allow("codepipeline", PIPELINE, "ListPipelineExecutions", "ListActionExecutions"),
    ]
    move = allow(
        "ssm",
        current,
        "DeleteParameter",
        "GetParameterHistory",
        "LabelParameterVersion",
        "PutParameter",
        "UnlabelParameterVersion",
    )
    run = allow("codepipeline", PIPELINE, "GetPipelineState", "StartPipelineExecution")
    read_all = [
        each
        for name in (pipeline_name, latest, current, hold)
        for each in allow("ssm", name, "GetParameters")
    ]
    notify = allow("sns", variables["NOTIFICATION_TOPIC_ARN"], "Publish")
    reconcile = [*look, *move, *allow("ssm", pipeline_name, "GetParameters"), *notify]
    expected = {
        "db-update-latest-snapshot-id": [
            *list_snapshots,
            *allow("ssm", latest, "GetParameters", "PutParameter"),
            *allow("ssm", current, "GetParameters"),
            *notify,
        ],
        "db-restore-from-snapshot": [*look, *read_all, *move, *run, *notify],
        "db-follow-pipeline": reconcile,
        "db-reconcile": reconcile,
        "api_handler": [*look, *read_all, *move, *run, *allow("ssm", hold, "PutParameter")],
    }
    granted = {
        function: sorted(grant for grant in grants(function) if not grant[0].startswith("logs:"))
        for function in FUNCTIONS
    }
    assert granted == {function: sorted(each) for function, each in expected.items()}


@pytest.mark.parametrize(
    ("function", "suffix"),
    [
        ("db-update-latest-snapshot-id", "-db-update-latest-snapshot-id"),
        ("db-restore-from-snapshot", "-db-restore-from-snapshot"),
        ("db-follow-pipeline", "-db-follow-pipeline"),
        ("db-reconcile", "-db-reconcile"),
        ("api_handler", ""),
    ],
)
def test_each_function_writes_its_own_logs(function: str, suffix: str) -> None:
    """Chalice names the REST API's function after the app and the stage alone."""
    group = f"log-group:/aws/lambda/aurora-refresh-acceptance{suffix}:*"
    assert {resource for action, resource in grants(function) if action.startswith("logs:")} == {
        f"arn:aws:logs:{ACCOUNT}:{group}"
    }


# --- other stages ---------------------------------------------------------------------------------


HOLD = "arn:aws:ssm:eu-west-1:222222222222:parameter/acceptance/hold"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore"
PUBLISH, READ_HOLD = ("sns:Publish", TOPIC), ("ssm:GetParameters", HOLD)
PREPARE = ("states:StartExecution", MACHINE)
LOOK = ("states:DescribeExecution", f"{MACHINE.replace('stateMachine', 'execution')}:*")


@pytest.mark.parametrize(
    ("setting", "value", "added"),
    [
        ("NOTIFICATION_TOPIC_ARN", TOPIC, [[PUBLISH]] * 4 + [[]]),
        (
            "SSM_REFRESH_HOLD_NAME",
            "/acceptance/hold",
            [[], [READ_HOLD], [], [], [READ_HOLD, ("ssm:PutParameter", HOLD)]],
        ),
        (
            "RDS_AFTER_RESTORE",
            MACHINE,
            [[], [], [PREPARE, LOOK], [PREPARE, LOOK], [LOOK]],
        ),
    ],
)
def test_a_setting_grants_what_it_needs_and_nothing_else(
    setting: str, value: str, added: list[list[tuple[str, str]]]
) -> None:
    without, with_it = made(**STAGE), made(**STAGE, **{setting: value})
    assert [*with_it] == [*FUNCTIONS]
    assert [
        [grant for grant in grants_of(policy) if grant not in grants_of(without[name])]
        for name, policy in with_it.items()
    ] == added
    for name in FUNCTIONS:
        assert {*grants_of(without[name])} <= {*grants_of(with_it[name])}


def test_without_the_pin_api_its_function_has_no_policy() -> None:
    assert [*made(**STAGE, PIN_API_ENABLED="false")] == [*FUNCTIONS[:4]]


def test_every_database_s_parameters_are_granted_each_in_its_role() -> None:
    parameters = "arn:aws:ssm:eu-west-1:222222222222:parameter/acceptance/"
    rds, docs = f"{parameters}rds/", f"{parameters}docs/"
    two = made(**TWO)

    def granted(function: str, action: str) -> list[str]:
        return [resource for name, resource in grants_of(two[function]) if name == action]

    both = [f"{rds}current-snapshot", f"{docs}current"]
    assert granted("db-update-latest-snapshot-id", "ssm:PutParameter") == [
        f"{rds}latest-snapshot",
        f"{docs}latest",
    ]
    for function in FUNCTIONS[1:]:
        assert granted(function, "ssm:PutParameter") == both
        assert granted(function, "ssm:GetParameterHistory") == both
    assert granted("db-restore-from-snapshot", "ssm:GetParameters") == [
        f"{parameters}cicd/main-pipeline-name",
        f"{rds}latest-snapshot",
        f"{rds}current-snapshot",
        f"{docs}latest",
        f"{docs}current",
    ]


def test_account_region_and_partition_are_the_pipeline_s() -> None:
    pipeline = "arn:aws-us-gov:codepipeline:us-gov-west-1:333333333333:main"
    arns = {
        resource
        for policy in made(pipeline, **STAGE).values()
        for _, resource in grants_of(policy)
        if resource != "*"
    }
    assert {tuple(arn.split(":")[1:5:2]) for arn in arns} == {("aws-us-gov", "us-gov-west-1")}
    assert {arn.split(":")[4] for arn in arns} == {"333333333333"}
    assert pipeline in arns


def test_a_name_without_a_path_has_a_slash_in_its_arn() -> None:
    named = made(**STAGE | {"SSM_RDS_LATEST_SNAPSHOT_NAME": "latest"})
    assert ("ssm:PutParameter", "arn:aws:ssm:eu-west-1:222222222222:parameter/latest") in grants_of(
        named["db-update-latest-snapshot-id"]
    )


# --- a linter of others ---------------------------------------------------------------------------


def findings(*documents: dict[str, Any]) -> list[str]:
    """What cfn-lint says of policies: its rules know every service's actions and their resources."""
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            f"Policy{number}": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {"PolicyDocument": document},
            }
            for number, document in enumerate(documents)
        },
    }
    return [
        match.rule.id
        for match in lint(
            json.dumps(template), config=ManualArgs(include_checks=["I"], regions=["eu-west-1"])
        )
    ]


def test_a_linter_finds_nothing_in_the_policies() -> None:
    stage = TWO | {"NOTIFICATION_TOPIC_ARN": TOPIC, "SSM_REFRESH_HOLD_NAME": "/acceptance/hold"}
    assert findings(*made(**stage).values()) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"Action": ["ssm:PutParametr"]}, "W3037"),
        ({"Resource": TOPIC}, "I3510"),
        ({"Effect": "Allowed"}, "E3510"),
    ],
)
def test_the_linter_does_find_what_is_wrong(change: dict[str, Any], finding: str) -> None:
    policy = made(**STAGE)["db-update-latest-snapshot-id"]
    (recording,) = (each for each in policy["Statement"] if each["Sid"] == "RecordLatest")
    recording.update(change)
    assert findings(policy) == [finding]


# --- copies ---------------------------------------------------------------------------------------

KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
KMS = "arn:aws:kms:eu-west-1"
OUR_COPIES = "arn:aws:rds:eu-west-1:222222222222:cluster-snapshot:aurora-refresh-copy-*"
THROUGH_RDS = {"StringEquals": {"kms:ViaService": "rds.eu-west-1.amazonaws.com"}}


def copying(key: str) -> dict[str, dict[str, Any]]:
    return made(**STAGE, RDS_COPY_KMS_KEY_ID=key)


def added(function: str, key: str) -> list[dict[str, Any]]:
    """The statements that a function's policy has because of copies."""
    without = made(**STAGE).get(function, {"Statement": []})["Statement"]
    return [each for each in copying(key)[function]["Statement"] if each not in without]


def allow(sid: str, actions: list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def use(sid: str, *keys: str, **condition: Any) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": [
            "kms:CreateGrant",
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:GenerateDataKey*",
            "kms:ReEncrypt*",
        ],
        "Resource": keys[0] if len(keys) == 1 else [*keys],
        "Condition": THROUGH_RDS | condition,
    }


@pytest.mark.parametrize("key", [KEY, f"{KMS}:222222222222:key/{KEY}"])
def test_the_update_and_the_poll_copy_production_s_shares_to_names_of_ours_alone(key: str) -> None:
    shares = "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:*"
    copy_shares = [
        allow("CopyShares", ["rds:CopyDBClusterSnapshot"], [shares, OUR_COPIES]),
        allow("TagCopies", ["rds:AddTagsToResource"], OUR_COPIES),
        use("UseKeys", f"{KMS}:111111111111:key/*", f"{KMS}:222222222222:key/{KEY}"),
    ]
    latest = "arn:aws:ssm:eu-west-1:222222222222:parameter/acceptance/rds/latest-snapshot"
    record = ["ssm:GetParameterHistory", "ssm:PutParameter", "ssm:UnlabelParameterVersion"]
    assert added("db-update-latest-snapshot-id", key) == [
        *copy_shares,
        allow("WantCopies", ["ssm:LabelParameterVersion"], latest),
    ]
    assert added("db-reconcile", key)[1:] == [
        allow("RecordLatest", record, latest),
        *copy_shares,
        allow("DeleteOwnCopies", ["rds:DeleteDBClusterSnapshot"], OUR_COPIES),
    ]


@pytest.mark.parametrize("key", [KEY, "alias/copies"])
def test_another_region_s_shares_are_copied_with_production_s_keys_there(key: str) -> None:
    policy = made(**STAGE, SOURCE_REGION="us-east-1", RDS_COPY_KMS_KEY_ID=key)
    share = "arn:aws:rds:us-east-1:111111111111:cluster-snapshot:*"
    regions = ["rds.us-east-1.amazonaws.com", "rds.eu-west-1.amazonaws.com"]
    through_either = {"StringEquals": {"kms:ViaService": regions}}
    productions = "arn:aws:kms:us-east-1:111111111111:key/*"
    by_id = use("UseKeys", f"{KMS}:222222222222:key/{KEY}")
    called = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/copies"]}}
    for function in ("db-update-latest-snapshot-id", "db-reconcile"):
        statements = {each["Sid"]: each for each in policy[function]["Statement"]}
        assert statements["CopyShares"]["Resource"] == [share, OUR_COPIES]
        used = [each for name, each in statements.items() if name.startswith("Use")]
        assert used == [
            use("UseSourceKeys", productions) | {"Condition": through_either},
            by_id if key == KEY else use("UseKeysByAlias", f"{KMS}:222222222222:key/*", **called),
        ]


@pytest.mark.parametrize("key", ["alias/copies", f"{KMS}:222222222222:alias/copies"])
def test_a_key_by_its_alias_is_a_condition(key: str) -> None:
    called = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/copies"]}}
    assert added("db-update-latest-snapshot-id", key)[2:-1] == [
        use("UseKeys", f"{KMS}:111111111111:key/*"),
        use("UseKeysByAlias", f"{KMS}:222222222222:key/*", **called),
    ]


@pytest.mark.parametrize(
    "function", ["db-restore-from-snapshot", "db-follow-pipeline", "api_handler"]
)
def test_nobody_else_has_to_do_with_copies(function: str) -> None:
    assert added(function, KEY) == []
