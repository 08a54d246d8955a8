"""The environment variables of the app in production."""

import json
import re
from pathlib import Path

import pytest

from chalicelib.domain.errors import SettingsError
from chalicelib.domain.schedule import Expression
from chalicelib.domain.shares import SharePolicy
from chalicelib.settings.production import VARIABLES, ProductionSettings
from chalicelib.usecases.share import NEXT_STEPS
from localcloud.production import ACCEPTANCE_RESTORES

SOURCE = Path(__file__).resolve().parents[2] / "source"
DOCUMENT = (SOURCE.parent / "docs/production.md").read_text()
STAGE = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
TOPIC = "arn:aws:sns:eu-west-1:111111111111:aurora-refresh-source"


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        ProductionSettings.from_environment(STAGE | changes)
    return list(caught.value.problems)


def test_a_stage_of_required_variables_gets_the_defaults() -> None:
    assert ProductionSettings.from_environment(STAGE) == ProductionSettings(
        clusters=("orders",),
        sharing=SharePolicy("222222222222", None, 3),
        schedule=Expression.parse("cron(0 22 ? * SAT *)"),
        topic_arn=None,
    )


def test_every_variable_is_read() -> None:
    changes = {
        "CLUSTERS": "Orders, billing",
        "SHARE_KMS_KEY_ID": KEY,
        "SHARES_TO_KEEP": "5",
        "SHARE_SCHEDULE": "cron(0 1 * * ? *)",
        "NOTIFICATION_TOPIC_ARN": TOPIC,
    }
    assert ProductionSettings.from_environment(STAGE | changes) == ProductionSettings(
        clusters=("orders", "billing"),
        sharing=SharePolicy("222222222222", KEY, 5),
        schedule=Expression.parse("cron(0 1 * * ? *)"),
        topic_arn=TOPIC,
    )


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        ProductionSettings.from_environment({"SHARES_TO_KEEP": "0", "SHARE_SCHEDULE": "weekly"})
    told = [problem.split(" is ")[0] for problem in caught.value.problems]
    assert told == ["SHARE_WITH_ACCOUNT", "CLUSTERS", "SHARES_TO_KEEP", "SHARE_SCHEDULE"]


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("SHARE_WITH_ACCOUNT", "2222", "acceptance's account id, 12 digits"),
        ("SHARE_WITH_ACCOUNT", "222222222222,333333333333", "12 digits"),
        ("CLUSTERS", "orders,", "a DB cluster identifier"),
        ("CLUSTERS", "orders--next", "a DB cluster identifier"),
        ("CLUSTERS", "orders,ORDERS", "write each cluster once"),
        ("SHARE_KMS_KEY_ID", "alias/aws/rds", "production's own customer-managed key"),
        ("SHARE_KMS_KEY_ID", "a key", "production's own customer-managed key"),
        ("SHARES_TO_KEEP", "0", "a whole number from 1"),
        ("NOTIFICATION_TOPIC_ARN", "aurora-refresh", "the ARN of a standard SNS topic"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: str, right: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} is {value!r}: write ")
    assert right in problem


def test_the_document_s_table_is_the_one_in_the_code() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", DOCUMENT, re.MULTILINE)
    assert [(name, default.strip("`")) for name, default in table] == [
        (variable.name, "required" if variable.required else variable.default or "none")
        for variable in VARIABLES
    ]


def test_the_document_tells_every_reason_and_no_other() -> None:
    rows = DOCUMENT.split("| reason |")[1].splitlines()[2:]
    told = [row.split(" | ")[0] for row in rows if row.startswith("| `")]
    assert {reason for cell in told for reason in re.findall("`(.*?)`", cell)} == set(NEXT_STEPS)


def test_the_document_s_key_policy_is_the_one_that_the_local_cloud_s_production_has() -> None:
    (statement,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert json.loads(statement) == ACCEPTANCE_RESTORES


@pytest.mark.parametrize("stage", ["local", "production"])
def test_the_stages_that_are_there_are_right(stage: str) -> None:
    config = json.loads((SOURCE / ".chalice/config.json").read_text())
    settings = ProductionSettings.from_environment(config["stages"][stage]["environment_variables"])
    assert settings.sharing.account == "222222222222"
