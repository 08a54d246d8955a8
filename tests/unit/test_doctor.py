"""The doctor's verdicts: each fault that can be seen of a stage, named with its fix, and nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
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
from cli.policies import policies
from cli.stages import AcceptanceStage, ProductionStage, StageError
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot
from tests.stage import (
    CURRENT,
    LATEST,
    OTHER_CURRENT,
    OTHER_LATEST,
    PIPELINE,
    PIPELINE_NAME,
    STAGE,
    TWO,
)

PIPELINE_ARN = f"arn:aws:codepipeline:eu-west-1:{ACCEPTANCE}:{PIPELINE}"
TOPIC = f"arn:aws:sns:eu-west-1:{ACCEPTANCE}:aurora-refresh"
HOLD = "/acceptance/refresh/hold"
KEY = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/1234"
NOW = datetime(2026, 1, 4, 1, tzinfo=UTC)
VARIABLES = STAGE | {
    "NOTIFICATION_TOPIC_ARN": TOPIC,
    "SSM_REFRESH_HOLD_NAME": HOLD,
    "RDS_STACK_NAME": "main",
}
NAME = "acceptance"
DEPLOY = f"aurora-refresh deploy --stage {NAME}"
RESTORE = f"{APP}-{NAME}-db-restore-from-snapshot"
RULE = f"{RESTORE}-event"
BEFORE, AFTER = f"{APP}-{NAME}-before", f"{APP}-{NAME}-after"
NEW, OLD = snapshot("orders-2"), snapshot("orders-1", created=NOW - timedelta(days=14))
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "Snapshot": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": CURRENT},
        "Text": {"Type": "String", "Default": CURRENT},
    },
    "Resources": {
        "Cluster": {
            "Type": "AWS::RDS::DBCluster",
            "Properties": {
                "SnapshotIdentifier": {"Ref": "Snapshot"},
                "EngineVersion": "15.4",
                "KmsKeyId": {"Ref": "KmsKeyArn"},
                "ManageMasterUserPassword": "true",
            },
        },
        "Writer": {
            "Type": "AWS::RDS::DBInstance",
            "Properties": {"DBClusterIdentifier": {"Ref": "Cluster"}},
        },
    },
}


def stage_of(**variables: str) -> AcceptanceStage:
    given = {name: value for name, value in (VARIABLES | variables).items() if value}
    return AcceptanceStage(NAME, given, Settings.from_environment(given), PIPELINE_ARN)


STAGE_ = stage_of()
WANTED = policies(STAGE_)
INVOCATIONS = stacks.invocations(STAGE_)
LAMBDA = {
    "Runtime": "python3.11",
    "Architectures": ["x86_64"],
    "MemorySize": 256,
    "Timeout": 120,
}


def stored(**values: str) -> dict[str, Any]:
    return {
        name: {"Value": value, "Version": 1, "Type": "String"} for name, value in values.items()
    }


def lambda_of(name: str) -> str:
    return f"arn:aws:lambda:eu-west-1:{ACCEPTANCE}:function:{name}"


def function_of(function: str, name: str) -> dict[str, Any]:
    """What AWS answers about a function, its role and its rule."""
    invokers = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "lambda:InvokeFunction",
                "Condition": {"ArnLike": {"AWS:SourceArn": rule_arn(f"{name}-event")}},
            }
        ]
    }
    role = f"{APP}-{NAME}-{function}"
    return {
        f"lambda:GetFunctionConfiguration {name}": {
            **LAMBDA,
            "FunctionArn": lambda_of(name),
            "Role": f"arn:aws:iam::{ACCEPTANCE}:role/{role}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Environment": {"Variables": dict(STAGE_.variables)},
        },
        f"lambda:GetFunctionConcurrency {name}": 1,
        f"lambda:GetFunctionEventInvokeConfig {name}": INVOCATIONS.get(name),
        f"lambda:GetPolicy {name}": json.dumps(invokers),
        f"policies of {role}": [WANTED[function]],
        f"iam:ListAttachedRolePolicies {role}": [],
        f"iam:GetRole {role}": None,
    }


def rule_arn(name: str) -> str:
    return f"arn:aws:events:eu-west-1:{ACCEPTANCE}:rule/{name}"


def rule_of(function: str, name: str) -> dict[str, Any]:
    """What AWS answers about a rule."""
    ends = {
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"state": ["SUCCEEDED", "FAILED", "STOPPED", "CANCELED"]},
    }
    when = {
        "db-update-latest-snapshot-id": {"ScheduleExpression": "cron(0 2 ? * SUN *)"},
        "db-restore-from-snapshot": {"ScheduleExpression": "cron(0 4 ? * SUN *)"},
        "db-reconcile": {"ScheduleExpression": "rate(15 minutes)"},
    }.get(function, {"EventPattern": json.dumps(ends)})
    return {
        f"events:DescribeRule {name}": {"State": "ENABLED", "Arn": rule_arn(name), **when},
        f"events:ListTargetsByRule {name}": [lambda_of(name.removesuffix("-event"))],
    }


def action(category: str, name: str, **more: Any) -> dict[str, Any]:
    kind = {"category": category, "provider": "CloudFormation" if category == "Deploy" else "x"}
    return {"name": name, "actionTypeId": kind, **more}


def stage_named(name: str, *actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "actions": list(actions), **more}


BUILD = stage_named("Build", action("Build", "Compile"))
DATABASE = action("Deploy", "Database", configuration={"StackName": "main"}, runOrder=2)
PIPELINE_BODY = {
    "executionMode": "SUPERSEDED",
    "stages": [
        BUILD,
        stage_named("Deploy", DATABASE),
        stage_named("Verify", action("Approval", "SignOff")),
    ],
}
CLUSTER = {
    "DBClusterIdentifier": "main-cluster-1",
    "ClusterCreateTime": NOW,
    "Engine": "aurora-postgresql",
}
SEEN = SeenStack("UPDATE_COMPLETE", {"Cluster": "main-cluster-1"}, {CURRENT: OLD.arn})
CUSTOMERS = {"KeyManager": "CUSTOMER", "KeyState": "Enabled"}

Answers = dict[str, Any]


def a_template(body: Any = TEMPLATE, **values: str) -> mainpipeline.StackTemplate:
    return mainpipeline.StackTemplate.of(body, values)


def sharing_of(choice: Choice, newest: Any = NEW, productions: Any = (OLD, NEW)) -> Answers:
    return {"shares": {"rds": Shares(7, productions, choice, newest)}}


def alarm_of(**changed: Any) -> dict[str, Any]:
    plain = {"StateValue": "OK", "ActionsEnabled": True, "AlarmActions": [TOPIC]}
    return plain | changed


# What AWS answers, by the question.
HEALTHY: Answers = {
    "parameters": stored(
        **{PIPELINE_NAME: PIPELINE, LATEST: NEW.arn, CURRENT: OLD.arn, HOLD: "dummyvalue"}
    ),
    "candidate of rds": NEW,
    "present of rds": OLD,
    f"codepipeline:GetPipeline {PIPELINE}": PIPELINE_BODY,
    f"codepipeline:GetPipelineState {PIPELINE}": [],
    "runs": [Run("1", "Succeeded", NOW, NOW)],
    "template of main": a_template(),
    "deployment of rds": Deployment(OLD.arn),
    "deployed_stack of rds": SEEN,
    "rds:DescribeDBClusters main-cluster-1": CLUSTER,
    "preparation of rds": None,
    **sharing_of(Choice(NEW, frozenset({"orders"}), {"engine": 2})),
    f"rds:DescribeDBClusterSnapshots {NEW.arn}": KEY,
    f"kms:DescribeKey {KEY}": CUSTOMERS,
    **{
        question: answer
        for function, name in stacks.function_names(STAGE_).items()
        for question, answer in function_of(function, name).items()
    },
    **{
        question: answer
        for function, name in stacks.rule_names(STAGE_).items()
        for question, answer in rule_of(function, name).items()
    },
    f"sns:GetTopicAttributes {TOPIC}": {},
    f"sns:ListSubscriptionsByTopic {TOPIC}": [
        {"SubscriptionArn": f"{TOPIC}:1", "Protocol": "email", "Endpoint": "a@b.example"}
    ],
    "alarms": {name: alarm_of() for name in stacks.alarm_names(STAGE_)},
    f"cloudformation:DescribeStacks {BEFORE}": {"StackStatus": "CREATE_COMPLETE"},
    f"cloudformation:DescribeStacks {AFTER}": {"StackStatus": "CREATE_COMPLETE"},
    "rest_apis": ["a1b2c3"],
    "lambda:GetAccountSettings": 900,
}


def looking(answers: Answers, stage: AcceptanceStage = STAGE_) -> AcceptanceLook:
    """A look at an account, in which no other question may be asked."""
    nothing = Mock(client=Mock(side_effect=AssertionError("not known")))
    return AcceptanceLook(stage, nothing, NOW, answers)


def judged(answers: Answers, stage: AcceptanceStage = STAGE_) -> list[Check]:
    wanted = {**LAMBDA, "reserved_concurrency": 1}
    look = looking(answers, stage)
    return [
        *acceptance.parameters(look),
        *acceptance.pipeline(look),
        *template_checks.reading(look),
        *refresh.databases(look),
        *refresh.obstacles(look),
        *acceptance.shares(look),
        *acceptance.copy_keys(look),
        *deployment.own_stacks(look),
        *deployment.functions(look, dict.fromkeys(WANTED, wanted)),
        *deployment.roles(look, WANTED, {}),
        *deployment.rest_api("REST API", look),
        *deployment.schedules(look),
        *deployment.topic(look),
        *deployment.topic_keys(look),
        *deployment.alarms(look),
    ]


def found(seen: Answers, stage: AcceptanceStage = STAGE_) -> list[tuple[str, str, str]]:
    """What is not ok: what, whose and how bad; each with its fix."""
    bad = [check for check in judged(seen, stage) if check.status != "ok"]
    assert all(check.fix for check in bad)
    assert not any(check.fix for check in judged(seen, stage) if check.status == "ok")
    return [(check.check, check.subject, check.status) for check in bad]


def only(seen: Answers, stage: AcceptanceStage = STAGE_) -> Check:
    """The one thing that is not ok."""
    (bad,) = (check for check in judged(seen, stage) if check.status != "ok")
    return bad


def holding(**values: Any) -> Answers:
    """The account with other parameters; None takes one away."""
    parameters = {**HEALTHY["parameters"]}
    for name, value in values.items():
        del parameters[name]
        if isinstance(value, str):
            parameters |= stored(**{name: value})
        elif value:
            parameters[name] = value
    return HEALTHY | {"parameters": parameters}


def test_a_healthy_account_has_nothing_that_is_not_ok() -> None:
    assert found(HEALTHY) == []


# --- parameters -----------------------------------------------------------------------------------


NEXT_RUN = "the next run of the pipeline, whoever starts it, restores what this writes to current"
SHARE_FIRST = "have production share a snapshot that can be restored here first (see share and key), and run the doctor again"


def put(name: str, value: str, over: str = " --overwrite") -> str:
    return f"aws ssm put-parameter --name {name} --type String --value {value}{over}"


def test_before_the_first_deployment_parameters_and_topic_are_made_by_deploying() -> None:
    """Later it would not miss what was deleted from under its stack."""
    nothing = holding(**{LATEST: None}) | {
        f"sns:GetTopicAttributes {TOPIC}": None,
        f"cloudformation:DescribeStacks {BEFORE}": None,
    }
    fixes = {check.subject: check.fix for check in judged(nothing) if check.status == "problem"}
    assert fixes == {LATEST: DEPLOY, TOPIC: f"{DEPLOY} EMAIL=…"}


@pytest.mark.parametrize(
    "value",
    [
        "dummyvalue",
        "hunter2",
        arn("orders-1", "999999999999"),
        OLD.arn.replace("eu-west-1", "eu-west-2"),
        {"Value": "AQECAHh", "Version": 1, "Type": "SecureString"},
        None,
    ],
)
def test_the_placeholder_is_never_to_be_written_into_current(value: Any) -> None:
    """The next run of the pipeline would read it, and fail."""
    nothing = sharing(newest=Refused(Reason.NO_ELIGIBLE_SNAPSHOT, "none"))
    seen = nothing | {"parameters": holding(**{CURRENT: value, LATEST: "dummyvalue"})["parameters"]}
    (check,) = (each for each in acceptance.parameters(looking(seen)) if each.subject == CURRENT)
    assert check.fix
    assert check.fix.endswith(SHARE_FIRST)
    assert "put-parameter" not in check.fix


@pytest.mark.parametrize(
    ("changed", "restorable"),
    [
        ({}, True),
        ({"key_arn": None}, True),
        ({"key": Unavailable("kms:DescribeKey", "closed", denied=True)}, False),
        ({"key": {"KeyManager": "AWS", "KeyState": "Enabled"}}, False),
        ({"newest": Refused(Reason.NO_ELIGIBLE_SNAPSHOT, "none")}, False),
    ],
)
def test_no_snapshot_is_proposed_that_could_not_be_restored(
    changed: dict[str, Any], *, restorable: bool
) -> None:
    parameters = holding(**{CURRENT: None, LATEST: "dummyvalue"})["parameters"]
    seen = sharing(**changed) | {"parameters": parameters}
    (missing,) = (check for check in judged(seen) if check.seen == "does not exist")
    assert missing.fix == (
        f"{NEXT_RUN}: {put(CURRENT, NEW.arn, '')}" if restorable else SHARE_FIRST
    )


def test_no_share_of_another_region_is_proposed_for_current() -> None:
    elsewhere = stage_of(SOURCE_REGION="us-east-1", RDS_COPY_KMS_KEY_ID="alias/copies")
    seen = holding(**{CURRENT: None, LATEST: "dummyvalue"})
    (missing,) = (
        each
        for each in acceptance.parameters(looking(seen, elsewhere))
        if each.seen == "does not exist"
    )
    assert missing.fix == SHARE_FIRST


def test_each_database_is_told_of_its_own_parameters() -> None:
    stage = stage_of(**TWO)
    others = stored(**{OTHER_LATEST: "dummyvalue", OTHER_CURRENT: "dummyvalue"})
    parameters = holding(**{LATEST: "hunter2"})["parameters"] | others
    shares = HEALTHY["shares"] | {"docs": HEALTHY["shares"]["rds"]}
    seen = HEALTHY | {"parameters": parameters, "shares": shares}
    bad = [check for check in acceptance.parameters(looking(seen, stage)) if check.status != "ok"]
    assert [(check.subject, check.status) for check in bad] == [
        (LATEST, "problem"),
        (OTHER_LATEST, "warning"),
        (OTHER_CURRENT, "warning"),
    ]


# --- the main pipeline ----------------------------------------------------------------------------


def template(snapshot: Any, **properties: Any) -> dict[str, Any]:
    """The template with another source of the cluster's snapshot; None takes a property away."""
    cluster = TEMPLATE["Resources"]["Cluster"]
    given = {**cluster["Properties"], "SnapshotIdentifier": snapshot, **properties}
    changed = {name: value for name, value in given.items() if value is not None}
    resources = {**TEMPLATE["Resources"], "Cluster": {**cluster, "Properties": changed}}
    return {**TEMPLATE, "Resources": resources}


def test_the_reference_template_is_read_and_found_right() -> None:
    text = (Path(__file__).resolve().parents[2] / "infrastructure/main-pipeline.yaml").read_text()
    read = templates.parsed(text)
    assert read["Resources"]["Cluster"]["Properties"]["SnapshotIdentifier"] == {"Ref": "Snapshot"}
    assert read["Resources"]["EndpointParameter"]["Properties"]["Name"] == {
        "Fn::Sub": "${ConnectionPrefix}/endpoint"
    }
    assert found(reading(read, Snapshot=CURRENT)) == []


def test_what_is_no_template_is_an_error_that_is_told() -> None:
    with pytest.raises(StageError, match="not a mapping"):
        templates.parsed("- no template")
    with pytest.raises(StageError, match="cannot be read"):
        templates.parsed("a: [")


# --- what the refresh looks at --------------------------------------------------------------------

MACHINE = f"arn:aws:states:eu-west-1:{ACCEPTANCE}:stateMachine:mask"
EXECUTION = f"arn:aws:states:eu-west-1:{ACCEPTANCE}:execution:mask:rds-cluster-1"
PREPARING = stage_of(RDS_AFTER_RESTORE=MACHINE)
READY = CLUSTER | {"HttpEndpointEnabled": True, "MasterUserSecret": {"SecretArn": "x"}}


def seeing(**changed: Any) -> Answers:
    """The account in which the refresh sees something else of the database."""
    questions = {
        "stack": "deployed_stack of rds",
        "cluster": "rds:DescribeDBClusters main-cluster-1",
        "deployment": "deployment of rds",
        "machine": f"states:DescribeStateMachine {MACHINE}",
        "preparation": "preparation of rds",
    }
    return HEALTHY | {questions[name]: answer for name, answer in changed.items()}


def with_pipeline(*stages_: dict[str, Any], **more: Any) -> Answers:
    body = PIPELINE_BODY | ({"stages": [*stages_]} if stages_ else {}) | more
    return HEALTHY | {f"codepipeline:GetPipeline {PIPELINE}": body}


def set_stack(value: str) -> str:
    return f"aurora-refresh configure --stage {NAME} RDS_STACK_NAME={value}, and then {DEPLOY}"


def named(stack: str) -> AcceptanceStage:
    return stage_of(RDS_STACK_NAME=stack)


def of_deployment(seen: Answers, stage: AcceptanceStage = STAGE_) -> list[Check]:
    look = looking(seen, stage)
    return [*refresh.databases(look), *refresh.obstacles(look)]


def test_what_is_deployed_is_shown_and_unmasked_data_is_only_mentioned() -> None:
    hint = "is not set for any database: production's personal data arrives unmasked"
    assert of_deployment(HEALTHY) == [
        Check(
            "deployment",
            "rds",
            "ok",
            "cluster main-cluster-1 of stack main, created Sunday 2026-01-04 01:00 UTC, restored "
            f"from {OLD.arn}",
        ),
        Check("deployment", "P_AFTER_RESTORE", "ok", hint),
    ]


def stack_of(status: str = "UPDATE_COMPLETE", *clusters: str) -> dict[str, Any]:
    names = dict.fromkeys(clusters or ("Cluster",), "main-cluster-1")
    seen = SeenStack(status, names, {})
    return {
        "stack": seen,
        "deployment": unreadable_stack(StackReference("main"), seen) or Deployment(),
    }


@pytest.mark.parametrize(
    ("changed", "stack", "status", "told", "fix"),
    [
        ({"stack": None}, "gone", "problem", "does not exist in account", set_stack("main")),
        ({"stack": None}, "main", "warning", "not been deployed", "nothing before the pipeline's"),
        (stack_of("UPDATE_IN_PROGRESS"), "main", "warning", "is UPDATE_IN", "run the doctor again"),
        (
            stack_of("UPDATE_ROLLBACK_FAILED"),
            *("main", "problem", "continue its rollback"),
            "aws cloudformation continue-update-rollback --stack-name main",
        ),
        (
            stack_of("ROLLBACK_FAILED"),
            *("main", "problem", "is ROLLBACK_FAILED"),
            "aws cloudformation delete-stack --stack-name main",
        ),
        (
            stack_of("UPDATE_COMPLETE", "B", "A"),
            *("main", "problem", "write one of main/A, main/B"),
            f"one of these: {set_stack('main/A or main/B')}",
        ),
        (
            stack_of(),
            *("main/Orders", "problem", "has no DB cluster Orders; it has main/Cluster"),
            f"name the stack that has it, perhaps a nested one: {set_stack('main/Cluster')}",
        ),
        ({"cluster": None}, "main", "problem", "does not exist any more", "pin another snapshot"),
        (
            {"deployment": Deployment(unknown="current was set at about the time")},
            *("main", "problem", "it cannot be seen what is deployed: current was set"),
            "Correct what is named above",
        ),
        (
            {"stack": None, "deployment": Deployment(unknown="there is no stack gone")},
            *("gone", "problem", "there is no stack gone", set_stack("main")),
        ),
    ],
)
def test_a_stack_that_does_not_show_what_is_deployed_is_named(
    changed: dict[str, Any], stack: str, status: str, told: str, fix: str
) -> None:
    check, _ = of_deployment(seeing(**changed) | {"template of gone": None}, named(stack))
    assert (check.check, check.subject, check.status) == ("deployment", "rds", status)
    assert told in check.seen
    assert str(check.fix).startswith(fix)


def test_without_a_stack_s_name_the_one_that_reads_current_is_proposed() -> None:
    check, _ = of_deployment(HEALTHY, named(""))
    assert (check.subject, check.status, check.fix) == ("rds", "warning", set_stack("main"))
    assert "goes by the newest successful deploy action alone" in check.seen
    unknown = Deployment(unknown="current was set at about the time")
    _, check, _ = of_deployment(seeing(deployment=unknown), named(""))
    assert (check.subject, check.status) == ("rds", "problem")


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"region": "eu-central-1"}, f"in account {ACCEPTANCE}, eu-central-1"),
        ({"roleArn": "arn:aws:iam::333333333333:role/x"}, "in account 333333333333, eu-west-1"),
    ],
)
@pytest.mark.parametrize("stack", ["main", ""])
def test_a_stack_in_another_account_or_region_is_not_seen_and_no_problem(
    where: dict[str, str], place: str, stack: str
) -> None:
    there = {"stages": [stage_named("Deploy", {**DATABASE, **where})]}
    both = {"stages": [*there["stages"], stage_named("Deploy2", DATABASE)]}
    assert mainpipeline.stacks_of(STAGE_, both) == [mainpipeline.DeployedStack("main")]
    seen = with_pipeline(*there["stages"]) | {"template of main": None}
    bad = [check for check in judged(seen, named(stack)) if check.status != "ok"]
    in_question = [check for check in bad if check.check in ("template", "deployment")]
    assert [(check.check, check.status, check.blind) for check in in_question] == [
        ("template", "warning", True),
        ("deployment", "warning", True),
    ]
    assert all(place in check.seen for check in in_question)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"machine": None}, [(MACHINE, "problem")]),
        ({"machine": "DELETING"}, [(MACHINE, "problem")]),
        ({"cluster": CLUSTER}, [("cluster main-cluster-1", "warning")] * 2),
        ({"cluster": READY | {"Engine": "docdb", "HttpEndpointEnabled": False}}, []),
        ({"preparation": Preparation("RUNNING", EXECUTION)}, []),
        (
            {"preparation": Preparation("FAILED", EXECUTION)},
            [("preparation of rds", "problem")],
        ),
    ],
)
def test_the_work_after_a_restore_needs_its_state_machine_and_a_cluster_to_work_on(
    changed: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    seen = seeing(**{"machine": "ACTIVE", "cluster": READY} | changed)
    bad = [check for check in of_deployment(seen, PREPARING) if check.status != "ok"]
    assert [(check.subject, check.status) for check in bad] == told


# --- shares and keys ------------------------------------------------------------------------------


def sharing(key_arn: Any = KEY, key: Any = CUSTOMERS, **changed: Any) -> Answers:
    shares = HEALTHY["shares"]["rds"]._replace(**changed)
    share = shares.newest.arn if isinstance(shares.newest, Snapshot) else ""
    keys = {f"rds:DescribeDBClusterSnapshots {share}": key_arn, f"kms:DescribeKey {key_arn}": key}
    return HEALTHY | {"shares": {"rds": shares}} | keys


def refused(
    reason: Reason, rejected: dict[str, int], clusters: frozenset[str] = frozenset()
) -> Answers:
    choice = Choice(None, clusters, rejected)
    return sharing(choice=choice, newest=Refused(reason, "none can be chosen"))


def test_the_newest_share_is_told_with_the_count_of_each_verdict() -> None:
    (share,) = (check for check in judged(HEALTHY) if check.check == "share")
    assert share == Check(
        "share",
        "rds",
        "ok",
        f"{NEW.arn}, 3.0 hours old, is the newest; 5 of 7 shares are eligible; rejected: 2 for engine",
    )


def test_each_of_production_s_shares_is_named_with_its_verdict_the_newest_first() -> None:
    shares = [
        OLD,
        snapshot("mysql", engine="aurora-mysql"),
        snapshot("making", created=None),
        NEW,
        snapshot("making", status="creating", created=NOW),
    ]
    verdicts = [
        (check.subject, check.status, check.seen)
        for check in judged(sharing(productions=shares))
        if check.check == "verdict"
    ]
    assert verdicts == [
        (arn("making"), "ok", "for rds: rejected: no creation time yet"),
        (arn("making"), "ok", "for rds: rejected: status creating, expected available"),
        (NEW.arn, "ok", "for rds: eligible, and the newest"),
        (
            arn("mysql"),
            "ok",
            "for rds: rejected: engine aurora-mysql, expected aurora-postgresql",
        ),
        (OLD.arn, "ok", "for rds: eligible"),
    ]


def test_people_are_shown_twenty_verdicts_and_machines_all() -> None:
    shares = [snapshot(f"orders-{n}", created=NOW - timedelta(days=n)) for n in range(23)]
    checks_ = [each for each in judged(sharing(productions=shares)) if each.check == "verdict"]
    assert [each.subject for each in checks_] == [each.arn for each in shares]
    told = [*doctor.lines(checks_)]
    assert [line.split()[1] for line in told[1:21]] == [f"{each.arn}:" for each in shares[:20]]
    assert told[21:] == [
        "           and 3 older ones: see --json",
        "healthy; problems: 0, warnings: 0, ok: 23",
    ]


def hidden_key(why: str) -> dict[str, Any]:
    return {"key": Unavailable("kms:DescribeKey", why, denied=True)}


OPEN_KEY = f'"Principal": {{"AWS": "arn:aws:iam::{ACCEPTANCE}:root"}}'
ALLOW = "allow kms:DescribeKey to the identity in use"
OWN_DENIALS = ("an identity-based policy", "a permissions boundary", "a session policy")


def test_a_refusal_of_the_longest_names_is_told_with_its_reason() -> None:
    role = f"arn:aws:sts::{ACCEPTANCE}:assumed-role/{'r' * 64}/{'s' * 64}"
    key = f"arn:aws:kms:ap-southeast-1:{PRODUCTION}:key/11111111-1111-1111-1111-111111111111"
    message = (
        f"User: {role} is not authorized to perform: kms:DescribeKey on resource: {key} "
        "because no identity-based policy allows the kms:DescribeKey action"
    )
    refused_ = ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "x")
    key_client = Mock(describe_key=Mock(side_effect=refused_))
    look = Look(STAGE_, Mock(client=Mock(return_value=key_client)), NOW)
    with pytest.raises(Unavailable) as caught:
        look.key(KEY)
    found = (caught.value.action, caught.value.why, caught.value.denied)
    assert found == ("kms:DescribeKey", f"AccessDeniedException: {message}", True)


# --- what was deployed ----------------------------------------------------------------------------


def with_function(**changed: Any) -> Answers:
    """The account with another restore function."""
    questions = {
        "configuration": f"lambda:GetFunctionConfiguration {RESTORE}",
        "concurrency": f"lambda:GetFunctionConcurrency {RESTORE}",
        "asynchronous": f"lambda:GetFunctionEventInvokeConfig {RESTORE}",
        "invokers": f"lambda:GetPolicy {RESTORE}",
        "inline": f"policies of {RESTORE}",
        "attached": f"iam:ListAttachedRolePolicies {RESTORE}",
        "boundary": f"iam:GetRole {RESTORE}",
    }
    return HEALTHY | {questions[name]: answer for name, answer in changed.items()}


def configured(**changed: Any) -> Answers:
    return with_function(configuration=CONFIGURATION | changed)


def test_what_python_is_stated_does_not_depend_on_the_one_in_use(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    wanted = doctor.configurations(project, stages.load(project, NAME))
    assert {each["Runtime"] for each in wanted.values()} == {"python3.11"}


REMAKE = (
    f"aws cloudformation delete-stack --stack-name {AFTER} && aws cloudformation wait "
    f"stack-delete-complete --stack-name {AFTER} && {DEPLOY}"
)


@pytest.mark.parametrize(("state", "fix"), [("UPDATE_COMPLETE", REMAKE), (None, DEPLOY)])
def test_what_was_deleted_from_under_a_stack_is_made_by_a_new_stack(
    state: str | None, fix: str
) -> None:
    """CloudFormation compares templates, and does not miss it."""
    alarm, *alarms = stacks.alarm_names(STAGE_)
    seen = with_function(asynchronous=None) | {
        f"cloudformation:DescribeStacks {AFTER}": state and {"StackStatus": state},
        "alarms": {alarm: None} | {name: alarm_of() for name in alarms},
    }
    told = {check.subject: check for check in judged(seen) if check.status != "ok"}
    assert told[f"{RESTORE} retries"].fix == fix
    assert told[alarm].fix == fix


# --- schedules ------------------------------------------------------------------------------------


def with_rule(body: Any = None, name: str = RULE, **more: Any) -> Answers:
    question = f"events:DescribeRule {name}"
    changed = HEALTHY[question] | body if isinstance(body, dict) else HEALTHY[question]
    targets = {f"events:ListTargetsByRule {name}": each for each in more.values()}
    return HEALTHY | {question: changed} | targets


# What aws lambda add-permission --principal "*" writes.
ANYBODY = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl"}


def test_the_next_dates_are_real_ones_in_the_window_s_zone_after_the_hold() -> None:
    stage = stage_of(MAINTENANCE_WINDOW="00:00-07:00 Europe/Amsterdam")
    hold = json.dumps({"until": "2026-01-19", "reason": "release", "by": "Kim"})
    seen = holding(**{HOLD: hold})
    told = [check.seen for check in deployment.schedules(looking(seen, stage))]
    assert told == [
        "enabled, cron(0 2 ? * SUN *); next update Sunday 2026-01-04 03:00 Europe/Amsterdam",
        "enabled, cron(0 4 ? * SUN *); next restore Sunday 2026-02-01 05:00 Europe/Amsterdam",
        "enabled, for the ends of runs",
        "enabled, rate(15 minutes); looks at what is deployed",
    ]


def test_a_schedule_in_a_time_zone_is_checked_as_the_rule_fires() -> None:
    schedule, rule = "cron(0 4 ? * SUN *) Europe/Amsterdam", "cron(0 2,3 ? * SUN *)"
    stage = stage_of(RESTORE_SCHEDULE=schedule, MAINTENANCE_WINDOW="00:00-07:00 Europe/Amsterdam")
    seen = with_rule({"ScheduleExpression": rule})
    _, restore, *_ = [check.seen for check in deployment.schedules(looking(seen, stage))]
    assert restore == f"enabled, {rule}; next restore Sunday 2026-01-04 04:00 Europe/Amsterdam"


def test_a_rate_has_no_date() -> None:
    stage = stage_of(RESTORE_SCHEDULE="rate(1 hour)")
    seen = with_rule({"ScheduleExpression": "rate(1 hour)"})
    told = [check.seen for check in deployment.schedules(looking(seen, stage))]
    assert (
        told[1] == "enabled, rate(1 hour); next restore unknown, because the rule counts by itself"
    )


# --- people, and alarms ---------------------------------------------------------------------------


def test_a_stage_without_a_topic_tells_nobody() -> None:
    stage = stage_of(NOTIFICATION_TOPIC_ARN="")
    assert [check.status for check in deployment.topic(looking(HEALTHY, stage))] == ["warning"]


def topic_key_check(
    policy: Any = None, topic: str = TOPIC, keys: tuple[str, ...] = (KEY,), **metadata: str
) -> Check:
    """The check of the key of a topic."""
    key = {"Arn": KEY, "KeyState": "Enabled", "KeyManager": "CUSTOMER", **metadata}
    policy = policy if isinstance(policy, Unavailable) else json.dumps(policy)
    return topic_key_judged(topic, {f"kms:GetKeyPolicy {KEY}": policy}, key, keys)


def topic_key_judged(topic: str, more: Answers, key: Any, keys: tuple[str, ...] = (KEY,)) -> Check:
    stage = stage_of(CHAT_TOPIC_ARN=f"{TOPIC}-chat")
    named = {"KmsMasterKeyId": "alias/topics"}
    answers = {f"sns:GetTopicAttributes {each}": {} for each in (TOPIC, f"{TOPIC}-chat")} | {
        f"sns:GetTopicAttributes {topic}": named,
        "kms:DescribeKey alias/topics": key,
        **more,
    }
    (check,) = deployment.topic_keys(looking(answers, replace(stage, topic_keys=keys)))
    return check


def letting(*principals: Any, action: Any = "kms:*") -> Any:
    return {
        "Statement": [
            {"Effect": "Allow", "Principal": each, "Action": action, "Resource": "*"}
            for each in principals
        ]
    }


DENIED = Unavailable("service:Look", "AccessDenied: you may not", denied=True)
ROOT = {"AWS": "arn:aws:iam::222222222222:root"}
CLOUDWATCH = {"Service": ["cloudwatch.amazonaws.com", "s3.amazonaws.com"]}


NO_RIGHTS = "does not let the account's roles use it"


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({"policy": letting(ROOT, CLOUDWATCH)}, "ok", "functions and alarms may use it"),
        ({"policy": letting("*")}, "ok", "may use it"),
        ({"policy": letting(ROOT, CLOUDWATCH, action=["kms:Decrypt", "kms:GenerateDataKey"])}, "ok", ""),
        ({"policy": letting(ROOT, CLOUDWATCH, action=["kms:Decrypt", "kms:GenerateDataKey*"])}, "ok", ""),
        ({"policy": letting(ROOT)}, "problem", "does not let CloudWatch use it, so that no alarm reaches"),
        ({"policy": letting(ROOT, CLOUDWATCH, action="kms:Decrypt")}, "problem", NO_RIGHTS),
        ({"policy": letting(CLOUDWATCH)}, "problem", NO_RIGHTS),
        ({"policy": {"Statement": []}}, "problem", NO_RIGHTS),
        ({"policy": letting("*"), "keys": ()}, "problem", "roles may not use it"),
        ({"policy": letting("*"), "KeyState": "Disabled"}, "problem", "is Disabled"),
        ({"KeyManager": "AWS"}, "problem", "so that no alarm reaches"),
        # Alarms do not notify the topic for chat.
        ({"KeyManager": "AWS", "topic": f"{TOPIC}-chat"}, "ok", ""),
        ({"policy": letting(ROOT), "topic": f"{TOPIC}-chat"}, "ok", "functions may use it"),
        ({"policy": DENIED}, "warning", "service:Look"),
    ],
)  # fmt: skip
def test_functions_and_alarms_may_use_the_key_of_a_topic(
    given: dict[str, Any], status: str, told: str
) -> None:
    check = topic_key_check(**given)
    assert (check.status, told in check.seen) == (status, True), check
    if "does not let" in told:
        added = json.loads(str(check.fix).removeprefix("add to the key's policy: "))
        assert added["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_a_topic_whose_key_is_gone_is_a_problem_and_one_that_is_hidden_a_warning() -> None:
    assert topic_key_judged(TOPIC, {}, None).status == "problem"
    hidden = {f"sns:GetTopicAttributes {TOPIC}-chat": DENIED}
    assert topic_key_judged(f"{TOPIC}-chat", hidden, None).blind


def test_the_alarm_on_failed_notifications_need_not_notify_the_topic() -> None:
    name = f"aurora-refresh-{NAME}-{stacks.NOTIFICATION_ALARM}"
    assert found(with_alarm(name, AlarmActions=[])) == []


# --- each fault with its fix, and what is right in another way --------------------------------------


def refusing(reason: Reason, value: str = NEW.arn) -> Answers:
    """The account with a *latest* that the schedule would not promote."""
    refused_ = Refused(reason, "it would not do")
    return holding(**{LATEST: value}) | {"candidate of rds": refused_}


def with_alarm(name: str, **changed: Any) -> Answers:
    return HEALTHY | {"alarms": HEALTHY["alarms"] | {name: alarm_of(**changed)}}


def with_template(resource: str, **changed: Any) -> Answers:
    """The account in which a resource of the template has something else."""
    body = {**TEMPLATE["Resources"][resource], **changed}
    return reading({**TEMPLATE, "Resources": {**TEMPLATE["Resources"], resource: body}})


def reading(template_: Any, **given: str) -> Answers:
    is_template = isinstance(template_, dict)
    return HEALTHY | {
        "template of main": a_template(template_, **given) if is_template else template_
    }


BY_HAND = "compare its template with docs/main-pipeline.md"
SECRET = {"Value": "hunter2", "Version": 1, "Type": "SecureString"}
ON_HOLD = json.dumps({"until": "2026-01-19", "reason": "release", "by": "Kim"})
OTHER_PIPELINE = "codepipeline:GetPipeline main"
WAITING = {"SubscriptionArn": "PendingConfirmation", "Protocol": "email", "Endpoint": "x@y.example"}
OTHER_SETTINGS = {**STAGE_.variables, "RDS_ENGINE_VERSION": "hunter2", "TOKEN": "hunter2"}
CONFIGURATION = HEALTHY[f"lambda:GetFunctionConfiguration {RESTORE}"]
POLL_RULE = f"{APP}-{NAME}-db-reconcile-event"
ERRORS, OVERDUE = stacks.alarm_names(STAGE_)[0], f"{APP}-{NAME}-refresh-overdue"
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
RESERVE = f"put-function-concurrency --function-name {RESTORE} --reserved-concurrent-executions 1"
FREE = f"delete-function-concurrency --function-name {APP}-{NAME}"
ASK = action("Approval", "Ask")
ORDERS = action("Deploy", "Orders", configuration={"StackName": "orders"})
REPLACING = {"configuration": {"StackName": "main", "ActionMode": "REPLACE_ON_FAILURE"}}
SKIPPED = {"beforeEntry": {"conditions": [{"result": "SKIP"}]}}
DATABASE_STAGE = stage_named("Deploy", DATABASE)


def off(stage: str) -> dict[str, Any]:
    """A stage whose transition is disabled."""
    disabled = {"enabled": False, "disabledReason": "release"}
    return {"stageName": stage, "inboundTransitionState": disabled}


def test_a_disabled_transition_is_read_with_its_reason() -> None:
    stages_ = [
        {"stageName": "Source"},
        {"stageName": "Build", "inboundTransitionState": {"enabled": True}},
        off("Deploy"),
    ]
    seen = HEALTHY | {f"codepipeline:GetPipelineState {PIPELINE}": stages_}
    assert "is disabled (release)" in only(seen).seen


# Properties of the cluster that make a refresh fail, or that cost something.
PROPERTIES = {
    "DBClusterIdentifier": ("acceptance", "problem"),
    "DeletionProtection": ("true", "warning"),
    "ManageMasterUserPassword": (False, "warning"),
    "EngineVersion": (None, "warning"),
    "KmsKeyId": (None, "warning"),
    "MasterUsername": ("admin", "warning"),
}
# Values of *current* with the snapshot of that name.
WRONG_CURRENTS: list[tuple[str, Any, str]] = [
    ("dummyvalue", None, "warning"),
    ("hunter2", None, "problem"),
    (arn("orders-1", "999999999999"), None, "problem"),
    (OLD.arn.replace("eu-west-1", "eu-west-2"), OLD, "problem"),
    (arn("orders-0"), None, "warning"),
    (OLD.arn, OLD._replace(engine="docdb"), "problem"),
]
# Sources of a cluster's snapshot.
MISREAD: list[tuple[Any, str]] = [
    (f"{{{{resolve:ssm:{CURRENT}}}}}", "never restored again"),
    (f"{{{{resolve:ssm:{CURRENT}:3}}}}", "never restored again"),
    ({"Fn::Sub": f"{{{{resolve:ssm:{CURRENT}}}}}"}, "never restored again"),
    (NEW.arn, "never restored again"),
    ({"Ref": "Text"}, "the text itself"),
    ({"Fn::If": ["Restore", {"Ref": "Text"}, {"Ref": "AWS::NoValue"}]}, "the text itself"),
]
READ_RIGHTLY = (
    f"give the template a parameter of Type: AWS::SSM::Parameter::Value<String> with Default: {CURRENT}, "
    "and write SnapshotIdentifier: !Ref for it, as infrastructure/main-pipeline.yaml does"
)
# Keys of the newest share that acceptance cannot use.
CLOSED_KEYS: list[tuple[dict[str, Any], str, str]] = [
    ({"key_arn": f"arn:aws:kms:x:{PRODUCTION}:alias/aws/rds"}, "problem", "--kms-key-id"),
    ({"key": {"KeyManager": "AWS", "KeyState": "Enabled"}}, "problem", "--kms-key-id"),
    ({"key": {"KeyManager": "CUSTOMER", "KeyState": "Disabled"}}, "problem", "enable-key"),
    ({"key": None}, "problem", "--kms-key-id"),
    (hidden_key("no resource-based policy allows it"), "problem", OPEN_KEY),
    (hidden_key("AccessDeniedException: no"), "problem", OPEN_KEY),
    (hidden_key("no identity-based policy allows it"), "warning", ALLOW),
    *((hidden_key(f"with an explicit deny in {each}"), "warning", ALLOW) for each in OWN_DENIALS),
]
CONFIGURATIONS: list[dict[str, Any]] = [
    {"State": "Inactive"},
    {"LastUpdateStatus": "Failed"},
    {"Environment": {"Variables": {**STAGE_.variables, "PIN_API_ENABLED": "false"}}},
    {"Environment": {}},
    {"Architectures": ["arm64"]},
    {"MemorySize": 128},
    {"Timeout": 3},
]
RETRIES = INVOCATIONS[RESTORE]
FIRST, *OTHERS = WANTED["db-restore-from-snapshot"]["Statement"]
LESS = {"Statement": [each for each in (FIRST, *OTHERS) if each["Sid"] != "MoveCurrent"]}
OTHER_RETRIES = [
    RETRIES | {"DestinationConfig": {}},
    RETRIES | {"MaximumRetryAttempts": 0},
    RETRIES | {"MaximumEventAgeInSeconds": 60},
]

# fmt: off
# What is in the account; the check, its subject and its status; what it says; its fix.
Row = tuple[Answers, str, str, str]
FAULTS: list[Row] = [
    (holding(**{PIPELINE_NAME: None}),
     f"parameter {PIPELINE_NAME} problem", "does not exist", put(PIPELINE_NAME, PIPELINE, "")),
    (holding(**{LATEST: None}), f"parameter {LATEST} problem", "does not exist", put(LATEST, "dummyvalue", "")),
    (holding(**{CURRENT: None}),
     f"parameter {CURRENT} problem", "does not exist", f"{NEXT_RUN}: {put(CURRENT, NEW.arn, '')}"),
    *((holding(**{CURRENT: value}) | {"present of rds": present},
       f"parameter {CURRENT} {status}", "", f"{NEXT_RUN}: {put(CURRENT, NEW.arn)}")
      for value, present, status in WRONG_CURRENTS),
    (holding(**{LATEST: SECRET}),
     f"parameter {LATEST} problem", "SecureString", put(LATEST, "dummyvalue", "")),
    (holding(**{LATEST: "dummyvalue"}),
     f"parameter {LATEST} warning", "placeholder", "nothing before the first update: Sunday 2026-01-04 02:00 UTC"),
    (holding(**{LATEST: "hunter2"}),
     f"parameter {LATEST} problem", "not the ARN", put(LATEST, "dummyvalue")),
    (refusing(Reason.SNAPSHOT_GONE, OLD.arn),
     f"parameter {LATEST} problem", "not promote it", put(LATEST, NEW.arn)),
    (refusing(Reason.SNAPSHOT_STALE),
     f"parameter {LATEST} problem", "not promote it", Reason.SNAPSHOT_STALE.next_step),
    (holding(**{PIPELINE_NAME: "the main one"}),
     f"parameter {PIPELINE_NAME} problem", "not a pipeline's name", put(PIPELINE_NAME, PIPELINE)),
    (holding(**{HOLD: "until Thursday"}),
     f"parameter {HOLD} problem", "counts as a hold", put(HOLD, "dummyvalue")),
    (holding(**{HOLD: ON_HOLD}),
     f"parameter {HOLD} warning", "on hold until 2026-01-19 by Kim: release", put(HOLD, "dummyvalue")),
    (holding(**{PIPELINE_NAME: "main"}) | {OTHER_PIPELINE: None},
     "pipeline main problem", "does not exist", put(PIPELINE_NAME, PIPELINE)),
    (holding(**{PIPELINE_NAME: "main"}) | {OTHER_PIPELINE: PIPELINE_BODY, "codepipeline:GetPipelineState main": []},
     "pipeline main problem", f"may start only {PIPELINE}", f"MAIN_PIPELINE_ARN={PIPELINE_ARN.removesuffix(PIPELINE)}main, and then {DEPLOY}"),
    (HEALTHY | {f"codepipeline:GetPipeline {PIPELINE}": None},
     f"pipeline {PIPELINE} problem", "does not exist", f"aurora-refresh configure --stage {NAME} MAIN_PIPELINE_ARN="),
    (with_pipeline(executionMode="PARALLEL"),
     f"pipeline {PIPELINE} problem", "two runs may restore at once", "aws codepipeline update-pipeline"),
    *((HEALTHY | {"runs": [Run("2", each, NOW, NOW)]}, "pipeline last run warning", each, "pipelineExecutionId=2")
      for each in ("Failed", "Stopped", "Cancelled")),
    *((reading(template(source)), "template main problem", told, READ_RIGHTLY) for source, told in MISREAD),
    (reading(TEMPLATE, Snapshot=LATEST),
     "template main problem", "would restore by accident", "give the template a parameter"),
    (reading(TEMPLATE, Snapshot="/x"),
     "template main problem", "Cluster reads /x, which is not a parameter of this stage", "give the template"),
    (with_pipeline(BUILD) | {"template of main": a_template({})}, f"template {CURRENT} warning", "nothing was found that reads it", BY_HAND),
    (reading({"Resources": {}}), f"template {CURRENT} warning", "nothing was found that reads it", BY_HAND),
    (reading(None), "template main warning", "has not been deployed yet", BY_HAND),
    (reading(DENIED), "template main warning", "service:Look", "allow service:Look"),
    (reading(template({"Fn::GetAtt": ["Chooser", "Arn"]})), "template main warning", "is unknown", BY_HAND),
    (with_template("Cluster", UpdateReplacePolicy="Snapshot"),
     "template main warning", "one more snapshot", "write UpdateReplacePolicy: Delete for Cluster"),
    (with_template("Writer", Properties={"DBClusterIdentifier": {"Ref": "Cluster"}, "DBInstanceIdentifier": "x"}),
     "template main problem", "every refresh fails", "remove DBInstanceIdentifier from Writer"),
    (with_pipeline(stage_named("Deploy", DATABASE | REPLACING)),
     "template main warning", "is deleted", "write ActionMode: CREATE_UPDATE"),
    (with_pipeline(stage_named("Deploy", DATABASE, ORDERS)) | {"template of main": a_template(Snapshot="/x"), "template of orders": a_template()},
     "deployment rds problem", f"is restored from /x, not from {CURRENT}", set_stack("orders")),
    (with_pipeline(stage_named("Review", ASK), DATABASE_STAGE),
     f"deployment stage Review of {PIPELINE} warning", "Ask waits for an approval", "move Ask behind the action"),
    (with_pipeline(stage_named("Deploy", ASK, DATABASE)),
     f"deployment stage Deploy of {PIPELINE} warning", "Ask waits for an approval", "move Ask behind the action"),
    (with_pipeline(BUILD, stage_named("Review", ASK), stage_named("Apply", action("Build", "Terraform"))),
     f"deployment stage Review of {PIPELINE} warning", "Ask waits for an approval", "move Ask behind the action"),
    (HEALTHY | {f"codepipeline:GetPipelineState {PIPELINE}": [off("Deploy"), off("Verify")]},
     f"deployment stage Deploy of {PIPELINE} warning", "is disabled (release)", f"aws codepipeline enable-stage-transition --pipeline-name {PIPELINE} --stage-name Deploy"),
    (with_pipeline(DATABASE_STAGE | SKIPPED),
     f"deployment stage Deploy of {PIPELINE} warning", "a condition may skip it", "the result FAIL"),
    (with_pipeline(DATABASE_STAGE | {"onFailure": {"result": "ROLLBACK"}}),
     f"deployment stage Deploy of {PIPELINE} warning", "it rolls back automatically", "remove the result ROLLBACK"),
    *((sharing(**changed), f"key {changed.get('key_arn', KEY)} {status}", "", fix) for changed, status, fix in CLOSED_KEYS),
    (refused(Reason.NO_ELIGIBLE_SNAPSHOT, {"account": 7}),
     "share rds problem", "none can be chosen", f"in production ({PRODUCTION}): aws rds modify-db-cluster-snapshot-attribute"),
    (refused(Reason.NO_ELIGIBLE_SNAPSHOT, {"version": 7}),
     "share rds problem", "7 for version", f"aurora-refresh configure --stage {NAME} RDS_ENGINE_VERSION=…, and then {DEPLOY}"),
    (refused(Reason.AMBIGUOUS_CLUSTER, {}, frozenset({"orders", "billing"})),
     "share rds problem", "none can be chosen", f"RDS_SOURCE_CLUSTER=billing (or orders), and then {DEPLOY}"),
    (sharing(newest=OLD._replace(created=NOW - timedelta(days=15))),
     "share rds problem", "nothing older than 14 days", Reason.SNAPSHOT_STALE.next_step),
    (configured(Runtime="python3.9"),
     f"function {RESTORE} runtime warning", "older than python3.11", f"with python3.11 or newer: make setup, and then {DEPLOY}"),
    (configured(Environment={"Variables": OTHER_SETTINGS}),
     f"function {RESTORE} problem", "other settings than the stage's: RDS_ENGINE_VERSION, TOKEN", DEPLOY),
    *((configured(**each), f"function {RESTORE} problem", "", DEPLOY) for each in CONFIGURATIONS),
    *((with_function(asynchronous=each), f"function {RESTORE} retries warning", "", REMAKE) for each in OTHER_RETRIES),
    *((reading(template({"Ref": "Snapshot"}, **{name: value})), f"template main {status}", name, name)
      for name, (value, status) in PROPERTIES.items()),
    (with_function(configuration=None), f"function {RESTORE} problem", "is not deployed", DEPLOY),
    (with_function(concurrency=None),
     f"function {RESTORE} concurrency problem", "is none, so two may run at once", RESERVE),
    (with_function(concurrency=0), f"function {RESTORE} concurrency problem", "was stopped by hand", RESERVE),
    (HEALTHY | {f"lambda:GetFunctionConcurrency {APP}-{NAME}": 0},
     f"function {APP}-{NAME} concurrency warning", "was stopped by hand", FREE),
    (HEALTHY | {f"cloudformation:DescribeStacks {AFTER}": {"StackStatus": "ROLLBACK_COMPLETE"}},
     f"stack {AFTER} problem", "ROLLBACK_COMPLETE", DEPLOY),
    (HEALTHY | {f"cloudformation:DescribeStacks {AFTER}": {"StackStatus": "UPDATE_IN_PROGRESS"}},
     f"stack {AFTER} warning", "UPDATE_IN", "run the doctor again"),
    (HEALTHY | {f"cloudformation:DescribeStacks {AFTER}": None}, f"stack {AFTER} warning", "does not exist", DEPLOY),
    (with_function(inline=[LESS]),
     f"role {RESTORE} problem", "lacks statements that its function needs: MoveCurrent", DEPLOY),
    # A role's rights may be in several policies.
    (with_function(inline=[{"Statement": FIRST}, {"Statement": OTHERS}]),
     f"role {RESTORE} warning", "have more than", "aws iam list-role-policies"),
    (with_function(inline=[WANTED["db-restore-from-snapshot"], {"Statement": []}]),
     f"role {RESTORE} warning", "have more than", "aws iam list-role-policies"),
    (with_function(attached=[ADMIN]),
     f"role {RESTORE} attached policies warning", ADMIN, f"aws iam detach-role-policy --role-name {RESTORE} --policy-arn {ADMIN}"),
    (with_function(boundary=ADMIN),
     f"role {RESTORE} permissions boundary warning", f"{ADMIN} limits the role", "compare that policy with"),
    (with_rule({"State": "DISABLED"}),
     f"schedule {RULE} problem", "is disabled", f"aws events enable-rule --name {RULE}"),
    (with_rule({"ScheduleExpression": "cron(0 12 ? * SUN *)"}),
     f"schedule {RULE} problem", "fires at cron(0 12", DEPLOY),
    (with_rule({"ScheduleExpression": "rate(1 day)"}, POLL_RULE),
     f"schedule {POLL_RULE} problem", "rate(1 day) instead of rate(15 minutes)", DEPLOY),
    (with_rule(targets=[]), f"schedule {RULE} problem", "invokes nothing", DEPLOY),
    (with_function(invokers=None), f"schedule {RULE} problem", "not allowed to invoke", DEPLOY),
    (with_function(invokers=json.dumps({"Statement": [ANYBODY]})),
     f"schedule {RULE} problem", "not allowed to invoke", DEPLOY),
    (HEALTHY | {f"events:DescribeRule {RULE}": None}, f"schedule {RULE} problem", "does not exist", DEPLOY),
    (HEALTHY | {f"sns:GetTopicAttributes {TOPIC}": None},
     f"topic {TOPIC} problem", "does not exist", "aws sns subscribe"),
    (HEALTHY | {f"sns:ListSubscriptionsByTopic {TOPIC}": []},
     f"topic {TOPIC} warning", "no subscriptions", "aws sns subscribe"),
    (HEALTHY | {f"sns:ListSubscriptionsByTopic {TOPIC}": [WAITING]},
     "topic email x@y.example warning", "has not confirmed", "aws sns subscribe"),
    (with_alarm(ERRORS, StateValue="ALARM", StateReason="1 error"),
     f"alarm {ERRORS} problem", "is on: 1 error", "see what happened: "),
    (with_alarm(ERRORS, ActionsEnabled=False),
     f"alarm {ERRORS} warning", "disabled", "aws cloudwatch enable-alarm-actions "),
    (with_alarm(ERRORS, AlarmActions=[]),
     f"alarm {ERRORS} warning", "not notify", "aws cloudformation delete-stack "),
    (with_alarm(OVERDUE, StateValue="ALARM"),
     f"alarm {OVERDUE} warning", "is on", "nothing before the first scheduled run"),
    (HEALTHY | {"rest_apis": []}, "API REST API problem", "is not deployed", DEPLOY),
    (HEALTHY | {"rest_apis": ["a1", "b2"]},
     "API REST API warning", "a1, b2 all invoke the stage's function", "aws apigateway delete-rest-api"),
]
# fmt: on


@pytest.mark.parametrize(
    ("seen", "what", "told", "fix"), FAULTS, ids=[f"{n}-{row[1]}" for n, row in enumerate(FAULTS)]
)
def test_each_fault_is_named_with_its_fix_and_nothing_else_is(
    seen: Answers, what: str, told: str, fix: str
) -> None:
    check = only(seen)
    assert f"{check.check} {check.subject} {check.status}" == what
    assert told in check.seen
    assert fix in str(check.fix)
    assert "hunter2" not in f"{check.seen}{check.fix}"


@pytest.mark.parametrize(
    "seen",
    [
        holding(**{HOLD: None}),
        with_pipeline(executionMode="QUEUED"),
        reading(template({"Fn::Sub": "${Snapshot}"})),
        reading(template({"Fn::If": ["Restore", {"Ref": "Snapshot"}, {"Ref": "AWS::NoValue"}]})),
        # What else the pipeline restores is not the stage's business.
        with_pipeline(stage_named("Deploy", DATABASE, ORDERS))
        | {"template of orders": a_template(template(OLD.arn))},
        sharing(key_arn=None),
        configured(Runtime="python3.13"),
    ],
)
def test_what_is_right_in_another_way_is_ok(seen: Answers) -> None:
    assert found(seen) == []


# --- what cannot be looked at ---------------------------------------------------------------------


def blinded() -> Iterator[tuple[str, Answers]]:
    yield "parameter", HEALTHY | {"parameters": DENIED}
    yield "parameter", HEALTHY | {"candidate of rds": DENIED}
    yield "parameter", HEALTHY | {"present of rds": DENIED}
    yield "pipeline", HEALTHY | {f"codepipeline:GetPipeline {PIPELINE}": DENIED}
    yield "pipeline", HEALTHY | {"runs": DENIED}
    yield "deployment", HEALTHY | {f"codepipeline:GetPipelineState {PIPELINE}": DENIED}
    for part in ("stack", "cluster", "deployment"):
        yield "deployment", seeing(**{part: DENIED})
    yield "share", HEALTHY | {"shares": DENIED}
    yield "key", HEALTHY | {f"rds:DescribeDBClusterSnapshots {NEW.arn}": DENIED}
    yield "stack", HEALTHY | {f"cloudformation:DescribeStacks {AFTER}": DENIED}
    yield "function", with_function(configuration=DENIED)
    yield "function", configured(Environment={"Error": {"Message": "service:Look"}})
    yield "function", with_function(concurrency=DENIED)
    yield "function", with_function(asynchronous=DENIED)
    yield "function", with_function(configuration=DENIED) | {"lambda:GetAccountSettings": DENIED}
    yield "role", with_function(inline=DENIED)
    yield "role", with_function(attached=DENIED)
    yield "role", with_function(boundary=DENIED)
    yield "schedule", with_function(invokers=DENIED)
    yield "schedule", with_rule(targets=DENIED)
    yield "topic", HEALTHY | {f"sns:GetTopicAttributes {TOPIC}": DENIED}
    yield "topic", HEALTHY | {f"sns:ListSubscriptionsByTopic {TOPIC}": DENIED}
    yield (
        "topic key",
        HEALTHY
        | {
            f"sns:GetTopicAttributes {TOPIC}": {"KmsMasterKeyId": "alias/t"},
            "kms:DescribeKey alias/t": DENIED,
        },
    )
    yield "API", HEALTHY | {"rest_apis": DENIED}
    yield "alarm", HEALTHY | {"alarms": DENIED}


@pytest.mark.parametrize(("group", "seen"), list(blinded()))
def test_what_may_not_be_looked_at_is_a_warning_that_names_the_action(
    group: str, seen: Answers
) -> None:
    bad = [check for check in judged(seen) if check.status != "ok"]
    assert [(check.check, check.status) for check in bad][:1] == [(group, "warning")]
    assert {check.status for check in bad} == {"warning"}
    assert all("service:Look" in check.seen for check in bad if check.check == group)


# --- before the account is looked at --------------------------------------------------------------


def test_credentials_and_region_are_those_of_the_stage() -> None:
    me = {"Account": ACCEPTANCE, "Arn": "arn:aws:iam::222222222222:user/me"}
    right = checks.identity(STAGE_, me, "eu-west-1")
    assert [check.status for check in right] == ["ok", "ok"]
    stranger = {"Account": PRODUCTION, "Arn": "arn:aws:iam::111111111111:user/me"}
    wrong = [*checks.identity(STAGE_, stranger, None)]
    assert [check.status for check in wrong] == ["problem", "problem"]
    assert str(wrong[0].fix).startswith(f"use credentials of account {ACCEPTANCE}")
    assert wrong[1].fix == "export AWS_DEFAULT_REGION=eu-west-1"


def test_every_setting_is_told_and_what_is_none_is_named() -> None:
    stage = replace(STAGE_, variables={**STAGE_.variables, "RDS_SOURCE_CLUSTR": "orders"})
    told = [*checks.settings(stage, settings.names_of(stage.variables), [])]
    assert Check("setting", "RDS_ENGINE", "ok", "aurora-postgresql") in told
    assert [(check.subject, check.status) for check in told if check.status != "ok"] == [
        ("RDS_SOURCE_CLUSTR", "warning")
    ]


def test_settings_that_contradict_each_other_are_problems() -> None:
    stage = stage_of(SOURCE_ACCOUNT=ACCEPTANCE)
    wrong = stages.contradictions(stage)
    told = [*checks.settings(stage, settings.names_of(stage.variables), wrong)]
    (problem,) = (check for check in told if check.status != "ok")
    assert (problem.subject, problem.status) == ("SOURCE_ACCOUNT", "problem")
    assert str(problem.fix).startswith(f"aurora-refresh configure --stage {NAME} SOURCE_ACCOUNT=…")


def test_people_read_groups_and_a_sum_and_no_control_characters() -> None:
    told = [
        Check("topic", "one", "ok", "1 confirmed"),
        Check("alarm", "two", "problem", "rings: \x1b[2J", "look"),
    ]
    assert [printable(line) for line in doctor.lines(told)] == [
        "topic",
        "  ok       one: 1 confirmed",
        "alarm",
        "  problem  two: rings: ?[2J",
        "           fix: look",
        "not healthy; problems: 1, warnings: 0, ok: 1",
    ]


def test_what_could_not_be_looked_at_is_not_called_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [
        Check("topic", "one", "ok", "1 confirmed"),
        Check("alarm", "all", *checks.unavailable(DENIED)),
    ]
    assert [*doctor.lines(told)][-1] == (
        "no problem was found, but 1 things could not be looked at; problems: 0, warnings: 1, ok: 1"
    )
    monkeypatch.setattr(doctor, "examine", lambda *_: told)
    assert command("--stage", NAME).exit_code == 1
    del told[1]
    assert command("--stage", NAME).exit_code == 0


def command(*words: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words])


def test_who_reads_only_the_beginning_sees_no_trace() -> None:
    script = (
        "from cli.main import cli\nfrom cli import doctor\nfrom cli.doctor.checks import Check\n"
        "doctor.examine = lambda *_: [Check('topic', 'one', 'ok', 'x' * 99)] * 9999\n"
        "cli(['doctor', '--stage', 'acceptance'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout
        assert done.stderr
        done.stdout.readline()
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".chalice").mkdir()
    answers = {**VARIABLES, "MAIN_PIPELINE_ARN": PIPELINE_ARN}
    (tmp_path / ".chalice/config.json").write_text('{"app_name": "aurora-refresh", "stages": {}}')
    configure.write(configure.files(tmp_path, NAME, answers))
    return tmp_path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, and nowhere to look for some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("nobody")
def test_without_credentials_only_what_needs_none_is_told(
    project: Path,
) -> None:
    done = command("--stage", NAME, "--project", str(project), "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    problems = [check["subject"] for check in told if check["status"] == "problem"]
    assert problems == ["credentials", "Region"]
    assert {check["check"] for check in told} == {"identity", "setting", "policy"}


@pytest.mark.usefixtures("nobody")
def test_a_profile_that_is_not_there_is_a_problem_and_no_trace(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "acceptence")
    told = doctor.examine(project, NAME)
    assert [check.subject for check in told if check.status == "problem"] == [
        "credentials",
        "Region",
    ]


@pytest.mark.parametrize("topic", [None, {}])
def test_a_stage_that_was_never_deployed_is_one_problem(
    topic: Any, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    nothing = holding(**{LATEST: None, CURRENT: None, HOLD: None}) | {
        f"cloudformation:DescribeStacks {BEFORE}": None,
        f"cloudformation:DescribeStacks {AFTER}": None,
        f"sns:GetTopicAttributes {TOPIC}": topic,
        f"sns:ListSubscriptionsByTopic {TOPIC}": [],
    }
    for name in stacks.function_names(STAGE_).values():
        nothing[f"lambda:GetFunctionConfiguration {name}"] = None
    me = {"Account": ACCEPTANCE, "Arn": "me"}
    monkeypatch.setattr(doctor, "caller", lambda *_: (me, NOW))
    monkeypatch.setattr(doctor, "AcceptanceLook", lambda stage, *_: looking(nothing, stage))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    bad = [check for check in doctor.examine(project, NAME) if check.status != "ok"]
    without_subscriptions = [(TOPIC, "warning")] if topic is not None else []
    assert [(check.subject, check.status) for check in bad] == [
        (NAME, "problem"),
        *without_subscriptions,
    ]
    assert bad[0].fix == DEPLOY


@pytest.mark.usefixtures("nobody")
def test_a_policy_file_that_was_edited_is_to_be_written_again(project: Path) -> None:
    file = project / ".chalice" / f"policy-{NAME}-db-follow-pipeline.json"
    file.write_text(file.read_text().replace("ssm:PutParameter", "ssm:*"))
    (wrong,) = (
        check for check in doctor.examine(project, NAME) if check.check == "policy" and check.fix
    )
    assert (wrong.subject, wrong.status) == (file.name, "problem")
    assert wrong.fix == f"aurora-refresh configure --stage {NAME}, and then {DEPLOY}"


def test_a_stage_that_is_set_wrongly_is_told_setting_by_setting(
    project: Path,
) -> None:
    file = project / ".chalice/config.json"
    text = file.read_text().replace('"aurora-postgresql"', '"postgres"')
    file.write_text(text.replace('"111111111111"', '"1"'))
    done = command("--stage", NAME, "--project", str(project))
    assert done.exit_code == 1
    told = done.stdout
    assert re.findall(r"^  (\w+) +(\w+): ", told, re.MULTILINE) == [
        ("problem", "SOURCE_ACCOUNT"),
        ("problem", "RDS_ENGINE"),
    ]


def test_a_stage_that_is_not_there_is_a_wrong_question(
    project: Path,
) -> None:
    told = command("--stage", "acceptence", "--project", str(project))
    assert told.exit_code == 2
    assert (told.stdout, told.stderr.count("\n")) == ("", 1)
    assert "has no stage 'acceptence', only: acceptance" in told.stderr


# --- the REST API ---------------------------------------------------------------------------------


def test_an_api_that_nobody_wants_is_to_be_deleted() -> None:
    without = stage_of(PIN_API_ENABLED="false")
    (check,) = deployment.rest_api("REST API", looking(HEALTHY, without))
    assert (check.status, check.fix) == (
        "warning",
        "aws apigateway delete-rest-api --rest-api-id a1b2c3",
    )
    assert [*deployment.rest_api("REST API", looking(HEALTHY | {"rest_apis": []}, without))] == []


# --- copies ---------------------------------------------------------------------------------------

COPY_KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
COPYING = stage_of(RDS_COPY_KMS_KEY_ID=COPY_KEY)
COPY_SETTING = f"aurora-refresh configure --stage {NAME} RDS_COPY_KMS_KEY_ID=…, and then aurora-refresh deploy --stage {NAME}"


def under(key: Any) -> list[Check]:
    answers = HEALTHY | {f"kms:DescribeKey {COPY_KEY}": key}
    return [*acceptance.copy_keys(looking(answers, COPYING))]


def test_a_key_of_one_s_own_is_right_to_copy_under() -> None:
    key = {"KeyManager": "CUSTOMER", "KeyState": "Enabled"}
    assert under(key) == [Check("copy key", COPY_KEY, "ok", "customer-managed and enabled")]


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        (
            None,
            f"RDS_COPY_KMS_KEY_ID names it, but it does not exist in {ACCEPTANCE}, eu-west-1",
        ),
        (
            {"KeyManager": "AWS", "KeyState": "Enabled"},
            "is managed by AWS; a customer-managed one is needed",
        ),
    ],
)
def test_another_key_is_to_be_set_where_this_one_will_not_do(key: Any, seen: str) -> None:
    assert under(key) == [Check("copy key", COPY_KEY, "problem", seen, COPY_SETTING)]


def test_a_key_that_is_disabled_is_to_be_enabled() -> None:
    arn = f"arn:aws:kms:eu-west-1:{ACCEPTANCE}:key/{COPY_KEY}"
    (check,) = under({"KeyManager": "CUSTOMER", "KeyState": "PendingDeletion", "Arn": arn})
    assert (check.status, check.seen) == ("problem", "is PendingDeletion")
    assert check.fix is not None
    assert f"aws kms enable-key --key-id {arn}" in check.fix


def test_a_key_that_may_not_be_looked_at_is_not_called_right() -> None:
    (check,) = under(Unavailable("kms:DescribeKey", "AccessDenied: no", denied=True))
    assert (check.check, check.status) == ("copy key", "warning")


def latest_with(refused: Refused) -> Check:
    """What is said of *latest* where copies are asked for, and this is said of it."""
    seen = HEALTHY | {"candidate of rds": refused}
    (bad,) = (each for each in acceptance.parameters(looking(seen, COPYING)) if each.fix)
    return bad


def test_a_copy_under_way_is_waited_for_and_nothing_is_to_be_put() -> None:
    pending = Refused(Reason.COPY_PENDING, "the copy of arn:x is copying, 40 % done")
    check = latest_with(pending)
    assert (check.subject, check.status) == (LATEST, "warning")
    assert check.fix == Reason.COPY_PENDING.next_step


def test_the_share_itself_is_never_proposed_where_copies_are_asked_for() -> None:
    refused = Refused(Reason.NOT_ELIGIBLE, f"{OLD.arn} is no copy of ours")
    check = latest_with(refused)
    assert (check.subject, check.status) == (LATEST, "problem")
    assert check.fix == Reason.NOT_ELIGIBLE.next_step


# --- production -----------------------------------------------------------------------------------

SHARE_KEY = "alias/shares"
SHARING = {"SHARE_WITH_ACCOUNT": ACCEPTANCE, "CLUSTERS": "orders", "SHARE_KMS_KEY_ID": SHARE_KEY}
SHARING_STAGE = ProductionStage(
    "production", SHARING, ProductionSettings.from_environment(SHARING), PRODUCTION, "eu-west-1"
)
ENABLED = {"KeyManager": "CUSTOMER", "KeyState": "Enabled", "Arn": KEY}
AWS_MANAGED = ENABLED | {"KeyManager": "AWS"}
SHARING_DEPLOY = "aurora-refresh deploy --stage production"


CLUSTER_KEY = f"{KEY}-of-orders"
SHARED = {
    "rds:DescribeDBClusters orders": {
        "Status": "available",
        "StorageEncrypted": True,
        "KmsKeyId": CLUSTER_KEY,
    },
    f"kms:DescribeKey {CLUSTER_KEY}": ENABLED,
    f"kms:DescribeKey {SHARE_KEY}": ENABLED,
}


def sharing_look(answers: Answers, stage: ProductionStage = SHARING_STAGE) -> Look[ProductionStage]:
    return Look(stage, Mock(), NOW, answers)


def production_checks(stage: ProductionStage = SHARING_STAGE, **changed: Any) -> list[Check]:
    questions = {
        "cluster": "rds:DescribeDBClusters orders",
        "cluster_key": f"kms:DescribeKey {CLUSTER_KEY}",
        "share_key": f"kms:DescribeKey {SHARE_KEY}",
    }
    answers = SHARED | {questions[name]: answer for name, answer in changed.items()}
    look = sharing_look(answers, stage)
    return [*production.clusters(look), *production.share_key(look)]


def test_clusters_and_keys_that_can_be_shared_are_ok() -> None:
    assert [(check.check, check.subject, check.status) for check in production_checks()] == [
        ("cluster", "orders", "ok"),
        ("key", "of orders", "ok"),
        ("key", SHARE_KEY, "ok"),
    ]


CLUSTERS_FIX = f"aurora-refresh configure --stage production CLUSTERS=…, and then {SHARING_DEPLOY}"
KEY_FIX = (
    f"aurora-refresh configure --stage production SHARE_KMS_KEY_ID=…, and then {SHARING_DEPLOY}"
)
CLUSTER_DENIED = Unavailable("rds:DescribeDBClusters", "no", denied=True)

# fmt: off
NOT_SHARED: list[tuple[dict[str, Any], str, str]] = [
    ({"cluster": None}, "orders problem", CLUSTERS_FIX),
    ({"cluster": {"Status": "stopped"}},
     "orders warning", "nothing if that ends before cron(0 22 ? * SAT *); otherwise start it"),
    ({"cluster": CLUSTER_DENIED},
     "orders warning", "allow rds:DescribeDBClusters to the identity in use, or run the doctor as one that has it"),
    ({"cluster_key": ENABLED | {"KeyState": "Disabled"}}, "of orders problem", checks.enable_key(KEY)),
    ({"cluster_key": None}, "of orders problem", "restore the cluster from a snapshot under another key"),
    ({"cluster_key": Unavailable("kms:DescribeKey", "later")},
     "of orders warning", "run the doctor again; if this persists, look at it by hand"),
    ({"share_key": AWS_MANAGED}, f"{SHARE_KEY} problem", KEY_FIX),
]
# fmt: on


@pytest.mark.parametrize(("changed", "what", "fix"), NOT_SHARED)
def test_a_cluster_or_a_key_that_cannot_be_shared_is_named_with_the_fix(
    changed: dict[str, Any], what: str, fix: str
) -> None:
    (bad,) = (check for check in production_checks(**changed) if check.status != "ok")
    assert (f"{bad.subject} {bad.status}", bad.fix) == (what, fix)


def test_the_default_key_is_a_problem_without_another_key() -> None:
    default = {"cluster_key": AWS_MANAGED}
    assert {check.status for check in production_checks(**default)} == {"ok"}
    keyless = replace(SHARING_STAGE, settings=SHARING_STAGE.settings._replace(key=None))
    (bad,) = (check for check in production_checks(keyless, **default) if check.status != "ok")
    assert bad.seen == "is managed by AWS, so that no other account can use it"


def test_a_production_stage_has_schedules_and_no_retries_to_check() -> None:
    names = stacks.function_names(SHARING_STAGE)
    answers: Answers = {"lambda:GetAccountSettings": 101}
    for name in names.values():
        answers[f"lambda:GetFunctionConfiguration {name}"] = None
        answers[f"events:DescribeRule {name}-event"] = None
    look = sharing_look(answers)
    assert [
        (check.subject, check.seen, check.fix)
        for check in (*deployment.functions(look, {}), *deployment.schedules(look))
    ] == [
        *((name, "is not deployed", SHARING_DEPLOY) for name in names.values()),
        ("concurrency of the account", "101 unreserved", None),
        *((f"{name}-event", "does not exist", SHARING_DEPLOY) for name in names.values()),
    ]


@pytest.mark.parametrize(("unreserved", "is_enough"), [(102, False), (103, True)])
def test_a_first_deployment_needs_executions_to_reserve(
    unreserved: int, *, is_enough: bool
) -> None:
    answers = with_function(configuration=None) | {"lambda:GetAccountSettings": unreserved}
    problems = [each for each in judged(answers) if each.status != "ok"]
    fix = "aws service-quotas request-service-quota-increase"
    assert any(str(each.fix).startswith(fix) for each in problems) is not is_enough
