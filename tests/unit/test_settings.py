"""The stage's environment variables."""

from datetime import date, timedelta

import pytest

from chalicelib.errors import SettingsError
from chalicelib.schedule import Cadence, Expression, Window
from chalicelib.settings import Database, Settings
from chalicelib.snapshots import Wanted
from tests.stage import STAGE


def problems(**changes: str | None) -> list[str]:
    """What is wrong with the stage after ``changes``; None takes a variable away."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(stage(**changes))
    return list(caught.value.problems)


def stage(**changes: str | None) -> dict[str, str]:
    return {name: value for name, value in (STAGE | changes).items() if value is not None}


def test_a_stage_of_required_variables_gets_the_contracts_defaults() -> None:
    assert Settings.from_environment(STAGE) == Settings(
        pipeline_parameter="/acceptance/cicd/main-pipeline-name",
        databases=(
            Database(
                name="rds",
                latest_parameter="/acceptance/rds/latest-snapshot",
                current_parameter="/acceptance/rds/current-snapshot",
                wanted=Wanted("111111111111", "aurora-postgresql", "15", None),
            ),
        ),
        update_schedule=Expression.parse("cron(0 2 ? * SUN *)"),
        restore_schedule=Expression.parse("cron(0 4 ? * SUN *)"),
        cadence=Cadence(2, date(2026, 1, 4)),
        window=Window.parse("00:00-07:00 UTC"),
        max_age=timedelta(days=14),
        topic_arn=None,
        hold_parameter=None,
        pin_api_enabled=True,
    )


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        stage(
            DATABASES="ORDERS, BILLING_2",
            SSM_ORDERS_LATEST_SNAPSHOT_NAME="/a/orders/latest",
            SSM_ORDERS_CURRENT_SNAPSHOT_NAME="/a/orders/current",
            ORDERS_ENGINE="docdb",
            ORDERS_ENGINE_VERSION="5.0.0",
            SSM_BILLING_2_LATEST_SNAPSHOT_NAME="billing-latest",
            SSM_BILLING_2_CURRENT_SNAPSHOT_NAME="billing-current",
            BILLING_2_ENGINE="aurora-mysql",
            BILLING_2_ENGINE_VERSION="8.0.mysql_aurora.3",
            BILLING_2_SOURCE_CLUSTER="Billing-Prod",
            UPDATE_SCHEDULE="cron(30 1 ? * MON *)",
            RESTORE_SCHEDULE="rate(7 days)",
            REFRESH_EVERY_WEEKS="1",
            REFRESH_ANCHOR_DATE="2026-02-02",
            MAINTENANCE_WINDOW="22:00-05:00 Europe/Amsterdam",
            MAX_SNAPSHOT_AGE_DAYS="0",
            NOTIFICATION_TOPIC_ARN="arn:aws:sns:eu-west-1:222222222222:aurora-refresh",
            SSM_REFRESH_HOLD_NAME="/a/hold",
            PIN_API_ENABLED="False",
        )
    )
    assert settings == Settings(
        pipeline_parameter="/acceptance/cicd/main-pipeline-name",
        databases=(
            Database(
                "orders",
                "/a/orders/latest",
                "/a/orders/current",
                Wanted("111111111111", "docdb", "5.0.0", None),
            ),
            Database(
                "billing_2",
                "billing-latest",
                "billing-current",
                Wanted("111111111111", "aurora-mysql", "8.0.mysql_aurora.3", "billing-prod"),
            ),
        ),
        update_schedule=Expression.parse("cron(30 1 ? * MON *)"),
        restore_schedule=Expression.parse("rate(7 days)"),
        cadence=Cadence(1, date(2026, 2, 2)),
        window=Window.parse("22:00-05:00 Europe/Amsterdam"),
        max_age=None,
        topic_arn="arn:aws:sns:eu-west-1:222222222222:aurora-refresh",
        hold_parameter="/a/hold",
        pin_api_enabled=False,
    )
    assert settings.promotion_parameters == (
        "/acceptance/cicd/main-pipeline-name",
        "/a/orders/latest",
        "/a/orders/current",
        "billing-latest",
        "billing-current",
        "/a/hold",
    )


def test_every_problem_of_an_empty_stage_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "SOURCE_ACCOUNT is missing",
        "SSM_MAIN_CICD_NAME is missing",
        "SSM_RDS_LATEST_SNAPSHOT_NAME is missing",
        "SSM_RDS_CURRENT_SNAPSHOT_NAME is missing",
        "RDS_ENGINE is missing",
        "RDS_ENGINE_VERSION is missing",
    ]
    assert str(caught.value).startswith(
        "These settings of the stage are wrong:\n"
        "  - SOURCE_ACCOUNT is missing: write production's account id, 12 digits\n"
    )


def test_an_empty_variable_means_the_same_as_none() -> None:
    assert Settings.from_environment(
        stage(RDS_SOURCE_CLUSTER="", MAINTENANCE_WINDOW="", NOTIFICATION_TOPIC_ARN="")
    ) == Settings.from_environment(STAGE)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("SOURCE_ACCOUNT", "12345", "12 digits"),
        ("SOURCE_ACCOUNT", "１１１１１１１１１１１１", "12 digits"),
        ("SOURCE_ACCOUNT", "111111111111\n", "12 digits"),
        ("SSM_MAIN_CICD_NAME", "a name", "/acceptance/rds/latest-snapshot"),
        ("SSM_MAIN_CICD_NAME", "acceptance/cicd", "a / before the first part"),
        ("SSM_MAIN_CICD_NAME", "/aws/cicd", "not beginning with aws"),
        ("SSM_MAIN_CICD_NAME", "ssm-cicd", "not beginning with aws or ssm"),
        ("SSM_MAIN_CICD_NAME", "/a/", "letters, digits"),
        ("SSM_MAIN_CICD_NAME", "/a" * 16, "up to 15 parts"),
        ("DATABASES", "rds", "upper-case"),
        ("DATABASES", "RDS,", "upper-case"),
        ("DATABASES", "RDS,RDS", "once"),
        ("RDS_ENGINE", "postgres", "aurora-postgresql, aurora-mysql, docdb, neptune"),
        ("RDS_ENGINE_VERSION", "15.", "15.4"),
        ("RDS_ENGINE_VERSION", "latest", "15.4"),
        ("RDS_SOURCE_CLUSTER", "orders--prod", "single hyphens"),
        ("RDS_SOURCE_CLUSTER", "orders-", "single hyphens"),
        ("RDS_SOURCE_CLUSTER", "a" * 64, "1 to 63"),
        ("RDS_COPY_KMS_KEY_ID", "alias/acceptance", "not available"),
        ("UPDATE_SCHEDULE", "cron(0 2 * * SUN *)", ""),
        ("RESTORE_SCHEDULE", "every sunday", ""),
        ("REFRESH_EVERY_WEEKS", "0", "from 1 to 9999"),
        ("REFRESH_EVERY_WEEKS", "1_0", "from 1 to 9999"),
        ("REFRESH_EVERY_WEEKS", "٢", "from 1 to 9999"),
        ("REFRESH_ANCHOR_DATE", "4 January", "2026-01-04"),
        ("REFRESH_ANCHOR_DATE", "2026-02-30", "2026-01-04"),
        ("MAINTENANCE_WINDOW", "00:00-07:00 Mars/Olympus", ""),
        ("MAX_SNAPSHOT_AGE_DAYS", "-1", "from 0 to 9999"),
        ("MAX_SNAPSHOT_AGE_DAYS", "two weeks", "from 0 to 9999"),
        ("NOTIFICATION_TOPIC_ARN", "aurora-refresh", "arn:aws:sns:"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws:sns:eu-west-1:222222222222:x.fifo", "standard"),
        ("SSM_REFRESH_HOLD_NAME", "hold me", "Parameter Store name"),
        ("PIN_API_ENABLED", "yes", "true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: str, right: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} is {value!r}: ")
    assert right in problem


def test_all_wrong_values_are_reported_at_once() -> None:
    found = problems(SOURCE_ACCOUNT="x", RDS_ENGINE=None, PIN_API_ENABLED="x")
    assert [problem.split(" is ")[0] for problem in found] == [
        "SOURCE_ACCOUNT",
        "PIN_API_ENABLED",
        "RDS_ENGINE",
    ]


def test_one_parameter_in_two_roles_is_refused() -> None:
    """Copied and not edited, it would restore one database from another one's data."""
    found = problems(SSM_RDS_CURRENT_SNAPSHOT_NAME=STAGE["SSM_RDS_LATEST_SNAPSHOT_NAME"])
    assert found == [
        (
            "SSM_RDS_LATEST_SNAPSHOT_NAME, SSM_RDS_CURRENT_SNAPSHOT_NAME name the same parameter "
            "'/acceptance/rds/latest-snapshot': each wants one of its own"
        )
    ]


def test_a_wrong_list_of_databases_hides_no_other_problem() -> None:
    assert len(problems(DATABASES="rds", SOURCE_ACCOUNT="x")) == 2
