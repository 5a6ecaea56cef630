"""Near-copies and the split."""

import numpy as np
from PIL import Image

from training.copies import copy_pairs, group_names
from training.pictures import Pixels, held_out

SIDE = 64


def scenes(count: int, seed: int) -> Pixels:
    """Return smooth random pictures, all different."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    size = (SIDE, SIDE)
    return np.stack([np.asarray(Image.fromarray(one).resize(size)) for one in coarse])


def test_a_picture_saved_again_is_found_as_a_copy_and_nothing_else_is() -> None:
    originals = scenes(20, seed=1)
    noise = np.random.default_rng(2).integers(-4, 5, originals[3].shape)
    again = np.clip(originals[3] + noise, 0, 255).astype(np.uint8)

    assert copy_pairs(again[None], originals) == [(0, 3)]


def test_a_mirrored_picture_is_a_copy() -> None:
    originals = scenes(20, seed=3)

    assert copy_pairs(originals[5][None, :, ::-1], originals) == [(0, 5)]


def test_a_picture_of_the_same_shape_in_another_colour_is_no_copy() -> None:
    original = scenes(1, seed=4)
    darker = (original * 0.6).astype(np.uint8)

    assert copy_pairs(darker, original) == []


def test_copies_of_copies_share_one_group() -> None:
    names = group_names(["d", "c", "b", "a"], [(0, 1), (1, 2)])

    assert names == ["b", "b", "b", "a"]


def test_a_group_is_held_out_as_a_whole() -> None:
    groups = [f"source-{place // 2}" for place in range(2000)]

    outside = held_out(groups)

    assert (outside[::2] == outside[1::2]).all()


def test_about_a_fifth_is_held_out_and_always_the_same() -> None:
    groups = [f"source-{place}" for place in range(5000)]

    outside = held_out(groups)

    assert 0.17 < outside.mean() < 0.24
    assert (outside == held_out(groups)).all()
    assert (held_out(groups[::-1]) == outside[::-1]).all()
