"""The choice of an engine by a short measurement, on a clock of its own."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.engines.probe import fastest, measure

PICTURES = np.zeros((8, 4, 4, 3), np.uint8)
Batch = NDArray[np.uint8]


class Clock:
    """A clock that only engines advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def engine(
        self, per_picture_s: float, per_call_s: float = 0.0, noise_s: Sequence[float] = ()
    ) -> Callable[[Batch], None]:
        """Return an engine that takes a fixed time, and more in its first calls."""
        more: Iterator[float] = chain(noise_s, repeat(0.0))

        def encode(batch: Batch) -> None:
            self.now += per_call_s + per_picture_s * len(batch) + next(more)

        return encode


def test_figures_are_pictures_per_second_of_a_batch() -> None:
    clock = Clock()
    engines = {"slow": clock.engine(0.02, 0.08), "quick": clock.engine(0.01)}
    rates = measure(engines, PICTURES, budget_s=3, clock=clock)
    # alone, a picture would take the slow engine 0.1 s; in a batch of 8, 0.03 s
    assert rates == pytest.approx({"slow": 1 / 0.03, "quick": 100})


def test_the_first_call_and_a_busy_machine_do_not_count() -> None:
    clock = Clock()
    engines = {
        "disturbed": clock.engine(0.01, noise_s=[0.6, 0.0, 0.4, 0.3, 0.0, 0.2]),
        "steady": clock.engine(0.02),
    }
    rates = measure(engines, PICTURES, budget_s=5, clock=clock)
    assert rates == pytest.approx({"disturbed": 100, "steady": 50})


def test_engines_take_turns() -> None:
    clock = Clock()
    order: list[str] = []

    def engine(name: str) -> Callable[[Batch], None]:
        work = clock.engine(0.01)

        def encode(batch: Batch) -> None:
            order.append(name)
            work(batch)

        return encode

    measure({"a": engine("a"), "b": engine("b")}, PICTURES, budget_s=1, clock=clock)
    assert order == ["a", "b"] * (len(order) // 2)
    assert len(order) >= 6


@pytest.mark.parametrize("per_picture_s", [0.001, 0.02, 0.1, 0.19])
def test_the_budget_holds(per_picture_s: float) -> None:
    clock = Clock()
    engines = {name: clock.engine(per_picture_s) for name in ("a", "b", "c")}
    measure(engines, PICTURES, budget_s=3, clock=clock)
    assert clock.now - 100 <= 3


def test_engines_too_slow_for_the_budget_are_told_apart_by_one_picture() -> None:
    clock = Clock()
    engines = {"slow": clock.engine(2.0), "slower": clock.engine(3.0)}
    rates = measure(engines, PICTURES, budget_s=3, clock=clock)
    assert rates == pytest.approx({"slow": 1 / 2, "slower": 1 / 3})
    assert clock.now - 100 == pytest.approx(10)  # a warm-up and one picture each


def test_a_clock_too_coarse_to_see_anything_makes_no_engine_infinitely_fast() -> None:
    clock = Clock()
    rates = measure({"a": clock.engine(0.0)}, PICTURES, budget_s=3, clock=clock)
    assert np.isfinite(rates["a"])


def test_the_quickest_is_taken() -> None:
    assert fastest({"a": 10.0, "b": 12.0, "c": 11.0}, {}) == "b"


def test_of_two_equals_the_first_is_taken() -> None:
    assert fastest({"a": 10.0, "b": 10.0}, {}) == "a"


@pytest.mark.parametrize(("rate", "winner"), [(11.9, "torch"), (12.1, "int8")])
def test_an_engine_with_a_margin_must_be_quicker_by_it(rate: float, winner: str) -> None:
    assert fastest({"torch": 10.0, "int8": rate}, {"int8": 1.2}) == winner
