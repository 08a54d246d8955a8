"""The documents name what exists."""

import re
from pathlib import Path

import pytest

from tests.simulation.test_it_bites import PLANTED

PROJECT = Path(__file__).resolve().parents[1]
GUARANTEES = (PROJECT / "docs/guarantees.md").read_text()


@pytest.mark.parametrize(
    "named", sorted(set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", GUARANTEES)))
)
def test_every_test_that_is_named_exists(named: tuple[str, str]) -> None:
    file, function = named
    (path,) = (PROJECT / "tests").rglob(file)
    assert f"def {function}" in path.read_text()


def test_the_number_of_planted_faults_is_told_rightly() -> None:
    assert f"plants {len(PLANTED)} faults" in GUARANTEES
