"""What the lines of text on a page look like: 8 bytes for each, where its ink stands.

Letters on one letterhead look alike to a model and to a perceptual hash; their lines do not. A page
scanned again, turned a little, saved or scaled keeps nearly all of its lines. No letter is read.
Everything is an integer, so that every machine gives the same bytes. How it was measured:
docs/decisions/0046-lines-of-text.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Places of a line, from the left end of the text to the right: a bit each.
CELLS = 64
#: Most lines that are kept; a page of 362 rows has room for 70.
MAX_LINES = 96
#: Fewer lines are no page of text.
LEAST_LINES = 4

# Paper is looked for in blocks: a page may lie in the shade on one side.
_BLOCK = 16
_PAPER_RANK = 217  # of 256 pixels in a block, from the darkest
#: Ink is darker than the paper by more than an eighth of it: less is noise of the scanner.
_NOISE = 8
#: Of a page: an empty one, and a picture, have less and more.
_LEAST_INK, _MOST_INK = 0.005, 0.4
# Tilts are in 1/1024 of a pixel per pixel: 36 are two degrees.
_MOST_TILT, _COARSE = 36, 4
_STRIPS = 16
_FINE_ROWS = 4  # parts of a row by which strips are shifted
#: Rows on either side among which a line has the most ink; it ends at a third of that.
_NEAR_ROWS = 5
_ENDS = 3
#: Rows beyond the ends of a line in which its longer letters stand, half-way to the next at most.
_BEYOND = 2
#: Text stands between these parts of all ink; headings, marks and rules at its edges count little.
_EDGE, _WHOLE = 20, 1000
#: A line is no text where it is over one and a half times as high as they are in the middle.
_HIGH, _USUAL = 3, 2
#: A place is inked that has five sixths of what three in four of the line's inked places have.
_INKED_PERCENT = 83
#: Inked places of a line in the mean: a picture with a few dark spots has fewer.
_LEAST_INKED = 12
_FRACTION = 256  # of a pixel, where ink is shared between places

_Ints = NDArray[np.int64]


def text_lines(grey: NDArray[np.uint8]) -> bytes | None:
    """Return 8 bytes for each line of text, from the top; None for what is no page of text.

    Args:
        grey: of `paper.page_in`, (rows, columns).
    """
    ink = _ink(grey)
    if not _may_be_text(ink):
        return None
    ink = _straightened(ink, _tilt(ink))
    bands = _bands(ink)
    if len(bands) < LEAST_LINES or not _are_alike(bands):
        return None
    inked = _inked(_in_cells(ink, bands))[_as_high_as_most(bands)][:MAX_LINES]
    if len(inked) < LEAST_LINES or inked.mean() * CELLS < _LEAST_INKED:
        return None
    return np.packbits(inked, axis=1).tobytes()


def _ink(grey: NDArray[np.uint8]) -> _Ints:
    """Return how much darker than the paper around it each pixel is, 0 to 255."""
    height, width = grey.shape
    down, across = -(-height // _BLOCK), -(-width // _BLOCK)
    whole = np.pad(grey, ((0, down * _BLOCK - height), (0, across * _BLOCK - width)), mode="edge")
    blocks = whole.reshape(down, _BLOCK, across, _BLOCK).transpose(0, 2, 1, 3)
    levels = blocks.reshape(down, across, _BLOCK * _BLOCK)
    paper = np.partition(levels, _PAPER_RANK, axis=2)[:, :, _PAPER_RANK].astype(np.int64)
    around = np.pad(paper, 1, mode="edge")  # a block may be in the middle of a black bar
    paper = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).max(axis=(2, 3))
    paper = paper.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:height, :width]
    darker: _Ints = np.maximum(paper - grey - paper // _NOISE, 0)
    return darker


def _may_be_text(ink: _Ints) -> bool:
    """Return whether a page has some ink and is not covered with it."""
    share = np.count_nonzero(ink) / ink.size
    return bool(_LEAST_INK <= share <= _MOST_INK)


def _tilt(ink: _Ints) -> int:
    """Return by how much lines rise to the right: moved back by it, rows differ most in ink."""
    height, width = ink.shape
    wide = width // _STRIPS
    strips = ink[:, : wide * _STRIPS].reshape(height, _STRIPS, wide).sum(axis=2).T
    strips = strips.repeat(_FINE_ROWS, axis=1)
    middles = [(2 * strip + 1 - _STRIPS) * wide for strip in range(_STRIPS)]  # twice the distance

    def contrast(tilt: int) -> int:
        moves = [_half_up(middle * tilt * _FINE_ROWS) for middle in middles]
        rows = sum(np.roll(strip, -move) for move, strip in zip(moves, strips, strict=True))
        return int((rows * rows).sum())

    coarse = max(range(-_MOST_TILT, _MOST_TILT + 1, _COARSE), key=contrast)
    return max(range(coarse - _COARSE + 1, coarse + _COARSE), key=contrast)


def _half_up(value: Any) -> Any:
    """Return 1/2048 of a whole number or of an array of them, rounded."""
    return (value + 1024) // 2048


def _straightened(ink: _Ints, tilt: int) -> _Ints:
    """Return a page turned back by its tilt: columns are moved up or down, rows to a side."""
    height, width = ink.shape
    down = _half_up((2 * np.arange(width) + 1 - width) * tilt)
    aside = _half_up((2 * np.arange(height) + 1 - height) * tilt)
    rows = np.clip(np.arange(height)[:, None] + down, 0, height - 1)
    columns = np.clip(np.arange(width) - aside[:, None], 0, width - 1)
    turned: _Ints = ink[rows, columns]
    return turned


def _bands(ink: _Ints) -> list[tuple[int, int]]:
    """Return first and last row + 1 of each line, from the top."""
    rows = ink.sum(axis=1)
    around = np.pad(rows, _NEAR_ROWS)
    most = np.lib.stride_tricks.sliding_window_view(around, 2 * _NEAR_ROWS + 1).max(axis=1)
    inked = (rows * _ENDS > most) & (rows > ink.shape[1])
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inked.view(np.int8), [0]))))
    first, end = edges[::2], edges[1::2]
    between = (end[:-1] + first[1:] + 1) // 2
    first = np.maximum(first - _BEYOND, np.concatenate(([0], between)))
    end = np.minimum(end + _BEYOND, np.concatenate((between, [len(rows)])))
    return list(zip(first.tolist(), end.tolist(), strict=True))


def _are_alike(bands: Sequence[tuple[int, int]]) -> bool:
    """Return whether half of the lines are about equally high: those of pictures are of any."""
    heights = sorted(end - first for first, end in bands)
    low, usual, high = (heights[len(heights) * quarter // 4] for quarter in (1, 2, 3))
    return low * _HIGH >= usual * _USUAL and high * _USUAL <= usual * _HIGH


def _as_high_as_most(bands: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which lines are no headline, mark or picture."""
    heights = np.array([end - first for first, end in bands])
    usual = np.sort(heights)[len(heights) // 2]
    low: NDArray[np.bool_] = heights * _USUAL <= usual * _HIGH
    return low


def _in_cells(ink: _Ints, bands: Sequence[tuple[int, int]]) -> _Ints:
    """Return the ink of each line by place: (lines, CELLS), times `_FRACTION` and more."""
    columns = np.cumsum(ink.sum(axis=0))
    left, right = _place(columns, _EDGE), _place(columns, _WHOLE - _EDGE)
    margin = (right - left) * _EDGE // (_WHOLE // 2)
    left, right = left - margin, right + margin
    edges = left + (right - left) * np.arange(CELLS + 1) // CELLS
    edges = np.clip(edges, 0, ink.shape[1] * _FRACTION).astype(np.int64)
    lines = np.stack([ink[first:end].sum(axis=0) for first, end in bands])
    until = np.pad(np.cumsum(lines, axis=1, dtype=np.int64), ((0, 0), (1, 1)), mode="edge")
    until[:, 0] = 0
    whole, part = edges // _FRACTION, edges % _FRACTION
    shared = until[:, whole] * (_FRACTION - part) + until[:, whole + 1] * part
    cells: _Ints = np.subtract(shared[:, 1:], shared[:, :-1], dtype=np.int64)
    return cells


def _place(columns: _Ints, rank: int) -> int:
    """Return up to where this part of all ink stands, in 1/256 of a column.

    Args:
        columns: ink up to and with each column.
    """
    wanted = int(columns[-1]) * rank // _WHOLE
    column = int(np.searchsorted(columns, wanted))
    before = int(columns[column - 1]) if column else 0
    own = max(int(columns[column]) - before, 1)
    return column * _FRACTION + (wanted - before) * _FRACTION // own


def _inked(cells: _Ints) -> NDArray[np.bool_]:
    """Return which places of each line have ink, by what most of its inked places have."""
    least = np.empty((len(cells), 1), np.int64)
    for number, line in enumerate(cells):
        some = np.sort(line[line * _NOISE > line.max()])
        least[number] = some[len(some) * 3 // 4] * _INKED_PERCENT if len(some) else 0
    inked: NDArray[np.bool_] = cells * 100 > least
    return inked
