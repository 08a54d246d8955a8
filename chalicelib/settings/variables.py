"""How one environment variable is read, and all problems of several are found at once. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Variable(NamedTuple):
    """How one variable is read; ``parse`` raises ValueError saying what would be right."""

    name: str
    parse: Callable[[str], Any]
    default: str | None = None
    required: bool = False


def read(
    environment: Mapping[str, str],
    variables: tuple[Variable, ...],
    problems: list[str],
    prefix: str = "",
) -> dict[str, Any]:
    """The variables' values by name; what is wrong is added to ``problems`` and left out."""
    values: dict[str, Any] = {}
    for variable in variables:
        name = variable.name.format(prefix)
        # An empty variable means the same as none: templates set what they do not use to "".
        text = environment.get(name) or variable.default
        try:
            if text or variable.required:
                values[variable.name] = variable.parse(text or "")
            else:
                values[variable.name] = None
        except ValueError as error:
            problems.append(f"{name} is {repr(text) if text else 'missing'}: {error}")
    return values


def matching(pattern: str, wanted: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(wanted)
        return text

    return parse


def whole_number(text: str, least: int) -> int:
    # int() alone would also take "1_0", " 1 " and digits of other scripts.
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < least:
        raise ValueError(f"write a whole number from {least} to 9999")
    return int(text)


def at_least_one(text: str) -> int:
    return whole_number(text, 1)


def account_of(whose: str) -> Callable[[str], str]:
    return matching("[0-9]{12}", f"write {whose} account id, 12 digits")


def cluster_identifier(text: str) -> str:
    # RDS stores identifiers in lower case, whatever case they were created with.
    return matching(
        "[a-z](-?[a-z0-9]){0,62}",
        "write a DB cluster identifier: 1 to 63 letters, digits and single hyphens, first a letter",
    )(text.lower())


# https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
_KEY_ID = "(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_KEY_ALIAS = "alias/(?!aws/)[A-Za-z0-9/_-]{1,250}"
_KEY_ARN = f"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{{12}}:(key/{_KEY_ID}|{_KEY_ALIAS})"


def key_of(whose: str) -> Callable[[str], str]:
    return matching(
        f"{_KEY_ID}|{_KEY_ALIAS}|{_KEY_ARN}",
        f"write the id, ARN or alias of {whose} own customer-managed key; the default key aws/rds "
        "will not do",
    )


def topic_arn(example: str) -> Callable[[str], str]:
    return matching(
        r"arn:aws(-[a-z-]+)?:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}",
        f"write the ARN of a standard SNS topic, such as {example}",
    )
