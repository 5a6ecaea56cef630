"""The gate of faster engines must refuse differences that users would notice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.engines.agreement import Agreement, compare

Vectors = NDArray[np.float32]
TEXTS = np.eye(2, 4, dtype=np.float32)  # two labels: the first two axes


def unit(rows: NDArray[np.float64]) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def some(count: int = 200) -> Vectors:
    """Return vectors far from the border between the two labels."""
    rows = np.random.default_rng(5).uniform(0.1, 0.2, (count, 4))
    rows[np.arange(count), np.arange(count) % 2] = 1.0
    return unit(rows)


def turned(rows: Vectors, cosine: float) -> Vectors:
    """Return the vectors, each turned by the same angle in an orthogonal direction."""
    aside = np.roll(rows, 1, axis=1).astype(np.float64)
    aside -= (aside * rows).sum(axis=1, keepdims=True) * rows
    made: Vectors = (cosine * rows + np.sqrt(1 - cosine**2) * unit(aside)).astype(np.float32)
    return made


def swapped(rows: Vectors, count: int) -> Vectors:
    """Return vectors moved just across the border: only the best label changes."""
    changed = rows.copy()
    changed[:count, [0, 1]] = changed[:count, [1, 0]]
    return changed


def test_the_same_vectors_agree() -> None:
    agreement = compare(some(), some(), TEXTS)
    assert agreement.problem is None
    assert agreement.pictures == 200
    assert agreement.least_cosine == pytest.approx(1)
    assert agreement.same_best == 1


def test_length_does_not_count() -> None:
    assert compare(some(), some() * 7, TEXTS).problem is None


def test_the_worst_picture_decides_and_not_the_mean() -> None:
    candidate = some()
    candidate[17] = turned(candidate[17:18], 0.998)[0]
    agreement = compare(some(), candidate, TEXTS)
    assert agreement.least_cosine == pytest.approx(0.998, abs=1e-5)
    assert "least cosine 0.998" in str(agreement.problem)


@pytest.mark.parametrize(("cosine", "passes"), [(0.9991, True), (0.9989, False)])
def test_a_cosine_of_0_999_is_the_border(cosine: float, *, passes: bool) -> None:
    assert (compare(some(), turned(some(), cosine), TEXTS).problem is None) is passes


@pytest.mark.parametrize(("changed", "passes"), [(0, True), (2, True), (3, False)])
def test_one_best_label_in_a_hundred_may_change(changed: int, *, passes: bool) -> None:
    rows = np.random.default_rng(5).uniform(0.1, 0.2, (200, 4))
    rows[:, 0], rows[:, 1] = 1.0, 0.9999  # next to the border: swapping keeps the cosine
    agreement = compare(unit(rows), swapped(unit(rows), changed), TEXTS)
    assert agreement.least_cosine > 0.9999
    assert agreement.same_best == 1 - changed / 200
    assert (agreement.problem is None) is passes


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_none_is_a_problem(broken: float) -> None:
    candidate = some()
    candidate[3] = broken
    with np.errstate(invalid="ignore"):
        assert compare(some(), candidate, TEXTS).problem is not None


def test_too_few_pictures_prove_nothing() -> None:
    assert "99 pictures" in str(compare(some(99), some(99), TEXTS).problem)
    assert "0 pictures" in str(compare(some(0), some(0), TEXTS).problem)
    assert Agreement(100, 1.0, 1.0).problem is None


def test_a_lost_row_is_not_compared_with_its_neighbour() -> None:
    with pytest.raises(ValueError, match="199"):
        compare(some(), some()[1:], TEXTS)
