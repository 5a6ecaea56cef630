"""Size and memory per pixel from the headers of picture files. Pure Python, bounded work.

`tagged_headers` has the formats that keep them in tags and boxes.

Why not the lazy `Image.open` of Pillow 13: its WebP, AVIF and HEIF openers run C parsers over
the whole file and allocate the canvas, and its bomb limit is a global with a warning. The
ingress must not do either with bytes from strangers.
"""

import math
import struct
from typing import Any, NamedTuple

Bytes = bytes | memoryview

# Real files hold some tens of segments; this bound keeps hostile ones cheap.
_MAX_SEGMENTS = 4096

# Start-of-frame markers: C0..CF without DHT (C4), JPG (C8) and DAC (CC). ITU T.81, table B.1.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline and extended, by Huffman or arithmetic codes; the others are progressive or lossless.
_JPEG_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


class HeaderEnded(Exception):
    """The bytes end before the size is known."""


class HeaderBroken(Exception):
    """The header contradicts its format."""


class PictureSize(NamedTuple):
    """What a header tells.

    Attributes:
        width: columns, before EXIF orientation.
        height: rows.
        held: most bytes of memory that decoding holds for one pixel; None where only decoding
            tells. The usual 8: the decoder's pixels, four bytes each, and a copy of them, turned
            or without transparency.
    """

    width: int
    height: int
    held: int | None = 8


def jpeg_size(data: bytes) -> PictureSize:
    """Return the size in the first frame header of a JPEG."""
    marker, at = jpeg_frame(data)
    _, height, width = unpack(">BHH", data, at + 2)
    return PictureSize(width, height, _jpeg_held(data, marker, at))


def jpeg_frame(data: bytes) -> tuple[int, int]:
    """Return the code of a JPEG's first frame header, and where its length stands."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, at = _jpeg_marker(data, at)
        if marker in _JPEG_BARE:
            continue
        (length,) = unpack(">H", data, at)
        if marker in _JPEG_FRAMES:
            return marker, at
        if marker in {0xD9, 0xDA} or length < 2:
            raise HeaderBroken(f"marker {marker:#x} of length {length} before any frame header")
        at += length
    raise HeaderBroken(f"no frame header in {_MAX_SEGMENTS} segments")


def _jpeg_held(data: bytes, marker: int, at: int) -> int:
    """Return the bytes per pixel of a frame: what comes in several scans is kept as coefficients.

    They take two bytes each, for every component at its own resolution, beside the four of a pixel.
    """
    try:
        (count,) = unpack("B", data, at + 7)
        factors = [unpack("B", data, at + 9 + 3 * one)[0] for one in range(count)]
        if marker in _JPEG_SEQUENTIAL and _jpeg_scanned(data, at) == count:
            return 8
    except HeaderEnded:
        return 12  # of four components at full resolution; the decoder will not get far
    blocks = [(factor >> 4) * (factor & 15) for factor in factors]
    most = max((factor >> 4 for factor in factors), default=0)
    most *= max((factor & 15 for factor in factors), default=0)
    return max(8, 4 + math.ceil(2 * sum(blocks) / most)) if most else 12


def _jpeg_scanned(data: bytes, at: int) -> int:
    """Return the number of components in the first scan behind the segment at `at`."""
    for _ in range(_MAX_SEGMENTS):
        (length,) = unpack(">H", data, at)
        marker, at = _jpeg_marker(data, at + length)
        if marker == 0xDA:
            return int(unpack("B", data, at + 2)[0])
    raise HeaderEnded


def _jpeg_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the next marker: (its code, the position after it). Stray bytes are skipped."""
    at = data.find(b"\xff", at)
    if at < 0:
        raise HeaderEnded
    for position in range(at, min(at + _MAX_SEGMENTS, len(data))):
        if data[position] != 0xFF:  # any number of fill bytes may precede the code
            return data[position], position + 1
    raise HeaderEnded


def png_size(data: bytes) -> PictureSize:
    """Return the size in IHDR, which must be a PNG's first chunk."""
    name, width, height = unpack(">4sII", data, 12)
    if name != b"IHDR":
        raise HeaderBroken(f"first chunk is {name!r}, not IHDR")
    return PictureSize(width, height)


def gif_size(data: bytes) -> PictureSize:
    """Return the logical screen of a GIF, or more where the first frame reaches beyond it.

    Decoders make the picture as large as both together (GIF89a, sections 18 and 20).
    """
    width, height = unpack("<HH", data, 6)
    at = _gif_frame(data)
    if at is not None and at + 8 <= len(data):
        left, top, columns, rows = unpack("<HHHH", data, at)
        width, height = max(width, left + columns), max(height, top + rows)
    return PictureSize(width, height)


def _gif_frame(data: bytes) -> int | None:
    """Return where the place of a GIF's first frame stands; None: not among its first blocks."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    in_extension = False
    for _ in range(_MAX_SEGMENTS):
        if at >= len(data):
            return None
        block, at = data[at], at + 1
        if in_extension:
            at, in_extension = at + block, bool(block)
        elif block == 0x2C:
            return at
        elif block == 0x21:
            at, in_extension = at + 1, True  # behind its label
    return None


def bmp_size(data: bytes) -> PictureSize:
    """Return the size of a BMP; a negative height means rows from the top."""
    (header_size,) = unpack("<I", data, 14)
    if header_size == 12:
        width, height = unpack("<HH", data, 18)
    else:
        width, height = unpack("<ii", data, 18)
    return PictureSize(width, abs(height))


def webp_size(data: bytes) -> PictureSize:
    """Return the canvas of a WebP (RFC 9649, sections 2.5 to 2.7)."""
    (kind,) = unpack("4s", data, 12)
    if kind == b"VP8X":
        need(data, 30)
        canvas = [1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27)]
        frame = _webp_frame(data)
        return PictureSize(max(canvas[0], frame[0]), max(canvas[1], frame[1]))
    if kind == b"VP8L":
        (bits,) = unpack("<I", data, 21)
        return PictureSize(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = unpack("<HH", data, 26)
        return PictureSize(width & 0x3FFF, height & 0x3FFF)
    raise HeaderBroken(f"first chunk is {kind!r}")


def _webp_frame(data: bytes) -> tuple[int, int]:
    """Return the size that the first picture behind a `VP8X` states; (0, 0): it is not told."""
    at = 30
    for _ in range(_MAX_SEGMENTS):
        if at + 18 > len(data):
            break
        kind, length = unpack("<4sI", data, at)
        if kind == b"ANMF":
            at += 24  # its picture is a chunk within
        elif kind in {b"VP8 ", b"VP8L"}:
            inner = webp_size(b"RIFF\0\0\0\0WEBP" + data[at : at + 18])
            return inner.width, inner.height
        else:
            at += 8 + length + length % 2
    return 0, 0


def unpack(form: str, data: Bytes, at: int) -> tuple[Any, ...]:
    """Return the values at a place.

    Raises:
        HeaderEnded: the bytes end before.
    """
    need(data, at + struct.calcsize(form))
    return struct.unpack_from(form, data, at)


def need(data: Bytes, size: int) -> None:
    """Raise `HeaderEnded` if there are fewer bytes."""
    if len(data) < size:
        raise HeaderEnded
