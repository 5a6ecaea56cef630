"""The split, and the photos that nothing may be learnt from."""

import numpy as np
from PIL import Image

from training.material import split
from training.pictures import LabelledPicture


def test_photos_that_are_measured_on_and_their_copies_are_refused() -> None:
    draw = np.random.default_rng(1)
    coarse = draw.integers(0, 255, (40, 6, 6, 3), dtype=np.uint8)
    views = np.stack([np.asarray(Image.fromarray(one).resize((64, 64))) for one in coarse])
    index = [
        LabelledPicture("a.zip", f"{n}.jpg", f"repo/{n}", (), "thing", "", ()) for n in range(40)
    ]
    noise = draw.integers(-4, 5, views[3].shape)
    again = np.clip(views[3] + noise, 0, 255).astype(np.uint8)

    rows = split(index, views, [again[None], views[7][None, :, ::-1]])

    assert rows.refused == 2
    assert not {3, 7} & {*rows.training.tolist(), *rows.outside.tolist()}
    assert len(rows.training) + len(rows.outside) == 38
