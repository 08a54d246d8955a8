"""An acceptance stage's environment variables as one validated, frozen object."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import chain, combinations
from typing import Any, NamedTuple

from chalicelib.domain import functions
from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import StackReference
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.schedule import Cadence, Expression, Timetable, Window, day
from chalicelib.domain.snapshots import Criteria
from chalicelib.settings.variables import (
    KEY,
    TOPIC,
    Variable,
    at_least_one,
    cluster_identifier,
    list_of,
    matching,
    probable_typos,
    read,
    whole_number,
)

ENGINES = ("aurora-postgresql", "aurora-mysql", "docdb", "neptune")


class Settings(NamedTuple):
    """The settings of an acceptance stage; a `max_age` of None is no limit.

    `source_region` is None if production shares in the stage's own Region.
    """

    pipeline_parameter: str
    databases: tuple[Database, ...]
    update_schedule: Expression
    restore_schedule: Expression
    cadence: Cadence
    window: Window
    max_age: timedelta | None
    topic_arn: str | None
    chat_topic_arn: str | None
    hold_parameter: str | None
    pin_api_enabled: bool
    source_region: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Return the settings in `environment`; raise SettingsError, naming every problem."""
        prefixes = _prefixes_in(environment, [])
        problems: list[Problem] = []
        values = read(environment, variables(prefixes), problems)
        wrong = {name for problem in problems for name in problem.names}
        # Lambda sets both; the command line sets the first before it starts Chalice.
        own_region = environment.get("AWS_DEFAULT_REGION") or environment.get("AWS_REGION") or ""
        source_region = values["SOURCE_REGION"]
        settings = cls(
            pipeline_parameter=values["SSM_MAIN_CICD_NAME"],
            databases=tuple(_database(prefix, values) for prefix in prefixes),
            update_schedule=values["UPDATE_SCHEDULE"],
            restore_schedule=values["RESTORE_SCHEDULE"],
            cadence=Cadence(values["REFRESH_EVERY_WEEKS"], values["REFRESH_ANCHOR_DATE"]),
            window=values["MAINTENANCE_WINDOW"],
            max_age=values["MAX_SNAPSHOT_AGE_DAYS"],
            topic_arn=values["NOTIFICATION_TOPIC_ARN"],
            chat_topic_arn=values["CHAT_TOPIC_ARN"],
            hold_parameter=values["SSM_REFRESH_HOLD_NAME"],
            pin_api_enabled=values["PIN_API_ENABLED"],
            source_region=None if source_region == own_region else source_region,
        )
        contradictions = chain(
            _parameters_used_twice(values),
            *(_overlap(*pair) for pair in combinations(settings.databases, 2)),
            _forbidden_by_region(settings, own_region),
            *map(_incomplete, settings.databases),
            _schedules_that_never_meet(settings),
        )
        # What follows from a wrong value is no problem of its own.
        problems += [each for each in contradictions if wrong.isdisjoint(each.names)]
        if "DATABASES" not in wrong:
            problems += probable_typos(environment, [each.name for each in variables(prefixes)])
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def rules(self) -> Mapping[str, Any]:
        """What invokes each function of the stage: an expression, or the pattern of an event."""
        return {
            functions.UPDATE: str(self.update_schedule.utc),
            functions.RESTORE: str(self.restore_schedule.utc),
            functions.FOLLOW_PIPELINE: functions.RUN_ENDED,
            functions.RECONCILE: functions.POLL,
        }

    @property
    def names(self) -> list[str]:
        """The names of the databases."""
        return [database.name for database in self.databases]

    @property
    def promotion_parameters(self) -> tuple[str, ...]:
        """The names of the parameters that a promotion reads."""
        own = [(each.latest_parameter, each.current_parameter) for each in self.databases]
        hold = [self.hold_parameter] if self.hold_parameter else []
        return (self.pipeline_parameter, *chain.from_iterable(own), *hold)

    @property
    def updates(self) -> Timetable:
        """When the update runs, at any hour."""
        return Timetable(self.update_schedule, self.cadence, self.window.whole_day())

    @property
    def restores(self) -> Timetable:
        """When the schedule promotes, unless there is a hold."""
        return Timetable(self.restore_schedule, self.cadence, self.window)


def _database(prefix: str, values: Mapping[str, Any]) -> Database:
    criteria = Criteria(
        account=values["SOURCE_ACCOUNT"],
        engine=values[f"{prefix}_ENGINE"],
        engine_version=values[f"{prefix}_ENGINE_VERSION"],
        cluster=values[f"{prefix}_SOURCE_CLUSTER"],
    )
    latest = values[f"SSM_{prefix}_LATEST_SNAPSHOT_NAME"]
    key, keep = values[f"{prefix}_COPY_KMS_KEY_ID"], values[f"{prefix}_COPIES_TO_KEEP"]
    return Database(
        name=prefix.lower(),
        latest_parameter=latest,
        current_parameter=values[f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME"],
        criteria=criteria,
        copy_policy=CopyPolicy(criteria, key, keep, latest) if key else None,
        stack=values[f"{prefix}_STACK_NAME"],
        after_restore=values[f"{prefix}_AFTER_RESTORE"],
    )


def _parameters_used_twice(values: Mapping[str, Any]) -> Iterator[Problem]:
    """One parameter in two roles would restore one database from another one's data.

    To a policy, a name with a / in front is the same as one without.
    """
    uses: dict[str, list[str]] = {}
    for name, value in values.items():
        # A database with the prefix SSM has others, such as SSM_STACK_NAME.
        if name.startswith("SSM_") and name.endswith("_NAME") and isinstance(value, str):
            uses.setdefault(value.removeprefix("/"), []).append(name)
    for names in uses.values():
        if len(names) > 1:
            same = f"name the same parameter {values[names[0]]!r}: write a different one for each"
            yield Problem(tuple(names), same)


def _forbidden_by_region(settings: Settings, own_region: str) -> Iterator[Problem]:
    """https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-copy-snapshot.html"""
    region = settings.source_region
    if region is None:
        return
    if "cn-" in (region[:3], own_region[:3]):
        detail = (
            f"is {region!r}: AWS copies no share to or from another Region in China; share in the "
            "stage's own Region"
        )
        yield Problem(("SOURCE_REGION",), detail)
    for each in settings.databases:
        if each.criteria.engine == "docdb":
            # https://docs.aws.amazon.com/documentdb/latest/developerguide/API_CopyDBClusterSnapshot.html
            detail = (
                f"is 'docdb': DocumentDB copies a share in its own Region only, and SOURCE_REGION is "
                f"{region}; deploy this database in that Region, or share it in the stage's own"
            )
            yield Problem((each.setting("ENGINE"),), detail)
        elif each.copy_policy is None:
            detail = (
                f"is missing: what production shares in another Region, {region}, has to be copied; "
                "write the id, ARN or alias of acceptance's own customer-managed key"
            )
            yield Problem((each.setting("COPY_KMS_KEY_ID"),), detail, missing=True)


def _incomplete(database: Database) -> Iterator[Problem]:
    """Yield what a database needs for its after-restore work."""
    if database.after_restore and database.stack is None:
        detail = (
            f"is missing: {database.setting('AFTER_RESTORE')} runs on the restored cluster, which is "
            "found by its stack; write the name of the CloudFormation stack that deploys the database"
        )
        yield Problem((database.setting("STACK_NAME"),), detail, missing=True)


def _overlap(one: Database, other: Database) -> Iterator[Problem]:
    """Yield each reason why one of two databases could be taken for the other."""
    if one.criteria.overlaps(other.criteria):
        engine, versions = one.criteria.engine, (one.criteria, other.criteria)
        found = ", ".join(f"{engine} {each.engine_version}" for each in versions)
        yield Problem(
            (one.setting("SOURCE_CLUSTER"), other.setting("SOURCE_CLUSTER")),
            f"do not distinguish two databases of one engine and version ({found}): write a "
            "different cluster for each, or one could be restored from the other's snapshot",
        )
    if one.stack and other.stack and one.stack.overlaps(other.stack):
        yield Problem(
            (one.setting("STACK_NAME"), other.setting("STACK_NAME")),
            f"do not distinguish two clusters ({one.stack}, {other.stack}): write STACK/LOGICAL-ID "
            "for each",
        )


def _schedules_that_never_meet(settings: Settings) -> Iterator[Problem]:
    cadence, window = settings.cadence, settings.window
    update, restore = settings.update_schedule, settings.restore_schedule
    if None in (*cadence, window, update, restore):
        return  # one that is wrong
    on_weeks = (
        f"in an on-week ({cadence.every_weeks} weeks, from {cadence.anchor}) within five years"
    )
    if not settings.updates.ever_runs():
        yield Problem(("UPDATE_SCHEDULE",), f"is {str(update)!r}, which does not fire {on_weeks}")
    if not settings.restores.ever_runs():
        detail = (
            f"do not meet: {restore} does not fire inside {window} {on_weeks}; write times that lie in "
            "the window, in UTC or followed by a time zone"
        )
        yield Problem(("RESTORE_SCHEDULE", "MAINTENANCE_WINDOW"), detail)


def _age_limit(text: str) -> timedelta | None:
    days = whole_number(text, 0)
    return timedelta(days=days) if days else None


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


def _stack_reference(text: str) -> StackReference:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html"""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9-]{0,127})(?:/([A-Za-z0-9]{1,255}))?", text)
    if not match:
        raise ValueError(
            "write the name of the CloudFormation stack that deploys the database, such as "
            "acceptance-orders, or STACK/LOGICAL-ID of its cluster"
        )
    return StackReference(*match.groups())


# At most 256 characters, because copies are tagged with the name of *latest*.
# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_Tag.html
_PARAMETER = matching(
    r"(?=.{1,256}$)(?!/?(?i:aws|ssm))([A-Za-z0-9_.-]+|(/[A-Za-z0-9_.-]+){1,15})",
    "write a Parameter Store name such as /acceptance/orders/snapshot: at most 256 characters, "
    "letters, digits and _.- in up to 15 parts, the first not beginning with aws or ssm; start with / "
    "if there are several parts",
)
_ACCOUNT = matching("[0-9]{12}", "write production's account id, 12 digits")
_REGION = matching(
    "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "write production's Region, such as eu-west-1"
)
_ENGINE = matching("|".join(ENGINES), f"write one of {', '.join(ENGINES)}")
_VERSION = matching(
    r"[0-9]+(\.[A-Za-z0-9_-]+)*",
    "write an engine version such as 15.4, or its leading parts such as 15",
)
_STATE_MACHINE = matching(
    r"arn:aws(-[a-z-]+)?:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}",
    "write the ARN of a Step Functions state machine, such as "
    "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore",
)
_PREFIX = matching(
    "[A-Z][A-Z0-9_]*",
    "write a prefix of upper-case letters, digits and _; separate several by commas",
)
_DATABASES = Variable("DATABASES", list_of(_PREFIX), "RDS")


def variables(prefixes: Iterable[str]) -> tuple[Variable, ...]:
    """Return all variables; those of each database follow DATABASES."""
    return (
        Variable("SOURCE_ACCOUNT", _ACCOUNT, required=True),
        Variable("SOURCE_REGION", _REGION),
        Variable("SSM_MAIN_CICD_NAME", _PARAMETER, required=True),
        _DATABASES,
        *chain.from_iterable(map(_of_database, prefixes)),
        Variable("UPDATE_SCHEDULE", Expression.parse, "cron(0 2 ? * SUN *)"),
        Variable("RESTORE_SCHEDULE", Expression.parse, "cron(0 4 ? * SUN *)"),
        Variable("REFRESH_EVERY_WEEKS", at_least_one, "2"),
        Variable("REFRESH_ANCHOR_DATE", day, "2026-01-04"),
        Variable("MAINTENANCE_WINDOW", Window.parse, "00:00-07:00 UTC"),
        Variable("MAX_SNAPSHOT_AGE_DAYS", _age_limit, "14"),
        Variable("NOTIFICATION_TOPIC_ARN", TOPIC),
        Variable("CHAT_TOPIC_ARN", TOPIC),
        Variable("SSM_REFRESH_HOLD_NAME", _PARAMETER),
        Variable("PIN_API_ENABLED", _switch, "true"),
    )


def _of_database(prefix: str) -> tuple[Variable, ...]:
    return (
        Variable(f"SSM_{prefix}_LATEST_SNAPSHOT_NAME", _PARAMETER, required=True),
        Variable(f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME", _PARAMETER, required=True),
        Variable(f"{prefix}_ENGINE", _ENGINE, required=True),
        Variable(f"{prefix}_ENGINE_VERSION", _VERSION, required=True),
        Variable(f"{prefix}_SOURCE_CLUSTER", cluster_identifier),
        Variable(f"{prefix}_STACK_NAME", _stack_reference),
        Variable(f"{prefix}_AFTER_RESTORE", _STATE_MACHINE),
        Variable(f"{prefix}_COPY_KMS_KEY_ID", KEY),
        Variable(f"{prefix}_COPIES_TO_KEEP", at_least_one, "3"),
    )


def names_of(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all settings of the databases in `environment`; raise SettingsError."""
    problems: list[Problem] = []
    prefixes = _prefixes_in(environment, problems)
    if problems:
        raise SettingsError(problems)
    return [variable.name for variable in variables(prefixes)]


def _prefixes_in(environment: Mapping[str, str], problems: list[Problem]) -> tuple[str, ...]:
    return read(environment, (_DATABASES,), problems)["DATABASES"] or ()
