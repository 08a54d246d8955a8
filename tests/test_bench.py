"""The quick form of ``make bench``: what does not depend on the machine, and that it compares equals."""

from collections.abc import Iterator
from typing import Any

import pytest

from bench import prices
from bench.lambdas import FUNCTIONS, UPDATE, Bench, Function
from bench.measures import NECESSARY, Pair, Results
from bench.report import table
from bench.standin import PAGE, StandIn, arn
from tests.e2e.conftest import PROJECT


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
    _, package = asked(bench, function, floor=False)
    _, floor = asked(bench, function, floor=True)
    assert sorted(package) == sorted(floor) == sorted(NECESSARY[function.name])


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
    assert bench.package.stat().st_size <= 1.5 * 2**20


def test_a_ratio_is_that_of_neighbours() -> None:
    """The machine was three times as slow for the second pair, and for both."""
    pair = Pair(package=[1.1, 3.3, 1.1], floor=[1.0, 3.0, 1.0])
    assert pair.ratio == pytest.approx(1.1)


def test_what_is_not_reached_is_said() -> None:
    results = Results(
        cold={"slow": Pair([0.13], [0.1]), "quick": Pair([0.11], [0.1])},
        warm={(20, 0.0): Pair([2.0], [1.0]), (200, 0.0): Pair([1.2], [1.0])},
        memory={200: Pair([2**20], [0]), 20000: Pair([5 * 2**20], [2**20])},
        calls={UPDATE.name: ["a call"] * 23},
        throttled=Pair([1.5], [1.3]),
        throttled_allowed=1.2,
        status=[1.2],
        status_imports=[0.6],
        package_bytes=2**20,
    )
    assert table(results).splitlines()[2:] == [
        "| cold start, `slow` | 130 ms (130 to 130) | 100 ms (100 to 100) | 1.300 | ≤ 1.20 | **not reached** |",
        "| cold start, `quick` | 110 ms (110 to 110) | 100 ms (100 to 100) | 1.100 | ≤ 1.20 | reached |",
        "| warm update, N = 20, 0 ms | 2,000 ms (2,000 to 2,000) | 1,000 ms (1,000 to 1,000) | 2.000 |  |  |",
        "| warm update, N = 200, 0 ms | 1,200 ms (1,200 to 1,200) | 1,000 ms (1,000 to 1,000) | 1.200 | ≤ 1.05 | **not reached** |",
        "| growth of peak memory, N = 200 to 20,000 | 4.0 MiB | 1.0 MiB | +3.0 MiB | ≤ +2 MiB | **not reached** |",
        f"| AWS calls, `{UPDATE.name}`, N = 2,000 | 23 | | | ≤ 22 | **not reached** |",
        "| throttled to 10 calls a second, N = 2,000, over the 1.2 s that the rate allows | 1,500 ms (1,500 to 1,500) | 1,300 ms (1,300 to 1,300) | 1.25 | ≤ 1.10 | **not reached** |",
        "| `aurora-refresh status`, local cloud | 1,200 ms (1,200 to 1,200) | | | ≤ 1,500 ms | reached |",
        "| imports of `aurora-refresh status`, traced | 600 ms (600 to 600) | | | ≤ 500 ms | **not reached** |",
        "| deployment package | 1.00 MiB | | | ≤ 1.5 MiB | reached |",
    ]


def test_the_bill_is_what_its_arithmetic_says() -> None:
    told = {item.what: round(item.dollars, 5) for item in prices.month()}
    assert told == {
        "Lambda, requests": 0.00003,
        "Lambda, compute": 0.00583,
        "EventBridge": 0,
        "Parameter Store": 0,
        "API Gateway": 0.00035,
        "CloudWatch metrics": 0.00986,
        "CloudWatch logs": 0.0008,
        "CloudWatch alarms": 0.4,
        "SNS": 0,
    }
