"""The quick form of ``make bench``: what does not depend on the machine, and that it compares equals."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench import measures
from bench.lambdas import FOLLOW, FUNCTIONS, PIN, RESTORE, UPDATE, Bench, Function
from bench.measures import QUICK, Measure, imports, package
from bench.report import table
from bench.standin import PAGE, StandIn, arn
from tests.e2e.conftest import PROJECT

_LOOK = (
    *("GetParameters", "GetParameterHistory", "ListPipelineExecutions"),
    *("DescribeStacks", "ListStackResources", "DescribeDBClusters"),
)
NECESSARY = {
    UPDATE.name: ("DescribeDBClusterSnapshots", "GetParameters", "PutParameter"),
    RESTORE.name: (
        *_LOOK,
        *("DescribeDBClusterSnapshots", "PutParameter", "StartPipelineExecution"),
    ),
    FOLLOW.name: (
        *_LOOK,
        *("DescribeDBClusterSnapshots", "Publish", "LabelParameterVersion", "GetParameterHistory"),
    ),
    PIN.name: (
        *("GetParameters", "DescribeDBClusterSnapshots", "GetParameterHistory"),
        *("PutParameter", "ListPipelineExecutions"),
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with StandIn() as standin:
        bench = Bench(PROJECT, tmp_path_factory.mktemp("bench"), standin)
        yield bench
        bench.close()


def asked(bench: Bench, function: Function, floor: bool, **night: Any) -> tuple[Any, list[str]]:
    """What a new process answers, and its calls."""
    bench.standin.play(bench.night(function, **night))
    with bench.start(function, floor=floor) as running:
        answer = running.ask()
    return answer.payload, bench.standin.calls()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_package_makes_the_calls_of_the_floor_and_no_others(
    bench: Bench, function: Function
) -> None:
    _, ours = asked(bench, function, floor=False)
    _, floor = asked(bench, function, floor=True)
    assert sorted(ours) == sorted(floor) == sorted(NECESSARY[function.name])


def test_an_update_calls_once_for_each_page_and_twice_more(bench: Bench) -> None:
    answer, calls = asked(bench, UPDATE, floor=False, snapshots=10 * PAGE)
    assert answer["databases"][0]["latest"] == arn(0)
    assert calls == ["DescribeDBClusterSnapshots"] * 10 + ["GetParameters", "PutParameter"]


def test_a_throttled_update_loses_nothing(bench: Bench) -> None:
    free, calls = asked(bench, UPDATE, floor=False, snapshots=12 * PAGE)
    throttled, admitted = asked(bench, UPDATE, floor=False, snapshots=12 * PAGE, rate=10)
    assert (throttled["databases"][0]["rejected"], throttled["databases"][0]["latest"]) == (
        free["databases"][0]["rejected"],
        arn(0),
    )
    assert admitted == calls


def test_the_package_is_small(bench: Bench) -> None:
    (measure,) = package(bench, QUICK)
    assert measure.is_met


@pytest.mark.parametrize("budget", [0, 10_000])
def test_a_handler_imports_no_more_than_its_budget(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    """As most of a cold start is import; and one more module would be noticed."""
    assert [each.name for each in imports(bench, QUICK) if not each.is_met] == []
    monkeypatch.setattr(measures, "IMPORT_BUDGET", dict.fromkeys(measures.IMPORT_BUDGET, budget))
    assert {each.is_met for each in imports(bench, QUICK)} == {budget > 0}


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
