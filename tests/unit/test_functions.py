"""What is known of the deployed functions."""

import pytest

from chalicelib.domain.functions import stage_of
from stage.policies import API, COPIES, FOLLOW, RESTORE, UPDATE, deployed_name


@pytest.mark.parametrize("function", [UPDATE, RESTORE, FOLLOW, COPIES, API])
@pytest.mark.parametrize("stage", ["acceptance", "test", "test-2"])
def test_a_function_knows_its_stage_by_its_name(stage: str, function: str) -> None:
    """Two stages of one account must not ring each other's alarms."""
    assert stage_of(deployed_name(stage, function)) == stage
