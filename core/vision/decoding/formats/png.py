"""PNG without the chunks that we do not read: damage in them must not cost the picture.

Pillow refuses a file for a text of over a megabyte, a wrong checksum in a comment, or a broken
frame behind a good first one. What is left out here cannot do that.
"""

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator

from PIL import PngImagePlugin

from core.errors import ImageUnreadable

#: Profiles of printers and scanners have up to two megabytes.
MAX_UNPACKED_BYTES = 4 * 1024 * 1024
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# Ancillary chunks that we read, with the least length that Pillow asks for.
_READ = {b"iCCP": 3, b"eXIf": 4, b"gAMA": 4, b"sRGB": 1, b"tRNS": 1}
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_KEYWORDS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
_TRANSPARENCY = {0: 2, 2: 6, 3: 1}  # bytes of tRNS by IHDR's colour type
# Chunks are read one by one; real files alternate between kept and dropped a few times.
_MAX_PIECES = 4096


class Pieces:
    """A file that reads as pieces of another one, without a copy of it."""

    def __init__(self, data: bytes, pieces: list[tuple[int, int]]) -> None:
        self._data = memoryview(data)
        self._pieces = pieces
        self._at = 0
        self._starts = [0]
        for start, end in pieces:
            self._starts.append(self._starts[-1] + end - start)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer at the end."""
        stop = self._starts[-1] if size < 0 else min(self._at + size, self._starts[-1])
        parts = []
        place = max(0, bisect_right(self._starts, self._at) - 1)
        while self._at < stop:
            start, end = self._pieces[place]
            inside = start + self._at - self._starts[place]
            part = self._data[inside : min(end, inside + stop - self._at)]
            parts.append(part)
            self._at += len(part)
            place += 1
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the pieces and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def close(self) -> None:
        """Do nothing: the bytes are the caller's."""


def prepare_library() -> None:
    """Let Pillow unpack as much as we let pass."""
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_UNPACKED_BYTES


def essential(data: bytes) -> io.BytesIO | Pieces:
    """Return the file without the chunks that are not read, damaged or too large when unpacked."""
    pieces: list[tuple[int, int]] = [(0, 8)]
    for start, end in _kept(data):
        if start == pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
        if len(pieces) > _MAX_PIECES:
            raise ImageUnreadable("image/png: chunks in thousands of pieces", reason="corrupt")
    return io.BytesIO(data) if pieces == [(0, len(data))] else Pieces(data, pieces)


def _kept(data: bytes) -> Iterator[tuple[int, int]]:
    at, colours = 8, 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name == b"IHDR" and length > 9:
            colours = data[at + 17] if at + 17 < len(data) else 0
        if name in _CRITICAL or (
            end <= len(data)
            and _is_read(name, data[at + 8 : end - 4], colours, data[end - 4 : end])
        ):
            yield at, min(end, len(data))
        if name == b"IEND":
            return
        at = end


def _is_read(name: bytes, body: bytes, colours: int, checksum: bytes) -> bool:
    if name in _TEXTS:
        if not body.startswith(_KEYWORDS) or len(body) > MAX_UNPACKED_BYTES:
            return False
    elif name not in _READ or len(body) < _READ[name]:
        return False
    if name == b"tRNS" and len(body) < _TRANSPARENCY.get(colours, 1):
        return False
    if zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
        return False
    return _unpacks(name, body)


def _unpacks(name: bytes, body: bytes) -> bool:
    """Return whether what a chunk has packed is of a known kind and within the limit."""
    _, _, rest = body.partition(b"\0")
    if name in {b"iCCP", b"zTXt"}:
        method, packed = rest[:1], rest[1:]
    elif name == b"iTXt" and rest[:1] != b"\0":
        method, packed = rest[1:2], rest[2:].split(b"\0", 2)[-1]
    else:
        return True
    stream = zlib.decompressobj()
    try:
        stream.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error:
        return False
    return method == b"\0" and not stream.unconsumed_tail
