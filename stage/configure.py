"""``make configure STAGE=acceptance …``: writes a stage and its functions' policies from one set of answers.

An answer has the name of a setting, or is MAIN_PIPELINE_ARN. What the stage says already is kept unless it is
answered anew. The same answers give the same bytes, whatever was there before.
"""

import argparse
import contextlib
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chalicelib.domain.errors import SettingsError
from chalicelib.settings.acceptance import Settings
from stage import config
from stage.config import CONFIG, Json, StageError
from stage.policies import API, COPIES, FOLLOW, RESTORE, UPDATE, file_name, policies

PIPELINE = "MAIN_PIPELINE_ARN"

Files = dict[Path, str | None]
Ask = Callable[[str], str]

# Two promotions at once must not happen at all, so there is one of each that moves *current*.
_FUNCTIONS: dict[str, Json] = {
    UPDATE: {"lambda_timeout": 300},
    RESTORE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    FOLLOW: {"lambda_timeout": 120, "reserved_concurrency": 1},
    COPIES: {"lambda_timeout": 120},
    API: {"lambda_timeout": 29},  # as long as API Gateway waits
}
# What else may stand on make's command line.
_NO_ANSWERS = {"STAGE", "PYTHON"}
_EPILOG = """\
The settings are those of docs/settings.md, with MAIN_PIPELINE_ARN, the ARN of the main pipeline. An empty
value removes a setting. What is required and was not answered is asked for on a terminal. With make:

  make configure STAGE=acceptance SOURCE_ACCOUNT=111111111111 RDS_ENGINE=aurora-postgresql …
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Configure a stage as the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.configure",
        description="Write or update a stage of .chalice/config.json, and its functions' policies.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an answer; repeatable"
    )
    parser.add_argument(
        "--project", type=Path, default=Path(), help="the folder that holds app.py; default: this"
    )
    given = parser.parse_args(arguments)
    try:
        answers = from_make(os.environ) | from_options(given.set)
        ask = input if sys.stdin.isatty() else None
        changed = changes(given.project, files(given.project, given.stage, answers, ask))
        sys.stdout.writelines(f"{line}\n" for line in diff(given.project, changed))
        write(changed)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\nstopped; nothing was written\n")
        return 1
    sys.stdout.write(
        f"stage {given.stage} is written; next: make deploy STAGE={given.stage}\n"
        if changed
        else f"stage {given.stage} says this already; nothing was written\n"
    )
    return 0


def from_make(environment: Mapping[str, str]) -> dict[str, str]:
    """The answers that stand on make's command line.

    make exports them, and names them in MAKEFLAGS. What the shell happens to export is no answer, and
    a name that is written wrongly is not passed over.
    """
    words = re.split(r"(?<!\\)\s+", environment.get("MAKEFLAGS", ""))
    names = [word.partition("=")[0] for word in words if re.match(r"[A-Za-z_]\w*=", word)]
    return {
        name: environment[name] for name in names if name in environment and name not in _NO_ANSWERS
    }


def from_options(options: Sequence[str]) -> dict[str, str]:
    """The answers of ``--set``."""
    answers = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise StageError(f"--set {option}: write NAME=VALUE, such as RDS_ENGINE_VERSION=15")
        answers[name] = value
    return answers


def files(project: Path, stage: str, answers: Mapping[str, str], ask: Ask | None = None) -> Files:
    """Every file of the stage as it is to be; None for one that is to go. Raises StageError.

    What is required and missing is asked with ``ask``, if there is anybody to answer.
    """
    config.check_name(stage)
    document = config.read_config(project)
    before = config.stages_of(document).get(stage, {})
    common = config.variables_of(document)
    variables, arn = _answered(
        common,
        config.variables_of(before),
        config.pipeline_arn(project, before) if before else None,
        answers,
        ask,
    )
    problems = _problems({**common, **variables, PIPELINE: arn})
    if problems:
        raise StageError(_told(stage, problems))

    settings = config.settings_of(stage, common | variables)
    wanted = policies(stage, settings, arn)
    body = {"api_gateway_stage": "api", **before}
    body["environment_variables"] = variables
    body["lambda_functions"] = _functions(
        stage, config.as_object(before.get("lambda_functions", {}), "lambda_functions"), wanted
    )
    document.setdefault("stages", {})[stage] = body
    folder = project / ".chalice"
    made: Files = {project / CONFIG: config.written(document)}
    for function in _FUNCTIONS:
        policy = wanted.get(function)
        made[folder / file_name(stage, function)] = config.written(policy) if policy else None
    return made


def changes(project: Path, wanted: Files) -> Files:
    """Those of the files that are not so already."""
    return {file: text for file, text in wanted.items() if _text(project, file) != text}


def diff(project: Path, changed: Files) -> Iterator[str]:
    """What is going to change, line by line, as ``diff -u`` writes it."""
    for file, text in changed.items():
        name = file.relative_to(project).as_posix()
        old = _text(project, file)
        yield from difflib.unified_diff(
            (old or "").splitlines(),
            (text or "").splitlines(),
            "/dev/null" if old is None else f"a/{name}",
            "/dev/null" if text is None else f"b/{name}",
            lineterm="",
        )


def write(changed: Files) -> None:
    """Write the files, all or none; raises StageError where the folder does not let us.

    All is written beside its place first, so that what commonly fails has failed by then.
    """
    old = {file: file.read_bytes() if file.exists() else None for file in changed}
    ready: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for file, text in changed.items():
            if text is not None:
                ready[file] = _beside(file, text.encode())
        for file in changed:
            if file in ready:
                ready.pop(file).replace(file)
            else:
                file.unlink(missing_ok=True)
            done.append(file)
    except BaseException as error:
        for file in done:
            content = old[file]
            if content is None:
                file.unlink()
            else:
                _beside(file, content).replace(file)
        if isinstance(error, OSError):
            raise StageError(f"nothing was written: {error}") from error
        raise
    finally:
        for left in ready.values():
            left.unlink(missing_ok=True)


def _beside(file: Path, content: bytes) -> Path:
    """A temporary file with the content, in the same folder and as readable as the other."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as out:
        made = Path(out.name)
        try:
            out.write(content)
            made.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
        except BaseException:
            made.unlink()
            raise
    return made


def _text(project: Path, file: Path) -> str | None:
    """What the file says now; None where there is none."""
    if not file.is_file():
        return None
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise StageError(f"{file.relative_to(project).as_posix()} is no text: {error}") from error


# --- the answers ----------------------------------------------------------------------------------


def _answered(
    common: dict[str, str],
    before: dict[str, str],
    arn: str | None,
    answers: Mapping[str, str],
    ask: Ask | None,
) -> tuple[dict[str, str], str]:
    """The stage's variables, in the order of docs/settings.md, and the pipeline's ARN."""
    given = {PIPELINE: arn or "", **before, **answers}
    known = known_names(common | given)
    strangers = [name for name in answers if name not in (*known, PIPELINE)]
    if strangers:
        raise StageError("\n".join(_stranger(name, known) for name in strangers))
    if ask:
        given |= _asked(common | given, ask)
    gone = set(known_names(common | before)) - set(known)  # settings of a database that is no more
    extra = [name for name in before if name not in known and name not in gone]
    # An empty value takes away what all stages have in common; else it is as good as none.
    variables = {
        name: given[name]
        for name in (*known, *extra)
        if given.get(name) or (name in given and name in common)
    }
    return variables, given[PIPELINE]


def known_names(variables: Mapping[str, str]) -> list[str]:
    """The names of all settings there are for the databases that these variables name."""
    general = _read_by_settings({"DATABASES": "-"})  # which is no database
    of_databases = [name for name in _read_by_settings(variables) if name not in general]
    if not of_databases:
        wrong = [each for each in _problems(variables) if each.startswith("DATABASES ")]
        raise StageError("\n".join(wrong))
    end = general.index("DATABASES") + 1
    return general[:end] + of_databases + general[end:]


def _read_by_settings(variables: Mapping[str, str]) -> list[str]:
    """Which variables the settings read: they know best which there are."""
    remembering = _Remembering(variables)
    with contextlib.suppress(SettingsError):
        Settings.from_environment(remembering)
    return list(remembering.read)


class _Remembering(dict[str, str]):
    """Variables that remember, in order, which of them were read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.read: dict[str, None] = {}

    def get(self, name: str, default: Any = None) -> Any:
        self.read[name] = None
        return super().get(name, default)


def _asked(variables: Mapping[str, str], ask: Ask) -> dict[str, str]:
    """What a person answers to what is required and missing, each until it is right."""
    answers: dict[str, str] = {}
    while True:
        for problem in _problems({**variables, **answers}):
            # Two that are right for themselves may contradict each other: each of them is asked for again.
            named = [name for name in answers if re.search(rf"\b{name}\b", problem)]
            asked = [problem.split(" is ")[0]] if " is missing: " in problem else named
            for name in asked:
                answers[name] = ask(f"{problem}\n{name} = ").strip()
            if asked:
                break
        else:
            return answers


def _problems(variables: Mapping[str, str]) -> list[str]:
    """What is missing or wrong; nothing where the stage would work."""
    problems = []
    arn = variables.get(PIPELINE, "")
    try:
        config.check_pipeline_arn(arn)
    except ValueError as error:
        problems.append(f"{PIPELINE} is {repr(arn) if arn else 'missing'}: {error}")
    try:
        settings = Settings.from_environment(variables)
    except SettingsError as error:
        return problems + list(error.problems)
    return problems or config.contradictions(settings, arn)


def _stranger(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, [*known, PIPELINE], n=1)
    meant = f"; {close[0]} may be meant" if close else ""
    return f"{name} is no setting{meant}: there are {', '.join([*known, PIPELINE])}"


def _told(stage: str, problems: Sequence[str]) -> str:
    listed = "\n".join(f"  - {problem}" for problem in problems)
    return f"stage {stage!r} would not work, so nothing was written:\n{listed}"


def _functions(stage: str, before: Json, wanted: Mapping[str, Any]) -> Json:
    """The functions' entries: what was tuned by hand stays, as do entries that are not ours."""
    ours = {
        function: {"iam_policy_file": file_name(stage, function), **settled}
        for function, settled in _FUNCTIONS.items()
        if function in wanted
    }
    for function, entry in ours.items():
        if function in before:
            there = config.as_object(before[function], function)
            ours[function] = {"iam_policy_file": entry["iam_policy_file"]} | {
                name: value for name, value in there.items() if name != "iam_policy_file"
            }
    return ours | {name: entry for name, entry in before.items() if name not in _FUNCTIONS}


if __name__ == "__main__":
    sys.exit(main())
