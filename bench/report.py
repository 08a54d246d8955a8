"""Write the results to docs/benchmarks.md, as a table and plots."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measures import Measure

_BEGIN, _END = "<!-- measured -->\n", "<!-- end -->\n"


def table(measures: Sequence[Measure]) -> str:
    """Return a table with one line for each measure and its target."""
    lines = ["| measure | package | floor | value | to reach | |", "|---|---|---|---|---|---|"]
    for each in measures:
        met = "reached" if each.is_met else "**not reached**"
        package, floor = (_range(values, each.unit) for values in (each.package, each.floor))
        value = f"{each.value:.3g} | ≤ {each.most:g} | {met}"
        lines.append(f"| {each.name} | {package} | {floor} | {value} |")
    return "\n".join(lines) + "\n"


def _range(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    digits = 2 if unit in ("s", "MiB") else 0
    numbers = (statistics.median(values), min(values), max(values))
    median, least, most = (f"{each:,.{digits}f}" for each in numbers)
    return f"{median} {unit}".strip() + (f" ({least} to {most})" if len(values) > 1 else "")


def write(measures: Sequence[Measure], docs: Path) -> None:
    """Write the table to the page, and draw the plots."""
    file = docs / "benchmarks.md"
    before, _, rest = file.read_text().partition(_BEGIN)
    machine = (
        f"Measured on {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), Python "
        f"{platform.python_version()}, boto3 {version('boto3')}, {datetime.now(UTC):%B %Y}.\n"
    )
    picture = "\n![The measures in ms, of package and floor](benchmarks.svg)\n"
    after = rest.partition(_END)[2]
    file.write_text(f"{before}{_BEGIN}{table(measures)}\n{machine}{picture}{_END}{after}")
    _plot([each for each in measures if each.unit == "ms"], docs / "benchmarks.svg")


def _plot(measures: Sequence[Measure], file: Path) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415 (it takes a second, and the quick form draws nothing)

    # The same results produce the same file.
    plt.switch_backend("svg")
    plt.rcParams.update({"svg.hashsalt": "aurora-refresh", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for place, (who, colour) in enumerate({"package": "tab:blue", "floor": "tab:gray"}.items()):
        taken = [getattr(measure, who) for measure in measures]
        rows = [-2.5 * row - place for row in range(len(measures))]
        axes.boxplot(taken, positions=rows, orientation="horizontal", boxprops={"color": colour})
    names = [measure.name for measure in measures]
    axes.set_yticks([-2.5 * row - 0.5 for row in range(len(measures))], names)
    axes.set(xlim=(0, None), xlabel="ms; blue: package, gray: floor")
    figure.savefig(file, metadata={"Date": None})
