"""The functions' written policies: what they grant, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

CHALICE = Path(__file__).resolve().parents[2] / ".chalice"
# The acceptance stage is a template to edit: what its topic's ARN says, its policies must say, too.
STAGES = json.loads((CHALICE / "config.json").read_text())["stages"]

ACCOUNT = {
    stage: ":".join(body["environment_variables"]["NOTIFICATION_TOPIC_ARN"].split(":")[3:5])
    for stage, body in STAGES.items()
}

FUNCTIONS = (
    "db-update-latest-snapshot-id",
    "db-restore-from-snapshot",
    "db-follow-pipeline",
    "api_handler",
)


def grants(function: str, stage: str) -> list[tuple[str, str]]:
    """Every action with every resource that it is granted on."""
    file = CHALICE / STAGES[stage]["lambda_functions"][function]["iam_policy_file"]
    statements: list[dict[str, Any]] = json.loads(file.read_text())["Statement"]
    return [
        (action, resource)
        for statement in statements
        for action in statement["Action"]
        for resource in (
            [statement["Resource"]]
            if isinstance(statement["Resource"], str)
            else statement["Resource"]
        )
    ]


@pytest.mark.parametrize("stage", ["local", "acceptance"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_knows_no_resources_is_granted_on_all(function: str, stage: str) -> None:
    assert {action for action, resource in grants(function, stage) if resource == "*"} == {
        "rds:DescribeDBClusterSnapshots"
    }


@pytest.mark.parametrize("stage", ["local", "acceptance"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_granted_by_pattern(function: str, stage: str) -> None:
    assert not [action for action, _ in grants(function, stage) if "*" in action]


@pytest.mark.parametrize("stage", ["local", "acceptance"])
def test_each_function_may_do_what_it_does(stage: str) -> None:
    variables = STAGES[stage]["environment_variables"]

    def parameter(name: str) -> str:
        return f"arn:aws:ssm:{ACCOUNT[stage]}:parameter{variables[name]}"

    latest = parameter("SSM_RDS_LATEST_SNAPSHOT_NAME")
    current = parameter("SSM_RDS_CURRENT_SNAPSHOT_NAME")
    name_of_pipeline = parameter("SSM_MAIN_CICD_NAME")
    hold = parameter("SSM_REFRESH_HOLD_NAME")
    pipeline = next(
        resource
        for action, resource in grants("db-restore-from-snapshot", stage)
        if action == "codepipeline:StartPipelineExecution"
    )
    assert re.fullmatch(rf"arn:aws:codepipeline:{ACCOUNT[stage]}:[A-Za-z0-9.@_-]+", pipeline)
    every = [("rds:DescribeDBClusterSnapshots", "*")]
    reading = [("ssm:GetParameters", name) for name in (name_of_pipeline, latest, current)]
    ledger = [
        (f"ssm:{action}", current)
        for action in (
            "GetParameterHistory",
            "LabelParameterVersion",
            "PutParameter",
            "UnlabelParameterVersion",
        )
    ]
    undoing = ("ssm:DeleteParameter", current)
    looking = ("codepipeline:ListPipelineExecutions", pipeline)
    running = ("codepipeline:StartPipelineExecution", pipeline)
    telling = ("sns:Publish", variables["NOTIFICATION_TOPIC_ARN"])
    expected = {
        "db-update-latest-snapshot-id": [
            *every,
            *reading[1:],
            ("ssm:PutParameter", latest),
            telling,
        ],
        "db-restore-from-snapshot": [
            *every,
            *reading,
            ("ssm:GetParameters", hold),
            *ledger,
            undoing,
            looking,
            running,
            telling,
        ],
        "db-follow-pipeline": [*every, reading[0], *ledger, looking, telling],
        "api_handler": [
            *every,
            *reading,
            ("ssm:GetParameters", hold),
            ("ssm:PutParameter", hold),
            *ledger,
            undoing,
            looking,
            running,
        ],
    }
    for function, wanted in expected.items():
        granted = [grant for grant in grants(function, stage) if not grant[0].startswith("logs:")]
        assert sorted(granted) == sorted(wanted)


@pytest.mark.parametrize("stage", ["local", "acceptance"])
@pytest.mark.parametrize(
    ("function", "suffix"),
    [
        ("db-update-latest-snapshot-id", "-db-update-latest-snapshot-id"),
        ("db-restore-from-snapshot", "-db-restore-from-snapshot"),
        ("db-follow-pipeline", "-db-follow-pipeline"),
        ("api_handler", ""),
    ],
)
def test_each_function_writes_its_own_logs(stage: str, function: str, suffix: str) -> None:
    """Chalice names the REST API's function after the app and the stage alone."""
    group = f"log-group:/aws/lambda/aurora-refresh-{stage}{suffix}:*"
    assert {
        resource for action, resource in grants(function, stage) if action.startswith("logs:")
    } == {f"arn:aws:logs:{ACCOUNT[stage]}:{group}"}
