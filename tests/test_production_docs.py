"""docs/production.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from chalicelib.domain.reasons import Reason
from chalicelib.settings.production import VARIABLES
from localcloud.production import ACCEPTANCE_RESTORES

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs/production.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text()


def test_the_table_of_settings_is_the_one_in_the_code(page: str) -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (\S.*?) \|", page, re.MULTILINE)
    assert [(name, default.strip("`")) for name, default in table] == [
        (variable.name, "required" if variable.required else variable.default or "none")
        for variable in VARIABLES
    ]


def test_the_page_explains_what_production_decides(page: str) -> None:
    rows = page.split("| reason |")[1].splitlines()[2:]
    cells = [row.split(" | ")[0] for row in rows if row.startswith("| `")]
    explained = {Reason(name) for cell in cells for name in re.findall("`(.*?)`", cell)}
    modules = [PROJECT / "chalicelib" / name for name in ("domain/shares.py", "usecases/share.py")]
    names = {name for file in modules for name in re.findall(r"Reason\.(\w+)", file.read_text())}
    refused_by_rds = {
        Reason.SNAPSHOT_QUOTA,
        Reason.CLUSTER_BUSY,
        Reason.COPY_QUOTA,
        Reason.COPY_KEY_DENIED,
        Reason.COPY_UNENCRYPTED,
        Reason.SNAPSHOT_GONE,
    }
    assert explained == {Reason[name] for name in names} | refused_by_rds


def test_the_key_policy_is_the_one_that_the_local_clouds_production_has(page: str) -> None:
    (statement,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(statement) == ACCEPTANCE_RESTORES
