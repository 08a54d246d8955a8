"""A stage, as ``.chalice/config.json`` and the policies beside it describe it.

``project`` is always the folder that holds app.py.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.domain.errors import SettingsError
from chalicelib.settings.acceptance import Settings
from stage.policies import APP, RESTORE, UPDATE

CONFIG = ".chalice/config.json"
START = "codepipeline:StartPipelineExecution"

Json = dict[str, Any]

# "Name requirements": a rule's name, the longest that Chalice makes of a stage's, has 64 characters.
_LONGEST = 64 - len(f"{APP}--{UPDATE}-event")
_PIPELINE_ARN = re.compile(
    r"arn:aws(-[a-z]+)*:codepipeline:[a-z]{2}(-[a-z]+)+-[0-9]:[0-9]{12}:[A-Za-z0-9.@_-]{1,100}"
)


class StageError(Exception):
    """A user's mistake; the message says what it is, and what would be right."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that can be deployed: ``variables`` are its environment's, ``settings`` what they mean."""

    name: str
    variables: Mapping[str, str]
    settings: Settings
    pipeline_arn: str

    @property
    def partition(self) -> str:
        """``aws``, or that of another set of Regions."""
        return self.pipeline_arn.split(":")[1]

    @property
    def region(self) -> str:
        """Where the main pipeline is, and therefore the application."""
        return self.pipeline_arn.split(":")[3]

    @property
    def account(self) -> str:
        """Acceptance's account."""
        return self.pipeline_arn.split(":")[4]


def load(project: Path, stage: str) -> Stage:
    """The stage; raises StageError, which lists every problem of its settings."""
    config = read_config(project)
    body = stages_of(config).get(stage)
    if body is None:
        known = ", ".join(stages_of(config)) or "none"
        raise StageError(
            f"{CONFIG} has no stage {stage!r}, but: {known}. make configure STAGE={stage} … writes one"
        )
    variables = variables_of(config) | variables_of(body)
    arn = pipeline_arn(project, body)
    if arn is None:
        raise StageError(
            f"the policy of {RESTORE} in stage {stage!r} does not say which pipeline may be started "
            f"({START} on its ARN): make configure STAGE={stage} MAIN_PIPELINE_ARN=… writes it"
        )
    return Stage(stage, variables, settings_of(stage, variables), arn)


def settings_of(stage: str, variables: Mapping[str, str]) -> Settings:
    """What the variables mean to the application; raises StageError with every problem."""
    try:
        return Settings.from_environment(variables)
    except SettingsError as error:
        raise StageError(
            "\n".join([f"stage {stage!r} is set wrongly:", *(f"  - {p}" for p in error.problems)])
        ) from error


def check_name(stage: str) -> None:
    """Raises StageError for a name that would not do in those of roles, rules and stacks."""
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9-]{{0,{_LONGEST - 1}}}", stage):
        raise StageError(
            f"STAGE is {stage!r}: write a name such as acceptance, of letters, digits and hyphens, "
            f"{_LONGEST} at most, for EventBridge takes no longer name of a rule"
        )


def check_pipeline_arn(text: str) -> str:
    """The ARN; raises ValueError saying what would be right."""
    if not _PIPELINE_ARN.fullmatch(text):
        raise ValueError(
            "write the main pipeline's ARN, such as "
            "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
        )
    return text


def contradictions(settings: Settings, pipeline_arn: str) -> list[str]:
    """What is right for itself, but not together: each would let the first night fail."""
    _, partition, _, region, account, _ = pipeline_arn.split(":", 5)
    problems = []
    if any(database.criteria.account == account for database in settings.databases):
        problems.append(
            f"SOURCE_ACCOUNT is {account!r}: the main pipeline's account, which is acceptance's; "
            "write production's, for nothing is shared with the account that it belongs to"
        )
    if settings.topic_arn:
        there = settings.topic_arn.split(":")
        if (there[1], there[3]) != (partition, region):
            problems.append(
                f"NOTIFICATION_TOPIC_ARN is {settings.topic_arn!r}: a topic of another Region than "
                f"the main pipeline's, from where it cannot be reached; name one in {region}"
            )
    return problems


def pipeline_arn(project: Path, body: Json) -> str | None:
    """The pipeline that the stage's restore function may start, from its policy; None without one."""
    functions = as_object(body.get("lambda_functions", {}), "lambda_functions")
    name = as_object(functions.get(RESTORE, {}), RESTORE).get("iam_policy_file")
    file = project / ".chalice" / str(name)
    if name is None or not file.is_file():
        return None
    statements = _parsed(file, f".chalice/{name}").get("Statement", [])
    for statement in statements if isinstance(statements, list) else []:
        if isinstance(statement, dict) and START in _listed(statement.get("Action")):
            for resource in _listed(statement.get("Resource")):
                if _PIPELINE_ARN.fullmatch(str(resource)):
                    return str(resource)
    return None


def read_config(project: Path) -> Json:
    """What ``.chalice/config.json`` says; raises StageError where it cannot be read."""
    file = project / CONFIG
    if not file.is_file():
        raise StageError(f"there is no {CONFIG} here: name the folder that holds app.py")
    return _parsed(file, CONFIG)


def stages_of(config: Json) -> Json:
    """Every stage's body by name."""
    return {
        name: as_object(body, f"the stage {name}")
        for name, body in as_object(config.get("stages", {}), "stages").items()
    }


def variables_of(body: Json) -> dict[str, str]:
    """The environment variables of a stage, or those that all stages have in common."""
    variables = as_object(body.get("environment_variables", {}), "environment_variables")
    return {name: str(value) for name, value in variables.items()}


def as_object(value: Any, what: str) -> Json:
    """The value, which must be a JSON object; raises StageError."""
    if not isinstance(value, dict):
        raise StageError(f"{CONFIG}: {what} is {json.dumps(value)}, but an object is wanted there")
    return value


def written(document: Json) -> str:
    """A document as it stands in a file of the folder ``.chalice``."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _parsed(file: Path, name: str) -> Json:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StageError(f"{name} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise StageError(f"{name} is no JSON object")
    return document


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
