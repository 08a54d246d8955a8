"""The doctor's verdicts: each fault that can be seen of a stage, named with its fix, and nothing else.

Most tests change one thing of a healthy account and compare all that the doctor says.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from chalicelib import settings
from chalicelib.domain.deployment import Deployment, Preparation, StackReference
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.errors import Refused
from chalicelib.domain.functions import APP
from chalicelib.domain.ledger import Run
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Choice, Snapshot
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases.deployments import unreadable_stack
from cli import configure, doctor, mainpipeline, stacks, stages, templates
from cli.doctor import acceptance, checks, deployment, production, refresh
from cli.doctor import template as template_checks
from cli.doctor.checks import Check
from cli.doctor.look import AcceptanceLook, Look, Shares, Unavailable
from cli.main import cli
from cli.output import printable
from cli.policies import file_name, policies
from cli.stages import CONFIG, AcceptanceStage, ProductionStage, StageError
from tests.fakes import ACCEPTANCE, PRODUCTION, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME, TWO
from tests.stage import STAGE as REQUIRED

# --- a healthy acceptance stage and its account ---------------------------------------------------

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 4, 1, tzinfo=UTC)
A_STRING = {"Version": 1, "Type": "String", "LastModifiedDate": NOW}
NEW, OLD = snapshot("orders-2"), snapshot("orders-1", created=NOW - timedelta(days=14))
NAME = "acceptance"
DEPLOY = f"aurora-refresh deploy --stage {NAME}"
PIPELINE_ARN = f"arn:aws:codepipeline:eu-west-1:{ACCEPTANCE}:{PIPELINE}"
TOPIC = f"arn:aws:sns:eu-west-1:{ACCEPTANCE}:aurora-refresh"
HOLD = "/acceptance/refresh/hold"
RESTORE = f"{APP}-{NAME}-db-restore-from-snapshot"
UPDATE = f"{APP}-{NAME}-db-update-latest-snapshot-id"
RULE, FOLLOW_RULE = f"{RESTORE}-event", f"{APP}-{NAME}-db-follow-pipeline-event"
BEFORE, AFTER = f"{APP}-{NAME}-before", f"{APP}-{NAME}-after"
# The keys of production's shares, of acceptance's copies and of its topics.
KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234"
COPY_KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
TOPIC_KEY = f"arn:aws:kms:eu-west-1:{ACCEPTANCE}:key/topics"
CUSTOMERS = {"KeyManager": "CUSTOMER", "KeyState": "Enabled"}
AWS_MANAGED = CUSTOMERS | {"KeyManager": "AWS"}
STANDARD = {"status": "ACTIVE", "type": "STANDARD"}
MACHINE = f"arn:aws:states:eu-west-1:{ACCEPTANCE}:stateMachine:mask"
VARIABLES = REQUIRED | {
    "NOTIFICATION_TOPIC_ARN": TOPIC,
    "SSM_REFRESH_HOLD_NAME": HOLD,
    "RDS_STACK_NAME": "main",
}

Answers = dict[str, Any]


def stage_of(**variables: str) -> AcceptanceStage:
    """The stage with other variables; "" takes one away."""
    given = {name: value for name, value in (VARIABLES | variables).items() if value}
    return AcceptanceStage(NAME, given, Settings.from_environment(given), PIPELINE_ARN)


HEALTHY_STAGE = stage_of()


def holding(values: Mapping[str, Any]) -> Answers:
    """The parameters, some with other values; None takes one away."""
    healthy = {PIPELINE_NAME: PIPELINE, LATEST: NEW.arn, CURRENT: OLD.arn, HOLD: "dummyvalue"}
    return {
        name: {"Value": value, **A_STRING} if isinstance(value, str) else value
        for name, value in (healthy | values).items()
        if value
    }


SHARES = Shares(7, (OLD, NEW), Choice(NEW, frozenset({"orders"}), {"engine": 2}), NEW)


def sharing(key_arn: Any = KEY, key: Any = CUSTOMERS, region: str = "", **changed: Any) -> Answers:
    """What AWS answers if production shares other snapshots, or under another key."""
    shares = SHARES._replace(**changed)
    share = shares.newest.arn if isinstance(shares.newest, Snapshot) else ""
    asked = {f"rds:DescribeDBClusterSnapshots {share}": key_arn, f"kms:DescribeKey {key_arn}": key}
    keys = {f"{name} {region}".rstrip(): answer for name, answer in asked.items()}
    return {"shares": {"rds": shares}} | keys


def action(category: str, name: str, **more: Any) -> Answers:
    kind = {"category": category, "provider": "CloudFormation" if category == "Deploy" else "x"}
    return {"name": name, "actionTypeId": kind, **more}


def stage_named(name: str, *actions: Answers, **more: Any) -> Answers:
    return {"name": name, "actions": list(actions), **more}


BUILD = stage_named("Build", action("Build", "Compile"))
DATABASE = action("Deploy", "Database", configuration={"StackName": "main"}, runOrder=2)
VERIFY = stage_named("Verify", action("Approval", "SignOff"))


def pipeline_of(*stages_: Answers, **more: Any) -> Answers:
    """The main pipeline, with other stages or another mode."""
    given = [*stages_] or [BUILD, stage_named("Deploy", DATABASE), VERIFY]
    return {"executionMode": "SUPERSEDED", "stages": given, **more}


TEMPLATE = templates.parsed((PROJECT / "infrastructure/main-pipeline.yaml").read_text())
# What a template has that serves production and acceptance alike.
SHARED = templates.parsed(f"""
Parameters:
  Environment: {{Type: String, Default: production}}
  Path: {{Type: String, Default: /other}}
  Text: {{Type: String, Default: {CURRENT}}}
Conditions:
  IsAcceptance: !Equals [!Ref Environment, acceptance]
  IsProduction: !Not [!Condition IsAcceptance]
  IsRestored: !And [!Condition IsAcceptance, !Or [!Condition IsProduction, !Equals [a, a]]]
  IsBig: !Equals [!Ref AWS::Region, us-east-1]
Mappings:
  Environments:
    acceptance: {{snapshot: "{NEW.arn}"}}
""")
TEMPLATE = {**TEMPLATE, **SHARED, "Parameters": TEMPLATE["Parameters"] | SHARED["Parameters"]}


def stack_of(template: Answers, **values: str) -> mainpipeline.StackTemplate:
    return mainpipeline.StackTemplate.of(template, values)


def with_resource(name: str, text: str, **changed: Any) -> mainpipeline.StackTemplate:
    """Acceptance's stack of the template in which a resource has other properties, given as YAML."""
    resource = {**TEMPLATE["Resources"].get(name, TEMPLATE["Resources"]["Cluster"]), **changed}
    properties = resource["Properties"] | templates.parsed(text)
    given = {key: value for key, value in properties.items() if value is not None}
    resources = {**TEMPLATE["Resources"], name: {**resource, "Properties": given}}
    template = {**TEMPLATE, "Resources": resources}
    return stack_of(template, Environment="acceptance", Path=CURRENT)


def restored_from(snapshot: str) -> mainpipeline.StackTemplate:
    return with_resource("Cluster", f"SnapshotIdentifier: {snapshot}")


CLUSTER = {
    "DBClusterIdentifier": "main-cluster-1",
    "ClusterCreateTime": NOW,
    "Engine": "aurora-postgresql",
}
EMAIL = {"SubscriptionArn": f"{TOPIC}:1", "Protocol": "email", "Endpoint": "a@b.example"}
LAMBDA = {"Runtime": "python3.11", "Architectures": ["x86_64"], "MemorySize": 256, "Timeout": 120}
ENDS = {
    "source": ["aws.codepipeline"],
    "detail-type": ["CodePipeline Pipeline Execution State Change"],
    "detail": {"state": ["SUCCEEDED", "FAILED", "STOPPED", "CANCELED"]},
}
FIRES = {
    "db-update-latest-snapshot-id": {"ScheduleExpression": "cron(0 2 ? * SUN *)"},
    "db-restore-from-snapshot": {"ScheduleExpression": "cron(0 4 ? * SUN *)"},
    "db-follow-pipeline": {"EventPattern": json.dumps(ENDS)},
    "db-reconcile": {"ScheduleExpression": "rate(15 minutes)"},
}


def alarm_of(**changed: Any) -> Answers:
    return {"StateValue": "OK", "ActionsEnabled": True, "AlarmActions": [TOPIC]} | changed


def deployed(stage: AcceptanceStage) -> Answers:
    """What AWS answers about the alarms, the functions, their roles and their rules."""
    answers: Answers = {"alarms": {name: alarm_of() for name in stacks.alarm_names(stage)}}
    invocations, wanted = stacks.invocations(stage), policies(stage)
    for function, name in stacks.function_names(stage).items():
        role, rule = f"{APP}-{NAME}-{function}", f"{name}-event"
        arn_, rule_arn = f"arn:of:{name}", f"arn:of:{rule}"
        invoker = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Condition": {"ArnLike": {"AWS:SourceArn": rule_arn}},
        }
        configuration = {
            **LAMBDA,
            "FunctionArn": arn_,
            "Role": f"arn:aws:iam::{ACCEPTANCE}:role/{role}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Environment": {"Variables": dict(stage.variables)},
        }
        fires = FIRES.get(function, {})
        answers |= {
            f"lambda:GetFunctionConfiguration {name}": configuration,
            f"lambda:GetFunctionConcurrency {name}": 1,
            f"lambda:GetFunctionEventInvokeConfig {name}": invocations.get(name),
            f"lambda:GetPolicy {name}": json.dumps({"Statement": [invoker]}),
            f"policies of {role}": [wanted[function]],
            f"iam:ListAttachedRolePolicies {role}": [],
            f"iam:GetRole {role}": None,
            f"events:DescribeRule {rule}": {"State": "ENABLED", "Arn": rule_arn, **fires},
            f"events:ListTargetsByRule {rule}": [arn_],
        }
    return answers


def unreserved(number: int, quota: int = 1000) -> Answers:
    return {"UnreservedConcurrentExecutions": number, "ConcurrentExecutions": quota}


DEPLOYED = deployed(HEALTHY_STAGE)
# The questions about the rest by their short names, and the healthy answers.
QUESTIONS: dict[str, tuple[str, Any]] = {
    "pipeline": (f"codepipeline:GetPipeline {PIPELINE}", pipeline_of()),
    "transitions": (f"codepipeline:GetPipelineState {PIPELINE}", []),
    "runs": ("runs", [Run("1", "Succeeded", NOW, NOW)]),
    "template": ("template of main", stack_of(TEMPLATE)),
    "candidate": ("candidate of rds", NEW),
    "present": ("present of rds", OLD),
    "deployment": ("deployment of rds", Deployment(OLD.arn)),
    "stack": (
        "deployed_stack of rds",
        SeenStack("UPDATE_COMPLETE", {"Cluster": "main-cluster-1"}, {}),
    ),
    "cluster": ("rds:DescribeDBClusters main-cluster-1", CLUSTER),
    "machine": (f"states:DescribeStateMachine {MACHINE}", STANDARD),
    "preparation": ("preparation of rds", None),
    "share_key": (f"rds:DescribeDBClusterSnapshots {NEW.arn}", KEY),
    "copy_key": (f"kms:DescribeKey {COPY_KEY}", CUSTOMERS),
    "before": (f"cloudformation:DescribeStacks {BEFORE}", {"StackStatus": "CREATE_COMPLETE"}),
    "after": (f"cloudformation:DescribeStacks {AFTER}", {"StackStatus": "CREATE_COMPLETE"}),
    "packaged": (f"cloudformation:DescribeStacks {APP}-{NAME}", None),
    "topic": (f"sns:GetTopicAttributes {TOPIC}", {}),
    "subscriptions": (f"sns:ListSubscriptionsByTopic {TOPIC}", [EMAIL]),
    "rest_apis": ("rest_apis", ["a1b2c3"]),
    "unreserved": ("lambda:GetAccountSettings", unreserved(900)),
}
# Those about single things of `deployed`.
SINGLE = {
    "configuration": f"lambda:GetFunctionConfiguration {RESTORE}",
    "concurrency": f"lambda:GetFunctionConcurrency {RESTORE}",
    "update_concurrency": f"lambda:GetFunctionConcurrency {UPDATE}",
    "api_concurrency": f"lambda:GetFunctionConcurrency {APP}-{NAME}",
    "retries": f"lambda:GetFunctionEventInvokeConfig {RESTORE}",
    "invokers": f"lambda:GetPolicy {RESTORE}",
    "inline": f"policies of {RESTORE}",
    "attached": f"iam:ListAttachedRolePolicies {RESTORE}",
    "boundary": f"iam:GetRole {RESTORE}",
    "rule": f"events:DescribeRule {RULE}",
    "targets": f"events:ListTargetsByRule {RULE}",
    "follow_rule": f"events:DescribeRule {FOLLOW_RULE}",
}
NAMES = SINGLE | {name: question for name, (question, _) in QUESTIONS.items()}


class Account(NamedTuple):
    """A stage, and what AWS answers about it."""

    stage: AcceptanceStage
    answers: Answers

    def look(self) -> AcceptanceLook:
        """A look at the account, in which no other question may be asked."""
        nothing = Mock(client=Mock(side_effect=AssertionError("not known")))
        return AcceptanceLook(self.stage, nothing, NOW, self.answers)


def account(
    values: Mapping[str, Any] | None = None, stage: AcceptanceStage = HEALTHY_STAGE, **answers: Any
) -> Account:
    """The healthy account with other values of parameters, and with other answers."""
    healthy = {"parameters": holding(values or {})} | dict(QUESTIONS.values())
    changed = {NAMES.get(name, name): answer for name, answer in answers.items()}
    own = DEPLOYED if stage is HEALTHY_STAGE else deployed(stage)
    return Account(stage, own | sharing() | healthy | changed)


DENIED = Unavailable("service:Look", "AccessDenied: you may not", denied=True)
WOULD_BE = LAMBDA | {"reserved_concurrency": 1, "iam_role_arn": None}


def judged(seen: Account) -> list[Check]:
    """Every check of what is in the account."""
    look, wanted = seen.look(), policies(seen.stage)
    entries = dict.fromkeys(wanted, WOULD_BE | {"Variables": seen.stage.variables})
    return [
        *acceptance.parameters(look),
        *acceptance.pipeline(look),
        *template_checks.reading(look),
        *refresh.databases(look),
        *refresh.obstacles(look),
        *acceptance.shares(look),
        *acceptance.copy_keys(look),
        *deployment.own_stacks(look),
        *deployment.functions(look, entries),
        *deployment.roles(look, wanted, entries),
        *deployment.rest_api("REST API", look),
        *deployment.schedules(look),
        *deployment.topic(look),
        *deployment.chat_topic(look),
        *deployment.topic_keys(look),
        *deployment.alarms(look),
    ]


def faults(seen: Account) -> list[Check]:
    """What is not ok, each with its fix."""
    found = judged(seen)
    assert [check for check in found if bool(check.fix) == (check.status == "ok")] == []
    return [check for check in found if check.status != "ok"]


# --- what a fault is made of ----------------------------------------------------------------------

SHARE_FIRST = "have production share a snapshot that can be restored here first (see share and key), and run the doctor again"
NEXT_RUN = "the next run of the pipeline, whoever starts it, restores what this writes to current"
GONE = "does not exist"


def put(name: str, value: str, over: str = " --overwrite") -> str:
    return f"aws ssm put-parameter --name {name} --type String --value {value}{over}"


def configure_with(answer: str) -> str:
    return f"aurora-refresh configure --stage {NAME} {answer}, and then {DEPLOY}"


def with_stack(name: str) -> str:
    return configure_with(f"RDS_STACK_NAME={name}")


WRITE_CURRENT = f"{NEXT_RUN}: {put(CURRENT, NEW.arn)}"
KEEPS = "this writes what is deployed to current, so that nothing is restored"
KEEP_CURRENT = f"{KEEPS}: {put(CURRENT, OLD.arn)}"
RECREATE_CURRENT = f"{KEEPS}: aws ssm delete-parameter --name {CURRENT} && {put(CURRENT, OLD.arn)}"
RESOLVED = SeenStack("UPDATE_COMPLETE", {"Cluster": "main-cluster-1"}, {CURRENT: OLD.arn})
ROLLED_BACK = RESOLVED._replace(status="UPDATE_ROLLBACK_COMPLETE")
BINARY = {"Value": "hunter2", **A_STRING, "Type": "SecureString"}
ON_HOLD = json.dumps({"until": "2026-01-19", "reason": "release", "by": "Kim"})


def refused(reason: Reason, why: str = "it would not do") -> dict[str, Any]:
    """What the schedule would say of *latest*."""
    return {"candidate": Refused(reason, why)}


OTHER = "codepipeline:GetPipeline main"
BY_HAND = "compare its template with docs/main-pipeline.md"
READ_RIGHTLY = (
    f"give the template a parameter of Type: AWS::SSM::Parameter::Value<String> with Default: {CURRENT}, "
    "and write SnapshotIdentifier: !Ref for it, as infrastructure/main-pipeline.yaml does"
)
ROLE = "arn:aws:iam::{}:role/deployer"
DATABASE_STAGE = stage_named("Deploy", DATABASE)
ASK = action("Approval", "Ask")
TERRAFORM = action("Build", "Terraform", runOrder=2)
APPLY = stage_named("Apply", TERRAFORM)
ORDERS = action("Deploy", "Orders", configuration={"StackName": "orders"})
BOTH = stage_named("Deploy", DATABASE, ORDERS)
DELETION = action("Deploy", "X", configuration={"StackName": "x", "ActionMode": "DELETE_ONLY"})
REPLACING = {"configuration": {"StackName": "main", "ActionMode": "REPLACE_ON_FAILURE"}}
SKIPPED = {"beforeEntry": {"conditions": [{"result": "SKIP"}]}}


def deploying(**changed: Any) -> Answers:
    """The pipeline that deploys the database in another way."""
    return pipeline_of(stage_named("Deploy", DATABASE | changed))


OFF = {"enabled": False, "disabledReason": "release"}
TRANSITIONS = [
    {"stageName": "Source"},
    {"stageName": "Build", "inboundTransitionState": {"enabled": True}},
    {"stageName": "Deploy", "inboundTransitionState": OFF},
    {"stageName": "Verify", "inboundTransitionState": OFF},
]
ENABLE = f"aws codepipeline enable-stage-transition --pipeline-name {PIPELINE} --stage-name Deploy"
UNNAMED, ELSEWHERE = stage_of(RDS_STACK_NAME=""), stage_of(RDS_STACK_NAME="gone")
NO_STACK = {"template of gone": stack_of({}), "stack": None}
PREPARING = stage_of(RDS_AFTER_RESTORE=MACHINE)
READY = CLUSTER | {"HttpEndpointEnabled": True, "MasterUserSecret": {"SecretArn": "x"}}
UNKNOWN = Deployment(unknown="current was set at about the time")


BEGUN = NOW - timedelta(hours=2, minutes=1)
DONE, LONG = Run("2", "Succeeded", NOW, NOW), Run("1", "InProgress", BEGUN, NOW)


def seen_stack(status: str, *clusters: str, name: str = "main") -> Account:
    """The account whose stack is seen like that."""
    stack = SeenStack(status, dict.fromkeys(clusters or ["Cluster"], "main-cluster-1"), {})
    seen = unreadable_stack(StackReference("main"), stack) or Deployment()
    return account(stage=stage_of(RDS_STACK_NAME=name), stack=stack, deployment=seen)


def choosing(reason: Reason, rejected: Mapping[str, int], *clusters: str) -> Account:
    """The account with shares of which none can be chosen."""
    choice = Choice(None, frozenset(clusters), rejected)
    return account(**sharing(choice=choice, newest=Refused(reason, "none can be chosen")))


STALE = OLD._replace(created=NOW - timedelta(days=15))
COPYING = stage_of(RDS_COPY_KMS_KEY_ID=COPY_KEY)
CHANGE_COPY_KEY = configure_with("RDS_COPY_KMS_KEY_ID=…")
DELETED_KEY = {"KeyManager": "CUSTOMER", "KeyState": "PendingDeletion", "Arn": "arn:y"}
UNDELETE = "aws kms cancel-key-deletion --key-id arn:y && aws kms enable-key --key-id arn:y"
OPEN_KEY = f'"Principal": {{"AWS": "arn:aws:iam::{ACCEPTANCE}:root"}}'
ALLOW_KEY, COPY_AGAIN = "allow kms:DescribeKey to the identity in use", "--kms-key-id"


def hidden_key(why: str) -> Account:
    return account(**sharing(key=Unavailable("kms:DescribeKey", why, denied=True)))


CONFIGURATION, FIRING = DEPLOYED[SINGLE["configuration"]], DEPLOYED[SINGLE["rule"]]


def configured(**changed: Any) -> Account:
    return account(configuration=CONFIGURATION | changed)


VARIABLES_ = HEALTHY_STAGE.variables
OTHER_SETTINGS = {"Variables": {**VARIABLES_, "RDS_ENGINE_VERSION": "hunter2", "TOKEN": "hunter2"}}
RETRIES = stacks.invocations(HEALTHY_STAGE)[RESTORE]
REMAKE = (
    f"aws cloudformation delete-stack --stack-name {AFTER} && aws cloudformation wait "
    f"stack-delete-complete --stack-name {AFTER} && {DEPLOY}"
)
PACKAGE = f" && aurora-refresh package --stage {NAME}, and then deploy its templates"
GO_ON = (
    f"aws cloudformation continue-update-rollback --stack-name {AFTER} && aws cloudformation wait "
    f"stack-rollback-complete --stack-name {AFTER} && {DEPLOY}"
)
RESERVE = f"put-function-concurrency --function-name {RESTORE} --reserved-concurrent-executions 1"
FREE = "delete-function-concurrency --function-name"
POLICY = policies(HEALTHY_STAGE)["db-restore-from-snapshot"]
FIRST, *OTHERS = POLICY["Statement"]
LESS = {"Statement": [each for each in POLICY["Statement"] if each["Sid"] != "MoveCurrent"]}
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
# What aws lambda add-permission --principal "*" writes.
ANYBODY = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl"}
WAITING = {"SubscriptionArn": "PendingConfirmation", "Protocol": "email", "Endpoint": "x@y.example"}
ALARMS = DEPLOYED["alarms"]
ERRORS, OVERDUE = stacks.alarm_names(HEALTHY_STAGE)[0], f"{APP}-{NAME}-refresh-overdue"
WITHOUT_API = stage_of(PIN_API_ENABLED="false")


def with_alarm(name: str, **changed: Any) -> Account:
    return account(alarms=ALARMS | {name: alarm_of(**changed)})


ROOT = {"AWS": f"arn:aws:iam::{ACCEPTANCE}:root"}
CLOUDWATCH = {"Service": ["cloudwatch.amazonaws.com", "s3.amazonaws.com"]}
CHAT = f"{TOPIC}-chat"
USE = '"Action": ["kms:Decrypt", "kms:GenerateDataKey*"]'
NO_RIGHTS = "does not let the account's roles use it"


SELECT = f"select {CHAT} in the channel's configuration"


def with_chat(topic: Any, subscriptions: Any, own: str = TOPIC) -> Account:
    """The account of a stage that notifies a chat as well."""
    asked = {"GetTopicAttributes": topic, "ListSubscriptionsByTopic": subscriptions}
    answers = {f"sns:{action} {CHAT}": answer for action, answer in asked.items()}
    return account(stage=stage_of(CHAT_TOPIC_ARN=CHAT, NOTIFICATION_TOPIC_ARN=own), **answers)


ROLES = {
    "AWS": [
        DEPLOYED[f"lambda:GetFunctionConfiguration {APP}-{NAME}-{each}"]["Role"] for each in FIRES
    ]
}
TO_OTHERS = {
    "Effect": "Deny",
    "Principal": "*",
    "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}},
}
OTHERWISE = {"Effect": "Deny", "Principal": "*", "NotAction": "kms:*"}
NOT_CHECKED = f"aws kms get-key-policy --key-id {TOPIC_KEY} --policy-name default"


def letting(*principals: Any, action: Any = "kms:*", **more: Any) -> Answers:
    """A key's policy that allows them this, with another last statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    statements = [statement | {"Principal": each} for each in principals]
    return {"Statement": [*statements, statement | more] if more else statements}


def under_key(
    policy: Any = None, topic: str = TOPIC, keys: tuple[str, ...] = (TOPIC_KEY,), **metadata: str
) -> Account:
    """The account in which a topic is under a key."""
    chat = CHAT if topic == TOPIC else topic
    stage = replace(stage_of(CHAT_TOPIC_ARN=chat), topic_keys=keys)
    topics: Answers = {f"sns:GetTopicAttributes {each}": {} for each in (TOPIC, chat)}
    topics[f"sns:ListSubscriptionsByTopic {chat}"] = [EMAIL]
    topics[f"sns:GetTopicAttributes {topic}"] = {"KmsMasterKeyId": "alias/topics"}
    # The topic's account is the key's, and may be another than the stage's.
    alias = f"{topic.rpartition(':')[0].replace('sns', 'kms')}:alias/topics"
    key = {f"kms:DescribeKey {alias}": CUSTOMERS | {"Arn": TOPIC_KEY} | metadata}
    written = policy if isinstance(policy, Unavailable) else json.dumps(policy)
    return account(stage=stage, **topics, **key, **{f"kms:GetKeyPolicy {TOPIC_KEY}": written})


# Of each check and its subject: what is in the account, how bad that is, what is said, and the fix.
Row = tuple[Account, str, str, str]
# fmt: off
FAULTS: dict[str, list[Row]] = {
    f"parameter {PIPELINE_NAME}": [
        (account({PIPELINE_NAME: None}), "problem", GONE, put(PIPELINE_NAME, PIPELINE, "")),
        (account({PIPELINE_NAME: "the main one"}), "problem", "not a pipeline's name", put(PIPELINE_NAME, PIPELINE)),
    ],
    f"parameter {LATEST}": [
        (account({LATEST: BINARY}), "problem", "SecureString", put(LATEST, "dummyvalue", "")),
        (account({LATEST: "dummyvalue"}), "warning", "placeholder", "nothing before the first update: Sunday 2026-01-04 02:00 UTC"),
        (account({LATEST: "hunter2"}), "problem", "not the ARN", put(LATEST, "dummyvalue")),
        (account({LATEST: OLD.arn}, **refused(Reason.SNAPSHOT_GONE)), "problem", "not promote it", put(LATEST, NEW.arn)),
        (account(**refused(Reason.SNAPSHOT_STALE)), "problem", "not promote it", Reason.SNAPSHOT_STALE.next_step),
        # Where copies are asked for, a share itself is never proposed.
        (account(stage=COPYING, **refused(Reason.COPY_PENDING, "40 % done")), "warning", "40 % done", Reason.COPY_PENDING.next_step),
    ],
    f"parameter {CURRENT}": [
        (account({CURRENT: "dummyvalue"}, deployment=Deployment()), "warning", "placeholder", WRITE_CURRENT),
        (account({CURRENT: "dummyvalue"}), "problem", "placeholder", KEEP_CURRENT),
        (account({CURRENT: "hunter2"}), "problem", "not the ARN", KEEP_CURRENT),
        (account({CURRENT: "hunter2"}, deployment=Deployment("hunter2")), "problem", "not the ARN", WRITE_CURRENT),
        (account({CURRENT: BINARY | {"Value": OLD.arn}}), "problem", "SecureString", RECREATE_CURRENT),
        (account({CURRENT: None}, deployment=Deployment(), stack=RESOLVED), "problem", GONE, KEEP_CURRENT),
        (account({CURRENT: None}, deployment=Deployment(), stack=ROLLED_BACK), "problem", GONE, WRITE_CURRENT),
        (account({CURRENT: arn("orders-1", "999999999999")}), "problem", "a stranger's data", KEEP_CURRENT),
        (account({CURRENT: OLD.arn.replace("eu-west-1", "eu-west-2")}), "problem", "is in eu-west-2", KEEP_CURRENT),
        (account({CURRENT: arn("orders-0")}, present=None), "warning", "no longer exists", KEEP_CURRENT),
        (account(present=OLD._replace(engine="docdb")), "problem", "docdb", WRITE_CURRENT),
    ],
    f"parameter {HOLD}": [
        (account({HOLD: "until Thursday"}), "problem", "counts as a hold", put(HOLD, "dummyvalue")),
        (account({HOLD: ON_HOLD}), "warning", "on hold until 2026-01-19 by Kim: release", put(HOLD, "dummyvalue")),
    ],
    "pipeline main": [
        (account({PIPELINE_NAME: "main"}, **{OTHER: None}), "problem", GONE, put(PIPELINE_NAME, PIPELINE)),
        (account({PIPELINE_NAME: "main"}, **{OTHER: pipeline_of(), "codepipeline:GetPipelineState main": []}),
         "problem", f"may start only {PIPELINE}", configure_with(f"MAIN_PIPELINE_ARN={PIPELINE_ARN.removesuffix(PIPELINE)}main")),
    ],
    f"pipeline {PIPELINE}": [
        (account(pipeline=None), "problem", GONE, f"aurora-refresh configure --stage {NAME} MAIN_PIPELINE_ARN="),
        (account(pipeline=pipeline_of(executionMode="PARALLEL")), "problem", "two runs may restore at once", "aws codepipeline update-pipeline"),
    ],
    "pipeline runs": [
        *((account(runs=[Run("2", each, NOW, NOW)]), "warning", each, "pipelineExecutionId=2") for each in ("Failed", "Stopped", "Cancelled")),
        (account(runs=[DONE, LONG]), "warning", "1: InProgress since Saturday 2026-01-03 22:59 UTC", f"get-pipeline-state --name {PIPELINE}"),
    ],
    f"template {CURRENT}": [
        (account(template=stack_of({}), pipeline=pipeline_of(BUILD)), "warning", "nothing was found that reads it", BY_HAND),
    ],
    "template main": [
        *((account(template=restored_from(snapshot)), "problem", message, READ_RIGHTLY) for snapshot, message in [
            (f"'{{{{resolve:ssm:{CURRENT}}}}}'", f"reads {CURRENT} as {{{{resolve:ssm:…}}}}, which CloudFormation compares as text"),
            (f"'{{{{resolve:ssm:{CURRENT}:3}}}}'", "never restored again"),
            ("!Sub '{{resolve:ssm:${Path}}}'", f"reads {CURRENT} as"),
            ("!Sub ['{{resolve:ssm:${Own}}}', {Own: !Ref Path}]", f"reads {CURRENT} as"),
            ("!Join ['', ['{{resolve:ssm:', !Ref Path, '}}']]", f"reads {CURRENT} as"),
            ("!Join ['', ['{{resolve:ssm:', !GetAtt Stored.Value, '}}']]", "reads a parameter as"),
            ("!FindInMap [Environments, !Ref Environment, snapshot]", "a constant snapshot in the template: it is never restored again"),
            ("!If [Unknown, !Ref Text, !Ref AWS::NoValue]", "the template's parameter Text of type String, which is the text itself"),
        ]),
        *((account(template=restored_from(snapshot)), "warning", "source of Cluster's SnapshotIdentifier is unknown", BY_HAND) for snapshot in [
            "!GetAtt Chooser.Arn",
            "!FindInMap [Environments, !Ref AWS::AccountId, snapshot]",
            "!Join [':', [arn, !GetAtt Chooser.Arn]]",
            "!Sub '${AWS::StackName}-snapshot'",
        ]),
        (account(template=stack_of(TEMPLATE, Snapshot=LATEST)), "problem", "would restore by accident", READ_RIGHTLY),
        (account(template=stack_of(TEMPLATE, Snapshot="/x")), "problem", "Cluster reads /x, which is not a parameter of this stage", READ_RIGHTLY),
        (account(template=None), "warning", "has not been deployed yet", BY_HAND),
        *((account(template=with_resource("Cluster", f"{name}: {value}")), status, name, name) for name, value, status in [
            ("DBClusterIdentifier", "acceptance", "problem"),
            ("DeletionProtection", "'true'", "warning"),
            ("ManageMasterUserPassword", "false", "warning"),
            ("EngineVersion", "null", "warning"),
            ("KmsKeyId", "null", "warning"),
            ("MasterUsername", "admin", "warning"),
        ]),
        (account(template=with_resource("Cluster", "{}", UpdateReplacePolicy="Snapshot")),
         "warning", "one more snapshot", "write UpdateReplacePolicy: Delete for Cluster"),
        (account(template=with_resource("Writer", "DBInstanceIdentifier: x")),
         "problem", "every refresh fails", "remove DBInstanceIdentifier from Writer"),
        (account(pipeline=deploying(**REPLACING)), "warning", "is deleted", "write ActionMode: CREATE_UPDATE"),
    ],
    "deployment rds": [
        (account(stage=ELSEWHERE, **NO_STACK), "problem", "does not exist in account", with_stack("main")),
        (account(stage=ELSEWHERE, **NO_STACK, deployment=Deployment(unknown="no stack")), "problem", "no stack", with_stack("main")),
        (account(stack=None), "warning", "not been deployed", "nothing before the pipeline's first run"),
        (seen_stack("UPDATE_IN_PROGRESS"), "warning", "is UPDATE_IN_PROGRESS", "run the doctor again"),
        (seen_stack("UPDATE_ROLLBACK_FAILED"), "problem", "continue its rollback", "aws cloudformation continue-update-rollback --stack-name main"),
        (seen_stack("ROLLBACK_FAILED"), "problem", "is ROLLBACK_FAILED", "aws cloudformation delete-stack --stack-name main"),
        (seen_stack("UPDATE_COMPLETE", "B", "A"), "problem", "name one in STACK_NAME: main/A, main/B", with_stack("main/A or main/B")),
        (seen_stack("UPDATE_COMPLETE", name="main/Orders"), "problem", "has no DB cluster Orders; it has main/Cluster", with_stack("main/Cluster")),
        (account(cluster=None), "problem", "does not exist any more", "pin another snapshot"),
        (account(deployment=UNKNOWN), "problem", "it cannot be seen what is deployed: current was set", "Correct what is named above"),
        (account(stage=UNNAMED), "warning", "goes by the newest successful deploy action alone", with_stack("main")),
        (account(pipeline=pipeline_of(BOTH), template=stack_of(TEMPLATE, Snapshot="/x"), **{"template of orders": stack_of(TEMPLATE)}),
         "problem", f"is restored from /x, not from {CURRENT}", with_stack("orders")),
    ],
    f"deployment {MACHINE}": [
        (account(stage=PREPARING, cluster=READY, machine=None), "problem", GONE, configure_with("RDS_AFTER_RESTORE=…")),
        (account(stage=PREPARING, cluster=READY, machine=STANDARD | {"status": "DELETING"}), "problem", "is DELETING", configure_with("RDS_AFTER_RESTORE=…")),
        (account(stage=PREPARING, cluster=READY, machine=STANDARD | {"type": "EXPRESS"}), "problem", "is EXPRESS", configure_with("RDS_AFTER_RESTORE=…")),
    ],
    "deployment cluster main-cluster-1": [
        (account(stage=PREPARING, cluster=READY | {"HttpEndpointEnabled": False}), "warning", "Data API is not enabled", "write EnableHttpEndpoint: true"),
        (account(stage=PREPARING, cluster=CLUSTER | {"HttpEndpointEnabled": True}), "warning", "no secret", "write ManageMasterUserPassword: true"),
    ],
    "deployment preparation of rds": [
        (account(stage=PREPARING, cluster=READY, preparation=Preparation("FAILED", "arn:x")),
         "problem", "the data is not prepared: arn:x: FAILED", Reason.NOT_PREPARED.next_step),
        (account(stage=PREPARING, cluster=READY, preparation=Preparation("it could not be started")),
         "problem", "the data is not prepared: the after-restore work: it could not be started", Reason.NOT_PREPARED.next_step),
    ],
    f"deployment stage Review of {PIPELINE}": [
        (account(pipeline=pipeline_of(stage_named("Review", ASK), DATABASE_STAGE)), "warning", "Ask waits for an approval", "move Ask behind the action"),
        (account(pipeline=pipeline_of(BUILD, stage_named("Review", ASK), APPLY)), "warning", "Ask waits for an approval", "move Ask behind the action"),
    ],
    f"deployment stage Apply of {PIPELINE}": [
        (account(pipeline=pipeline_of(stage_named("Apply", ASK, TERRAFORM))), "warning", "Ask waits for an approval", "move Ask behind the action"),
        (account(pipeline=pipeline_of(APPLY | {"onFailure": {"result": "ROLLBACK"}})), "warning", "rolls back automatically", "remove the result ROLLBACK"),
    ],
    f"deployment stage Deploy of {PIPELINE}": [
        (account(pipeline=pipeline_of(stage_named("Deploy", ASK, DATABASE))), "warning", "Ask waits for an approval", "move Ask behind the action"),
        (account(transitions=TRANSITIONS), "warning", "is disabled (release)", ENABLE),
        (account(pipeline=pipeline_of(DATABASE_STAGE | SKIPPED)), "warning", "a condition may skip it", "the result FAIL"),
        (account(pipeline=pipeline_of(DATABASE_STAGE | {"onFailure": {"result": "ROLLBACK"}})),
         "warning", "it rolls back automatically", "remove the result ROLLBACK"),
    ],
    f"key arn:aws:kms:x:{PRODUCTION}:alias/aws/rds": [
        (account(**sharing(key_arn=f"arn:aws:kms:x:{PRODUCTION}:alias/aws/rds")), "problem", "no other account can use", COPY_AGAIN),
    ],
    f"key {KEY}": [
        (account(**sharing(key=AWS_MANAGED)), "problem", "no other account can use", COPY_AGAIN),
        (account(**sharing(key=None)), "problem", "no longer exists", COPY_AGAIN),
        (account(**sharing(key=CUSTOMERS | {"KeyState": "Disabled"})), "problem", "is Disabled", "enable-key"),
        *((hidden_key(why), "problem", "does not let account", OPEN_KEY)
          for why in ("no resource-based policy allows it", "AccessDeniedException: no")),
        # A refusal by one's own policies says nothing about the key.
        *((hidden_key(f"with an explicit deny in {each}"), "warning", "could not be looked at", ALLOW_KEY)
          for each in ("an identity-based policy", "a permissions boundary", "a session policy")),
    ],
    "share rds": [
        (choosing(Reason.NO_ELIGIBLE_SNAPSHOT, {"account": 7}), "problem", "none can be chosen", f"in production ({PRODUCTION}): aws rds modify-db-cluster-snapshot-attribute"),
        (choosing(Reason.NO_ELIGIBLE_SNAPSHOT, {"version": 7}), "problem", "7 for version", configure_with("RDS_ENGINE_VERSION=…")),
        (choosing(Reason.AMBIGUOUS_CLUSTER, {}, "orders", "billing"), "problem", "none can be chosen", configure_with("RDS_SOURCE_CLUSTER=billing (or orders)")),
        (account(**sharing(newest=STALE)), "problem", "nothing older than 14 days", Reason.SNAPSHOT_STALE.next_step),
    ],
    f"copy key {COPY_KEY}": [
        (account(stage=COPYING, copy_key=None), "problem", f"RDS_COPY_KMS_KEY_ID names it, but it does not exist in {ACCEPTANCE}, eu-west-1", CHANGE_COPY_KEY),
        (account(stage=COPYING, copy_key=AWS_MANAGED), "problem", "is managed by AWS; a customer-managed one is needed", CHANGE_COPY_KEY),
        (account(stage=COPYING, copy_key=DELETED_KEY), "problem", "is PendingDeletion", UNDELETE),
        (account(stage=COPYING, copy_key=DELETED_KEY | {"KeyState": "PendingImport"}), "problem", "is PendingImport", "see https://docs.aws"),
    ],
    f"function {RESTORE}": [
        (account(configuration=None), "problem", "is not deployed", DEPLOY),
        (configured(Environment=OTHER_SETTINGS), "problem", "other settings than the stage's: RDS_ENGINE_VERSION, TOKEN", DEPLOY),
        (configured(Environment={}), "problem", "other settings", DEPLOY),
        (configured(State="Inactive"), "problem", "is Inactive", DEPLOY),
        (configured(State="Inactive", StateReasonCode="Idle"), "warning", "because it was idle", f"aws lambda invoke --function-name {RESTORE}"),
        (configured(State="Pending"), "warning", "is still being changed", "run the doctor again"),
        (configured(LastUpdateStatus="InProgress"), "warning", "is still being changed", "run the doctor again"),
        (configured(LastUpdateStatus="Failed"), "problem", "its last update is Failed", DEPLOY),
        (configured(Architectures=["arm64"]), "problem", "its Architectures is arm64 instead of x86_64", DEPLOY),
        (configured(MemorySize=128), "problem", "its MemorySize is 128 instead of 256", DEPLOY),
        (configured(Timeout=3), "problem", "its Timeout is 3 instead of 120", DEPLOY),
    ],
    f"function {RESTORE} runtime": [
        (configured(Runtime="python3.9"), "warning", "older than python3.11", f"with python3.11 or newer: make setup, and then {DEPLOY}"),
    ],
    f"function {RESTORE} retries": [
        (account(retries=None), "warning", "Lambda's defaults", REMAKE),
        # aurora-refresh deploy refuses such a stage.
        (account(packaged={"StackStatus": "CREATE_COMPLETE"}, retries=None), "warning", "Lambda's defaults", PACKAGE),
        (account(retries=RETRIES | {"DestinationConfig": {}}), "warning", "does not notify the topic", REMAKE),
        (account(retries=RETRIES | {"MaximumRetryAttempts": 0}), "warning", "0 retries", REMAKE),
        (account(retries=RETRIES | {"MaximumEventAgeInSeconds": 60}), "warning", "up to 60 s old", REMAKE),
    ],
    f"stack {APP}-{NAME}": [
        (account(packaged={"StackStatus": "UPDATE_ROLLBACK_FAILED"}), "problem", "UPDATE_ROLLBACK_FAILED", PACKAGE),
    ],
    f"function {RESTORE} concurrency": [
        (account(concurrency=None), "problem", "is none, so two may run at once", RESERVE),
        (account(concurrency=0), "problem", "was stopped by hand", RESERVE),
    ],
    f"function {UPDATE} concurrency": [(account(update_concurrency=0), "problem", "was stopped by hand", f"{FREE} {UPDATE}")],
    f"function {APP}-{NAME} concurrency": [(account(api_concurrency=0), "warning", "was stopped by hand", f"{FREE} {APP}-{NAME}")],
    f"stack {AFTER}": [
        (account(after={"StackStatus": "ROLLBACK_COMPLETE"}), "problem", "ROLLBACK_COMPLETE", DEPLOY),
        (account(after={"StackStatus": "REVIEW_IN_PROGRESS"}), "problem", "REVIEW_IN_PROGRESS", DEPLOY),
        (account(after={"StackStatus": "DELETE_FAILED"}), "problem", "DELETE_FAILED", REMAKE),
        (account(after={"StackStatus": "UPDATE_ROLLBACK_FAILED"}), "problem", "UPDATE_ROLLBACK_FAILED", GO_ON),
        (account(after={"StackStatus": "UPDATE_IN_PROGRESS"}), "warning", "UPDATE_IN_PROGRESS", "run the doctor again"),
        (account(after=None), "warning", GONE, DEPLOY),
    ],
    f"role {RESTORE}": [
        (account(inline=[LESS]), "problem", "lacks statements that its function needs: MoveCurrent", DEPLOY),
        # A role's rights may be in several policies.
        (account(inline=[{"Statement": FIRST}, {"Statement": OTHERS}]), "warning", "have more than", "aws iam list-role-policies"),
    ],
    f"role {RESTORE} attached policies": [
        (account(attached=[ADMIN]), "warning", ADMIN, f"aws iam detach-role-policy --role-name {RESTORE} --policy-arn {ADMIN}"),
    ],
    f"role {RESTORE} permissions boundary": [
        (account(boundary=ADMIN), "warning", f"{ADMIN} limits the role", "compare that policy with"),
    ],
    f"schedule {RULE}": [
        (account(rule=None), "problem", GONE, DEPLOY),
        (account(rule=FIRING | {"State": "DISABLED"}), "problem", "is disabled", f"aws events enable-rule --name {RULE}"),
        (account(rule=FIRING | {"ScheduleExpression": "cron(0 12 ? * SUN *)"}), "problem", "fires at cron(0 12", DEPLOY),
        (account(targets=[]), "problem", "invokes nothing", DEPLOY),
        (account(invokers=None), "problem", "not allowed to invoke", DEPLOY),
        (account(invokers=json.dumps({"Statement": [ANYBODY]})), "problem", "not allowed to invoke", DEPLOY),
    ],
    f"schedule {FOLLOW_RULE}": [
        (account(follow_rule={"State": "ENABLED", "EventPattern": "{}"}), "problem", "does not match exactly the ends", DEPLOY),
    ],
    "topic NOTIFICATION_TOPIC_ARN": [
        (account(stage=stage_of(NOTIFICATION_TOPIC_ARN="")), "warning", "failures and alarms notify nobody", f"{configure_with(f'NOTIFICATION_TOPIC_ARN={TOPIC}')} EMAIL=…"),
        (with_chat({}, [EMAIL], own=""), "warning", "is not set: alarms notify nobody", "NOTIFICATION_TOPIC_ARN="),
    ],
    f"topic {TOPIC}": [
        (account(topic=None), "problem", GONE, "aws sns subscribe"),
        (account(subscriptions=[]), "warning", "no subscriptions", "aws sns subscribe"),
    ],
    "topic email x@y.example": [
        (account(subscriptions=[WAITING]), "warning", "has not confirmed", "aws sns subscribe"),
        # SNS lists it for three days.
        (account(subscriptions=[WAITING | {"SubscriptionArn": "Deleted"}]), "warning", "has unsubscribed", "aws sns subscribe"),
    ],
    f"topic {CHAT}": [
        (with_chat(None, []), "problem", GONE, f"aws sns create-topic --name aurora-refresh-chat, and then {SELECT}"),
        (with_chat({}, []), "warning", "has no subscriptions", SELECT),
    ],
    f"topic key {TOPIC_KEY}-gone": [
        (account(topic={"KmsMasterKeyId": key}, **{f"kms:DescribeKey {TOPIC_KEY}-gone": None}), "problem", GONE, "aws sns set-topic-attributes")
        for key in ("topics-gone", f"{TOPIC_KEY}-gone")
    ],
    f"topic key {TOPIC_KEY}": [
        (under_key(letting(ROOT)), "problem", "does not let CloudWatch use it, so that no alarm reaches", USE),
        (under_key(letting(ROOT, CLOUDWATCH, action="kms:Decrypt")), "problem", NO_RIGHTS, USE),
        (under_key(letting(CLOUDWATCH)), "problem", NO_RIGHTS, USE),
        (under_key(letting(ROOT, CLOUDWATCH, Effect="Deny", Principal=CLOUDWATCH)), "problem", "does not let CloudWatch", "remove what denies it"),
        (under_key(letting({"AWS": ROLES["AWS"][1:]}, CLOUDWATCH)), "problem", NO_RIGHTS, USE),
        (under_key(letting(ROOT, Principal=CLOUDWATCH, Condition={"x": {}})), "warning", "whether each alarm reaches", NOT_CHECKED),
        (under_key(letting(CLOUDWATCH, NotPrincipal={"AWS": "arn:x"})), "warning", "whether each notification reaches", NOT_CHECKED),
        (under_key(letting(ROOT, CLOUDWATCH, **TO_OTHERS)), "warning", "conditions in its policy decide", NOT_CHECKED),
        (under_key(letting("*"), keys=()), "problem", "roles may not use it", f"aurora-refresh configure --stage {NAME}"),
        (under_key(letting("*"), KeyState="Disabled"), "problem", "is Disabled", "aws kms enable-key"),
        (under_key(KeyManager="AWS"), "problem", "so that no alarm reaches", "aws sns set-topic-attributes"),
    ],
    f"alarm {ERRORS}": [
        (account(alarms=ALARMS | {ERRORS: None}), "problem", GONE, REMAKE),
        (with_alarm(ERRORS, StateValue="ALARM", StateReason="1 error"), "problem", "is on: 1 error", "see what happened: "),
        (with_alarm(ERRORS, ActionsEnabled=False), "warning", "disabled", "aws cloudwatch enable-alarm-actions "),
        (with_alarm(ERRORS, AlarmActions=[]), "warning", "not notify", REMAKE),
    ],
    f"alarm {OVERDUE}": [(with_alarm(OVERDUE, StateValue="ALARM"), "warning", "is on", "nothing before the first scheduled run")],
    "API REST API": [
        (account(rest_apis=[]), "problem", "is not deployed", DEPLOY),
        (account(rest_apis=["a1", "b2"]), "warning", "a1, b2 all invoke the stage's function", "aws apigateway delete-rest-api"),
        (account(stage=WITHOUT_API), "warning", "a1b2c3 exists although", "aws apigateway delete-rest-api --rest-api-id a1b2c3"),
    ],
}
# fmt: on
ROWS = [(row[0], f"{what} {row[1]}", *row[2:]) for what, rows in FAULTS.items() for row in rows]


@pytest.mark.parametrize(
    ("seen", "what", "message", "fix"),
    ROWS,
    ids=[f"{number}-{row[1]}" for number, row in enumerate(ROWS)],
)
def test_each_fault_is_named_with_its_fix_and_nothing_else_is(
    seen: Account, what: str, message: str, fix: str
) -> None:
    (check,) = faults(seen)
    assert f"{check.check} {check.subject} {check.status}" == what
    assert message in check.seen
    assert fix in str(check.fix)
    assert "hunter2" not in f"{check.seen}{check.fix}"


RIGHT = {
    "everything": account(),
    "no run yet": account(runs=[]),
    "a run in progress": account(runs=[LONG._replace(started=NOW - timedelta(hours=2))]),
    "an earlier run that failed": account(runs=[DONE, LONG._replace(status="Failed")]),
    "no parameter of the hold": account({HOLD: None}),
    "a role of this account": account(pipeline=deploying(roleArn=ROLE.format(ACCEPTANCE))),
    "this Region": account(pipeline=deploying(region="eu-west-1")),
    # What else the pipeline restores is not the stage's business.
    "another database of the pipeline": account(
        pipeline=pipeline_of(BOTH), **{"template of orders": restored_from(OLD.arn)}
    ),
    "an approval beside the database": account(
        pipeline=pipeline_of(stage_named("Deploy", ASK | {"runOrder": 2}, DATABASE))
    ),
    "an approval before another stack": account(
        pipeline=pipeline_of(DATABASE_STAGE, stage_named("Next", ASK, ORDERS | {"runOrder": 2})),
        **{"template of orders": stack_of({})},
    ),
    "an approval after Terraform": account(pipeline=pipeline_of(APPLY, VERIFY)),
    "a pipeline that only waits": account(pipeline=pipeline_of(VERIFY)),
    "a stack that the pipeline deletes": account(
        pipeline=pipeline_of(DATABASE_STAGE, stage_named("Clean", DELETION))
    ),
    "work after a restore": account(stage=PREPARING, cluster=READY),
    "work in progress": account(
        stage=PREPARING, cluster=READY, preparation=Preparation("RUNNING", "arn:x")
    ),
    "DocumentDB has no Data API": account(
        stage=PREPARING, cluster=READY | {"Engine": "docdb", "HttpEndpointEnabled": False}
    ),
    "a share without a key": account(**sharing(key_arn=None)),
    "copies under an own key": account(stage=COPYING),
    "a newer Python": configured(Runtime="python3.13"),
    "Lambda's defaults of retries": account(
        retries={"DestinationConfig": RETRIES["DestinationConfig"]}
    ),
    "a topic's key for account and CloudWatch": under_key(letting(ROOT, CLOUDWATCH)),
    "a topic's key for everybody": under_key(letting("*")),
    "a topic's key by actions": under_key(
        letting(ROOT, CLOUDWATCH, action=["KMS:Decrypt", "kms:generatedatakey"])
    ),
    "a topic's key for each role": under_key(letting(ROLES, CLOUDWATCH)),
    "a topic's key with a denial of something else": under_key(
        {"Statement": [*letting("*")["Statement"], OTHERWISE]}
    ),
    # Alarms do not notify the topic for chat.
    "AWS's key of the topic for chat": under_key(KeyManager="AWS", topic=CHAT),
    "a key of the topic for chat": under_key(letting(ROOT), topic=CHAT),
    "a stack whose import failed": account(after={"StackStatus": "IMPORT_ROLLBACK_COMPLETE"}),
    "a silent alarm": with_alarm(f"{APP}-{NAME}-{stacks.NOTIFICATION_ALARM}", AlarmActions=[]),
    "no API": account(stage=WITHOUT_API, rest_apis=[]),
    "the other environment's cluster": account(
        template=with_resource("X", f"SnapshotIdentifier: {OLD.arn}", Condition="IsProduction")
    ),
}
# Properties of the cluster, as YAML, as the stack's parameters evaluate them.
RIGHT |= {
    text: account(template=with_resource("Cluster", text))
    for text in (
        "SnapshotIdentifier: !Sub '${Snapshot}'",
        "SnapshotIdentifier: !If [IsRestored, !If [IsProduction, !Ref Text, !Ref Snapshot], x]",
        "DBClusterIdentifier: !If [IsProduction, orders, !Ref AWS::NoValue]",
        "DBClusterIdentifier: !If [IsBig, orders, !Ref AWS::NoValue]",
        "ManageMasterUserPassword: !Ref AWS::Region",
    )
}


@pytest.mark.parametrize("seen", RIGHT.values(), ids=RIGHT)
def test_what_is_right_in_its_own_way_is_ok(seen: Account) -> None:
    assert faults(seen) == []


# --- what cannot be looked at ---------------------------------------------------------------------

# Questions by the check that asks each of them first.
HIDDEN = {
    "parameter": "parameters candidate present",
    "pipeline": "pipeline runs",
    "template": "template",
    "deployment": "transitions stack cluster deployment",
    "share": "shares",
    "key": "share_key",
    "stack": "after",
    "function": "configuration concurrency retries",
    "role": "inline attached boundary",
    "schedule": "invokers targets",
    "topic": "topic subscriptions",
    "API": "rest_apis",
    "alarm": "alarms",
}
ERROR = {"Environment": {"Error": {"Message": "service:Look"}}}
BLIND = [
    *(
        (group, account(**{each: DENIED}))
        for group, all_ in HIDDEN.items()
        for each in all_.split()
    ),
    ("function", account(configuration=CONFIGURATION | ERROR)),
    # A function that is not seen may have its reservation.
    ("function", account(configuration=DENIED, unreserved=unreserved(100))),
    ("copy key", account(stage=COPYING, copy_key=DENIED)),
    ("topic key", under_key(DENIED)),
    ("topic key", under_key(DENIED, topic=CHAT.replace(ACCEPTANCE, PRODUCTION))),
    (
        "topic key",
        account(topic={"KmsMasterKeyId": TOPIC_KEY}, **{f"kms:DescribeKey {TOPIC_KEY}": DENIED}),
    ),
    ("topic", with_chat(DENIED, DENIED)),
]


@pytest.mark.parametrize(("group", "seen"), BLIND)
def test_what_may_not_be_looked_at_is_a_warning_that_names_the_action(
    group: str, seen: Account
) -> None:
    found = faults(seen)
    assert {check.status for check in found} == {"warning"}
    assert found[0].check == group
    assert all("service:Look" in check.seen for check in found if check.check == group)
    assert not doctor.is_healthy(found)


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"region": "us-east-1"}, f"in account {ACCEPTANCE}, us-east-1"),
        ({"roleArn": ROLE.format("333333333333")}, "in account 333333333333, eu-west-1"),
    ],
)
@pytest.mark.parametrize("stack", ["main", ""])
def test_a_stack_elsewhere_is_not_seen_and_no_problem(
    where: dict[str, str], place: str, stack: str
) -> None:
    seen = account(
        stage=stage_of(RDS_STACK_NAME=stack), pipeline=deploying(**where), template=None, stack=None
    )
    assert [(check.check, check.status, check.blind) for check in faults(seen)] == [
        ("template", "warning", True),
        ("deployment", "warning", True),
    ]
    assert all(place in check.seen for check in faults(seen))


def test_a_stack_of_the_same_name_here_is_preferred_and_a_variable_one_is_not_seen() -> None:
    there = stage_named("There", DATABASE | {"region": "us-east-1"})
    variable = action("Deploy", "Any", configuration={"StackName": "#{Build.STACK}"})
    body = pipeline_of(there, DATABASE_STAGE, stage_named("Any", variable))
    here, unknown = mainpipeline.stacks_of(HEALTHY_STAGE, body)
    assert here == mainpipeline.DeployedStack("main")
    assert unknown.elsewhere == "under a name that only the run knows"


# --- verdicts that depend on more than one thing --------------------------------------------------

NOTHING = {"newest": Refused(Reason.NO_ELIGIBLE_SNAPSHOT, "none")}


def test_before_the_first_deployment_parameters_and_topic_are_made_by_deploying() -> None:
    """Later it would not miss what was deleted from under its stack."""
    new = account({LATEST: None, CURRENT: None}, topic=None, before=None)
    fixes = {check.subject: check.fix for check in faults(new) if check.status == "problem"}
    assert fixes == {LATEST: DEPLOY, CURRENT: DEPLOY, TOPIC: f"{DEPLOY} EMAIL=…"}


def test_what_a_missing_stack_held_is_made_by_deploying() -> None:
    assert {check.fix for check in faults(account(retries=None, after=None))} == {DEPLOY}


FIRST_VALUE = (
    WRITE_CURRENT  # overwriting the placeholder, which a deployment may have put meanwhile
)
NO_ACCESS = {"key": Unavailable("kms:DescribeKey", "", denied=True)}
ABROAD = stage_of(SOURCE_REGION="us-east-1", RDS_COPY_KMS_KEY_ID=COPY_KEY)
FOREIGN = (arn("orders-1", "999999999999"), OLD.arn.replace("eu-west-1", "eu-west-2"))


@pytest.mark.parametrize(
    ("value", "stage", "shares", "fix"),
    [
        (None, HEALTHY_STAGE, {}, FIRST_VALUE),
        (None, HEALTHY_STAGE, {"key_arn": None}, FIRST_VALUE),
        (None, HEALTHY_STAGE, NO_ACCESS, SHARE_FIRST),
        (None, HEALTHY_STAGE, {"key": AWS_MANAGED}, SHARE_FIRST),
        # A share of another Region can only be copied.
        (None, ABROAD, {"region": "us-east-1"}, SHARE_FIRST),
        *(
            (value, HEALTHY_STAGE, NOTHING, SHARE_FIRST)
            for value in (None, BINARY, "dummyvalue", "hunter2", *FOREIGN)
        ),
    ],
)
def test_neither_the_placeholder_nor_what_cannot_be_restored_is_proposed_for_current(
    value: Any, stage: AcceptanceStage, shares: dict[str, Any], fix: str
) -> None:
    """The next run of the pipeline would read it, and fail."""
    given = sharing(**shares) | {"deployment": Deployment()}
    seen = account({CURRENT: value, LATEST: "dummyvalue"}, stage, **given)
    (proposed,) = (str(check.fix) for check in faults(seen) if check.subject == CURRENT)
    assert proposed.endswith(fix)
    assert ("put-parameter" in proposed) is (fix == FIRST_VALUE)


def test_each_database_has_its_own_parameters_checked() -> None:
    others = {LATEST: "hunter2", OTHER_LATEST: "dummyvalue", OTHER_CURRENT: "dummyvalue"}
    nothing = {"deployment": Deployment(), "deployment of docs": Deployment()}
    answers = {"shares": {"rds": SHARES, "docs": SHARES}} | nothing
    seen = account(others, stage_of(**TWO), **answers)
    found = [check for check in acceptance.parameters(seen.look()) if check.fix]
    assert [(check.subject, check.status) for check in found] == [
        (LATEST, "problem"),
        (OTHER_LATEST, "warning"),
        (OTHER_CURRENT, "warning"),
    ]


def test_a_share_that_is_too_old_itself_is_not_proposed_for_latest() -> None:
    old = account(
        {LATEST: arn("orders-0")}, **refused(Reason.SNAPSHOT_STALE), **sharing(newest=STALE)
    )
    latest, _ = faults(old)
    assert (latest.subject, latest.fix) == (LATEST, Reason.SNAPSHOT_STALE.next_step)


def test_without_a_stack_s_name_what_is_unknown_is_a_problem_besides() -> None:
    found = faults(account(stage=UNNAMED, deployment=UNKNOWN))
    assert [(check.subject, check.status) for check in found] == [
        ("rds", "warning"),
        ("rds", "problem"),
    ]


@pytest.mark.parametrize(
    ("limit", "quota"),
    [(unreserved(101), []), (unreserved(100), [1001]), (unreserved(10, quota=10), [1000])],
)
def test_a_missing_function_needs_executions_to_reserve(limit: Answers, quota: list[int]) -> None:
    """The others have theirs."""
    fixes = [str(each.fix) for each in faults(account(configuration=None, unreserved=limit))]
    asked = "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384"
    wanted = [f"{asked} --desired-value {each}" for each in quota]
    assert [fix for fix in fixes if fix.startswith("aws service-quotas")] == wanted


def test_each_stack_that_reads_current_wrongly_is_named() -> None:
    wrong = restored_from(NEW.arn)
    seen = account(pipeline=pipeline_of(BOTH), template=wrong, **{"template of orders": wrong})
    assert [check.subject for check in faults(seen)] == ["main", "orders"]


# --- what is said of what is right ----------------------------------------------------------------


def test_what_is_deployed_is_shown_and_unmasked_data_is_only_mentioned() -> None:
    cluster = "cluster main-cluster-1 of stack main, created Sunday 2026-01-04 01:00 UTC"
    unmasked = "is not set for any database: production's personal data arrives unmasked"
    assert [*refresh.databases(account().look())] == [
        Check("deployment", "rds", "ok", f"{cluster}, restored from {OLD.arn}"),
        Check("deployment", "P_AFTER_RESTORE", "ok", unmasked),
    ]


def test_the_shares_are_counted_and_each_has_its_verdict_the_newest_first() -> None:
    shares = [
        OLD,
        snapshot("mysql", engine="aurora-mysql"),
        snapshot("making", created=None),
        NEW,
        snapshot("created", status="creating", created=NOW),
    ]
    choice, _, *verdicts = acceptance.shares(account(**sharing(productions=shares)).look())
    chosen = "3.0 hours old, is the newest; 5 of 7 shares are eligible; rejected: 2 for engine"
    assert choice == Check("share", "rds", "ok", f"{NEW.arn}, {chosen}")
    assert [(check.subject, check.seen.removeprefix("for rds: ")) for check in verdicts] == [
        (arn("making"), "rejected: no creation time yet"),
        (arn("created"), "rejected: status creating, expected available"),
        (NEW.arn, "eligible, and the newest"),
        (arn("mysql"), "rejected: engine aurora-mysql, expected aurora-postgresql"),
        (OLD.arn, "eligible"),
    ]


AMSTERDAM = {"MAINTENANCE_WINDOW": "00:00-07:00 Europe/Amsterdam"}
LATER = {"RESTORE_SCHEDULE": "cron(0 4 ? * SUN *) Europe/Amsterdam"}
HOURLY = "rate(1 hour)"


@pytest.mark.parametrize(
    ("variables", "fires_at", "next_restore"),
    [
        (AMSTERDAM, "cron(0 4 ? * SUN *)", "Sunday 2026-02-01 05:00 Europe/Amsterdam"),
        (AMSTERDAM | LATER, "cron(0 2,3 ? * SUN *)", "Sunday 2026-02-01 04:00 Europe/Amsterdam"),
        ({"RESTORE_SCHEDULE": HOURLY}, HOURLY, "unknown, because the rule counts by itself"),
    ],
)
def test_the_next_date_is_a_real_one_in_the_window_s_zone_after_the_hold(
    variables: dict[str, str], fires_at: str, next_restore: str
) -> None:
    rule = FIRING | {"ScheduleExpression": fires_at}
    seen = account({HOLD: ON_HOLD}, stage_of(**variables), rule=rule)
    assert [check.seen for check in deployment.schedules(seen.look())][1:] == [
        f"enabled, {fires_at}; next restore {next_restore}",
        "enabled, for the ends of runs",
        "enabled, rate(15 minutes); looks at what is deployed",
    ]


def test_an_update_that_is_skipped_just_before_a_refresh_is_a_warning() -> None:
    stage = stage_of(UPDATE_SCHEDULE="cron(0 22 ? * SAT *)")
    *_, found = deployment.schedules(account({}, stage).look())
    assert found == Check(
        "schedule",
        "UPDATE_SCHEDULE",
        "warning",
        "the update of Saturday 2026-01-03 22:00 UTC is in an off-week, and so is skipped: the refresh "
        "of Sunday 2026-01-04 04:00 UTC restores what an earlier one has recorded",
        "aurora-refresh configure --stage acceptance REFRESH_ANCHOR_DATE=2026-01-03, and then "
        "aurora-refresh deploy --stage acceptance",
    )


def test_the_first_update_at_a_rate_has_no_date() -> None:
    seen = account({LATEST: "dummyvalue"}, stage_of(UPDATE_SCHEDULE=HOURLY))
    (latest,) = (check.fix for check in acceptance.parameters(seen.look()) if check.fix)
    assert latest == ("nothing before the first update: unknown, because the rule counts by itself")


# --- how the doctor looks -------------------------------------------------------------------------


def test_a_refusal_of_the_longest_names_is_reported_with_its_reason() -> None:
    role = f"arn:aws:sts::{ACCEPTANCE}:assumed-role/{'r' * 64}/{'s' * 64}"
    key = f"arn:aws:kms:ap-southeast-1:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
    message = (
        f"User: {role} is not authorized to perform: kms:DescribeKey on resource: {key} "
        "because no identity-based policy allows the kms:DescribeKey action"
    )
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "x")
    client = Mock(describe_key=Mock(side_effect=denied))
    with pytest.raises(Unavailable) as caught:
        Look(HEALTHY_STAGE, Mock(client=Mock(return_value=client)), NOW).key(KEY)
    found = (caught.value.action, caught.value.why, caught.value.denied)
    assert found == ("kms:DescribeKey", f"AccessDeniedException: {message}", True)


def test_a_name_is_that_of_another_key_in_another_region() -> None:
    def client(_: str, region_name: str, **__: Any) -> Mock:
        return Mock(describe_key=lambda **_: {"KeyMetadata": {"Arn": region_name}})

    look = Look(HEALTHY_STAGE, Mock(client=client), NOW)
    found = [look.key("alias/own", region) for region in (None, "us-east-1")]
    assert found == [{"Arn": "eu-west-1"}, {"Arn": "us-east-1"}]


def test_what_is_deployed_is_seen_as_the_use_cases_see_it() -> None:
    aws = InMemoryAws(NOW)
    aws.pipelines.pipelines[PIPELINE] = []
    aws.parameters.put(CURRENT, OLD.arn, None)
    aws.pipelines.begin(PIPELINE)
    aws.pipelines.finish(PIPELINE)
    seen = account(stage=UNNAMED, runs=aws.pipelines.runs(PIPELINE))
    del seen.answers["deployment of rds"]
    look = seen.look()
    vars(look)["aws"] = aws
    assert look.deployment(UNNAMED.settings.databases[0]).value == OLD.arn


@pytest.mark.parametrize(
    ("nested", "status", "message"),
    [
        ({}, "problem", "parameter Snapshot of type String, which is the text itself"),
        ({"ParentId": "arn:x"}, "warning", "source of Cluster's SnapshotIdentifier is unknown"),
    ],
)
def test_a_nested_stack_s_parameters_are_given_by_another_template(
    nested: Answers, status: str, message: str
) -> None:
    text = (PROJECT / "infrastructure/main-pipeline.yaml").read_text()
    text = text.replace("AWS::SSM::Parameter::Value<String>", "String")
    values = [{"ParameterKey": "Snapshot", "ParameterValue": OLD.arn}]
    seen = account(**{"cloudformation:DescribeStacks main": {"Parameters": values, **nested}})
    del seen.answers["template of main"]
    client = Mock(get_template=Mock(return_value={"TemplateBody": text}))
    look = AcceptanceLook(seen.stage, Mock(client=lambda *_, **__: client), NOW, seen.answers)
    (found,) = (check for check in template_checks.reading(look) if check.status != "ok")
    assert (found.status, message in found.seen) == (status, True)


@pytest.mark.parametrize(
    ("text", "message"), [("- no template", "not a mapping"), ("a: [", "cannot be read")]
)
def test_what_is_no_template_is_an_error(text: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        templates.parsed(text)


# --- what a stage's files say ---------------------------------------------------------------------


def test_credentials_and_region_are_those_of_the_stage() -> None:
    def identity(account_: str, region: str | None) -> list[Check]:
        me = {"Account": account_, "Arn": f"arn:aws:iam::{account_}:user/me"}
        return [*checks.identity(HEALTHY_STAGE, me, region)]

    assert [check.status for check in identity(ACCEPTANCE, "eu-west-1")] == ["ok", "ok"]
    credentials, region = identity(PRODUCTION, None)
    assert (credentials.status, region.status) == ("problem", "problem")
    assert str(credentials.fix).startswith(f"use credentials of account {ACCEPTANCE}")
    assert region.fix == "export AWS_DEFAULT_REGION=eu-west-1"


def test_each_setting_is_listed_and_a_typo_or_a_contradiction_is_named() -> None:
    stage = stage_of(SOURCE_ACCOUNT=ACCEPTANCE)
    stage = replace(stage, variables={**stage.variables, "RDS_SOURCE_CLUSTR": "orders"})
    names = settings.names_of(stage.variables)
    found = [*checks.settings(stage, names, stages.contradictions(stage))]
    assert Check("setting", "RDS_ENGINE", "ok", "aurora-postgresql") in found
    contradiction, typo = (check for check in found if check.status != "ok")
    assert (contradiction.subject, contradiction.status) == ("SOURCE_ACCOUNT", "problem")
    assert contradiction.fix == configure_with("SOURCE_ACCOUNT=…")
    assert (typo.subject, typo.status) == ("RDS_SOURCE_CLUSTR", "warning")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the healthy stage."""
    (tmp_path / ".chalice").mkdir()
    (tmp_path / CONFIG).write_text('{"app_name": "aurora-refresh", "stages": {}}')
    answers = {**VARIABLES, "MAIN_PIPELINE_ARN": PIPELINE_ARN}
    configure.write(configure.files(tmp_path, NAME, answers))
    return tmp_path


def edit(project: Path, **changes: Any) -> None:
    """Change the stage in config.json, as somebody does in an editor."""
    config = json.loads((project / CONFIG).read_text())
    config["stages"][NAME].update(changes)
    (project / CONFIG).write_text(stages.to_text(config))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, and nowhere to look for some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("profile", [None, "acceptence"])
def test_without_credentials_or_with_a_wrong_profile_only_what_needs_none_is_checked(
    project: Path, profile: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    done = command("--stage", NAME, "--project", str(project), "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    problems = [check["subject"] for check in found if check["status"] == "problem"]
    assert problems == ["credentials", "Region"]
    assert {check["check"] for check in found} == {"identity", "setting", "policy"}


def test_with_another_account_s_credentials_only_what_needs_none_is_checked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"Account": PRODUCTION, "Arn": "me"}
    monkeypatch.setattr(doctor, "caller", lambda *_: (other, NOW))
    found = doctor.examine(project, NAME)
    assert {check.check for check in found} == {"identity", "setting", "policy"}


@pytest.mark.parametrize("topic", [None, {}])
def test_a_stage_that_was_never_deployed_is_one_problem(
    topic: Any, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    functions = stacks.function_names(HEALTHY_STAGE).values()
    nothing = {f"lambda:GetFunctionConfiguration {name}": None for name in functions}
    nothing |= {"before": None, "after": None, "topic": topic, "subscriptions": []}
    seen = account({LATEST: None, CURRENT: None, HOLD: None}, **nothing)
    me = {"Account": ACCEPTANCE, "Arn": "me"}
    monkeypatch.setattr(doctor, "caller", lambda *_: (me, NOW))
    monkeypatch.setattr(doctor, "AcceptanceLook", lambda *_: seen.look())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    first, *rest = [check for check in doctor.examine(project, NAME) if check.status != "ok"]
    assert (first.subject, first.status, first.fix) == (NAME, "problem", DEPLOY)
    without_subscriptions = [] if topic is None else [(TOPIC, "warning")]
    assert [(check.subject, check.status) for check in rest] == without_subscriptions


@pytest.mark.usefixtures("nobody")
def test_a_policy_file_that_was_edited_is_to_be_written_again(project: Path) -> None:
    file = project / ".chalice" / file_name(NAME, "db-follow-pipeline")
    file.write_text(file.read_text().replace("ssm:PutParameter", "ssm:*"))
    found = [check for check in doctor.examine(project, NAME) if check.check == "policy"]
    (wrong,) = (check for check in found if check.fix)
    assert (wrong.subject, wrong.status) == (file.name, "problem")
    assert wrong.fix == f"aurora-refresh configure --stage {NAME}, and then {DEPLOY}"
    file.write_bytes(b"\xff")
    with pytest.raises(StageError, match=rf"{file.name} is not text"):
        doctor.examine(project, NAME)


def test_a_role_of_the_company_is_kept_and_only_its_arn_is_checked(project: Path) -> None:
    role = ROLE.format(ACCEPTANCE)
    edit(project, manage_iam_role=False, iam_role_arn=role)
    configure.write(configure.files(project, NAME, {}))
    entries = doctor.configurations(project, HEALTHY_STAGE)
    assert {each["iam_role_arn"] for each in entries.values()} == {role}
    for runs_as, status in ((role, "warning"), (f"{role}-old", "problem")):
        look = account(configuration=CONFIGURATION | {"Role": runs_as}).look()
        wanted = policies(HEALTHY_STAGE)
        entries = dict.fromkeys(wanted, WOULD_BE)
        entries["db-restore-from-snapshot"] = WOULD_BE | {"iam_role_arn": role}
        found = deployment.roles(look, wanted, entries)
        (bad,) = (check for check in found if check.status != "ok")
        assert (bad.check, bad.status, bad.blind) == ("role", status, False)


def test_what_python_is_stated_does_not_depend_on_the_one_in_use(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    wanted = doctor.configurations(project, HEALTHY_STAGE)
    assert {each["Runtime"] for each in wanted.values()} == {"python3.11"}


def test_a_function_s_own_variables_are_added_to_the_stage_s(project: Path) -> None:
    """As Chalice adds them."""
    own = {"db-reconcile": {"environment_variables": {"LOG": "DEBUG"}}}
    edit(project, lambda_functions=own)
    found = doctor.configurations(project, HEALTHY_STAGE)
    added = {name: each["Variables"].keys() - VARIABLES.keys() for name, each in found.items()}
    assert {name: each for name, each in added.items() if each} == {"db-reconcile": {"LOG"}}


# --- the command ----------------------------------------------------------------------------------


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words])


GOOD = Check("topic", "one", "ok", "1 confirmed")


def test_people_read_groups_and_a_sum_and_no_control_characters() -> None:
    found = [GOOD, Check("alarm", "two", "problem", "rings: \x1b[2J", "look")]
    assert [printable(line) for line in doctor.lines(found)] == [
        "topic",
        "  ok       one: 1 confirmed",
        "alarm",
        "  problem  two: rings: ?[2J",
        "           fix: look",
        "not healthy; problems: 1, warnings: 0, ok: 1",
    ]


def test_people_are_shown_twenty_verdicts() -> None:
    verdicts = [Check("verdict", f"share-{number}", "ok", "eligible") for number in range(23)]
    assert [*doctor.lines(verdicts)] == [
        "verdict",
        *(f"  ok       share-{number}: eligible" for number in range(20)),
        "           and 3 older ones: see --json",
        "healthy; problems: 0, warnings: 0, ok: 23",
    ]


def test_what_could_not_be_looked_at_is_not_called_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [GOOD, Check("alarm", "all", *checks.unavailable(DENIED))]
    assert [*doctor.lines(found)][-1] == (
        "no problem was found; could not be looked at: 1; problems: 0, warnings: 1, ok: 1"
    )
    monkeypatch.setattr(doctor, "examine", lambda *_: found)
    assert command("--stage", NAME).exit_code == 1
    del found[1]
    assert command("--stage", NAME).exit_code == 0


def test_who_reads_only_the_beginning_sees_no_trace() -> None:
    script = (
        "from cli.main import cli; from cli import doctor; from cli.doctor.checks import Check; "
        "doctor.examine = lambda *_: [Check('topic', 'one', 'ok', 'x' * 99)] * 9999; "
        "cli(['doctor', '--stage', 'acceptance'])"
    )
    shell = f'set -o pipefail; "{sys.executable}" -c "{script}" | head -n 1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "topic\n", "")


def test_a_stage_that_is_set_wrongly_is_reported_setting_by_setting(project: Path) -> None:
    edit(project, environment_variables=VARIABLES | {"SOURCE_ACCOUNT": "1", "RDS_ENGINE": "no"})
    done = command("--stage", NAME, "--project", str(project))
    assert done.exit_code == 1
    assert re.findall(r"^  (\w+) +(\w+): ", done.stdout, re.MULTILINE) == [
        ("problem", "SOURCE_ACCOUNT"),
        ("problem", "RDS_ENGINE"),
    ]


# --- production -----------------------------------------------------------------------------------

SHARING = {"SHARE_WITH_ACCOUNT": ACCEPTANCE, "CLUSTERS": "orders", "SHARE_KMS_KEY_ID": "alias/own"}
SHARING_STAGE = ProductionStage(
    "production", SHARING, ProductionSettings.from_environment(SHARING), PRODUCTION, "eu-west-1"
)
KEYLESS = replace(SHARING_STAGE, settings=SHARING_STAGE.settings._replace(key=None))
SHARING_DEPLOY = "aurora-refresh deploy --stage production"
OTHER_CLUSTERS, OTHER_KEY = (
    f"aurora-refresh configure --stage production {name}=…, and then {SHARING_DEPLOY}"
    for name in ("CLUSTERS", "SHARE_KMS_KEY_ID")
)
AVAILABLE = {"Status": "available", "StorageEncrypted": True, "KmsKeyId": "key"}
ENABLED = CUSTOMERS | {"Arn": KEY}
LATER_ON = Unavailable("kms:DescribeKey", "throttled")


def sharing_checks(
    stage: ProductionStage = SHARING_STAGE,
    cluster: Any = AVAILABLE,
    cluster_key: Any = ENABLED,
    share_key: Any = ENABLED,
) -> list[Check]:
    answers = {
        "rds:DescribeDBClusters orders": cluster,
        "kms:DescribeKey key": cluster_key,
        "kms:DescribeKey alias/own": share_key,
    }
    look = Look(stage, Mock(), NOW, answers)
    return [*production.clusters(look), *production.share_key(look)]


@pytest.mark.parametrize("cluster_key", [ENABLED, AWS_MANAGED])
def test_clusters_and_keys_that_can_be_shared_are_ok(cluster_key: Answers) -> None:
    found = sharing_checks(cluster_key=cluster_key)
    assert [(check.subject, check.status) for check in found] == [
        ("orders", "ok"),
        ("of orders", "ok"),
        ("alias/own", "ok"),
    ]


@pytest.mark.parametrize(
    ("changed", "what", "fix"),
    [
        ({"cluster": None}, "orders problem", OTHER_CLUSTERS),
        ({"cluster": {"Status": "stopped"}}, "orders warning", "nothing if that ends before cron("),
        ({"cluster": DENIED}, "orders warning", "allow service:Look to the identity in use"),
        ({"cluster_key": None}, "of orders problem", "restore the cluster from a snapshot under"),
        ({"cluster_key": DELETED_KEY}, "of orders problem", UNDELETE),
        ({"cluster_key": LATER_ON}, "of orders warning", "run the doctor again"),
        ({"share_key": AWS_MANAGED}, "alias/own problem", OTHER_KEY),
        ({"stage": KEYLESS, "cluster_key": AWS_MANAGED}, "of orders problem", OTHER_KEY),
    ],
)
def test_a_cluster_or_a_key_that_cannot_be_shared_is_named_with_the_fix(
    changed: dict[str, Any], what: str, fix: str
) -> None:
    (bad,) = (check for check in sharing_checks(**changed) if check.status != "ok")
    assert f"{bad.subject} {bad.status}" == what
    assert str(bad.fix).startswith(fix)


def test_a_production_stage_has_schedules_and_no_retries_to_check() -> None:
    names = stacks.function_names(SHARING_STAGE).values()
    answers: Answers = {"lambda:GetAccountSettings": unreserved(101)}
    for name in names:
        answers[f"lambda:GetFunctionConfiguration {name}"] = None
        answers[f"events:DescribeRule {name}-event"] = None
    look = Look(SHARING_STAGE, Mock(), NOW, answers)
    wanted = dict.fromkeys(look.function_names, WOULD_BE)
    found = [*deployment.functions(look, wanted), *deployment.schedules(look)]
    assert [(check.subject, check.seen, check.fix) for check in found] == [
        *((name, "is not deployed", SHARING_DEPLOY) for name in names),
        ("concurrency of the account", "101 unreserved", None),
        *((f"{name}-event", "does not exist", SHARING_DEPLOY) for name in names),
    ]
