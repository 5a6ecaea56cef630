"""How many examples a property test draws: few in the unit suite, many in `make test-faults`.

The unit suite takes half a minute so that it is run at every change. The long runs of the same
tests are those of tests/faults/test_many_examples.py.
"""

import os

MANY = "MANY_EXAMPLES"


def examples(few: int, many: int) -> int:
    """Return `many` where the environment has `MANY_EXAMPLES`, else `few`."""
    return many if MANY in os.environ else few
