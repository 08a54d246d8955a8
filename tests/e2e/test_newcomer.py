"""From an example stage to a healthy one of one's own, with documented commands; and what mends one that is not.

The company has a topic under a key of its own, and production's nightly shares. It creates its main pipeline, with the
reference template, after the first deployment, as docs/main-pipeline.md says.
"""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name

from chalicelib.domain.functions import RESTORE, UPDATE
from cli import stages
from demo import acceptance
from demo.acceptance import Project, arn_of, nightly
from demo.pipeline import REFERENCE, create_pipeline, reference_parameters
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud
from tests.e2e.conftest import PROJECT, NewProject, answer_of, run

STAGE = "acceptance"
MAIN = "acceptance-main"
PERSON = "team@example.com"
PREFIX = f"aurora-refresh-{STAGE}"
KEY = f"arn:aws:kms:{REGION}:{PRODUCTION}:key/11111111-2222-3333-4444-555555555555"
CURRENT = "/team/orders/current"
OWN = {"SSM_RDS_CURRENT_SNAPSHOT_NAME": CURRENT, "RDS_STACK_NAME": MAIN}
ANSWERS = acceptance.ANSWERS | OWN
TWO = datetime(2026, 1, 4, 2, tzinfo=UTC)


class Newcomer(Project):
    """Somebody with a new copy of the project, and with credentials of acceptance's account."""

    stage = STAGE

    def __init__(self, cloud: LocalCloud, project: Path) -> None:
        super().__init__(cloud, project)
        self.actions: set[str] = set()  # of the commands that succeeded
        principals = {"AWS": ACCEPTANCE, "Service": "cloudwatch.amazonaws.com"}  # for the alarms
        all_of = {"Effect": "Allow", "Principal": principals, "Action": "kms:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [all_of]})
        key = cloud.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
        encrypted = {"KmsMasterKeyId": key}
        cloud.client("sns").create_topic(Name="aurora-refresh", Attributes=encrypted)

    def succeed(self, command: str, *words: str, **environment: str) -> str:
        """Return what a command that succeeds prints."""
        self.cloud.clear_calls()
        done = run(self, command, *words, **environment)
        assert done.exit_code == 0, done.output
        self.actions |= self.actions_of_calls()
        return done.stdout

    def actions_of_calls(self) -> set[str]:
        return {action for call in self.cloud.calls() for action in call["actions"]}

    def share(self, taken: datetime) -> str:
        """Let production share a snapshot under the key that acceptance may use."""
        snapshot = nightly("orders", taken, kms_key_id=KEY, kms_granted_to=[ACCEPTANCE])
        self.cloud.seed_snapshots([snapshot])
        return arn_of(snapshot)


def not_granted(actions: set[str], *policies: str) -> set[str]:
    """Return the actions that these policies in docs/rights.md do not allow."""
    text = (PROJECT / "docs/rights.md").read_text()
    documents = [text.split(f"<!-- policy {each} -->")[1].split("\n```\n")[0] for each in policies]
    granted = re.findall(r'"(\w+:\w+)"', "".join(documents))
    return actions.difference(granted)


@pytest.fixture(scope="module")
def newcomer(running_cloud: LocalCloud, new_project: NewProject) -> Newcomer:
    """Has configured and deployed, and has slept through the first night."""
    cloud = running_cloud
    cloud.reset()
    cloud.set_clock(TWO - timedelta(hours=14))
    newcomer = Newcomer(cloud, new_project())
    first = newcomer.share(TWO - timedelta(days=14))
    newcomer.succeed("configure", *(f"{name}={value}" for name, value in ANSWERS.items()))
    config = newcomer.project / stages.CONFIG
    # The environment takes precedence over the file, which names a snapshot that does not exist.
    in_file = f'"DATABASE_BACKUP_SNAPSHOT_ID_ARN": "{first}-2", "SOURCE_ACCOUNT"'
    config.write_text(config.read_text().replace('"SOURCE_ACCOUNT"', in_file))
    environment = {"RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN": first}
    newcomer.succeed("deploy", f"EMAIL={PERSON}", **environment)
    assert newcomer.parameter(CURRENT) == first
    given = reference_parameters(cloud, CURRENT)
    create_pipeline(cloud, MAIN, [], run_seconds=0.2, template=REFERENCE, parameters=given)
    cloud.confirm_subscription(PERSON)

    newest = newcomer.share(TWO - timedelta(hours=6))
    for function, hours in ((UPDATE, 0), (RESTORE, 2)):
        cloud.set_clock(hour := TWO + timedelta(hours=hours))
        answer = answer_of(cloud.fire(function, hour))
    assert cloud.wait_for_run(answer["execution_id"], MAIN) == "Succeeded"
    cloud.wait_until_idle()
    assert newcomer.parameter(CURRENT) == newest
    assert [each for each in cloud.invocations() if "NotificationFailed" in each["log"]] == []
    return newcomer


def test_what_was_deployed_is_healthy_to_a_doctor_that_only_looks(newcomer: Newcomer) -> None:
    newcomer.cloud.clear_calls()
    done = run(newcomer, "doctor")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("healthy; problems: 0, warnings: 1, ok: ")
    actions = newcomer.actions_of_calls()
    assert not_granted(actions, "doctor") == set()
    assert {each for each in actions if not re.match(r"\w+:(GET|Get|List|Describe)", each)} == set()


# --- planted misconfigurations --------------------------------------------------------------------

CONVERT: dict[str, Any] = {"boolean": lambda _: True, "integer": int, "list": lambda word: [word]}


def apply_fix(cloud: LocalCloud, fix: str) -> None:
    """Do what a fix says, as the AWS command line would."""
    program, service, command, *words = shlex.split(fix.rpartition(": ")[2])
    assert program == "aws"
    client, method = cloud.client(service), command.replace("-", "_")
    operation = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    following = dict(zip(words, [*words[1:], ""], strict=True))
    given = {
        name: CONVERT.get(member.type_name, str)(following[option])
        for name, member in operation.input_shape.members.items()
        if (option := f"--{xform_name(name, '-')}") in following
    }
    assert len(given) == sum(word.startswith("--") for word in words)
    getattr(client, method)(**given)


def examined(newcomer: Newcomer) -> dict[str, str]:
    """The subjects with which the doctor finds fault, each with its fix, beside the missing after-restore work."""
    found = json.loads(run(newcomer, "doctor", "--json").stdout)
    fixes = {each["subject"]: each["fix"] for each in found if each["fix"]}
    del fixes["P_AFTER_RESTORE"]
    return fixes


def test_each_command_that_is_printed_as_a_fix_mends_its_fault(newcomer: Newcomer) -> None:
    """What is printed for which fault is decided by tests/cli/test_doctor.py."""
    cloud, restore, alarm = newcomer.cloud, f"{PREFIX}-{RESTORE}", f"{PREFIX}-refresh-failed"
    cloud.client("ssm").delete_parameter(Name=CURRENT)
    cloud.client("lambda").delete_function_concurrency(FunctionName=restore)
    cloud.client("events").disable_rule(Name=f"{restore}-event")
    cloud.client("cloudwatch").disable_alarm_actions(AlarmNames=[alarm])

    found = examined(newcomer)
    assert found.keys() == {CURRENT, f"{restore} concurrency", f"{restore}-event", alarm}
    for fix in found.values():
        apply_fix(cloud, fix)
    assert examined(newcomer) == {}


def test_without_the_pin_api_the_next_deployment_deletes_it(newcomer: Newcomer) -> None:
    functions, gateway = newcomer.cloud.client("lambda"), newcomer.cloud.client("apigateway")
    new_topic = f"NOTIFICATION_TOPIC_ARN=arn:aws:sns:{REGION}:{ACCEPTANCE}:new"  # which it creates
    newcomer.succeed("configure", "PIN_API_ENABLED=false", new_topic)
    record = newcomer.project / ".chalice/deployed/acceptance.json"
    recorded = record.read_text()
    record.unlink()  # as in another clone
    planned, deleted = (
        {*re.findall("^  deleted? +(.*)", newcomer.succeed("deploy", *words), re.MULTILINE)}
        for words in (["--dry-run"], [])
    )
    assert (planned, len(planned)) == (deleted, 4)  # API, function, role and alarm
    assert gateway.get_rest_apis()["items"] == []
    left = [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    assert (PREFIX in left, len(left)) == (False, 4)
    record.write_text(recorded)  # as in the clone that has deployed the API
    newcomer.cloud.set_faults([{"operation": "apigateway:GetRestApis", "kind": "deny"}])
    newcomer.succeed("deploy")
    newcomer.cloud.set_faults([])


def test_the_documented_rights_suffice_to_deploy_and_to_destroy(newcomer: Newcomer) -> None:
    iam, role = newcomer.cloud.client("iam"), f"{PREFIX}-{UPDATE}"
    audit = {"Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [audit]})
    made = iam.create_policy(PolicyName="audit", PolicyDocument=document)["Policy"]
    iam.attach_role_policy(RoleName=role, PolicyArn=made["Arn"])  # as a company's tool may do
    printed = newcomer.succeed("destroy", "--yes", "--everything")
    assert printed.endswith("\nstage acceptance is deleted\n")
    assert printed.count("\n  keep ") == 1  # the parameter of the pipeline's name
    actions = newcomer.actions | {"rds:DeleteDBClusterSnapshot"}  # there is no copy here to delete
    assert not_granted(actions, "doctor", "deployer", "everything") == set()
    assert "logs:DeleteLogGroup" in not_granted(actions, "doctor", "deployer")
    # Statements of these policies may be narrowed, but AWS grants this on `*` only.
    assert "logs:DescribeLogGroups" in not_granted(actions, "deployer", "everything")
