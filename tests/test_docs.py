"""The documents name what exists."""

import re
from pathlib import Path

import pytest

from tests.simulation import test_copies_bite, test_it_bites

PROJECT = Path(__file__).resolve().parents[1]
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


def test_the_links_of_security_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", SECURITY)
    assert len(links) > 3
    for file, heading in links:
        headings = re.findall(r"^#+ (.+)$", (PROJECT / file).read_text(), re.MULTILINE)
        assert not heading or heading in [each.lower().replace(" ", "-") for each in headings]


def test_the_number_of_planted_faults_is_told_rightly() -> None:
    planted = [len(each.PLANTED) for each in (test_it_bites, test_copies_bite)]
    assert f"plant {planted[0]} and {planted[1]} faults" in GUARANTEES
