"""The quick form of ``make bench``: what does not depend on the machine, and that it compares equals."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.functions import FUNCTIONS, Bench
from bench.measures import EXACT, Measure, calls, memory
from localcloud.client import LocalCloud
from tests.e2e.conftest import PROJECT


@pytest.fixture(scope="module")
def bench(running_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    running_cloud.reset()
    with closing(Bench(PROJECT, tmp_path_factory.mktemp("bench"), running_cloud)) as bench:
        yield bench


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_package_makes_the_floor_s_calls_and_no_others(bench: Bench, function: str) -> None:
    made = []
    for who in ("package", "floor"):
        bench.run(who, function)
        made.append(sorted(bench.aws.calls))
    assert made[0] == made[1]


def test_the_package_is_small_and_no_handler_imports_more_than_its_budget(bench: Bench) -> None:
    """As most of a cold start is import."""
    measures = [each for each in EXACT if each.take is not calls]
    for each in measures:
        each.repeat(bench, 1)
    assert [each.name for each in measures if not each.is_met] == []


def test_a_ratio_is_that_of_neighbours() -> None:
    """The machine was three times as slow for the second pair."""
    package, floor = [100.0, 330.0, 130.0], [100.0, 300.0, 100.0]
    measure = Measure("cold start", "ms", 1, memory, package=package, floor=floor)
    assert (measure.value, measure.is_met) == (1.1, False)
