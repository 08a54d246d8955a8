"""``make bench``: the deployment package against the floor, into docs/benchmarks.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.functions import Bench
from bench.measures import FULL, MEASURES, QUICK
from bench.report import table, write

PROJECT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure, and print what was measured; with --quick, fail if a budget of imports is exceeded."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="The deployment package, in Lambda's runtime client, against the shortest "
        "boto3 scripts that make the same AWS calls. Takes about a quarter of an hour, and a quiet machine.",
    )
    quick = "a minute's worth of it; writes nothing, and fails if a handler imports more than its budget"
    parser.add_argument("--quick", action="store_true", help=quick)
    is_quick = parser.parse_args().quick
    measures = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Bench(PROJECT, Path(folder)) as bench,
    ):
        for measure_each in MEASURES:
            for measure in measure_each(bench, QUICK if is_quick else FULL):
                sys.stderr.write(f"  {measure.name}: {measure.value:.3g}\n")
                measures.append(measure)
    sys.stdout.write(table(measures))
    if not is_quick:
        write(measures, PROJECT / "docs")
    return int(any(each.name.startswith("modules") and not each.is_met for each in measures))


if __name__ == "__main__":
    sys.exit(main())
