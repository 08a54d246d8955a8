"""A stage as `.chalice/config.json` describes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.functions import API, NAMES, RESTORE
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from cli.stages import (
    OWN_KEY,
    AcceptanceStage,
    ProductionStage,
    StageError,
    check_name,
    contradictions,
    load,
)
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
    stage = {
        "environment_variables": STAGE,
        OWN_KEY: {"main_pipeline_arn": PIPELINE},
        **body,
    }
    config = {"app_name": "aurora-refresh", **(common or {}), "stages": {"acceptance": stage}}
    (project / ".chalice/config.json").write_text(json.dumps(config))


def refusal(project: Path, stage: str = "acceptance") -> str:
    with pytest.raises(StageError) as caught:
        load(project, stage)
    return str(caught.value)


def test_a_stage_is_its_variables_their_meaning_and_where_its_pipeline_is(project: Path) -> None:
    stage = load(project, "acceptance")
    assert stage == AcceptanceStage("acceptance", STAGE, Settings.from_environment(STAGE), PIPELINE)
    assert (stage.partition, stage.region, stage.account) == ("aws", "eu-west-1", "222222222222")


def test_a_stage_has_the_variables_of_all_stages_too(project: Path) -> None:
    """As Chalice has it: the stage's own go before."""
    common = {"MAX_SNAPSHOT_AGE_DAYS": "7", "RDS_ENGINE_VERSION": "14"}
    rewrite(project, {"environment_variables": common})
    stage = load(project, "acceptance")
    assert stage.variables == STAGE | {"MAX_SNAPSHOT_AGE_DAYS": "7"}
    assert stage.settings == Settings.from_environment(stage.variables)


def test_an_unknown_stage_is_told_which_there_are(project: Path) -> None:
    assert refusal(project, "acceptence") == (
        ".chalice/config.json has no stage 'acceptence', only: acceptance. "
        "aurora-refresh configure --stage acceptence … adds it"
    )


def test_every_problem_of_the_settings_is_told(project: Path) -> None:
    rewrite(project, environment_variables=STAGE | {"SOURCE_ACCOUNT": "1", "RDS_ENGINE": "oracle"})
    assert refusal(project).splitlines() == [
        "stage 'acceptance' has wrong settings:",
        "  - SOURCE_ACCOUNT is '1': write production's account id, 12 digits",
        "  - RDS_ENGINE is 'oracle': write one of aurora-postgresql, aurora-mysql, docdb, neptune",
    ]


def test_a_folder_without_a_project_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        "there is no .chalice/config.json here: name the folder that holds app.py"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", ".chalice/config.json is not JSON: "),
        ("[]", ".chalice/config.json is not a JSON object"),
        ('{"stages": []}', ".chalice/config.json: stages is [], not an object"),
        (
            '{"stages": {"acceptance": 1}}',
            ".chalice/config.json: the stage acceptance is 1, not an object",
        ),
        ("\xff", ".chalice/config.json is not JSON: "),
    ],
)
def test_a_file_that_is_none_is_told(project: Path, text: str, told: str) -> None:
    (project / ".chalice/config.json").write_bytes(text.encode("latin-1"))
    assert refusal(project).startswith(told)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, "missing"),
        ({"main_pipeline_arn": ""}, "missing"),
        ({"main_pipeline_arn": "main"}, "'main'"),
        ({"main_pipeline_arn": f"{PIPELINE}\n"}, f"'{PIPELINE}\\n'"),
    ],
)
def test_an_acceptance_stage_needs_the_main_pipelines_arn(
    project: Path, own: dict[str, str], found: str
) -> None:
    rewrite(project, **{OWN_KEY: own})
    assert refusal(project).splitlines() == [
        "stage 'acceptance' has wrong settings:",
        (
            f"  - MAIN_PIPELINE_ARN is {found}: write the main pipeline's ARN, such as "
            "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main, in the account of the databases"
        ),
    ]


@pytest.mark.parametrize("level", ["all stages", "stage", "function"])
def test_a_function_with_subnets_and_security_groups_is_in_a_vpc(project: Path, level: str) -> None:
    vpc = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    entry = {"lambda_functions": {RESTORE: vpc if level == "function" else {}}}
    rewrite(
        project,
        vpc if level == "all stages" else None,
        **(vpc if level == "stage" else {}),
        **entry,
    )
    in_vpc = load(project, "acceptance").in_vpc
    assert in_vpc == ({RESTORE} if level == "function" else {*NAMES, API})


def test_a_function_opts_out_of_its_stages_vpc(project: Path) -> None:
    vpc = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    rewrite(project, **vpc, lambda_functions={RESTORE: {"subnet_ids": []}})
    assert load(project, "acceptance").in_vpc == {*NAMES, API} - {RESTORE}


def test_a_production_stage_says_where_it_is(project: Path) -> None:
    own = {"account": "111111111111", "region": "eu-west-1"}
    rewrite(project, environment_variables=SHARING, **{OWN_KEY: own})
    stage = load(project, "acceptance")
    settings = ProductionSettings.from_environment(SHARING)
    assert stage == ProductionStage("acceptance", SHARING, settings, "111111111111", "eu-west-1")
    assert stage.partition == "aws"


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_the_region_tells_the_partition(project: Path, region: str, partition: str) -> None:
    own = {"account": "111111111111", "region": region}
    rewrite(project, environment_variables=SHARING, **{OWN_KEY: own})
    assert load(project, "acceptance").partition == partition


def test_a_production_stage_needs_account_and_region(project: Path) -> None:
    own = {"account": "1", "main_pipeline_arn": PIPELINE}
    rewrite(project, environment_variables=SHARING, **{OWN_KEY: own})
    assert {line.split(":")[0] for line in refusal(project).splitlines()[1:]} == {
        "  - ACCOUNT is '1'",
        "  - REGION is missing",
    }


def test_a_stage_cannot_be_both_acceptance_and_production(project: Path) -> None:
    rewrite(project, environment_variables=STAGE | SHARING)
    assert "SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT are both set" in refusal(project)


@pytest.mark.parametrize("name", ["acceptance", "a", "Test-2", "a" * 14])
def test_a_name_that_every_resource_can_bear_is_taken(name: str) -> None:
    check_name(name)
    assert len(f"aurora-refresh-{name}-db-update-latest-snapshot-id-event") <= 64


@pytest.mark.parametrize("name", ["", "a" * 15, "../x", "a_b", "-a", "a b", "a\n"])
def test_a_name_that_some_resource_cannot_bear_is_refused(name: str) -> None:
    with pytest.raises(StageError, match="STAGE is "):
        check_name(name)


def test_settings_that_contradict_the_stages_place_are_named() -> None:
    def named(**variables: str) -> list[str]:
        given = STAGE | variables
        stage = AcceptanceStage("a", given, Settings.from_environment(given), PIPELINE)
        return [str(problem).split(": ")[0] for problem in contradictions(stage)]

    topic = "arn:aws:sns:{}:222222222222:t"
    assert named() == []
    assert named(NOTIFICATION_TOPIC_ARN=topic.format("eu-west-1")) == []
    assert named(SOURCE_ACCOUNT="222222222222") == ["SOURCE_ACCOUNT is '222222222222'"]
    copied = {"RDS_COPY_KMS_KEY_ID": "alias/copies"}
    assert named(**copied, SOURCE_REGION="us-east-1") == []
    for region in ("us-gov-east-1", "nw-nowhere-1"):
        assert named(**copied, SOURCE_REGION=region) == [f"SOURCE_REGION is '{region}'"]
    other = topic.format("us-east-1")
    assert named(NOTIFICATION_TOPIC_ARN=other) == [f"NOTIFICATION_TOPIC_ARN is '{other}'"]


def test_production_does_not_share_with_itself() -> None:
    settings = ProductionSettings.from_environment(SHARING)
    stage = ProductionStage("p", SHARING, settings, "222222222222", "eu-west-1")
    (problem,) = contradictions(stage)
    assert problem.names == ("SHARE_WITH_ACCOUNT",)
