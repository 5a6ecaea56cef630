"""Measure what one client can take from the others: all kinds, each with and without it in one run.

    python -m benchmarks.fairness [--quick] [ROW ...]

A row is a module of `benchmarks.sharing`, which also runs by itself.
"""

from benchmarks.harness.rows import run_rows

#: In the order of what they need: lanes on a database, roles beside Kafka, a whole archive.
ROWS = (
    "bad_hosts",  # one name a line
    "dead_port",
    "quiet_path",
    "bulk_load",
    "long_polls",
    "slow_pictures",
)


if __name__ == "__main__":
    run_rows("benchmarks.sharing", ROWS, __doc__)
