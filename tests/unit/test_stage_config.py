"""A stage as the project's files describe it, and what is said of files that do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.settings.acceptance import Settings
from stage.config import Stage, StageError, check_name, contradictions, load
from tests.stage import STAGE

PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
POLICY = "policy-acceptance-db-restore-from-snapshot.json"


def policy(resource: Any = PIPELINE) -> dict[str, Any]:
    return {
        "Statement": [
            {"Action": "ssm:GetParameters", "Resource": "*"},
            {"Action": ["codepipeline:StartPipelineExecution"], "Resource": resource},
        ]
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one stage; ``rewrite`` changes it."""
    (tmp_path / ".chalice").mkdir()
    rewrite(tmp_path)
    (tmp_path / ".chalice" / POLICY).write_text(json.dumps(policy()))
    return tmp_path


def rewrite(project: Path, common: dict[str, Any] | None = None, **body: Any) -> None:
    stage = {
        "environment_variables": STAGE,
        "lambda_functions": {"db-restore-from-snapshot": {"iam_policy_file": POLICY}},
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
    assert stage == Stage("acceptance", STAGE, Settings.from_environment(STAGE), PIPELINE)
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
        ".chalice/config.json has no stage 'acceptence', but: acceptance. "
        "make configure STAGE=acceptence … writes one"
    )


def test_every_problem_of_the_settings_is_told(project: Path) -> None:
    rewrite(project, environment_variables=STAGE | {"SOURCE_ACCOUNT": "1", "RDS_ENGINE": "oracle"})
    assert refusal(project).splitlines() == [
        "stage 'acceptance' is set wrongly:",
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
        ("{", ".chalice/config.json is no JSON: "),
        ("[]", ".chalice/config.json is no JSON object"),
        ('{"stages": []}', ".chalice/config.json: stages is [], but an object is wanted there"),
        (
            '{"stages": {"acceptance": 1}}',
            ".chalice/config.json: the stage acceptance is 1, but an object is wanted there",
        ),
        ("\xff", ".chalice/config.json is no JSON: "),
    ],
)
def test_a_file_that_is_none_is_told(project: Path, text: str, told: str) -> None:
    (project / ".chalice/config.json").write_bytes(text.encode("latin-1"))
    assert refusal(project).startswith(told)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"Statement": {"Action": "codepipeline:StartPipelineExecution"}},
        policy("*"),
        policy([]),
        policy("arn:aws:codepipeline:eu-west-1:22222222222:main"),
    ],
)
def test_a_policy_that_names_no_pipeline_is_told(project: Path, document: Any) -> None:
    file = project / ".chalice" / POLICY
    file.unlink() if document is None else file.write_text(json.dumps(document))
    assert refusal(project) == (
        "the policy of db-restore-from-snapshot in stage 'acceptance' does not say which pipeline "
        "may be started (codepipeline:StartPipelineExecution on its ARN): "
        "make configure STAGE=acceptance MAIN_PIPELINE_ARN=… writes it"
    )


def test_a_function_without_a_policy_is_told(project: Path) -> None:
    rewrite(project, lambda_functions={})
    assert "does not say which pipeline may be started" in refusal(project)


@pytest.mark.parametrize("name", ["acceptance", "a", "Test-2", "a" * 14])
def test_a_name_that_every_resource_can_bear_is_taken(name: str) -> None:
    check_name(name)
    assert len(f"aurora-refresh-{name}-db-update-latest-snapshot-id-event") <= 64


@pytest.mark.parametrize("name", ["", "a" * 15, "../x", "a_b", "-a", "a b", "a\n"])
def test_a_name_that_some_resource_cannot_bear_is_refused(name: str) -> None:
    with pytest.raises(StageError, match="STAGE is "):
        check_name(name)


def test_what_does_not_go_together_is_told() -> None:
    def told(**variables: str) -> list[str]:
        found = contradictions(Settings.from_environment(STAGE | variables), PIPELINE)
        return [problem.split(": ")[0] for problem in found]

    topic = "arn:aws:sns:{}:222222222222:t"
    assert told() == []
    assert told(NOTIFICATION_TOPIC_ARN=topic.format("eu-west-1")) == []
    assert told(SOURCE_ACCOUNT="222222222222") == ["SOURCE_ACCOUNT is '222222222222'"]
    there = topic.format("us-east-1")
    assert told(NOTIFICATION_TOPIC_ARN=there) == [f"NOTIFICATION_TOPIC_ARN is '{there}'"]
