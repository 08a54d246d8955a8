"""An acceptance stage's environment variables as one validated, frozen object."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Any, NamedTuple

from chalicelib.domain.copies import CopyPolicy
from chalicelib.domain.database import Database
from chalicelib.domain.deployment import StackReference
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.hold import Hold
from chalicelib.domain.schedule import (
    Cadence,
    Expression,
    Window,
    day,
    ever_runs,
    last_run,
    next_run,
)
from chalicelib.domain.snapshots import Criteria, version_matches
from chalicelib.settings.variables import (
    Variable,
    account_of,
    at_least_one,
    cluster_identifier,
    key_of,
    matching,
    probable_typos,
    read,
    topic_arn,
    whole_number,
)

Values = Mapping[str, Any]

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
        problems: list[Problem] = []
        stage = read(environment, _STAGE, problems)
        prefixes = stage.get("DATABASES", ())
        by_prefix = {
            prefix: read(environment, _PER_DATABASE, problems, prefix) for prefix in prefixes
        }
        problems += _parameters_used_twice(stage, by_prefix)
        for (one, first), (other, second) in combinations(by_prefix.items(), 2):
            problems += _overlap(one, first, other, second)
        source_region, own_region = stage.get("SOURCE_REGION"), environment.get(_OWN_REGION, "")
        if source_region == own_region:
            source_region = None
        if source_region:
            problems += _what_another_region_forbids(source_region, own_region, by_prefix)
        problems += _names_too_long_for_a_tag(by_prefix)
        problems += _work_on_an_unknown_cluster(by_prefix)
        problems += _schedules_that_never_meet(stage)
        problems += _typos(environment, prefixes)
        if problems:
            raise SettingsError(problems)
        return cls(
            pipeline_parameter=stage["SSM_MAIN_CICD_NAME"],
            databases=tuple(
                _database(prefix, stage["SOURCE_ACCOUNT"], values)
                for prefix, values in by_prefix.items()
            ),
            update_schedule=stage["UPDATE_SCHEDULE"],
            restore_schedule=stage["RESTORE_SCHEDULE"],
            cadence=Cadence(stage["REFRESH_EVERY_WEEKS"], stage["REFRESH_ANCHOR_DATE"]),
            window=stage["MAINTENANCE_WINDOW"],
            max_age=stage["MAX_SNAPSHOT_AGE_DAYS"],
            topic_arn=stage["NOTIFICATION_TOPIC_ARN"],
            chat_topic_arn=stage["CHAT_TOPIC_ARN"],
            hold_parameter=stage["SSM_REFRESH_HOLD_NAME"],
            pin_api_enabled=stage["PIN_API_ENABLED"],
            source_region=source_region,
        )

    @property
    def names(self) -> list[str]:
        """The names of the databases."""
        return [database.name for database in self.databases]

    @property
    def has_copies(self) -> bool:
        """Whether any database is restored from own copies."""
        return any(database.copy_policy for database in self.databases)

    @property
    def promotion_parameters(self) -> tuple[str, ...]:
        """The names of the parameters that a promotion reads."""
        names = [self.pipeline_parameter]
        for database in self.databases:
            names += [database.latest_parameter, database.current_parameter]
        if self.hold_parameter:
            names.append(self.hold_parameter)
        return tuple(names)

    def next_update(self, now: datetime) -> datetime | None:
        """Return when the next update runs, at any hour; None for a rate."""
        return next_run(self.update_schedule, self.cadence, self.window.whole_day(), now)

    def next_restore(self, now: datetime, hold: Hold | None) -> datetime | None:
        """Return when the next scheduled promotion runs, inside the window and after `hold`.

        Return None for a rate.
        """
        not_before = hold.until if hold else date.min
        return next_run(self.restore_schedule, self.cadence, self.window, now, not_before)

    def last_restore(self, now: datetime) -> datetime | None:
        """Return when the schedule was last due to promote; None for a rate."""
        return last_run(self.restore_schedule, self.cadence, self.window, now)

    def skipped_update(self, restore: datetime) -> datetime | None:
        """Return the last update before a promotion if it is skipped as off-week; None for a rate."""
        weekly, whole_day = self.cadence._replace(every_weeks=1), self.window.whole_day()
        update = last_run(self.update_schedule, weekly, whole_day, restore)
        acts = update is None or self.cadence.is_on_week(self.window.date_of(update))
        return None if acts else update


def _database(prefix: str, account: str, values: Values) -> Database:
    criteria = Criteria(
        account=account,
        engine=values["{}_ENGINE"],
        engine_version=values["{}_ENGINE_VERSION"],
        cluster=values["{}_SOURCE_CLUSTER"],
    )
    latest = values["SSM_{}_LATEST_SNAPSHOT_NAME"]
    key = values["{}_COPY_KMS_KEY_ID"]
    return Database(
        name=prefix.lower(),
        latest_parameter=latest,
        current_parameter=values["SSM_{}_CURRENT_SNAPSHOT_NAME"],
        criteria=criteria,
        copy_policy=CopyPolicy(criteria, key, values["{}_COPIES_TO_KEEP"], latest) if key else None,
        stack=values["{}_STACK_NAME"],
        after_restore=values["{}_AFTER_RESTORE"],
    )


def _what_another_region_forbids(
    region: str, own_region: str, by_prefix: Mapping[str, Values]
) -> Iterator[Problem]:
    """https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-copy-snapshot.html"""
    if "cn-" in (region[:3], own_region[:3]):
        detail = (
            f"is {region!r}: AWS copies no share to or from another Region in China; remove it, and "
            "share in the stage's own Region"
        )
        yield Problem(("SOURCE_REGION",), detail)
    for prefix, values in by_prefix.items():
        if values.get("{}_ENGINE") == "docdb":
            # https://docs.aws.amazon.com/documentdb/latest/developerguide/API_CopyDBClusterSnapshot.html
            detail = (
                f"is 'docdb': DocumentDB copies a share in its own Region only, and SOURCE_REGION is "
                f"{region}; deploy this database in that Region, or share it in the stage's own"
            )
            yield Problem((f"{prefix}_ENGINE",), detail)
        elif values.get("{}_COPY_KMS_KEY_ID", "") is None:
            detail = (
                f"is missing: what production shares in another Region, {region}, has to be copied; "
                "write the id, ARN or alias of acceptance's own customer-managed key"
            )
            yield Problem((f"{prefix}_COPY_KMS_KEY_ID",), detail, missing=True)


def _parameters_used_twice(stage: Values, by_prefix: Mapping[str, Values]) -> list[Problem]:
    """One parameter in two roles would restore one database from another one's data.

    To a policy, a name with a / in front is the same as one without.
    """
    uses: dict[str, dict[str, str]] = {}
    for prefix, values in [("", stage), *by_prefix.items()]:
        for name, value in values.items():
            if name.startswith("SSM_") and value is not None:
                uses.setdefault(value.removeprefix("/"), {})[name.format(prefix)] = value
    same = "name the same parameter {!r}: write a different one for each"
    return [
        Problem(tuple(found), same.format(next(iter(found.values()))))
        for found in uses.values()
        if len(found) > 1
    ]


def _overlap(one: str, first: Values, other: str, second: Values) -> Iterator[Problem]:
    """Yield each reason why one of two databases could be taken for the other."""
    facts = ("{}_ENGINE", "{}_ENGINE_VERSION", "{}_SOURCE_CLUSTER")
    if all(
        fact in first and fact in second for fact in facts
    ):  # what is missing is another problem
        engine, version, cluster = (first[fact] for fact in facts)
        other_engine, other_version, other_cluster = (second[fact] for fact in facts)
        if (
            engine == other_engine
            and (version_matches(version, other_version) or version_matches(other_version, version))
            and (None in (cluster, other_cluster) or cluster == other_cluster)
        ):
            yield Problem(
                (f"{one}_SOURCE_CLUSTER", f"{other}_SOURCE_CLUSTER"),
                f"do not distinguish two databases of one engine and version ({engine} {version}, "
                f"{engine} {other_version}): write a different cluster for each, or one could be "
                "restored from the other's snapshot",
            )
    stack, other_stack = first.get("{}_STACK_NAME"), second.get("{}_STACK_NAME")
    if stack and other_stack and stack.overlaps(other_stack):
        yield Problem(
            (f"{one}_STACK_NAME", f"{other}_STACK_NAME"),
            f"do not distinguish two clusters ({stack}, {other_stack}): write STACK/LOGICAL-ID for "
            "each",
        )


def _names_too_long_for_a_tag(by_prefix: Mapping[str, Values]) -> Iterator[Problem]:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_Tag.html"""
    for prefix, values in by_prefix.items():
        length = len(values.get("SSM_{}_LATEST_SNAPSHOT_NAME") or "")
        if values.get("{}_COPY_KMS_KEY_ID") and length > 256:
            detail = (
                f"has {length} characters: copies have it as a tag, so write a name of at most 256"
            )
            yield Problem((f"SSM_{prefix}_LATEST_SNAPSHOT_NAME",), detail)


def _work_on_an_unknown_cluster(by_prefix: Mapping[str, Values]) -> Iterator[Problem]:
    for prefix, values in by_prefix.items():
        if values.get("{}_AFTER_RESTORE") and values.get("{}_STACK_NAME", "") is None:
            detail = (
                f"is missing: {prefix}_AFTER_RESTORE runs on the restored cluster, which is found by its "
                "stack; write the name of the CloudFormation stack that deploys the database"
            )
            yield Problem((f"{prefix}_STACK_NAME",), detail, missing=True)


def _schedules_that_never_meet(stage: Values) -> Iterator[Problem]:
    names = ("UPDATE_SCHEDULE", "RESTORE_SCHEDULE", "REFRESH_EVERY_WEEKS", "REFRESH_ANCHOR_DATE")
    if not all(name in stage for name in (*names, "MAINTENANCE_WINDOW")):
        return  # what is missing is a problem of its own
    update, restore, weeks, anchor = (stage[name] for name in names)
    cadence, window = Cadence(weeks, anchor), stage["MAINTENANCE_WINDOW"]
    on_weeks = f"in an on-week ({weeks} weeks, from {anchor}) within five years"
    if not ever_runs(update, cadence, window.whole_day()):
        yield Problem(("UPDATE_SCHEDULE",), f"is {str(update)!r}, which does not fire {on_weeks}")
    if not ever_runs(restore, cadence, window):
        detail = (
            f"do not meet: {restore} does not fire inside {window} {on_weeks}; write times that lie in "
            "the window, in UTC or followed by a time zone"
        )
        yield Problem(("RESTORE_SCHEDULE", "MAINTENANCE_WINDOW"), detail)


def _typos(environment: Mapping[str, str], prefixes: Iterable[str]) -> Iterator[Problem]:
    if not prefixes:
        return  # DATABASES is wrong, which is a problem of its own
    # A database that DATABASES no longer lists may keep its variables.
    unlisted = [name.removesuffix("_ENGINE") for name in environment if name.endswith("_ENGINE")]
    named_for_another = set(_names(unlisted)) - set(_names(prefixes))
    candidates = {name: environment[name] for name in environment.keys() - named_for_another}
    own = (*_PREFIXES, *(f"{prefix}_" for prefix in prefixes))
    yield from probable_typos(candidates, _names(prefixes), own)


def _age_limit(text: str) -> timedelta | None:
    days = whole_number(text, 0)
    return timedelta(days=days) if days else None


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


def _prefixes(text: str) -> tuple[str, ...]:
    prefixes = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch("[A-Z][A-Z0-9_]*", prefix) for prefix in prefixes):
        raise ValueError(
            "write prefixes of upper-case letters, digits and _, separated by commas, such as "
            "ORDERS,BILLING"
        )
    if len(set(prefixes)) < len(prefixes):
        raise ValueError("write each prefix once")
    return prefixes


def _stack_reference(text: str) -> StackReference:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html"""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9-]{0,127})(?:/([A-Za-z0-9]{1,255}))?", text)
    if not match:
        raise ValueError(
            "write the name of the CloudFormation stack that deploys the database, such as "
            "acceptance-orders, or STACK/LOGICAL-ID of its cluster"
        )
    return StackReference(*match.groups())


def _parameter_name(example: str) -> Callable[[str], str]:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html"""

    def parse(text: str) -> str:
        if (
            len(text) > 1011
            or not re.fullmatch(r"(/?[A-Za-z0-9_.-]+)(/[A-Za-z0-9_.-]+){0,14}", text)
            or ("/" in text and not text.startswith("/"))
            or text.lstrip("/").lower().startswith(("aws", "ssm"))
        ):
            raise ValueError(
                f"write a Parameter Store name such as {example}: at most 1,011 characters, letters, "
                "digits and _.- in up to 15 parts, the first not beginning with aws or ssm; start with "
                "/ if there are several parts"
            )
        return text

    return parse


_STAGE = (
    Variable("SOURCE_ACCOUNT", account_of("production's"), required=True),
    Variable(
        "SOURCE_REGION",
        matching("[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "write production's Region, such as eu-west-1"),
    ),
    Variable(
        "SSM_MAIN_CICD_NAME", _parameter_name("/acceptance/cicd/main-pipeline-name"), required=True
    ),
    Variable("DATABASES", _prefixes, "RDS"),
    Variable("UPDATE_SCHEDULE", Expression.parse, "cron(0 2 ? * SUN *)"),
    Variable("RESTORE_SCHEDULE", Expression.parse, "cron(0 4 ? * SUN *)"),
    Variable("REFRESH_EVERY_WEEKS", at_least_one, "2"),
    Variable("REFRESH_ANCHOR_DATE", day, "2026-01-04"),
    Variable("MAINTENANCE_WINDOW", Window.parse, "00:00-07:00 UTC"),
    Variable("MAX_SNAPSHOT_AGE_DAYS", _age_limit, "14"),
    Variable(
        "NOTIFICATION_TOPIC_ARN", topic_arn("arn:aws:sns:eu-west-1:222222222222:aurora-refresh")
    ),
    Variable("CHAT_TOPIC_ARN", topic_arn("arn:aws:sns:eu-west-1:222222222222:aurora-refresh-chat")),
    Variable("SSM_REFRESH_HOLD_NAME", _parameter_name("/acceptance/refresh/hold")),
    Variable("PIN_API_ENABLED", _switch, "true"),
)

_PER_DATABASE = (
    Variable(
        "SSM_{}_LATEST_SNAPSHOT_NAME",
        _parameter_name("/acceptance/rds/latest-snapshot"),
        required=True,
    ),
    Variable(
        "SSM_{}_CURRENT_SNAPSHOT_NAME",
        _parameter_name("/acceptance/rds/current-snapshot"),
        required=True,
    ),
    Variable(
        "{}_ENGINE",
        matching("|".join(ENGINES), f"write one of {', '.join(ENGINES)}"),
        required=True,
    ),
    Variable(
        "{}_ENGINE_VERSION",
        matching(
            r"[0-9]+(\.[A-Za-z0-9_-]+)*",
            "write an engine version such as 15.4, or its leading parts such as 15",
        ),
        required=True,
    ),
    Variable("{}_SOURCE_CLUSTER", cluster_identifier),
    Variable("{}_STACK_NAME", _stack_reference),
    Variable(
        "{}_AFTER_RESTORE",
        matching(
            r"arn:aws(-[a-z-]+)?:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}",
            "write the ARN of a Step Functions state machine, such as "
            "arn:aws:states:eu-west-1:222222222222:stateMachine:after-restore",
        ),
    ),
    Variable("{}_COPY_KMS_KEY_ID", key_of("acceptance's")),
    Variable("{}_COPIES_TO_KEEP", at_least_one, "3"),
)

# Lambda sets it in every function, and the command line before it starts Chalice.
_OWN_REGION = "AWS_DEFAULT_REGION"

_PREFIXES = (
    "CHAT_",
    "SSM_",
    "SOURCE_",
    "REFRESH_",
    "UPDATE_",
    "RESTORE_",
    "MAINTENANCE_",
    "MAX_",
    "NOTIFICATION_",
    "PIN_",
)


def names_of(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all settings of the databases in `environment`; raise SettingsError."""
    (databases,) = [variable for variable in _STAGE if variable.name == "DATABASES"]
    problems: list[Problem] = []
    prefixes = read(environment, (databases,), problems).get("DATABASES", ())
    if problems:
        raise SettingsError(problems)
    return _names(prefixes)


def _names(prefixes: Iterable[str]) -> list[str]:
    """Return the names of the settings; those of each database follow DATABASES."""
    names = [variable.name for variable in _STAGE]
    end = names.index("DATABASES") + 1
    by_prefix = [each.name.format(prefix) for prefix in prefixes for each in _PER_DATABASE]
    return [*names[:end], *by_prefix, *names[end:]]
