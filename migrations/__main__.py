"""python -m migrations [schema | labels | topics]: what must exist before a start; all without.

Exit codes: 0 done; 1 PostgreSQL or Kafka is away; 2 a wrong setting. It may be run at every
start, by several at once.
"""

import argparse
import asyncio
import sys

from core.errors import ConfigurationError, PhotoTaggerError
from migrations.steps import STEPS, take


def main() -> int:
    """Take the wanted steps; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("step", nargs="?", choices=STEPS, help="only this step")
    step: str | None = parser.parse_args().step
    try:
        return asyncio.run(take(STEPS if step is None else (step,)))
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
