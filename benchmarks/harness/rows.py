"""How a row of the fairness benchmark runs by itself: `python -m benchmarks.sharing.<row>`."""

import argparse
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
