"""The bits of the perceptual hash, on grey pictures made from formulas."""

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.decoding.perceptual import FLAT, perceptual_hash
from core.vision.decoding.worker_protocol import GREY_SIDE

Grey = NDArray[np.float64]
ACROSS = np.arange(GREY_SIDE) / GREY_SIDE


def cloudy(seed: int) -> Grey:
    """Return smooth blotches between 0 and 255, different for each seed."""
    chance = np.random.default_rng(seed)
    waves = np.cos(np.pi * np.outer(np.arange(10), ACROSS + 1 / 64))
    made: Grey = waves.T @ chance.standard_normal((10, 10)) @ waves
    stretched: Grey = (made - made.min()) / np.ptp(made) * 255
    return stretched


def hashed(grey: Grey) -> int:
    return perceptual_hash(np.rint(grey).astype(np.uint8).tobytes())


def apart(one: Grey, other: Grey) -> int:
    return (hashed(one) ^ hashed(other)).bit_count()


def test_unlike_pictures_differ_in_about_half_of_the_bits() -> None:
    apart_by = [apart(cloudy(one), cloudy(other)) for one in range(40) for other in range(40, 80)]
    assert min(apart_by) > 12
    assert np.mean(apart_by) == pytest.approx(31, abs=1)


def test_a_hash_fits_a_positive_bigint_and_is_never_taken_for_a_flat_one() -> None:
    for seed in range(50):
        value = hashed(cloudy(seed))
        assert 0 < value < 2**63
        assert value.bit_count() == 31  # those above the median of 63


@pytest.mark.parametrize("seed", range(10))
def test_brightness_contrast_and_grain_move_few_bits(seed: int) -> None:
    picture = cloudy(seed)
    grain = np.random.default_rng(seed).normal(0, 3, picture.shape)

    assert apart(picture, picture * 0.7 + 20) <= 2
    assert apart(picture, np.clip(picture + grain, 0, 255)) <= 4


def test_mirrored_turned_and_inverted_pictures_are_others() -> None:
    picture = cloudy(1)
    for other in (picture[:, ::-1], picture[::-1], picture.T, 255 - picture):
        assert apart(picture, other) > 12


def test_a_picture_without_contrast_is_flat_whatever_its_brightness() -> None:
    faint = 5 * ACROSS * np.ones((GREY_SIDE, 1))  # a sky: 1.4 grey levels of deviation
    for level in (0.0, 128.0, 250.0):
        assert hashed(level + 0 * faint) == FLAT
        assert hashed(level + faint) == FLAT
    assert hashed(128 + 10 * faint) != FLAT


def test_what_is_zero_in_a_symmetric_picture_is_no_noise() -> None:
    """With floats, half of the frequencies of such a picture would be rounding errors."""
    half = cloudy(3)[:, : GREY_SIDE // 2]
    symmetric = np.hstack([half, half[:, ::-1]])

    assert hashed(symmetric) == hashed(symmetric[:, ::-1])
    assert apart(symmetric, symmetric * 0.9) <= 2


def test_the_bits_are_the_same_on_every_machine_and_in_every_version() -> None:
    """Stored hashes are compared with new ones, so another algorithm needs another column."""
    rows, columns = np.indices((GREY_SIDE, GREY_SIDE), float)
    folds = ((rows * 7 + columns * 3) % 256, (rows * columns + rows * 4) % 256)

    assert [f"{hashed(folded):x}" for folded in folds] == ["63b4e956e91275a", "1f3e71676c5956"]


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        perceptual_hash(bytes(GREY_SIDE * GREY_SIDE - 1))
