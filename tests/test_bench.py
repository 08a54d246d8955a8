"""The quick form of ``make bench``: what does not depend on the machine, and that it compares equals."""

from collections.abc import Iterator

import pytest

from bench.aws import PAGE, arn
from bench.functions import FOLLOW, FUNCTIONS, PIN, RESTORE, UPDATE, Bench, Function
from bench.measures import QUICK, Measure, imports, package
from bench.report import table
from tests.e2e.conftest import PROJECT

LOOK = (
    *("GetParameters", "GetParameterHistory", "ListPipelineExecutions"),
    *("DescribeStacks", "ListStackResources", "DescribeDBClusters", "DescribeDBClusterSnapshots"),
)
NECESSARY = {
    UPDATE.name: ("DescribeDBClusterSnapshots", "GetParameters", "PutParameter"),
    RESTORE.name: (*LOOK, "PutParameter", "StartPipelineExecution"),
    FOLLOW.name: (*LOOK, "Publish", "LabelParameterVersion", "GetParameterHistory"),
    PIN.name: (
        *("GetParameters", "DescribeDBClusterSnapshots", "GetParameterHistory"),
        *("PutParameter", "ListPipelineExecutions"),
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(PROJECT, tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_package_makes_the_calls_of_the_floor_and_no_others(
    bench: Bench, function: Function
) -> None:
    for who in ("package", "floor"):
        bench.aws.play()
        bench.ask_anew(function, who)
        assert sorted(bench.aws.calls) == sorted(NECESSARY[function.name])


def test_a_throttled_update_calls_once_for_each_page_and_twice_more_and_loses_nothing(
    bench: Bench,
) -> None:
    answers = []
    for rate in (None, 10):
        bench.aws.play(12 * PAGE, rate=rate)
        (found,) = bench.ask_anew(UPDATE, "package")[1]["databases"]
        answers.append(found)
        once = ["GetParameters", "PutParameter"]
        assert bench.aws.calls == ["DescribeDBClusterSnapshots"] * 12 + once
    assert answers[0] == answers[1]
    assert answers[0]["latest"] == arn(0)


def test_the_package_is_small_and_no_handler_imports_more_than_its_budget(bench: Bench) -> None:
    """As most of a cold start is import."""
    measures = [*package(bench, QUICK), *imports(bench, QUICK)]
    assert [each.name for each in measures if not each.is_met] == []


def test_a_ratio_is_that_of_neighbours() -> None:
    """The machine was three times as slow for the second pair, and for both."""
    measure = Measure("", package=[1.1, 3.3, 1.1], floor=[1.0, 3.0, 1.0])
    assert measure.value == pytest.approx(1.1)


def test_what_is_not_reached_is_said() -> None:
    printed = table(
        [
            Measure("cold start", 1.20, package=[0.13, 0.14], floor=[0.1, 0.1]),
            Measure("warm update", package=[2.0], floor=[1.0]),
            Measure("growth of peak memory", 2, "MiB", [3.0]),
            Measure("AWS calls", 22, "", [22]),
        ]
    )
    assert printed.splitlines()[2:] == [
        "| cold start | 135 ms (130 to 140) | 100 ms (100 to 100) | 1.35 | ≤ 1.2 | **not reached** |",
        "| warm update | 2,000 ms | 1,000 ms | 2 |  |  |",
        "| growth of peak memory | 3.00 MiB |  | 3 | ≤ 2 | **not reached** |",
        "| AWS calls | 22 |  | 22 | ≤ 22 | reached |",
    ]
