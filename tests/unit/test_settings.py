"""The stage's environment variables."""

from datetime import date, timedelta

import pytest

from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import StackReference
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.schedule import Cadence, Expression, Window
from chalicelib.domain.snapshots import Criteria
from chalicelib.settings.acceptance import Settings
from tests.stage import STAGE, TWO

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KMS = "arn:aws:kms:eu-west-1:222222222222"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore"


def problems(**changes: str | None) -> list[str]:
    """Return the problems of the stage after these changes; None removes a variable."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(stage(**changes))
    return [str(problem) for problem in caught.value.problems]


def stage(**changes: str | None) -> dict[str, str]:
    return {name: value for name, value in (STAGE | changes).items() if value is not None}


def test_a_stage_of_required_variables_gets_the_documented_defaults() -> None:
    assert Settings.from_environment(STAGE) == Settings(
        pipeline_parameter="/acceptance/cicd/main-pipeline-name",
        databases=(
            Database(
                name="rds",
                latest_parameter="/acceptance/rds/latest-snapshot",
                current_parameter="/acceptance/rds/current-snapshot",
                criteria=Criteria("111111111111", "aurora-postgresql", "15", None),
            ),
        ),
        update_schedule=Expression.parse("cron(0 2 ? * SUN *)"),
        restore_schedule=Expression.parse("cron(0 4 ? * SUN *)"),
        cadence=Cadence(2, date(2026, 1, 4)),
        window=Window.parse("00:00-07:00 UTC"),
        max_age=timedelta(days=14),
        topic_arn=None,
        chat_topic_arn=None,
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
            ORDERS_STACK_NAME="acceptance-orders",
            ORDERS_AFTER_RESTORE=MACHINE,
            SSM_BILLING_2_LATEST_SNAPSHOT_NAME="billing-latest",
            SSM_BILLING_2_CURRENT_SNAPSHOT_NAME="billing-current",
            BILLING_2_ENGINE="aurora-mysql",
            BILLING_2_ENGINE_VERSION="8.0.mysql_aurora.3",
            BILLING_2_SOURCE_CLUSTER="Billing-Prod",
            BILLING_2_STACK_NAME="acceptance-data/Billing2",
            UPDATE_SCHEDULE="cron(30 1 ? * MON *)",
            RESTORE_SCHEDULE="rate(7 days)",
            REFRESH_EVERY_WEEKS="1",
            REFRESH_ANCHOR_DATE="2026-02-02",
            MAINTENANCE_WINDOW="22:00-05:00 Europe/Amsterdam",
            MAX_SNAPSHOT_AGE_DAYS="0",
            NOTIFICATION_TOPIC_ARN="arn:aws:sns:eu-west-1:222222222222:aurora-refresh",
            CHAT_TOPIC_ARN="arn:aws:sns:eu-west-1:222222222222:aurora-refresh-chat",
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
                Criteria("111111111111", "docdb", "5.0.0", None),
                stack=StackReference("acceptance-orders"),
                after_restore=MACHINE,
            ),
            Database(
                "billing_2",
                "billing-latest",
                "billing-current",
                Criteria("111111111111", "aurora-mysql", "8.0.mysql_aurora.3", "billing-prod"),
                stack=StackReference("acceptance-data", "Billing2"),
            ),
        ),
        update_schedule=Expression.parse("cron(30 1 ? * MON *)"),
        restore_schedule=Expression.parse("rate(7 days)"),
        cadence=Cadence(1, date(2026, 2, 2)),
        window=Window.parse("22:00-05:00 Europe/Amsterdam"),
        max_age=None,
        topic_arn="arn:aws:sns:eu-west-1:222222222222:aurora-refresh",
        chat_topic_arn="arn:aws:sns:eu-west-1:222222222222:aurora-refresh-chat",
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
    assert [str(problem).split(":")[0] for problem in caught.value.problems] == [
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
        ("SSM_MAIN_CICD_NAME", "/" + "a" * 1011, "at most 1,011 characters"),
        ("DATABASES", "rds", "upper-case"),
        ("DATABASES", "RDS,", "upper-case"),
        ("DATABASES", "RDS,RDS", "once"),
        ("RDS_ENGINE", "postgres", "aurora-postgresql, aurora-mysql, docdb, neptune"),
        ("RDS_ENGINE_VERSION", "15.", "15.4"),
        ("RDS_ENGINE_VERSION", "latest", "15.4"),
        ("RDS_SOURCE_CLUSTER", "orders--prod", "single hyphens"),
        ("RDS_SOURCE_CLUSTER", "orders-", "single hyphens"),
        ("RDS_SOURCE_CLUSTER", "a" * 64, "1 to 63"),
        ("RDS_STACK_NAME", "1-data", "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "acceptance_data", "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "data/Orders-1", "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "data/", "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "data/Orders/x", "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "a" * 129, "STACK/LOGICAL-ID"),
        ("RDS_STACK_NAME", "arn:aws:cloudformation:eu-west-1:222222222222:stack/data/1", "STACK/"),
        ("RDS_AFTER_RESTORE", "after-restore", "a Step Functions state machine"),
        ("RDS_AFTER_RESTORE", f"{MACHINE}:1", "a Step Functions state machine"),
        (
            "RDS_AFTER_RESTORE",
            MACHINE.replace("states", "lambda"),
            "a Step Functions state machine",
        ),
        ("RDS_COPY_KMS_KEY_ID", "acceptance", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", "alias/", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", "alias/aws/rds", "not the default key aws/rds"),
        ("RDS_COPY_KMS_KEY_ID", f"{KMS}:alias/aws/rds", "not the default key aws/rds"),
        ("RDS_COPY_KMS_KEY_ID", "alias/" + "a" * 251, "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", "alias/acceptance copies", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", KEY_ID.upper(), "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", f" {KEY_ID}", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", f"{KMS}:{KEY_ID}", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", f"key/{KEY_ID}", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", "arn:aws:kms:eu-west-1:2222:alias/x", "customer-managed"),
        ("RDS_COPY_KMS_KEY_ID", f"arn:aws-:kms:eu-west-1:222222222222:key/{KEY_ID}", "managed"),
        ("RDS_COPIES_TO_KEEP", "0", "from 1 to 9999"),
        ("RDS_COPIES_TO_KEEP", "all", "from 1 to 9999"),
        ("UPDATE_SCHEDULE", "cron(0 2 * * SUN *)", ""),
        ("RESTORE_SCHEDULE", "every sunday", ""),
        ("REFRESH_EVERY_WEEKS", "0", "from 1 to 9999"),
        ("REFRESH_EVERY_WEEKS", "1_0", "from 1 to 9999"),
        ("REFRESH_EVERY_WEEKS", "٢", "from 1 to 9999"),
        ("REFRESH_ANCHOR_DATE", "4 January", "2026-01-04"),
        ("REFRESH_ANCHOR_DATE", "2026-02-30", "2026-01-04"),
        ("REFRESH_ANCHOR_DATE", "20260104", "2026-01-04"),
        ("REFRESH_ANCHOR_DATE", "2026-W01-7", "2026-01-04"),
        ("REFRESH_ANCHOR_DATE", "٢026-01-04", "2026-01-04"),
        ("MAINTENANCE_WINDOW", "00:00-07:00 Mars/Olympus", ""),
        ("MAX_SNAPSHOT_AGE_DAYS", "-1", "from 0 to 9999"),
        ("MAX_SNAPSHOT_AGE_DAYS", "two weeks", "from 0 to 9999"),
        ("NOTIFICATION_TOPIC_ARN", "aurora-refresh", "arn:aws:sns:"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws:sns:eu-west-1:222222222222:x.fifo", "standard"),
        ("NOTIFICATION_TOPIC_ARN", "arn:awsome:sns:eu-west-1:222222222222:x", "standard"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws-:sns:eu-west-1:222222222222:x", "standard"),
        ("CHAT_TOPIC_ARN", "chat", "aurora-refresh-chat"),
        ("SSM_REFRESH_HOLD_NAME", "hold me", "Parameter Store name"),
        ("PIN_API_ENABLED", "yes", "true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name: str, value: str, right: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} is {value!r}: ")
    assert right in problem


def test_one_parameter_in_two_roles_is_refused() -> None:
    """Copied and not edited, it would restore one database from another one's data."""
    found = problems(SSM_RDS_CURRENT_SNAPSHOT_NAME=STAGE["SSM_RDS_LATEST_SNAPSHOT_NAME"])
    assert found == [
        (
            "SSM_RDS_LATEST_SNAPSHOT_NAME, SSM_RDS_CURRENT_SNAPSHOT_NAME name the same parameter "
            "'/acceptance/rds/latest-snapshot': write a different one for each"
        )
    ]


def test_a_wrong_list_of_databases_hides_no_other_problem() -> None:
    assert len(problems(DATABASES="rds", SOURCE_ACCOUNT="x")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"SSM_MAIN_CICD_NAME": "/" + "a" * 1010},
        {"NOTIFICATION_TOPIC_ARN": "arn:aws-us-gov:sns:us-gov-west-1:222222222222:x"},
        {"NOTIFICATION_TOPIC_ARN": "arn:aws-cn:sns:cn-north-1:222222222222:x"},
        {"RESTORE_SCHEDULE": "rate(99999 days)"},
    ],
)
def test_a_value_at_its_limit_is_accepted(changes: dict[str, str]) -> None:
    Settings.from_environment(stage(**changes))


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        KEY_ID,
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "alias/acceptance",
        "alias/acceptance/rds_2-copies",
        "alias/awsome",
        "alias/" + "a" * 250,
        f"{KMS}:key/{KEY_ID}",
        f"{KMS}:alias/acceptance",
        f"arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/{KEY_ID}",
    ],
)
def test_a_customer_managed_key_makes_copies(key: str) -> None:
    settings = Settings.from_environment(stage(RDS_COPY_KMS_KEY_ID=key))
    (database,) = settings.databases
    latest = "/acceptance/rds/latest-snapshot"
    assert database.copy_policy == CopyPolicy(database.criteria, key, keep=3, made_for=latest)
    assert settings.has_copies


def test_the_number_to_keep_is_the_databases_own() -> None:
    docs = {"DOCS_COPY_KMS_KEY_ID": "alias/docs", "DOCS_COPIES_TO_KEEP": "1"}
    settings = Settings.from_environment(TWO | docs)
    assert [each.copy_policy for each in settings.databases] == [
        None,
        CopyPolicy(
            Criteria("111111111111", "docdb", "5"), "alias/docs", 1, "/acceptance/docs/latest"
        ),
    ]
    assert settings.has_copies


@pytest.mark.parametrize("changes", [{}, {"RDS_COPY_KMS_KEY_ID": ""}, {"RDS_COPIES_TO_KEEP": "5"}])
def test_without_a_key_nothing_is_copied(changes: dict[str, str]) -> None:
    settings = Settings.from_environment(stage(**changes))
    assert settings == Settings.from_environment(STAGE)
    assert not settings.has_copies


def test_a_parameter_whose_name_no_tag_can_hold_is_refused() -> None:
    """RDS would refuse the copy, at night."""
    names = {"SSM_RDS_LATEST_SNAPSHOT_NAME": "/" + "a" * 256}
    assert problems(RDS_COPY_KMS_KEY_ID="alias/acceptance", **names) == [
        (
            "SSM_RDS_LATEST_SNAPSHOT_NAME has 257 characters: copies have it as a tag, so write a "
            "name of at most 256"
        )
    ]
    Settings.from_environment(stage(**names))
    names = {"SSM_RDS_LATEST_SNAPSHOT_NAME": "/" + "a" * 255}
    Settings.from_environment(stage(RDS_COPY_KMS_KEY_ID="alias/acceptance", **names))


def test_a_missing_name_is_one_problem() -> None:
    assert len(problems(RDS_COPY_KMS_KEY_ID="alias/x", SSM_RDS_LATEST_SNAPSHOT_NAME=None)) == 1


# --- two databases that one share fits ------------------------------------------------------------


def two(first: tuple[str, str, str | None], second: tuple[str, str, str | None]) -> dict[str, str]:
    """A stage of two databases, each of an engine, a version and a source cluster."""
    changes: dict[str, str | None] = {"DATABASES": "RDS,DOCS"}
    for prefix, (engine, version, cluster) in (("RDS", first), ("DOCS", second)):
        changes |= {
            f"SSM_{prefix}_LATEST_SNAPSHOT_NAME": f"/{prefix}/latest",
            f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME": f"/{prefix}/current",
            f"{prefix}_ENGINE": engine,
            f"{prefix}_ENGINE_VERSION": version,
            f"{prefix}_SOURCE_CLUSTER": cluster,
        }
    return stage(**changes)


PG, DOCS = "aurora-postgresql", "docdb"


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ((PG, "15", None), (PG, "15", None), True),
        ((PG, "15", "orders"), (PG, "15", None), True),
        ((PG, "15", None), (PG, "15", "orders"), True),
        ((PG, "15", "orders"), (PG, "15", "ORDERS"), True),
        ((PG, "15", None), (PG, "15.4", None), True),
        ((PG, "15.4", "orders"), (PG, "15", None), True),
        ((PG, "15", "orders"), (PG, "15.4", "orders"), True),
        ((DOCS, "5", None), ("aurora-mysql", "5", None), False),
        ((DOCS, "5", None), (DOCS, "4", None), False),
        ((DOCS, "5.1", None), (DOCS, "5.10", None), False),
        ((DOCS, "5.10", None), (DOCS, "5.1", None), False),
        ((DOCS, "5", None), (DOCS, "50.1", None), False),
        ((DOCS, "5", "orders"), (DOCS, "5", "billing"), False),
        ((PG, "16", None), (PG, "16.6-limitless", None), False),
    ],
)
def test_two_databases_that_one_snapshot_fits_are_refused(
    first: tuple[str, str, str | None], second: tuple[str, str, str | None], *, is_refused: bool
) -> None:
    """The newest snapshot of the wrong database must never win."""
    if not is_refused:
        assert len(Settings.from_environment(two(first, second)).databases) == 2
        return
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(two(first, second))
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "RDS_SOURCE_CLUSTER, DOCS_SOURCE_CLUSTER do not distinguish two databases of one engine "
            f"and version ({' '.join(first[:2])}, {' '.join(second[:2])}): write a different cluster "
            "for each, or one could be restored from the other's snapshot"
        )
    ]


def test_a_wrong_setting_of_a_database_is_one_problem() -> None:
    """What cannot be read is not compared."""
    environment = two(("docdb", "5", None), ("docdb", "five", None))
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert [problem.names[0] for problem in caught.value.problems] == ["DOCS_ENGINE_VERSION"]


# --- two databases of one cluster -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ("data", "data", True),
        ("data", "data/Orders", True),
        ("data/Orders", "data", True),
        ("data/Orders", "data/Orders", True),
        ("data/Orders", "data/Billing", False),
        ("data", "other", False),
        ("data/Orders", "other/Orders", False),
        ("data", "", False),
    ],
)
def test_two_databases_that_look_at_one_cluster_are_refused(
    first: str, second: str, *, is_refused: bool
) -> None:
    """Each would take the other one's data for its own."""
    environment = TWO | {"RDS_STACK_NAME": first, "DOCS_STACK_NAME": second}
    if not is_refused:
        assert len(Settings.from_environment(environment).databases) == 2
        return
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert [str(problem) for problem in caught.value.problems] == [
        (
            f"RDS_STACK_NAME, DOCS_STACK_NAME do not distinguish two clusters ({first}, {second}): "
            "write STACK/LOGICAL-ID for each"
        )
    ]


# --- a restore that never comes -------------------------------------------------------------------


def test_a_restore_that_never_falls_inside_the_window_is_refused() -> None:
    assert problems(MAINTENANCE_WINDOW="08:00-17:00 Europe/Amsterdam") == [
        (
            "RESTORE_SCHEDULE, MAINTENANCE_WINDOW do not meet: cron(0 4 ? * SUN *) does not fire "
            "inside 08:00-17:00 Europe/Amsterdam in an on-week (2 weeks, from 2026-01-04) within "
            "five years; write times that lie in the window, in UTC or followed by a time zone"
        )
    ]


def test_an_update_may_run_outside_the_window() -> None:
    Settings.from_environment(stage(UPDATE_SCHEDULE="cron(0 12 ? * SUN *)"))


def test_a_rate_cannot_be_checked_against_the_window() -> None:
    Settings.from_environment(
        stage(RESTORE_SCHEDULE="rate(7 days)", MAINTENANCE_WINDOW="08:00-17:00 UTC")
    )


# --- probable typos -------------------------------------------------------------------------------


def test_a_deployed_function_does_not_look_for_typos() -> None:
    """Its deployment has, and every cold start would pay for it."""
    Settings.from_environment(stage(RDS_STACK="x", AWS_LAMBDA_FUNCTION_NAME="aurora-refresh-a"))


@pytest.mark.parametrize(
    ("typo", "known"),
    [
        ("RDS_SOURCE_CLUSTRE", "RDS_SOURCE_CLUSTER"),
        ("RDS_CLUSTER", "RDS_SOURCE_CLUSTER"),
        ("RDS_COPY_KEY_ID", "RDS_COPY_KMS_KEY_ID"),
        ("RDS_STACK", "RDS_STACK_NAME"),
        ("RSD_SOURCE_CLUSTER", "RDS_SOURCE_CLUSTER"),
        ("SSM_HOLD_NAME", "SSM_REFRESH_HOLD_NAME"),
        ("MAX_AGE_DAYS", "MAX_SNAPSHOT_AGE_DAYS"),
        ("UPDATE_CRON", "UPDATE_SCHEDULE"),
        ("RESTORE_SCEDULE", "RESTORE_SCHEDULE"),
        ("RESTORESCHEDULE", "RESTORE_SCHEDULE"),
        ("MAINTENANCE_WINDOWS", "MAINTENANCE_WINDOW"),
        ("REFRESH_WEEKS", "REFRESH_EVERY_WEEKS"),
        ("NOTIFICATIONS_TOPIC_ARN", "NOTIFICATION_TOPIC_ARN"),
        ("NOTIFICATION_TOPIC", "NOTIFICATION_TOPIC_ARN"),
        ("PIN_API_ENABELD", "PIN_API_ENABLED"),
        ("DATABASE", "DATABASES"),
    ],
)
def test_a_probable_typo_is_named_with_the_nearest_known_name(typo: str, known: str) -> None:
    assert problems(**{typo: "x"}) == [
        f"{typo} is unknown: {known} may be meant; correct or remove it"
    ]


SURROUNDINGS = """
_HANDLER _X_AMZN_TRACE_ID AWS_ACCESS_KEY_ID AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_DEFAULT_REGION
AWS_EXECUTION_ENV AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION
AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME
AWS_LAMBDA_RUNTIME_API AWS_PROFILE AWS_REGION AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
AWS_XRAY_CONTEXT_MISSING LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT LANG LC_ALL LD_LIBRARY_PATH PATH
PYTHONPATH PYTHONUNBUFFERED TZ
CI CHALICE_TEST GITHUB_ACTIONS GITHUB_REF_NAME GITHUB_REPOSITORY RUNNER_OS RUNNER_TEMP BUILD_NUMBER
CI_PIPELINE_SOURCE CI_REGISTRY JENKINS_URL CODEBUILD_BUILD_ID SOURCE_DATE_EPOCH SOURCE_VERSION
RDS_HOSTNAME RDS_PORT RDS_DB_NAME RDS_USERNAME RDS_PASSWORD DATABASE_URL MAX_JOBS MAX_THREADS
HOME USER SHELL TERM EDITOR PWD OLDPWD SHLVL LOGNAME HOSTNAME DISPLAY MAIL SSH_AUTH_SOCK XDG_RUNTIME_DIR
VIRTUAL_ENV PIP_NO_INDEX MAKEFLAGS MAKELEVEL MFLAGS MAKE_TERMOUT STAGE EMAIL PARAMETERS PYTHON TESTS
DOCKER_HOST CONTAINER_ENGINE POWERTOOLS_LOG_LEVEL POWERTOOLS_SERVICE_NAME OPERATOR_ARN
DATABASE_BACKUP_SNAPSHOT_ID_ARN RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN MAIN_PIPELINE_ARN
"""


def test_nothing_that_lambda_chalice_ci_or_a_shell_sets_is_a_typo() -> None:
    surroundings = dict.fromkeys(SURROUNDINGS.split(), "x")
    assert Settings.from_environment(surroundings | STAGE) == Settings.from_environment(STAGE)


def test_an_empty_variable_is_no_typo() -> None:
    assert Settings.from_environment(stage(MAX_AGE_DAYS="")) == Settings.from_environment(STAGE)


def test_a_database_that_is_not_listed_may_keep_its_variables() -> None:
    one = {name: value for name, value in TWO.items() if name != "DATABASES"}
    assert Settings.from_environment(one) == Settings.from_environment(STAGE)


# --- production in another Region -----------------------------------------------------------------

KEY = "alias/acceptance"


@pytest.mark.parametrize(
    ("own", "source", "expected"),
    [
        ("eu-west-1", "us-east-1", "us-east-1"),
        ("eu-west-1", "eu-west-1", None),
        ("eu-west-1", "", None),
        ("", "us-gov-east-1", "us-gov-east-1"),
    ],
)
def test_the_source_region_is_known_if_it_is_another_one(
    own: str, source: str, expected: str | None
) -> None:
    variables = stage(AWS_DEFAULT_REGION=own, SOURCE_REGION=source, RDS_COPY_KMS_KEY_ID=KEY)
    assert Settings.from_environment(variables).source_region == expected


def test_shares_of_the_own_region_need_no_copy() -> None:
    own = {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "eu-west-1"}
    assert not Settings.from_environment(stage(**own)).has_copies


@pytest.mark.parametrize(
    ("changes", "name", "right"),
    [
        ({"SOURCE_REGION": "Ireland"}, "SOURCE_REGION", "such as eu-west-1"),
        ({"RDS_COPY_KMS_KEY_ID": None}, "RDS_COPY_KMS_KEY_ID", "another Region, us-east-1, has to"),
        ({"RDS_ENGINE": "docdb"}, "RDS_ENGINE", "DocumentDB copies a share in its own Region only"),
        ({"SOURCE_REGION": "cn-north-1"}, "SOURCE_REGION", "another Region in China"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "SOURCE_REGION", "another Region in China"),
    ],
)
def test_what_another_region_forbids_is_refused_with_its_reason(
    changes: dict[str, str | None], name: str, right: str
) -> None:
    given: dict[str, str | None] = {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "us-east-1"}
    (problem,) = problems(**given | {"RDS_COPY_KMS_KEY_ID": KEY} | changes)
    assert problem.startswith(f"{name} is ")
    assert right in problem
