"""The documents name what exists, and say what the code does."""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chalicelib.domain.reasons import Reason
from chalicelib.domain.schedule import Expression
from chalicelib.settings import acceptance, production
from cli.main import cli
from cli.policies import key_statements
from cli.stages import AcceptanceStage, load, own_answers
from tests.test_openapi import OPERATIONS

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text() for path in DOCUMENTS}
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

ACCEPTANCE = acceptance.variables(["P"])
# Files, with or without one of their tests.
NAMED = re.findall(
    r"`([\w/.-]+\.(?:py|txt|yaml))(?:::(\w+))?`",
    TEXTS["guarantees.md"] + TEXTS["SECURITY.md"] + TEXTS["main-pipeline.md"],
)


def section(document: str, heading: str) -> str:
    return TEXTS[document].split(f"## {heading}\n")[1].split("\n## ")[0]


def codes_in_rows(text: str, pattern: str) -> set[str]:
    """Return the codes that match in the first cells of a table."""
    cells = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `")]
    return {code for cell in cells for code in re.findall(f"`({pattern})`", cell)}


# --- names and links ------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "function"), sorted(set(NAMED)))
def test_every_file_and_test_that_is_named_exists(file: str, function: str) -> None:
    paths = [*PROJECT.glob(file), *PROJECT.glob(f"tests/**/{file}")]
    wanted = f"def {function}(" if function else ""
    assert len([path for path in paths if wanted in path.read_text()]) == 1


@every_document
def test_every_link_leads_to_a_file_and_its_heading(document: Path) -> None:
    for target, heading in links(document):
        assert target.exists(), target
        assert not heading or heading in anchors(target), f"{target}#{heading}"


def test_every_document_is_linked_from_another_one() -> None:
    linked = {target for each in DOCUMENTS for target, _ in links(each) if target != each}
    assert {*DOCUMENTS} - linked <= {PROJECT / "README.md"}


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file to which each link leads, and the heading or ""."""
    text = without_code(document.read_text())
    for file, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        yield (document.parent / file).resolve() if file else document, heading


def anchors(document: Path) -> list[str]:
    """Return the anchors that GitHub gives to the document's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]


def without_code(text: str) -> str:
    """Return the document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# --- settings and commands ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "variables"),
    [("settings.md", ACCEPTANCE), ("production.md", production.VARIABLES)],
)
def test_the_table_of_settings_is_the_one_in_the_code(
    document: str, variables: tuple[acceptance.Variable, ...]
) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", TEXTS[document], re.MULTILINE)
    table = {name: default.strip("`") for name, default in rows}
    if document == "settings.md":
        del table["SHARE_WITH_ACCOUNT"]  # which makes it a production stage
    assert table == {
        each.name: "required" if each.required else each.default or "none" for each in variables
    }


def test_the_readme_lists_the_required_settings_and_the_routes_and_stays_short() -> None:
    settings = codes_in_rows(section("README.md", "Settings"), "[A-Z_]+")
    assert settings == {each.name for each in acceptance.variables(["RDS"]) if each.required}
    routes = codes_in_rows(section("README.md", "Operate it"), r"[A-Z]+ /\S*")
    assert routes == {" ".join(route) for route in OPERATIONS}
    assert len(TEXTS["README.md"].splitlines()) < 120


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"(?:`|^    )make (\w+)", TEXTS["README.md"], re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "setup"} <= named <= targets


def commands(document: str) -> list[list[str]]:
    """Return the words of each `aurora-refresh` command that a document prints."""
    text = TEXTS[document].replace("\\\n", " ")
    lines = re.findall(r"^(?: +(?:\$ )?|\$ )aurora-refresh (.*)", text, re.MULTILINE)
    return [shlex.split(line.split(" | ")[0], comments=True) for line in lines]


@every_document
def test_every_printed_command_is_one_that_the_command_line_takes(document: Path) -> None:
    for name, *words in commands(document.name):
        try:
            cli.commands[name].make_context(name, words)
        except click.UsageError as error:
            pytest.fail(f"{name} {shlex.join(words)}: {error.format_message()}")


def test_the_example_with_two_databases_is_a_stage(tmp_path: Path) -> None:
    (words,) = [each for each in commands("settings.md") if "DATABASES=ORDERS,DOCS" in each]
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice/config.json").write_text('{"app_name": "aurora-refresh", "stages": {}}')
    done = CliRunner().invoke(cli, [*words, "--offline", "--project", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (0, "")
    stage = load(tmp_path, "acceptance")
    assert isinstance(stage, AcceptanceStage)
    assert [each.name for each in stage.settings.databases] == ["orders", "docs"]


@pytest.mark.parametrize(
    ("document", "name"),
    [("README.md", "acceptance"), ("deploying.md", "acceptance"), ("production.md", "production")],
)
def test_the_first_command_leaves_only_internal_names(document: str, name: str) -> None:
    """No other account or tool knows the names of the example that remain."""
    words = next(each for each in commands(document) if any(word.endswith("=…") for word in each))
    assert words[:3] == ["configure", "--stage", name]
    given = {word.partition("=")[0] for word in words[3:]}
    body = json.loads((PROJECT / ".chalice/config.json").read_text())["stages"][name]
    example = body["environment_variables"].keys() | own_answers(body).keys()
    kept = {each for each in example if re.match("SSM_(?!.*_CURRENT_)|DATABASES", each)}
    assert given == example - kept


# --- what the code does ---------------------------------------------------------------------------


def test_the_event_for_sharing_again_is_one_of_the_schedule() -> None:
    (text,) = re.findall(r"<<'END'\n(.*?)\nEND", TEXTS["production.md"], re.DOTALL)
    event = json.loads(text)
    time = datetime.fromisoformat(event["time"])
    (default,) = [each.default for each in production.VARIABLES if each.name == "SHARE_SCHEDULE"]
    assert event["detail-type"] == "Scheduled Event"
    assert time in Expression.parse(default).fires_on(time.date())


def test_every_reason_that_people_are_notified_of_is_in_a_page() -> None:
    text = TEXTS["troubleshooting.md"] + TEXTS["production.md"]
    assert [each for each in Reason if each.next_step and f"`{each}`" not in text] == []


def test_the_page_about_production_explains_what_production_decides() -> None:
    explained = codes_in_rows(TEXTS["production.md"].split("| reason |")[1], ".*?")
    modules = [PROJECT / "chalicelib" / name for name in ("domain/shares.py", "usecases/share.py")]
    names = {name for file in modules for name in re.findall(r"Reason\.(\w+)", file.read_text())}
    refused_by_rds = {
        *(Reason.SNAPSHOT_QUOTA, Reason.CLUSTER_BUSY, Reason.SNAPSHOT_GONE),
        *(Reason.COPY_QUOTA, Reason.COPY_KEY_DENIED, Reason.COPY_UNENCRYPTED),
    }
    assert explained == {Reason[name] for name in names} | refused_by_rds


def test_the_key_policy_is_the_one_that_the_doctor_prints() -> None:
    (statements,) = re.findall(r"```json\n(.*?)```", TEXTS["production.md"], re.DOTALL)
    assert json.loads(statements) == key_statements("aws", "222222222222", ["eu-west-1"])
