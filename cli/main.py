"""`aurora-refresh`: configure, deploy and operate a stage.

Each command imports what it needs when it runs. A tester's installation has no Chalice and no Flask.
"""

import os
import sys
from typing import Any

import click

from cli import deployer, operator, options
from cli.errors import as_failures
from cli.output import WrongUsage

_EPILOG = """\b
Examples:
  aurora-refresh status --stage acceptance
  aurora-refresh pin orders-2026-01-03 --stage acceptance --reason "compare December"
  aurora-refresh refresh --stage acceptance --dry-run

\b
Exit status: 0 ok, 1 problems found or request refused, 2 wrong usage.
Shell completion: eval "$(_AURORA_REFRESH_COMPLETE=bash_source aurora-refresh)"
"""


class _Group(click.Group):
    """Lists the commands in the order in which people need them, and reports every error as a sentence."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        for name, value in os.environ.items():
            # Botocore would raise a bare ValueError for it, wherever a client is made.
            if name.startswith("AWS_ENDPOINT_URL") and value and not options.is_address(value):
                right = "write an address such as http://127.0.0.1:5000, or unset it"
                raise WrongUsage(f"{name} is {value!r}: {right}")
        with as_failures():
            return super().invoke(context)


@click.group(cls=_Group, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aurora-refresh")
def cli() -> None:
    """Refresh acceptance's Aurora databases from production's snapshots."""


for command in (*operator.COMMANDS, *deployer.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    # Whoever starts this may have closed its streams.
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    cli(prog_name="aurora-refresh")


if __name__ == "__main__":
    main()
