"""Write a stage and its functions' policies from one set of answers.

An answer has the name of a setting, or is MAIN_PIPELINE_ARN (acceptance), ACCOUNT or REGION
(production). Earlier answers are kept until they are given anew. The same answers always give the
same files.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib import settings
from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError, Problem, SettingsError
from chalicelib.domain.results import Json
from cli import stages
from cli.look import AcceptanceLook
from cli.output import Failure, WrongUsage
from cli.policies import FUNCTIONS, Policy, file_name, policies, with_own_statements
from cli.stacks import AFTER, BEFORE
from cli.stages import ACCOUNT, CONFIG, OWN_KEY, OWN_NAMES, PIPELINE, REGION, AcceptanceStage, Stage

# The settings that make a stage an acceptance or a production stage.
_KINDS = (settings.ACCEPTANCE, settings.PRODUCTION)

Files = dict[Path, str | None]
Ask = Callable[[str], str]
# Finds the values of settings in the account.
Find = Callable[[AcceptanceStage], dict[str, str]]


def changes(
    project: Path,
    name: str,
    answers: Mapping[str, str],
    ask: Ask | None = None,
    find: Find | None = None,
    environment: Mapping[str, str] = {},
) -> Files:
    """Return the files that change with their text, None for one to delete; raise Failure.

    `ask` asks for required answers that are missing, and `find` finds stacks that are not named.
    Variables of the `environment` are answers, too.
    """
    stages.check_name(name)
    if name.endswith((f"-{BEFORE}", f"-{AFTER}")):
        raise WrongUsage(
            f"STAGE is {name!r}: its stack would have the same name as another stage's; write a name that "
            f"does not end in -{BEFORE} or -{AFTER}"
        )
    config = stages.read_config(project)
    common, former = stages.variables_of(config), stages.stages_of(config).get(name, {})
    before = stages.own_answers(former) | stages.variables_of(former)
    try:
        given = _given(name, common, before, answers, environment, ask, find)
    except SettingsError as error:
        listed = "\n".join(f"  - {problem}" for problem in error.problems)
        raise WrongUsage(f"nothing was written for stage {name!r}:\n{listed}") from error

    api = {} if given.get(settings.PRODUCTION) else {"api_gateway_stage": "api"}
    body = {**api, OWN_KEY: {}, **former}
    documented = [each for each in _known_names(common | given) if each in given]
    body["environment_variables"] = {
        each: given[each]
        for each in (*documented, *given)
        # An empty value overrides what all stages have in common; otherwise it means no value.
        if each not in OWN_NAMES and (given[each] or each in common)
    }
    body[OWN_KEY] = {OWN_NAMES[each]: given[each] for each in documented if each in OWN_NAMES}
    config.setdefault("stages", {})[name] = body
    files = policy_files(project, stages.build(name, common | given, given, config))
    body["lambda_functions"] = _functions(name, former.get("lambda_functions", {}), files)
    made: Files = {project / CONFIG: stages.to_text(config)}
    made |= {project / ".chalice" / file_name(name, function): None for function in FUNCTIONS}
    for file in files.values():
        if file.wrong:
            raise Failure(
                f".chalice/{file.name} cannot be read, and may have statements of your own ({file.wrong}): "
                "correct it, or delete it and run this command again"
            )
        made[project / ".chalice" / file.name] = stages.to_text(file.policy)
    return {file: text for file, text in made.items() if text_of(project, file) != text}


class PolicyFile(NamedTuple):
    """The file of a function's policy: what it should hold, own statements included, and its text.

    `wrong` says why the text cannot be read, if it cannot.
    """

    name: str
    policy: Policy
    text: str | None
    wrong: str = ""

    @property
    def fits(self) -> bool:
        """Whether it holds that policy, however it is formatted."""
        with suppress(ValueError):
            return bool(json.loads(self.text or "null") == self.policy)
        return False


def policy_files(project: Path, stage: Stage) -> dict[str, PolicyFile]:
    """Return the policy file of each function that the stage deploys; raise Failure."""
    found = {}
    for function, policy in policies(stage).items():
        name = file_name(stage.name, function)
        text = text_of(project, project / ".chalice" / name)
        try:
            found[function] = PolicyFile(name, with_own_statements(policy, text), text)
        except ValueError as error:
            found[function] = PolicyFile(name, policy, text, str(error))
    return found


def diff(project: Path, changed: Files) -> Iterator[str]:
    """Yield the changes, line by line, as `diff -u` prints them."""
    for file, text in changed.items():
        name = file.relative_to(project).as_posix()
        old = text_of(project, file)
        yield from difflib.unified_diff(
            (old or "").splitlines(),
            (text or "").splitlines(),
            "/dev/null" if old is None else f"a/{name}",
            "/dev/null" if text is None else f"b/{name}",
            lineterm="",
        )


def write(changed: Files) -> None:
    """Write the files; raise Failure if the folder cannot be written.

    A file is replaced as a whole, so that a full disk leaves none half written. Running it again
    completes what a failure left undone.
    """
    try:
        for file, text in changed.items():
            target = file.resolve()  # not to replace a link
            if text is None:
                target.unlink(missing_ok=True)
                continue
            new = target.with_name(f"{target.name}.new")
            new.write_bytes(text.encode())
            if target.exists():
                new.chmod(target.stat().st_mode)
            new.replace(target)
    except OSError as error:
        raise Failure(f"not everything was written: {error}") from error


def text_of(project: Path, file: Path) -> str | None:
    """Return the text of the file; None if there is none; raise Failure."""
    if not file.is_file():
        return None
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Failure(f"{file.relative_to(project).as_posix()} is not text: {error}") from error


# --- stacks that nobody names --------------------------------------------------------------------


def find_stack_names(note: Callable[[str], None], stage: AcceptanceStage) -> dict[str, str]:
    """Return the values of those settings P_STACK_NAME that nobody has given, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    found, look = {}, AcceptanceLook(stage)
    for database in stage.settings.databases:
        name = database.setting("STACK_NAME")
        if name in stage.variables:
            continue
        try:
            found[name] = _place(look, database)
        except (AwsError, Failure) as error:
            note(
                f"{name} is not set ({str(error).rstrip('.')}). Without it, the refresh relies on the newest "
                "deploy action alone, and does not look at the cluster"
            )
        else:
            note(
                f"{name} is {found[name]}, which the main pipeline deploys from {database.current_parameter}"
            )
    return found


def _place(look: AcceptanceLook, database: Database) -> str:
    """Return STACK or STACK/LOGICAL-ID of the cluster restored from *current*; raise Failure, or AwsError."""
    current, pipeline = database.current_parameter, look.stage.pipeline
    look.check_caller()
    if look.pipeline(pipeline) is None:
        raise Failure(f"there is no pipeline {pipeline}")
    places = look.places(database)
    if not places:
        raise Failure(f"no stack of {pipeline} restores a cluster from {current}")
    if len(places) > 1:
        raise Failure(f"several clusters read {current}: {', '.join(places)}")
    return places[0]


# --- the answers ----------------------------------------------------------------------------------


def _given(
    stage_name: str,
    common: dict[str, str],
    before: dict[str, str],
    answers: Mapping[str, str],
    environment: Mapping[str, str],
    ask: Ask | None,
    find: Find | None,
) -> dict[str, str]:
    """Return the stage's own answers; raise SettingsError or WrongUsage.

    `common` has the variables of all stages, `before` the stage's earlier answers.
    """
    known = _known_names({**common, **before, **environment, **answers})
    chosen = {name: environment[name] for name in known if name in environment}
    given = before | chosen | {**answers}
    if all(map((common | given).get, _KINDS)):
        raise WrongUsage(str(_problems(common | given)[-1]))  # the one about the two kinds
    # Settings of a removed database, or of the other kind of stage.
    gone = {*_known_names(common | before)} - {*known}
    # By now, an answer that makes the other kind of stage is an empty one.
    expected = {*known, *_KINDS, *before.keys() - gone}
    unknown = [_unknown(name, known) for name in answers if name not in expected]
    given = {name: given[name] for name in given if name in expected}
    asked = set[str]()
    while wrong := [*_problems(common | given), *unknown]:
        # Answers may be right by themselves and contradict each other: ask for each again.
        askable = ((each, [x for x in each.names if each.missing or x in asked]) for each in wrong)
        problem, names = next((pair for pair in askable if pair[1]), (None, []))
        if ask is None or unknown or not names:
            raise SettingsError(wrong)
        given |= {name: ask(f"{problem}\n{name} = ").strip() for name in names}
        asked.update(names)
    stage = stages.build(stage_name, common | given, given)
    if find and isinstance(stage, AcceptanceStage):
        given |= find(stage)
        if problems := _problems(common | given):
            raise SettingsError(problems)
    return given


def _known_names(variables: Mapping[str, str]) -> list[str]:
    """Return the names of all answers that a stage of this kind takes; raise SettingsError."""
    own = (ACCOUNT, REGION) if variables.get(settings.PRODUCTION) else (PIPELINE,)
    return [*settings.names_of(variables), *own]


def _problems(given: Mapping[str, str]) -> Sequence[Problem]:
    """Return what is missing or wrong."""
    try:
        return stages.contradictions(stages.build("", given, given))
    except SettingsError as error:
        return error.problems


def _unknown(name: str, known: Sequence[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    meant = f" Did you mean {close[0]}?" if close else ""
    return Problem((name,), f"is not a setting.{meant} Settings: {', '.join(known)}")


def _functions(stage: str, before: Json, wanted: Mapping[str, Any]) -> Json:
    """Return the functions' entries, keeping what was tuned by hand and entries that are not ours."""
    entries = {}
    for function, defaults in FUNCTIONS.items():
        if function in wanted:
            policy = {"iam_policy_file": file_name(stage, function)}
            entries[function] = policy | before.get(function, defaults) | policy
    for name, entry in before.items():
        # Without the entry of a function that it deletes, deploy would delete the company's role as well.
        if name not in FUNCTIONS or "manage_iam_role" in entry:
            entries.setdefault(name, entry)
    return entries
