"""The measurements: each takes the package and the floor in turn, and compares what they took."""

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter

from bench import commandline
from bench.lambdas import FOLLOW, FUNCTIONS, PIN, RESTORE, UPDATE, Bench, Function, Result
from bench.standin import BURST, PAGE

RATE = 10
THROTTLED_SNAPSHOTS = 2000


@dataclass
class Pair:
    """What the package and the floor took, measured in turn; seconds or bytes."""

    package: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the ratios of neighbours: what slows down both does not count."""
        return statistics.median(
            ours / its for ours, its in zip(self.package, self.floor, strict=True)
        )

    @property
    def difference(self) -> float:
        """How much more the package took, of the medians."""
        return statistics.median(self.package) - statistics.median(self.floor)

    def add(self, value: float, *, floor: bool) -> None:
        """Note one measurement."""
        (self.floor if floor else self.package).append(value)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    cold: int
    warm_seconds: float
    warm_least: int
    memory: int
    throttled: int
    snapshots: Sequence[int] = (20, 200, 2000, 20000)
    latencies: Sequence[float] = (0.0, 0.05)


FULL = Plan(cold=25, warm_seconds=40, warm_least=7, memory=3, throttled=11)
QUICK = Plan(cold=5, warm_seconds=1, warm_least=3, memory=1, throttled=1, snapshots=(20, 200, 2000))


@dataclass
class Results:
    """What was measured."""

    cold: dict[str, Pair] = field(default_factory=dict)
    cold_processor: dict[str, Pair] = field(default_factory=dict)
    imports: dict[str, Pair] = field(default_factory=dict)
    warm: dict[tuple[int, float], Pair] = field(default_factory=dict)
    memory: dict[int, Pair] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)
    throttled: Pair = field(default_factory=Pair)
    throttled_allowed: float = 0.0
    unthrottled: Pair = field(default_factory=Pair)
    status: list[float] = field(default_factory=list)
    status_imports: list[float] = field(default_factory=list)
    package_bytes: int = 0


def measure(bench: Bench, plan: Plan, wanted: Sequence[str]) -> Results:
    """Metric what is wanted."""
    results = Results(package_bytes=bench.package.stat().st_size)
    for name in wanted:
        began = perf_counter()
        MEASURES[name](bench, plan, results)
        say(f"{name}: took {perf_counter() - began:.0f} s")
    return results


def say(text: str) -> None:
    """Show progress."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def _in_turn(turn: int) -> tuple[bool, bool]:
    """Who goes first changes, so that going first is nobody's advantage."""
    return (False, True) if turn % 2 == 0 else (True, False)


def _cold(bench: Bench, plan: Plan, results: Results) -> None:
    """From the process's start to the first answer."""
    for function in FUNCTIONS:
        wall, processor = Pair(), Pair()
        for turn in range(plan.cold + 1):
            for floor in _in_turn(turn):
                bench.standin.play(bench.night(function))
                with bench.start(function, floor=floor) as running:
                    answer = running.ask()
                    seconds = running.processor_seconds()
                if turn == 0:  # the files are in the machine's memory from now on
                    _check_work(bench, function, answer, floor=floor)
                    continue
                wall.add(answer.seconds, floor=floor)
                processor.add(seconds, floor=floor)
        results.cold[function.name] = wall
        results.cold_processor[function.name] = processor
        say(f"{function.name}: cold {wall.ratio:.2f} of the floor, processor {processor.ratio:.2f}")


def _check_work(bench: Bench, function: Function, answer: Result, *, floor: bool) -> None:
    """Both do the same work, or there is nothing to compare."""
    calls = sorted(bench.standin.calls())
    if calls != sorted(NECESSARY[function.name]):
        who = "the floor" if floor else "the package"
        raise RuntimeError(f"{function.name}: {who} called {calls} and answered {answer.payload}")


def _imports(bench: Bench, plan: Plan, results: Results) -> None:
    """What the update's imports take, by the package that they are of."""
    taken = [
        {floor: bench.imports(UPDATE, floor=floor) for floor in _in_turn(turn)}
        for turn in range(plan.memory * 3)
    ]
    for of in dict.fromkeys(of for each in taken for whose in each.values() for of in whose):
        pair = results.imports[of] = Pair()
        for each in taken:
            for floor in (False, True):
                pair.add(each[floor].get(of, 0.0), floor=floor)


def _warm(bench: Bench, plan: Plan, results: Results) -> None:
    """The update, again and again in a process that has handled one before."""
    with ExitStack() as stack:
        running = {
            floor: stack.enter_context(bench.start(UPDATE, floor=floor)) for floor in (False, True)
        }
        for latency in plan.latencies:
            for snapshots in plan.snapshots:
                bench.standin.play(bench.night(UPDATE, snapshots=snapshots, latency=latency))
                pair, began, turn = Pair(), perf_counter(), 0
                for each in running.values():
                    each.ask()
                while turn < plan.warm_least or perf_counter() - began < plan.warm_seconds:
                    for floor in _in_turn(turn):
                        pair.add(running[floor].ask().seconds, floor=floor)
                    turn += 1
                results.warm[snapshots, latency] = pair
                say(
                    f"update of {snapshots} at {latency * 1000:.0f} ms: {pair.ratio:.3f} of the "
                    f"floor, {turn} times"
                )


def _memory(bench: Bench, plan: Plan, results: Results) -> None:
    """The peak of a fresh process that has handled one update."""
    for snapshots in (plan.snapshots[1], plan.snapshots[-1]):
        pair = Pair()
        bench.standin.play(bench.night(UPDATE, snapshots=snapshots))
        for turn in range(plan.memory):
            for floor in _in_turn(turn):
                with bench.start(UPDATE, floor=floor) as running:
                    running.ask()
                    pair.add(running.peak_memory(), floor=floor)
        results.memory[snapshots] = pair
        say(f"memory at {snapshots}: {pair.difference / 2**20:+.1f} MiB beyond the floor")


def _calls(bench: Bench, _plan: Plan, results: Results) -> None:
    """What each function calls on a night in which it has all of its work to do."""
    for function, snapshots in ((UPDATE, 2000), (RESTORE, 20), (FOLLOW, 20), (PIN, 20)):
        bench.standin.play(bench.night(function, snapshots=snapshots))
        with bench.start(function, floor=False) as running:
            running.ask()
        results.calls[function.name] = bench.standin.calls()
        say(f"{function.name}: {len(results.calls[function.name])} calls")


def _throttled(bench: Bench, plan: Plan, results: Results) -> None:
    """The update when AWS takes ten calls a second."""
    calls = THROTTLED_SNAPSHOTS // PAGE + 2
    results.throttled_allowed = (calls - BURST) / RATE
    for rate, pair in ((None, results.unthrottled), (RATE, results.throttled)):
        with ExitStack() as stack:
            running = {
                floor: stack.enter_context(bench.start(UPDATE, floor=floor))
                for floor in (False, True)
            }
            for each in running.values():
                bench.standin.play(bench.night(UPDATE, snapshots=THROTTLED_SNAPSHOTS))
                each.ask()
            expected = None
            for turn in range(plan.throttled):
                for floor in _in_turn(turn):
                    night = bench.night(UPDATE, snapshots=THROTTLED_SNAPSHOTS, rate=rate)
                    bench.standin.play(night)
                    answer = running[floor].ask()
                    pair.add(answer.seconds, floor=floor)
                    called = len(bench.standin.calls())
                    if called != calls:
                        raise RuntimeError(f"{called} calls were let through, not {calls}")
                    if not floor:
                        kept = answer.payload["databases"][0]
                        expected = expected or kept
                        if (kept["latest"], kept["rejected"]) != (
                            expected["latest"],
                            expected["rejected"],
                        ):
                            raise RuntimeError(f"throttled, it answered {kept}, not {expected}")
    say(
        f"throttled: {statistics.median(results.throttled.package):.2f} s, the rate allows "
        f"{results.throttled_allowed:.2f} s"
    )


def _status(bench: Bench, plan: Plan, results: Results) -> None:
    """What a tester waits for, against the local cloud."""
    results.status, results.status_imports = commandline.status(bench.project, plan.throttled)


MEASURES: dict[str, Callable[[Bench, Plan, Results], None]] = {
    "cold": _cold,
    "imports": _imports,
    "warm": _warm,
    "memory": _memory,
    "calls": _calls,
    "throttled": _throttled,
    "status": _status,
}

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
