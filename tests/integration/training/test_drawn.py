"""Surfaces drawn by the program."""

import numpy as np

from training.drawn import drawn_view


def test_drawings_are_many_and_none_is_empty() -> None:
    views = [drawn_view(64, np.random.default_rng([1, number])) for number in range(60)]

    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 60
    assert sum(view.std() > 3 for view in views) >= 50
    assert np.array_equal(views[3], drawn_view(64, np.random.default_rng([1, 3])))
