"""A stage as `.chalice/config.json` describes it.

Chalice ignores the key `aurora_refresh` of a stage. It says what the settings do not: the main
pipeline of an acceptance stage, the account and the Region of a production stage.

`project` is always the folder that holds app.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from botocore.loaders import create_loader
from chalice.config import Config

from chalicelib import settings
from chalicelib.domain.database import Database
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.functions import API, APP, TRIGGERS, UPDATE
from chalicelib.domain.results import Json
from chalicelib.domain.snapshots import SnapshotArn
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from chalicelib.settings.variables import Variable, matching, read
from cli.output import Failure, WrongUsage

CONFIG = ".chalice/config.json"
OWN_KEY = "aurora_refresh"
# A function that an earlier version deployed.
FORMER = "db-follow-copies"
# Ends the names of a first value of *current*, which `aurora-refresh deploy` takes.
INITIAL = "DATABASE_BACKUP_SNAPSHOT_ID_ARN"
# The answers of `aurora-refresh configure` that are not settings, and their names under OWN_KEY.
PIPELINE, ACCOUNT, REGION = "MAIN_PIPELINE_ARN", "ACCOUNT", "REGION"
OWN_NAMES = {PIPELINE: "main_pipeline_arn", ACCOUNT: "account", REGION: "region"}


# The longest name that Chalice derives from a stage's is a rule's. EventBridge allows 64 characters.
_LONGEST = 64 - len(f"{APP}--{UPDATE}-event")
# The accounts of the examples in the documentation.
_EXAMPLES = {"111111111111", "222222222222"}
# The endings of settings that name what the functions use.
_USED = ("_TOPIC_ARN", "_KMS_KEY_ID", "_AFTER_RESTORE")
# Of all environment variables of a function, in bytes.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_LAMBDA_LIMIT = 4_096
# The major versions of MySQL and PostgreSQL that Aurora supports do not overlap.
_LAST_MYSQL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """What every stage has: its variables, its account and Region.

    `in_vpc` has the functions in a VPC, and `own_roles` the roles that Chalice does not manage, by function.
    """

    name: str
    variables: Mapping[str, str]
    account: str
    region: str
    in_vpc: frozenset[str] = frozenset()
    own_roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """`aws`, or the partition of China, GovCloud or another sovereign cloud."""
        return partition_of(self.region) or "aws"

    def may_restore(self, database: Database, snapshot: SnapshotArn) -> bool:
        """Return whether a snapshot is one of this account or of production's, in the stage's Region.

        Anyone may share a snapshot with the account.
        """
        accounts = (database.criteria.account, self.account)
        return snapshot.account in accounts and snapshot.region == self.region


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceStage(_Stage):
    """A stage that restores; `pipeline` is the main pipeline's name."""

    settings: Settings
    pipeline: str

    @property
    def pipeline_arn(self) -> str:
        """The ARN of the main pipeline, which is in the functions' account and Region."""
        return f"arn:{self.partition}:codepipeline:{self.region}:{self.account}:{self.pipeline}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionStage(_Stage):
    """A stage that shares."""

    settings: ProductionSettings


Stage: TypeAlias = AcceptanceStage | ProductionStage


def load(project: Path, name: str) -> Stage:
    """Return the stage; raise SettingsError, naming every problem, or Failure."""
    check_name(name)
    config = read_config(project)
    body = stages_of(config).get(name)
    if body is None:
        known = ", ".join(stages_of(config)) or "none"
        raise WrongUsage(
            f"{CONFIG} has no stage {name!r}, only: {known}. aurora-refresh configure --stage {name} … adds it"
        )
    return build(name, variables_of(config) | variables_of(body), own_answers(body), config)


def build(
    name: str, variables: Mapping[str, str], own: Mapping[str, str], config: Json | None = None
) -> Stage:
    """Return the stage; raise SettingsError, naming every problem.

    `own` has the answers that are not settings. Contradictions between the two are not checked.
    `config` says which functions are in a VPC or have a role of the company's.
    A stage with neither SOURCE_ACCOUNT nor SHARE_WITH_ACCOUNT counts as an acceptance stage.
    """
    is_production = bool(variables.get(settings.PRODUCTION))
    problems: list[Problem] = []
    own = read(own, _PLACE if is_production else (_MAIN_PIPELINE,), problems)
    if not is_production:
        own |= own[PIPELINE] or {}
    region = own.get(REGION) or ""
    parse = settings.load if is_production else Settings.from_environment
    try:
        parsed = parse({**variables, "AWS_DEFAULT_REGION": region})
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(problems)
    every = (*TRIGGERS, API, FORMER)
    functions = {each: Config(name, each, config_from_disk=config) for each in every}
    in_vpc = {each for each, own in functions.items() if own.subnet_ids and own.security_group_ids}
    own_roles = {x: own.iam_role_arn for x, own in functions.items() if not own.manage_iam_role}
    stage: Json = {
        "name": name,
        "variables": variables,
        "settings": parsed,
        "account": own[ACCOUNT],
        "region": region,
        "in_vpc": frozenset(in_vpc),
        "own_roles": own_roles,
    }
    if is_production:
        return ProductionStage(**stage)
    return AcceptanceStage(**stage, pipeline=own["pipeline"])


@cache
def partition_of(region: str) -> str | None:
    """Return the partition of a Region, which need not exist yet; None if the name is no Region's."""
    for partition in create_loader().load_data("partitions")["partitions"]:
        if re.fullmatch(partition["regionRegex"], region):
            return str(partition["id"])
    return None


def _region(text: str) -> str:
    if not partition_of(text):
        raise ValueError("write production's Region, such as eu-west-1")
    return text


def _pipeline(text: str) -> dict[str, str]:
    """Return where a pipeline is, and its name; raise ValueError."""
    match = re.fullmatch(
        "arn:([a-z-]+):codepipeline:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9.@_-]{1,100})", text
    )
    if not match or partition_of(match[2]) != match[1]:
        raise ValueError(
            "write the main pipeline's ARN, such as "
            "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main, in the account of the databases"
        )
    return {REGION: match[2], ACCOUNT: match[3], "pipeline": match[4]}


_ACCOUNT = matching("[0-9]{12}", "write production's account id, 12 digits")
_MAIN_PIPELINE = Variable(PIPELINE, _pipeline, required=True)
_PLACE = (Variable(ACCOUNT, _ACCOUNT, required=True), Variable(REGION, _region, required=True))


def check_name(stage: str) -> None:
    """Raise Failure for a name that roles, rules and stacks cannot have."""
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9-]{{0,{_LONGEST - 1}}}", stage):
        raise WrongUsage(
            f"STAGE is {stage!r}: write a name such as acceptance, of letters, digits and hyphens, at "
            f"most {_LONGEST} characters, because EventBridge limits the names of rules"
        )


def to_deploy(stage: str) -> str:
    """Return the command that deploys a stage."""
    return f"aurora-refresh deploy --stage {stage}"


def to_change(stage: str, answers: str = "") -> str:
    """Return the commands that change a stage's answers and deploy it."""
    configure = f"aurora-refresh configure --stage {stage} {answers}".rstrip()
    return f"{configure}, and then {to_deploy(stage)}"


def contradictions(stage: Stage) -> list[Problem]:
    """Return settings that are valid by themselves but contradict each other or the stage's account."""
    is_acceptance = isinstance(stage, AcceptanceStage)
    name = settings.ACCEPTANCE if is_acceptance else settings.PRODUCTION
    other, wrong = stage.variables[name], list[_Wrong]()
    if other == stage.account:
        wrong.append((name, other, "this is the stage's own account; write the other one"))
    if not _EXAMPLES.issuperset((other, stage.account)):
        wrong += _examples_left(stage)
    wrong += _elsewhere(stage)
    chat = stage.settings.chat_topic_arn
    if chat and chat == stage.settings.topic_arn:
        right = "people would receive the chat's JSON; write another topic"
        wrong.append(("CHAT_TOPIC_ARN", chat, right))
    wrong += _useless_schedules(stage)
    if isinstance(stage, AcceptanceStage):
        wrong += _wrong_versions(stage)
        region, own = stage.settings.source_region, stage.partition
        if region and partition_of(region) != own:
            right = f"write a Region of the partition {own}, the stage's"
            wrong.append(("SOURCE_REGION", region, right))
    problems = [Problem((name,), f"is {value!r}: {right}") for name, value, right in wrong]
    size = len(json.dumps(dict(stage.variables), separators=(",", ":")))
    if size > _LAMBDA_LIMIT:
        taken = f"take {size:,} bytes, but Lambda allows {_LAMBDA_LIMIT:,}"
        detail = f"and the other settings {taken}: deploy some of them as another stage, or shorten names"
        problems.append(Problem(("DATABASES" if is_acceptance else "CLUSTERS",), detail))
    return problems


# The name of a setting, its value, and what would be right.
_Wrong = tuple[str, str, str]


def _examples_left(stage: Stage) -> Iterator[_Wrong]:
    """Yield each answer that still has an example's account id."""
    own = {ACCOUNT: stage.account}
    if isinstance(stage, AcceptanceStage):
        own = {PIPELINE: stage.pipeline_arn}
    for name, value in {**own, **stage.variables}.items():
        if left := _EXAMPLES.intersection(re.split("[:, ]", value)):
            right = "is an example account of the documentation; write your own"
            yield name, value, f"{left.pop()} {right}"


def _elsewhere(stage: Stage) -> Iterator[_Wrong]:
    """Yield each topic, key and state machine that is not where the functions can use it."""
    for name in settings.names_of(stage.variables):
        value = stage.variables.get(name, "")
        if not name.endswith(_USED) or not value.startswith("arn:"):
            continue
        place, wanted = value.split(":")[3:5], [stage.region, stage.account]
        if not name.endswith("_AFTER_RESTORE") and ":alias/" not in value:
            # Topics and keys may be another account's. A policy cannot grant a key by its alias there.
            place, wanted = place[:1], wanted[:1]
        if place != wanted:
            right = f"the functions cannot use it there; write one in {', '.join(wanted)}"
            yield name, value, right


def _useless_schedules(stage: Stage) -> Iterator[_Wrong]:
    """Yield a schedule that never fires again, or an update that comes too early for each restore."""
    given = stage.settings
    if isinstance(given, ProductionSettings):
        schedule = given.schedule
        if not schedule.is_rate and not next(schedule.fires_after(datetime.now(UTC)), None):
            yield "SHARE_SCHEDULE", str(schedule), "it never fires again; write one that does"
        return
    first = given.updates.next_run(datetime.combine(given.cadence.anchor, time(), UTC))
    restored = first and given.restores.next_run(first)
    if restored is None:  # as for a rate
        return
    updated = given.updates.last_run(restored)
    if updated is None or restored - updated >= timedelta(weeks=1):
        right = f"let it fire in the same on-week, some hours before {given.restore_schedule}"
        missed = "each update comes a week or more before the restore"
        yield "UPDATE_SCHEDULE", str(given.update_schedule), f"{missed}; {right}"


def _wrong_versions(stage: AcceptanceStage) -> Iterator[_Wrong]:
    """Yield each engine version that belongs to the other Aurora engine."""
    for database in stage.settings.databases:
        name, version = database.setting("ENGINE_VERSION"), database.criteria.engine_version
        is_mysql = int(re.split(r"\D", version)[0]) <= _LAST_MYSQL
        if database.criteria.engine == "aurora-mysql" and not is_mysql:
            yield name, version, "the version is PostgreSQL's; write one of MySQL's, such as 8.0"
        elif database.criteria.engine == "aurora-postgresql" and is_mysql:
            yield name, version, "the version is MySQL's; write one of PostgreSQL's, such as 16"


def own_answers(body: Json) -> dict[str, str]:
    """Return the answers under the stage's own key, by the names that `aurora-refresh configure` gives them."""
    own = body.get(OWN_KEY, {})
    return {answer: own[name] for answer, name in OWN_NAMES.items() if name in own}


def variables_of(body: Json) -> dict[str, str]:
    """Return the environment variables of a stage, or those of all stages."""
    return dict(body.get("environment_variables", {}))


def stages_of(config: Json) -> Json:
    """Return every stage's object by name."""
    return dict(config.get("stages", {}))


def read_config(project: Path) -> Json:
    """Return the content of `.chalice/config.json`; raise Failure if it cannot be used."""
    file = project / CONFIG
    if not file.is_file():
        raise WrongUsage(f"there is no {file}: name the folder that holds app.py with --project")
    try:
        config: Json = json.loads(file.read_text(encoding="utf-8"))
        variables = [
            each.get(key, {}).items()
            for level in (config, *stages_of(config).values())  # all stages, and each
            for each in (level, *level.get("lambda_functions", {}).values())
            for key in ("environment_variables", OWN_KEY)
        ]
    except ValueError as error:
        raise Failure(f"{CONFIG} is not JSON: {error}") from error
    except (AttributeError, TypeError) as error:
        raise Failure(
            f"{CONFIG}: the file, stages, functions, environment_variables and {OWN_KEY} must be objects"
        ) from error
    for name, value in chain.from_iterable(variables):
        if not isinstance(value, str):  # which Lambda refuses, and no answer is
            right = f"write {json.dumps(str(value))}"
            raise Failure(f"{CONFIG}: {name} is {json.dumps(value)}, not text: {right}")
    return config


def to_text(document: Json) -> str:
    """Return the document as it is written to a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
