"""``make screenshots``: the pictures in docs/."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.browser.conftest import Show
from tests.console_states import FakeClient, attention, denied, healthy

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "client", "size"),
    [
        ("healthy", healthy, "desktop"),
        ("attention", attention, "desktop"),
        ("denied", denied, "desktop"),
        ("phone", attention, "phone"),
    ],
)
def test_screenshot(show: Show, name: str, client: Callable[[], FakeClient], size: str) -> None:
    with show(client(), size, reduced_motion="reduce") as page:
        page.screenshot(path=DOCS / f"console-{name}.png")


COMMAND = "aurora-refresh status --stage acceptance"
COLUMNS = 118
# The command itself, on what it takes for a terminal, over a client that answers as the API does.
PROGRAM = f"""
import sys
from cli import operator
from cli.main import cli
from tests.console_states import attention
sys.stdout.isatty = lambda: True
operator.connect = lambda *_: operator.Target("acceptance", attention())
cli({COMMAND.split()[1:]})
"""


def test_terminal() -> None:
    terminal = {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "TZ": "Europe/Amsterdam"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=DOCS.parent,
        env=os.environ | terminal,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {COMMAND}"))
    console.print(Text.from_ansi(done.stdout))
    # Without the fonts that it would load from the internet.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(
        str(DOCS / "terminal.svg"), title="aurora-refresh", code_format=template, unique_id="t"
    )
