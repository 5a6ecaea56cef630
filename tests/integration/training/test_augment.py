"""Random views."""

import numpy as np
from PIL import Image

from training.augment import LEAST_DETAIL, random_view

SIDE = 96


def picture() -> Image.Image:
    """Return a picture that is dark on its left and bright on its right."""
    ramp = np.tile(np.linspace(0, 255, 128, dtype=np.uint8), (96, 1))
    return Image.fromarray(np.repeat(ramp[:, :, None], 3, axis=2))


def test_a_view_has_the_models_size_whatever_the_pictures() -> None:
    draw = np.random.default_rng(1)
    for size in ((64, 64), (300, 96), (96, 300), (LEAST_DETAIL - 20, 200)):
        view = random_view(Image.new("RGB", size, (10, 120, 200)), SIDE, draw)
        assert view.shape == (SIDE, SIDE, 3)
        assert view.dtype == np.uint8


def test_views_of_one_seed_are_the_same_and_of_others_differ() -> None:
    views = [random_view(picture(), SIDE, np.random.default_rng(seed)) for seed in (1, 1, 2)]

    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_half_of_the_views_are_mirrored_and_some_are_grey() -> None:
    draw = np.random.default_rng(3)
    tinted = Image.merge(
        "RGB",
        [
            picture().getchannel(0),
            picture().getchannel(0).point(lambda v: v // 2),
            picture().getchannel(2),
        ],
    )

    views = [random_view(tinted, SIDE, draw).astype(int) for _ in range(200)]

    mirrored = sum(view[:, :20].mean() > view[:, -20:].mean() for view in views)
    grey = sum(np.abs(view[:, :, 0] - view[:, :, 1]).mean() < 2 for view in views)
    assert 60 < mirrored < 140
    assert 5 <= grey <= 50
