"""The names of the deployed functions."""

import pytest

from chalicelib.domain.functions import deployed_name, stage_of
from cli.policies import FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("stage", ["acceptance", "test", "test-2"])
def test_a_function_knows_its_stage_by_its_name(stage: str, function: str) -> None:
    """Two stages in one account must not raise each other's alarms, nor delete shares."""
    assert stage_of(deployed_name(stage, function)) == stage
