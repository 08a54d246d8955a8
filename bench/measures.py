"""The measurements: each takes the package and the floor in turn, and compares what they took."""

import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

from bench.aws import BURST, PAGE
from bench.functions import FUNCTIONS, UPDATE, Bench, Function
from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company

RATE = 10
MANY = 2000
LATENCIES = (0.0, 0.05)


@dataclass
class Measure:
    """What the package and the floor took, measured in turn, and the most that is to be reached."""

    name: str
    most: float | None = None
    unit: str = "ms"
    package: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    at: tuple[int, float] | None = None  # the snapshots and the latency of a warm update

    @property
    def value(self) -> float:
        """The median of the package, or of its ratios to the floor measured beside it."""
        if not self.floor:
            return statistics.median(self.package)
        pairs = zip(self.package, self.floor, strict=True)  # what slows down both does not count
        return statistics.median(ours / its for ours, its in pairs)

    @property
    def is_met(self) -> bool:
        """Whether the target is reached; what has none is."""
        return self.most is None or self.value <= self.most

    def take(self, turn: int, seconds: Callable[[str], float]) -> None:
        """Measure both; who goes first changes, so that going first is nobody's advantage."""
        for who in ("package", "floor")[:: -1 if turn % 2 else 1]:
            getattr(self, who).append(seconds(who))


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    cold: int = 25
    warm_seconds: float = 40
    repeated: int = 11
    snapshots: tuple[int, ...] = (20, 200, MANY, 20000)


FULL = Plan()
QUICK = Plan(cold=5, warm_seconds=1, repeated=3, snapshots=(20, 200, MANY))


def cold(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """From the process's start to the first answer."""
    bench.aws.play()
    for function in FUNCTIONS:

        def first(who: str, function: Function = function) -> float:
            return bench.ask_anew(function, who)[0]

        Measure("").take(0, first)  # which brings the files into the machine's memory
        measure = Measure(f"cold start, `{function.name}`", 1.10)
        for turn in range(plan.cold):
            measure.take(turn, first)
        yield measure


def imports(bench: Bench, _: Plan) -> Iterator[Measure]:
    """How many modules each handler imports beyond those of the floor: most of a cold start is import."""
    for function in FUNCTIONS:
        ours, floor = (len(bench.modules(function, who)) for who in ("package", "floor"))
        name = f"modules imported beyond the floor's, `{function.name}`"
        yield Measure(name, function.most_modules, "", [ours - floor])


def warm(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The update, again and again in a process that has handled one before."""
    with bench.start(UPDATE, "package") as package, bench.start(UPDATE, "floor") as floor:
        processes = {"package": package, "floor": floor}
        for at in [(snapshots, late) for late in LATENCIES for snapshots in plan.snapshots]:
            bench.aws.play(*at)
            name = f"warm update, N = {at[0]:,}, {at[1] * 1000:.0f} ms"
            measure = Measure(name, 1.03 if at[0] >= 200 else None, at=at)
            for process in processes.values():
                process.ask()
            began, turn = perf_counter(), 0
            while turn < plan.repeated or perf_counter() - began < plan.warm_seconds:
                measure.take(turn, lambda who: processes[who].ask()[0])
                turn += 1
            yield measure


def memory(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """How much the peak of a new process grows with the number of snapshots, beyond the floor's."""
    few, many = plan.snapshots[1], plan.snapshots[-1]

    def grown(who: str) -> float:
        peaks = []
        for snapshots in (few, many):
            bench.aws.play(snapshots)
            peaks.append(bench.ask_anew(UPDATE, who)[2])
        return peaks[1] - peaks[0]

    name = f"growth of peak memory beyond the floor's, N = {few:,} to {many:,}"
    yield Measure(name, 2, "MiB", [grown("package") - grown("floor") for _ in range(3)])


def calls(bench: Bench, _: Plan) -> Iterator[Measure]:
    """What each function calls on a night in which it has all of its work to do."""
    for function in FUNCTIONS:
        snapshots, most = (
            (MANY, MANY // PAGE + 2) if function is UPDATE else (20, function.most_calls)
        )
        bench.aws.play(snapshots)
        bench.ask_anew(function, "package")
        name = f"AWS calls, `{function.name}`, N = {snapshots:,}"
        yield Measure(name, most, "", [len(bench.aws.calls)])


def throttled(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The update when AWS takes ten calls a second, in terms of what that rate allows."""
    allowed = (MANY // PAGE + 2 - BURST) / RATE
    measure = Measure(f"update throttled to {RATE} calls a second, N = {MANY:,}", 1.10, "of it")
    with bench.start(UPDATE, "package") as process:
        bench.aws.play(MANY)
        process.ask()
        for _ in range(plan.repeated):
            bench.aws.play(MANY, rate=RATE)
            measure.package.append(process.ask()[0] / allowed)
    yield measure


def status(bench: Bench, plan: Plan) -> Iterator[Measure]:
    """The command line, against a company on the local cloud; its imports are traced, which slows them."""
    words = ["-m", "cli.main", "status", "--stage", STAGE]
    with LocalCloud.start() as cloud:
        company = Company(cloud, bench.copy)
        company.found(datetime(2026, 1, 3, 12, tzinfo=UTC))
        company.chalice("deploy", "--stage", STAGE)

        def run(*options: str) -> tuple[float, str]:
            began = perf_counter()
            done = subprocess.run(  # noqa: S603 (our own command)
                [sys.executable, *options, *words],
                cwd=bench.project,
                env=company.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            if not done.stdout.startswith(STAGE):
                raise RuntimeError(done.stderr)
            return perf_counter() - began, done.stderr

        run()  # the function's cold start, and the files are in the machine's memory from now on
        whole = [run()[0] for _ in range(plan.repeated)]
        traces = [run("-X", "importtime")[1] for _ in range(plan.repeated)]
    own = [re.findall(r"^import time: +(\d+) \|", each, re.MULTILINE) for each in traces]
    name = "`aurora-refresh status`"
    yield Measure(f"{name}, local cloud, in seconds", 1.5, package=whole)
    traced = [sum(map(int, each)) / 1e6 for each in own]
    yield Measure(f"imports of {name}, traced, in seconds", 0.5, package=traced)


def package(bench: Bench, _: Plan) -> Iterator[Measure]:
    """The size of what is deployed."""
    yield Measure("deployment package", 1.5, "MiB", [bench.package.stat().st_size / 2**20])


MEASURES = (cold, imports, warm, memory, calls, throttled, status, package)
