"""A stage as `.chalice/config.json` describes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.errors import SettingsError
from chalicelib.domain.functions import API, RESTORE, TRIGGERS
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from cli import stages
from cli.output import Failure
from cli.stages import FORMER, OWN_KEY, AcceptanceStage, ProductionStage
from tests.stage import STAGE

PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
SHARING = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one stage; `rewrite` changes it."""
    (tmp_path / ".chalice").mkdir()
    rewrite(tmp_path)
    return tmp_path


def rewrite(project: Path, common: dict[str, Any] | None = None, **body: Any) -> None:
    stage = {"environment_variables": STAGE, OWN_KEY: {"main_pipeline_arn": PIPELINE}, **body}
    config = {"app_name": "aurora-refresh", **(common or {}), "stages": {"acceptance": stage}}
    (project / ".chalice/config.json").write_text(json.dumps(config))


def refusal(project: Path) -> str:
    with pytest.raises((Failure, SettingsError)) as caught:
        stages.load(project, "acceptance")
    return str(caught.value)


SHAPES = ": the file, stages, functions, environment_variables and aurora_refresh must be objects"


def test_a_stage_is_its_variables_their_meaning_and_where_its_pipeline_is(project: Path) -> None:
    """As Chalice has it, it has the variables of all stages too, and its own go before.

    A production stage says where it is.
    """
    common = {"MAX_SNAPSHOT_AGE_DAYS": "7", "RDS_ENGINE_VERSION": "14"}
    rewrite(project, {"environment_variables": common})
    stage, given = stages.load(project, "acceptance"), STAGE | {"MAX_SNAPSHOT_AGE_DAYS": "7"}
    assert stage == AcceptanceStage(
        name="acceptance",
        variables=given,
        settings=Settings.from_environment(given),
        account="222222222222",
        region="eu-west-1",
        pipeline="acceptance-main",
    )
    assert (stage.partition, stage.pipeline_arn) == ("aws", PIPELINE)
    own = {"account": "111111111111", "region": "us-gov-west-1"}
    rewrite(project, environment_variables=SHARING, **{OWN_KEY: own})
    stage = stages.load(project, "acceptance")
    settings = ProductionSettings.from_environment(SHARING)
    assert stage == ProductionStage(name="acceptance", variables=SHARING, settings=settings, **own)
    assert stage.partition == "aws-us-gov"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", " is not JSON: "),
        ("[]", SHAPES),
        ('{"stages": {"other": {}}}', " has no stage 'acceptance', only: other. aurora-refresh "),
        ('{"lambda_functions": {"f": {"environment_variables": ""}}}', SHAPES),
        ('{"stages": {"acceptance": {"environment_variables": ""}}}', SHAPES),
        ('{"stages": {"acceptance": {"aurora_refresh": null}}}', SHAPES),
        ('{"stages": {"acceptance": {"aurora_refresh": "main"}}}', SHAPES),
        ('{"environment_variables": {"N": 2}}', ': N is 2, not text: write "2"'),
    ],
)
def test_a_wrong_file_is_refused(project: Path, text: str, message: str) -> None:
    (project / ".chalice/config.json").write_text(text)
    assert refusal(project).startswith(f".chalice/config.json{message}")


@pytest.mark.parametrize(
    ("own", "variables", "wrong"),
    [
        (
            {"main_pipeline_arn": "main"},
            STAGE | {"RDS_ENGINE": "oracle"},
            ["MAIN_PIPELINE_ARN is 'main'", "RDS_ENGINE is 'oracle'"],
        ),
        ({"account": "1"}, SHARING, ["ACCOUNT is '1'", "REGION is missing"]),
    ],
)
def test_every_problem_of_the_settings_is_reported(
    project: Path, own: dict[str, str], variables: dict[str, str], wrong: list[str]
) -> None:
    rewrite(project, environment_variables=variables, **{OWN_KEY: own})
    head, *problems = refusal(project).splitlines()
    assert head == "The stage's settings are wrong:"
    assert [line.removeprefix("  - ").split(": ")[0] for line in problems] == wrong


def for_restore(**entry: Any) -> dict[str, Any]:
    return {"lambda_functions": {RESTORE: entry}}


VPC: dict[str, Any] = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
OWN_ROLE: dict[str, Any] = {"manage_iam_role": False, "iam_role_arn": "arn:…:role/theirs"}
ALL = {*TRIGGERS, API, FORMER}


@pytest.mark.parametrize(
    ("common", "body", "fact", "functions"),
    [
        ({}, VPC | {"subnet_ids": []}, "in_vpc", set()),
        (VPC, {}, "in_vpc", ALL),
        ({}, for_restore(**VPC), "in_vpc", {RESTORE}),
        ({}, VPC | for_restore(security_group_ids=[]), "in_vpc", ALL - {RESTORE}),
        (OWN_ROLE, for_restore(manage_iam_role=True), "own_roles", ALL - {RESTORE}),
        ({}, {"iam_role_arn": "arn:…:role/theirs"}, "own_roles", set()),
    ],
)
def test_a_function_may_be_in_a_vpc_and_have_a_role_of_the_company_s(
    project: Path, common: dict[str, Any], body: dict[str, Any], fact: str, functions: set[str]
) -> None:
    rewrite(project, common, **body)
    assert {*getattr(stages.load(project, "acceptance"), fact)} == functions


def test_a_stage_s_name_is_one_that_every_resource_can_bear() -> None:
    longest = "a" * 14
    assert len(f"aurora-refresh-{longest}-db-update-latest-snapshot-id-event") == 64
    for name in ("a", "Test-2", longest):
        stages.check_name(name)
    for name in ("", f"{longest}a", "../x", "-a", "a\n"):
        with pytest.raises(Failure, match="STAGE is "):
            stages.check_name(name)


COPIED = {"RDS_COPY_KMS_KEY_ID": "alias/copies"}
KEY_ELSEWHERE = f"arn:aws:kms:us-east-1:222222222222:key/{'mrk-' + 32 * '0'}"
ALIAS = "arn:aws:kms:eu-west-1:444444444444:alias/copies"
MYSQL = {"RDS_ENGINE": "aurora-mysql"}
HERE, ELSEWHERE = (f"arn:aws:sns:{region}:222222222222:t" for region in ("eu-west-1", "us-east-1"))
REAL = PIPELINE.replace("222222222222", "333333333333")


def preparing(region: str = "eu-west-1", account: str = "222222222222") -> dict[str, str]:
    machine = f"arn:aws:states:{region}:{account}:stateMachine:mask"
    return {"RDS_AFTER_RESTORE": machine, "RDS_STACK_NAME": "main"}


@pytest.mark.parametrize(
    ("variables", "name", "message"),
    [
        ({"SOURCE_ACCOUNT": "222222222222"}, "SOURCE_ACCOUNT", "own account"),
        (COPIED | {"SOURCE_REGION": "us-gov-east-1"}, "SOURCE_REGION", "of the partition aws"),
        ({"NOTIFICATION_TOPIC_ARN": ELSEWHERE}, "NOTIFICATION_TOPIC_ARN", "one in eu-west-1"),
        ({"NOTIFICATION_TOPIC_ARN": HERE, "CHAT_TOPIC_ARN": HERE}, "CHAT_TOPIC_ARN", "another"),
        ({"RDS_COPY_KMS_KEY_ID": KEY_ELSEWHERE}, "RDS_COPY_KMS_KEY_ID", "one in eu-west-1"),
        ({"RDS_COPY_KMS_KEY_ID": ALIAS}, "RDS_COPY_KMS_KEY_ID", "one in eu-west-1, 222222222222"),
        (preparing(region="us-east-1"), "RDS_AFTER_RESTORE", "one in eu-west-1, 222222222222"),
        (preparing(account="444444444444"), "RDS_AFTER_RESTORE", "functions cannot use it there"),
        ({"UPDATE_SCHEDULE": "cron(0 6 ? * SUN *)"}, "UPDATE_SCHEDULE", "a week or more before"),
        ({"REFRESH_ANCHOR_DATE": "2026-01-05"}, "", ""),
        ({"UPDATE_SCHEDULE": "cron(0 5 ? * 1 *)", "RESTORE_SCHEDULE": "cron(0 4 ? * * *)"}, "", ""),
        (SHARING | {"SHARE_SCHEDULE": "cron(0 22 ? * SAT 2020)"}, "SHARE_SCHEDULE", "never fires"),
        ({"RDS_ENGINE_VERSION": "9.6"}, "RDS_ENGINE_VERSION", "write one of PostgreSQL's"),
        (MYSQL | {"RDS_ENGINE_VERSION": "10"}, "RDS_ENGINE_VERSION", "write one of MySQL's"),
        ({"pipeline": REAL}, "SOURCE_ACCOUNT", "example account of the documentation"),
        ({"SOURCE_ACCOUNT": "444444444444"}, "MAIN_PIPELINE_ARN", "example account"),
        (SHARING | {"SHARE_WITH_ACCOUNT": "111111111111"}, "SHARE_WITH_ACCOUNT", "own account"),
        (SHARING | {"SHARE_WITH_ACCOUNT": "444444444444"}, "ACCOUNT", "example account"),
        ({"EXTRA": "é" * 700}, "DATABASES", "Lambda allows 4,096"),
        (SHARING | {"EXTRA": "é" * 700}, "CLUSTERS", "deploy some of them as another stage"),
        ({"EXTRA": "é" * 500}, "", ""),
        (preparing() | COPIED | {"SOURCE_REGION": "us-east-1", "CHAT_TOPIC_ARN": HERE}, "", ""),
        ({"RDS_ENGINE": "docdb", "RDS_ENGINE_VERSION": "5.0.0"}, "", ""),
        ({"pipeline": REAL, "SOURCE_ACCOUNT": "444444444444"}, "", ""),
    ],
)
def test_a_contradiction_is_named(variables: dict[str, str], name: str, message: str) -> None:
    own, given = {stages.PIPELINE: variables.get("pipeline", PIPELINE)}, STAGE | variables
    if SHARING.keys() <= variables.keys():
        own, given = {stages.ACCOUNT: "111111111111", stages.REGION: "eu-west-1"}, variables
    given.pop("pipeline", None)
    stage = stages.build("a", given, own)
    found = stages.contradictions(stage)
    assert [problem.names for problem in found] == ([(name,)] if name else [])
    assert all(message in problem.detail for problem in found)
