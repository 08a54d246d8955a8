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


def cluster() -> Any:
    template = parsed((PROJECT / "infrastructure/main-pipeline.yaml").read_text())
    return template["Resources"]["Cluster"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_is_cfn_lint_clean(template: Path) -> None:
    assert cfnlint.lint(template.read_text(), regions=["us-east-1", "eu-west-1"]) == []


def test_cfn_lint_would_tell() -> None:
    template = (PROJECT / "infrastructure/main-pipeline.yaml").read_text()
    broken = template.replace("EngineVersion: !Ref Eng", "EnginVersion: !Ref Eng")
    told = [match.rule.id for match in cfnlint.lint(broken)]
    assert "E3002" in told  # an unknown property


def test_the_pipeline_gives_the_database_s_template_its_parameters() -> None:
    pipeline, database = (
        parsed((PROJECT / "infrastructure" / name).read_text())
        for name in ("pipeline.yaml", "main-pipeline.yaml")
    )
    text = (PROJECT / "infrastructure/pipeline.yaml").read_text()
    given = set(re.findall(r'^ +"(\w+)": "', text, re.MULTILINE))
    required = {name for name, body in database["Parameters"].items() if "Default" not in body}
    assert required <= given <= database["Parameters"].keys()
    defaults = {
        name: pipeline["Parameters"][mine]["Default"]
        for name, mine in (
            ("Snapshot", "CurrentParameter"),
            ("ConnectionPrefix", "ConnectionPrefix"),
        )
    }
    assert defaults == {name: database["Parameters"][name]["Default"] for name in defaults}


def test_the_cluster_names_nothing_that_a_restore_must_not_have() -> None:
    forbidden = {"DBClusterIdentifier", "MasterUsername", "MasterUserPassword", "StorageEncrypted"}
    assert forbidden.isdisjoint(cluster()["Properties"])
    assert {"SnapshotIdentifier", "EngineVersion", "KmsKeyId", "ManageMasterUserPassword"} <= set(
        cluster()["Properties"]
    )


@pytest.mark.parametrize("function", sorted(set(re.findall(r"`(test_\w+)`", DOCUMENT))))
def test_every_test_that_the_document_names_exists(function: str) -> None:
    assert f"def {function}(" in (PROJECT / "tests/e2e/test_main_pipeline.py").read_text()
