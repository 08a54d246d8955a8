"""Define what is measured, how, and the target of each measure."""

import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import sub, truediv
from time import perf_counter
from typing import Any

from bench.functions import FEW, FUNCTIONS, MANY, MODULES, MOST, SHARES, UPDATE, Bench
from bench.playback import BURST, Recording
from demo.acceptance import STAGE
from localcloud.accounts import REGION


@dataclass
class Measure:
    """The measurements of package and floor, how they are compared, and the target."""

    name: str
    unit: str
    most: float
    take: Callable[[Bench, str, Any], float]
    of: Any = None
    compare: Callable[[float, float], float] | None = truediv
    package: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def repeat(self, bench: Bench, times: int, seconds: float = 0) -> None:
        """Measure both in turn, at least this many times and this long."""
        began = perf_counter()
        while len(self.package) < times or perf_counter() - began < seconds:
            self.package.append(self.take(bench, "package", self.of))
            if self.compare:
                self.floor.append(self.take(bench, "floor", self.of))

    @property
    def value(self) -> float:
        """The median of the package, or of its comparisons with the neighbouring measurement of the floor."""
        if self.compare:  # what slows down both has no effect
            return statistics.median(map(self.compare, self.package, self.floor))
        return statistics.median(self.package)

    @property
    def is_met(self) -> bool:
        """Whether the target is reached."""
        return self.value <= self.most


def warm(bench: Bench, who: str, shares: int) -> float:
    """Measure an update in a process that has already run one."""
    return bench.run(who, UPDATE, shares, process=bench.warm[who])


def throttled(bench: Bench, who: str, rate: int) -> float:
    """Measure the same if RDS admits at most ``rate`` calls a second; the floor is the time this rate allows."""
    if who == "floor":
        return 1000 * (MANY / 100 - BURST) / rate
    return bench.run(who, UPDATE, MANY, rate, bench.warm[who])


def memory(bench: Bench, who: str, shares: int) -> float:
    """Measure how much more peak memory an update needs for that many shares than for a few."""
    bench.run(who, UPDATE)
    few = bench.peak
    bench.run(who, UPDATE, shares)
    return bench.peak - few


def status(bench: Bench, _who: str, part: str) -> float:
    """Measure the command line against the local cloud, or its imports alone; tracing slows both."""
    bench.aws.play(Recording(list))
    words = ["-m", "cli.main", "status", "--stage", STAGE]
    seconds, imports = _trace(words, bench.company.environment())
    return sum(imports) / 1e6 if part == "imports" else seconds


def modules(bench: Bench, who: str, function: str) -> float:
    """Count the modules that a handler imports, because most of a cold start is import."""
    paths = [str(bench.folder / who), str(bench.folder / "runtime")]
    module = FUNCTIONS[function][who].rpartition(".")[0]
    words = ["-ISB", "-c", f"import sys; sys.path[:0] = {paths}; import {module}"]
    return len(_trace(words, bench.variables | {"AWS_DEFAULT_REGION": REGION})[1])


def _trace(words: list[str], environment: dict[str, str]) -> tuple[float, list[int]]:
    """Run Python; return its seconds, and the microseconds of each import."""
    began = perf_counter()
    done = subprocess.run(  # noqa: S603 (our own commands)
        [sys.executable, "-X", "importtime", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    imports = re.findall(r"^import time: +(\d+) \|", done.stderr, re.MULTILINE)
    return perf_counter() - began, [int(each) for each in imports]


def calls(bench: Bench, who: str, function: str) -> float:
    """Count the calls of AWS when the function has all of its work to do."""
    bench.run(who, function)
    return len(bench.aws.calls)


VARYING = [
    *(Measure(f"cold start, `{each}`", "ms", 1.10, Bench.run, each) for each in FUNCTIONS),
    *(Measure(f"warm update, {each:,} shares", "ms", 1.03, warm, each) for each in SHARES[1:]),
    Measure("the same, 10 calls a second", "ms", 1.10, throttled, 10),
    Measure(f"growth of its peak memory, {FEW} to {MOST:,} shares", "MiB", 2, memory, MOST, sub),
    Measure("`aurora-refresh status`", "s", 1.5, status, "all", None),
    Measure("its imports", "s", 0.5, status, "imports", None),
]
EXACT = [
    *(Measure(f"modules, `{each}`", "", MODULES[each], modules, each, sub) for each in MODULES),
    *(Measure(f"AWS calls, `{each}`", "", 0, calls, each, sub) for each in FUNCTIONS),
    Measure("deployment package", "MiB", 1.5, lambda bench, *_: bench.size, None, None),
]
