"""What a request may hold, by declared fields. Pure: everything in it is untrusted.

A problem is a ValueError that names the field, its value and what would be right.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from chalicelib.domain import schedule
from chalicelib.domain.snapshots import SnapshotArn

BODY_LIMIT = 8_192
ARN_LIMIT = 512
IDENTIFIER_LIMIT = 255
REASON_LIMIT = 256
ECHO_LIMIT = 80

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
# "rds:" begins the names of automated snapshots.
_IDENTIFIER = re.compile(r"(rds:)?[A-Za-z](-?[A-Za-z0-9])*")

# Control characters, invisible ones (bidirectional overrides, zero width), halves of surrogate
# pairs, and Unicode's line ends: a reason is read in terminals, logs and mails.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Field(NamedTuple):
    """A field of a request. ``read`` makes its value, or raises ValueError where it is not ``expected``."""

    name: str
    kind: type
    expected: str
    read: Callable[[Any], Any] = lambda value: value
    default: Any = None
    required: bool = False


def json_body(raw: bytes, fields: Sequence[Field]) -> dict[str, Any]:
    """The values of the ``fields`` in a JSON object, defaults where they are left out."""
    if not raw and not fields:
        return {}
    _check_size(raw)
    try:
        body = json.loads(raw, parse_constant=_no_constant, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(body, _Pairs):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004 (a problem like any other)
    return _values(body, fields)


def form_body(raw: bytes, fields: Sequence[Field]) -> dict[str, Any]:
    """The same of a form as a browser sends it; what is left empty is left out."""
    pairs = [
        (name, _SWITCHES.get(text, text) if _is_switch(name, fields) else text)
        for name, text in form_fields(raw)
    ]
    values = _values(pairs, (ACTION, *fields))
    del values[ACTION.name]  # which has led here
    return values


def form_fields(raw: bytes) -> list[tuple[str, str]]:
    """The names and texts of a form's fields that are not empty."""
    _check_size(raw)
    try:
        return parse_qsl(raw.decode("ascii"), max_num_fields=20, errors="strict")
    except ValueError:
        raise ValueError("the body is not a form") from None


def database_name(
    query: Iterable[tuple[str, str]], body: dict[str, Any], known: Sequence[str]
) -> str:
    """The database that query or body names; it need not where there is only one."""
    names = {text for _, text in query}
    if body.get("database") is not None:
        names.add(body["database"])
    if len(names) > 1:
        raise ValueError("the request names different databases")
    if not names and len(known) > 1:
        raise ValueError(f"database is missing: name one of {', '.join(known)}")
    return names.pop() if names else known[0]


def check_query(query: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
    """Raises ValueError for a query parameter that the route does not know."""
    unknown = dict.fromkeys(name for name, _ in query if name not in known)
    if unknown:
        raise ValueError(
            f"unknown query parameter {echo(', '.join(unknown))}; known: "
            f"{', '.join(known) or 'none'}"
        )


def echo(value: object) -> str:
    """``value`` as its sender wrote it, cut short: escaped, so that it controls no terminal."""
    if isinstance(value, list):
        return "an object" if isinstance(value, _Pairs) else "an array"
    text = json.dumps(value)
    return text if len(text) <= ECHO_LIMIT else f"{text[:ECHO_LIMIT]}…"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's names and values: a name may stand twice in it."""


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python reads but JSON has not


def _check_size(raw: bytes) -> None:
    if len(raw) > BODY_LIMIT:
        raise ValueError(f"the body is larger than {BODY_LIMIT} bytes")


def _values(pairs: Sequence[tuple[str, Any]], fields: Sequence[Field]) -> dict[str, Any]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise ValueError(f"field {echo(name)} is written {times} times")
    given = dict(pairs)
    names = [field.name for field in fields]
    for name in given:
        if name not in names:
            raise ValueError(f"unknown field {echo(name)}; known: {', '.join(names) or 'none'}")
    return {field.name: _value(given, field) for field in fields}


def _value(given: dict[str, Any], field: Field) -> Any:
    if field.name not in given:
        if field.required:
            raise ValueError(f"{field.name} is missing: {field.expected}")
        return field.default
    value = given[field.name]
    if type(value) is not field.kind:  # a bool is an int to isinstance
        raise ValueError(f"{field.name} is {echo(value)}: {_KINDS[field.kind]}")
    try:
        return field.read(value)
    except ValueError:
        raise ValueError(f"{field.name} is {echo(value)}: {field.expected}") from None


_SWITCHES = {"true": True, "false": False}
_KINDS = {str: "a string is wanted", bool: "true or false is wanted"}


def _is_switch(name: str, fields: Sequence[Field]) -> bool:
    return any(field.name == name and field.kind is bool for field in fields)


def _snapshot(text: str) -> str:
    if (len(text) <= IDENTIFIER_LIMIT and _IDENTIFIER.fullmatch(text)) or (
        len(text) <= ARN_LIMIT and SnapshotArn.parse(text)
    ):
        return text
    raise ValueError(text)


def _visible(text: str) -> str:
    if len(text) > REASON_LIMIT or _INVISIBLE.intersection(map(unicodedata.category, text)):
        raise ValueError(text)
    return text


def _switch(name: str) -> Field:
    return Field(name, bool, _KINDS[bool], default=False)


SNAPSHOT = Field(
    "snapshot",
    str,
    "the ARN or the identifier of a DB cluster snapshot is wanted, or latest",
    _snapshot,
    required=True,
)
REASON = Field(
    "reason",
    str,
    f"at most {REASON_LIMIT} characters are wanted, and none that is invisible or controls a "
    "terminal",
    _visible,
    default="",
)
UNTIL = Field("until", str, "a date such as 2026-01-22 is wanted", schedule.day, required=True)
DATABASE = Field("database", str, _KINDS[str])
ACTION = Field("action", str, _KINDS[str])

PIN = (SNAPSHOT, REASON, _switch("deploy"), DATABASE)
ROLLBACK = (REASON, _switch("deploy"), DATABASE)
HOLD = (UNTIL, REASON)
REFRESH = (_switch("dry_run"), _switch("outside_window"), REASON)
