"""From a fresh clone to a stage that the doctor calls healthy, with documented commands; and what mends one that is not.

The company has what it has before it knows of this application: a main pipeline with the reference template, which
has deployed nothing yet, a topic under a key of its own, and production's nightly shares.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from chalicelib.domain.functions import RESTORE, UPDATE
from demo import acceptance
from demo.acceptance import Project, arn_of, nightly
from demo.pipeline import create_pipeline
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from tests.e2e.conftest import PROJECT, answer_of

STAGE = "acceptance"
MAIN = "acceptance-main"
PERSON = "team@example.com"
PREFIX = f"aurora-refresh-{STAGE}"
KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
CURRENT = "/team/orders/current"
OWN = {"SSM_RDS_CURRENT_SNAPSHOT_NAME": CURRENT, "RDS_STACK_NAME": MAIN}
ANSWERS = acceptance.ANSWERS | OWN
TEMPLATE = (PROJECT / "infrastructure/main-pipeline.yaml").read_text()
TWO = datetime(2026, 1, 4, 2, tzinfo=UTC)
FOUR = TWO + timedelta(hours=2)


class Newcomer(Project):
    """Somebody with a fresh clone, and with credentials of acceptance's account."""

    stage = STAGE

    def __init__(self, cloud: LocalCloud, clone: Path) -> None:
        super().__init__(cloud, clone)
        self.calls: set[str] = set()  # of the commands that succeeded
        principals = {"AWS": ACCEPTANCE, "Service": "cloudwatch.amazonaws.com"}  # for the alarms
        all_of = {"Effect": "Allow", "Principal": principals, "Action": "kms:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [all_of]})
        self.key = cloud.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
        topic = {"KmsMasterKeyId": self.key}
        cloud.client("sns").create_topic(Name="aurora-refresh", Attributes=topic)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as somebody does who is not at a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def succeed(self, *arguments: str) -> str:
        """Return what a command that succeeds prints."""
        self.cloud.clear_calls()
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        self.calls |= {call["operation"] for call in self.cloud.calls()}
        return done.stdout

    def share(self, taken: datetime) -> str:
        """Let production share a snapshot under the key that acceptance may use."""
        snapshot = nightly("orders", taken, kms_key_id=KEY, kms_granted_to=[ACCEPTANCE])
        self.cloud.seed_snapshots([snapshot])
        return arn_of(snapshot)


def not_granted(operations: set[str], *policies: str) -> set[str]:
    """Return the operations that these policies in docs/rights.md do not allow."""
    text = (PROJECT / "docs/rights.md").read_text()
    documents = [
        json.loads(text.split(f"<!-- policy {each} -->\n```json\n")[1].split("```")[0])
        for each in policies
    ]
    granted = {
        action
        for document in documents
        for statement in document["Statement"]
        for action in statement["Action"]
    }
    free = {"sts:GetCallerIdentity"}  # needs no permission
    return {needed(operation) for operation in operations} - granted - free


def needed(operation: str) -> str:
    """Return the IAM action of an operation; those of API Gateway are its HTTP methods."""
    service, _, name = operation.partition(":")
    if service != "apigateway":
        return operation
    model = botocore.session.get_session().get_service_model("apigateway")
    return f"apigateway:{model.operation_model(name).http['method']}"


def clone_of(project: Path, folder: Path) -> Path:
    """The project as it would be cloned."""
    left = (".git", ".venv", ".hypothesis", ".coverage*", ".*_cache", "__pycache__", "deploy*ed")
    ignored = shutil.ignore_patterns(*left, "deployments")
    return Path(shutil.copytree(project, folder / "clone", ignore=ignored))


@pytest.fixture(scope="module")
def newcomer(running_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """Has configured and deployed, and has slept through the first night."""
    cloud = running_cloud
    cloud.reset()
    cloud.set_clock(TWO - timedelta(hours=14))
    newcomer = Newcomer(cloud, clone_of(PROJECT, tmp_path_factory.mktemp("newcomer")))
    first = newcomer.share(TWO - timedelta(days=14))
    parameters = {
        "Snapshot": CURRENT,
        "EngineVersion": "15.4",
        "KmsKeyArn": newcomer.key,
        "SubnetGroupName": "private",
        "SecurityGroupIds": "sg-0123456789abcdef0",
    }
    create_pipeline(cloud, MAIN, [], run_seconds=0.2, template=TEMPLATE, parameters=parameters)

    answers = [f"{name}={value}" for name, value in ANSWERS.items()]
    newcomer.succeed("configure", "--stage", STAGE, *answers)
    bootstrap = (f"EMAIL={PERSON}", f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={first}")
    newcomer.succeed("deploy", "--stage", STAGE, *bootstrap)
    cloud.confirm_subscription(PERSON)

    newest = newcomer.share(TWO - timedelta(hours=6))
    for function, hour in ((UPDATE, TWO), (RESTORE, FOUR)):
        cloud.set_clock(hour)
        answer = answer_of(cloud.fire(function, hour))
    assert cloud.wait_for_run(answer["execution_id"], MAIN) == "Succeeded"
    cloud.wait_until_idle()
    assert newcomer.parameter(CURRENT) == newest
    assert [each for each in cloud.invocations() if "NotificationFailed" in each["log"]] == []
    return newcomer


def test_from_a_clone_to_a_stage_that_the_doctor_calls_healthy(newcomer: Newcomer) -> None:
    newcomer.cloud.clear_calls()
    done = newcomer.run("doctor", "--stage", STAGE)
    assert (done.returncode, done.stderr) == (0, "")
    checks = re.findall(r"^  (ok|warning|problem) +(.*)$", done.stdout, re.MULTILINE)
    assert [check for check in checks if check[0] != "ok"] == []
    assert done.stdout.splitlines()[-1] == f"healthy; problems: 0, warnings: 0, ok: {len(checks)}"

    # The doctor only looks.
    calls = {call["operation"] for call in newcomer.cloud.calls()}
    assert not_granted(calls, "doctor") == set()
    assert {call for call in calls if not re.match(r"\w+:(Get|List|Describe)", call)} == set()


def test_configure_finds_the_stack_once_it_is_deployed(newcomer: Newcomer) -> None:
    answers = [f"{name}={value}" for name, value in ANSWERS.items() if name != "RDS_STACK_NAME"]
    found = newcomer.succeed("configure", "--stage", "other", "--dry-run", *answers)
    note = f"note: RDS_STACK_NAME is {MAIN}, which the main pipeline deploys from {CURRENT}"
    assert note in found.splitlines()


# --- planted misconfigurations --------------------------------------------------------------------


def examined(newcomer: Newcomer) -> dict[tuple[str, str, str], str]:
    """What the doctor finds that is not ok, each with its fix."""
    done = newcomer.run("doctor", "--stage", STAGE, "--json")
    return {
        (each["check"], each["subject"], each["status"]): each["fix"]
        for each in json.loads(done.stdout)
        if each["fix"]
    }


def apply_fix(newcomer: Newcomer, fix: str) -> None:
    """Do what a fix says, command by command, as the AWS command line would."""
    for command in fix.rpartition(": ")[2].split(" && "):
        program, service, *words = shlex.split(command)
        if program == "aurora-refresh":
            newcomer.succeed(service, *words)
            continue
        assert program == "aws"
        client = newcomer.cloud.client(service)
        if words[0] == "wait":
            waiter = client.get_waiter(words[1].replace("-", "_"))
            waiter.wait(StackName=words[3], WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
            continue
        operation, *words = words
        method = operation.replace("-", "_")
        members = client.meta.service_model.operation_model(
            client.meta.method_to_api_mapping[method]
        ).input_shape.members
        known = {f"--{xform_name(name, '-')}": (name, members[name].type_name) for name in members}
        given: dict[str, Any] = {}
        while words:
            name, kind = known[words.pop(0)]
            given[name] = kind == "boolean" or CONVERT.get(kind, str)(words.pop(0))
        getattr(client, method)(**given)


CONVERT: dict[str, Callable[[str], Any]] = {"integer": int, "list": lambda word: [word]}


def test_each_command_that_is_printed_as_a_fix_mends_its_fault(newcomer: Newcomer) -> None:
    """What is printed for which fault is decided by tests/cli/test_doctor.py."""
    cloud, alarms = newcomer.cloud, newcomer.cloud.client("cloudwatch")
    restore = f"{PREFIX}-{RESTORE}"
    disabled, deleted = f"{PREFIX}-refresh-failed", f"{PREFIX}-data-too-old"
    cloud.client("ssm").delete_parameter(Name=CURRENT)
    cloud.client("lambda").delete_function_concurrency(FunctionName=restore)
    cloud.client("events").disable_rule(Name=f"{restore}-event")
    alarms.disable_alarm_actions(AlarmNames=[disabled])
    alarms.delete_alarms(AlarmNames=[deleted])

    found = examined(newcomer)
    assert found.keys() == {
        ("parameter", CURRENT, "problem"),
        ("function", f"{restore} concurrency", "problem"),
        ("schedule", f"{restore}-event", "problem"),
        ("alarm", disabled, "warning"),
        ("alarm", deleted, "problem"),
    }
    for fix in found.values():
        apply_fix(newcomer, fix)
    assert examined(newcomer) == {}


def test_without_the_pin_api_the_next_deployment_deletes_it(newcomer: Newcomer) -> None:
    functions, gateway = newcomer.cloud.client("lambda"), newcomer.cloud.client("apigateway")
    assert len(gateway.get_rest_apis()["items"]) == 1
    newcomer.succeed("configure", "--stage", STAGE, "PIN_API_ENABLED=false")
    newcomer.succeed("deploy", "--stage", STAGE)
    assert gateway.get_rest_apis()["items"] == []
    left = [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    assert (PREFIX in left, len(left)) == (False, 4)


def test_the_documented_rights_suffice_to_deploy_and_to_destroy(newcomer: Newcomer) -> None:
    iam, role = newcomer.cloud.client("iam"), f"{PREFIX}-{UPDATE}"
    audit = {"Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [audit]})
    made = iam.create_policy(PolicyName="audit", PolicyDocument=document)["Policy"]
    iam.attach_role_policy(RoleName=role, PolicyArn=made["Arn"])  # as a company's tool may do
    newcomer.succeed("destroy", "--stage", STAGE, "--yes", "--everything")
    assert not_granted(newcomer.calls, "doctor", "deployer", "everything") == set()
    assert "logs:DeleteLogGroup" in not_granted(newcomer.calls, "doctor", "deployer")
    assert not_granted(newcomer.calls, "doctor") > {"iam:CreateRole", "lambda:CreateFunction"}
