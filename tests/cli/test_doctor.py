"""The doctor's verdicts: each visible fault of a stage, named with its fix, and nothing else.

Most tests change one thing of a healthy account and compare all that the doctor says.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from chalicelib.domain.deployment import Deployment, StackReference
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Choice
from chalicelib.domain.text import printable
from chalicelib.usecases.deployments import unreadable_stack
from cli import configure, doctor, mainpipeline, stacks, stages, templates
from cli.calls import Calls
from cli.doctor import acceptance, checks, deployment, production, refresh
from cli.doctor.checks import Check
from cli.doctor.deployment import Wanted
from cli.look import AcceptanceLook, Look
from cli.main import cli
from cli.output import Failure
from cli.policies import file_name, policies
from cli.stages import CONFIG, AcceptanceStage, ProductionStage
from tests.fakes import ACCEPTANCE, PRODUCTION, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME, TWO
from tests.stage import STAGE as REQUIRED

# --- a healthy acceptance stage and its account ---------------------------------------------------

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 4, 1, tzinfo=UTC)
NEW, OLD = snapshot("orders-2"), snapshot("orders-1", created=NOW - timedelta(days=14))
NAME = "acceptance"
DEPLOY = f"aurora-refresh deploy --stage {NAME}"
PIPELINE_ARN = f"arn:aws:codepipeline:eu-west-1:{ACCEPTANCE}:{PIPELINE}"
TOPIC = f"arn:aws:sns:eu-west-1:{ACCEPTANCE}:aurora-refresh"
CHAT = f"{TOPIC}-chat"
HOLD = "/acceptance/refresh/hold"
MACHINE = f"arn:aws:states:eu-west-1:{ACCEPTANCE}:stateMachine:mask"
RESTORE = f"{APP}-{NAME}-db-restore-from-snapshot"
RULE = f"{RESTORE}-event"
# The keys of production's shares, of acceptance's copies and of its topic.
KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234"
COPY_KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
ACCEPTANCES_KEYS = f"arn:aws:kms:eu-west-1:{ACCEPTANCE}"
TOPIC_KEY, TOPIC_ALIAS = f"{ACCEPTANCES_KEYS}:key/topics", f"{ACCEPTANCES_KEYS}:alias/topics"
CUSTOMERS = {"KeyManager": "CUSTOMER", "KeyState": "Enabled", "Arn": TOPIC_KEY}
DISABLED = CUSTOMERS | {"KeyState": "Disabled"}
AWS_MANAGED = CUSTOMERS | {"KeyManager": "AWS"}
UNDER_KEY = {"KmsMasterKeyId": "alias/topics"}
STANDARD = {"type": "STANDARD"}  # AWS may leave out its status, and more of other answers
VARIABLES = REQUIRED | {
    "NOTIFICATION_TOPIC_ARN": TOPIC,
    "CHAT_TOPIC_ARN": CHAT,
    "SSM_REFRESH_HOLD_NAME": HOLD,
    "RDS_STACK_NAME": "main",
    "RDS_AFTER_RESTORE": MACHINE,
    "RDS_COPY_KMS_KEY_ID": COPY_KEY,
}

Answers = dict[str, Any]
# Questions by their short names, with the healthy answers.
Questions = dict[str, tuple[str, Any]]


def stage_of(**variables: str) -> AcceptanceStage:
    """The stage with other variables; "" takes one away."""
    given = {name: value for name, value in (VARIABLES | variables).items() if value}
    return stages.build(NAME, given, {stages.PIPELINE: PIPELINE_ARN})


def holding(values: Mapping[str, Any]) -> Answers:
    """The parameters, some with other values; None takes one away."""
    healthy = {PIPELINE_NAME: PIPELINE, LATEST: NEW.arn, CURRENT: OLD.arn, HOLD: "dummyvalue"}
    return {name: Parameter(value, 1, NOW) for name, value in (healthy | values).items() if value}


def action(category: str, name: str, **more: Any) -> Answers:
    kind = {"category": category, "provider": "CloudFormation" if category == "Deploy" else "x"}
    return {"name": name, "actionTypeId": kind, **more}


def stage_named(name: str, *actions: Answers, **more: Any) -> Answers:
    return {"name": name, "actions": list(actions), **more}


def pipeline_of(*stages_: Answers, **more: Any) -> Answers:
    """The main pipeline, with other stages or another mode."""
    given = [*stages_] or [BUILD, stage_named("Deploy", DATABASE), VERIFY]
    return {"executionMode": "SUPERSEDED", "stages": given, **more}


def with_resource(name: str, text: str, **changed: Any) -> Answers:
    """Acceptance's stack in whose template a resource has other properties, given as YAML."""
    resource = {**TEMPLATE["Resources"].get(name, TEMPLATE["Resources"]["Cluster"]), **changed}
    properties = resource["Properties"] | templates.parsed(text)
    given = {key: value for key, value in properties.items() if value is not None}
    resources = {**TEMPLATE["Resources"], name: {**resource, "Properties": given}}
    values = {"Environment": "acceptance", "Path": CURRENT, "Hidden": "****"}
    resolved = {"Snapshot": OLD.arn, "Stored": "acceptance"}
    return stack_of({**TEMPLATE, "Resources": resources}, values | PSEUDO, resolved)


def with_output(text: str) -> Answers:
    """Acceptance's stack with an output, given as YAML."""
    outputs = {"Out": templates.parsed(text)}
    return stack_of({**TEMPLATE, "Outputs": outputs}, {"Environment": "acceptance"})


def of_function(function: str, name: str) -> Questions:
    """What is asked about a function, its role and its rule."""
    role, rule = f"{APP}-{NAME}-{function}", f"{name}-event"
    configuration = {
        **LAMBDA,
        "FunctionArn": f"arn:of:{name}",
        "Role": f"arn:aws:iam::{ACCEPTANCE}:role/{role}",
        "Environment": {"Variables": VARIABLES},
    }
    found: Questions = {
        "configuration": (f"lambda:GetFunctionConfiguration {name}", configuration),
        "concurrency": (f"lambda:GetFunctionConcurrency {name}", 1),
        "inline": (f"iam:ListRolePolicies {role}", [role]),
        "statements": (f"iam:GetRolePolicy {role} {role}", POLICIES[function]["Statement"]),
        "boundary": (f"iam:GetRole {role}", None),
    }
    if function not in FIRES:
        return found | {"api_invokers": (f"lambda:GetPolicy {name}", '"…:a1b2c3/*"')}
    fires = {"State": "ENABLED", "Arn": f"arn:of:{rule}", **FIRES[function]}
    return found | {
        "rule": (f"events:DescribeRule {rule}", fires),
        "targets": (f"events:ListTargetsByRule {rule}", [f"arn:of:{name}"]),
        "invokers": (f"lambda:GetPolicy {name}", f'"arn:of:{rule}"'),
    }


def allowing(principal: Any, action: Any = "kms:*", **more: Any) -> Answers:
    """A statement of a key's policy."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}
    return statement | more


HEALTHY_STAGE = stage_of()
CHOICE = Choice(NEW, frozenset({"orders"}), {"engine": 2})
BUILD = stage_named("Build", action("Build", "Compile"))
CONFIGURED = {"StackName": "main", "ActionMode": "CREATE_UPDATE"}
DATABASE = action("Deploy", "Database", configuration=CONFIGURED, runOrder=2)
STACK_SET = DATABASE | {
    "actionTypeId": {"category": "Deploy", "provider": "CloudFormationStackSet"},
    "configuration": {"StackSetName": "main"},
}
CATALOG = DATABASE | {"actionTypeId": {"category": "Deploy", "provider": "ServiceCatalog"}}
VARIABLE = DATABASE | {"configuration": {"StackName": "#{variables.ENV}-main"}}
VERIFY = stage_named("Verify", action("Approval", "SignOff"))
TEMPLATE = templates.parsed((PROJECT / "infrastructure/main-pipeline.yaml").read_text())
# What a template has that serves production and acceptance alike.
SHARED = templates.parsed(f"""
Parameters:
  Environment: {{Type: String, Default: production}}
  Path: {{Type: String, Default: /other}}
  Text: {{Type: String, Default: {CURRENT}}}
  Given: {{Type: String, Default: "{NEW.arn}"}}
  Hidden: {{Type: String, NoEcho: true}}
  Stored: {{Type: 'AWS::SSM::Parameter::Value<String>', Default: /name}}
Conditions:
  IsAcceptance: !Equals [!Ref Environment, acceptance]
  IsProduction: !Not [!Condition IsAcceptance]
  IsBig: !Equals [!Ref Hidden, big]
  HasSnapshot: !Not [!Equals [!Ref Snapshot, '']]
  IsOwn: !Equals [!Ref AWS::AccountId, '{ACCEPTANCE}']
Mappings:
  Environments:
    acceptance: {{snapshot: "{NEW.arn}"}}
""")
TEMPLATE = {**TEMPLATE, **SHARED, "Parameters": TEMPLATE["Parameters"] | SHARED["Parameters"]}
PSEUDO = {"AWS::AccountId": ACCEPTANCE, "AWS::StackName": "main"}
stack_of = templates.evaluated
CLUSTER = {
    "DBClusterIdentifier": "main-cluster-1",
    "ClusterCreateTime": NOW,
    "Engine": "aurora-postgresql",
    "HttpEndpointEnabled": True,
}
STACK = SeenStack("UPDATE_COMPLETE", {"Cluster": "main-cluster-1"}, {})
READY = CLUSTER | {"MasterUserSecret": {"SecretArn": "x"}}
EMAIL = {"SubscriptionArn": f"{TOPIC}:1", "Protocol": "email", "Endpoint": "a@b.example"}
LAMBDA = {"Handler": "app.app", "CodeSha256": "new", "MemorySize": 256, "Timeout": 120}  # the API's
FIRES = {
    "db-update-latest-snapshot-id": {"ScheduleExpression": "cron(0 2 ? * SUN *)"},
    "db-restore-from-snapshot": {"ScheduleExpression": "cron(0 4 ? * SUN *)"},
    "db-follow-pipeline": {},
    "db-reconcile": {"ScheduleExpression": "rate(15 minutes)"},
}
POLICIES = policies(HEALTHY_STAGE)
FUNCTIONS = {
    function: of_function(function, name)
    for function, name in stacks.function_names(HEALTHY_STAGE).items()
}
ROOT = {"AWS": f"arn:aws:iam::{ACCEPTANCE}:root"}
CLOUDWATCH = {"Service": ["cloudwatch.amazonaws.com", "s3.amazonaws.com"]}
ALARM: Answers = {"StateValue": "OK", "AlarmActions": [TOPIC]}
ALARMS = dict.fromkeys(stacks.alarms(HEALTHY_STAGE), ALARM)


QUESTIONS: Questions = {
    "caller": (
        "caller",
        {
            "Account": ACCEPTANCE,
            "Arn": "me",
            "ResponseMetadata": {"HTTPHeaders": {"date": f"{NOW:%a, %d %b %Y %H:%M:%S} GMT"}},
        },
    ),
    "pipeline": (f"codepipeline:GetPipeline {PIPELINE}", pipeline_of()),
    "transitions": (f"codepipeline:GetPipelineState {PIPELINE}", []),
    "template": ("template of main", stack_of(TEMPLATE, {})),
    "candidate": ("candidate of rds", NEW),
    "present": ("present of rds", OLD),
    "deployment": ("deployment of rds", Deployment(OLD.arn)),
    "stack": ("deployed_stack of rds", STACK),
    "cluster": ("rds:DescribeDBClusters main-cluster-1", READY),
    "machine": (f"states:DescribeStateMachine {MACHINE} METADATA_ONLY", STANDARD),
    "choices": ("choices", {"rds": CHOICE}),
    "share_key": (f"rds:DescribeDBClusterSnapshots {NEW.arn} True", KEY),
    "key": (f"kms:DescribeKey {KEY}", CUSTOMERS),
    "copy_key": (f"kms:DescribeKey {COPY_KEY}", CUSTOMERS),
    "topic": (f"sns:GetTopicAttributes {TOPIC}", UNDER_KEY),
    "subscriptions": (f"sns:ListSubscriptionsByTopic {TOPIC}", [EMAIL]),
    "topic_key": (f"kms:DescribeKey {ACCEPTANCES_KEYS}:alias/topics", CUSTOMERS),
    "key_policy": (
        f"kms:GetKeyPolicy {TOPIC_KEY} default",
        json.dumps({"Statement": [allowing(ROOT), allowing(CLOUDWATCH)]}),
    ),
    "chat": (f"sns:GetTopicAttributes {CHAT}", {}),
    "chats_subscriptions": (f"sns:ListSubscriptionsByTopic {CHAT}", [EMAIL]),
    "alarms": ("alarms", ALARMS),
    "rest_apis": ("rest_apis", ["a1b2c3"]),
    "api_stages": ("apigateway:GetStages a1b2c3", [{"stageName": "api"}]),
}
QUESTIONS |= FUNCTIONS["db-restore-from-snapshot"] | {
    "api_concurrency": FUNCTIONS["api_handler"]["concurrency"],
    "api_invokers": FUNCTIONS["api_handler"]["api_invokers"],
    "update_rule": FUNCTIONS["db-update-latest-snapshot-id"]["rule"],
}
NAMES = {name: question for name, (question, _) in QUESTIONS.items()}
HEALTHY = {"parameters": holding({})} | dict(QUESTIONS.values())
for asked in FUNCTIONS.values():
    HEALTHY |= dict(asked.values())
WANTED = {name: Wanted(VARIABLES, policy) for name, policy in POLICIES.items()}
DENIED = AwsError("service:Look", "it", "AccessDenied", "no identity-based policy allows it")


def account(
    values: Mapping[str, Any] | None = None, stage: AcceptanceStage = HEALTHY_STAGE, **answers: Any
) -> AcceptanceLook:
    """A look at the healthy account with other values of parameters, and with other answers.

    No other question may be asked.
    """
    changed = {"parameters": holding(values or {})}
    changed |= {NAMES.get(name, name): answer for name, answer in answers.items()}
    nothing = Mock(side_effect=AssertionError("not known"))
    return knowing(AcceptanceLook(stage), nothing, HEALTHY | changed)


def knowing(look: Any, client: Any, answers: Answers) -> Any:
    """Give a look the answers that it knows, and clients for other questions."""
    vars(look)["calls"] = Calls(Mock(client=client), look.stage.region)
    look.answers |= answers
    return look


def faults(look: AcceptanceLook) -> list[Check]:
    """What is not ok in the account, each with its fix."""
    found = [*doctor._acceptance(look), *checks.own_keys(look), *doctor._deployment(look, WANTED)]  # noqa: SLF001
    assert [check for check in found if bool(check.fix) == (check.status == "ok")] == []
    return [check for check in found if check.status != "ok"]


# --- what a fault is made of ----------------------------------------------------------------------


def put(name: str, value: str) -> str:
    return f"aws ssm put-parameter --name {name} --type String --value {value} --overwrite"


def configure_with(answer: str) -> str:
    return f"aurora-refresh configure --stage {NAME} {answer}, and then {DEPLOY}"


def seen_stack(status: str, *clusters: str) -> AcceptanceLook:
    """The account whose stack is seen like that."""
    stack = SeenStack(status, dict.fromkeys(clusters or ["Cluster"], "main-cluster-1"), {})
    seen = unreadable_stack(StackReference("main"), stack) or Deployment()
    return account(stage=stage_of(RDS_STACK_NAME="main"), stack=stack, deployment=seen)


def choosing(rejected: Mapping[str, int], *clusters: str) -> AcceptanceLook:
    """The account with shares of which none can be chosen."""
    newest = NEW if clusters else None
    return account(choices={"rds": Choice(newest, frozenset(clusters), rejected)})


def under_policy(*statements: Answers, **answers: Any) -> AcceptanceLook:
    """The account in which the topic's key has this policy."""
    return account(key_policy=json.dumps({"Statement": statements}), **answers)


def beginning(value: str | None = None) -> AcceptanceLook:
    """The account before the first refresh, in which *current* holds at most the placeholder."""
    values = {CURRENT: value, LATEST: "dummyvalue"}
    return account(values, deployment=Deployment())


LATEST_FIRST = f"run the doctor again once {LATEST} names another snapshot"
GONE = "does not exist"
WRITE_CURRENT = f"the pipeline's next run, whoever starts it, restores what this writes: {put(CURRENT, NEW.arn)}"
KEEPS = "this writes what is deployed"
KEEP_CURRENT = f"{KEEPS}: {put(CURRENT, OLD.arn)}"
ON_HOLD = json.dumps({"until": "2026-01-19", "reason": "release", "by": "Kim"})
BY_HAND = "compare its template with docs/main-pipeline.md"
READ_RIGHTLY = f"Default: {CURRENT}, and write SnapshotIdentifier: !Ref for it, as infrastructure/main-pipeline.yaml does; this is"
ROLE = "arn:aws:iam::{}:role/deployer"
HERE = {"roleArn": ROLE.format(ACCEPTANCE), "region": "eu-west-1"}
DATABASE_STAGE = stage_named("Deploy", DATABASE)
ASK = action("Approval", "Ask")
TERRAFORM = action("Build", "Terraform", runOrder=2)
ORDERS = action("Deploy", "Orders", configuration={"StackName": "orders"})
BOTH = stage_named("Deploy", DATABASE, ORDERS)
ORDERS_STACK = {"template of orders": stack_of(TEMPLATE, {})}
REGION, THERE = {"region": "us-east-1"}, {"roleArn": ROLE.format(PRODUCTION), "runOrder": 3}
AWAY = pipeline_of(BUILD, stage_named("Review", ASK), stage_named("Deploy", DATABASE | THERE))
DELETION = action("Deploy", "X", configuration={"StackName": "x", "ActionMode": "DELETE_ONLY"})
WINDOW = {"conditions": [{"rules": [{"ruleTypeId": {"provider": "DeploymentWindow"}}]}]}
OFF = {"enabled": False, "disabledReason": "release"}
TRANSITIONS = [{"stageName": each, "inboundTransitionState": OFF} for each in ("Deploy", "Verify")]
UNNAMED = stage_of(RDS_STACK_NAME="", RDS_AFTER_RESTORE="")
ELSEWHERE = stage_of(RDS_STACK_NAME="gone")
NO_STACK = {"template of gone": None, "stack": None}
UNSEEN: Answers = {"template": None, "stack": None}
OTHERS = "{SnapshotIdentifier: !Ref Stored, DBClusterIdentifier: orders}"
MADE_ELSEWHERE = ORDERS_STACK | {"cloudformation:DescribeStacks main": {}}
PREPARED = DATABASE | {"configuration": CONFIGURED | {"ActionMode": "CHANGE_SET_REPLACE"}}
DOCS = {"choices": {"rds": CHOICE, "docs": CHOICE}, "deployment of docs": Deployment()}
UNKNOWN = Deployment(unknown="current was set at about the time")
STALE = NEW._replace(created=NOW - timedelta(days=15))
DELETED_KEY = {"KeyManager": "CUSTOMER", "KeyState": "PendingDeletion", "Arn": "arn:y"}
UNDELETE = "aws kms cancel-key-deletion --key-id arn:y && aws kms enable-key --key-id arn:y"
ALLOW_KEY, COPY_AGAIN = "grant kms:DescribeKey to the identity in use", "--kms-key-id"
hidden_key = partial(AwsError, "kms:DescribeKey", KEY, "AccessDeniedException")
CONFIGURATION, FIRING = QUESTIONS["configuration"][1], QUESTIONS["rule"][1]
UPDATING = QUESTIONS["update_rule"][1]
HOURLY = "cron(0 4-23 ? * * *)"
TWICE = {"ScheduleExpression": "cron(0 2,3 ? * SUN *)"}
RESERVE = f"put-function-concurrency --function-name {RESTORE} --reserved-concurrent-executions 1"
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
WAITING = {"SubscriptionArn": "PendingConfirmation", "Protocol": "email", "Endpoint": "x@y.example"}
ERRORS, OVERDUE = next(iter(ALARMS)), f"{APP}-{NAME}-refresh-overdue"
WITHOUT_API = stage_of(PIN_API_ENABLED="false")
EACH_ROLE = [FUNCTIONS[each]["configuration"][1]["Role"] for each in FIRES]
USE = '"Action": ["kms:Decrypt", "kms:GenerateDataKey*"]'
NO_RIGHTS = "does not let the account's roles use it"

# By the check: its subject, what is in the account, how bad that is, what is said, and the fix.
Row = tuple[str, AcceptanceLook, str, str, str]
Table = dict[str, list[Row]]
# fmt: off
FAULTS: Table = {
    "parameter": [
        (PIPELINE_NAME, account({PIPELINE_NAME: None}), "problem", "not found", put(PIPELINE_NAME, PIPELINE)),
        (PIPELINE_NAME, account({PIPELINE_NAME: "the main one"}), "problem", "not a pipeline's name", put(PIPELINE_NAME, PIPELINE)),
        (PIPELINE_NAME, account({PIPELINE_NAME: "main"}), "problem", f"may start only {PIPELINE}", f"{put(PIPELINE_NAME, PIPELINE)}; or, if that is right, {configure_with(f'MAIN_PIPELINE_ARN={PIPELINE_ARN.removesuffix(PIPELINE)}main')}"),
        (LATEST, account({LATEST: "dummyvalue"}), "warning", "placeholder", "wait for the first update: Sunday 2026-01-04 02:00 UTC"),
        (LATEST, account({LATEST: "hunter2"}), "problem", "not the ARN", put(LATEST, "dummyvalue")),
        (LATEST, account(candidate=Refused(Reason.SNAPSHOT_STALE, "no")), "problem", "not promote it", Reason.SNAPSHOT_STALE.next_step),
        (LATEST, account(candidate=Refused(Reason.COPY_PENDING, "40 % done")), "warning", "40 % done", Reason.COPY_PENDING.next_step),
        (CURRENT, account({CURRENT: "dummyvalue"}, deployment=Deployment()), "warning", "placeholder", WRITE_CURRENT),
        (CURRENT, account({CURRENT: "dummyvalue"}), "problem", "placeholder", KEEP_CURRENT),
        (CURRENT, account({CURRENT: "hunter2"}), "problem", "not the ARN", KEEP_CURRENT),
        (CURRENT, account({CURRENT: "hunter2"}, deployment=Deployment("hunter2")), "problem", "not the ARN", WRITE_CURRENT),
        (LATEST, account({LATEST: None}), "problem", GONE, DEPLOY),
        (CURRENT, account({CURRENT: None}), "problem", GONE, KEEP_CURRENT),
        (CURRENT, account({CURRENT: arn("orders-1", "999999999999")}), "problem", "an unknown account", KEEP_CURRENT),
        (CURRENT, account({CURRENT: OLD.arn.replace("eu-west-1", "eu-west-2")}), "problem", "in another Region", KEEP_CURRENT),
        (CURRENT, account({CURRENT: arn("orders-0")}, present=None), "warning", "no longer exists", KEEP_CURRENT),
        (CURRENT, account({LATEST: OLD.arn}, present=None), "warning", "no longer exists", LATEST_FIRST),
        (CURRENT, account(present=OLD._replace(engine="docdb")), "problem", "docdb", WRITE_CURRENT),
        (HOLD, account({HOLD: "until Thursday"}), "problem", "counts as a hold", put(HOLD, "dummyvalue")),
        (HOLD, account({HOLD: ON_HOLD}), "warning", "on hold until 2026-01-19 by Kim: release", put(HOLD, "dummyvalue")),
    ],
    "pipeline": [
        (PIPELINE, account(pipeline=None), "problem", GONE, f"aurora-refresh configure --stage {NAME} MAIN_PIPELINE_ARN="),
        (PIPELINE, account(pipeline=pipeline_of(executionMode="PARALLEL")), "problem", "two runs may restore at once", "aws codepipeline update-pipeline"),
    ],
    "template": [
        (CURRENT, account(template=stack_of({}, {})), "problem", "no cluster of stack main has a SnapshotIdentifier", READ_RIGHTLY),
        (CURRENT, account(template=with_resource("Cluster", "SnapshotIdentifier: !If [IsOwn, !Ref AWS::NoValue, x]")), "problem", "it is never restored", READ_RIGHTLY),
        *((CURRENT, account(template=with_resource("Cluster", f"SnapshotIdentifier: {snapshot}")), "problem", message, READ_RIGHTLY) for snapshot, message in [
            (f"'{{{{resolve:ssm:{CURRENT}}}}}'", "reads its snapshot as {{resolve:ssm:…}}: CloudFormation compares that as text"),
            ("!Join ['', ['{{resolve:ssm:', !Ref Path, '}}']]", "reads its snapshot as {{resolve:ssm:…}}"),
            ("!FindInMap [Environments, !Ref Stored, snapshot]", "a constant snapshot in the template: it is never restored again"),
            ("!FindInMap [Environments, !Ref Environment, snapshot]", "a constant snapshot in the template: it is never restored again"),
            ("!Sub '${AWS::StackName}-snapshot'", "a constant snapshot in the template: it is never restored again"),
            ("!If [IsOwn, 'the name', !Ref Given]", "a constant snapshot in the template: it is never restored again"),
            ("!If [Unknown, !Ref Text, !Ref AWS::NoValue]", "the template's parameter Text of type String, which is the text itself"),
        ]),
        *((CURRENT, account(template=with_resource("Cluster", f"SnapshotIdentifier: {snapshot}")), "warning", "source of Cluster of stack main's snapshot is not seen", READ_RIGHTLY) for snapshot in [
            "!FindInMap [Environments, !Ref AWS::AccountId, snapshot]",
            # A run may give a parameter what it has read from *current*.
            "!Ref Given",
            "!Join ['', [!Ref Given]]",
            "!Sub ['${It}', {It: !Ref Given}]",
            "!Sub 'arn:${Text}'",
            "!Ref Hidden",
            "!If [IsBig, !Ref Snapshot, x]",
            "!If [IsBig, !ImportValue x, x]",
        ]),
        # Another cluster reads *current*, but not the one of RDS_STACK_NAME.
        *((CURRENT, account(pipeline=pipeline_of(BOTH), template=with_resource("Cluster", f"SnapshotIdentifier: {snapshot}"), **ORDERS_STACK), status, seen, configure_with("RDS_STACK_NAME=orders"))
          for snapshot, status, seen in [("x", "problem", "a constant snapshot"), ("!ImportValue x", "warning", "is not seen")]),
        (CURRENT, account(template=stack_of(TEMPLATE, {"Snapshot": LATEST})), "problem", "would restore by accident", READ_RIGHTLY),
        (CURRENT, account(template=stack_of(TEMPLATE, {"Snapshot": "/x"})), "problem", "Cluster of stack main reads /x instead", configure_with("SSM_RDS_CURRENT_SNAPSHOT_NAME=/x") + "; otherwise give the template"),
        *(("main", account(template=with_resource("Cluster", f"{name}: {value}")), status, name, name) for name, value, status in [
            ("DBClusterIdentifier", "!If [IsBig, orders, !Sub '${Environment}-orders']", "problem"),
            ("DBClusterIdentifier", "!If [IsOwn, !Sub '${AWS::StackName}-orders', !Ref AWS::NoValue]", "problem"),
            # What Parameter Store held at the last update decides a condition.
            ("DBClusterIdentifier", "!If [HasSnapshot, orders, !Ref AWS::NoValue]", "problem"),
            ("KmsKeyId", "!If [HasSnapshot, !Ref AWS::NoValue, own]", "warning"),
            ("ManageMasterUserPassword", "false", "warning"),
            ("EngineVersion", "null", "warning"),
            ("EngineVersion", "'15.3'", "problem"),
            *(("DBClusterIdentifier", name, "warning") for name in ("!Ref Stored", "!ImportValue ClusterName", "!If [IsBig, orders, !Ref AWS::NoValue]")),
        ]),
        ("main", account(template=with_resource("Cluster", "KmsKeyId: null")), "warning", "KmsKeyId of Cluster is missing", "which says why; this is a replacement"),
        ("main", account(template=with_resource("Cluster", "DeletionProtection: 'true'")), "warning", "DeletionProtection of Cluster is on", "write DeletionProtection as"),
        ("main", account(template=with_resource("Cluster", "{}", UpdateReplacePolicy="Snapshot")),
         "warning", "one more snapshot", "write UpdateReplacePolicy"),
        ("main", account(template=with_resource("Writer", "DBInstanceIdentifier: x")),
         "problem", "every refresh fails", "remove DBInstanceIdentifier from Writer"),
        *(("main", account(template=with_output(f"{{Export: {{Name: x}}, Value: {value}}}")), "warning", "output Out is exported", "write it to Parameter Store")
          for value in ("!Ref Writer", "!GetAtt Cluster.Endpoint.Address", "!Sub '${Cluster.Endpoint.Address}:1'")),
    ],
    "deployment": [
        ("rds", account(stack=None), "warning", "not been deployed", "wait for the pipeline's first run"),
        ("rds", seen_stack("UPDATE_IN_PROGRESS"), "warning", "is UPDATE_IN_PROGRESS", "run the doctor again"),
        ("rds", seen_stack("ROLLBACK_COMPLETE"), "problem", "it cannot be updated", "aws cloudformation delete-stack --stack-name main, and"),
        *(("rds", seen_stack(status), "problem", f"stack main is {status}: {todo}", Reason.DEPLOYED_UNKNOWN.next_step)
          for status, todo in [("UPDATE_ROLLBACK_FAILED", "continue its rollback"), ("ROLLBACK_FAILED", "delete it")]),
        ("rds", seen_stack("UPDATE_COMPLETE", "B", "A"), "problem", "name one in P_STACK_NAME: main/A, main/B", Reason.DEPLOYED_UNKNOWN.next_step),
        ("rds", account(cluster=None), "problem", "stack main has no DB cluster", "if it was deleted, pin a snapshot"),
        *(("rds", account(pipeline=pipeline_of(stage_named("Deploy", each)), **MADE_ELSEWHERE), "problem", f"pipeline {PIPELINE} does not deploy stack main", configure_with("MAIN_PIPELINE_ARN=…"))
          for each in (ORDERS, PREPARED, DATABASE | REGION)),
        ("rds", account(deployment=UNKNOWN), "problem", "cannot determine what is deployed: current was set", "Correct what is named above"),
        (MACHINE, account(machine=None), "problem", GONE, configure_with("RDS_AFTER_RESTORE=…")),
        (MACHINE, account(machine=STANDARD | {"status": "DELETING"}), "problem", "is DELETING", configure_with("RDS_AFTER_RESTORE=…")),
        (MACHINE, account(machine=STANDARD | {"type": "EXPRESS"}), "problem", "is EXPRESS", configure_with("RDS_AFTER_RESTORE=…")),
        ("cluster main-cluster-1", account(cluster=READY | {"HttpEndpointEnabled": False}), "warning", "Data API is not enabled", "write EnableHttpEndpoint: true"),
        ("cluster main-cluster-1", account(cluster=CLUSTER), "warning", "no secret", "write ManageMasterUserPassword: true"),
        (f"stage Review of {PIPELINE}", account(pipeline=pipeline_of(stage_named("Review", ASK), DATABASE_STAGE)), "warning", "Ask waits for an approval", "move Ask after the action"),
        # No action that is seen deploys the stack.
        (f"stage Apply of {PIPELINE}", account(pipeline=pipeline_of(BUILD, stage_named("Apply", ASK, TERRAFORM), VERIFY)), "warning", "Ask waits for an approval", "move Ask after the action"),
        (f"transitions of {PIPELINE}", account(transitions=TRANSITIONS), "warning", "into stage Deploy is disabled (release)", f"aws codepipeline enable-stage-transition --pipeline-name {PIPELINE} --stage-name Deploy"),
        (f"stage Deploy of {PIPELINE}", account(pipeline=pipeline_of(DATABASE_STAGE | {"beforeEntry": {"conditions": [{"result": "SKIP"}]}})), "warning", "a condition may skip it", "the result FAIL"),
        (f"stage Deploy of {PIPELINE}", account(pipeline=pipeline_of(DATABASE_STAGE | {"beforeEntry": WINDOW})), "warning", "it has a DeploymentWindow", "is open in MAINTENANCE_WINDOW"),
        (f"stage Deploy of {PIPELINE}", account(pipeline=pipeline_of(DATABASE_STAGE | {"onFailure": {"result": "ROLLBACK"}})),
         "warning", "it rolls back automatically", "remove the result ROLLBACK"),
    ],
    "key": [
        (NEW.arn, account(key=AWS_MANAGED), "problem", f"its key {KEY} is managed by AWS", COPY_AGAIN),
        (NEW.arn, account(key=None), "problem", GONE, COPY_AGAIN),
        (NEW.arn, account(key=DISABLED), "problem", "is Disabled", "enable-key"),
        (NEW.arn, account(stage=stage_of(RDS_COPY_KMS_KEY_ID=""), choices={"rds": CHOICE._replace(newest=NEW._replace(engine="neptune"))}), "problem", "only a copy", configure_with("RDS_COPY_KMS_KEY_ID=…")),
        (NEW.arn, account(key=hidden_key("no resource-based policy allows it")), "problem", "does not let account", f'"Principal": {{"AWS": "arn:aws:iam::{ACCEPTANCE}:root"}}'),
        # A refusal by one's own policies says nothing about the key.
        *((NEW.arn, account(key=hidden_key(f"with an explicit deny in {each}")), "warning", "could not be checked", ALLOW_KEY)
          for each in ("an identity-based policy", "a permissions boundary", "a resource control policy", "a service control policy", "a session policy", "a VPC endpoint policy")),
    ],
    "share": [
        ("rds", choosing({"account": 7}), "problem", "no shared snapshot is eligible; rejected: 7 for account", f"in production ({PRODUCTION}): aws rds modify-db"),
        ("rds", choosing({"version": 7}), "problem", "7 for version", configure_with("RDS_ENGINE=… RDS_ENGINE_VERSION=… RDS_SOURCE_CLUSTER=…")),
        ("rds", choosing({}, "orders", "billing"), "problem", "come from several clusters (billing, orders)", "RDS_SOURCE_CLUSTER=…"),
        ("rds", account(choices={"rds": CHOICE._replace(newest=STALE)}), "problem", "nothing older than 14 days", Reason.SNAPSHOT_STALE.next_step),
    ],
    "copy key": [
        (COPY_KEY, account(copy_key=None), "problem", GONE, configure_with("RDS_COPY_KMS_KEY_ID=…")),
        (COPY_KEY, account(copy_key=DELETED_KEY | {"KeyState": "PendingImport"}), "problem", "is PendingImport", "RDS_COPY_KMS_KEY_ID=…"),
    ],
    "function": [
        (RESTORE, account(configuration=None), "problem", "is not deployed", DEPLOY),
        (RESTORE, account(configuration=DENIED), "warning", "could not be checked", "grant service:Look"),
        (RESTORE, account(configuration=CONFIGURATION | {"Handler": "app.restore_from_snapshot"}), "problem", "never runs", DEPLOY),
        (RESTORE, account(configuration=CONFIGURATION | {"Environment": {"Error": {"ErrorCode": "AccessDeniedException", "Message": "no right"}}}), "warning", "no right", "grant kms:Decrypt"),
        (RESTORE, account(configuration=CONFIGURATION | {"Environment": {"Variables": VARIABLES | dict.fromkeys(("RDS_ENGINE_VERSION", "RDS_SOURCE_CLUSTER", "OTEL"), "hunter2")}}), "problem", "other settings than the stage's: RDS_ENGINE_VERSION, RDS_SOURCE_CLUSTER", DEPLOY),
        (RESTORE, account(configuration=CONFIGURATION | {"State": "Failed", "StateReason": "no ENI"}), "problem", "cannot be invoked: no ENI", DEPLOY),
        (RESTORE, account(configuration=CONFIGURATION | {"LastUpdateStatus": "Failed"}), "problem", "its last update failed: no reason given", DEPLOY),
        ("all", account(configuration=CONFIGURATION | {"CodeSha256": "old"}), "problem", "differ in their code", DEPLOY),
        (f"{RESTORE} concurrency", account(concurrency=None), "problem", "is none, so two may run at once", RESERVE),
        (f"{RESTORE} concurrency", account(concurrency=0), "problem", "stopped by hand", RESERVE),
        (f"{APP}-{NAME} concurrency", account(api_concurrency=0), "problem", "by hand", f"delete-function-concurrency --function-name {APP}-{NAME}"),
    ],
    "role": [
        (RESTORE, account(statements=[each for each in POLICIES["db-restore-from-snapshot"]["Statement"] if each["Sid"] != "MoveCurrent"]), "problem", "lacks statements that its function needs: MoveCurrent", DEPLOY),
        (RESTORE, account(boundary=ADMIN), "warning", f"{ADMIN} limits the role", "compare that policy with"),
    ],
    "schedule": [
        (RULE, account(rule=None), "problem", GONE, DEPLOY),
        (RULE, account(rule=FIRING | {"State": "DISABLED"}), "problem", "is disabled", f"aws events enable-rule --name {RULE}"),
        (RULE, account(rule=FIRING | {"ScheduleExpression": "cron(0 12 ? * SUN *)"}), "problem", "fires at cron(0 12", DEPLOY),
        (RULE, account(targets=[]), "problem", "invokes nothing", DEPLOY),
        *((RULE, account(invokers=found), "problem", f"has no permission to invoke {RESTORE}", DEPLOY) for found in (None, f'"arn:of:{RULE}-2"')),
    ],
    "topic": [
        (TOPIC, account(topic=None), "problem", GONE, "aws sns subscribe"),
        (TOPIC, account(subscriptions=[]), "warning", "no subscriptions", "aws sns subscribe"),
        (TOPIC, account(subscriptions=[WAITING]), "warning", "x@y.example has not confirmed", "aws sns subscribe"),
        (CHAT, account(chat=None), "problem", GONE, f"aws sns create-topic --name aurora-refresh-chat, and then select {CHAT} in the channel's configuration"),
    ],
    "topic key": [
        (f"{ACCEPTANCES_KEYS}:key/gone", account(topic={"KmsMasterKeyId": "gone"}, **{f"kms:DescribeKey {ACCEPTANCES_KEYS}:key/gone": None}), "problem", GONE, "aws sns set-topic-attributes"),
        (TOPIC_ALIAS, under_policy(allowing(ROOT)), "problem", f"does not let CloudWatch use it for {TOPIC}", USE),
        (TOPIC_ALIAS, under_policy(allowing(ROOT, "kms:Decrypt"), allowing(CLOUDWATCH)), "problem", NO_RIGHTS, USE),
        (TOPIC_ALIAS, under_policy(allowing({"AWS": EACH_ROLE[1:]}), allowing(CLOUDWATCH)), "problem", NO_RIGHTS, USE),
        (TOPIC_ALIAS, under_policy(allowing("*"), allowing(CLOUDWATCH, Effect="Deny")), "problem", "does not let CloudWatch", "remove what denies it"),
        (TOPIC_ALIAS, under_policy(allowing(ROOT), allowing(CLOUDWATCH, Condition={"x": {"y": ACCEPTANCE}})), "warning", "decide whether CloudWatch may use it", USE),
        (TOPIC_ALIAS, under_policy(allowing("*", NotPrincipal={"AWS": "arn:x"}), allowing(CLOUDWATCH)), "warning", "decide whether the account's roles may", USE),
        (TOPIC_ALIAS, account(topic_key=DISABLED), "problem", "is Disabled", "aws kms enable-key"),
        (TOPIC_ALIAS, account(topic_key=AWS_MANAGED), "problem", "is managed by AWS", "aws sns set-topic-attributes"),
    ],
    "alarm": [
        (ERRORS, account(alarms=ALARMS | {ERRORS: None}), "problem", GONE, DEPLOY),
        (ERRORS, account(alarms=ALARMS | {ERRORS: ALARM | {"AlarmActions": []}}), "problem", f"does not notify {TOPIC}", DEPLOY),
        (ERRORS, account(alarms=ALARMS | {ERRORS: ALARM | {"StateValue": "ALARM", "StateReason": "1 error"}}), "problem", "is on: 1 error", "see what happened in"),
        (ERRORS, account(alarms=ALARMS | {ERRORS: ALARM | {"ActionsEnabled": False}}), "warning", "disabled", "aws cloudwatch enable-alarm-actions "),
        (OVERDUE, account(alarms=ALARMS | {OVERDUE: ALARM | {"StateValue": "ALARM"}}), "warning", "is on", "wait for the first scheduled run"),
    ],
    "API": [
        ("REST API", account(rest_apis=[]), "problem", "is not deployed", DEPLOY),
        ("REST API", account(api_stages=[]), "problem", "a1b2c3 has no stage", DEPLOY),
        ("REST API", account(rest_apis=["c3"]), "problem", "c3 has no permission to invoke its function", DEPLOY),
        ("REST API", account(rest_apis=["a1b2c3", "b2"]), "warning", "function is invoked by a1b2c3, b2, but should have one API", "delete-rest-api --rest-api-id b2"),
        ("REST API", account(stage=WITHOUT_API), "warning", "function is invoked by a1b2c3, but should have none", "delete-rest-api --rest-api-id a1b2c3"),
    ],
}
# Faults beside others, on which they depend.
BESIDE: Table = {
    "topic": [
        ("NOTIFICATION_TOPIC_ARN", account(stage=stage_of(NOTIFICATION_TOPIC_ARN="")), "warning", "is not set: alarms notify nobody", f"{configure_with(f'NOTIFICATION_TOPIC_ARN={TOPIC}')} EMAIL=…"),
    ],
    "parameter": [
        (OTHER_LATEST, account({OTHER_LATEST: "hunter2", OTHER_CURRENT: "dummyvalue"}, stage_of(**TWO), **DOCS), "problem", "not the ARN", put(OTHER_LATEST, "dummyvalue")),
        (CURRENT, beginning(), "problem", GONE, DEPLOY),
        (CURRENT, beginning("dummyvalue"), "warning", "placeholder", LATEST_FIRST),
    ],
    "template": [
        (CURRENT, account(stage=UNNAMED, template=stack_of({}, {})), "warning", "nothing was found that reads it: only", BY_HAND),
        *((CURRENT, account(stage=stage_of(**TWO, RDS_STACK_NAME="", RDS_AFTER_RESTORE="", DOCS_STACK_NAME=stack), template=stack_of(TEMPLATE, {"Snapshot": current}), **DOCS, **{"deployed_stack of docs": None}), "warning", "nothing was found that reads it: only", BY_HAND)
          for stack, current in (("", OTHER_CURRENT), ("main", "/x"))),
        (CURRENT, account(stage=UNNAMED, pipeline=AWAY, **UNSEEN), "warning", f"stack main is not seen: the pipeline deploys it in account {PRODUCTION}", BY_HAND),
    ],
    "deployment": [
        ("rds", account(stage=UNNAMED, deployment=UNKNOWN), "problem", "current was set", configure_with("RDS_STACK_NAME=main")),
        ("rds", account(stage=ELSEWHERE, **NO_STACK), "problem", "stack gone has no DB cluster", configure_with("RDS_STACK_NAME=main")),
        ("rds", account(stage=ELSEWHERE, **NO_STACK, deployment=Deployment(unknown="no stack")), "problem", "no stack", configure_with("RDS_STACK_NAME=main")),
        ("rds", account(pipeline=pipeline_of(stage_named("Deploy", DATABASE | REGION)), **UNSEEN), "warning", f"it in account {ACCEPTANCE}, us-east-1, and", configure_with("RDS_STACK_NAME= RDS_AFTER_RESTORE=")),
        ("rds", account(stage=stage_of(RDS_AFTER_RESTORE=""), pipeline=pipeline_of(stage_named("Deploy", STACK_SET)), **UNSEEN), "warning", "deploys it as instances of a stack set", configure_with("RDS_STACK_NAME=")),
        ("rds", account(stage=UNNAMED), "warning", "relies on the newest successful deploy action alone", configure_with("RDS_STACK_NAME=main")),
        ("rds", account(stage=UNNAMED, pipeline=pipeline_of(stage_named("Deploy", VARIABLE))), "warning", "relies on the newest", configure_with("RDS_STACK_NAME=…")),
        ("P_AFTER_RESTORE", account(stage=stage_of(RDS_AFTER_RESTORE="")), "warning", "personal data arrives unmasked", "docs/after-restore.md"),
        ("rds", account(stage=UNNAMED, pipeline=pipeline_of(stage_named("Deploy", DATABASE | THERE)), **UNSEEN), "warning", "relies on the newest successful deploy action alone", "compare it with the status by hand"),
        (f"stage Review of {PIPELINE}", account(stage=UNNAMED, pipeline=AWAY, **UNSEEN), "warning", "Ask waits", "move Ask"),
        (f"transitions of {PIPELINE}", account(pipeline=AWAY, transitions=TRANSITIONS, **UNSEEN), "warning", "is disabled (release)", "enable-stage-transition"),
    ],
}
# fmt: on


@pytest.mark.parametrize(
    ("table", "check", "row"),
    [(table, check, row) for table in (FAULTS, BESIDE) for check in table for row in table[check]],
)
def test_each_fault_is_named_with_its_fix(table: Table, check: str, row: Row) -> None:
    """And nothing else is, unless it is the fault's cause or its consequence."""
    subject, seen, status, message, fix = row
    beside = [each for each in faults(seen) if (each.subject, each.status) == (subject, status)]
    (found,) = faults(seen) if table is FAULTS else beside
    assert (found.check, found.subject, found.status) == (check, subject, status)
    assert message in found.seen
    assert fix in str(found.fix)
    unseen = ("could not be checked", "is not seen")
    assert found.blind is any(each in found.seen for each in unseen)
    assert "hunter2" not in f"{found.seen}{found.fix}"
    assert f"{subject}: " not in found.seen  # which stands in front already


RIGHT = {
    "as usual": account(),
    "much is other than usual": account(
        {HOLD: None},
        stage_of(UPDATE_SCHEDULE=HOURLY),
        update_rule=UPDATING | {"ScheduleExpression": HOURLY},
        pipeline=pipeline_of(
            # A stack of the same name in another Region.
            stage_named("There", DATABASE | REGION),
            # Another database, approvals beside and behind this one, and a role of this account.
            stage_named("Deploy", ASK | {"runOrder": 2}, DATABASE | HERE, ORDERS),
            stage_named("Next", ASK, ORDERS | {"runOrder": 2}),
            stage_named("Clean", DELETION),
            stage_named("Production", ASK, DATABASE | THERE),
        ),
        # What else the pipeline restores is not the stage's business.
        **{"template of orders": with_resource("Cluster", OTHERS)},
        template=with_resource("X", f"SnapshotIdentifier: {OLD.arn}", Condition="IsProduction"),
        cluster=CLUSTER | {"Engine": "neptune", "HttpEndpointEnabled": False},
        share_key=None,
        # Alarms do not notify the topic for chat.
        topic={},
        chat=UNDER_KEY,
        topic_key=AWS_MANAGED,
    ),
    "approval after Terraform": account(
        pipeline=pipeline_of(stage_named("Apply", TERRAFORM), VERIFY)
    ),
    "a topic's key by actions": under_policy(
        allowing("*", ["KMS:Decrypt", "kms:generatedatakey"]),
        {"Effect": "Deny", "Principal": "*", "NotAction": "kms:*"},
        allowing("*", Effect="Deny", Condition={"Bool": {"aws:SecureTransport": False}}),
    ),
    "a topic's key for each role": under_policy(
        allowing({"AWS": EACH_ROLE}),
        allowing(CLOUDWATCH, Condition={"StringEquals": {"aws:SourceAccount": ACCEPTANCE}}),
    ),
    "a key of the topic for chat": under_policy(
        allowing(ROOT),
        topic={},
        chat={"KmsMasterKeyId": TOPIC_KEY},
        **{f"kms:DescribeKey {TOPIC_KEY}": CUSTOMERS},
    ),
    "no API": account(stage=WITHOUT_API, rest_apis=[]),
    "deployed from a build, and one of the same name elsewhere": account(
        pipeline=pipeline_of(BUILD, stage_named("Deploy", DATABASE | REGION))
    ),
    "deployed with its root": account(
        pipeline=pipeline_of(stage_named("Deploy", ORDERS)),
        **MADE_ELSEWHERE | {"cloudformation:DescribeStacks main": {"RootId": "orders"}},
    ),
    "named by the run": account(pipeline=pipeline_of(stage_named("Deploy", VARIABLE))),
    "deployed from a catalog": account(pipeline=pipeline_of(stage_named("Deploy", CATALOG))),
}
# Properties of the cluster, as YAML, as the stack's parameters evaluate them.
RIGHT |= {
    text: account(template=with_resource("Cluster", text))
    for text in (
        "SnapshotIdentifier: !Sub '${Snapshot}'",
        "SnapshotIdentifier: !If [IsAcceptance, !If [IsProduction, !Ref Text, !Ref Snapshot], x]",
        "DBClusterIdentifier: !If [IsProduction, orders, !Ref AWS::NoValue]",
        "DBClusterIdentifier: !If [IsBig, !Ref AWS::NoValue, !Sub '${Cluster}-writer']",
        "DBClusterIdentifier: !Select [6, !Split [':', !Ref Snapshot]]",
        "EngineVersion: '15'",
        "ManageMasterUserPassword: !ImportValue managed",
        "{ManageMasterUserPassword: null, MasterUserPassword: '{{resolve:secretsmanager:x}}'}",
    )
}
RIGHT |= {
    text: account(template=with_output(text))
    for text in (
        "{Value: !Ref Cluster}",
        "{Export: {Name: x}, Value: !Ref SubnetGroupName}",
        "{Export: {Name: x}, Value: !GetAtt Cluster.Endpoint.Port}",
        "{Export: {Name: x}, Value: !Ref Cluster, Condition: IsProduction}",
    )
}


@pytest.mark.parametrize("seen", RIGHT.values(), ids=RIGHT)
def test_an_unusual_but_valid_setup_is_ok(seen: AcceptanceLook) -> None:
    assert faults(seen) == []


# --- how the doctor looks, and what it says -------------------------------------------------------


@pytest.mark.parametrize("question", sorted(HEALTHY.keys() - {NAMES["caller"]}))
def test_what_may_not_be_looked_at_is_a_warning_that_names_the_action(question: str) -> None:
    found = faults(account(**{question: DENIED}))
    assert {check.status for check in found} == {"warning"}
    assert all("service:Look" in check.seen for check in found if check.blind)
    assert not doctor.is_healthy(found)


def test_what_is_deployed_is_shown() -> None:
    cluster = "cluster main-cluster-1 of stack main, created Sunday 2026-01-04 01:00 UTC"
    found = next(refresh.databases(account()))
    assert found == Check("deployment", "rds", "ok", f"{cluster}, restored from {OLD.arn}")


def test_the_newest_share_is_named_and_those_rejected_are_counted() -> None:
    choice, _ = acceptance.shares(account())
    seen = f"{NEW.arn}, 3 hours old, is the newest; rejected: 2 for engine"
    assert choice == Check("share", "rds", "ok", seen)


def test_the_next_date_is_a_real_one_in_the_window_s_zone() -> None:
    stage = stage_of(
        MAINTENANCE_WINDOW="00:00-07:00 Europe/Amsterdam",
        RESTORE_SCHEDULE="cron(0 4 ? * SUN *) Europe/Amsterdam",
        UPDATE_SCHEDULE="rate(1 hour)",
    )
    hourly = UPDATING | {"ScheduleExpression": "rate(1 hour)"}
    look = account(None, stage, rule=FIRING | TWICE, update_rule=hourly)
    assert [check.seen for check in deployment.schedules(look)] == [
        "enabled, rate(1 hour); next update unknown, because EventBridge decides when a rate fires",
        "enabled, cron(0 2,3 ? * SUN *); next restore Sunday 2026-01-04 04:00 Europe/Amsterdam, unless on hold",
        "enabled, on pipeline events",
        "enabled, rate(15 minutes)",
    ]


def test_a_refusal_is_reported_with_its_reason() -> None:
    message = "User: arn:aws:x is not authorized: no identity-based policy allows it"
    details = {"Code": "AccessDeniedException", "Message": message}
    answer: Any = {"Error": details, "ResponseMetadata": {"HTTPStatusCode": 400}}
    denied = ClientError(answer, "x")
    client = Mock(describe_key=Mock(side_effect=denied))
    with pytest.raises(AwsError) as caught:
        knowing(Look(HEALTHY_STAGE), Mock(return_value=client), {}).key(KEY)
    found = (caught.value.operation, caught.value.code, caught.value.message)
    assert found == ("kms:DescribeKey", "AccessDeniedException", message)


def test_a_name_is_that_of_another_key_in_another_region() -> None:
    def client(_: str, region_name: str, **__: Any) -> Mock:
        return Mock(describe_key=lambda **_: {"KeyMetadata": {"Arn": region_name}})

    look = knowing(Look(HEALTHY_STAGE), client, {})
    found = [look.key("alias/own", region) for region in (None, "us-east-1")]
    assert found == [{"Arn": "eu-west-1"}, {"Arn": "us-east-1"}]


def test_a_template_is_read_with_what_is_known_of_its_stack() -> None:
    """What gives a nested stack its parameters is not seen."""
    cluster = "{Type: AWS::RDS::DBCluster, Properties: {SnapshotIdentifier: !Ref S}}"
    pseudo = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::StackName": "root-Data-1"}
    known = PSEUDO | pseudo
    shown = f"Other: {{Type: X, Properties: {{{', '.join(f'{name[5:]}: !Ref {name}' for name in known)}}}}}"
    stored = "{Type: 'AWS::SSM::Parameter::Value<String>'}"
    conditions = "Conditions: {Is: !Equals [!Ref E, acceptance]}"
    resources = f"Resources: {{A: {cluster}, {shown}, No: {{Type: X, Condition: Is}}}}"
    text = f"{{Parameters: {{S: {{Type: String}}, E: {stored}}}, {conditions}, {resources}}}"
    client = Mock(return_value=Mock(get_template=Mock(return_value={"TemplateBody": text})))
    environment = {"ParameterKey": "E", "ParameterValue": "/env", "ResolvedValue": "production"}
    described = {"Parameters": [{"ParameterKey": "S", "ParameterValue": NEW.arn}, environment]}
    answers = HEALTHY | {"cloudformation:DescribeStacks root-Data-1": described}
    look = knowing(AcceptanceLook(HEALTHY_STAGE), client, answers)
    stack = mainpipeline.DeployedStack("root-Data-1")
    (template,) = filter(None, [look.template(stack)])
    assert template["Parameters"]["S"]["Default"] == NEW.arn
    assert template["Resources"].keys() == {"A", "Other"}
    other = template["Resources"]["Other"]["Properties"]
    assert other == {name[5:]: value for name, value in known.items()}
    assert look.readings(stack) == [("root-Data-1", "root-Data-1", "A", None, "")]
    # The pipeline deploys it elsewhere, and P_STACK_NAME names one of that name here.
    look = knowing(AcceptanceLook(stage_of(RDS_STACK_NAME=stack.name)), client, answers)
    assert look.template(stack._replace(elsewhere="there")) == template


def test_what_is_deployed_is_seen_as_the_use_cases_see_it() -> None:
    aws = InMemoryAws(NOW)
    aws.pipelines.pipelines[PIPELINE] = []
    aws.parameters.put(CURRENT, OLD.arn, None)
    aws.pipelines.begin(PIPELINE)
    aws.pipelines.finish(PIPELINE)
    answers = {each: HEALTHY[each] for each in ("parameters", NAMES["pipeline"])}
    look = knowing(AcceptanceLook(UNNAMED), Mock(), answers)
    vars(look)["aws"] = aws
    assert look.deployment(UNNAMED.settings.databases[0]).value == OLD.arn


def test_what_configure_cannot_find_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks the same questions."""
    seen, notes = account(pipeline=None), list[str]()
    monkeypatch.setattr(configure, "AcceptanceLook", lambda *_: seen)
    named = [replace(UNNAMED, variables={"RDS_STACK_NAME": name}) for name in ("", "own")]
    for stage in (*named, UNNAMED):
        assert configure.find_stack_names(notes.append, stage) == {}
    (stack,) = notes
    assert stack.startswith(f"RDS_STACK_NAME is not set (there is no pipeline {PIPELINE}). Without")


# --- what a stage's files say ---------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the healthy stage, without credentials and nowhere to look for some."""
    (tmp_path / ".chalice").mkdir()
    (tmp_path / CONFIG).write_text('{"app_name": "aurora-refresh", "stages": {}}')
    answers = {**VARIABLES, "MAIN_PIPELINE_ARN": PIPELINE_ARN}
    configure.write(configure.changes(tmp_path, NAME, answers))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def edit(project: Path, **changes: Any) -> None:
    """Change the stage in config.json, as somebody does in an editor."""
    config = json.loads((project / CONFIG).read_text())
    config["stages"][NAME].update(changes)
    (project / CONFIG).write_text(stages.to_text(config))


def test_without_the_account_s_credentials_only_settings_and_policy_files_are_checked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(project, environment_variables=VARIABLES | {"RDS_ENGINE_VERSION": "9.6", "OTEL": "x"})
    file = project / ".chalice" / file_name(NAME, "db-follow-pipeline")
    file.write_text(file.read_text().replace("ssm:PutParameter", "ssm:*"))
    none, *found = doctor.examine(project, NAME)
    assert {check.check for check in found} == {"setting", "policy"}
    assert Check("setting", "RDS_ENGINE", "ok", "aurora-postgresql") in found
    remove = f"correct its name, or remove it: {configure_with('OTEL=')}"
    assert [(check.subject, check.status, check.fix) for check in found if check.fix] == [
        ("RDS_ENGINE_VERSION", "problem", configure_with("RDS_ENGINE_VERSION=…")),
        ("OTEL", "warning", remove),
        (file.name, "problem", f"aurora-refresh configure --stage {NAME}, and then {DEPLOY}"),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(Look, "caller", lambda _: {"Account": PRODUCTION, "Arn": "me"})
        another_s, *with_another_s = doctor.examine(project, NAME)
    monkeypatch.setenv("AWS_PROFILE", "acceptence")
    misspelt, *with_misspelt = doctor.examine(project, NAME)
    assert found == with_another_s == with_misspelt
    assert {none.status, another_s.status, misspelt.status} == {"problem"}
    assert str(none.fix).startswith(f"sign in to account {ACCEPTANCE}")
    assert f"is in {ACCEPTANCE}: use credentials of that account" in another_s.seen
    assert "(acceptence) could not be found" in misspelt.seen
    file.write_text("{")
    assert doctor.examine(project, NAME)[1:] == found
    file.write_bytes(b"\xff")
    with pytest.raises(Failure, match=f"{file.name} is not text"):
        doctor.examine(project, NAME)


def test_a_stage_that_was_never_deployed_is_one_problem(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    nothing = {each: None for each in HEALTHY if each.startswith("lambda:GetFunctionConfiguration")}
    nothing |= {"topic": None, "chat": None}
    seen = account({LATEST: None, CURRENT: None, HOLD: None}, **nothing)
    monkeypatch.setattr(doctor, "AcceptanceLook", lambda *_: seen)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    (only,) = [check for check in doctor.examine(project, NAME) if check.status != "ok"]
    assert (only.subject, only.status, only.fix) == (NAME, "problem", DEPLOY)
    monkeypatch.setenv("AWS_REGION", "us-east-1")  # where aws would carry out the fixes
    assert [each.seen for each in checks.region("Region", seen)] == [
        "of this shell is us-east-1, where the commands below would run"
    ]


def test_what_chalice_deploys_is_wanted(project: Path) -> None:
    """Its own entries count before the stage's."""
    role = ROLE.format(ACCEPTANCE)
    own = {"db-reconcile": {"environment_variables": {"LOG": "DEBUG"}, "manage_iam_role": True}}
    edit(project, manage_iam_role=False, iam_role_arn=role, lambda_functions=own)
    wanted, _ = doctor.wanted_functions(project, stages.load(project, NAME))
    assert {each.role for each in wanted.values()} == {role, None}
    assert wanted["db-reconcile"].variables == VARIABLES | {"LOG": "DEBUG"}


@pytest.mark.parametrize(("suffix", "status"), [("", "warning"), ("-old", "problem")])
def test_of_a_role_of_the_company_only_its_arn_is_checked(suffix: str, status: str) -> None:
    role, name = ROLE.format(ACCEPTANCE), "db-restore-from-snapshot"
    look = account(configuration=CONFIGURATION | {"Role": f"{role}{suffix}"})
    wanted = WANTED | {name: WANTED[name]._replace(role=role)}
    (bad,) = (check for check in deployment.functions(look, wanted) if check.status != "ok")
    assert (bad.check, bad.status, bad.blind) == ("role", status, False)


# --- the command ----------------------------------------------------------------------------------

COMMAND = ["doctor", "--stage", NAME]
GOOD = Check("topic", "one", "ok", "1 confirmed")


def test_people_read_groups_and_a_sum_and_no_control_characters() -> None:
    found = [GOOD, Check("alarm", "two", "problem", "rings:\n fix: \x1b[2J", "look")]
    assert [printable(line) for line in doctor.lines(found)] == [
        "topic",
        "  ok       one: 1 confirmed",
        "alarm",
        "  problem  two: rings: fix: ?[2J",
        "           fix: look",
        "not healthy; problems: 1, warnings: 0, ok: 1",
    ]


def test_a_share_of_neptune_may_be_copied() -> None:
    neptune = CHOICE._replace(newest=NEW._replace(engine="neptune"))
    assert faults(account(choices={"rds": neptune})) == []


def test_what_could_not_be_looked_at_is_not_called_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [GOOD, Check("alarm", "all", *checks.unavailable(DENIED))]
    last = "no problem was found; could not be checked: 1; problems: 0, warnings: 1, ok: 1"
    assert [*doctor.lines(found)][-1] == last
    monkeypatch.setattr(doctor, "examine", lambda *_: found)
    assert CliRunner().invoke(cli, COMMAND).exit_code == 1
    del found[1]
    healthy = CliRunner().invoke(cli, [*COMMAND, "--json"])
    assert healthy.exit_code == 0
    seen = {"check": "topic", "subject": "one", "status": "ok", "seen": "1 confirmed", "fix": None}
    assert json.loads(healthy.stdout) == [seen]


def test_a_stage_that_is_set_wrongly_is_reported_setting_by_setting(project: Path) -> None:
    wrong = {"SOURCE_ACCOUNT": "1", "RDS_ENGINE": "no", "RDS_ENGIN_VERSION": "15"}
    edit(project, environment_variables=VARIABLES | wrong)
    done = CliRunner().invoke(cli, [*COMMAND, "--project", str(project)])
    assert done.exit_code == 1
    listed = re.findall(r"^  problem  (\w+): .*\n +fix: (.*)$", done.stdout, re.MULTILINE)
    fixes = {"SOURCE_ACCOUNT": "…", "RDS_ENGINE": "…", "RDS_ENGIN_VERSION": ""}
    assert listed == [(name, configure_with(f"{name}={fix}")) for name, fix in fixes.items()]


# --- production -----------------------------------------------------------------------------------

SHARING = {"SHARE_WITH_ACCOUNT": ACCEPTANCE, "CLUSTERS": "orders", "SHARE_KMS_KEY_ID": "alias/own"}
PLACE = {stages.ACCOUNT: PRODUCTION, stages.REGION: "eu-west-1"}
WITH_KEY = stages.build("production", SHARING, PLACE)
KEYLESS = replace(WITH_KEY, settings=WITH_KEY.settings._replace(key=None))
CHANGE = "aurora-refresh configure --stage production"
OTHER_CLUSTERS, OTHER_KEY = f"{CHANGE} CLUSTERS=…", f"{CHANGE} SHARE_KMS_KEY_ID=…"
SOURCE = "rds:DescribeDBClusters orders"
ITS_KEY, OWN_KEY = "kms:DescribeKey key", "kms:DescribeKey alias/own"
AVAILABLE = {"Status": "available", "StorageEncrypted": True, "KmsKeyId": "key"}
STOPPED = AVAILABLE | {"Status": "stopped"}
# AWS's key of a cluster is right if copies are shared under another one, and so is a customer's.
SHARED_ANSWERS: Answers = {SOURCE: AVAILABLE, ITS_KEY: AWS_MANAGED, OWN_KEY: CUSTOMERS}


@pytest.mark.parametrize(
    ("stage", "changed", "what", "fix"),
    [
        (WITH_KEY, {SOURCE: None}, "orders problem", OTHER_CLUSTERS),
        (WITH_KEY, {SOURCE: STOPPED}, "orders warning", "do nothing if that ends"),
        (WITH_KEY, {ITS_KEY: None}, "of orders problem", OTHER_KEY),
        (WITH_KEY, {ITS_KEY: DELETED_KEY}, "of orders problem", UNDELETE),
        (WITH_KEY, {ITS_KEY: CUSTOMERS, OWN_KEY: AWS_MANAGED}, "alias/own problem", OTHER_KEY),
        (KEYLESS, {}, "of orders problem", OTHER_KEY),
    ],
)
def test_a_cluster_or_a_key_that_cannot_be_shared_is_named_with_the_fix(
    stage: ProductionStage, changed: Answers, what: str, fix: str
) -> None:
    look = knowing(Look(stage), Mock(), SHARED_ANSWERS | changed)
    found = [*production.clusters(look, stage), *checks.own_keys(look)]
    (bad,) = (check for check in found if check.status != "ok")
    assert f"{bad.subject} {bad.status}" == what
    assert str(bad.fix).startswith(fix)
