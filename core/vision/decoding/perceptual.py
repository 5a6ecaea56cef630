"""A perceptual hash: a photo that is saved again or resized keeps nearly all its bits.

The pHash of the literature (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010): the lowest frequencies of the grey picture, each a bit that says whether it is
above their median. Made of the whole upright picture, whatever the model sees of it. Threshold and
limits were measured: docs/decisions/0015-perceptual-hash.md.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.vision.decoding.worker_protocol import GREY_SIDE

FREQUENCIES = 8  # per axis; all but the mean brightness give a bit each
_BITS = FREQUENCIES**2 - 1
#: The hash of a picture without contrast. No other picture has it, since half of the bits are set.
FLAT = 0
#: Least standard deviation, in grey levels of 255: below it, saving again moves too many bits. One
#: photo in a hundred has less than 22.
LEAST_CONTRAST = 6.0


def perceptual_hash(grey: bytes, least_contrast: float = LEAST_CONTRAST) -> int:
    """Return 63 bits; `FLAT` for a picture without contrast.

    The frequencies are integers, so that every machine gives the same bits: in floats, what is zero
    in a symmetric picture would come out as noise.

    Args:
        grey: uint8, (GREY_SIDE, GREY_SIDE), the whole picture.
        least_contrast: standard deviation under which a picture is flat.

    Raises:
        ValueError: of another size.
    """
    values = np.frombuffer(grey, np.uint8).reshape(GREY_SIDE, GREY_SIDE).astype(np.int64)
    if values.std() < least_contrast:
        return FLAT
    cosines = _cosines()
    frequencies = (cosines @ values @ cosines.T).ravel()[1:]
    above = frequencies > np.sort(frequencies)[_BITS // 2]
    return int.from_bytes(np.packbits(above).tobytes(), "big") >> 1


@cache
def _cosines() -> NDArray[np.int64]:
    """Return the first rows of the DCT, type II, times 4096: int64, (FREQUENCIES, GREY_SIDE)."""
    places = 2 * np.arange(GREY_SIDE) + 1
    angles = np.pi * np.outer(np.arange(FREQUENCIES), places) / (2 * GREY_SIDE)
    scaled: NDArray[np.int64] = np.rint(np.cos(angles) * 4096).astype(np.int64)
    return scaled
