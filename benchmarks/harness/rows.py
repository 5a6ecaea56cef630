"""How rows of a benchmark run: by themselves, `python -m benchmarks.sharing.<row>`, or together."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from benchmarks.harness.report import print_machine


class Row(Protocol):
    """`measure` of a module in `benchmarks.sharing`."""

    def __call__(self, *, quick: bool) -> None:
        """Measure with and without the bad neighbour; print a table, and a line per goal."""
        ...


def run_alone(row: Row) -> None:
    """Read the command line, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="within a minute")
    options = parser.parse_args()
    print_machine()
    row(quick=options.quick)


def run_rows(package: str, rows: Sequence[str], description: str) -> None:
    """Run rows of a package, as the command line asks; the exit code is 1 where one failed.

    Each has a process of its own, so that memory and connections of one do not show in another.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="within a minute per row")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(rows)}; all")
    options = parser.parse_args()
    if unknown := sorted(set(options.rows) - set(rows)):
        parser.error(f"no such row: {', '.join(unknown)}")
    flags = ["--quick"] if options.quick else []
    failed = []
    for row in options.rows or rows:
        print(f"\n== {row}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"{package}.{row}", *flags], check=False)
        if done.returncode:
            failed.append(row)
    if failed:
        raise SystemExit(f"could not be measured: {', '.join(failed)}")
