"""The documents name what exists."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chalicelib.domain.reasons import Reason
from cli.main import cli
from cli.stages import AcceptanceStage, load
from tests.simulation import test_it_bites

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
GUARANTEES = (PROJECT / "docs/guarantees.md").read_text()
SECURITY = (PROJECT / "SECURITY.md").read_text()
NAMED = re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)(?:::(\w+))?`", GUARANTEES + SECURITY)
TESTS = [path.relative_to(PROJECT).as_posix() for path in (PROJECT / "tests").rglob("test_*.py")]


@pytest.mark.parametrize("named", sorted(set(NAMED)))
def test_every_test_that_is_named_exists(named: tuple[str, str]) -> None:
    file, function = named
    paths = [path for path in TESTS if f"/{path}".endswith(f"/{file}")]
    holding = [
        path for path in paths if not function or f"def {function}(" in (PROJECT / path).read_text()
    ]
    assert len(holding) == 1


def test_every_file_that_security_names_exists() -> None:
    named = re.findall(r"`([\w-]+(?:/[\w.-]+)*\.(?:py|txt|yaml))`", SECURITY)
    here = [name for name in named if not name.startswith("test_")]
    assert len(here) > 5
    assert [name for name in here if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_its_heading(document: Path) -> None:
    links = re.findall(
        r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", without_code(document.read_text())
    )
    for file, heading in links:
        target = document.parent / file if file else document
        assert target.exists(), file
        assert not heading or heading in anchors(target), f"{file}#{heading}"


def test_every_document_is_reachable_from_the_readme() -> None:
    reached, waiting = set[Path](), [PROJECT / "README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        linked = re.findall(r"\]\(([^)#:\s]+\.md)(?:#[^)]*)?\)", document.read_text())
        waiting += {(document.parent / file).resolve() for file in linked} - reached
    assert [path.name for path in DOCUMENTS if path not in reached] == []


def test_the_documents_say_how_many_faults_are_planted() -> None:
    planted = len(test_it_bites.PLANTED | test_it_bites.IN_COPIES)
    assert f"plants {planted} faults" in " ".join(GUARANTEES.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_printed_command_is_one_that_the_command_line_takes(document: Path) -> None:
    text = document.read_text().replace("\\\n", " ")
    printed = re.findall(
        r"^ +(?:\$ )?(aurora-refresh .*)|^\$ (aurora-refresh .*)", text, re.MULTILINE
    )
    for line in ("".join(each) for each in printed):
        name, *words = shlex.split(line.split(" | ")[0], comments=True)[1:]
        try:
            cli.commands[name].make_context(name, words)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_the_example_with_two_databases_is_a_stage(tmp_path: Path) -> None:
    text = (PROJECT / "docs/settings.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ +aurora-refresh (configure .*DATABASES=.*)", text, re.MULTILINE)
    (tmp_path / ".chalice").mkdir()
    (tmp_path / ".chalice/config.json").write_text('{"app_name": "aurora-refresh", "stages": {}}')
    words = [*shlex.split(line), "--offline", "--project", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.stderr) == (0, "")
    stage = load(tmp_path, "acceptance")
    assert isinstance(stage, AcceptanceStage)
    assert [each.name for each in stage.settings.databases] == ["orders", "docs"]


def test_every_reason_that_people_are_notified_of_is_in_a_page() -> None:
    pages = [PROJECT / "docs" / name for name in ("troubleshooting.md", "production.md")]
    text = "".join(page.read_text() for page in pages)
    assert [each for each in Reason if each.next_step and f"`{each}`" not in text] == []


def anchors(document: Path) -> list[str]:
    """Return the anchors that GitHub gives to the document's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]


def without_code(text: str) -> str:
    """Return the document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_the_bill_of_a_month_counts_every_alarm() -> None:
    template = (PROJECT / "infrastructure/monitoring-acceptance.yaml").read_text()
    alarms = template.count("Type: AWS::CloudWatch::Alarm\n")
    assert (
        f"| CloudWatch alarms | {alarms} × $0.10 |" in (PROJECT / "docs/benchmarks.md").read_text()
    )
