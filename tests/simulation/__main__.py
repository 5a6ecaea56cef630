"""Run seeds by hand: `python -m tests.simulation FIRST COUNT`; a JSON line for each.

Exit code 1 if any of them breaks an invariant.
"""

import json
import sys

from core.messaging.loop import calm_collector
from tests.simulation.runs import run


def main(first: int, count: int) -> int:
    """Simulate; what broke is told to the standard error."""
    calm_collector()
    broken = 0
    for seed in range(first, first + count):
        told = run(seed)
        broken += bool(told.broken)
        line = {"seed": seed, "digest": told.digest, "broken": told.broken}
        print(json.dumps(line), flush=True)  # the answer of a command
        if told.broken:
            print(told.told(), file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
