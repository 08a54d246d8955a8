"""Templates: ours are sound; a condition of others' that is unknown is neither met nor unmet."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import cfnlint
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from cli import templates

FILES = Path(__file__).resolve().parents[2].glob("infrastructure/*.yaml")
TEMPLATES = {path.name: path.read_text() for path in FILES}

CONDITIONS = """
Parameters:
  Stored: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /name}
Conditions:
  Met: !Equals [a, a]
  Unmet: !Equals [a, b]
  Unknown: !Equals [!Ref Stored, a]
  Tried: %s
Resources: {Topic: !If [Tried, met, unmet]}
"""
UNKNOWN = {"Fn::If": ["Tried", "met", "unmet"]}


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("!Not [!Condition Unmet]", "met"),
        ("!Not [!Condition Unknown]", UNKNOWN),
        ("!And [!Condition Met, !Condition Met]", "met"),
        ("!And [!Condition Met, !Condition Unknown]", UNKNOWN),
        ("!And [!Condition Unknown, !Condition Unmet]", "unmet"),
        ("!Or [!Condition Unmet, !Condition Unmet]", "unmet"),
        ("!Or [!Condition Unmet, !Condition Unknown]", UNKNOWN),
        ("!Or [!Condition Unknown, !Condition Met]", "met"),
    ],
)
def test_a_condition_is_met_unmet_or_unknown(condition: str, name: object) -> None:
    template = templates.evaluated(templates.parsed(CONDITIONS % condition), {})
    assert template["Resources"] == {"Topic": name}


def test_what_yaml_takes_for_a_date_or_a_key_is_text() -> None:
    assert templates.parsed("{A: =, B: 2012-13-45}") == {"A": "=", "B": "2012-13-45"}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_is_cfn_lint_clean_and_names_no_partition(name: str) -> None:
    """Step Functions refuses a task of another partition than its own only when it is executed.

    https://github.com/aws/aws-cdk/issues/4597
    """
    assert cfnlint.lint(TEMPLATES[name], regions=["us-east-1", "eu-west-1"]) == []
    assert "arn:aws:" not in TEMPLATES[name]


def test_the_pipeline_gives_the_database_s_template_its_parameters() -> None:
    pipeline = templates.parsed(TEMPLATES["pipeline.yaml"])["Parameters"]
    database = templates.parsed(TEMPLATES["main-pipeline.yaml"])["Parameters"]
    given = {*re.findall(r'^ +"(\w+)": "', TEMPLATES["pipeline.yaml"], re.MULTILINE)}
    required = {name for name, body in database.items() if "Default" not in body}
    assert required <= given == database.keys() - {"InstanceClass"}
    assert pipeline["CurrentParameter"]["Default"] == database["Snapshot"]["Default"]
    assert pipeline["ConnectionPrefix"]["Default"] == database["ConnectionPrefix"]["Default"]


# What CloudFormation's handlers call only for properties that the database's template does not have.
NOT_CALLED = re.compile(
    "iam:.*|kms:.*|ec2:(?!DescribeSecurityGroups).*|rds:.*(Role|GlobalCluster|Replica|PointInTime).*"
    "|rds:(CreateDBCluster|CreateDBSnapshot|RestoreDBInstanceFromDBSnapshot)"
)


def test_the_deploying_role_may_do_what_the_handlers_do_and_no_more() -> None:
    """A newer cfn-lint may bring a permission that nobody has weighed."""
    called = set()
    for resource in templates.parsed(TEMPLATES["main-pipeline.yaml"])["Resources"].values():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource["Type"]).schema
        for name in ("create", "read", "update", "delete"):
            called |= {*schema["handlers"][name]["permissions"]}
    called = {each for each in called if not NOT_CALLED.fullmatch(each)}
    role = templates.parsed(TEMPLATES["pipeline.yaml"])["Resources"]["DeployRole"]["Properties"]
    granted = {*re.findall(r"'((?:ec2|rds|ssm|secretsmanager):[A-Z]\w+\*?)'", str(role))}
    assert [each for each in called if not any(fnmatchcase(each, may) for may in granted)] == []
    unused = {may for may in granted if not any(fnmatchcase(each, may) for each in called)}
    assert unused == {"rds:ListTagsForResource"}  # Neptune's handlers


def test_the_pipeline_restores_given_snapshots_only_and_changes_its_own_clusters_only() -> None:
    role = templates.parsed(TEMPLATES["pipeline.yaml"])["Resources"]["DeployRole"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    restore = "rds:RestoreDBClusterFromSnapshot"
    own, others, given = (each["Resource"] for each in statements if restore in each["Action"])
    assert given == {"Ref": "SnapshotArns"}
    kinds = [each["Fn::Sub"].rsplit(":", 2)[1] for each in own + others]
    assert kinds == ["cluster", "db", "cluster-pg", "og", "pg", "subgrp"]
    (everything,) = (each["Action"] for each in statements if each["Resource"] == "*")
    assert {each.partition(":")[2][:8] for each in everything} == {"Describe"}
    named = re.findall(r":(?:cluster|db):[^'\"]*", str(role))
    assert {*named} == {":cluster:${DataStackName}-*", ":db:${DataStackName}-*"}
    pattern = templates.parsed(TEMPLATES["pipeline.yaml"])["Parameters"]["DataStackName"]
    names = ["acceptance-data", "Acceptance", "acceptance--data", "acceptance-"]
    allowed = [each for each in names if re.fullmatch(pattern["AllowedPattern"], each)]
    assert allowed == ["acceptance-data"]
