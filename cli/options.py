"""Options that commands share, and the answers of `NAME=VALUE`."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from cli.output import WrongUsage

Option = Callable[[Any], Any]


# Botocore prefers these to the profile that AWS_PROFILE names.
_PREFERRED = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


def _use(variable: str, *without: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Set the environment variable for this process and for the Chalice process that it starts."""

    def use(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value:
            os.environ[variable] = value
            for name in without:
                os.environ.pop(name, None)

    return use


def _address(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    """Return the address; raise WrongUsage if it is invalid, or would send the signature unencrypted."""
    if not url:
        return url
    if is_address(url):
        parts = urlsplit(url)
        if parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1"):
            return url
    right = "write one that begins with https://, such as https://ID.execute-api.eu-west-1.amazonaws.com/api"
    raise WrongUsage(f"--url is {url!r}: {right}")


def is_address(url: str) -> bool:
    """Return whether requests can be sent to a URL."""
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    return False


def _answers(
    _context: click.Context, _argument: click.Parameter, words: Sequence[str]
) -> dict[str, str]:
    """Return the answers of `NAME=VALUE`; raise WrongUsage."""
    answers = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise WrongUsage(f"{word!r}: write NAME=VALUE, such as RDS_ENGINE_VERSION=15")
        answers[name] = value
    return answers


_STAGE = partial(
    click.option,
    metavar="NAME",
    envvar="AURORA_REFRESH_STAGE",
    help="The stage, such as acceptance. [env: AURORA_REFRESH_STAGE]",
)

STAGE = _STAGE("--stage")
REQUIRED_STAGE = _STAGE("--stage", "name", required=True)
URL = click.option(
    "--url",
    callback=_address,
    metavar="ADDRESS",
    help="The API's address, if it cannot be found by the stage's name.",
)
PROFILE = click.option(
    "--profile",
    metavar="NAME",
    help="The AWS profile; default: AWS_PROFILE.",
    expose_value=False,
    callback=_use("AWS_PROFILE", *_PREFERRED),
)
REGION = click.option(
    "--region",
    metavar="NAME",
    help="The AWS Region; default: AWS_DEFAULT_REGION or the profile's.",
    expose_value=False,
    callback=_use("AWS_DEFAULT_REGION"),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
DATABASE = click.option(
    "--database", metavar="NAME", help="The database; required if the stage has several."
)
YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
REASON = click.option("--reason", default="", help="The reason, for colleagues and the history.")
PROJECT = click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="The folder that holds app.py; default: the current one.",
)
ANSWERS = click.argument("answers", nargs=-1, metavar="[NAME=VALUE]...", callback=_answers)
