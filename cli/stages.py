"""A stage as `.chalice/config.json` describes it.

Chalice ignores the key `aurora_refresh` of a stage. It says what the settings do not: the main
pipeline of an acceptance stage, the account and the Region of a production stage.

`project` is always the folder that holds app.py.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from botocore.loaders import create_loader

from chalicelib import settings
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.functions import API, APP, NAMES, UPDATE
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from cli.output import Failure

CONFIG = ".chalice/config.json"
OWN_KEY = "aurora_refresh"
TOPIC_KEYS = "topic_kms_key_arns"  # under OWN_KEY, found by `aurora-refresh configure`
# The answers of `aurora-refresh configure` that are no settings, and their names under OWN_KEY.
PIPELINE, ACCOUNT, REGION = "MAIN_PIPELINE_ARN", "ACCOUNT", "REGION"
OWN_NAMES = {PIPELINE: "main_pipeline_arn", ACCOUNT: "account", REGION: "region"}

Json = dict[str, Any]

# The longest name that Chalice derives from a stage's is a rule's. EventBridge allows 64 characters.
_LONGEST = 64 - len(f"{APP}--{UPDATE}-event")
_PIPELINE_ARN = re.compile(
    "arn:([a-z-]+):codepipeline:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9.@_-]{1,100}"
)
_VPC = ("subnet_ids", "security_group_ids")
# The accounts of the examples in the documentation.
_EXAMPLES = {"111111111111", "222222222222"}
# The settings of what the functions use.
_USED = ("_TOPIC_ARN", "_KMS_KEY_ID", "_AFTER_RESTORE")
# Of all environment variables of a function, in bytes.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_LAMBDA_LIMIT = 4_096
# Major versions of MySQL and PostgreSQL that Aurora has do not overlap.
_LAST_MYSQL = 9


class StageError(Failure):
    """A user's mistake; the message says what is wrong, and what would be right."""


class UsageError(StageError):
    """A mistake in the command itself: an option, an answer or a name is missing, unknown or wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What .chalice/config.json says of a stage besides its answers.

    `in_vpc` has the functions that are in a VPC, `topic_keys` the ARNs of the customer-managed keys
    that the topics are under.
    """

    in_vpc: frozenset[str] = frozenset()
    topic_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptanceStage(_Surroundings):
    """A stage that restores; `variables` are its environment variables."""

    name: str
    variables: Mapping[str, str]
    settings: Settings
    pipeline_arn: str

    @property
    def partition(self) -> str:
        """`aws`, or the partition of China, GovCloud or another sovereign cloud."""
        return self.pipeline_arn.split(":")[1]

    @property
    def region(self) -> str:
        """The Region of the main pipeline, and of the functions."""
        return self.pipeline_arn.split(":")[3]

    @property
    def account(self) -> str:
        """The account of the main pipeline, and of the functions."""
        return self.pipeline_arn.split(":")[4]

    @property
    def pipeline(self) -> str:
        """The main pipeline's name."""
        return self.pipeline_arn.split(":")[5]


@dataclass(frozen=True, slots=True)
class ProductionStage(_Surroundings):
    """A stage that shares; `variables` are its environment variables."""

    name: str
    variables: Mapping[str, str]
    settings: ProductionSettings
    account: str
    region: str

    @property
    def partition(self) -> str:
        """`aws`, or the partition of China, GovCloud or another sovereign cloud."""
        return partition_of(self.region) or "aws"


Stage: TypeAlias = AcceptanceStage | ProductionStage


def load(project: Path, name: str) -> Stage:
    """Return the stage; raise StageError, naming every problem."""
    config = read_config(project)
    body = stages_of(config).get(name)
    if body is None:
        known = ", ".join(stages_of(config)) or "none"
        raise UsageError(
            f"{CONFIG} has no stage {name!r}, only: {known}. aurora-refresh configure --stage {name} … adds it"
        )
    variables = variables_of(config) | variables_of(body)
    try:
        return build(name, variables, own_answers(body), config)
    except SettingsError as error:
        listed = "".join(f"\n  - {each}" for each in error.problems)
        raise StageError(f"stage {name!r} has wrong settings:{listed}") from error


def build(
    name: str, variables: Mapping[str, str], own: Mapping[str, str], config: Json | None = None
) -> Stage:
    """Return the stage; raise SettingsError, naming every problem.

    `own` has the answers that are no settings. Contradictions between the two are not looked for.
    `config` says which functions are in a VPC, and the keys of the topics.
    A stage that is not said to be one kind or the other is taken for an acceptance stage.
    """
    kinds = (settings.ACCEPTANCE, settings.PRODUCTION)
    parse = settings.load if any(map(variables.get, kinds)) else Settings.from_environment
    is_production = bool(variables.get(settings.PRODUCTION))
    problems: list[Problem] = []
    for answer in (ACCOUNT, REGION) if is_production else (PIPELINE,):
        value = own.get(answer, "")
        is_right, right = _OWN_VALUES[answer]
        if not is_right(value):
            found = repr(value) if value else "missing"
            problems.append(Problem((answer,), f"is {found}: {right}", missing=not value))
    pipeline = _PIPELINE_ARN.fullmatch(own.get(PIPELINE, ""))
    region = {"AWS_DEFAULT_REGION": pipeline[2]} if pipeline else {}
    try:
        parsed = parse({**variables, **region})
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from error
    if problems:
        raise SettingsError(problems)
    in_vpc = frozenset(
        function
        for function in (*NAMES, API)
        if all(tuned(config or {}, name, function).get(each) for each in _VPC)
    )
    own_key = stages_of(config or {}).get(name, {}).get(OWN_KEY, {})
    more: Json = {"in_vpc": in_vpc, "topic_keys": (*own_key.get(TOPIC_KEYS, ()),)}
    if isinstance(parsed, Settings):
        return AcceptanceStage(name, variables, parsed, own[PIPELINE], **more)
    return ProductionStage(name, variables, parsed, own[ACCOUNT], own[REGION], **more)


@cache
def partition_of(region: str) -> str | None:
    """Return the partition of a Region, which need not exist yet; None if the name is no Region's."""
    for partition in create_loader().load_data("partitions")["partitions"]:
        if re.fullmatch(partition["regionRegex"], region):
            return str(partition["id"])
    return None


def _is_pipeline(text: str) -> bool:
    match = _PIPELINE_ARN.fullmatch(text)
    return match is not None and partition_of(match[2]) == match[1]


# Each is true for a right value.
_OWN_VALUES: dict[str, tuple[Callable[[str], object], str]] = {
    PIPELINE: (
        _is_pipeline,
        (
            "write the main pipeline's ARN, such as "
            "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main, in the account of the databases"
        ),
    ),
    ACCOUNT: (re.compile("[0-9]{12}").fullmatch, "write production's account id, 12 digits"),
    REGION: (partition_of, "write production's Region, such as eu-west-1"),
}


def check_name(stage: str) -> None:
    """Raise StageError for a name that roles, rules and stacks cannot have."""
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9-]{{0,{_LONGEST - 1}}}", stage):
        raise UsageError(
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
    wrong = [*_own_account(stage), *_examples_left(stage), *_elsewhere(stage)]
    chat = stage.settings.chat_topic_arn
    if chat and chat == stage.settings.topic_arn:
        right = "people would receive the chat's JSON; write another topic"
        wrong.append(("CHAT_TOPIC_ARN", chat, right))
    if isinstance(stage, AcceptanceStage):
        wrong += _wrong_versions(stage)
        region, own = stage.settings.source_region, stage.partition
        if region and partition_of(region) != own:
            right = f"write a Region of the partition {own}, the stage's"
            wrong.append(("SOURCE_REGION", region, right))
    problems = [Problem((name,), f"is {value!r}: {right}") for name, value, right in wrong]
    size = len(json.dumps({**stage.variables}, separators=(",", ":")))
    if size > _LAMBDA_LIMIT:
        right = "deploy some of its databases as another stage, or shorten names"
        detail = f"has settings of {size:,} bytes, and Lambda takes {_LAMBDA_LIMIT:,}: {right}"
        problems.append(Problem(("DATABASES",), detail))
    return problems


# The name of a setting, its value, and what would be right.
_Wrong = Iterator[tuple[str, str, str]]


def _other_account(stage: Stage) -> tuple[str, str]:
    """Return the account that shares with the stage's, or with which that shares, and its setting."""
    if isinstance(stage, AcceptanceStage):
        return settings.ACCEPTANCE, stage.settings.databases[0].criteria.account
    return settings.PRODUCTION, stage.settings.share_with


def _own_account(stage: Stage) -> _Wrong:
    """Yield the setting of the other account if it is the stage's own."""
    name, other = _other_account(stage)
    if other == stage.account:
        yield name, other, "this is the stage's own account; write the other one"


def _examples_left(stage: Stage) -> _Wrong:
    """Yield each setting that still has an example's account id."""
    right = "is an example account of the documentation; write your own"
    if {stage.account, _other_account(stage)[1]} <= _EXAMPLES:
        return
    if stage.account in _EXAMPLES and isinstance(stage, AcceptanceStage):
        yield PIPELINE, stage.pipeline_arn, f"{stage.account} {right}"
    elif stage.account in _EXAMPLES:
        yield ACCOUNT, stage.account, f"{stage.account} {right}: ACCOUNT=… REGION=…"
    for name, value in stage.variables.items():
        if name not in OWN_NAMES and (left := _EXAMPLES.intersection(re.split("[:, ]", value))):
            yield name, value, f"{left.pop()} {right}"


def _elsewhere(stage: Stage) -> _Wrong:
    """Yield each topic, key and state machine that is not where the functions can use it."""
    for name in settings.names_of(stage.variables):
        value = stage.variables.get(name, "")
        if not name.endswith(_USED) or not value.startswith("arn:"):
            continue
        place, wanted = value.split(":")[3:5], [stage.region, stage.account]
        if not name.endswith("_AFTER_RESTORE"):
            place, wanted = place[:1], wanted[:1]  # topics and keys may be another account's
        if place != wanted:
            right = f"the functions cannot use it there; write one in {', '.join(wanted)}"
            yield name, value, right


def _wrong_versions(stage: AcceptanceStage) -> _Wrong:
    """Yield each engine version that belongs to the other Aurora engine."""
    for database in stage.settings.databases:
        prefix, criteria = database.name.upper(), database.criteria
        name = f"{prefix}_ENGINE_VERSION"
        version = stage.variables.get(name, "")
        is_mysql = int(re.split(r"\D", version)[0] or 0) <= _LAST_MYSQL
        if criteria.engine == "aurora-mysql" and not is_mysql:
            yield name, version, "the version is PostgreSQL's; write one of MySQL's, such as 8.0"
        elif criteria.engine == "aurora-postgresql" and is_mysql:
            yield name, version, "the version is MySQL's; write one of PostgreSQL's, such as 16"


def own_answers(body: Json) -> dict[str, str]:
    """Return the answers under the stage's own key, by the names that `aurora-refresh configure` gives them."""
    own = body.get(OWN_KEY, {})
    return {answer: str(own[name]) for answer, name in OWN_NAMES.items() if name in own}


def variables_of(body: Json) -> dict[str, str]:
    """Return the environment variables of a stage, or those of all stages."""
    return dict(body.get("environment_variables", {}))


def stages_of(config: Json) -> Json:
    """Return every stage's object by name."""
    return dict(config.get("stages", {}))


def tuned(config: Json, stage: str, function: str) -> Json:
    """Return a function's configuration, looked up as Chalice does."""

    def own(level: Json) -> Json:
        return dict(level.get("lambda_functions", {}).get(function, {}))

    body = stages_of(config).get(stage, {})
    return {**config, **own(config), **body, **own(body)}


def read_config(project: Path) -> Json:
    """Return the content of `.chalice/config.json`; raise StageError if it cannot be used."""
    file = project / CONFIG
    if not file.is_file():
        raise UsageError(f"there is no {CONFIG} here: name the folder that holds app.py")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StageError(f"{CONFIG} is not JSON: {error}") from error
    _check({"the file": document})
    return dict(document)


def _check(read: Json) -> None:
    """Raise StageError for a part of the configuration that has the wrong type."""
    config = _object(read, "the file")
    stages = _object(config, "stages")
    for level in (config, *(_object(stages, name) for name in stages)):
        functions = _object(level, "lambda_functions")
        for body in (level, *(_object(functions, name) for name in functions)):
            for name, value in _object(body, "environment_variables").items():
                if not isinstance(value, str):  # which Lambda refuses
                    right = f"write {json.dumps(str(value))}"
                    raise StageError(f"{CONFIG}: {name} is {json.dumps(value)}, not text: {right}")
        keys = _object(level, OWN_KEY).get(TOPIC_KEYS, [])
        if not isinstance(keys, list) or not all(isinstance(each, str) for each in keys):
            raise StageError(f"{CONFIG}: {TOPIC_KEYS} is {json.dumps(keys)}, not a list of ARNs")


def _object(parent: Json, name: str) -> Json:
    """Return a part that must be a JSON object; raise StageError."""
    value = parent.get(name, {})
    if not isinstance(value, dict):
        raise StageError(f"{CONFIG}: {name} is {json.dumps(value)}, not an object")
    return value


def to_text(document: Json) -> str:
    """Return the document as it is written to a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
