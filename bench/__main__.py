"""``make bench``: the deployment package against the floor, into docs/benchmarks.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.lambdas import Bench
from bench.measures import FULL, MEASURES, QUICK, measure, say
from bench.report import page, plots, table
from bench.standin import StandIn

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Metric, and say what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="The deployment package, in Lambda's runtime client, against the shortest "
        "boto3 scripts that make the same AWS calls. Takes about a quarter of an hour, and a quiet machine.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute's worth of it; nothing is written"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(MEASURES),
        help="this measure alone; nothing is written",
    )
    parser.add_argument(
        "--project",
        type=Path,
        default=PROJECT,
        help="another copy of the application; nothing is written",
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, StandIn() as standin:
        say("making the deployment package")
        bench = Bench(asked.project, Path(directory), standin)
        try:
            results = measure(bench, QUICK if asked.quick else FULL, asked.only or list(MEASURES))
        finally:
            bench.close()
    sys.stdout.write(table(results))
    if not asked.quick and not asked.only and asked.project == PROJECT:
        docs = PROJECT / "docs"
        plots(results, docs)
        (docs / "benchmarks.md").write_text(page(results))
        say("written: docs/benchmarks.md and its plots")


if __name__ == "__main__":
    main()
