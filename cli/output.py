"""What the command line prints: text, tables, questions and errors.

Others wrote some of the text. Nothing in it may control the terminal.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import IO, Any

import click

Row = Sequence[object]

# Control characters, invisible ones such as bidirectional overrides, and line ends of Unicode.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_TONES = {"good": "green", "stale": "red", "not prepared": "red", "unknown": "red"}
_TONED = ("state", "result")  # headings
_GAP = 3  # between columns


class Failure(click.ClickException):
    """An error in one sentence or a few lines."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error, without a prefix."""
        click.echo(printable(self.format_message()), file=file, err=True)


class WrongUsage(Failure):
    """A command that was given wrongly."""

    exit_code = 2


def printable(text: str) -> str:
    """Replace invisible characters that alter the output, except line breaks."""
    return "".join(
        "?" if unicodedata.category(each) in _INVISIBLE and each != "\n" else each for each in text
    )


def say(text: str = "") -> None:
    """Print a line; if the reader has closed the pipe, print no more."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:
        # Without this, Python would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_json(document: Any) -> None:
    """Print a document for machines, with every character but ASCII's escaped."""
    say(json.dumps(document, indent=2))


def is_interactive() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; raise Failure unless the answer is yes."""
    if yes:
        return
    if not is_interactive():
        raise WrongUsage(f"{question}\nThere is no terminal to ask on: add --yes to continue.")
    if not click.confirm(f"{printable(question)} Continue?", default=False, err=True):
        raise Failure("Nothing was changed.")


def say_table(headings: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table, in which None is empty: with colours on a terminal, as aligned text otherwise.

    On a terminal that is too narrow for its columns, each row is a paragraph.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    cells = [[printable(text).replace("\n", " ") for text in row] for row in texts]
    if not sys.stdout.isatty():
        lines = [list(headings), *cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            say("  ".join(padded).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(), Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    columns = [*zip(headings, *cells, strict=True)]
    # No name is broken, for people copy them.
    longest = [max(len(word) for cell in each for word in [*cell.split(), ""]) for each in columns]
    # A Text is never read as markup.
    styled = [
        [
            Text(cell, _TONES.get(cell, "") if heading in _TONED else "")
            for heading, cell in zip(headings, row, strict=True)
        ]
        for row in cells
    ]
    if sum(longest) + _GAP * (len(longest) - 1) > console.width:
        width = max(map(len, headings)) + 2
        for row in styled:
            for heading, text in zip(headings, row, strict=True):
                if text:
                    named = Text.assemble((heading.ljust(width), "dim"), text)
                    console.print(named, soft_wrap=True)
            console.print()
        return
    for column, least in zip(columns, longest, strict=True):
        table.add_column(column[0].upper(), overflow="fold", min_width=least)
    for row in styled:
        table.add_row(*row)
    console.print(table)
