"""The templates are sound, and docs/main-pipeline.md names what exists."""

import re
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from cli.templates import parsed

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((PROJECT / "infrastructure").glob("*.yaml"))
DOCUMENT = (PROJECT / "docs/main-pipeline.md").read_text()


def template(name: str) -> Any:
    return parsed((PROJECT / "infrastructure" / name).read_text())


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda path: path.name)
def test_a_template_is_cfn_lint_clean_and_names_no_partition(file: Path) -> None:
    """Step Functions refuses a task of another partition than its own only when it is executed.

    https://github.com/aws/aws-cdk/issues/4597
    """
    assert cfnlint.lint(file.read_text(), regions=["us-east-1", "eu-west-1"]) == []
    assert "arn:aws:" not in file.read_text()


def test_the_pipeline_gives_the_database_s_template_its_parameters() -> None:
    pipeline, database = (
        template(name)["Parameters"] for name in ("pipeline.yaml", "main-pipeline.yaml")
    )
    text = (PROJECT / "infrastructure/pipeline.yaml").read_text()
    given = set(re.findall(r'^ +"(\w+)": "', text, re.MULTILINE))
    required = {name for name, body in database.items() if "Default" not in body}
    assert required <= given <= database.keys()
    assert pipeline["CurrentParameter"]["Default"] == database["Snapshot"]["Default"]
    assert pipeline["ConnectionPrefix"]["Default"] == database["ConnectionPrefix"]["Default"]


@pytest.mark.parametrize("function", sorted(set(re.findall(r"`(test_\w+)`", DOCUMENT))))
def test_every_test_that_the_document_names_exists(function: str) -> None:
    assert f"def {function}(" in (PROJECT / "tests/e2e/test_main_pipeline.py").read_text()
