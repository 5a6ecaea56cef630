"""Measure engines briefly and choose the fastest."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[NDArray[np.uint8]], Any]
Clock = Callable[[], float]

# The best of so many rounds: more would only make the start longer.
_MAX_ROUNDS = 8


def measure(
    engines: Mapping[str, Encode], pictures: NDArray[np.uint8], *, budget_s: float, clock: Clock
) -> dict[str, float]:
    """Return pictures per second of each engine: the best of several rounds.

    The engines take turns and the best round counts, since whatever else runs on the machine
    only ever makes a round slower. Each engine gets a warm-up and one picture whatever that takes;
    rounds of all the pictures follow as long as the next one is expected to end within `budget_s`.

    Args:
        engines: by name; their results are ignored.
        pictures: one batch, in the form that the engines take.
        budget_s: seconds for everything.
        clock: seconds, monotonic.
    """
    began = clock()
    for encode in engines.values():
        encode(pictures[:1])
    seconds = _round(engines, pictures[:1], clock)
    batches: dict[str, float] = {}
    for _ in range(_MAX_ROUNDS):
        if clock() - began + sum(seconds.values()) * len(pictures) > budget_s:
            break
        turn = _round(engines, pictures, clock)
        # a batch's figure replaces a single picture's, even where it is the slower one
        batches = {name: min(took, batches.get(name, took)) for name, took in turn.items()}
        seconds = batches
    return {name: 1 / took for name, took in seconds.items()}


def fastest(rates: Mapping[str, float], margins: Mapping[str, float]) -> str:
    """Return the name of the quickest engine; the one named first where two are equal.

    Args:
        rates: pictures per second.
        margins: what an engine must be quicker by, as a factor, before it counts as quicker;
            1 where it is not named.
    """
    return max(rates, key=lambda name: rates[name] / margins.get(name, 1.0))


def _round(
    engines: Mapping[str, Encode], pictures: NDArray[np.uint8], clock: Clock
) -> dict[str, float]:
    """Return seconds per picture."""
    seconds = {}
    for name, encode in engines.items():
        began = clock()
        encode(pictures)
        # never zero: a coarse clock would make an engine infinitely fast
        seconds[name] = max(clock() - began, 1e-9) / len(pictures)
    return seconds
