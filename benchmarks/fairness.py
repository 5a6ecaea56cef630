"""Measure what one client can take from the others: all kinds, each with and without it in one run.

    python -m benchmarks.fairness [--quick] [ROW ...]

A row is a module of `benchmarks.sharing`, which also runs by itself. Each has a process of its own,
so that memory and connections of one do not show in another.
"""

import argparse
import subprocess
import sys

#: In the order of what they need: lanes on a database, roles beside Kafka, a whole archive.
ROWS = (
    "bad_hosts",  # one name a line
    "dead_port",
    "quiet_path",
    "bulk_load",
    "long_polls",
    "slow_pictures",
)


def main() -> None:
    """Run the rows; the exit code is 1 where one could not be measured, whatever the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute per row")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all")
    options = parser.parse_args()
    if unknown := sorted(set(options.rows) - set(ROWS)):
        parser.error(f"no such row: {', '.join(unknown)}")
    flags = ["--quick"] if options.quick else []
    failed = []
    for row in options.rows or ROWS:
        print(f"\n== {row}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.sharing.{row}", *flags]
        done = subprocess.run(command, check=False)
        if done.returncode:
            failed.append(row)
    if failed:
        raise SystemExit(f"could not be measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
