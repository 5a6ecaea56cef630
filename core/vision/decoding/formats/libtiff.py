"""The rows of a TIFF as its samples are, strip by strip, by the libtiff that Pillow links.

Pillow gives pixels of its own modes only. Compression, predictors and byte order are libtiff's
work; the bytes come back in this machine's order.
"""

import ctypes
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image, _imaging

_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 278, 322, 323
_READ = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)
_SEEK = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int)
_CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_SIZE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
_MAP = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_UNMAP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)


def rows(
    data: bytes, tags: Mapping[int, Any], size: tuple[int, int], pixel_bytes: int
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (first row, number of rows, their bytes) down the first picture.

    Args:
        data: the file.
        tags: of its first directory.
        size: of the picture.
        pixel_bytes: all samples of a pixel together; they stand side by side.

    Raises:
        OSError: a strip or tile is broken or missing.
    """
    width, height = size
    with _opened(data) as handle:
        if _library().TIFFIsTiled(handle):
            yield from _tiles(handle, tags, size, pixel_bytes)
            return
        each = min(max(1, int(tags.get(_ROWS_PER_STRIP, height))), height)
        for strip, top in enumerate(range(0, height, each)):
            count = min(each, height - top)
            yield top, count, _read(handle, "Strip", strip, count * width * pixel_bytes)


def _tiles(
    handle: int, tags: Mapping[int, Any], size: tuple[int, int], pixel_bytes: int
) -> Iterator[tuple[int, int, bytes]]:
    width, height = size
    across, down = int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH])
    if not (0 < across <= 2 * width + 4096 and 0 < down <= 2 * height + 4096):
        raise OSError(f"tiles of {across} x {down}")
    tile = 0
    for top in range(0, height, down):
        band = Image.new("L", (width * pixel_bytes, min(down, height - top)))
        for left in range(0, width, across):
            part = _read(handle, "Tile", tile, across * down * pixel_bytes)
            picture = Image.frombuffer("L", (across * pixel_bytes, down), part, "raw", "L", 0, 1)
            band.paste(picture, (left * pixel_bytes, 0))
            tile += 1
        yield top, band.height, band.tobytes()


def _read(handle: int, what: str, number: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    read = getattr(_library(), f"TIFFReadEncoded{what}")(handle, number, buffer, size)
    if read != size:
        raise OSError(f"{what.lower()} {number} of {size} bytes is truncated or broken")
    return buffer.raw


class _Files:
    """The files that libtiff is reading, and the functions by which it does.

    They are made once, before the process is sealed: each takes executable memory.
    """

    def __init__(self) -> None:
        self._open: dict[int, io.BytesIO] = {}
        self.callbacks = (
            _READ(self._read),
            _READ(lambda *_: 0),  # files are read only
            _SEEK(lambda number, offset, whence: self._open[number].seek(offset, whence)),
            _CLOSE(lambda _: 0),
            _SIZE(lambda number: len(self._open[number].getbuffer())),
            _MAP(lambda *_: 0),
            _UNMAP(lambda *_: None),
        )

    def _read(self, number: int, target: int, count: int) -> int:
        part = self._open[number].read(count)
        ctypes.memmove(target, part, len(part))
        return len(part)

    @contextmanager
    def numbered(self, data: bytes) -> Iterator[int]:
        """Hold a file open under a number."""
        number = max(self._open, default=0) + 1
        self._open[number] = io.BytesIO(data)
        try:
            yield number
        finally:
            del self._open[number]


@contextmanager
def _opened(data: bytes) -> Iterator[int]:
    with _files().numbered(data) as number:
        # m: our functions read, nothing is mapped; c: large strips stay as the tags say.
        handle = _library().TIFFClientOpen(b"picture", b"rmc", number, *_files().callbacks)
        if not handle:
            raise OSError("libtiff does not open it")
        try:
            yield handle
        finally:
            _library().TIFFClose(handle)


@cache
def _files() -> _Files:
    return _Files()


@cache
def _library() -> ctypes.CDLL:
    """Return libtiff, which Pillow's own module has loaded and whose names it leads to."""
    library = ctypes.CDLL(_imaging.__file__)
    library.TIFFClientOpen.restype = ctypes.c_void_p
    library.TIFFClientOpen.argtypes = (
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, _READ, _READ, _SEEK, _CLOSE, _SIZE,
        _MAP, _UNMAP,
    )  # fmt: skip
    for name in ("TIFFReadEncodedStrip", "TIFFReadEncodedTile"):
        getattr(library, name).restype = ctypes.c_ssize_t
        getattr(library, name).argtypes = (
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_ssize_t,
        )  # fmt: skip
    library.TIFFIsTiled.argtypes = library.TIFFClose.argtypes = (ctypes.c_void_p,)
    library.TIFFClose.restype = None
    library.TIFFSetErrorHandler(None)
    library.TIFFSetWarningHandler(None)
    return library


def prepare_library() -> None:
    """Look libtiff's functions up now, and make ours: a sealed worker can do neither.

    Raises:
        AttributeError: Pillow was linked in a way that hides them.
    """
    _library()
    _files()
