"""The nights that the tests begin with."""

import pytest

from tests.usecases.night import Night


@pytest.fixture
def night() -> Night:
    return Night()


@pytest.fixture
def two() -> Night:
    """A stage with two databases in one stack, each of which has something new."""
    return Night.of_two()
