"""Measure the page in Chromium: what a large archive costs, and how soon it shows what happened.

    python -m benchmarks.page [--quick] [ROW ...]

A row is a module of `benchmarks.viewing`, which also runs by itself.
"""

from benchmarks.harness.rows import run_rows

#: In the order of what they need: an archive that only shows, one that works.
ROWS = ("gallery", "news")


if __name__ == "__main__":
    run_rows("benchmarks.viewing", ROWS, __doc__)
