"""The environment variables of a production stage."""

import pytest

from chalicelib import settings
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.schedule import Expression
from chalicelib.domain.shares import SharePolicy
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from tests import stage
from tests.unit.test_settings import SURROUNDINGS

STAGE = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
TOPIC = "arn:aws:sns:eu-west-1:111111111111:aurora-refresh"


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        ProductionSettings.from_environment(STAGE | changes)
    return [str(problem) for problem in caught.value.problems]


def test_a_stage_of_required_variables_gets_the_defaults() -> None:
    assert ProductionSettings.from_environment(STAGE) == ProductionSettings(
        clusters=("orders",),
        share_with="222222222222",
        key=None,
        keep=3,
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
        share_with="222222222222",
        key=KEY,
        keep=5,
        schedule=Expression.parse("cron(0 1 * * ? *)"),
        topic_arn=TOPIC,
    )


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        ProductionSettings.from_environment({"SHARES_TO_KEEP": "0", "SHARE_SCHEDULE": "weekly"})
    names = [problem.names[0] for problem in caught.value.problems]
    assert names == ["SHARE_WITH_ACCOUNT", "CLUSTERS", "SHARES_TO_KEEP", "SHARE_SCHEDULE"]


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


def test_a_policy_belongs_to_a_stage() -> None:
    found = ProductionSettings.from_environment(STAGE | {"SHARE_KMS_KEY_ID": KEY})
    assert found.policy("daily") == SharePolicy("daily", "222222222222", KEY, 3)


@pytest.mark.parametrize(
    ("typo", "known"),
    [
        ("CLUSTER", "CLUSTERS"),
        ("SHARE_TO_KEEP", "SHARES_TO_KEEP"),
        ("SHARE_KEY_ID", "SHARE_KMS_KEY_ID"),
        ("SHARE_SCEDULE", "SHARE_SCHEDULE"),
        ("NOTIFICATION_TOPIC", "NOTIFICATION_TOPIC_ARN"),
    ],
)
def test_a_probable_typo_is_named_with_the_nearest_known_name(typo: str, known: str) -> None:
    assert problems(**{typo: "x"}) == [
        f"{typo} is unknown: {known} may be meant; correct or remove it"
    ]


def test_nothing_that_lambda_chalice_ci_or_a_shell_sets_is_a_typo() -> None:
    surroundings = dict.fromkeys(SURROUNDINGS.split(), "x")
    assert ProductionSettings.from_environment(
        surroundings | STAGE
    ) == ProductionSettings.from_environment(STAGE)


# --- which kind of stage it is --------------------------------------------------------------------


def test_a_stage_is_of_the_account_whose_variable_it_has() -> None:
    assert settings.load(STAGE) == ProductionSettings.from_environment(STAGE)
    assert settings.load(stage.STAGE) == Settings.from_environment(stage.STAGE)
    assert settings.load(STAGE).names == []
    assert settings.load(stage.TWO).names == ["rds", "docs"]


@pytest.mark.parametrize(
    ("environment", "problem"),
    [(STAGE | stage.STAGE, "are both set"), ({"SOURCE_ACCOUNT": ""}, "are both missing")],
)
def test_a_stage_of_both_accounts_or_of_neither_is_refused(
    environment: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(environment)
    (found,) = caught.value.problems
    assert str(found) == (
        f"SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT {problem}: set SOURCE_ACCOUNT in an acceptance stage, "
        "SHARE_WITH_ACCOUNT in a production stage"
    )


def test_the_names_of_a_stage_s_settings_are_those_of_its_kind_and_databases() -> None:
    assert "SHARES_TO_KEEP" in settings.names_of(STAGE)
    names = settings.names_of(stage.TWO)
    first = ["SOURCE_ACCOUNT", "SOURCE_REGION", "SSM_MAIN_CICD_NAME", "DATABASES"]
    assert names[:4] == first
    assert {"RDS_STACK_NAME", "DOCS_STACK_NAME"} <= set(names)
    with pytest.raises(SettingsError, match="upper-case"):
        settings.names_of({"DATABASES": "rds"})
