"""The nights that the tests begin with."""

import pytest

from tests.usecases.night import Night


@pytest.fixture
def night() -> Night:
    return Night()


@pytest.fixture
def two() -> Night:
    """A stage with two databases in one stack, each of which has something new."""
    return Night(two=True)


@pytest.fixture
def promoted(night: Night) -> Night:
    """Tonight's promotion has started its run, run-2."""
    night.promote()
    night.aws.calls.clear()
    return night


@pytest.fixture
def refreshed(promoted: Night) -> Night:
    """The run has restored the database, and a poll has seen it."""
    promoted.run_is_over()
    return promoted
