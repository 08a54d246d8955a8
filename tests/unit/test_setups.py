"""Other people's templates, pipelines and roles: the doctor's verdict on each, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import configure, doctor, mainpipeline, stages
from cli.doctor import deployment
from cli.policies import file_name, policies, with_own_statements
from cli.stages import CONFIG, StageError
from tests.fakes import ACCEPTANCE
from tests.stage import CURRENT
from tests.unit.test_doctor import (
    CONFIGURATION,
    DATABASE,
    NAME,
    NEW,
    PIPELINE_ARN,
    STAGE_,
    TEMPLATE,
    VARIABLES,
    Answers,
    a_template,
    judged,
    looking,
    only,
    reading,
    stage_named,
    template,
    with_function,
    with_pipeline,
)

SNAPSHOT, NONE = {"Ref": "Snapshot"}, {"Ref": "AWS::NoValue"}
TEXT = {"Ref": "Text"}


def conditional(snapshot: Any, **properties: Any) -> dict[str, Any]:
    """A template that serves production and acceptance alike."""
    parameters = {
        **TEMPLATE["Parameters"],
        "Environment": {"Type": "String", "Default": "production"},
        "Path": {"Type": "String", "Default": "/other"},
    }
    is_acceptance = {"Fn::Equals": [{"Ref": "Environment"}, "acceptance"]}
    conditions = {
        "IsAcceptance": is_acceptance,
        "IsProduction": {"Fn::Not": [{"Condition": "IsAcceptance"}]},
        "IsRestored": {
            "Fn::And": [
                {"Condition": "IsAcceptance"},
                {"Fn::Or": [{"Condition": "IsProduction"}, {"Fn::Equals": ["a", "a"]}]},
            ]
        },
        "IsBig": {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]},
    }
    mappings = {"acceptance": {"snapshot": NEW.arn, "protected": "false"}}
    return {
        **template(snapshot, **properties),
        "Parameters": parameters,
        "Conditions": conditions,
        "Mappings": {"Environments": mappings},
    }


def with_cluster(**parts: Any) -> dict[str, Any]:
    """The conditional template with a second cluster, that of production."""
    body = conditional(SNAPSHOT)
    second = {**body["Resources"]["Cluster"], **parts}
    return {**body, "Resources": {**body["Resources"], "Production": second}}


def if_(condition: str, met: Any, unmet: Any) -> dict[str, Any]:
    return {"Fn::If": [condition, met, unmet]}


def mapped(name: str) -> dict[str, Any]:
    return {"Fn::FindInMap": ["Environments", {"Ref": "Environment"}, name]}


ACCEPTED: dict[str, Any] = {
    "a condition chooses the branch that reads current": conditional(
        if_("IsAcceptance", SNAPSHOT, TEXT)
    ),
    "the other environment's branch is none": conditional(if_("IsProduction", NONE, SNAPSHOT)),
    "conditions are nested": conditional(
        if_("IsRestored", if_("IsProduction", TEXT, SNAPSHOT), NONE)
    ),
    "a property that its condition leaves out is no fault": conditional(
        SNAPSHOT, DBClusterIdentifier=if_("IsProduction", "orders", NONE)
    ),
    "a property whose condition cannot be told is no fault": conditional(
        SNAPSHOT, DBClusterIdentifier=if_("IsBig", "orders", NONE)
    ),
    "a mapping has a property": conditional(SNAPSHOT, DeletionProtection=mapped("protected")),
    "a parameter has a property": conditional(
        SNAPSHOT, ManageMasterUserPassword={"Ref": "AWS::Region"}
    ),
    "the other environment's cluster is not deployed": with_cluster(
        Condition="IsProduction", Properties={"SnapshotIdentifier": NEW.arn}
    ),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_a_template_is_judged_as_the_stack_s_parameters_evaluate_it(body: Any) -> None:
    seen = reading(body, Environment="acceptance")
    assert [check for check in judged(seen) if check.status != "ok"] == []


JOINED = {"Fn::Join": ["", ["{{resolve:ssm:", {"Ref": "Path"}, "}}"]]}
HALF_JOINED = {"Fn::Join": ["", ["{{resolve:ssm:", {"Fn::GetAtt": ["Stored", "Value"]}, "}}"]]}
PROBLEMS: dict[str, tuple[Any, str]] = {
    "a dynamic reference is joined": (conditional(JOINED), f"reads {CURRENT} as {{{{resolve"),
    "a dynamic reference is joined of something unknown": (
        conditional(HALF_JOINED),
        "reads a parameter as {{resolve",
    ),
    "a dynamic reference is substituted": (
        conditional({"Fn::Sub": "{{resolve:ssm:${Path}}}"}),
        f"reads {CURRENT} as {{{{resolve",
    ),
    "a dynamic reference has a variable of its own": (
        conditional({"Fn::Sub": ["{{resolve:ssm:${Own}}}", {"Own": {"Ref": "Path"}}]}),
        f"reads {CURRENT} as {{{{resolve",
    ),
    "a mapping has the snapshot": (conditional(mapped("snapshot")), "a constant snapshot"),
    "the branch in force takes text": (
        conditional(if_("IsAcceptance", TEXT, SNAPSHOT)),
        "the template's parameter Text of type String",
    ),
    "the branch in force fixes the identifier": (
        conditional(SNAPSHOT, DBClusterIdentifier=if_("IsAcceptance", "orders", NONE)),
        "Cluster has a DBClusterIdentifier",
    ),
}


@pytest.mark.parametrize(("body", "told"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_a_template_does_wrongly_under_its_conditions_is_a_problem(
    body: Any, told: str
) -> None:
    check = only(reading(body, Environment="acceptance", Path=CURRENT))
    assert (check.check, check.subject, check.status) == ("template", "main", "problem")
    assert told in check.seen


UNKNOWN = [
    {"Fn::FindInMap": ["Environments", {"Ref": "AWS::AccountId"}, "snapshot"]},
    {"Fn::Join": [":", ["arn", {"Fn::GetAtt": ["Chooser", "Arn"]}]]},
    {"Fn::Sub": "${AWS::StackName}-snapshot"},
    {"Fn::ImportValue": "snapshot"},
]


@pytest.mark.parametrize("source", UNKNOWN)
def test_what_cannot_be_told_is_a_warning_and_no_problem(source: Any) -> None:
    check = only(reading(conditional(source)))
    assert (check.subject, check.status) == ("main", "warning")
    assert check.seen == "the source of Cluster's SnapshotIdentifier is unknown"


def test_the_only_cluster_in_force_needs_no_logical_id() -> None:
    body = with_cluster(Condition="IsProduction")
    places = mainpipeline.places("main", a_template(body, Environment="acceptance"))
    assert [*places] == [(CURRENT, "main")]


# --- pipelines ------------------------------------------------------------------------------------


def deploying(where: str = "", **changed: Any) -> Answers:
    """The account whose pipeline deploys the stack in another way."""
    stages_ = [stage_named("Deploy", {**DATABASE, **changed})]
    found = mainpipeline.stacks_of(STAGE_, {"stages": stages_})
    assert found == [mainpipeline.DeployedStack("main", "", where)]
    seen = with_pipeline(*stages_)
    return seen | {"template of main": None, "deployed_stack of rds": None} if where else seen


ROLE = "arn:aws:iam::{}:role/deployer"


@pytest.mark.parametrize(
    "seen",
    [
        deploying("in account 333333333333, eu-west-1", roleArn=ROLE.format("333333333333")),
        deploying(f"in account {ACCEPTANCE}, us-east-1", region="us-east-1"),
    ],
    ids=["another account", "another Region"],
)
def test_a_stack_elsewhere_is_never_called_healthy(seen: Answers) -> None:
    found = judged(seen)
    assert {check.status for check in found if check.status != "ok"} == {"warning"}
    assert not doctor.is_healthy(found)
    assert all("not seen" in check.seen for check in found if check.blind)


@pytest.mark.parametrize(
    "changed",
    [{"roleArn": ROLE.format(ACCEPTANCE)}, {"region": "eu-west-1"}],
    ids=["a role of this account", "this Region"],
)
def test_a_stack_here_is_looked_at_whatever_the_action_says(changed: dict[str, Any]) -> None:
    assert [check for check in judged(deploying(**changed)) if check.status != "ok"] == []


def test_a_stack_whose_name_is_a_variable_of_the_run_is_not_seen() -> None:
    configuration = {"StackName": "#{Build.STACK}"}
    body = {"stages": [stage_named("Deploy", {**DATABASE, "configuration": configuration})]}
    found, _ = mainpipeline.stacks_of(STAGE_, body)
    assert found.elsewhere == "under a name that only the run knows"


# --- roles, policies and settings -----------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".chalice").mkdir()
    (tmp_path / CONFIG).write_text('{"app_name": "aurora-refresh", "stages": {}}')
    configured(tmp_path)
    return tmp_path


def configured(project: Path) -> dict[Path, str | None]:
    """Configure the stage, and return what that changed."""
    answers = {**VARIABLES, "MAIN_PIPELINE_ARN": PIPELINE_ARN}
    changed = configure.changes(project, configure.files(project, NAME, answers))
    configure.write(changed)
    return changed


def edit(project: Path, **changes: Any) -> None:
    """Change the stage in config.json, as somebody does in an editor."""
    config = json.loads((project / CONFIG).read_text())
    config["stages"][NAME].update(changes)
    (project / CONFIG).write_text(stages.to_text(config))


def test_a_role_of_the_company_is_kept_and_only_its_arn_is_checked(project: Path) -> None:
    arn = f"arn:aws:iam::{ACCEPTANCE}:role/lambda"
    edit(project, manage_iam_role=False, iam_role_arn=arn)
    assert configured(project) == {}
    entries = doctor.configurations(project, STAGE_)
    assert {each["iam_role_arn"] for each in entries.values()} == {arn}

    function = "db-restore-from-snapshot"
    for role, status in ((arn, "warning"), (f"{arn}-old", "problem")):
        look = looking(with_function(configuration=CONFIGURATION | {"Role": role}))
        checks = deployment.roles(look, policies(STAGE_), {function: arn})
        bad = [check for check in checks if check.status != "ok"]
        assert [(check.check, check.status, check.blind) for check in bad] == [
            ("role", status, False)
        ]


def test_statements_that_the_company_added_are_kept_and_wanted(project: Path) -> None:
    file = project / ".chalice" / file_name(NAME, "db-reconcile")
    policy = json.loads(file.read_text())
    own = {"Sid": "OwnBoundary", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    policy["Statement"].append(own)
    file.write_text(stages.to_text(policy))
    assert configured(project) == {}
    checks = [each for each in doctor.examine(project, NAME) if each.check == "policy"]
    assert {each.status for each in checks} == {"ok"}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"Statement": 1}', '{"Statement": [1]}'])
def test_a_policy_file_that_cannot_be_read_is_written_anew(text: str | None) -> None:
    policy = policies(STAGE_)["db-reconcile"]
    assert with_own_statements(policy, text) == policy


def test_a_number_in_config_json_is_named(project: Path) -> None:
    edit(project, environment_variables={**VARIABLES, "REFRESH_EVERY_WEEKS": 2})
    with pytest.raises(StageError, match='REFRESH_EVERY_WEEKS is 2, not text: write "2"'):
        doctor.examine(project, NAME)
