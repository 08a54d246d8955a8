"""What was measured, as a table in docs/benchmarks.md and as its plots."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measures import LATENCIES, Measure

_BEGIN, _END = "<!-- measured -->\n", "<!-- end -->\n"


def table(measures: Sequence[Measure]) -> str:
    """Return one line for each measure and its target."""
    lines = ["| measure | package | floor | value | to reach | |", "|---|---|---|---|---|---|"]
    for each in measures:
        most = "" if each.most is None else f"≤ {each.most:g}"
        met = "" if each.most is None else "reached" if each.is_met else "**not reached**"
        taken = [_range(values, each.unit) for values in (each.package, each.floor)]
        lines.append(f"| {each.name} | {' | '.join(taken)} | {each.value:.3g} | {most} | {met} |")
    return "\n".join(lines) + "\n"


def _range(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    scale, digits = (1000, 0) if unit == "ms" else (1, 2 if unit else 0)
    texts = [f"{scale * each:,.{digits}f}" for each in sorted(values)]
    middle = f"{scale * statistics.median(values):,.{digits}f} {unit}".strip()
    return middle + (f" ({texts[0]} to {texts[-1]})" if len(values) > 1 else "")


def write(measures: Sequence[Measure], docs: Path) -> None:
    """Put the table into the page, and draw the plots."""
    file = docs / "benchmarks.md"
    before, _, rest = file.read_text().partition(_BEGIN)
    machine = (
        f"Measured on {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), Python "
        f"{platform.python_version()}, boto3 {version('boto3')}, {datetime.now(UTC):%B %Y}.\n"
    )
    after = rest.partition(_END)[2]
    file.write_text(f"{before}{_BEGIN}{table(measures)}\n{machine}{_END}{after}")
    _plot(measures, docs)


def _plot(measures: Sequence[Measure], docs: Path) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415 (it takes a second, and the quick form draws nothing)

    # The same results give the same file.
    plt.switch_backend("svg")
    plt.rcParams.update({"svg.hashsalt": "aurora-refresh", "svg.fonttype": "none"})
    colours = {"package": "tab:blue", "floor": "tab:gray"}
    cold = [each for each in measures if each.name.startswith("cold")]
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for place, (who, colour) in enumerate(colours.items()):
        times = [[each * 1000 for each in getattr(measure, who)] for measure in cold]
        rows = [2.5 * row + place for row in range(len(cold))]
        axes.boxplot(times, positions=rows, orientation="horizontal", boxprops={"color": colour})
    axes.set_yticks([2.5 * row + 0.5 for row in range(len(cold))], [each.name for each in cold])
    axes.set(xlim=(0, None), xlabel="ms from start to first answer; blue: package, gray: floor")
    figure.savefig(docs / "bench-cold.svg", metadata={"Date": None})

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for latency, style in zip(LATENCIES, ("-", "--"), strict=True):
        warm = {each.at[0]: each for each in measures if each.at and each.at[1] == latency}
        for who, colour in colours.items():
            medians = [statistics.median(getattr(each, who)) for each in warm.values()]
            label = f"{who}, {latency * 1000:.0f} ms"
            axes.loglog(list(warm), medians, style, marker="o", color=colour, label=label)
    axes.set(xlabel="shared snapshots", ylabel="seconds of a warm update")
    axes.legend()
    figure.savefig(docs / "bench-update.svg", metadata={"Date": None})
