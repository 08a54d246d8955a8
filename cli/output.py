"""What the command line prints: text, tables, questions and errors.

Others wrote some of the text. Nothing in it may control the terminal.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from chalicelib.domain.text import printable

Row = Sequence[object]

_WIDTH = 100_000  # more than any row has
_GAP = 2  # between columns
_LONGEST_FACT = 30  # a date, an age or a state, which is not wrapped as a sentence is
_TONES = {"good": "green", "stale": "red", "not prepared": "red", "unknown": "red"}


class Failure(click.ClickException):
    """An error in one sentence or a few lines."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error, without a prefix."""
        click.echo(printable(self.format_message()), file=file, err=True)


class WrongUsage(Failure):
    """A command that was used wrongly."""

    exit_code = 2


def say(text: str = "") -> None:
    """Print a line, or a few."""
    _echo(printable(text))


def _echo(text: str) -> None:
    """Print a text; if the reader has closed the pipe, print no more."""
    try:
        click.echo(text)
    except BrokenPipeError:
        # Without this, Python would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_json(document: Any) -> None:
    """Print a document for machines, with every character but ASCII's escaped."""
    say(json.dumps(document, indent=2))


def is_interactive() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool = False) -> None:
    """Ask before an action that cannot be undone; raise Failure unless the answer is yes."""
    if yes:
        return
    if not is_interactive():
        raise WrongUsage(f"{question}\nThere is no terminal to ask on: add --yes to continue.")
    if not click.confirm(f"{printable(question)} Continue?", default=False, err=True):
        raise Failure("Nothing was changed.")


def say_table(headings: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table, in which None is empty: with colours on a terminal, a line for each row otherwise.

    No name is broken, because people copy them: a terminal that is too narrow wraps the lines.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim")
    texts = [["" if cell is None else " ".join(str(cell).split()) for cell in row] for row in rows]
    least = 0
    for heading, *column in zip(headings, *texts, strict=True):
        words = " ".join([heading, *column]).split()
        # No name has wide characters, whose languages put no spaces between words.
        longest = max(len(word) for word in words if len(word) == cell_len(word))
        widest = max(map(cell_len, [heading, *column]))
        has_sentences = widest > _LONGEST_FACT and longest < widest
        least_width = longest if has_sentences else widest
        table.add_column(heading, min_width=least_width, no_wrap=not has_sentences, overflow="fold")
        least += least_width + _GAP
    for row in texts:
        # A Text is never read as markup.
        table.add_row(*(Text(printable(text), _TONES.get(text, "")) for text in row))
    console = Console()
    console.width = max(console.width, least) if sys.stdout.isatty() else _WIDTH
    with console.capture() as captured:
        console.print(table, crop=False)
    for line in captured.get().splitlines():
        _echo(line.rstrip())
