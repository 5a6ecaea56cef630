"""Size and memory per pixel of pictures that keep them in tags (TIFF) or boxes (HEIF, AVIF)."""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

from core.vision.decoding.formats.headers import (
    Bytes,
    HeaderBroken,
    HeaderEnded,
    PictureSize,
    unpack,
)

# Real files hold some tens of tags or boxes; these bounds keep hostile ones cheap.
_MAX_TAGS = 4096
_MAX_BOXES = 4096
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_TAGS = frozenset({_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS})
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
# No compression, CCITT, LZW, JPEG, deflate, PackBits, ThunderScan: what they need hangs on the
# picture's size. LZMA and Zstandard choose the size of their own memory, which no tag tells.
_SIZED = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946})
_MOST_PLANES = 6.0  # bytes per pixel of three planes of 16 bits


def tiff_size(data: bytes) -> PictureSize:
    """Return the size in the first directory of a TIFF or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    if unpack(order + "H", data, 2)[0] == 43:
        (at,) = unpack(order + "Q", data, 8)
        (count,) = unpack(order + "Q", data, at)
        entry, first = order + "HHQ", at + 8
    else:
        (at,) = unpack(order + "I", data, 4)
        (count,) = unpack(order + "H", data, at)
        entry, first = order + "HHI", at + 2
    tags = dict(_tiff_tags(data, entry, first, min(count, _MAX_TAGS)))
    if not {_WIDTH, _LENGTH} <= tags.keys():
        raise HeaderBroken("first directory has no ImageWidth or ImageLength")
    return PictureSize(tags[_WIDTH], tags[_LENGTH], _tiff_held(tags))


def _tiff_tags(data: bytes, entry: str, first: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield the first value of each whole number that matters; pointers that lead out do not."""
    head = struct.calcsize(entry)
    value_size = 8 if entry.endswith("Q") else 4
    for at in range(first, first + count * (head + value_size), head + value_size):
        tag, kind, values = unpack(entry, data, at)
        if tag not in _TAGS or kind not in _WHOLE:
            continue
        value = entry[0] + _WHOLE[kind]
        place = at + head
        if values * struct.calcsize(value) > value_size:
            (place,) = unpack(entry[0] + entry[-1], data, place)
        if place + struct.calcsize(value) <= len(data):
            yield tag, unpack(value, data, place)[0]


def _tiff_held(tags: Mapping[int, int]) -> int | None:
    """Return the bytes per pixel: the picture's four, and those of a strip that is all of it."""
    compression = tags.get(_COMPRESSION, 1)
    if compression not in _SIZED:
        return None
    samples, bits = tags.get(_SAMPLES, 1), tags.get(_BITS, 1)
    written = math.ceil(samples * bits / 8)
    single = tags.get(_ROWS, tags[_LENGTH]) >= tags[_LENGTH]
    strip = written if single else 0  # several are within the process's fixed share
    return max(8, 4 + strip)


def isobmff_size(data: bytes) -> PictureSize:
    """Return the largest image that a HEIF or AVIF file declares (ISO/IEC 23008-12, `ispe`).

    The primary item is never larger than the largest property, so limits hold; thumbnails and
    tiles are smaller.
    """
    inner: Bytes = memoryview(data)  # mdat may stand first, and slices of bytes are copies
    for name in (b"meta", b"iprp", b"ipco"):
        inner = _box(inner, name)
        if name == b"meta":
            inner = inner[4:]  # a full box: version and flags
    properties = list(_boxes(inner))
    sizes = [
        (width, height)
        for kind, body in properties
        if kind == b"ispe"
        for _, width, height in [unpack(">III", body, 0)]
    ]
    if not sizes:
        raise HeaderBroken("no image size (ispe) among the item properties")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return PictureSize(width, height, _isobmff_held(properties))


def _isobmff_held(properties: Sequence[tuple[bytes, Bytes]]) -> int:
    """Return the bytes per pixel: the codec's planes, and what the libraries make of them.

    Measured with pillow 13.0 and pillow-heif 1.8.1: AVIF holds the planes twice and RGB twice;
    HEIF the planes, RGB, and four bytes a pixel. 12 megapixels came to 9.2 (AVIF 4:2:0), 11.0
    (4:4:4), 11.7 (with alpha), 7.8 (HEIC) and 9.8 (with alpha).
    """
    alpha = any(kind == b"auxC" for kind, _ in properties)
    colours = 4 if alpha else 3
    planes = (max(_planes(kind, body) for kind, body in properties) or _MOST_PLANES) + alpha
    if any(kind == b"av1C" for kind, _ in properties):
        return math.ceil(2 * planes + 2 * colours)
    return math.ceil(planes + colours + 5)


def _planes(kind: bytes, body: Bytes) -> float:
    """Return the bytes per pixel of a codec's picture; of other properties 0."""
    if kind == b"av1C" and len(body) > 2:  # AV1 codec configuration, section 2.3
        deep, grey, columns, rows = (body[2] >> bit & 1 for bit in (6, 4, 3, 2))
        chroma = 0.0 if grey else 2 / (1 + columns) / (1 + rows)
        return (1 + chroma) * (1 + deep)
    if kind == b"hvcC" and len(body) > 17:  # ISO/IEC 14496-15, 8.3.3.1
        chroma = (0.0, 0.5, 1.0, 2.0)[body[16] & 3]
        return (1 + chroma) * (2 if body[17] & 7 else 1)
    return _MOST_PLANES if kind in {b"av1C", b"hvcC"} else 0.0


def _box(data: Bytes, wanted: bytes) -> Bytes:
    for kind, body in _boxes(data):
        if kind == wanted:
            return body
    raise HeaderEnded


def _boxes(data: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    """Yield the boxes of one level: (type, content). A cut last box is given as far as it goes."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, kind = unpack(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = unpack(">Q", data, at + 8)
            head = 16
        end = at + size if size else len(data)
        if end < at + head:
            raise HeaderBroken(f"box {kind!r} of {size} bytes")
        yield kind, data[at + head : end]
        at = end
