"""Read environment variables, and find every problem at once. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib.domain.errors import Problem

# difflib's ratio from which a name counts as a typo. It leaves out what builds and Elastic Beanstalk
# set, such as SOURCE_VERSION and RDS_HOSTNAME.
_SIMILAR = 0.82


class Variable(NamedTuple):
    """How to read one variable; `parse` raises ValueError, which says what would be right."""

    name: str
    parse: Callable[[str], Any]
    default: str | None = None
    required: bool = False


def read(
    environment: Mapping[str, str], variables: Iterable[Variable], problems: list[Problem]
) -> dict[str, Any]:
    """Return the variables' values by name; a wrong one is None, and is added to `problems`."""
    values: dict[str, Any] = {}
    for name, parse, default, required in variables:
        # An empty variable means the same as none: templates set what they do not use to "".
        text = environment.get(name) or default
        try:
            values[name] = parse(text or "") if text or required else None
        except ValueError as error:
            values[name] = None
            found = repr(text) if text else "missing"
            problems.append(Problem((name,), f"is {found}: {error}", missing=not text))
    return values


def probable_typos(environment: Mapping[str, str], known: Sequence[str]) -> Iterator[Problem]:
    """Yield the variables that are unknown but look like known ones.

    A deployed function does not look: its deployment has, and a cold start would take longer.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" in environment:
        return
    import difflib  # noqa: PLC0415 (see above)

    unknown = sorted(name for name, value in environment.items() if value and name not in known)
    for name in unknown:
        if close := difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR):
            detail = f"is unknown: {close[0]} may be meant; correct or remove it"
            yield Problem((name,), detail, unknown=True)


def matching(pattern: str, right: str) -> Callable[[str], str]:
    """Return a parser for text that matches `pattern`; `right` is the error message."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(right)
        return text

    return parse


def list_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of different items, separated by commas."""

    def parse_all(text: str) -> tuple[str, ...]:
        items = tuple(parse(part.strip()) for part in text.split(","))
        if len(set(items)) < len(items):
            raise ValueError("write each one once")
        return items

    return parse_all


def whole_number(text: str, least: int) -> int:
    """Parse a whole number; raise ValueError for a smaller one than `least`."""
    # int() alone would also take "1_0", " 1 " and digits of other scripts.
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < least:
        raise ValueError(f"write a whole number from {least} to 9999")
    return int(text)


def at_least_one(text: str) -> int:
    """Parse a positive number; raise ValueError."""
    return whole_number(text, 1)


# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
_KEY_ID = "(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_KEY_ALIAS = "alias/(?!aws/)[A-Za-z0-9/_-]{1,250}"
_KEY_ARN = f"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{{12}}:(key/{_KEY_ID}|{_KEY_ALIAS})"
KEY = matching(
    f"{_KEY_ID}|{_KEY_ALIAS}|{_KEY_ARN}",
    "write the id, ARN or alias of this account's own customer-managed key, not the default key "
    "aws/rds",
)

TOPIC = matching(
    r"arn:aws(-[a-z-]+)?:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}",
    "write the ARN of a standard SNS topic, such as "
    "arn:aws:sns:eu-west-1:222222222222:aurora-refresh",
)

_CLUSTER = matching(
    "(?=.{1,63}$)[A-Za-z](-?[A-Za-z0-9])*",
    "write a DB cluster identifier: 1 to 63 letters, digits and single hyphens, first a letter",
)


def cluster_identifier(text: str) -> str:
    """Parse the identifier of a DB cluster, as RDS stores it; raise ValueError."""
    return _CLUSTER(text).lower()
