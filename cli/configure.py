"""Write a stage and its functions' policies from one set of answers.

An answer has the name of a setting, or is MAIN_PIPELINE_ARN (acceptance), ACCOUNT or REGION
(production). Earlier answers are kept until they are given anew. The same answers always give the
same files.
"""

import difflib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chalicelib import settings
from chalicelib.domain.errors import Problem, SettingsError
from cli import stages
from cli.policies import FUNCTIONS, Policy, file_name, policies, with_own_statements
from cli.stacks import AFTER, BEFORE
from cli.stages import (
    ACCOUNT,
    CONFIG,
    OWN_KEY,
    OWN_NAMES,
    PIPELINE,
    REGION,
    TOPIC_KEYS,
    AcceptanceStage,
    Json,
    Stage,
    StageError,
    UsageError,
)

# The settings that make a stage one of acceptance or of production.
_KINDS = (settings.ACCEPTANCE, settings.PRODUCTION)

Files = dict[Path, str | None]
Ask = Callable[[str], str]
# Finds the values of the named settings in the account.
Look = Callable[[AcceptanceStage, Sequence[str]], dict[str, str]]

# Finds the customer-managed keys of the stage's topics; None if they cannot be read.
FindKeys = Callable[[Stage], Sequence[str] | None]


def answers_in(
    environment: Mapping[str, str], project: Path, stage: str, given: Mapping[str, str]
) -> dict[str, str]:
    """Return those of the environment's variables that are answers; `given` ones say of what kind."""
    config = stages.read_config(project)
    before = stages.variables_of(config)
    before |= stages.variables_of(stages.stages_of(config).get(stage, {}))
    decisive = (*_KINDS, "DATABASES")
    chosen = {name: environment[name] for name in decisive if name in environment}
    known = _known_names({**before, **chosen, **given})
    return {name: environment[name] for name in known if name in environment}


def files(
    project: Path,
    stage: str,
    answers: Mapping[str, str],
    ask: Ask | None = None,
    look: Look | None = None,
    find_keys: FindKeys | None = None,
) -> Files:
    """Return the stage's files with their text, None for one to delete; raise StageError.

    `ask` asks for required answers that are missing, `look` finds stacks that are not named, and
    `find_keys` the keys of the topics.
    """
    stages.check_name(stage)
    if stage.endswith((f"-{BEFORE}", f"-{AFTER}")):
        raise UsageError(
            f"STAGE is {stage!r}: its stack would have the name of another stage's; write a name that does "
            f"not end in -{BEFORE} or -{AFTER}"
        )
    document = stages.read_config(project)
    before = stages.stages_of(document).get(stage, {})
    common = stages.variables_of(document)
    variables, own, unknown = _answered(
        common, stages.variables_of(before), stages.own_answers(before), answers, ask
    )
    if problems := [*_problems({**common, **variables, **own}), *unknown]:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise UsageError(f"nothing was written for stage {stage!r}:\n{listed}")

    built = stages.build(stage, common | variables, own, document)
    unnamed = _unnamed_stacks(built, answers)
    if isinstance(built, AcceptanceStage) and unnamed and look:
        merged = variables | look(built, unnamed)
        order = settings.names_of(common | variables)
        variables = {name: merged[name] for name in (*order, *merged) if name in merged}
        built = stages.build(stage, common | variables, own, document)

    keys = find_keys(built) if find_keys else None
    if keys is not None:
        built = replace(built, topic_keys=tuple(keys))
    wanted = policies(built)
    api = {} if settings.PRODUCTION in variables else {"api_gateway_stage": "api"}
    body = {**api, OWN_KEY: {}, **before}
    body["environment_variables"] = variables
    body[OWN_KEY] = {OWN_NAMES[name]: value for name, value in own.items()}
    if built.topic_keys:
        body[OWN_KEY][TOPIC_KEYS] = [*built.topic_keys]
    body["lambda_functions"] = _functions(stage, before.get("lambda_functions", {}), wanted)
    document.setdefault("stages", {})[stage] = body
    folder = project / ".chalice"
    made: Files = {project / CONFIG: stages.to_text(document)}
    for function in FUNCTIONS:
        policy = wanted.get(function)
        file = folder / file_name(stage, function)
        made[file] = _policy_text(project, file, policy) if policy else None
    return made


def _policy_text(project: Path, file: Path, policy: Policy) -> str:
    try:
        return stages.to_text(with_own_statements(policy, text_of(project, file)))
    except ValueError as error:
        raise StageError(
            f"{file.relative_to(project).as_posix()} cannot be read, and may have statements of your own "
            f"({error}): correct it, or delete it to have it written anew"
        ) from error


def _unnamed_stacks(stage: Stage, answers: Mapping[str, str]) -> list[str]:
    """Return the names of the settings for stacks that have no value and were not emptied on purpose."""
    if not isinstance(stage, AcceptanceStage):
        return []
    names = {f"{each.name.upper()}_STACK_NAME": each for each in stage.settings.databases}
    return [name for name, each in names.items() if each.stack is None and name not in answers]


def changes(project: Path, wanted: Files) -> Files:
    """Return the files that differ from what they should be."""
    return {file: text for file, text in wanted.items() if text_of(project, file) != text}


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
    """Write all files or none; raise StageError if the folder cannot be written.

    New and old texts are written elsewhere first, where a full disk does no harm.
    """
    if not changed:
        return
    changed = {file.resolve(): text for file, text in changed.items()}  # not to replace a link
    place = next(iter(changed)).parent
    try:
        with tempfile.TemporaryDirectory(prefix=".configure-", dir=place) as folder:
            new, old = Path(folder) / "new", Path(folder) / "old"
            new.mkdir()
            old.mkdir()
            for file, text in changed.items():
                if file.exists():
                    shutil.copy(file, old)  # with its permissions
                if text is not None:
                    made = new / file.name
                    made.write_bytes(text.encode())
                    made.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
            try:
                _move(new, changed)
            except BaseException:
                _move(old, changed)
                raise
    except OSError as error:
        raise StageError(f"nothing was written: {error}") from error


def _move(folder: Path, files: Iterable[Path]) -> None:
    """Replace the files by those in the folder, and delete the ones that it does not have."""
    for file in files:
        if (folder / file.name).exists():
            (folder / file.name).replace(file)
        else:
            file.unlink(missing_ok=True)


def text_of(project: Path, file: Path) -> str | None:
    """Return the text of the file; None if there is none; raise StageError."""
    if not file.is_file():
        return None
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StageError(f"{file.relative_to(project).as_posix()} is not text: {error}") from error


# --- the answers ----------------------------------------------------------------------------------


def _answered(
    common: dict[str, str],
    before: dict[str, str],
    own: dict[str, str],
    answers: Mapping[str, str],
    ask: Ask | None,
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return the stage's variables in the documented order, its own answers, and the unknown names' problems."""
    given = {**own, **before, **answers}
    if all(map((common | given).get, _KINDS)):
        raise UsageError(str(_problems(common | given)[-1]))  # the one about the two kinds
    known = _known_names(common | given)
    # By now, an answer that makes the other kind of stage is an empty one.
    unknown = [_unknown(name, known) for name in answers if name not in (*known, *_KINDS)]
    if ask and not unknown:
        given |= _asked(common | given, ask)
    # Settings of a database that is gone, or of the other kind of stage.
    gone = set(_known_names(common | before)) - set(known)
    extra = [name for name in before if name not in known and name not in gone]
    # An empty value overrides what all stages have in common; otherwise it means no value.
    variables = {
        name: given[name]
        for name in (*known, *extra, *_KINDS)
        if name not in OWN_NAMES and (given.get(name) or (name in given and name in common))
    }
    own = {name: given[name] for name in OWN_NAMES if name in known and given.get(name)}
    return variables, own, unknown


def _known_names(variables: Mapping[str, str]) -> list[str]:
    """Return the names of all answers that a stage of this kind takes; raise StageError."""
    try:
        names = settings.names_of(variables)
    except SettingsError as error:
        raise UsageError("\n".join(map(str, error.problems))) from error
    own = (ACCOUNT, REGION) if variables.get(settings.PRODUCTION) else (PIPELINE,)
    return [*names, *own]


def _asked(given: Mapping[str, str], ask: Ask) -> dict[str, str]:
    """Ask for what is required and missing, each until it is right; return the answers."""
    answers: dict[str, str] = {}
    while True:
        for problem in _problems({**given, **answers}):
            # Answers may be right by themselves and contradict each other: ask for each again.
            names = [name for name in problem.names if problem.missing or name in answers]
            for name in names:
                answers[name] = ask(f"{problem}\n{name} = ").strip()
            if names:
                break
        else:
            return answers


def _problems(given: Mapping[str, str]) -> Sequence[Problem]:
    """Return what is missing or wrong."""
    try:
        return stages.contradictions(stages.build("", given, given))
    except SettingsError as error:
        return error.problems


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"{name} is not a setting.{meant} Settings: {', '.join(known)}"


def _functions(stage: str, before: Json, wanted: Mapping[str, Any]) -> Json:
    """Return the functions' entries, keeping what was tuned by hand and entries that are not ours."""
    entries = {}
    for function, defaults in FUNCTIONS.items():
        if function in wanted:
            tuned = before.get(function, defaults)
            policy = {"iam_policy_file": file_name(stage, function)}
            entries[function] = policy | {
                name: value for name, value in tuned.items() if name not in policy
            }
    return entries | {name: entry for name, entry in before.items() if name not in FUNCTIONS}
