"""What the parameters hold, and how much of it is shown."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.parameters import pipeline_name, visible


def test_a_pipelines_name_is_one_that_codepipeline_accepts() -> None:
    longest = "A.b@c_1-" + "x" * 92
    assert pipeline_name(longest) == longest
    for value in (f"{longest}x", "a name", "main\n", "dummyvalue", None):
        assert pipeline_name(value) is None


@given(st.text())
def test_a_value_that_may_be_a_secret_is_never_shown(value: str) -> None:
    for secret in (f"pass{value}", f"arn:{value}"):
        assert visible(secret) == f"something else, {len(secret)} characters long"
