"""The share of a decoder that a picture may take while others wait for it. Pure.

What exceeds it is set aside (docs/decisions/0025-slow-pictures.md): by its header where that tells,
otherwise when its time is over or its decoder has no memory left.
"""

import numpy as np

from core.errors import ImageUnreadable
from core.settings import MIB
from core.tags import Postponed, Slowness
from core.vision.decoding import sniff
from core.vision.decoding.limits import cost
from core.vision.decoding.limits.deadline import TimeLimit

#: Memory of an ordinary decoder, as `cost.needed_bytes` counts it: pictures of 24 megapixels fit,
#: whatever their format.
ORDINARY_BYTES = 512 * MIB
#: Address space beyond that memory: libraries are mapped whole, and hardly used.
MAPPED_BYTES = 128 * MIB
# Per picture 0.5 s, and 0.1 s for each megapixel, up to 2 s: at least twice what any format needed
# at 12 megapixels (HEIC 0.5 s, PNG 0.4 s, JPEG 0.1 to 0.2 s). A small picture that decodes for long
# is caught early.
_LEAST_S = 0.5
_PER_PIXEL_S = 0.1e-6
_MOST_S = 2.0
# A decoder that does not get a processor, or that sleeps, must not hold others for much longer.
_WALL_PER_CPU = 5
# What is decoded behind all others may wait for a processor: so many times its own time.
_PATIENCE = 4
# Each scan of a JPEG walks over the whole picture, even if it changes nothing: 0.05 ns a pixel at
# the least. Encoders make up to twenty scans, which is 2.4e9 for the largest picture accepted.
_MOST_SCANNED_PIXELS = 4_000_000_000
_START_OF_SCAN = (0xFF, 0xDA)
_PIECE_BYTES = 1024 * 1024


def time_share(pixels: int) -> TimeLimit:
    """Return how long a picture of this size may take."""
    cpu_s = min(_MOST_S, _LEAST_S + _PER_PIXEL_S * pixels)
    return TimeLimit(cpu_s, _WALL_PER_CPU * cpu_s)


def patience(timeout_s: float) -> TimeLimit:
    """Return how long a picture may take that is decoded behind all others."""
    return TimeLimit(timeout_s, _PATIENCE * timeout_s)


def probe(data: bytes, limits: sniff.Limits) -> sniff.SniffedPicture | None:
    """Return the header; None where it is broken, which the decoder says in its own words."""
    try:
        return sniff.probe(data, limits)
    except ImageUnreadable:
        return None


def is_large(header: sniff.SniffedPicture, data: bytes) -> bool:
    """Return whether the header says that an ordinary decoder has too little memory."""
    needed = cost.needed_bytes(header, len(data))
    return needed is not None and needed > ORDINARY_BYTES


def exceeds(header: sniff.SniffedPicture, data: bytes) -> Postponed | None:
    """Return why a picture exceeds its share by what its bytes say; None where they don't."""
    if is_large(header, data):
        return Postponed(Slowness.MEMORY)
    if header.media_type == sniff.JPEG:
        scanned = count_scans(data) * header.width * header.height
        if scanned > _MOST_SCANNED_PIXELS:
            return Postponed(Slowness.PICTURE)
    return None


def count_scans(data: bytes) -> int:
    """Return how often a JPEG says that a scan begins, those of its thumbnails included.

    Inside a scan the marker cannot occur: a byte 0xFF of data is followed by 0 (ITU T.81, B.1.1.5).
    """
    # Not `bytes.count`, which takes 6 ms a megabyte: this takes less than one.
    octets = np.frombuffer(data, np.uint8)
    first, second = _START_OF_SCAN
    scans = 0
    for at in range(0, len(octets), _PIECE_BYTES):
        piece = octets[at : at + _PIECE_BYTES + 1]  # a marker may lie across the end
        scans += int(np.count_nonzero((piece[:-1] == first) & (piece[1:] == second)))
    return scans
