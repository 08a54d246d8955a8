"""Validation of requests by declared fields. Everything in a request is untrusted. Pure.

A problem is a BadRequestError that names the field, its value and what would be right.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from chalice.app import BadRequestError

from chalicelib.domain.schedule import day
from chalicelib.domain.snapshots import SnapshotArn
from chalicelib.domain.text import is_invisible

ARN_LIMIT = 512
IDENTIFIER_LIMIT = 255
REASON_LIMIT = 256
ECHO_LIMIT = 80

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
# The names of automated snapshots begin with "rds:", those of AWS Backup's with "awsbackup:".
_IDENTIFIER = re.compile(r"(rds:|awsbackup:)?[A-Za-z](-?[A-Za-z0-9])*")

# Letters and marks that render as nothing: Hangul fillers, the Braille blank, variation selectors
# and the like.
# https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)


class Field(NamedTuple):
    """A field of a request; `read` converts its value, or raises ValueError if it is not `expected`."""

    name: str
    kind: type
    expected: str
    read: Callable[[Any], Any] = lambda value: value
    default: Any = None
    required: bool = False

    def value_in(self, body: dict[str, Any]) -> Any:
        """Return the field's value, or its default; raise BadRequestError."""
        if self.name not in body:
            if self.required:
                raise BadRequestError(f"{self.name} is missing: {self.expected}")
            return self.default
        value = body[self.name]
        try:
            if type(value) is self.kind:  # a bool is an int to isinstance
                return self.read(value)
        except ValueError:
            pass  # as of another kind
        raise BadRequestError(f"{self.name} is {echo(value)}: {self.expected}")


def json_body(raw: bytes | str, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the values of the fields in a JSON object, or their defaults; raise BadRequestError."""
    try:
        body = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body is not a JSON object")
    names = [field.name for field in fields]
    for name in body:
        if name not in names:
            raise BadRequestError(
                f"unknown field {echo(name)}; known: {', '.join(names) or 'none'}"
            )
    return {field.name: field.value_in(body) for field in fields}


def check_query(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise BadRequestError for a query parameter that the route does not know."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadRequestError(
            f"unknown query parameter {echo(', '.join(unknown))}; known: "
            f"{', '.join(known) or 'none'}"
        )


def echo(value: object) -> str:
    """Return a value as truncated JSON, so that it cannot control a terminal."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= ECHO_LIMIT else f"{text[:ECHO_LIMIT]}…"


def _snapshot(text: str) -> str:
    if (len(text) <= IDENTIFIER_LIMIT and _IDENTIFIER.fullmatch(text)) or (
        len(text) <= ARN_LIMIT and SnapshotArn.parse(text)
    ):
        return text
    raise ValueError(text)


def _visible(text: str) -> str:
    # A reason is read in terminals, logs and e-mails.
    if len(text) > REASON_LIMIT or any(map(is_invisible, text)) or _BLANK.search(text):
        raise ValueError(text)
    return text


def _switch(name: str) -> Field:
    return Field(name, bool, "write true or false", default=False)


SNAPSHOT = Field(
    "snapshot",
    str,
    "write the ARN or the identifier of a DB cluster snapshot, or latest",
    _snapshot,
    required=True,
)
REASON = Field(
    "reason",
    str,
    f"write at most {REASON_LIMIT} characters, without invisible and control characters",
    _visible,
    default="",
)
UNTIL = Field("until", str, "write a date such as 2026-01-22", day, required=True)
DATABASE = Field("database", str, "write the name of a database")

PIN = (SNAPSHOT, REASON, _switch("deploy"), DATABASE)
ROLLBACK = (REASON, _switch("deploy"), DATABASE)
HOLD = (UNTIL, REASON)
REFRESH = (_switch("dry_run"), _switch("outside_window"), REASON)
