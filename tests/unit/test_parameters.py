"""What the parameters hold, and how much of it is shown."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.parameters import pipeline_name, shown


def test_a_pipelines_name_is_one_that_codepipeline_accepts() -> None:
    longest = "A.b@c_1-" + "x" * 92
    assert pipeline_name(longest) == longest
    for value in (f"{longest}x", "a name", "main\n", "dummyvalue", None):
        assert pipeline_name(value) is None


@given(st.text())
def test_a_value_that_may_be_a_secret_is_never_shown(value: str) -> None:
    secret = f"pass{value}"
    assert shown(secret) == f"something else, {len(secret)} characters long"


def test_an_arn_and_the_placeholder_are_shown_and_cut() -> None:
    assert shown("dummyvalue") == "'dummyvalue'"
    assert shown("arn:" + "x" * 500) == f"'arn:{'x' * 116}'"
