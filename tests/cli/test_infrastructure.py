"""The templates are sound, and docs/main-pipeline.md names what exists."""

import re
from pathlib import Path

import cfnlint
import pytest

from cli.templates import parsed

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATES = {path.name: path.read_text() for path in (PROJECT / "infrastructure").glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_is_cfn_lint_clean_and_names_no_partition(name: str) -> None:
    """Step Functions refuses a task of another partition than its own only when it is executed.

    https://github.com/aws/aws-cdk/issues/4597
    """
    assert cfnlint.lint(TEMPLATES[name], regions=["us-east-1", "eu-west-1"]) == []
    assert "arn:aws:" not in TEMPLATES[name]


def test_the_pipeline_gives_the_database_s_template_its_parameters() -> None:
    pipeline, database = (
        parsed(TEMPLATES[name])["Parameters"] for name in ("pipeline.yaml", "main-pipeline.yaml")
    )
    given = {*re.findall(r'^ +"(\w+)": "', TEMPLATES["pipeline.yaml"], re.MULTILINE)}
    required = {name for name, body in database.items() if "Default" not in body}
    assert required <= given <= database.keys()
    assert pipeline["CurrentParameter"]["Default"] == database["Snapshot"]["Default"]
    assert pipeline["ConnectionPrefix"]["Default"] == database["ConnectionPrefix"]["Default"]


def test_every_test_that_the_document_names_exists() -> None:
    tests = (PROJECT / "tests/e2e/test_main_pipeline.py").read_text()
    named = re.findall(r"`(test_\w+)`", (PROJECT / "docs/main-pipeline.md").read_text())
    assert [each for each in named if f"def {each}(" not in tests] == []
