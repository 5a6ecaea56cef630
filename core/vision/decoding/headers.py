"""Width and height from the headers of picture files. Pure Python, bounded work.

Why not the lazy `Image.open` of Pillow 13: its WebP, AVIF and HEIF openers run C parsers over
the whole file and allocate the canvas, and its bomb limit is a global with a warning. The
ingress must not do either with bytes from strangers.
"""

import struct
from collections.abc import Iterator
from typing import Any

Size = tuple[int, int]
_Bytes = bytes | memoryview

# Real files hold some tens of segments, tags or boxes; these bounds keep hostile ones cheap.
_MAX_SEGMENTS = 4096
_MAX_TAGS = 4096
_MAX_BOXES = 4096

# Start-of-frame markers: C0..CF without DHT (C4), JPG (C8) and DAC (CC). ITU T.81, table B.1.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


class HeaderEnded(Exception):
    """The bytes end before the size is known."""


class HeaderBroken(Exception):
    """The header contradicts its format."""


def jpeg_size(data: bytes) -> Size:
    """Return width and height from the first frame header of a JPEG."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, at = _jpeg_marker(data, at)
        if marker in _JPEG_BARE:
            continue
        (length,) = _unpack(">H", data, at)
        if marker in _JPEG_FRAMES:
            _, height, width = _unpack(">BHH", data, at + 2)
            return width, height
        if marker in {0xD9, 0xDA} or length < 2:
            raise HeaderBroken(f"marker {marker:#x} of length {length} before any frame header")
        at += length
    raise HeaderBroken(f"no frame header in {_MAX_SEGMENTS} segments")


def _jpeg_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the next marker: (its code, the position after it). Stray bytes are skipped."""
    at = data.find(b"\xff", at)
    if at < 0:
        raise HeaderEnded
    for position in range(at, min(at + _MAX_SEGMENTS, len(data))):
        if data[position] != 0xFF:  # any number of fill bytes may precede the code
            return data[position], position + 1
    raise HeaderEnded


def png_size(data: bytes) -> Size:
    """Return width and height from IHDR, which must be a PNG's first chunk."""
    name, width, height = _unpack(">4sII", data, 12)
    if name != b"IHDR":
        raise HeaderBroken(f"first chunk is {name!r}, not IHDR")
    return width, height


def gif_size(data: bytes) -> Size:
    """Return the logical screen of a GIF."""
    width, height = _unpack("<HH", data, 6)
    return width, height


def bmp_size(data: bytes) -> Size:
    """Return width and height of a BMP; a negative height means rows from the top."""
    (header_size,) = _unpack("<I", data, 14)
    if header_size == 12:
        width, height = _unpack("<HH", data, 18)
    else:
        width, height = _unpack("<ii", data, 18)
    return width, abs(height)


def webp_size(data: bytes) -> Size:
    """Return the canvas of a WebP (RFC 9649, sections 2.5 to 2.7)."""
    (kind,) = _unpack("4s", data, 12)
    if kind == b"VP8X":
        _need(data, 30)
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if kind == b"VP8L":
        (bits,) = _unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise HeaderBroken(f"first chunk is {kind!r}")


def tiff_size(data: bytes) -> Size:
    """Return width and height from the first directory of a TIFF or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    if _unpack(order + "H", data, 2)[0] == 43:
        (at,) = _unpack(order + "Q", data, 8)
        (count,) = _unpack(order + "Q", data, at)
        entry, first = order + "HHQ", at + 8
    else:
        (at,) = _unpack(order + "I", data, 4)
        (count,) = _unpack(order + "H", data, at)
        entry, first = order + "HHI", at + 2
    sides = dict(_tiff_sides(data, entry, first, min(count, _MAX_TAGS)))
    if len(sides) < 2:
        raise HeaderBroken("first directory has no ImageWidth or ImageLength")
    return sides[256], sides[257]


def _tiff_sides(data: bytes, entry: str, first: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield ImageWidth (256) and ImageLength (257); a value of one stands in the entry itself."""
    head = struct.calcsize(entry)
    value_size = 8 if entry.endswith("Q") else 4
    formats = {1: "B", 3: "H", 4: "I", 16: "Q"}
    for at in range(first, first + count * (head + value_size), head + value_size):
        tag, kind, _ = _unpack(entry, data, at)
        if tag in {256, 257} and kind in formats:
            yield tag, _unpack(entry[0] + formats[kind], data, at + head)[0]


def isobmff_size(data: bytes) -> Size:
    """Return the largest image that a HEIF or AVIF file declares (ISO/IEC 23008-12, `ispe`).

    The primary item is never larger than the largest property, so limits hold; thumbnails and
    tiles are smaller.
    """
    inner: _Bytes = memoryview(data)  # mdat may stand first, and slices of bytes are copies
    for name in (b"meta", b"iprp", b"ipco"):
        inner = _box(inner, name)
        if name == b"meta":
            inner = inner[4:]  # a full box: version and flags
    sizes = [
        (width, height)
        for kind, body in _boxes(inner)
        if kind == b"ispe"
        for _, width, height in [_unpack(">III", body, 0)]
    ]
    if not sizes:
        raise HeaderBroken("no image size (ispe) among the item properties")
    return max(sizes, key=lambda size: size[0] * size[1])


def _box(data: _Bytes, wanted: bytes) -> _Bytes:
    for kind, body in _boxes(data):
        if kind == wanted:
            return body
    raise HeaderEnded


def _boxes(data: _Bytes) -> Iterator[tuple[bytes, _Bytes]]:
    """Yield the boxes of one level: (type, content). A cut last box is given as far as it goes."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, kind = _unpack(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = _unpack(">Q", data, at + 8)
            head = 16
        end = at + size if size else len(data)
        if end < at + head:
            raise HeaderBroken(f"box {kind!r} of {size} bytes")
        yield kind, data[at + head : end]
        at = end


def _unpack(form: str, data: _Bytes, at: int) -> tuple[Any, ...]:
    _need(data, at + struct.calcsize(form))
    return struct.unpack_from(form, data, at)


def _need(data: _Bytes, size: int) -> None:
    if len(data) < size:
        raise HeaderEnded
