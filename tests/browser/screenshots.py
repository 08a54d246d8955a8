"""``make screenshots``: the pictures in docs/."""

import io
import re
import time
from pathlib import Path

import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from cli import operator
from cli.main import cli
from tests.browser.conftest import Show
from tests.console_states import attention, denied, healthy

DOCS = Path(__file__).resolve().parents[2] / "docs"
STATES = {"healthy": healthy, "attention": attention, "denied": denied, "phone": attention}


@pytest.mark.parametrize("name", STATES)
def test_screenshot(show: Show, name: str) -> None:
    size = "phone" if name == "phone" else "desktop"
    with show(STATES[name](), size, reduced_motion="reduce") as page:
        page.screenshot(path=DOCS / f"console-{name}.png")


def test_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself, on what it takes for a terminal, over a client that answers as the API does."""
    monkeypatch.setattr(operator, "connect", lambda *_: attention())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    terminal = {"COLUMNS": "118", "TERM": "xterm-256color", "TZ": "Europe/Amsterdam"}
    for name, value in terminal.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    with pytest.raises(SystemExit):  # as one database needs attention
        cli(["status", "--stage", "acceptance"])
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ aurora-refresh status --stage acceptance"))
    console.print(Text.from_ansi(capsys.readouterr().out))
    # Without the fonts that it would load from the internet.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    path = str(DOCS / "terminal.svg")
    console.save_svg(path, title="aurora-refresh", code_format=template, unique_id="t")
