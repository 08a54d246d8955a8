"""What the parameters hold, and how much of it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.parameters import (
    Parameter,
    pipeline_name,
    shown,
    snapshot_of,
    value_of,
)
from tests.fakes import arn

VALUES = {"/latest": Parameter(arn("a"), 3), "/current": Parameter("dummyvalue", 1)}


@pytest.mark.parametrize(
    ("name", "value", "snapshot"),
    [("/latest", arn("a"), arn("a")), ("/current", "dummyvalue", None), ("/none", None, None)],
)
def test_a_parameter_holds_a_snapshot_only_as_an_arn(
    name: str, value: str | None, snapshot: str | None
) -> None:
    assert value_of(VALUES, name) == value
    assert snapshot_of(VALUES, name) == snapshot


@pytest.mark.parametrize(
    ("value", "is_name"),
    [
        ("acceptance-main", True),
        ("A.b@c_1", True),
        ("x" * 100, True),
        ("x" * 101, False),
        ("a name", False),
        ("main\n", False),
        ("dummyvalue", False),
        ("", False),
        (None, False),
    ],
)
def test_a_pipelines_name_is_one_that_codepipeline_accepts(
    value: str | None, *, is_name: bool
) -> None:
    assert pipeline_name(value) == (value if is_name else None)


@given(st.text())
def test_a_value_that_may_be_a_secret_is_never_shown(value: str) -> None:
    secret = f"pass{value}"
    assert shown(secret) == f"something else, {len(secret)} characters long"


def test_an_arn_and_the_placeholder_are_shown_and_cut() -> None:
    assert shown("dummyvalue") == "'dummyvalue'"
    assert shown(arn("a")) == f"'{arn('a')}'"
    assert len(shown("arn:" + "x" * 500)) == 122
