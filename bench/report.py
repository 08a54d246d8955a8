"""What was measured, as a table, as plots, and as the page docs/benchmarks.md."""

import os
import platform
import statistics
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import prices
from bench.lambdas import FOLLOW, PIN, RESTORE, UPDATE
from bench.measures import THROTTLED_SNAPSHOTS, Pair, Results
from bench.standin import BURST, PAGE

_LIMITS = {
    UPDATE.name: THROTTLED_SNAPSHOTS // PAGE + 2,
    RESTORE.name: 9,
    FOLLOW.name: 8,
    PIN.name: 6,
}


def table(results: Results) -> str:
    """One line for each measure and its target."""
    lines = [
        "| measure | package | floor | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for name, pair in results.cold.items():
        lines.append(_compared(f"cold start, `{name}`", pair, 1.20))
    for (snapshots, latency), pair in results.warm.items():
        name = f"warm update, N = {snapshots:,}, {latency * 1000:.0f} ms"
        lines.append(_compared(name, pair, 1.05 if snapshots >= 200 else None))
    if results.memory:
        lines.append(_memory(results))
    for name, calls in results.calls.items():
        of = f", N = {THROTTLED_SNAPSHOTS:,}" if name == UPDATE.name else ""
        lines.append(
            f"| AWS calls, `{name}`{of} | {len(calls)} | | | ≤ {_LIMITS[name]} | "
            f"{_met(len(calls) <= _LIMITS[name])} |"
        )
    if results.throttled.package:
        lines.append(_throttled(results))
    for name, taken, most in (
        ("`aurora-refresh status`, local cloud", results.status, 1.5),
        ("imports of `aurora-refresh status`, traced", results.status_imports, 0.5),
    ):
        if taken:
            met = _met(statistics.median(taken) <= most)
            lines.append(
                f"| {name} | {_milliseconds(taken)} | | | ≤ {most * 1000:,.0f} ms | {met} |"
            )
    size = results.package_bytes / 2**20
    lines.append(f"| deployment package | {size:.2f} MiB | | | ≤ 1.5 MiB | {_met(size <= 1.5)} |")
    return "\n".join(lines) + "\n"


def _compared(name: str, pair: Pair, most: float | None) -> str:
    wanted, met = (f"≤ {most:.2f}", _met(pair.ratio <= most)) if most else ("", "")
    return (
        f"| {name} | {_milliseconds(pair.package)} | {_milliseconds(pair.floor)} | "
        f"{pair.ratio:.3f} | {wanted} | {met} |"
    )


def _memory(results: Results) -> str:
    few, many = results.memory
    grown = [
        statistics.median(getattr(results.memory[many], who))
        - statistics.median(getattr(results.memory[few], who))
        for who in ("package", "floor")
    ]
    ours, its = (each / 2**20 for each in grown)
    return (
        f"| growth of peak memory, N = {few:,} to {many:,} | {ours:.1f} MiB | {its:.1f} MiB | "
        f"{ours - its:+.1f} MiB | ≤ +2 MiB | {_met(ours - its <= 2)} |"
    )


def _throttled(results: Results) -> str:
    allowed = results.throttled_allowed
    ratio = statistics.median(results.throttled.package) / allowed
    return (
        f"| throttled to 10 calls a second, N = {THROTTLED_SNAPSHOTS:,}, over the {allowed:.1f} s that "
        f"the rate allows | {_milliseconds(results.throttled.package)} | "
        f"{_milliseconds(results.throttled.floor)} | {ratio:.2f} | ≤ 1.10 | {_met(ratio <= 1.1)} |"
    )


def _met(met: bool) -> str:
    return "reached" if met else "**not reached**"


def _milliseconds(seconds: list[float]) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{middle * 1000:,.0f} ms ({low * 1000:,.0f} to {high * 1000:,.0f})"


def plots(results: Results, docs: Path) -> None:
    """docs/bench-cold.svg and docs/bench-update.svg."""
    import matplotlib as mpl  # noqa: PLC0415 (it takes a second, and the quick form draws nothing)

    mpl.use("svg")
    # The same results give the same file.
    mpl.rcParams.update({"svg.hashsalt": "aurora-refresh", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for row, pair in enumerate(results.cold.values()):
        for offset, who, colour in ((0.15, "package", "tab:blue"), (-0.15, "floor", "tab:gray")):
            times = [seconds * 1000 for seconds in getattr(pair, who)]
            label = who if row == 0 else None
            axes.plot(times, [offset - row] * len(times), "|", color=colour, label=label)
            axes.plot(statistics.median(times), offset - row, "o", color=colour)
        limit = statistics.median(pair.floor) * 1200
        axes.plot([limit] * 2, [-row - 0.35, -row + 0.35], ":", color="tab:red")
    axes.set_yticks([-row for row in range(len(results.cold))], list(results.cold))
    axes.set_xlim(left=0)
    axes.set_xlabel("ms from the process's start to its first answer; red: 1.20 of the floor")
    axes.legend(loc="lower left")
    figure.savefig(docs / "bench-cold.svg", metadata={"Date": None})

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for latency, style in ((0.0, "-"), (0.05, "--")):
        pairs = {n: pair for (n, late), pair in results.warm.items() if late == latency}
        for who, colour in (("package", "tab:blue"), ("floor", "tab:gray")):
            axes.loglog(
                list(pairs),
                [statistics.median(getattr(pair, who)) for pair in pairs.values()],
                style,
                marker="o",
                color=colour,
                label=f"{who}, {latency * 1000:.0f} ms",
            )
    axes.set_xlabel("shared snapshots")
    axes.set_ylabel("seconds of a warm update")
    axes.legend()
    figure.savefig(docs / "bench-update.svg", metadata={"Date": None})


def page(results: Results) -> str:
    """docs/benchmarks.md."""
    items = prices.month()
    bill = "\n".join(f"| {each.what} | {each.arithmetic} | ${each.dollars:.4f} |" for each in items)
    processor = "\n".join(
        f"| `{name}` | {statistics.median(pair.package) * 1000:.0f} ms | "
        f"{statistics.median(pair.floor) * 1000:.0f} ms | {pair.ratio:.2f} |"
        for name, pair in results.cold_processor.items()
    )
    spent = sorted(results.imports.items(), key=lambda item: item[1].difference, reverse=True)
    imports = "\n".join(
        f"| {of} | {statistics.median(pair.package) * 1000:.0f} ms | "
        f"{statistics.median(pair.floor) * 1000:.0f} ms |"
        for of, pair in spent
        if max(pair.package + pair.floor) >= 0.001
    )
    return f"""# What it costs, and how fast it is

Written by `make bench`. The deployment package runs in Lambda's own runtime client (awslambdaric) against a
stand-in for AWS on this machine, in turn with a *floor*: the shortest straight boto3 script that makes the
same AWS calls in the same environment, with nothing checked, logged or counted (`bench/floor`). Medians,
with ranges in brackets; a ratio is the median of the ratios of neighbours. Only ratios mean anything
elsewhere, and those of warm updates vary from one run of the bench to the next by two or three hundredths.

{table(results)}
Measured on {_machine()}.

![Cold starts, package and floor](bench-cold.svg)

![Warm updates by the number of shared snapshots, package and floor](bench-update.svg)

## Cold starts

From the process's start to its first answer, N = 20. The endpoint is plain HTTP: on AWS each client sets up TLS as
well, in both alike, which was not measured and should bring the ratios nearer to 1. Processor time of the same starts, on which
other work on the machine has less influence:

| function | package | floor | ratio |
|---|---|---|---|
{processor}

What the package takes beyond the floor is almost all import (`-X importtime`, the update function, the handler's
module, clients and calls not included):

| imports of | package | floor |
|---|---|---|
{imports}

Most of that is compiling Python's source: the package holds no bytecode, and Lambda's copy of it cannot be
written to, while botocore comes compiled with the runtime. AWS advises against bytecode in a package, for it may
not fit the runtime's build of Python. In return the package needs botocore alone, not the whole of boto3.

## Throttling

A token bucket of {BURST} calls, refilled at 10 a second, as AWS describes it for EC2's API. The floor repeats a
throttled call after botocore's random back-off of up to 1, 2, 4 … s, the package after up to 0.1, 0.2, 0.4 … s, and
more often: the next token comes in a tenth of a second. Nothing is lost: every page is read, and the answer is that
of a night without throttling.

## A month

Two refreshes, list prices assumed for eu-west-1 as of November 2026, without the free tier of Lambda, API Gateway and
CloudWatch. Seconds, kilobytes and the numbers of requests and alarms are assumptions, not measured; with more than
some 2,000 shared snapshots an update takes longer than the 10 s assumed.

| | arithmetic | |
|---|---|---|
{bill}
| **together** | | **${sum(each.dollars for each in items):.2f}** |

The restored cluster itself, the main pipeline and the snapshots' storage are not this application's.
"""


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, boto3 {version('boto3')}, "
        f"{datetime.now(UTC):%B %Y}"
    )
