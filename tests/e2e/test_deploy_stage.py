"""``aurora-refresh deploy`` and ``aurora-refresh destroy`` as a user types them, the local cloud being the account."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from click.testing import CliRunner, Result

from chalicelib.domain.functions import API, RESTORE, UPDATE
from cli import account, deploy, destroy, package, stacks
from cli.main import cli
from cli.stages import StageError, load
from localcloud import variables
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud
from localcloud.company import copy_project

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

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def run(self, command: str, *answers: str) -> tuple[int, list[str]]:
        """`aurora-refresh COMMAND --stage … …`: its status, and what it printed."""
        wheels = Path(sys.prefix) / "wheels"
        packed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.exists() else {}
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", command, "--stage", "acceptance", *answers],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            env={**variables.cleared(os.environ), **self.cloud.environment(), **packed},
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

    def existing(self) -> tuple[list[str], list[str], list[str], list[str], list[str]]:
        """The functions, the application's roles, the rules, the alarms and the REST APIs."""
        roles = self.client("iam").list_roles()["Roles"]
        return (
            names(self.client("lambda").list_functions()["Functions"], "FunctionName"),
            [each for each in names(roles, "RoleName") if each.startswith("aurora-refresh")],
            names(self.client("events").list_rules()["Rules"], "Name"),
            names(self.client("cloudwatch").describe_alarms()["MetricAlarms"], "AlarmName"),
            names(self.client("apigateway").get_rest_apis()["items"], "id"),
        )

    def subscribers(self) -> list[str]:
        found = self.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
        return names(found, "Endpoint")

    def copy_api(self) -> str:
        """Another REST API to the same function; its id."""
        gateway = self.client("apigateway")
        (api,) = self.existing()[-1]
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


def at_first(current: str) -> dict[str, str]:
    """Return what the parameters of a new stage hold."""
    return {
        PIPELINE_NAME: "acceptance-main",
        LATEST: "dummyvalue",
        CURRENT: current,
        HOLD: "dummyvalue",
    }


def names(listed: list[dict[str, Any]], key: str) -> list[str]:
    return sorted(each[key] for each in listed)


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


def test_the_life_of_a_stage(user: User) -> None:
    """Deployed, deployed again from another clone, and destroyed, with failures in between."""
    stage = load(user.folder, "acceptance")
    user.put(CURRENT, f"{SNAPSHOT}before")
    a_deployment_that_comes_to_nothing(user)
    first = a_deployment(user)
    moved = another_deployment_resets_no_value(user, first)
    others = neighbours(user)
    function = f"aurora-refresh-acceptance-{UPDATE}"

    # What cannot be deleted is named, and goes the next time.
    user.cloud.set_faults([{"operation": "lambda:DeleteFunction", "kind": "deny", "times": 1}])
    status, printed = user.run("destroy", "--yes")
    left = printed.index("stage acceptance is not deleted; what is left:") + 1
    denied = f"function {function}: these credentials are not allowed to call"
    assert (status, printed[left].startswith(denied)) == (1, True)
    assert printed[-1] == (
        "once that is fixed, run aurora-refresh destroy --stage acceptance again"
    )
    for name, value in moved.items():
        assert f"  kept       parameter {name}: {value}" in printed
    assert f"  kept       topic {TOPIC}" in printed
    assert user.existing() == ([function], *others, [], [])
    assert user.run("destroy", "--yes")[0] == 0
    assert user.existing() == ([], *others, [], [])
    assert (user.holds(), user.log_days().keys()) == (moved, {*stacks.log_groups(stage)})
    status, printed = user.run("destroy", "--yes")
    assert (status, printed[-1]) == (
        0,
        "stage acceptance did not exist; aurora-refresh deploy --stage acceptance uses what was kept",
    )

    make_copies(user, ("aurora-refresh-copy-1", LATEST), ("by-hand", LATEST))
    assert user.run("destroy", "--yes", "--everything")[0] == 0
    sns, rds = user.client("sns"), user.client("rds")
    snapshots = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert [each["DBClusterSnapshotIdentifier"] for each in snapshots] == ["by-hand"]
    # Nobody knows any more that the stage has made the parameter of the pipeline's name.
    assert (user.holds(), user.log_days()) == ({PIPELINE_NAME: "acceptance-main"}, {})
    assert sns.list_topics()["Topics"] == []


def a_deployment_that_comes_to_nothing(user: User) -> None:
    """Chalice fails in the middle; what it has made by then is destroyed."""
    denied = {"operation": "lambda:CreateFunction", "kind": "deny", "nth": 2, "times": 0}
    user.cloud.set_faults([denied])
    status, printed = user.run("deploy")
    assert status != 0
    failed = "chalice deploy --stage acceptance ended with status 2: "
    assert any(line.startswith(failed) and "ERROR - While send" in line for line in printed)
    assert f"  unchanged  parameter {CURRENT}, which exists: {SNAPSHOT}before" in printed
    assert (
        "completed: stack aurora-refresh-acceptance-before; once that is fixed, run aurora-refresh deploy "
        "--stage acceptance again"
    ) in printed
    user.cloud.set_faults([])
    function, other = (f"aurora-refresh-acceptance-{name}" for name in (UPDATE, RESTORE))
    assert user.existing()[:2] == ([function], [other, function])

    iam = user.client("iam")
    allow = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    audit = iam.create_policy(PolicyName="audit", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=other, PolicyArn=audit)
    shutil.rmtree(user.folder / ".chalice/deployed", ignore_errors=True)
    status, printed = user.run("destroy", "--yes")
    assert status == 0
    for what in (f"role {other}", f"function {function}", f"role {function}"):
        assert f"  deleted    {what}" in printed
    assert user.existing() == ([], [], [], [], [])
    assert iam.get_policy(PolicyArn=audit)["Policy"]["AttachmentCount"] == 0


def a_deployment(user: User) -> dict[str, str]:
    """What the parameters hold after the first deployment that succeeds."""
    stage = load(user.folder, "acceptance")
    status, printed = user.run("deploy", "EMAIL=team@example.com")
    assert (status, printed[-1]) == (
        0,
        "stage acceptance is deployed; next: aurora-refresh doctor --stage acceptance",
    )
    functions, _, _, alarms, _ = user.existing()
    assert functions == sorted(stacks.function_names(stage).values())
    assert alarms == sorted(stacks.alarm_names(stage))
    assert user.log_days() == dict.fromkeys(stacks.log_groups(stage), 90)
    assert user.subscribers() == ["team@example.com"]
    invoked = user.client("lambda").get_function_event_invoke_config(
        FunctionName=f"aurora-refresh-acceptance-{RESTORE}"
    )
    assert (invoked["MaximumRetryAttempts"], invoked["MaximumEventAgeInSeconds"]) == (2, 21600)
    assert invoked["DestinationConfig"]["OnFailure"] == {"Destination": TOPIC}
    first = at_first(f"{SNAPSHOT}before")
    assert user.holds() == first
    return first


def another_deployment_resets_no_value(user: User, first: dict[str, str]) -> dict[str, str]:
    """What the parameters hold after another deployment: values move, as they do every other week.

    In this clone Chalice has noted nothing of the API, which stays what it is; another one is named.
    """
    hold = json.dumps({"until": "2026-02-01", "reason": "tests", "by": "anne"})
    moved = {LATEST: f"{SNAPSHOT}new", CURRENT: f"{SNAPSHOT}new", HOLD: hold}
    for name, value in moved.items():
        user.put(name, value)
    address = user.cloud.rest_url()
    stray = user.copy_api()
    (user.folder / ".chalice/deployed/acceptance.json").unlink()
    status, printed = user.run("deploy", f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}other")
    assert (status, user.cloud.rest_url()) == (0, address)
    changes = {line.split()[0] for line in printed if line.startswith("  ") and line[2] != "-"}
    assert changes == {"unchanged", "note:", "found"}
    assert f"  note: {CURRENT} already holds {SNAPSHOT}new, and keeps it: " in "\n".join(printed)
    assert any(line.startswith(f"  note: REST API {stray} also invokes") for line in printed)
    assert user.holds() == first | moved
    return first | moved


def neighbours(user: User) -> tuple[list[str], list[str]]:
    """Roles and rules whose names begin or end like the stage's, and are others', and no note."""
    (user.folder / ".chalice/deployed/acceptance.json").unlink()
    iam, events = user.client("iam"), user.client("events")
    roles = ["aurora-refresh-acceptance", "aurora-refresh-acceptance2-db-follow-pipeline"]
    rules = ["aurora-refresh-acceptance-db-follow-pipeline", "db-follow-pipeline-event"]
    for role in roles:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    for rule in rules:
        events.put_rule(Name=rule, ScheduleExpression="rate(1 day)")
    return roles, rules


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


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the command prints."""
    lines: list[str] = []
    monkeypatch.setattr("cli.deployer.say", lines.append)
    return lines


NOTHING_DONE = (
    "no step was completed; once that is fixed, run aurora-refresh deploy --stage acceptance again"
)


def regions(region: str) -> dict[str, str]:
    return {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}


REFUSED: dict[str, dict[str, str]] = {
    "the credentials in use belong to account 111111111111 ": {"of": PRODUCTION},
    "the Region in use is eu-west-2, but stage 'acceptance' is in eu-west-1: ": regions(
        "eu-west-2"
    ),
    "no Region is set, but stage 'acceptance' is in eu-west-1: ": regions(""),
    "there are no AWS credentials (": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    "the credentials in use are invalid or have expired (": {
        "AWS_ACCESS_KEY_ID": "AKIANOBODYATALL00000"
    },
}


def test_whose_credentials_are_not_the_stage_s_is_told_and_changes_nothing(
    user: User, deployed: Deploy
) -> None:
    for told, environment in REFUSED.items():
        status, printed = deployed(**environment)
        assert (status, printed[1:], user.holds()) == (1, [NOTHING_DONE], {})
        assert printed[0].startswith(told)


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
    assert user.existing()[3] == []
    assert user.log_days() == {}


def test_what_the_parameters_hold_is_left_alone_and_no_secret_of_it_is_told(
    user: User, deployed: Deploy, said: list[str]
) -> None:
    parameters, secret = (PIPELINE_NAME, LATEST, CURRENT, HOLD), "Geheim!\x1b[2J"
    for name in parameters:
        user.put(name, secret)
    deployed(f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}first")  # its last step needs functions
    destroy.destroy(user.folder, "acceptance", said.append, destroy.Extent())
    hidden = f"something else, {len(secret)} characters long"
    for name in parameters:
        assert f"  unchanged  parameter {name}, which exists: {hidden}" in said
        assert f"  kept       parameter {name}: {hidden}" in said
    assert [line for line in said if "Geheim" in line or "\x1b" in line] == []
    assert (
        f"  note: {PIPELINE_NAME} exists and is left alone, but the functions may start only "
        f"acceptance-main: aws ssm put-parameter --overwrite --name {PIPELINE_NAME} --value acceptance-main"
    ) in said
    assert set(user.holds().values()) == {secret}


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


def test_destroying_keeps_the_topic_that_others_alarms_notify_and_other_stages_snapshots(
    user: User, deployed: Deploy
) -> None:
    deployed()  # its last step needs functions
    make_copies(user, ("aurora-refresh-copy-1", LATEST), ("aurora-refresh-copy-2", "/other/latest"))
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
    assert [line for line in said if " snapshot " in line] == [
        "  deleted    snapshot aurora-refresh-copy-1"
    ]
    assert user.holds() == {}


def test_a_deleted_alarm_or_dashboard_is_made_again_and_logs_kept_for_longer_are_not_shortened(
    user: User, deployed: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stacks.after(load(user.folder, "acceptance"))["Resources"].items()
    kept = {name: each for name, each in whole if name.startswith("Alarm")}
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": kept | {"Dashboard": DASHBOARD}})
    cloudwatch, logs = user.client("cloudwatch"), user.client("logs")
    longer, shorter, *others = stacks.log_groups(load(user.folder, "acceptance"))
    for name, days in ((longer, 365), (shorter, 7)):
        logs.create_log_group(logGroupName=name)
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    cloudwatch.put_dashboard(DashboardName="d2", DashboardBody="{}")
    assert deployed() == (0, [])
    assert user.log_days() == {longer: 365, shorter: 90} | dict.fromkeys(others, 90)
    alarms = user.existing()[3]
    cloudwatch.delete_alarms(AlarmNames=alarms[:1])
    assert deployed() == (0, [])
    assert user.existing()[3] == alarms
    cloudwatch.delete_dashboards(DashboardNames=["d"])
    assert deployed() == (0, [])
    assert names(cloudwatch.list_dashboards()["DashboardEntries"], "DashboardName") == ["d", "d2"]


def test_who_has_unsubscribed_is_told_of_and_subscribed_again_when_answered(
    user: User, deployed: Deploy, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": {"Dashboard": DASHBOARD}})
    deployed("EMAIL=a@b.de")
    assert account.runtime() in said
    sns = user.client("sns")
    (topic,) = sns.list_topics()["Topics"]
    sns.delete_topic(TopicArn=topic["TopicArn"])  # which takes a pending subscription with it
    sns.create_topic(Name="aurora-refresh")
    deployed()
    assert (
        "  note: a@b.de has unsubscribed; aurora-refresh deploy --stage acceptance EMAIL=a@b.de subscribes it again"
    ) in said
    assert user.subscribers() == []
    said.clear()
    deployed("EMAIL=a@b.de")
    assert (
        "  note: AWS has sent a@b.de an e-mail; notifications start once its link is clicked"
        in said
    )
    assert user.subscribers() == ["a@b.de"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("EMIAL=a@b.de", "EMIAL is no answer of deploy: there are EMAIL, "),
        ("EMAIL=team", "EMAIL is 'team': write an address such as team@example.com"),
        *(
            (f"{deploy.INITIAL}={value}", f"{deploy.INITIAL} is '{value}': write the ARN of a ")
            for value in (
                "orders",
                f"{SNAPSHOT}1".replace("111111111111", "999999999999"),
                f"{SNAPSHOT}1".replace("eu-west-1", "eu-west-2"),
                f"{SNAPSHOT}1".replace("arn:aws:", "arn:aws-cn:"),
            )
        ),
    ],
)
def test_a_wrong_answer_is_named(answer: str, told: str) -> None:
    words = ["deploy", "--project", str(PROJECT), "--stage", "acceptance", answer]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert result.stderr.startswith(told)


def test_current_may_begin_with_production_s_snapshot_or_the_account_s_own() -> None:
    stage = load(PROJECT, "acceptance")
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
    assert user.subscribers() == ["b@example.com"]


# --- as templates ---------------------------------------------------------------------------------


def test_the_package_is_three_clean_templates_whose_functions_have_the_names_that_all_else_goes_by(
    user: User,
) -> None:
    status, printed = user.run("package", "--out", "out")
    assert (status, printed[0]) == (0, account.runtime())
    assert "Remove from before.json what the account already has" in "\n".join(printed)
    assert any(f"--parameter-overrides {FIRST}=… Email=…" in line for line in printed)
    deletions = [line.split()[4] for line in printed if "delete-stack" in line]
    assert deletions == PACKAGED[::-1]
    out = user.folder / "out"
    made = ["after.json", "before.json", "deployment.zip", "sam.json"]
    assert sorted(file.name for file in out.iterdir()) == made
    for file in out.glob("*.json"):
        assert cfnlint.lint(file.read_text(), regions=["eu-west-1"]) == [], file.name
    resources = json.loads((out / "sam.json").read_text())["Resources"].values()
    stage = load(user.folder, "acceptance")
    rules = {
        each["Properties"]["FunctionName"]: ruled(each)
        for each in resources
        if each["Type"] == "AWS::Serverless::Function"
    }
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


def apply(user: User, operation: str, template: str, **parameters: Any) -> None:
    """Create or update the first stack as the printed command does, and wait."""
    client = user.client("cloudformation")
    given = [{"ParameterKey": name, **each} for name, each in parameters.items()]
    stack = {"StackName": PACKAGED[0]}
    getattr(client, f"{operation}_stack")(**stack, TemplateBody=template, Parameters=given)
    client.get_waiter(f"stack_{operation}_complete").wait(
        **stack, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )


def test_a_packaged_stage_belongs_to_its_own_stacks_whose_update_resets_no_value(
    user: User, deployed: Deploy, packaged: Callable[[], str]
) -> None:
    given = {FIRST: {"ParameterValue": f"{SNAPSHOT}first"}, "Email": {"ParameterValue": "a@b.de"}}
    apply(user, "create", packaged(), **given)
    first = at_first(f"{SNAPSHOT}first")
    assert user.holds() == first
    moved = {LATEST: f"{SNAPSHOT}new", CURRENT: f"{SNAPSHOT}new", HOLD: '{"until": "2026-02-01"}'}
    for name, value in moved.items():
        user.put(name, value)

    status, told = deployed()
    assert status == 1
    assert told[0] == (
        "stage 'acceptance' was deployed from the templates of aurora-refresh package: use these again, or "
        "delete its stacks, which keeps parameters, topic and logs:"
    )
    assert [line.split()[4] for line in told if "delete-stack" in line] == PACKAGED[::-1]
    with pytest.raises(StageError) as caught:
        destroy.destroy(user.folder, "acceptance", print, destroy.Extent())
    assert str(caught.value).splitlines() == told[:-1]

    # Another pipeline, so that there is something to update at all.
    config = user.folder / ".chalice/config.json"
    config.write_text(config.read_text().replace(":acceptance-main", ":acceptance-other"))
    previous = {name: {"UsePreviousValue": True} for name in given}
    apply(user, "update", packaged(), **previous)
    assert user.holds() == first | moved | {PIPELINE_NAME: "acceptance-other"}
    assert user.subscribers() == ["a@b.de"]
    assert user.log_days() == dict.fromkeys(stacks.log_groups(load(user.folder, "acceptance")), 90)


def test_a_stage_that_contradicts_itself_is_neither_deployed_nor_packaged(
    user: User, deployed: Deploy, packaged: Callable[[], str]
) -> None:
    """It takes its own account's snapshots for production's."""
    file = user.folder / ".chalice/config.json"
    file.write_text(file.read_text().replace(PRODUCTION, ACCEPTANCE))
    told = "stage 'acceptance' would not work:"
    status, printed = deployed()
    assert (status, printed[0], printed[-1], user.holds()) == (1, told, NOTHING_DONE, {})
    with pytest.raises(StageError, match=told):
        packaged()


# --- dry runs -------------------------------------------------------------------------------------


def test_a_dry_run_and_a_question_change_nothing(user: User, deployed: Deploy) -> None:
    environment = {**variables.cleared(os.environ), **user.cloud.environment(ACCEPTANCE)}

    def run(command: str, *words: str) -> Result:
        where = ["--project", str(user.folder), "--stage", "acceptance"]
        return CliRunner(env=environment).invoke(cli, [command, *where, *words])

    dry = run("deploy", "--dry-run", "EMAIL=a@b.de")
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert f"  create     parameter {CURRENT}" in dry.stdout
    assert f"  create     function aurora-refresh-acceptance-{RESTORE}" in dry.stdout
    assert dry.stdout.endswith("this is a dry run; nothing was changed\n")
    assert user.holds() == {}

    deployed()  # without functions, for which its last step fails
    held = user.holds()
    user.cloud.clear_calls()
    assert f"  unchanged  parameter {CURRENT}" in run("deploy", "--dry-run").stdout
    dry = run("destroy", "--dry-run", "--delete-parameters")
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert "  delete     stack aurora-refresh-acceptance-before" in dry.stdout
    assert f"  delete     parameter {CURRENT}: dummyvalue" in dry.stdout
    refused = run("destroy")
    assert (refused.exit_code, refused.stderr.splitlines()) == (
        2,
        ["This deletes stage acceptance.", "Nobody can be asked here: add --yes to go on."],
    )
    assert f"  keep       parameter {CURRENT}: dummyvalue" in refused.stdout
    assert user.holds() == held
    assert [call for call in user.cloud.calls() if ":Delete" in call["operation"]] == []
