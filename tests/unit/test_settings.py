"""The environment variables of an acceptance and of a production stage."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

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
from tests.stage import STAGE, TWO

LATEST, CURRENT = "SSM_RDS_LATEST_SNAPSHOT_NAME", "SSM_RDS_CURRENT_SNAPSHOT_NAME"
ENGINE = ("RDS_ENGINE", "RDS_ENGINE_VERSION")
HOLD = {"SSM_REFRESH_HOLD_NAME": "/a/hold"}
ACCOUNT = STAGE["SOURCE_ACCOUNT"]
SHARING = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
CRITERIA = Criteria(ACCOUNT, "aurora-postgresql", "15")
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KMS = "arn:aws:kms:eu-west-1:222222222222"
KEY = "alias/acceptance"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"


def acceptance(**changes: str | None) -> Settings:
    """Return the settings of the smallest stage after these changes; None removes a variable."""
    changed = {name: value for name, value in (STAGE | changes).items() if value is not None}
    return Settings.from_environment(changed)


def production(**changes: str) -> ProductionSettings:
    return ProductionSettings.from_environment(SHARING | changes)


def problems(environment: dict[str, str], **changes: str | None) -> list[str]:
    """Return the problems of the stage after these changes; None removes a variable."""
    changed = {name: value for name, value in (environment | changes).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        settings.load(changed)
    return [str(problem) for problem in caught.value.problems]


def only_problem(environment: dict[str, str], **changes: str | None) -> str:
    (problem,) = problems(environment, **changes)
    return problem


# --- what is read ---------------------------------------------------------------------------------


def test_an_acceptance_stage_of_required_variables_gets_the_documented_defaults() -> None:
    assert acceptance() == Settings(
        pipeline_parameter="/acceptance/cicd/main-pipeline-name",
        databases=(Database("rds", STAGE[LATEST], STAGE[CURRENT], CRITERIA),),
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


MONDAY = Expression.parse("cron(30 1 ? * MON *)")
NIGHT = "22:00-06:00 Europe/Amsterdam"


@pytest.mark.parametrize(
    ("name", "value", "changes"),
    [
        ("SSM_MAIN_CICD_NAME", "/" + "a" * 1010, {"pipeline_parameter": "/" + "a" * 1010}),
        ("UPDATE_SCHEDULE", str(MONDAY), {"update_schedule": MONDAY}),
        ("RESTORE_SCHEDULE", str(MONDAY), {"restore_schedule": MONDAY}),
        ("REFRESH_EVERY_WEEKS", "1", {"cadence": Cadence(1, date(2026, 1, 4))}),
        ("REFRESH_ANCHOR_DATE", "2026-02-01", {"cadence": Cadence(2, date(2026, 2, 1))}),
        ("MAINTENANCE_WINDOW", NIGHT, {"window": Window.parse(NIGHT)}),
        ("MAX_SNAPSHOT_AGE_DAYS", "9", {"max_age": timedelta(days=9)}),
        ("MAX_SNAPSHOT_AGE_DAYS", "0", {"max_age": None}),
        ("NOTIFICATION_TOPIC_ARN", TOPIC, {"topic_arn": TOPIC}),
        ("CHAT_TOPIC_ARN", TOPIC, {"chat_topic_arn": TOPIC}),
        ("SSM_REFRESH_HOLD_NAME", "/a/hold", {"hold_parameter": "/a/hold"}),
        ("PIN_API_ENABLED", "False", {"pin_api_enabled": False}),
    ],
)
def test_every_variable_of_an_acceptance_stage_is_read(
    name: str, value: str, changes: dict[str, Any]
) -> None:
    assert acceptance(**{name: value}) == acceptance()._replace(**changes)


@pytest.mark.parametrize(
    ("name", "value", "changes"),
    [
        (LATEST, "latest", {"latest_parameter": "latest"}),
        (CURRENT, "current", {"current_parameter": "current"}),
        ("RDS_ENGINE", "docdb", {"criteria": CRITERIA._replace(engine="docdb")}),
        (
            "RDS_ENGINE_VERSION",
            "8.0.my_2",
            {"criteria": CRITERIA._replace(engine_version="8.0.my_2")},
        ),
        ("RDS_SOURCE_CLUSTER", "Prod-1", {"criteria": CRITERIA._replace(cluster="prod-1")}),
        ("RDS_STACK_NAME", "data", {"stack": StackReference("data")}),
        ("RDS_STACK_NAME", "data/Rds2", {"stack": StackReference("data", "Rds2")}),
        ("RDS_AFTER_RESTORE", MACHINE, {"after_restore": MACHINE}),
        ("RDS_COPY_KMS_KEY_ID", KEY, {"copy_policy": CopyPolicy(CRITERIA, KEY, 3, STAGE[LATEST])}),
    ],
)
def test_every_variable_of_a_database_is_read(
    name: str, value: str, changes: dict[str, Any]
) -> None:
    (default,) = acceptance(RDS_STACK_NAME="stack").databases
    found = acceptance(**{"RDS_STACK_NAME": "stack", name: value})
    assert found.databases == (default._replace(**changes),)


def test_several_databases_are_those_that_are_listed_each_with_its_own_variables() -> None:
    found = settings.load(TWO | {"DATABASES": "RDS, DOCS", "DOCS_COPY_KMS_KEY_ID": KEY} | HOLD)
    rds, docs = found.databases
    assert (rds, found.names) == (acceptance().databases[0], ["rds", "docs"])
    assert docs.copy_policy == CopyPolicy(docs.criteria, KEY, 3, "/acceptance/docs/latest")
    assert found.has_copies
    assert found.promotion_parameters == (
        "/acceptance/cicd/main-pipeline-name",
        *(STAGE[LATEST], STAGE[CURRENT], "/acceptance/docs/latest", "/acceptance/docs/current"),
        "/a/hold",
    )


def test_copies_are_made_under_a_key_and_only_then() -> None:
    assert acceptance(RDS_COPIES_TO_KEEP="5") == acceptance()
    assert not acceptance().has_copies
    (database,) = acceptance(RDS_COPIES_TO_KEEP="5", RDS_COPY_KMS_KEY_ID=KEY).databases
    assert database.copy_policy == CopyPolicy(CRITERIA, KEY, 5, STAGE[LATEST])


def test_every_variable_of_a_production_stage_is_read_or_has_its_default() -> None:
    every_saturday, every_night = "cron(0 22 ? * SAT *)", "cron(0 1 * * ? *)"
    assert production() == ProductionSettings(
        ("orders",), "222222222222", None, 3, Expression.parse(every_saturday), None
    )
    found = production(
        CLUSTERS="Orders, billing",
        SHARE_KMS_KEY_ID=KEY_ID,
        SHARES_TO_KEEP="5",
        SHARE_SCHEDULE=every_night,
        NOTIFICATION_TOPIC_ARN=TOPIC,
    )
    clusters, schedule = ("orders", "billing"), Expression.parse(every_night)
    assert found == ProductionSettings(clusters, "222222222222", KEY_ID, 5, schedule, TOPIC)
    assert found.policy("daily") == SharePolicy("daily", "222222222222", KEY_ID, 5)


def test_a_stage_is_of_the_account_whose_variable_it_has() -> None:
    assert settings.load(SHARING) == production()
    assert settings.load(STAGE) == acceptance()
    assert settings.load(SHARING).names == []
    assert settings.load(TWO).names == ["rds", "docs"]


@pytest.mark.parametrize(
    ("changes", "skipped"),
    [
        ({}, None),
        ({"UPDATE_SCHEDULE": "cron(0 22 ? * SAT *)"}, "2026-01-17T22:00Z"),
        ({"UPDATE_SCHEDULE": "cron(0 5 * * ? *)"}, "2026-01-17T05:00Z"),
        # The update is on Saturday at 21:00 there.
        ({"MAINTENANCE_WINDOW": "00:00-07:00 America/New_York"}, "2026-01-18T02:00Z"),
        (
            {"UPDATE_SCHEDULE": "cron(0 22 ? * SAT *)", "REFRESH_ANCHOR_DATE": "2026-01-03"},
            None,
        ),
        ({"UPDATE_SCHEDULE": "cron(0 22 ? * SAT *)", "REFRESH_EVERY_WEEKS": "1"}, None),
        ({"UPDATE_SCHEDULE": "rate(1 day)"}, None),
    ],
)
def test_an_update_that_is_skipped_just_before_a_refresh_is_found(
    changes: dict[str, str], skipped: str | None
) -> None:
    restore = datetime(2026, 1, 18, 4, 30, tzinfo=UTC)
    expected = datetime.fromisoformat(skipped) if skipped else None
    assert acceptance(**changes).skipped_update(restore) == expected


@pytest.mark.parametrize(
    ("environment", "found"),
    [(SHARING | STAGE, "are both set"), ({"SOURCE_ACCOUNT": ""}, "are both missing")],
)
def test_a_stage_of_both_accounts_or_of_neither_is_refused(
    environment: dict[str, str], found: str
) -> None:
    expected = f"SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT {found}: set SOURCE_ACCOUNT in an acceptance "
    assert only_problem(environment).startswith(expected)


@pytest.mark.parametrize(
    ("stage", "name", "typo"),
    [
        (STAGE | {"SOURCE_REGION": "eu-west-1"}, "SOURCE_ACCOUNT", "SOURCE_ACOUNT"),
        (SHARING, "SHARE_WITH_ACCOUNT", "SHARE_WITH_ACOUNT"),
    ],
)
def test_an_account_that_is_misspelled_is_named(
    stage: dict[str, str], name: str, typo: str
) -> None:
    _, found = problems(stage, **{name: None, typo: ACCOUNT})
    assert found == f"{typo} is unknown: {name} may be meant; correct or remove it"


def test_the_names_of_a_stage_s_settings_are_those_of_its_kind_and_databases() -> None:
    assert "SHARES_TO_KEEP" in settings.names_of(SHARING)
    names = settings.names_of(TWO)
    assert names[:4] == ["SOURCE_ACCOUNT", "SOURCE_REGION", "SSM_MAIN_CICD_NAME", "DATABASES"]
    assert names[4] == "SSM_RDS_LATEST_SNAPSHOT_NAME"
    assert {"RDS_STACK_NAME", "DOCS_STACK_NAME"} <= set(names)
    with pytest.raises(SettingsError, match="upper-case"):
        settings.names_of({"DATABASES": "rds"})


UNUSED = ("RDS_SOURCE_CLUSTER", "MAINTENANCE_WINDOW", "RDS_COPY_KMS_KEY_ID", "MAX_AGE_DAYS")


@pytest.mark.parametrize("name", UNUSED)
def test_an_empty_variable_means_the_same_as_none(name: str) -> None:
    assert acceptance(**{name: ""}) == acceptance()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("RESTORE_SCHEDULE", "rate(99999 days)"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws-us-gov:sns:us-gov-west-1:222222222222:x"),
        ("NOTIFICATION_TOPIC_ARN", "arn:aws-cn:sns:cn-north-1:222222222222:x"),
        ("RDS_COPY_KMS_KEY_ID", f"{KEY_ID}|mrk-1234abcd12ab34cd56ef1234567890ab"),
        ("RDS_COPY_KMS_KEY_ID", "alias/acceptance/rds_2-copies|alias/awsome|alias/" + "a" * 250),
        ("RDS_COPY_KMS_KEY_ID", f"{KMS}:key/{KEY_ID}|{KMS}:alias/acceptance"),
        ("RDS_COPY_KMS_KEY_ID", f"arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/{KEY_ID}"),
    ],
)
def test_a_value_at_its_limit_is_accepted(name: str, values: str) -> None:
    for value in values.split("|"):
        acceptance(**{name: value})


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "required"),
    [
        (Settings, ["SOURCE_ACCOUNT", "SSM_MAIN_CICD_NAME", LATEST, CURRENT, *ENGINE]),
        (ProductionSettings, ["SHARE_WITH_ACCOUNT", "CLUSTERS"]),
    ],
)
def test_every_problem_of_an_empty_stage_is_reported_at_once(
    kind: type[Settings | ProductionSettings], required: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        kind.from_environment({})
    assert [problem.names for problem in caught.value.problems] == [(name,) for name in required]
    assert all(problem.missing for problem in caught.value.problems)
    assert f"wrong:\n  - {required[0]} is missing: write " in str(caught.value)


WRONG = [
    ("SOURCE_ACCOUNT", "12 digits", "12345|１１１１１１１１１１１１|111111111111\n"),
    ("SSM_MAIN_CICD_NAME", "not beginning with aws or ssm", "a name|/a/|/aws/cicd|ssm-cicd"),
    ("SSM_MAIN_CICD_NAME", "up to 15 parts", f"acceptance/cicd|{'/a' * 16}|/{'a' * 1011}"),
    ("SSM_REFRESH_HOLD_NAME", "Parameter Store name", "hold me"),
    ("DATABASES", "upper-case", "rds|RDS,"),
    ("DATABASES", "once", "RDS,RDS"),
    ("RDS_ENGINE", "aurora-postgresql, aurora-mysql, docdb, neptune", "postgres"),
    ("RDS_ENGINE_VERSION", "15.4", "15.|latest"),
    ("RDS_SOURCE_CLUSTER", "1 to 63 letters", f"orders--prod|orders-|{'a' * 64}"),
    ("RDS_SOURCE_CLUSTER", "1 to 63 letters", f"{'a-' * 62}a|\N{KELVIN SIGN}ims"),
    ("RDS_STACK_NAME", "STACK/LOGICAL-ID", "1-data|acceptance_data|data/Orders-1|data/"),
    ("RDS_STACK_NAME", "STACK/LOGICAL-ID", f"data/Orders/x|{'a' * 129}|{MACHINE}"),
    ("RDS_AFTER_RESTORE", "a Step Functions state machine", f"after-restore|{MACHINE}:1|{TOPIC}"),
    ("RDS_COPY_KMS_KEY_ID", "acceptance's own customer-managed key", "acceptance|alias/|a key"),
    ("RDS_COPY_KMS_KEY_ID", "not the default key aws/rds", f"alias/aws/rds|{KMS}:alias/aws/rds"),
    ("RDS_COPY_KMS_KEY_ID", "customer-managed", f"alias/acceptance copies|alias/{'a' * 251}"),
    ("RDS_COPY_KMS_KEY_ID", "customer-managed", f"{KEY_ID.upper()}| {KEY_ID}|{KMS}:{KEY_ID}"),
    ("RDS_COPY_KMS_KEY_ID", "customer-managed", f"key/{KEY_ID}|{KMS[:-1]}:alias/x"),
    ("RDS_COPY_KMS_KEY_ID", "managed", f"{KMS.replace('aws', 'aws-')}:key/{KEY_ID}"),
    ("RDS_COPIES_TO_KEEP", "from 1 to 9999", "0|all"),
    ("UPDATE_SCHEDULE", "day-of-month", "cron(0 2 * * SUN *)"),
    ("RESTORE_SCHEDULE", "cron(…)", "every sunday"),
    ("REFRESH_EVERY_WEEKS", "from 1 to 9999", "0|1_0|٢"),
    ("REFRESH_ANCHOR_DATE", "2026-01-04", "4 January|2026-02-30|20260104|2026-W01-7|٢026-01-04"),
    ("MAINTENANCE_WINDOW", "IANA", "00:00-07:00 Mars/Olympus"),
    ("MAX_SNAPSHOT_AGE_DAYS", "from 0 to 9999", "-1|two weeks"),
    ("NOTIFICATION_TOPIC_ARN", "arn:aws:sns:", f"aurora-refresh|{TOPIC}.fifo"),
    ("NOTIFICATION_TOPIC_ARN", "standard", TOPIC.replace("aws", "aws-")),
    ("CHAT_TOPIC_ARN", "aurora-refresh-chat", "chat"),
    ("PIN_API_ENABLED", "true or false", "yes"),
]
WRONG_IN_PRODUCTION = [
    ("SHARE_WITH_ACCOUNT", "acceptance's account id, 12 digits", "2222|222222222222,333333333333"),
    ("CLUSTERS", "separate several by commas", "orders,|orders--next"),
    ("CLUSTERS", "write each cluster once", "orders,ORDERS"),
    ("SHARE_KMS_KEY_ID", "production's own customer-managed key", "alias/aws/rds|a key"),
    ("SHARES_TO_KEEP", "a whole number from 1", "0"),
    ("SHARE_SCHEDULE", "cron(…)", "weekly"),
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
    problem = only_problem(stage, **{name: value})
    assert problem.startswith(f"{name} is {value!r}: ")
    assert right in problem


def test_a_wrong_value_hides_no_other() -> None:
    assert len(problems(STAGE, DATABASES="rds", SOURCE_ACCOUNT="x")) == 2
    assert len(problems(SHARING, CLUSTERS=None, SHARES_TO_KEEP="0", SHARE_SCHEDULE="weekly")) == 3


def test_one_parameter_in_two_roles_is_refused() -> None:
    """Copied and not edited, it would restore one database from another one's data."""
    found = only_problem(STAGE, **{CURRENT: STAGE[LATEST]})
    assert found.startswith(f"{LATEST}, {CURRENT} name the same parameter '{STAGE[LATEST]}': write")
    found = only_problem(STAGE, **{LATEST: "/latest", CURRENT: "latest"})
    assert found.startswith(f"{LATEST}, {CURRENT} name the same parameter '/latest': write")


def test_a_parameter_whose_name_no_tag_can_hold_is_refused() -> None:
    """RDS would refuse the copy, at night."""
    problem = only_problem(STAGE, RDS_COPY_KMS_KEY_ID=KEY, **{LATEST: "/" + "a" * 256})
    assert problem.startswith(f"{LATEST} has 257 characters: copies have it as a tag")
    acceptance(**{LATEST: "/" + "a" * 256})
    acceptance(RDS_COPY_KMS_KEY_ID=KEY, **{LATEST: "/" + "a" * 255})


def test_a_missing_or_wrong_setting_of_a_database_is_one_problem() -> None:
    """What cannot be read is neither compared nor measured."""
    missing = only_problem(STAGE, RDS_COPY_KMS_KEY_ID=KEY, **{LATEST: None})
    assert missing.startswith(f"{LATEST} is missing")
    wrong = only_problem(TWO, DOCS_ENGINE="aurora-postgresql", DOCS_ENGINE_VERSION="five")
    assert wrong.startswith("DOCS_ENGINE_VERSION is 'five'")


# --- two databases --------------------------------------------------------------------------------


DATA = ("ENGINE", "ENGINE_VERSION", "SOURCE_CLUSTER")
SAME_DATA = (
    "RDS_SOURCE_CLUSTER, DOCS_SOURCE_CLUSTER do not distinguish two databases of one engine and "
    "version ({}, {}): write a different cluster for each, or one could be restored from the other's "
    "snapshot"
)
STACK = ("STACK_NAME",)
SAME_CLUSTER = (
    "RDS_STACK_NAME, DOCS_STACK_NAME do not distinguish two clusters ({}, {}): write STACK/LOGICAL-ID "
    "for each"
)


@pytest.mark.parametrize(
    ("names", "first", "second", "problem"),
    [
        # The newest snapshot of the wrong database must never win.
        (DATA, "aurora-postgresql 15", "aurora-postgresql 15", SAME_DATA),
        (DATA, "aurora-postgresql 15 orders", "aurora-postgresql 15", SAME_DATA),
        (DATA, "aurora-postgresql 15 orders", "aurora-postgresql 15 ORDERS", SAME_DATA),
        (DATA, "aurora-postgresql 15", "aurora-postgresql 15.4", SAME_DATA),
        (DATA, "aurora-postgresql 15.4 orders", "aurora-postgresql 15", SAME_DATA),
        (DATA, "docdb 5", "aurora-mysql 5", None),
        (DATA, "docdb 5.1", "docdb 5.10", None),
        (DATA, "docdb 5 orders", "docdb 5 billing", None),
        (DATA, "aurora-postgresql 16", "aurora-postgresql 16.6-limitless", None),
        # Each would take the other one's data for its own.
        (STACK, "data", "data", SAME_CLUSTER),
        (STACK, "data", "data/Orders", SAME_CLUSTER),
        (STACK, "data/Orders", "data/Orders", SAME_CLUSTER),
        (STACK, "data/Orders", "data/Billing", None),
        (STACK, "data", "other", None),
        (STACK, "data/Orders", "other/Orders", None),
        (STACK, "data", "", None),
    ],
)
def test_two_databases_that_are_not_distinguished_are_refused(
    names: tuple[str, ...], first: str, second: str, problem: str | None
) -> None:
    environment = dict(TWO)
    for prefix, facts in (("RDS", first), ("DOCS", second)):
        values = zip(names, facts.split(), strict=False)
        environment |= {f"{prefix}_{name}": value for name, value in values}
    if problem is None:
        assert settings.load(environment).names == ["rds", "docs"]
        return
    shown = (" ".join(facts.split()[:2]) for facts in (first, second))
    assert only_problem(environment) == problem.format(*shown)


def test_a_database_that_is_not_listed_may_keep_its_variables() -> None:
    assert settings.load(TWO | {"DATABASES": ""}) == acceptance()


def test_work_on_a_restored_cluster_needs_the_stack_in_which_it_is_found() -> None:
    assert only_problem(STAGE, RDS_AFTER_RESTORE=MACHINE).startswith(
        "RDS_STACK_NAME is missing: RDS_AFTER_RESTORE runs on the restored cluster, which is found by "
    )


# --- what never comes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "name", "schedule"),
    [
        (STAGE, "UPDATE_SCHEDULE", "cron(0 2 30 2 ? *)"),
        (STAGE, "UPDATE_SCHEDULE", "cron(0 2 ? * SUN 2020)"),
        (SHARING, "SHARE_SCHEDULE", "cron(0 2 30 2 ? *)"),
    ],
)
def test_a_schedule_that_never_fires_is_refused(
    stage: dict[str, str], name: str, schedule: str
) -> None:
    problem = only_problem(stage, **{name: schedule})
    assert problem.startswith(f"{name} is '{schedule}'")
    assert "fire" in problem


def test_a_restore_that_never_falls_inside_the_window_is_refused() -> None:
    assert only_problem(STAGE, MAINTENANCE_WINDOW="08:00-17:00 Europe/Amsterdam").startswith(
        "RESTORE_SCHEDULE, MAINTENANCE_WINDOW do not meet: cron(0 4 ? * SUN *) does not fire "
        "inside 08:00-17:00 Europe/Amsterdam in an on-week (2 weeks, from 2026-01-04) within "
    )


def test_an_update_may_run_outside_the_window_and_a_rate_cannot_be_checked() -> None:
    acceptance(UPDATE_SCHEDULE="cron(0 12 ? * SUN *)")
    acceptance(RESTORE_SCHEDULE="rate(7 days)", MAINTENANCE_WINDOW="08:00-17:00 UTC")
    production(SHARE_SCHEDULE="rate(7 days)")


# --- probable typos -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "typo", "known"),
    [
        (STAGE, "RDS_SOURCE_CLUSTRE", "RDS_SOURCE_CLUSTER"),
        (STAGE, "SSM_HOLD_NAME", "SSM_REFRESH_HOLD_NAME"),
        (STAGE, "MAX_AGE_DAYS", "MAX_SNAPSHOT_AGE_DAYS"),
        (STAGE, "UPDATE_CRON", "UPDATE_SCHEDULE"),
        (STAGE, "CHAT_TOPIC", "CHAT_TOPIC_ARN"),
        (STAGE, "DATABASE", "DATABASES"),
        (SHARING, "CLUSTER", "CLUSTERS"),
        (SHARING, "NOTIFICATION_TOPIC", "NOTIFICATION_TOPIC_ARN"),
    ],
)
def test_a_probable_typo_is_named_with_the_nearest_known_name(
    stage: dict[str, str], typo: str, known: str
) -> None:
    expected = f"{typo} is unknown: {known} may be meant; correct or remove it"
    assert only_problem(stage, **{typo: "x"}) == expected


def test_a_deployed_function_does_not_look_for_typos() -> None:
    """Its deployment has, and every cold start would pay for it."""
    acceptance(RDS_STACK="x", AWS_LAMBDA_FUNCTION_NAME="aurora-refresh-a")


SURROUNDINGS = """
_HANDLER _X_AMZN_TRACE_ID AWS_ACCESS_KEY_ID AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_DEFAULT_REGION
AWS_EXECUTION_ENV AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_RUNTIME_API AWS_PROFILE AWS_REGION
AWS_SESSION_TOKEN LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT LANG LC_ALL LD_LIBRARY_PATH PATH PYTHONPATH TZ
CI CHALICE_TEST GITHUB_ACTIONS GITHUB_REF_NAME GITHUB_REPOSITORY RUNNER_OS RUNNER_TEMP BUILD_NUMBER
CI_PIPELINE_SOURCE CI_REGISTRY JENKINS_URL CODEBUILD_BUILD_ID SOURCE_DATE_EPOCH SOURCE_VERSION
RDS_HOSTNAME RDS_PORT RDS_DB_NAME RDS_USERNAME RDS_PASSWORD DATABASE_URL MAX_JOBS MAX_THREADS
HOME USER SHELL EDITOR HOSTNAME MAIL PIP_NO_INDEX MAKEFLAGS STAGE EMAIL PARAMETERS PYTHON TESTS
DOCKER_HOST CONTAINER_ENGINE POWERTOOLS_LOG_LEVEL POWERTOOLS_SERVICE_NAME OPERATOR_ARN
DATABASE_BACKUP_SNAPSHOT_ID_ARN RDS_DATABASE_BACKUP_SNAPSHOT_ID_ARN MAIN_PIPELINE_ARN
"""


@pytest.mark.parametrize("stage", [STAGE, SHARING], ids=["acceptance", "production"])
def test_nothing_that_lambda_chalice_ci_or_a_shell_sets_is_a_typo(stage: dict[str, str]) -> None:
    surroundings = dict.fromkeys(SURROUNDINGS.split(), "x")
    assert settings.load(surroundings | stage) == settings.load(stage)


# --- production in another Region -----------------------------------------------------------------


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
    changes = {"AWS_DEFAULT_REGION": own, "SOURCE_REGION": source}
    found = acceptance(**changes, RDS_COPY_KMS_KEY_ID=KEY if expected else "")
    assert found.source_region == expected


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
    elsewhere = {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "us-east-1"}
    problem = only_problem(STAGE | elsewhere | {"RDS_COPY_KMS_KEY_ID": KEY}, **changes)
    assert problem.startswith(f"{name} is ")
    assert right in problem
