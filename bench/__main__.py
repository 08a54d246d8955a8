"""``make bench``: the deployment package against the floor, into docs/benchmarks.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.lambdas import Bench
from bench.measures import FULL, MEASURES, QUICK, say
from bench.report import table, write
from bench.standin import StandIn

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
    only = "this measure alone; nothing is written"
    parser.add_argument("--only", action="append", choices=list(MEASURES), help=only)
    asked = parser.parse_args()
    measures = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, StandIn() as standin:
        bench = Bench(PROJECT, Path(directory), standin)
        try:
            for name in asked.only or MEASURES:
                for measure in MEASURES[name](bench, QUICK if asked.quick else FULL):
                    say(f"{measure.name}: {measure.value:.3g}")
                    measures.append(measure)
        finally:
            bench.close()
    sys.stdout.write(table(measures))
    if not asked.quick and not asked.only:
        write(measures, PROJECT / "docs")
    return int(any(each.name.startswith("modules") and not each.is_met for each in measures))


if __name__ == "__main__":
    sys.exit(main())
