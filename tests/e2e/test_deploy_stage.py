"""``aurora-refresh deploy``, ``package`` and ``destroy``, the local cloud being the account."""

import compileall
import json
import re
import shlex
import zipfile
from datetime import UTC, datetime
from typing import Any

import botocore.loaders
import botocore.session
import cfnlint
import jmespath  # type: ignore[import-untyped]
import pytest

from chalicelib.domain import ownership
from chalicelib.domain.functions import API, RESTORE, UPDATE
from cli import chalice_cli, stacks
from cli.stages import load
from demo.acceptance import Project, nightly
from localcloud.accounts import ACCEPTANCE, PRODUCTION
from localcloud.client import LocalCloud
from tests.e2e.conftest import NewProject, run

CURRENT = "/acceptance/rds/current-snapshot"
LATEST = "/acceptance/rds/latest-snapshot"
HOLD = "/acceptance/refresh/hold"
PIPELINE_NAME = "/acceptance/cicd/main-pipeline-name"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"
TAKEN = datetime(2026, 1, 3, 22, tzinfo=UTC)
SNAPSHOT = "arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:orders-"
HELD = json.dumps({"until": "2026-02-01", "reason": "tests", "by": "anne"})
MOVED = {LATEST: f"{SNAPSHOT}new", CURRENT: f"{SNAPSHOT}new", HOLD: HELD}
STACK = "aurora-refresh-acceptance"
RECORD = ".chalice/deployed/acceptance.json"  # Chalice's, which another clone does not have


class User(Project):
    """Somebody with a clone of the project, and credentials of an account."""

    stage = "acceptance"

    def run(self, command: str, *words: str, **environment: str | None) -> tuple[int, list[str]]:
        """`aurora-refresh COMMAND --stage acceptance …`: its exit code, and what it printed."""
        done = run(self, command, *words, **environment)
        return done.exit_code, done.output.splitlines()

    def holds(self) -> dict[str, str]:
        """Every parameter with its value."""
        found = self.client("ssm").get_parameters_by_path(Path="/", Recursive=True)
        return {each["Name"]: each["Value"] for each in found["Parameters"]}

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

    def log_days(self) -> dict[str, int]:
        found = self.client("logs").describe_log_groups()["logGroups"]
        return {group["logGroupName"]: group["retentionInDays"] for group in found}


def at_first(current: str) -> dict[str, str]:
    """Return what the parameters of a new stage hold."""
    rest = dict.fromkeys((LATEST, HOLD), "dummyvalue")
    return rest | {PIPELINE_NAME: "acceptance-main", CURRENT: current}


def names(listed: list[dict[str, Any]], key: str) -> list[str]:
    return sorted(each[key] for each in listed)


@pytest.fixture
def user(cloud: LocalCloud, new_project: NewProject, monkeypatch: pytest.MonkeyPatch) -> User:
    # Reading the descriptions of AWS's services takes longer than all calls.
    loader = botocore.loaders.Loader()
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: loader)
    cloud.set_seconds(stack=0.01)
    return User(cloud, new_project())


def test_the_life_of_a_stage(user: User) -> None:
    """Deployed, deployed again from another clone, and destroyed, with failures in between."""
    user.put(CURRENT, f"{SNAPSHOT}before")
    a_deployment_that_fails_half_way_is_completed_by_the_next(user)
    moved = another_deployment_resets_no_value(user)
    a_failed_destruction_is_completed_by_the_next(user, moved)
    everything_that_only_the_stage_uses_is_destroyed(user)


def a_deployment_that_fails_half_way_is_completed_by_the_next(user: User) -> None:
    """In test_newcomer.py the doctor looks at functions, alarms and what else such a stage has."""
    logs = user.client("logs")
    longer, shorter, *others = stacks.log_groups(load(user.project, "acceptance"))
    for name, days in ((longer, 365), (shorter, 7)):
        logs.create_log_group(logGroupName=name)
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    before = user.holds()
    planned = user.run("deploy", "--dry-run", "EMAIL=team@example.com")[1]
    assert f"  create     parameter {LATEST}" in planned
    assert f"  set        function aurora-refresh-acceptance-{RESTORE}" in planned
    assert (planned[-1], user.holds()) == ("this is a dry run; nothing was changed", before)
    denied = {"operation": "lambda:CreateFunction", "kind": "deny", "nth": 2, "times": 0}
    user.cloud.set_faults([denied])
    status, printed = user.run("deploy")
    assert status == 1
    assert printed[-1] == "chalice deploy --stage acceptance ended with status 2: see above"
    assert any("ERROR - While send" in line for line in printed)
    assert f"  unchanged  parameter {CURRENT}, which exists" in printed

    user.cloud.set_faults([])
    status, printed = user.run("deploy", "EMAIL=team@example.com")
    deployed = "stage acceptance is deployed; next: aurora-refresh doctor --stage acceptance"
    assert (status, printed[-1]) == (0, deployed)
    assert user.log_days() == {longer: 365} | dict.fromkeys([shorter, *others], 90)
    assert user.holds() == at_first(f"{SNAPSHOT}before")


def another_deployment_resets_no_value(user: User) -> dict[str, str]:
    """Deploy again after the values have moved, and return what the parameters hold.

    In this clone, Chalice has no record of the API, which is kept. The stage's Region is used, not the
    environment's.
    """
    for name, value in MOVED.items():
        user.put(name, value)
    address, functions = user.rest_url(), user.client("lambda")
    restore = {"FunctionName": f"aurora-refresh-acceptance-{RESTORE}"}
    functions.update_function_configuration(**restore, Handler="app.restore")  # the first edition's
    stopped = {"FunctionName": f"aurora-refresh-acceptance-{UPDATE}"}
    functions.put_function_concurrency(**stopped, ReservedConcurrentExecutions=0)
    user.client("events").disable_rule(Name=f"aurora-refresh-acceptance-{RESTORE}-event")
    orphan, iam = "aurora-refresh-acceptance-db-follow-pipeline", user.client("iam")
    iam.delete_role_policy(RoleName=orphan, PolicyName=orphan)
    iam.delete_role(RoleName=orphan)
    (user.project / RECORD).unlink()
    other = f"DATABASE_BACKUP_SNAPSHOT_ID_ARN={SNAPSHOT}other"
    unused = {"RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN": "of a parameter that exists"}
    status, printed = user.run("deploy", other, AWS_DEFAULT_REGION="eu-west-2", **unused)
    assert (status, user.rest_url()) == (0, address)
    changes = {line.split()[0] for line in printed if line.startswith("  ") and line[2] != "-"}
    assert changes == {"unchanged", "set", "enable", "delete"}
    assert [line.split(maxsplit=1)[1] for line in printed if line[2:8] in ("enable", "delete")] == [
        f"function {stopped['FunctionName']}, whose reserved concurrency somebody set to 0",
        f"rule aurora-refresh-acceptance-{RESTORE}-event, which somebody disabled",
        f"function {restore['FunctionName']}, whose handler is the first edition's",
        f"function {orphan}, whose role was deleted",
    ]
    handler = functions.get_function_configuration(**restore)["Handler"]
    assert handler == "chalicelib.triggers.restore.handler"
    moved = at_first("") | MOVED
    assert user.holds() == moved
    return moved


def a_failed_destruction_is_completed_by_the_next(user: User, moved: dict[str, str]) -> None:
    """Chalice's record is missing, and resources with similar names belong to others."""
    (user.project / RECORD).unlink()
    roles = ["aurora-refresh-acceptance", "aurora-refresh-acceptance2-db-follow-pipeline"]
    rules = ["aurora-refresh-acceptance-db-follow-pipeline", "db-follow-pipeline-event"]
    for role in roles:
        user.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    for rule in rules:
        user.client("events").put_rule(Name=rule, ScheduleExpression="rate(1 day)")
    function = f"aurora-refresh-acceptance-{UPDATE}"

    question = "There is no terminal to ask on: add --yes to continue."
    assert user.run("destroy")[1][-2:] == ["This deletes stage acceptance.", question]
    planned = user.run("destroy", "--dry-run", "--delete-parameters")[1]
    assert f"  delete     parameter {CURRENT}" in planned
    assert planned[-1] == "this is a dry run; nothing was deleted"
    denied = {"operation": "lambda:DeleteFunction", "kind": "deny", "times": 1}
    user.cloud.set_faults([denied])
    status, printed = user.run("destroy", "--yes")
    title, left = printed[-2:]
    assert (status, title) == (1, "stage acceptance is not deleted; what is left:")
    assert left.startswith(f"function {function}: An error occurred (AccessDenied")
    for name in moved:
        assert f"  keep       parameter {name}" in printed
    assert f"  keep       topic {TOPIC}" in printed
    assert user.existing() == ([function], roles, rules, [], [])

    assert user.run("destroy", "--yes")[0] == 0
    assert user.existing() == ([], roles, rules, [], [])
    groups = {*stacks.log_groups(load(user.project, "acceptance"))}
    assert (user.holds(), user.log_days().keys()) == (moved, groups)
    status, printed = user.run("destroy", "--yes")
    assert {line.split()[0] for line in printed[1:-1]} == {"keep"}
    assert (status, printed[-1]) == (0, "stage acceptance is deleted")


def everything_that_only_the_stage_uses_is_destroyed(user: User) -> None:
    """Others' snapshots stay, and the topic while another alarm notifies it."""
    rds, ours, others = user.client("rds"), "aurora-refresh-copy-1", "aurora-refresh-copy-2"
    for name, parameter in {ours: LATEST, others: "/other/latest", "by-hand": LATEST}.items():
        own = nightly("orders", TAKEN, account=ACCEPTANCE, identifier=name)
        (arn,) = user.cloud.seed_snapshots([own])["arns"]
        tag = {"Key": ownership.MADE_FOR, "Value": parameter}
        rds.add_tags_to_resource(ResourceName=arn, Tags=[tag])
    cloudwatch = user.client("cloudwatch")
    condition = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}
    cloudwatch.put_metric_alarm(AlarmName="others", OKActions=[TOPIC], **condition)
    status, printed = user.run("destroy", "--yes", "--everything")
    found = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    assert (status, names(found, "DBClusterSnapshotIdentifier")) == (0, [others, "by-hand"])
    assert f"  keep       topic {TOPIC}, which other alarms publish to: others" in printed
    # Others may read the main pipeline's name.
    assert (user.holds(), user.log_days()) == ({PIPELINE_NAME: "acceptance-main"}, {})
    cloudwatch.delete_alarms(AlarmNames=["others"])
    status, printed = user.run("destroy", "--yes", "--everything")
    assert (status, "log group" in str(printed)) == (0, False)
    assert user.client("sns").list_topics()["Topics"] == []


# --- without functions, which take their time -----------------------------------------------------


@pytest.fixture
def without_functions(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody who deploys a stage without functions, and so without what settles their retries."""
    whole = stacks.after(load(user.project, "acceptance"))["Resources"].items()
    kept = {name: each for name, each in whole if not name.startswith("Invocation")}
    monkeypatch.setattr(stacks, "after", lambda _: {"Resources": kept})
    monkeypatch.setattr(chalice_cli, "run", lambda *_: None)
    return user


def test_credentials_that_are_not_the_stage_s_change_nothing(without_functions: User) -> None:
    user = without_functions
    nobody = {"AWS_ACCESS_KEY_ID": "AKIANOBODY"}
    refused: dict[str, dict[str, str | None]] = {
        "Unable to locate credentials. Sign in": dict.fromkeys([*nobody, "AWS_SECRET_ACCESS_KEY"]),
        "An error occurred (InvalidClientTokenId)": {**nobody},
        "the credentials in use belong to account 1": {**user.cloud.environment(PRODUCTION)},
    }
    for message, environment in refused.items():
        status, (printed,) = user.run("deploy", **environment)
        assert (status, printed.startswith(message), user.holds()) == (1, True, {})


def test_what_exists_is_left_alone_and_what_is_missing_is_created(without_functions: User) -> None:
    """What a parameter holds is not printed."""
    user, secret = without_functions, "Geheim!\x1b[2J"
    held = dict.fromkeys((PIPELINE_NAME, LATEST, CURRENT, HOLD), secret)
    for name in held:
        user.put(name, secret)
    cloudwatch = user.client("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="aurora-refresh-acceptance-2", DashboardBody="{}")
    own = SNAPSHOT.replace(PRODUCTION, ACCEPTANCE)  # which may be restored as well
    first = f"RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN={own}1"
    _, deployed = user.run("deploy", "EMAIL=a@b.de", first)

    def monitoring() -> tuple[list[str], list[str]]:
        dashboards = cloudwatch.list_dashboards()["DashboardEntries"]
        return user.existing()[3], names(dashboards, "DashboardName")

    alarms, dashboards = monitoring()
    cloudwatch.delete_alarms(AlarmNames=alarms[:1])
    cloudwatch.delete_dashboards(DashboardNames=dashboards[:1])
    status, printed = user.run("deploy", "EMAIL=a@b.de")
    subscribed = user.client("sns").list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
    assert (status, monitoring()) == (0, (alarms, dashboards))
    assert names(subscribed, "Endpoint") == ["a@b.de"]
    _, destroyed = user.run("destroy", "--yes")
    assert "  unchanged  e-mail subscription of a@b.de" in printed
    wanted = {PIPELINE_NAME: "acceptance-main", CURRENT: f"{own}1"}
    for name in held:
        note = f", but does not hold {wanted[name]}" if name in wanted else ""
        assert f"  unchanged  parameter {name}, which exists{note}" in deployed
        assert f"  keep       parameter {name}" in destroyed
    everything = "\n".join(deployed + printed + destroyed)
    assert ("Geheim" in everything, "\x1b" in everything, user.holds()) == (False, False, held)
    user.run("destroy", "--yes", "--delete-parameters")
    assert user.holds().keys() == {PIPELINE_NAME}  # which others may read


# --- as templates ---------------------------------------------------------------------------------

FUNCTIONS = "Resources.* | [?Type == 'AWS::Serverless::Function'].Properties"
CREATED = "  aws ssm put-parameter --name {} --type String --value {}"


def test_a_package_has_what_the_runtime_lacks_and_templates_that_reset_nothing(user: User) -> None:
    """Their functions have the names that everything else goes by; the shell's variables are not theirs."""
    out, shell = user.project / "my out", {"CLUSTER_NAME": "eks", "SHARE_WITH_ACCOUNT": "1" * 12}
    shell |= {"PIN_API_ENABLED": "false", "RESTORE_SCHEDULE": "rate(1 day)"}
    compileall.compile_dir(user.project / "chalicelib", quiet=2)
    status, printed = user.run("package", "--out", str(out), PYTHONDONTWRITEBYTECODE="", **shell)
    assert status == 0
    assert any("--parameter-overrides Email=…" in line for line in printed)
    created = [CREATED.format(*each) for each in at_first("dummyvalue").items()]
    assert {line for line in printed if "aws ssm put-parameter" in line} == {*created}
    files = [shlex.split(line)[-1] for line in printed if "before.j" in line]
    assert f"{out}/before.json" in files
    deleted = [line.split()[4] for line in printed if "delete-stack" in line]
    assert deleted == [f"{STACK}-after", STACK, f"{STACK}-before"]
    made = ["after.json", "before.json", "deployment.zip", "sam.json"]
    assert sorted(file.name for file in out.iterdir()) == made
    with zipfile.ZipFile(out / "deployment.zip") as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]
    own = {top for top in tops if not top.endswith((".dist-info", ".data"))}
    assert own == {"app.py", "chalice", "chalicelib", "tzdata"}
    functions = (out / "sam.json").read_text()  # test_stacks.py lints the others
    assert cfnlint.lint(functions, regions=["eu-west-1"]) == []
    assert '"OpenApiVersion": "2.0"' in functions
    stage = load(user.project, "acceptance")
    rules = {
        each["FunctionName"]: re.findall(r'Name": "(.+?)"', json.dumps(each.get("Events")))
        for each in jmespath.search(FUNCTIONS, json.loads(functions))
    }
    assert rules == {
        deployed: [] if function == API else [stacks.rule_name(deployed)]
        for function, deployed in stacks.function_names(stage).items()
    }

    before = (out / "before.json").read_text()
    email = {"ParameterKey": "Email", "ParameterValue": "a@b.de"}
    stack, client = f"{STACK}-before", user.client("cloudformation")
    client.create_stack(StackName=stack, TemplateBody=before, Parameters=[email])
    client.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.1})
    refused = f"stage 'acceptance' has the stack {STACK}-before, of aurora-refresh package or "
    assert any(line.startswith(refused) for line in user.run("destroy", "--yes")[1])
    assert user.holds() == {}
    assert user.log_days() == dict.fromkeys(stacks.log_groups(stage), 90)
