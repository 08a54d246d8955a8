"""The documents name what exists."""

import re
from pathlib import Path

import pytest

from tests.simulation import test_copies_bite, test_it_bites

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
    planted = [len(each.PLANTED) for each in (test_it_bites, test_copies_bite)]
    assert f"plant {planted[0]} and {planted[1]} faults" in " ".join(GUARANTEES.split())


def anchors(document: Path) -> list[str]:
    """Return the anchors that GitHub gives to the document's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]


def without_code(text: str) -> str:
    """Return the document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
