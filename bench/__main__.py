"""``make bench``: measure the deployment package against the floor, and update docs/benchmarks.md."""

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bench.functions import Bench
from bench.measures import EXACT, VARYING
from bench.report import table, write
from localcloud.client import LocalCloud

PROJECT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure and print the results; return 1 if one that does not vary misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes; writes nothing")
    is_quick = parser.parse_args().quick
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        LocalCloud.start() as cloud,
        closing(Bench(PROJECT, Path(folder), cloud)) as bench,
    ):
        for measure in [*VARYING, *EXACT]:
            times, seconds = (3, 0 if is_quick else 40) if measure in VARYING else (1, 0)
            measure.repeat(bench, times, seconds)
            sys.stderr.write(f"  {measure.name}: {measure.value:.3g}\n")
    sys.stdout.write(table([*VARYING, *EXACT]))
    if not is_quick:
        write([*VARYING, *EXACT], PROJECT / "docs")
    return int(not all(each.is_met for each in EXACT))


if __name__ == "__main__":
    sys.exit(main())
