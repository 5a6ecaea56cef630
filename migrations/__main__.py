"""python -m migrations [schema | labels | topics]: what must exist before a start; all without.

Exit codes: 0 done; 1 PostgreSQL or Kafka is away; 2 a wrong setting. It may be run at every
start, by several at once. With --held it loads and then reads the rest of its environment from
standard input (JSON).
"""

import argparse
import asyncio
import sys

from core.errors import ConfigurationError, PhotoTaggerError
from core.starting import HELD, released
from migrations.steps import STEPS, take


async def _take(steps: tuple[str, ...], *, is_held: bool) -> int:
    await released(is_held=is_held)
    return await take(steps)


def main() -> int:
    """Take the wanted steps; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("step", nargs="?", choices=STEPS, help="only this step")
    parser.add_argument(HELD, action="store_true", help="wait before servers are used")
    wanted = parser.parse_args()
    steps = STEPS if wanted.step is None else (wanted.step,)
    try:
        return asyncio.run(_take(steps, is_held=wanted.held))
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
