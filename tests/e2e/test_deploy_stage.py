"""``aurora-refresh deploy`` and ``aurora-refresh destroy`` as a user types them, the local cloud being the account."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from botocore.exceptions import WaiterError
from click.testing import CliRunner

from chalicelib.domain.functions import API, RESTORE, UPDATE
from cli import account, deploy, destroy, package, stacks
from cli.main import cli
from cli.stages import AcceptanceStage, StageError, load
from localcloud import variables
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud
from localcloud.company import arn_of, copy_project, nightly

PROJECT = Path(__file__).resolve().parents[2]
CURRENT = "/acceptance/rds/current-snapshot"
LATEST = "/acceptance/rds/latest-snapshot"
HOLD = "/acceptance/refresh/hold"
PIPELINE_NAME = "/acceptance/cicd/main-pipeline-name"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"
SNAPSHOT = "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:orders-"


Deploy = Callable[..., tuple[int, list[str]]]


@dataclass
class User:
    """Somebody with a clone of the project, and credentials of an account."""

    cloud: LocalCloud
    folder: Path
    account: str = ACCEPTANCE
    stage: str = "acceptance"

    def client(self, service: str) -> Any:
        return self.cloud.client(service, self.account)

    def run(self, command: str, *answers: str) -> tuple[int, list[str]]:
        """`aurora-refresh COMMAND --stage … …`: its status, and what it printed."""
        wheels = Path(sys.prefix) / "wheels"
        packed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.exists() else {}
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", command, "--stage", self.stage, *answers],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            env={**variables.cleared(os.environ), **self.cloud.environment(self.account), **packed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "Traceback" not in ended.stdout, ended.stdout
        return ended.returncode, ended.stdout.splitlines()

    def holds(self) -> dict[str, str]:
        """Every parameter with its value."""
        pages = self.client("ssm").get_paginator("get_parameters_by_path")
        return {
            each["Name"]: each["Value"]
            for page in pages.paginate(Path="/", Recursive=True)
            for each in page["Parameters"]
        }

    def put(self, name: str, value: str) -> None:
        ssm = self.client("ssm")
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def alarms(self) -> list[str]:
        found = self.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return sorted(alarm["AlarmName"] for alarm in found)

    def functions(self) -> list[str]:
        found = self.client("lambda").list_functions()["Functions"]
        return sorted(function["FunctionName"] for function in found)

    def roles(self) -> list[str]:
        """The roles that are the application's, by their names."""
        found = self.client("iam").list_roles()["Roles"]
        return sorted(
            role["RoleName"] for role in found if role["RoleName"].startswith("aurora-refresh")
        )

    def rules(self) -> list[str]:
        found = self.client("events").list_rules()["Rules"]
        return sorted(rule["Name"] for rule in found)

    def apis(self) -> list[str]:
        found = self.client("apigateway").get_rest_apis()["items"]
        return [api["id"] for api in found]

    def copy_api(self) -> str:
        """Another REST API to the same function; its id."""
        gateway = self.client("apigateway")
        (api,) = self.apis()
        body = {
            "swagger": "2.0",
            "info": {"title": "aurora-refresh", "version": "1.0"},
            "paths": {},
        }
        stray: str = gateway.import_rest_api(body=json.dumps(body).encode())["id"]
        (root,) = gateway.get_resources(restApiId=stray)["items"]
        known = gateway.get_resources(restApiId=api)["items"]
        path = next(each for each in known if each["path"] == "/status")
        uri = gateway.get_integration(restApiId=api, resourceId=path["id"], httpMethod="GET")["uri"]
        where = {"restApiId": stray, "resourceId": root["id"], "httpMethod": "GET"}
        gateway.put_method(**where, authorizationType="AWS_IAM")
        gateway.put_integration(**where, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
        return stray

    def log_days(self) -> dict[str, int]:
        found = self.client("logs").describe_log_groups()["logGroups"]
        return {group["logGroupName"]: group["retentionInDays"] for group in found}


DASHBOARD = {
    "Type": "AWS::CloudWatch::Dashboard",
    "Properties": {"DashboardName": "d", "DashboardBody": "{}"},
}


@pytest.fixture
def user(cloud: LocalCloud, tmp_path: Path) -> User:
    copy_project(PROJECT, tmp_path)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    for folder in ("cli", "infrastructure"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    return User(cloud, tmp_path)


def words(printed: list[str]) -> set[str]:
    """Return the first word of each reported change."""
    return {line.split()[0] for line in printed if line.startswith("  ") and line[2] != "-"}


def test_a_stage_is_deployed_deployed_again_destroyed_and_found_again(user: User) -> None:
    lambdas, cloud = user.cloud.client("lambda"), user.cloud
    stage = load(user.folder, "acceptance")
    user.put(CURRENT, f"{SNAPSHOT}before")

    # Chalice fails in the middle; what has been made by then stays for the next attempt.
    cloud.set_faults([{"operation": "lambda:CreateFunction", "kind": "deny", "nth": 2, "times": 0}])
    status, printed = user.run("deploy", "EMAIL=team@example.com")
    assert status != 0
    assert any(
        line.startswith("chalice deploy --stage acceptance ended with status 2: ")
        and "ERROR - While send" in line
        for line in printed
    )
    assert f"  unchanged  parameter {CURRENT}, which exists: {SNAPSHOT}before" in printed
    assert (
        "completed: stack aurora-refresh-acceptance-before; once that is fixed, run aurora-refresh deploy "
        "--stage acceptance again"
    ) in printed
    cloud.set_faults([])

    status, printed = user.run("deploy")
    assert (status, printed[-1]) == (
        0,
        "stage acceptance is deployed; next: aurora-refresh doctor --stage acceptance",
    )
    first = {
        PIPELINE_NAME: "acceptance-main",
        LATEST: "dummyvalue",
        CURRENT: f"{SNAPSHOT}before",
        HOLD: "dummyvalue",
    }
    assert user.holds() == first
    assert user.functions() == sorted(stacks.function_names(stage).values())
    assert user.alarms() == sorted(stacks.alarm_names(stage))
    assert user.log_days() == dict.fromkeys(stacks.log_groups(stage), 90)
    (subscription,) = cloud.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC)[
        "Subscriptions"
    ]
    assert subscription["Endpoint"] == "team@example.com"
    invoked = lambdas.get_function_event_invoke_config(
        FunctionName="aurora-refresh-acceptance-db-restore-from-snapshot"
    )
    assert (invoked["MaximumRetryAttempts"], invoked["MaximumEventAgeInSeconds"]) == (2, 21600)
    assert invoked["DestinationConfig"]["OnFailure"] == {"Destination": TOPIC}

    # Values move, as they do every other week; a deployment in between puts none of them back.
    moved = first | {
        LATEST: f"{SNAPSHOT}new",
        CURRENT: f"{SNAPSHOT}new",
        HOLD: json.dumps({"until": "2026-02-01", "reason": "tests", "by": "anne"}),
    }
    for name, value in moved.items():
        if value != first[name]:
            user.put(name, value)
    printed = from_another_clone(user, f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}other")
    assert words(printed) == {"unchanged", "note:", "found"}
    assert f"  note: {CURRENT} already holds {SNAPSHOT}new, and keeps it: " in "\n".join(printed)
    assert user.holds() == moved

    stray = with_a_stray_api(user)
    others = in_another_clone_with_neighbours(user)
    status, printed = user.run("destroy", "--yes")
    assert f"  deleted    REST API {stray}" in printed
    for name, value in moved.items():
        assert f"  kept       parameter {name}: {value}" in printed
    assert f"  kept       topic {TOPIC}" in printed
    assert (status, user.holds(), user.functions(), user.alarms(), user.apis()) == (
        0,
        moved,
        [],
        [],
        [],
    )
    assert (user.roles(), user.rules()) == others
    assert user.log_days().keys() == set(stacks.log_groups(stage))
    status, printed = user.run("destroy", "--yes")
    assert (status, printed[-1]) == (
        0,
        "stage acceptance did not exist; aurora-refresh deploy --stage acceptance uses what was kept",
    )

    status, printed = user.run("deploy")
    assert status == 0
    assert "  there is no stack, because it would be empty" in printed
    assert user.holds() == moved
    assert user.alarms() == sorted(stacks.alarm_names(stage))

    status, printed = user.run("destroy", "--yes", "--delete-parameters")
    assert status == 0
    named = [line.split()[2] for line in printed if line.startswith("  deleted    parameter")]
    assert named == [f"{name}:" for name in (LATEST, CURRENT, HOLD)]
    assert user.holds() == {PIPELINE_NAME: "acceptance-main"}


def from_another_clone(user: User, *answers: str) -> list[str]:
    """What a deployment prints where Chalice has noted nothing of the API, which stays what it is."""
    address = user.cloud.rest_url()
    (user.folder / ".chalice/deployed/acceptance.json").unlink()
    status, printed = user.run("deploy", *answers)
    assert (status, user.cloud.rest_url()) == (0, address)
    assert len(user.apis()) == 1
    return printed


def test_what_a_first_deployment_left_that_came_to_nothing_is_destroyed(user: User) -> None:
    denied = {"operation": "lambda:CreateFunction", "kind": "deny", "nth": 2, "times": 0}
    user.cloud.set_faults([denied])
    assert user.run("deploy")[0] != 0
    user.cloud.set_faults([])
    function, other = (f"aurora-refresh-acceptance-{name}" for name in (UPDATE, RESTORE))
    assert (user.functions(), user.roles()) == ([function], [other, function])
    shutil.rmtree(user.folder / ".chalice/deployed", ignore_errors=True)
    status, printed = user.run("destroy", "--yes")
    assert status == 0
    for what in (f"role {other}", f"function {function}", f"role {function}"):
        assert f"  deleted    {what}" in printed
    assert (user.functions(), user.roles(), user.rules()) == ([], [], [])


def test_half_a_stage_with_a_policy_attached_by_others_and_a_missing_api_is_destroyed(
    user: User,
) -> None:
    assert user.run("deploy")[0] == 0
    iam, role = user.client("iam"), f"aurora-refresh-acceptance-{RESTORE}"
    allow = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    audit = iam.create_policy(PolicyName="audit", PolicyDocument=json.dumps(document))["Policy"]
    iam.attach_role_policy(RoleName=role, PolicyArn=audit["Arn"])
    user.client("apigateway").delete_rest_api(restApiId=user.apis()[0])
    user.client("lambda").delete_function(FunctionName=f"aurora-refresh-acceptance-{UPDATE}")
    user.client("cloudformation").delete_stack(StackName="aurora-refresh-acceptance-after")
    status, printed = user.run("destroy", "--yes")
    assert (status, user.functions(), user.roles(), user.rules(), user.alarms()) == (
        0,
        [],
        [],
        [],
        [],
    ), printed
    assert iam.get_policy(PolicyArn=audit["Arn"])["Policy"]["AttachmentCount"] == 0


def test_a_stage_that_cannot_be_deleted_whole_names_what_is_left_and_then_everything_goes(
    user: User,
) -> None:
    assert user.run("deploy", "EMAIL=team@example.com")[0] == 0
    make_copies(user, ("aurora-refresh-copy-1", LATEST), ("by-hand", LATEST))
    user.cloud.set_faults([{"operation": "lambda:DeleteFunction", "kind": "deny", "times": 1}])
    status, printed = user.run("destroy", "--everything", "--yes")
    update = f"aurora-refresh-acceptance-{UPDATE}"
    assert status == 1
    left = printed.index("stage acceptance is not deleted; what is left:") + 1
    assert printed[left].startswith(f"function {update}: these credentials are not allowed to call")
    assert printed[-1] == (
        "once that is fixed, run aurora-refresh destroy --stage acceptance again"
    )
    assert (user.functions(), user.roles(), user.rules(), user.alarms()) == ([update], [], [], [])
    assert user.run("destroy", "--yes")[0] == 0
    sns, rds = user.client("sns"), user.client("rds")
    listed = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert [each["DBClusterSnapshotIdentifier"] for each in listed] == ["by-hand"]
    assert (user.functions(), user.holds(), user.log_days()) == ([], {}, {})
    assert sns.list_topics()["Topics"] == []


def test_a_topic_that_others_alarms_notify_is_kept(user: User, deployed: Deploy) -> None:
    deployed()  # its last step needs functions
    user.client("cloudwatch").put_metric_alarm(
        AlarmName="others",
        AlarmActions=[TOPIC],
        Namespace="Others",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    said: list[str] = []
    destroy.destroy(user.folder, "acceptance", said.append, destroy.Extent(everything=True))
    assert f"  kept       topic {TOPIC}, which notifies others of others" in said
    assert [topic["TopicArn"] for topic in user.client("sns").list_topics()["Topics"]] == [TOPIC]
    assert user.holds() == {}


def in_another_clone_with_neighbours(user: User) -> tuple[list[str], list[str]]:
    """Roles and rules whose names begin or end like the stage's, and are others', and no note."""
    (user.folder / ".chalice/deployed/acceptance.json").unlink()
    iam, events = user.cloud.client("iam"), user.cloud.client("events")
    roles = ["aurora-refresh-acceptance", "aurora-refresh-acceptance2-db-follow-pipeline"]
    rules = ["aurora-refresh-acceptance-db-follow-pipeline", "db-follow-pipeline-event"]
    for role in roles:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    for rule in rules:
        events.put_rule(Name=rule, ScheduleExpression="rate(1 day)")
    return roles, rules


def with_a_stray_api(user: User) -> str:
    """A deployment that came to nothing may leave another API behind, which is told; its id."""
    stray = user.copy_api()
    status, printed = user.run("deploy")
    assert status == 0
    assert any(line.startswith(f"  note: REST API {stray} also invokes") for line in printed)
    return stray


def test_a_production_stage_is_deployed_and_destroyed_with_the_same_commands(user: User) -> None:
    production = replace(user, account=PRODUCTION, stage="production")
    key = user.cloud.client("kms", PRODUCTION).create_key()["KeyMetadata"]["KeyId"]
    user.cloud.client("kms", PRODUCTION).create_alias(
        AliasName="alias/aurora-refresh-shares", TargetKeyId=key
    )
    for name in ("orders", "billing", "documents"):
        user.cloud.client("rds", PRODUCTION).create_db_cluster(
            DBClusterIdentifier=name,
            Engine="aurora-postgresql",
            MasterUsername="postgres",
            MasterUserPassword="password",
        )
    status, printed = production.run("deploy", "EMAIL=team@example.com")
    assert (status, printed[-1]) == (
        0,
        "stage production is deployed; next: aurora-refresh doctor --stage production",
    )
    names = [f"aurora-refresh-production-db-{name}" for name in ("follow-shares", "share-snapshot")]
    assert (production.functions(), production.roles()) == (names, names)
    assert production.alarms() == [
        "aurora-refresh-production-errors-db-follow-shares",
        "aurora-refresh-production-errors-db-share-snapshot",
        "aurora-refresh-production-follow-overdue",
        "aurora-refresh-production-notification-failed",
    ]
    assert user.functions() == []  # of the other account
    user.cloud.confirm_subscription("team@example.com")

    status, printed = production.run("doctor")
    assert [line for line in printed if line.startswith(("  problem", "  warning"))] == []
    assert (status, printed[-1].split(";")[0]) == (0, "healthy")

    status, printed = production.run("destroy", "--yes")
    assert (status, production.functions(), production.alarms(), production.rules()) == (
        0,
        [],
        [],
        [],
    )
    topic = TOPIC.replace(ACCEPTANCE, PRODUCTION)
    assert f"  kept       topic {topic}" in printed
    assert printed[-1] == (
        "stage production is deleted; aurora-refresh deploy --stage production uses what was kept"
    )


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.fixture
def deployed(user: User, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Deploys without Chalice, which takes its time; the status, and what was said of the fault."""
    monkeypatch.setattr(deploy, "chalice", lambda *_: None)

    def run(*answers: str, of: str = ACCEPTANCE, **environment: str) -> tuple[int, list[str]]:
        shell = {
            **variables.cleared(dict(os.environ)),
            **user.cloud.environment(of),
            "AWS_EC2_METADATA_DISABLED": "true",
            **environment,
        }
        for name in os.environ.keys() - shell.keys():
            monkeypatch.delenv(name, raising=False)
        for name, value in shell.items():
            monkeypatch.setenv(name, value)
            if not value:
                monkeypatch.delenv(name)
        words = ["deploy", "--project", str(user.folder), "--stage", "acceptance", *answers]
        result = CliRunner().invoke(cli, words)
        return result.exit_code, result.stderr.splitlines()

    return run


NOTHING_DONE = (
    "no step was completed; once that is fixed, run aurora-refresh deploy --stage acceptance again"
)


def test_an_account_that_is_not_the_stage_s_is_left_untouched(user: User, deployed: Deploy) -> None:
    assert deployed(of=PRODUCTION) == (
        1,
        [
            (
                "the credentials in use belong to account 111111111111 "
                "(arn:aws:iam::111111111111:user/admin), but stage 'acceptance' is in 222222222222: "
                "use credentials of that account, for example with AWS_PROFILE"
            ),
            NOTHING_DONE,
        ],
    )
    there = "but stage 'acceptance' is in eu-west-1"
    export = "export AWS_DEFAULT_REGION=eu-west-1"
    assert deployed(AWS_DEFAULT_REGION="eu-west-2", AWS_REGION="eu-west-2") == (
        1,
        [f"the Region in use is eu-west-2, {there}: {export}", NOTHING_DONE],
    )
    assert deployed(AWS_DEFAULT_REGION="", AWS_REGION="") == (
        1,
        [f"no Region is set, {there}: {export}", NOTHING_DONE],
    )
    assert user.holds() == {}


def test_without_credentials_or_with_wrong_ones_it_is_said_so(deployed: Deploy) -> None:
    status, (told, _) = deployed(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert status == 1
    assert told == (
        "there are no AWS credentials (Unable to locate credentials): sign in, for example with "
        "aws sso login, and name the profile in AWS_PROFILE"
    )
    status, (told, _) = deployed(AWS_ACCESS_KEY_ID="AKIANOBODYATALL00000")
    assert status == 1
    assert told.startswith("the credentials in use are invalid or have expired (")
    assert told.endswith("): sign in again")


def test_the_functions_runtime_is_told_and_that_it_is_not_the_one_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = "chalice.config.Config.lambda_python_version"
    monkeypatch.setattr(python, "python3.11")
    assert account.runtime() == "the functions get the runtime python3.11"
    monkeypatch.setattr(python, "python3.14")
    assert account.runtime() == (
        "the functions get the runtime python3.14, but are tested with python3.11: "
        "make clean, and then make PYTHON=python3.11 setup"
    )


def test_who_may_not_create_stacks_is_told_which_action_is_missing(
    user: User, deployed: Deploy
) -> None:
    user.cloud.set_faults([{"operation": "cloudformation:CreateStack", "kind": "deny", "times": 0}])
    status, told = deployed()
    assert (status, told[1:]) == (
        1,
        ["use other credentials, or have that action allowed", NOTHING_DONE],
    )
    assert told[0].startswith("these credentials are not allowed to call CreateStack: ")
    assert "is not authorized to perform: cloudformation:CreateStack" in told[0]


def test_a_stack_that_fails_tells_the_first_resource_s_reason_and_can_be_made_anew(
    user: User, deployed: Deploy
) -> None:
    # Chalice has made no functions here, so nothing can be settled of them.
    for _ in range(2):
        status, told = deployed()
        assert status == 1
        assert told[0].startswith(
            "the stack aurora-refresh-acceptance-after ended as ROLLBACK_COMPLETE: "
            "AWS::Lambda::EventInvokeConfig "
        )
        assert "not found" in told[0].lower()
        assert told[1].startswith(
            "completed: stack aurora-refresh-acceptance-before, chalice deploy; "
        )
    assert user.alarms() == []
    assert user.log_days() == {}


@pytest.mark.parametrize("held", [False, True], ids=["outside the stack", "in the stack"])
def test_a_pipeline_s_name_that_is_not_the_stage_s_is_left_alone_and_told(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr("cli.deployer.say", said.append)
    if held:
        deployed()  # its last step fails without functions
    user.put(PIPELINE_NAME, "other-main")
    deployed()
    told = (
        f"  note: {PIPELINE_NAME} exists and is left alone, but the functions may start only "
        f"acceptance-main: aws ssm put-parameter --overwrite --name {PIPELINE_NAME} --value acceptance-main"
    )
    assert said.count(told) == 1
    assert user.holds()[PIPELINE_NAME] == "other-main"


def test_a_secret_put_into_a_parameter_by_mistake_is_not_told(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("cli.deployer.say", said.append)
    names, secret = (PIPELINE_NAME, LATEST, CURRENT, HOLD), "Geheim!\x1b[2J"
    for name in names:
        user.put(name, secret)
    deployed(f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}first")  # its last step needs functions
    destroy.destroy(user.folder, "acceptance", said.append, destroy.Extent())
    hidden = f"something else, {len(secret)} characters long"
    for name in names:
        assert f"  unchanged  parameter {name}, which exists: {hidden}" in said
        assert f"  kept       parameter {name}: {hidden}" in said
    assert [line for line in said if "Geheim" in line or "\x1b" in line] == []


def test_notifications_reach_a_topic_under_a_customer_managed_key(user: User) -> None:
    sns, kms = user.client("sns"), user.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    sns.create_topic(Name="aurora-refresh", Attributes={"KmsMasterKeyId": key})
    assert user.run("configure")[0] == 0
    assert user.run("deploy")[0] == 0

    def night() -> str:
        """The log of a refresh that cannot be, of which people are notified."""
        (record,) = user.cloud.fire(RESTORE, datetime(2026, 1, 4, 4, tzinfo=UTC))
        assert record["payload"]["reason"] == "no-latest", record
        log: str = record["log"]
        return log

    user.cloud.set_clock(datetime(2026, 1, 4, 4, tzinfo=UTC))
    assert "NotificationFailed" not in (log := night()), log
    assert "notification not published" not in log

    for_alarms = (
        f"  problem  {key}: does not let CloudWatch use it, so that no alarm reaches {TOPIC}"
    )
    assert for_alarms in user.run("doctor")[1]
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
        }
    )
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    printed = user.run("doctor")[1]
    assert f"  ok       {key}: functions and alarms may use it for {TOPIC}" in printed
    assert [line for line in printed if "policies: its inline" in line] == []

    other = kms.create_key()["KeyMetadata"]["Arn"]
    sns.set_topic_attributes(TopicArn=TOPIC, AttributeName="KmsMasterKeyId", AttributeValue=other)
    log = night()
    assert "KMSAccessDenied" in log
    assert '"NotificationFailed": [1]' in log
    assert (
        f"  problem  {other}: the functions' roles may not use it for {TOPIC}"
        in user.run("doctor")[1]
    )


def make_copies(user: User, *copies: tuple[str, str]) -> None:
    """Make snapshots that look like copies for a parameter."""
    rds = user.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier="orders",
        Engine="aurora-postgresql",
        MasterUsername="postgres",
        MasterUserPassword="password",
    )
    for name, made_for in copies:
        rds.create_db_cluster_snapshot(
            DBClusterIdentifier="orders",
            DBClusterSnapshotIdentifier=name,
            Tags=[
                {"Key": "aurora-refresh:made-for", "Value": made_for},
                {"Key": "aurora-refresh:taken", "Value": "2026-01-03T22:00:00+00:00"},
            ],
        )


def test_destroying_names_the_snapshots_that_it_keeps(user: User, deployed: Deploy) -> None:
    deployed()
    own, other = ("aurora-refresh-copy-1", LATEST), ("aurora-refresh-copy-2", "/other/latest")
    make_copies(user, own, other, ("by-hand", LATEST))
    said: list[str] = []
    destroy.destroy(user.folder, "acceptance", said.append, destroy.Extent())
    assert [line for line in said if " snapshot " in line] == [
        "  kept       snapshot aurora-refresh-copy-1"
    ]


def test_an_alarm_or_a_dashboard_that_somebody_deleted_is_made_again(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stacks.after(load(user.folder, "acceptance"))["Resources"].items()
    kept = {name: each for name, each in whole if name.startswith("Alarm")}
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": kept | {"Dashboard": DASHBOARD}})
    cloudwatch = user.cloud.client("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="d2", DashboardBody="{}")
    assert deployed() == (0, [])
    there = user.alarms()
    cloudwatch.delete_alarms(AlarmNames=there[:1])
    assert deployed() == (0, [])
    assert user.alarms() == there
    cloudwatch.delete_dashboards(DashboardNames=["d"])
    assert deployed() == (0, [])
    found = cloudwatch.list_dashboards()["DashboardEntries"]
    assert sorted(each["DashboardName"] for each in found) == ["d", "d2"]


def test_who_has_unsubscribed_is_told_of_and_subscribed_again_when_answered(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("cli.deployer.say", said.append)
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": {"Dashboard": DASHBOARD}})
    deployed("EMAIL=a@b.de")
    assert account.runtime() in said
    sns = user.cloud.client("sns")
    (topic,) = sns.list_topics()["Topics"]
    sns.delete_topic(TopicArn=topic["TopicArn"])  # which takes a pending subscription with it
    sns.create_topic(Name="aurora-refresh")
    deployed()
    assert (
        "  note: a@b.de has unsubscribed; aurora-refresh deploy --stage acceptance EMAIL=a@b.de subscribes it again"
    ) in said
    assert sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"] == []
    said.clear()
    deployed("EMAIL=a@b.de")
    assert (
        "  note: AWS has sent a@b.de an e-mail; notifications start once its link is clicked"
        in said
    )
    said.clear()
    deployed("EMAIL=a@b.de")
    assert "  unchanged  e-mail subscription of a@b.de" in said
    assert [line for line in said if "note: AWS" in line or "unsubscribed" in line] == []
    found = sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert [each["Endpoint"] for each in found] == ["a@b.de"]


def test_logs_that_somebody_keeps_for_longer_are_not_shortened(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": {"Dashboard": DASHBOARD}})
    logs = user.cloud.client("logs")
    longer, shorter, *others = stacks.log_groups(load(user.folder, "acceptance"))
    for name, days in ((longer, 365), (shorter, 7)):
        logs.create_log_group(logGroupName=name)
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    assert deployed() == (0, [])
    assert user.log_days() == {longer: 365, shorter: 90} | dict.fromkeys(others, 90)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("EMIAL=a@b.de", "EMIAL is no answer of deploy: there are EMAIL, "),
        ("EMAIL=team", "EMAIL is 'team': write an address such as team@example.com"),
        *(
            (
                f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={value}",
                (
                    f"DATABASE_BACKUP_SNAPSHOT_ID_ARN is '{value}': write the ARN of a cluster snapshot of "
                    "production (111111111111, SOURCE_ACCOUNT) or of 222222222222, in eu-west-1, such as "
                    "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:orders-2026-01-03"
                ),
            )
            for value in (
                "orders",
                f"{SNAPSHOT}1".replace("111111111111", "999999999999"),
                f"{SNAPSHOT}1".replace("eu-west-1", "eu-west-2"),
                f"{SNAPSHOT}1".replace("arn:aws:", "arn:aws-cn:"),
            )
        ),
    ],
)
def test_a_wrong_answer_is_named(user: User, deployed: Deploy, answer: str, told: str) -> None:
    status, printed = deployed(answer)
    assert status == 1
    assert printed[0].startswith(told)
    assert user.holds() == {}


def test_current_may_begin_with_production_s_snapshot_or_the_account_s_own(user: User) -> None:
    stage = load(user.folder, "acceptance")
    for arn in (f"{SNAPSHOT}1", f"{SNAPSHOT}1".replace(PRODUCTION, ACCEPTANCE)):
        assert deploy.first_values(stage, {deploy.INITIAL: arn}) == {CURRENT: arn}


def test_whoever_stops_it_is_told_what_is_done_and_can_answer_anew_later(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(stacks, "after", interrupted)
    told = deployed(f"RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}first", "EMAIL=a@example.com")
    assert told == (
        1,
        [
            "Stopped; an operation on a stack continues by itself.",
            (
                "completed: stack aurora-refresh-acceptance-before, chalice deploy; "
                "once that is fixed, run aurora-refresh deploy --stage acceptance again"
            ),
        ],
    )
    assert user.holds()[CURRENT] == f"{SNAPSHOT}first"
    deployed("EMAIL=b@example.com")
    sns = user.cloud.client("sns")
    found = sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert [each["Endpoint"] for each in found] == ["b@example.com"]


# --- as templates ---------------------------------------------------------------------------------


def test_the_package_is_three_clean_templates_whose_functions_have_the_names_that_all_else_goes_by(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = Path(sys.prefix) / "wheels"
    packed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.exists() else {}
    for name, value in packed.items():
        monkeypatch.setenv(name, value)
    out = user.folder / "out"
    arguments = ["--project", str(user.folder), "--stage", "acceptance", "--out", str(out)]
    done = CliRunner().invoke(cli, ["package", *arguments])
    assert done.exit_code == 0, done.output
    printed = done.stdout
    assert account.runtime() in printed
    assert "Remove from before.json what the account already has" in printed
    assert f"--parameter-overrides {FIRST}=… Email=…" in printed
    for stack in PACKAGED:
        assert f"aws cloudformation delete-stack --stack-name {stack} " in printed
    assert sorted(file.name for file in out.iterdir()) == [
        "after.json",
        "before.json",
        "deployment.zip",
        "sam.json",
    ]
    for file in out.glob("*.json"):
        assert cfnlint.lint(file.read_text(), regions=["eu-west-1"]) == [], file.name
    resources = json.loads((out / "sam.json").read_text())["Resources"].values()
    functions = [each for each in resources if each["Type"] == "AWS::Serverless::Function"]
    assert sorted(each["Properties"]["FunctionName"] for each in functions) == sorted(
        stacks.function_names(load(user.folder, "acceptance")).values()
    )
    stage = load(user.folder, "acceptance")
    rules = {each["Properties"]["FunctionName"]: ruled(each) for each in functions}
    assert rules == {
        deployed: [] if function == API else [stacks.rule_name("acceptance", function)]
        for function, deployed in stacks.function_names(stage).items()
    }


def ruled(function: dict[str, Any]) -> list[str]:
    """The names of the rules that SAM makes of a function's events, one way for each type."""
    named = {"Schedule": "Name", "EventBridgeRule": "RuleName"}
    events = function["Properties"].get("Events", {}).values()
    return [each["Properties"][named[each["Type"]]] for each in events]


FIRST = "FirstAcceptanceRdsCurrentSnapshotc694c8"
PACKAGED = [f"aurora-refresh-acceptance{which}" for which in ("-before", "", "-after")]


@pytest.fixture
def packaged(user: User, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Packages without Chalice, which takes its time; the template of what must exist before."""
    monkeypatch.setattr(package, "chalice", lambda *_: None)

    def run() -> str:
        out = user.folder / "out"
        out.mkdir(exist_ok=True)
        package.package(user.folder, "acceptance", out, print)
        return (out / "before.json").read_text()

    return run


def apply(
    user: User, operation: str, template: str, stack: str = PACKAGED[0], **parameters: Any
) -> None:
    """Create or update the stack as the printed command does, and wait."""
    client = user.cloud.client("cloudformation")
    given = [{"ParameterKey": name, **each} for name, each in parameters.items()]
    getattr(client, f"{operation}_stack")(StackName=stack, TemplateBody=template, Parameters=given)
    client.get_waiter(f"stack_{operation}_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )


def test_a_value_that_has_moved_stays_when_the_stack_is_updated_from_another_package(
    user: User, packaged: Callable[[], str]
) -> None:
    given = {FIRST: {"ParameterValue": f"{SNAPSHOT}first"}, "Email": {"ParameterValue": "a@b.de"}}
    apply(user, "create", packaged(), **given)
    first = {
        PIPELINE_NAME: "acceptance-main",
        LATEST: "dummyvalue",
        CURRENT: f"{SNAPSHOT}first",
        HOLD: "dummyvalue",
    }
    assert user.holds() == first
    moved = {LATEST: f"{SNAPSHOT}new", CURRENT: f"{SNAPSHOT}new", HOLD: '{"until": "2026-02-01"}'}
    for name, value in moved.items():
        user.put(name, value)

    # Another pipeline, so that there is something to update at all.
    config = user.folder / ".chalice/config.json"
    config.write_text(config.read_text().replace(":acceptance-main", ":acceptance-other"))
    previous = {name: {"UsePreviousValue": True} for name in given}
    apply(user, "update", packaged(), **previous)
    assert user.holds() == first | moved | {PIPELINE_NAME: "acceptance-other"}
    found = user.cloud.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert [each["Endpoint"] for each in found] == ["a@b.de"]
    assert user.log_days() == dict.fromkeys(stacks.log_groups(load(user.folder, "acceptance")), 90)


@pytest.mark.parametrize("stack", PACKAGED[:2])
def test_a_packaged_stage_is_neither_deployed_nor_destroyed_but_by_its_own_stacks(
    user: User, deployed: Deploy, packaged: Callable[[], str], stack: str
) -> None:
    apply(user, "create", packaged(), stack)
    before = user.holds()
    status, told = deployed()
    assert status == 1
    assert told[0] == (
        "stage 'acceptance' was deployed from the templates of aurora-refresh package: use these again, or "
        "delete its stacks, which keeps parameters, topic and logs:"
    )
    deletions = [line.split()[4] for line in told if "delete-stack" in line]
    assert deletions == PACKAGED[::-1]
    with pytest.raises(StageError) as caught:
        destroy.destroy(user.folder, "acceptance", print, destroy.Extent())
    assert str(caught.value).splitlines() == told[:-1]
    assert user.holds() == before


def test_a_package_does_not_touch_what_make_deploy_has_made(
    user: User, deployed: Deploy, packaged: Callable[[], str]
) -> None:
    deployed(f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}first", "EMAIL=a@b.de")
    user.put(LATEST, f"{SNAPSHOT}new")
    before = user.holds()
    with pytest.raises(WaiterError):
        apply(user, "update", packaged())
    assert user.holds() == before
    found = user.cloud.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert [each["Endpoint"] for each in found] == ["a@b.de"]


def contradict(user: User) -> str:
    """Have the stage take its own account's snapshots for production's; what is said to it."""
    file = user.folder / ".chalice/config.json"
    file.write_text(file.read_text().replace(PRODUCTION, ACCEPTANCE))
    return (
        "stage 'acceptance' would not work:\n"
        f"SOURCE_ACCOUNT is '{ACCEPTANCE}': this is the main pipeline's account, acceptance; write "
        "production's"
    )


def test_a_stage_that_contradicts_itself_is_neither_deployed_nor_packaged(
    user: User, deployed: Deploy, packaged: Callable[[], str]
) -> None:
    told = contradict(user)
    assert deployed() == (1, [*told.splitlines(), NOTHING_DONE])
    assert user.holds() == {}
    with pytest.raises(StageError) as caught:
        packaged()
    assert str(caught.value) == told


# --- dry runs -------------------------------------------------------------------------------------


def test_a_dry_run_and_a_question_change_nothing(user: User, deployed: Deploy) -> None:
    environment = {**variables.cleared(os.environ), **user.cloud.environment(ACCEPTANCE)}
    run = CliRunner(env=environment).invoke
    words = ["--project", str(user.folder), "--stage", "acceptance"]
    dry = run(cli, ["deploy", *words, "--dry-run", "EMAIL=a@b.de"])
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert f"  create     parameter {CURRENT}" in dry.stdout
    assert "  create     function aurora-refresh-acceptance-db-restore-from-snapshot" in dry.stdout
    assert dry.stdout.endswith("this is a dry run; nothing was changed\n")
    assert user.holds() == {}

    deployed()  # without functions, for which its last step fails
    held = user.holds()
    user.cloud.clear_calls()
    again = run(cli, ["deploy", *words, "--dry-run"])
    assert f"  unchanged  parameter {CURRENT}" in again.stdout
    dry = run(cli, ["destroy", *words, "--dry-run", "--delete-parameters"])
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert "  delete     stack aurora-refresh-acceptance-before" in dry.stdout
    assert f"  delete     parameter {CURRENT}: dummyvalue" in dry.stdout
    refused = run(cli, ["destroy", *words])
    assert (refused.exit_code, refused.stderr.splitlines()) == (
        2,
        [
            "This deletes stage acceptance.",
            "Nobody can be asked here: add --yes to go on.",
        ],
    )
    assert f"  keep       parameter {CURRENT}: dummyvalue" in refused.stdout
    assert user.holds() == held
    changing = [call["operation"] for call in user.cloud.calls() if ":Delete" in call["operation"]]
    assert changing == []


def test_configure_finds_the_stack_of_the_main_pipeline(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = (PROJECT / "infrastructure/main-pipeline.yaml").read_text()
    user.cloud.create_pipeline("acceptance-main", 0.1, [])
    user.cloud.patch_pipeline(
        "acceptance-main",
        template=template,
        parameters={
            "Snapshot": CURRENT,
            "EngineVersion": "15.4",
            "KmsKeyArn": user.client("kms").create_key()["KeyMetadata"]["Arn"],
            "SubnetGroupName": "private",
            "SecurityGroupIds": "sg-0123456789abcdef0",
        },
    )
    environment = {**variables.cleared(os.environ), **user.cloud.environment(ACCEPTANCE)}
    run = CliRunner(env=environment).invoke
    words = ["configure", "--project", str(user.folder), "--stage", "new"]
    known = load(user.folder, "acceptance")
    assert isinstance(known, AcceptanceStage)
    plain = {**known.variables, "MAIN_PIPELINE_ARN": known.pipeline_arn}
    plain.pop("RDS_STACK_NAME")
    answers = [f"{name}={value}" for name, value in plain.items()]
    before = run(cli, [*words, *answers, "--dry-run"])
    assert before.exit_code == 0, before.output
    assert "note: RDS_STACK_NAME is not set (no stack of acceptance-main restores" in before.stdout
    assert "which is weaker" in before.stdout
    assert "which is weaker" not in run(cli, [*words, *answers, "--dry-run", "--offline"]).stdout

    key = f"arn:aws:kms:eu-west-1:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
    shared = nightly(
        "orders", datetime(2026, 1, 3, 20, tzinfo=UTC), kms_key_id=key, kms_granted_to=[ACCEPTANCE]
    )
    user.cloud.seed_snapshots([shared])
    user.put(CURRENT, arn_of(shared))
    pipeline = user.client("codepipeline")
    run_id = pipeline.start_pipeline_execution(name="acceptance-main")["pipelineExecutionId"]
    assert user.cloud.wait_for_run(run_id, "acceptance-main") == "Succeeded"
    actions = [
        action
        for stage in pipeline.get_pipeline(name="acceptance-main")["pipeline"]["stages"]
        for action in stage["actions"]
    ]
    (stack,) = {
        action["configuration"]["StackName"]
        for action in actions
        if "StackName" in action.get("configuration", {})
    }
    found = run(cli, [*words, *answers])
    assert found.exit_code == 0, found.output
    said = next(line for line in found.stdout.splitlines() if line.startswith("note: RDS"))
    assert (
        said == f"note: RDS_STACK_NAME is {stack}, which the main pipeline deploys from {CURRENT}"
    )
    assert load(user.folder, "new").variables["RDS_STACK_NAME"] == stack
