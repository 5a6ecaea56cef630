"""Without what holds the guarantees the simulation must find a loss, a repeat or a standstill.

The same seeds pass with nothing taken out: they are among those of test_seeds.py.
"""

import pytest

from tests.measured import Measured
from tests.simulation.mutations import MUTATIONS
from tests.simulation.runs import run
from tests.simulation.test_seeds import SEEDS

#: Where each was found first: looked at before the others, from there on in order.
FOUND_AT = {"guard": 30, "classifying": 111}
MOST_SEEDS = 250


@pytest.mark.parametrize("name", MUTATIONS)
def test_taken_out_it_is_missed(
    name: str, monkeypatch: pytest.MonkeyPatch, measured: Measured
) -> None:
    first = FOUND_AT.get(name, 0)
    MUTATIONS[name](monkeypatch.setattr)

    for seed in range(first, first + MOST_SEEDS):
        found = run(seed)
        if found.broken:
            measured(f"{name}: SEED={seed}: {found.broken[:80]}")
            assert seed < SEEDS, "the control did not run this seed"
            assert "TypeError" not in found.broken, "the mutation no longer fits what it replaces"
            return

    raise AssertionError(f"{name} taken out, {MOST_SEEDS} seeds from {first} on see nothing")
