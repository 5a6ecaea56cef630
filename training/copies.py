"""Near-copies among pictures, which must be on the same side of the split."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.pictures import Pixels

GRID = 12  # px; side of the thumbnail that is compared
COPY_COSINE = 0.985  # judged by eye: below it are different photos of similar scenes
COLOUR_GAP = 12.0  # of 255; mean colours of copies differ by less
BLOCK = 2048  # rows compared at once; bounds memory to BLOCK x n float32

Vectors = npt.NDArray[np.float32]


def thumbnails(views: Pixels) -> Vectors:
    """Return thumbnails: float32, (n, GRID, GRID, 3), 0..255."""
    small = [Image.fromarray(view).resize((GRID, GRID), Image.Resampling.BOX) for view in views]
    return np.stack([np.asarray(image, np.float32) for image in small])


def _shapes(small: Vectors) -> Vectors:
    flat = small.reshape(len(small), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-6), np.float32)


def copy_pairs(left: Pixels, right: Pixels) -> list[tuple[int, int]]:
    """Return pairs (index in left, index in right) that show the same picture, mirrored or not."""
    small = thumbnails(left)
    others = small if left is right else thumbnails(right)
    colours, other_colours = small.mean(axis=(1, 2)), others.mean(axis=(1, 2))
    targets = _shapes(others)
    pairs: list[tuple[int, int]] = []
    for turned in (small, small[:, :, ::-1]):
        shapes = _shapes(turned)
        for start in range(0, len(shapes), BLOCK):
            rows, columns = np.nonzero(shapes[start : start + BLOCK] @ targets.T > COPY_COSINE)
            rows += start
            gaps = np.abs(colours[rows] - other_colours[columns]).max(axis=1)
            near = gaps < COLOUR_GAP
            pairs.extend(zip(rows[near].tolist(), columns[near].tolist(), strict=True))
    return pairs


def group_names(sources: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return each picture's group: the least source among its copies and, in turn, their copies."""
    parent = list(range(len(sources)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in pairs:
        first, second = root(one), root(other)
        if first != second:
            low, high = sorted((first, second), key=lambda place: sources[place])
            parent[high] = low
    return [sources[root(place)] for place in range(len(sources))]
