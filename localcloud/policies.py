"""Policies: evaluate whether they allow an action on a resource.

moto ignores most policies. Restores *Policy evaluation logic* (IAM User Guide): an explicit Deny wins over any
Allow, and without either the request is refused. An unknown condition or policy variable is an error, because
ignoring it could grant what AWS denies.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

Document = dict[str, Any]
# The values of a request's condition keys; the keys are in lower case.
Context = Mapping[str, list[str]]

# The tag of secrets that RDS manages.
CLUSTER_TAG = "aws:rds:primaryDBClusterArn"
TAG_KEY = f"secretsmanager:resourcetag/{CLUSTER_TAG}".lower()
OWNER_KEY = "aws:resourceaccount"
_KMS_KEYS = {"kms:resourcealiases", "kms:viaservice", "kms:encryptioncontext:aws:sns:topicarn"}
_CONDITION_KEYS = {"aws:sourcearn", OWNER_KEY, TAG_KEY} | _KMS_KEYS


class NotRestored(ValueError):
    """A policy has an element that is not known here; the message names it."""


class Decision(Enum):
    """The result of an evaluation; the value is the end of AWS's message."""

    ALLOWED = ""
    EXPLICIT_DENY = "with an explicit deny in an identity-based policy"
    IMPLICIT_DENY = "because no identity-based policy allows the {action} action"


def decide(
    policies: Iterable[Document], action: str, resource: str, context: Context | None = None
) -> Decision:
    """Evaluate policy documents for an action on a resource, with the request's condition keys."""
    decision = Decision.IMPLICIT_DENY
    for policy in policies:
        for statement in listed(policy["Statement"]):
            if not _applies(statement, action, resource, context or {}):
                continue
            if statement["Effect"] == "Deny":
                return Decision.EXPLICIT_DENY
            decision = Decision.ALLOWED
    return decision


def allows(
    statements: Iterable[Mapping[str, Any]],
    principal: Mapping[str, str],
    action: str,
    resource: str,
    context: Context,
) -> bool:
    """Return whether a resource-based policy allows a principal, such as ``{"Service": NAME}``, an action.

    Only statements that name the principal itself count.
    """
    ((kind, name),) = principal.items()
    own = [each for each in statements if name in listed(each["Principal"].get(kind, []))]
    return decide([{"Statement": own}], action, resource, context) is Decision.ALLOWED


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    is_about = _matches(listed(statement["Action"]), action, re.IGNORECASE)
    if not (is_about and _matches(listed(statement["Resource"]), resource)):
        return False
    return all(
        _is_met(operator, key.lower(), listed(expected), context)
        for operator, conditions in statement.get("Condition", {}).items()
        for key, expected in conditions.items()
    )


def _is_met(operator: str, key: str, expected: list[str], context: Context) -> bool:
    test = _OPERATORS.get(operator.removeprefix("ForAnyValue:"))
    if test is None or key not in _CONDITION_KEYS:
        raise NotRestored(f"the condition {operator} of {key} is not known to the local cloud")
    return any(test(expected, value) for value in context.get(key, []))


def _matches(patterns: list[str], value: str, flags: int = 0) -> bool:
    """Return whether one of the patterns, with the wildcards ``*`` and ``?``, matches the whole value."""
    if any("${" in pattern for pattern in patterns):
        raise NotRestored(f"policy variables, as in {patterns}, are not known to the local cloud")
    expressions = [re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns]
    return any(re.fullmatch(each, value, re.DOTALL | flags) for each in expressions)


def _is_arn_like(patterns: list[str], arn: str) -> bool:
    """Return whether each of the ARN's six parts matches that of one of the patterns."""
    parts = arn.split(":", 5)
    return any(
        len(expected) == len(parts)
        and all(_matches([each], part) for each, part in zip(expected, parts, strict=True))
        for expected in (pattern.split(":", 5) for pattern in patterns)
    )


_OPERATORS: dict[str, Callable[[list[str], str], bool]] = {
    "ArnLike": _is_arn_like,
    "StringEquals": lambda expected, value: value in expected,
    "StringLike": _matches,
}


def listed(value: Any) -> list[Any]:
    """Return a value as a list, unless it is one already."""
    return value if isinstance(value, list) else [value]
