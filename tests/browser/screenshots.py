"""``make screenshots``: the pictures in docs/."""

import io
import os
import pty
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
# The command itself, over a client that answers as the API does.
PROGRAM = f"""
from cli import operator
from cli.main import cli
from tests.console_states import attention
operator.connect = lambda *_: operator.Target("acceptance", attention())
cli({COMMAND.split()[1:]})
"""


def on_terminal(program: str) -> str:
    """Return what a program prints on a terminal, with the sequences that colour it."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    environment |= {"TZ": "Europe/Amsterdam"}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=DOCS.parent, env=environment, stdout=slave
    ):
        os.close(slave)
        said = b""
        while True:
            try:
                said += (read := os.read(master, 65_536))
            except OSError:  # Linux's end of file
                break
            if not read:
                break
    os.close(master)
    return said.decode().replace("\r\n", "\n")


def test_terminal() -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {COMMAND}"))
    console.print(Text.from_ansi(on_terminal(PROGRAM)))
    # Without the fonts that it would load from the internet.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(
        str(DOCS / "terminal.svg"), title="aurora-refresh", code_format=template, unique_id="t"
    )
