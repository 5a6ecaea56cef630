"""Views and canvases of pictures."""

import numpy as np
import open_clip
import pytest
from PIL import Image

from training.pictures import split_cell, view_of


@pytest.mark.parametrize("size", [(100, 75), (75, 100), (64, 64), (501, 333), (333, 498), (40, 90)])
def test_a_view_is_pixel_for_pixel_what_open_clip_shows_its_model(size: tuple[int, int]) -> None:
    draw = np.random.default_rng(5)
    width, height = size
    image = Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8))
    transform = open_clip.image_transform(64, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))

    theirs = (transform(image).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)

    assert np.array_equal(view_of(image, 64), theirs)


def test_cells_are_split_at_bars_and_empty_ones_give_nothing() -> None:
    assert split_cell("beach|landscape") == ("beach", "landscape")
    assert split_cell("") == ()
