"""The environment variables of an acceptance and of a production stage."""

from datetime import date, timedelta

import pytest

from chalicelib import settings
from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import StackReference
from chalicelib.domain.errors import SettingsError
from chalicelib.domain.schedule import Cadence, Expression, Window
from chalicelib.domain.shares import SharePolicy
from chalicelib.domain.snapshots import Criteria
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE_NAME, STAGE, TWO

LATEST_NAME, CURRENT_NAME = "SSM_RDS_LATEST_SNAPSHOT_NAME", "SSM_RDS_CURRENT_SNAPSHOT_NAME"
ACCOUNT = STAGE["SOURCE_ACCOUNT"]
SHARING = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KMS = "arn:aws:kms:eu-west-1:222222222222"
KEY = "alias/acceptance"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"
NEVER = "cron(0 2 30 2 ? *)"


def acceptance(**changes: str) -> Settings:
    """Return the settings of the smallest stage after these changes."""
    return Settings.from_environment(STAGE | changes)


def problems(environment: dict[str, str], **changes: str | None) -> list[str]:
    """Return the problems of the stage after these changes; None removes a variable."""
    changed = {name: value for name, value in (environment | changes).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        settings.load(changed)
    return [str(problem) for problem in caught.value.problems]


# --- what is read ---------------------------------------------------------------------------------


def test_every_variable_of_an_acceptance_stage_is_read() -> None:
    found = settings.load(
        {
            "AWS_DEFAULT_REGION": "eu-west-1",
            "SOURCE_ACCOUNT": "333333333333",
            "SOURCE_REGION": "us-gov-east-1",
            "SSM_MAIN_CICD_NAME": "/" + "a" * 255,
            "DATABASES": "ORDERS",
            "UPDATE_SCHEDULE": "cron(30 1 ? * MON *)",
            "RESTORE_SCHEDULE": "cron(30 3 ? * MON *)",
            "REFRESH_EVERY_WEEKS": "1",
            "REFRESH_ANCHOR_DATE": "2026-02-01",
            "MAINTENANCE_WINDOW": "22:00-06:00 Europe/Amsterdam",
            "MAX_SNAPSHOT_AGE_DAYS": "9",
            "NOTIFICATION_TOPIC_ARN": TOPIC,
            "CHAT_TOPIC_ARN": f"{TOPIC}-chat",
            "SSM_REFRESH_HOLD_NAME": "/a/hold",
            "PIN_API_ENABLED": "False",
            "SSM_ORDERS_LATEST_SNAPSHOT_NAME": "latest",
            "SSM_ORDERS_CURRENT_SNAPSHOT_NAME": "current",
            "ORDERS_ENGINE": "aurora-mysql",
            "ORDERS_ENGINE_VERSION": "8.0.my_2",
            "ORDERS_SOURCE_CLUSTER": "Prod-1",
            "ORDERS_STACK_NAME": "data/Rds2",
            "ORDERS_AFTER_RESTORE": MACHINE,
            "ORDERS_COPY_KMS_KEY_ID": KEY,
            "ORDERS_COPIES_TO_KEEP": "5",
        }
    )
    criteria = Criteria("333333333333", "aurora-mysql", "8.0.my_2", "prod-1")
    copy_policy = CopyPolicy(criteria, KEY, 5, "latest")
    stack = StackReference("data", "Rds2")
    orders = Database("orders", "latest", "current", criteria, copy_policy, stack, MACHINE)
    assert found == Settings(
        pipeline_parameter="/" + "a" * 255,
        databases=(orders,),
        update_schedule=Expression.parse("cron(30 1 ? * MON *)"),
        restore_schedule=Expression.parse("cron(30 3 ? * MON *)"),
        cadence=Cadence(1, date(2026, 2, 1)),
        window=Window.parse("22:00-06:00 Europe/Amsterdam"),
        max_age=timedelta(days=9),
        topic_arn=TOPIC,
        chat_topic_arn=f"{TOPIC}-chat",
        hold_parameter="/a/hold",
        pin_api_enabled=False,
        source_region="us-gov-east-1",
    )


def test_several_databases_are_those_that_are_listed_each_with_its_own_variables() -> None:
    changes = {"DATABASES": "RDS, DOCS", "DOCS_COPY_KMS_KEY_ID": KEY}
    found = settings.load(TWO | changes | {"SSM_REFRESH_HOLD_NAME": "/a/hold"})
    rds, docs = found.databases
    assert (rds, found.names) == (acceptance().databases[0], ["rds", "docs"])
    assert docs.copy_policy == CopyPolicy(docs.criteria, KEY, 3, OTHER_LATEST)
    parameters = (PIPELINE_NAME, LATEST, CURRENT, OTHER_LATEST, OTHER_CURRENT, "/a/hold")
    assert found.promotion_parameters == parameters


def test_every_variable_of_a_production_stage_is_read() -> None:
    found = settings.load(
        {
            "SHARE_WITH_ACCOUNT": "222222222222",
            "CLUSTERS": "Orders, billing",
            "SHARE_KMS_KEY_ID": KEY_ID,
            "SHARES_TO_KEEP": "5",
            "SHARE_SCHEDULE": "rate(1 day)",
            "NOTIFICATION_TOPIC_ARN": TOPIC,
        }
    )
    clusters, schedule = ("orders", "billing"), Expression.parse("rate(1 day)")
    assert found == ProductionSettings(clusters, "222222222222", KEY_ID, 5, schedule, TOPIC)
    assert found.policy("daily") == SharePolicy("daily", "222222222222", KEY_ID, 5)


def test_the_names_of_a_stage_s_settings_are_those_of_its_kind_and_databases() -> None:
    assert "SHARES_TO_KEEP" in settings.names_of(SHARING)
    names = settings.names_of(TWO)
    assert names[:4] == ["SOURCE_ACCOUNT", "SOURCE_REGION", "SSM_MAIN_CICD_NAME", "DATABASES"]
    assert names[4] == LATEST_NAME
    assert {"RDS_STACK_NAME", "DOCS_STACK_NAME"} <= set(names)
    with pytest.raises(SettingsError, match="upper-case"):
        settings.names_of({"DATABASES": "rds"})


def test_an_empty_variable_means_the_same_as_none() -> None:
    unused = ("RDS_SOURCE_CLUSTER", "MAINTENANCE_WINDOW", "RDS_COPY_KMS_KEY_ID", "MAX_AGE_DAYS")
    assert acceptance(**dict.fromkeys(unused, "")) == acceptance()


def test_a_value_at_its_limit_is_accepted() -> None:
    for name, value in (
        ("RDS_STACK_NAME", "data"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws-us-gov:sns:us-gov-west-1:222222222222:x"),
        ("RDS_COPY_KMS_KEY_ID", KEY_ID),
        ("RDS_COPY_KMS_KEY_ID", "mrk-1234abcd12ab34cd56ef1234567890ab"),
        ("RDS_COPY_KMS_KEY_ID", "alias/awsome/rds_2-" + "a" * 237),
        ("RDS_COPY_KMS_KEY_ID", f"{KMS}:alias/acceptance"),
        ("RDS_COPY_KMS_KEY_ID", f"arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/{KEY_ID}"),
        # Whether a rate meets the window is not known, and an update needs none.
        ("RESTORE_SCHEDULE", "rate(7 days)"),
        ("UPDATE_SCHEDULE", "cron(0 12 ? * SUN *)"),
    ):
        assert acceptance(**{name: value}) != acceptance()
    assert acceptance(MAX_SNAPSHOT_AGE_DAYS="0").max_age is None


# --- what is refused ------------------------------------------------------------------------------


def test_every_problem_of_a_stage_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({})
    names = ["SOURCE_ACCOUNT", "SSM_MAIN_CICD_NAME", LATEST_NAME, CURRENT_NAME]
    missing = [((name,), True) for name in (*names, "RDS_ENGINE", "RDS_ENGINE_VERSION")]
    assert [(each.names, each.missing) for each in caught.value.problems] == missing
    assert len(problems(SHARING, CLUSTERS=None, SHARES_TO_KEEP="0", SHARE_SCHEDULE="weekly")) == 3


def test_a_stage_of_neither_account_is_refused_and_a_typo_may_be_why() -> None:
    neither, typo = problems(STAGE, SOURCE_ACCOUNT=None, SOURCE_ACOUNT=ACCOUNT)
    assert neither.startswith("SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT are both missing: set ")
    assert typo == "SOURCE_ACOUNT is unknown: SOURCE_ACCOUNT may be meant; correct or remove it"
    wrong = {"RDS_ENGINE": "oracle", "MAINTENANCE_WINDOW": "night"}
    neither, *others = problems(STAGE, SOURCE_ACCOUNT=None, RDS_ENGINE_VERSION=None, **wrong)
    assert [each.split()[0] for each in others] == [*wrong]
    neither, *others = problems(SHARING, SHARE_WITH_ACCOUNT=None, SHARES_TO_KEEP="0")
    assert [each.split()[0] for each in others] == ["SHARES_TO_KEEP"]


WRONG = [
    ("SOURCE_ACCOUNT", "12 digits", "12345|１１１１１１１１１１１１|111111111111\n"),
    ("SOURCE_REGION", "such as eu-west-1", "Ireland"),
    ("SSM_MAIN_CICD_NAME", "not beginning with aws or ssm", "a name|/a/|/aws/cicd|ssm-cicd"),
    ("SSM_MAIN_CICD_NAME", "up to 15 parts", f"acceptance/cicd|{'/a' * 16}|/{'a' * 256}"),
    ("SSM_REFRESH_HOLD_NAME", "Parameter Store name", "hold me"),
    ("DATABASES", "upper-case", "rds|RDS,"),
    ("DATABASES", "once", "RDS,RDS"),
    ("RDS_ENGINE", "aurora-postgresql, aurora-mysql, docdb, neptune", "postgres"),
    ("RDS_ENGINE_VERSION", "15.4", "15.|latest"),
    ("RDS_SOURCE_CLUSTER", "1 to 63 letters", f"orders--prod|orders-|{'a' * 64}"),
    ("RDS_STACK_NAME", "STACK/LOGICAL-ID", f"1-data|data/Orders-1|data/Orders/x|{'a' * 129}"),
    ("RDS_AFTER_RESTORE", "a Step Functions state machine", f"after-restore|{MACHINE}:1"),
    ("RDS_COPY_KMS_KEY_ID", "this account's own customer-managed key", f"acceptance|key/{KEY_ID}"),
    ("RDS_COPY_KMS_KEY_ID", "not the default key aws/rds", f"alias/aws/rds|{KMS}:alias/aws/rds"),
    ("RDS_COPY_KMS_KEY_ID", "customer-managed", f"alias/{'a' * 251}|{KMS}:{KEY_ID}"),
    ("RDS_COPIES_TO_KEEP", "from 1 to 9999", "0|all"),
    ("UPDATE_SCHEDULE", "day-of-month", "cron(0 2 * * SUN *)"),
    ("UPDATE_SCHEDULE", "which does not fire in an on-week (2 weeks, from 2026-01-04)", NEVER),
    ("RESTORE_SCHEDULE", "cron(minutes hours", "every sunday"),
    ("REFRESH_EVERY_WEEKS", "from 1 to 9999", "0|1_0|٢"),
    ("REFRESH_ANCHOR_DATE", "2026-01-04", "4 January|2026-02-30|20260104|2026-W01-7|٢026-01-04"),
    ("MAINTENANCE_WINDOW", "IANA", "00:00-07:00 Mars/Olympus"),
    ("MAX_SNAPSHOT_AGE_DAYS", "from 0 to 9999", "-1|two weeks"),
    ("NOTIFICATION_TOPIC_ARN", "a standard SNS topic", f"aurora-refresh|{TOPIC}.fifo"),
    ("CHAT_TOPIC_ARN", "a standard SNS topic", "chat"),
    ("PIN_API_ENABLED", "true or false", "yes"),
]
WRONG_IN_PRODUCTION = [
    ("SHARE_WITH_ACCOUNT", "acceptance's account id, 12 digits", "2222|222222222222,333333333333"),
    ("CLUSTERS", "1 to 63 letters", "orders,|orders--next"),
    ("CLUSTERS", "write each one once", "orders,ORDERS"),
    ("SHARE_KMS_KEY_ID", "own customer-managed key", "alias/aws/rds"),
    ("SHARES_TO_KEEP", "a whole number from 1", "0"),
    ("SHARE_SCHEDULE", "cron(minutes hours", "weekly"),
    ("NOTIFICATION_TOPIC_ARN", "the ARN of a standard SNS topic", "aurora-refresh"),
]


@pytest.mark.parametrize(
    ("stage", "name", "right", "value"),
    [
        (stage, name, right, value)
        for stage, rows in ((STAGE, WRONG), (SHARING, WRONG_IN_PRODUCTION))
        for name, right, values in rows
        for value in values.split("|")
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    stage: dict[str, str], name: str, right: str, value: str
) -> None:
    (problem,) = problems(stage, **{name: value})
    assert problem.startswith(f"{name} is {value!r}")
    assert right in problem


def of_two(first: str, second: str) -> dict[str, str]:
    """Return a stage of two databases, each given by its engine, version and perhaps cluster."""
    stage, names = dict(TWO), ("ENGINE", "ENGINE_VERSION", "SOURCE_CLUSTER")
    for prefix, facts in (("RDS", first), ("DOCS", second)):
        values = zip(names, facts.split(), strict=False)
        stage |= {f"{prefix}_{name}": value for name, value in values}
    return stage


COPYING = STAGE | {"RDS_COPY_KMS_KEY_ID": KEY}
REMOTE = COPYING | {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "us-east-1"}
HOME = {"AWS_REGION": "us-east-1", "SOURCE_REGION": "us-east-1"}
CHINA = "cn-north-1"
SAME_DATA = "RDS_SOURCE_CLUSTER, DOCS_SOURCE_CLUSTER do not distinguish two databases of one"


@pytest.mark.parametrize(
    ("stage", "changes", "problem"),
    [
        (SHARING, STAGE, "SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT are both set: set SOURCE_ACCOUNT"),
        # Copied and not edited, it would restore one database from another one's data.
        (
            STAGE,
            {LATEST_NAME: "/latest", CURRENT_NAME: "latest"},
            f"{LATEST_NAME}, {CURRENT_NAME} name the same parameter '/latest': write",
        ),
        # What cannot be read is not compared.
        (of_two("docdb 5", "docdb five"), {}, "DOCS_ENGINE_VERSION is 'five'"),
        # The restored cluster is found by its stack.
        (STAGE, {"RDS_AFTER_RESTORE": MACHINE}, "RDS_STACK_NAME is missing: RDS_AFTER_RESTORE"),
        (
            STAGE,
            {"MAINTENANCE_WINDOW": "08:00-17:00 Europe/Amsterdam"},
            "RESTORE_SCHEDULE, MAINTENANCE_WINDOW do not meet: cron(0 4 ? * SUN *) does not fire ",
        ),
        # One of two databases could get the other's data, or its stack show the other's cluster.
        (of_two("docdb 5", "docdb 5.4"), {}, f"{SAME_DATA} engine and version (docdb 5, "),
        (of_two("docdb 5.4", "docdb 5 orders"), {}, SAME_DATA),
        (of_two("docdb 5 orders", "docdb 5"), {}, SAME_DATA),
        (of_two("docdb 5 orders", "docdb 5 ORDERS"), {}, SAME_DATA),
        (
            TWO,
            {"RDS_STACK_NAME": "data", "DOCS_STACK_NAME": "data/Orders"},
            "RDS_STACK_NAME, DOCS_STACK_NAME do not distinguish two clusters (data, data/Orders): ",
        ),
        # What another Region forbids.
        (REMOTE, {"RDS_COPY_KMS_KEY_ID": ""}, "RDS_COPY_KMS_KEY_ID is missing: what production"),
        (REMOTE, {"RDS_ENGINE": "docdb"}, "RDS_ENGINE is 'docdb': DocumentDB copies a share in"),
        (REMOTE, {"SOURCE_REGION": CHINA}, "SOURCE_REGION is 'cn-north-1': AWS copies no share"),
        (REMOTE, {"AWS_DEFAULT_REGION": CHINA}, "SOURCE_REGION is 'us-east-1': AWS copies no"),
        # The nearest known name may have been meant.
        (STAGE, {"RDS_SOURCE_CLUSTRE": "x"}, "RDS_SOURCE_CLUSTRE is unknown: RDS_SOURCE_CLUSTER"),
        (STAGE, {"MAX_SNAPSHOT_AGE": "9"}, "MAX_SNAPSHOT_AGE is unknown: MAX_SNAPSHOT_AGE_DAYS"),
        (STAGE, {"RDS_KMS_KEY_ID": KEY}, "RDS_KMS_KEY_ID is unknown: RDS_COPY_KMS_KEY_ID"),
        (STAGE, {"DATABASE": "RDS"}, "DATABASE is unknown: DATABASES may be meant"),
        (SHARING, {"SHARE_TO_KEEP": "1"}, "SHARE_TO_KEEP is unknown: SHARES_TO_KEEP may be meant"),
    ],
)
def test_settings_that_do_not_go_together_and_probable_typos_are_refused(
    stage: dict[str, str], changes: dict[str, str | None], problem: str
) -> None:
    (found,) = problems(stage, **changes)
    assert found.startswith(problem)


def test_what_is_near_a_contradiction_is_accepted() -> None:
    # The stack of a database that is called SSM is no parameter.
    named = {name.replace("RDS", "SSM"): value for name, value in STAGE.items()}
    settings.load(named | {"DATABASES": "SSM", "SSM_STACK_NAME": "data"})
    settings.load(of_two("docdb 5", "aurora-mysql 5"))
    settings.load(of_two("docdb 5.1", "docdb 5.10"))
    settings.load(of_two("docdb 5 orders", "docdb 5 billing"))
    for own in (REMOTE | {"SOURCE_REGION": "eu-west-1"}, STAGE | HOME):
        assert settings.load(own).source_region is None


def test_a_deployed_function_does_not_look_for_typos() -> None:
    """Its deployment has, and every cold start would pay for it."""
    acceptance(RDS_STACK="x", AWS_LAMBDA_FUNCTION_NAME="aurora-refresh-a")


# Those that come nearest to a setting's name.
SURROUNDINGS = """
AWS_DEFAULT_REGION LAMBDA_TASK_ROOT CI_PIPELINE_SOURCE CODEBUILD_BUILD_ID SOURCE_DATE_EPOCH
SOURCE_VERSION RDS_HOSTNAME RDS_PORT RDS_DB_NAME RDS_USERNAME RDS_PASSWORD DATABASE_URL MAX_JOBS
CONTAINER_ENGINE OPERATOR_ARN DATABASE_BACKUP_SNAPSHOT_ID_ARN MAIN_PIPELINE_ARN
RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN
"""


def test_nothing_that_lambda_chalice_ci_or_a_shell_sets_is_a_typo() -> None:
    surroundings = dict.fromkeys(SURROUNDINGS.split(), "x")
    for stage in (STAGE, SHARING):
        assert settings.load(surroundings | stage) == settings.load(stage)
