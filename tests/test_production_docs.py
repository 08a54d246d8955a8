"""docs/production.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from chalicelib.settings.production import VARIABLES
from chalicelib.usecases.share import NEXT_STEPS
from localcloud.production import ACCEPTANCE_RESTORES

PAGE = Path(__file__).resolve().parents[1] / "docs/production.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text()


def test_the_table_of_settings_is_the_one_in_the_code(page: str) -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", page, re.MULTILINE)
    assert [(name, default.strip("`")) for name, default in table] == [
        (variable.name, "required" if variable.required else variable.default or "none")
        for variable in VARIABLES
    ]


def test_the_page_explains_every_reason_and_no_other(page: str) -> None:
    rows = page.split("| reason |")[1].splitlines()[2:]
    cells = [row.split(" | ")[0] for row in rows if row.startswith("| `")]
    assert {reason for cell in cells for reason in re.findall("`(.*?)`", cell)} == set(NEXT_STEPS)


def test_the_key_policy_is_the_one_that_the_local_clouds_production_has(page: str) -> None:
    (statement,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(statement) == ACCEPTANCE_RESTORES
