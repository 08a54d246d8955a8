"""The measurements: each takes the package and the floor in turn, and compares what they took."""

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter

from bench import commandline
from bench.lambdas import FOLLOW, FUNCTIONS, PIN, RESTORE, UPDATE, Bench
from bench.standin import BURST, PAGE

RATE = 10
MANY = 2000
LATENCIES = (0.0, 0.05)


@dataclass
class Measure:
    """What the package and the floor took, measured in turn, and what is to be reached.

    With a floor it is the ratio that counts, without one the package's median. ``at`` is the number of snapshots
    and the latency of a warm update.
    """

    name: str
    most: float | None = None
    unit: str = "ms"
    package: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    at: tuple[int, float] | None = None

    @property
    def value(self) -> float:
        """The median of the ratios of neighbours: what slows down both does not count."""
        if not self.floor:
            return statistics.median(self.package)
        pairs = zip(self.package, self.floor, strict=True)
        return statistics.median(ours / its for ours, its in pairs)

    @property
    def is_met(self) -> bool:
        """Whether it is reached; what has no target is."""
        return self.most is None or self.value <= self.most

    def add(self, value: float, *, floor: bool) -> None:
        """Note one measurement."""
        (self.floor if floor else self.package).append(value)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    cold: int = 25
    warm_seconds: float = 40
    repeated: int = 11
    snapshots: tuple[int, ...] = (20, 200, MANY, 20000)


FULL = Plan()
QUICK = Plan(cold=5, warm_seconds=1, repeated=3, snapshots=(20, 200, MANY))


def say(text: str) -> None:
    """Show progress."""
    sys.stderr.write(f"  {text}\n")


def _in_turn(turn: int) -> tuple[bool, bool]:
    """Who goes first changes, so that going first is nobody's advantage."""
    return (False, True) if turn % 2 == 0 else (True, False)


def cold(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """From the process's start to the first answer."""
    for function in FUNCTIONS:
        measure = Measure(f"cold start, `{function.name}`", 1.10)
        for turn in range(plan.cold + 1):
            for floor in _in_turn(turn):
                bench.standin.play(bench.night(function))
                with bench.start(function, floor=floor) as running:
                    answer = running.ask()
                if turn:  # after the first, which brings the files into the machine's memory
                    measure.add(answer.seconds, floor=floor)
        yield measure


def warm(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The update, again and again in a process that has handled one before."""
    with ExitStack() as stack:
        running = {
            floor: stack.enter_context(bench.start(UPDATE, floor=floor)) for floor in (False, True)
        }
        for at in [(snapshots, late) for late in LATENCIES for snapshots in plan.snapshots]:
            bench.standin.play(bench.night(UPDATE, snapshots=at[0], latency=at[1]))
            name = f"warm update, N = {at[0]:,}, {at[1] * 1000:.0f} ms"
            measure = Measure(name, 1.03 if at[0] >= 200 else None, at=at)
            for each in running.values():
                each.ask()
            began, turn = perf_counter(), 0
            while turn < plan.repeated or perf_counter() - began < plan.warm_seconds:
                for floor in _in_turn(turn):
                    measure.add(running[floor].ask().seconds, floor=floor)
                turn += 1
            yield measure


def memory(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """How much the peak of a fresh process grows with the number of snapshots, beyond the floor's."""
    few, many = plan.snapshots[1], plan.snapshots[-1]
    name = f"growth of peak memory beyond the floor's, N = {few:,} to {many:,}"
    measure = Measure(name, 2, "MiB")
    for _ in range(3):
        peaks = {}
        for snapshots in (few, many):
            for floor in (False, True):
                bench.standin.play(bench.night(UPDATE, snapshots=snapshots))
                with bench.start(UPDATE, floor=floor) as running:
                    running.ask()
                    peaks[snapshots, floor] = running.peak_memory() / 2**20
        grown = [peaks[many, floor] - peaks[few, floor] for floor in (False, True)]
        measure.add(grown[0] - grown[1], floor=False)
    yield measure


def calls(bench: Bench, _: Plan) -> Iterator[Measure]:
    """What each function calls on a night in which it has all of its work to do."""
    for function, snapshots, most in (
        (UPDATE, MANY, MANY // PAGE + 2),
        (RESTORE, 20, 9),
        (FOLLOW, 20, 8),
        (PIN, 20, 6),
    ):
        bench.standin.play(bench.night(function, snapshots=snapshots))
        with bench.start(function, floor=False) as running:
            running.ask()
        called = float(len(bench.standin.calls()))
        yield Measure(f"AWS calls, `{function.name}`, N = {snapshots:,}", most, "", [called])


def throttled(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The update when AWS takes ten calls a second, in terms of what that rate allows."""
    expected = MANY // PAGE + 2
    allowed = (expected - BURST) / RATE
    measure = Measure(f"update throttled to {RATE} calls a second, N = {MANY:,}", 1.10, "of it")
    with bench.start(UPDATE, floor=False) as running:
        bench.standin.play(bench.night(UPDATE, snapshots=MANY))
        running.ask()
        for _ in range(plan.repeated):
            bench.standin.play(bench.night(UPDATE, snapshots=MANY, rate=RATE))
            measure.add(running.ask().seconds / allowed, floor=False)
            if (called := len(bench.standin.calls())) != expected:
                raise RuntimeError(f"{called} calls were let through, not {expected}")
    yield measure


def imports(bench: Bench, _: Plan) -> Iterator[Measure]:
    """How many modules each handler imports beyond those of the floor: most of a cold start is import."""
    for function in FUNCTIONS:
        counts = [len(bench.modules(function, floor=floor)) for floor in (False, True)]
        name = f"modules imported beyond the floor's, `{function.name}`"
        yield Measure(name, IMPORT_BUDGET[function.name], "", [float(counts[0] - counts[1])])


def status(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The command line, against a company on the local cloud; its imports are traced, which slows them."""
    whole, own = commandline.status(bench.project, plan.repeated)
    name = "`aurora-refresh status`"
    yield Measure(f"{name}, local cloud, in seconds", 1.5, package=whole)
    yield Measure(f"imports of {name}, traced, in seconds", 0.5, package=own)


def package(bench: Bench, _: Plan) -> Iterator[Measure]:
    """The size of what is deployed."""
    size = bench.package.stat().st_size / 2**20
    yield Measure("deployment package", 1.5, "MiB", [size])


MEASURES: dict[str, Callable[[Bench, Plan], Iterator[Measure]]] = {
    each.__name__: each for each in (cold, imports, warm, memory, calls, throttled, status, package)
}

# A little more than today, for another Python splits its standard library differently.
IMPORT_BUDGET = {UPDATE.name: 50, RESTORE.name: 52, FOLLOW.name: 52, PIN.name: 70}
