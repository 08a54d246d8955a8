"""A stage as `.chalice/config.json` describes it.

Chalice ignores the key `aurora_refresh` of a stage. It says what the settings do not: the main
pipeline of an acceptance stage, the account and the Region of a production stage.

`project` is always the folder that holds app.py.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chalicelib import settings
from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.domain.functions import APP, UPDATE
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings

CONFIG = ".chalice/config.json"
OWN_KEY = "aurora_refresh"
# The answers of `make configure` that are no settings, and their names under OWN_KEY.
PIPELINE, ACCOUNT, REGION = "MAIN_PIPELINE_ARN", "ACCOUNT", "REGION"
OWN_NAMES = {PIPELINE: "main_pipeline_arn", ACCOUNT: "account", REGION: "region"}

Json = dict[str, Any]

# The longest name that Chalice derives from a stage's is a rule's. EventBridge allows 64 characters.
_LONGEST = 64 - len(f"{APP}--{UPDATE}-event")
_REGION = "[a-z]{2}(-[a-z]+)+-[0-9]"
_PIPELINE_ARN = re.compile(
    rf"arn:aws(-[a-z]+)*:codepipeline:{_REGION}:[0-9]{{12}}:[A-Za-z0-9.@_-]{{1,100}}"
)
_PARTITIONS = {"cn": "aws-cn", "us-gov": "aws-us-gov"}


class StageError(Exception):
    """A user's mistake; the message says what is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class AcceptanceStage:
    """A stage that restores; `variables` are its environment variables."""

    name: str
    variables: Mapping[str, str]
    settings: Settings
    pipeline_arn: str

    @property
    def partition(self) -> str:
        """`aws`, or the partition of China or GovCloud."""
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
class ProductionStage:
    """A stage that shares; `variables` are its environment variables."""

    name: str
    variables: Mapping[str, str]
    settings: ProductionSettings
    account: str
    region: str

    @property
    def partition(self) -> str:
        """`aws`, or the partition of China or GovCloud."""
        return _PARTITIONS.get(self.region.rsplit("-", 2)[0], "aws")


Stage: TypeAlias = AcceptanceStage | ProductionStage


def load(project: Path, name: str) -> Stage:
    """Return the stage; raise StageError, naming every problem."""
    config = read_config(project)
    body = stages_of(config).get(name)
    if body is None:
        known = ", ".join(stages_of(config)) or "none"
        raise StageError(
            f"{CONFIG} has no stage {name!r}, only: {known}. make configure STAGE={name} … adds it"
        )
    variables = variables_of(config) | variables_of(body)
    try:
        return build(name, variables, own_answers(body))
    except SettingsError as error:
        raise StageError(
            "\n".join(
                [f"stage {name!r} has wrong settings:", *(f"  - {each}" for each in error.problems)]
            )
        ) from error


def build(name: str, variables: Mapping[str, str], own: Mapping[str, str]) -> Stage:
    """Return the stage; raise SettingsError, naming every problem.

    `own` has the answers that are no settings. Contradictions between the two are not looked for.
    A stage that is not said to be one kind or the other is taken for an acceptance stage.
    """
    kinds = (settings.ACCEPTANCE, settings.PRODUCTION)
    parse = settings.load if any(map(variables.get, kinds)) else Settings.from_environment
    is_production = bool(variables.get(settings.PRODUCTION))
    problems: list[Problem] = []
    for answer in (ACCOUNT, REGION) if is_production else (PIPELINE,):
        value = own.get(answer, "")
        pattern, right = _OWN_VALUES[answer]
        if not re.fullmatch(pattern, value):
            found = repr(value) if value else "missing"
            problems.append(Problem((answer,), f"is {found}: {right}", missing=not value))
    try:
        parsed = parse(variables)
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from error
    if problems:
        raise SettingsError(problems)
    if isinstance(parsed, Settings):
        return AcceptanceStage(name, variables, parsed, own[PIPELINE])
    return ProductionStage(name, variables, parsed, own[ACCOUNT], own[REGION])


_OWN_VALUES = {
    PIPELINE: (
        _PIPELINE_ARN,
        (
            "write the main pipeline's ARN, such as "
            "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
        ),
    ),
    ACCOUNT: (re.compile("[0-9]{12}"), "write production's account id, 12 digits"),
    REGION: (re.compile(_REGION), "write production's Region, such as eu-west-1"),
}


def check_name(stage: str) -> None:
    """Raise StageError for a name that roles, rules and stacks cannot have."""
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9-]{{0,{_LONGEST - 1}}}", stage):
        raise StageError(
            f"STAGE is {stage!r}: write a name such as acceptance, of letters, digits and hyphens, at "
            f"most {_LONGEST} characters, because EventBridge limits the names of rules"
        )


def contradictions(stage: Stage) -> list[Problem]:
    """Return settings that are right by themselves but would make every run fail."""
    problems = []
    if isinstance(stage, AcceptanceStage):
        other, name = stage.settings.databases[0].criteria.account, settings.ACCEPTANCE
        right = "this is the main pipeline's account, acceptance; write production's"
    else:
        other, name = stage.settings.share_with, settings.PRODUCTION
        right = "this is the stage's own account, production; write acceptance's"
    if other == stage.account:
        problems.append(Problem((name,), f"is {other!r}: {right}"))
    topic = stage.settings.topic_arn
    if topic and topic.split(":")[1:4:2] != [stage.partition, stage.region]:
        problems.append(
            Problem(
                ("NOTIFICATION_TOPIC_ARN",),
                f"is {topic!r}: functions cannot publish to another Region; write a topic in "
                f"{stage.region}",
            )
        )
    return problems


def own_answers(body: Json) -> dict[str, str]:
    """Return the answers under the stage's own key, by the names that `make configure` gives them."""
    own = as_object(body.get(OWN_KEY, {}), OWN_KEY)
    return {answer: str(own[name]) for answer, name in OWN_NAMES.items() if name in own}


def read_config(project: Path) -> Json:
    """Return the content of `.chalice/config.json`; raise StageError if it cannot be read."""
    file = project / CONFIG
    if not file.is_file():
        raise StageError(f"there is no {CONFIG} here: name the folder that holds app.py")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StageError(f"{CONFIG} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise StageError(f"{CONFIG} is not a JSON object")
    return document


def stages_of(config: Json) -> Json:
    """Return every stage's object by name; raise StageError."""
    return {
        name: as_object(body, f"the stage {name}")
        for name, body in as_object(config.get("stages", {}), "stages").items()
    }


def variables_of(body: Json) -> dict[str, str]:
    """Return the environment variables of a stage, or those of all stages; raise StageError."""
    variables = as_object(body.get("environment_variables", {}), "environment_variables")
    return {name: str(value) for name, value in variables.items()}


def as_object(value: Any, what: str) -> Json:
    """Return the value, which must be a JSON object; raise StageError."""
    if not isinstance(value, dict):
        raise StageError(f"{CONFIG}: {what} is {json.dumps(value)}, not an object")
    return value


def to_text(document: Json) -> str:
    """Return the document as it is written to a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
