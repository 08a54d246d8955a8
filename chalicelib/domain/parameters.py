"""What Parameter Store holds for the refresh, and how much of it may be shown. Pure.

A parameter may hold a secret by mistake: nothing but snapshot ARNs and the placeholder is ever
logged or shown.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from chalicelib.domain.snapshots import SnapshotArn

# The initial value of a parameter: Parameter Store does not accept an empty value.
PLACEHOLDER = "dummyvalue"

# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
_PIPELINE_NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")


class Parameter(NamedTuple):
    """A parameter's value, with the number and the time of its version."""

    value: str
    version: int
    modified: datetime


Values = Mapping[str, Parameter]


def value_of(values: Values, name: str) -> str | None:
    """Return what a parameter holds; None if it does not exist."""
    parameter = values.get(name)
    return parameter.value if parameter else None


def snapshot_of(values: Values, name: str) -> str | None:
    """Return the snapshot ARN that a parameter holds; None if it holds something else."""
    return arn_of(value_of(values, name))


def arn_of(value: str | None) -> str | None:
    """Return a parameter's value if it is a snapshot ARN."""
    return value if value and SnapshotArn.parse(value) else None


def pipeline_name(value: str | None) -> str | None:
    """Return a parameter's value if it can be a pipeline's name."""
    is_name = value and value != PLACEHOLDER and _PIPELINE_NAME.fullmatch(value)
    return value if is_name else None


def visible(value: str) -> str:
    """Return a value for people: a snapshot's ARN or the placeholder, else its length."""
    is_known = value == PLACEHOLDER or arn_of(value)
    return value if is_known else f"something else, {len(value)} characters long"
