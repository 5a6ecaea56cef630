"""The first picture of a WebP, by libwebp's incremental decoder, straight into its memory.

Pillow 13 reads every WebP as an animation: two canvases, a copy and the picture, 16 bytes a pixel
against 4 to 8 here, and a broken later frame fails the first. The functions are those of the
libwebp that Pillow links; they have no structures whose layout could change.
"""

import ctypes
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageFile, _webp

_RGBA = 1  # WEBP_CSP_MODE
_OK, _SUSPENDED, _OUT_OF_MEMORY = 0, 5, 1  # VP8StatusCode
_PICTURES = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_TEXTS = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
_MAX_CHUNKS = 4096


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the first picture is in the file and on the canvas."""

    start: int
    end: int
    left: int = 0
    top: int = 0
    transparent: bool = False


class WebPImage(ImageFile.ImageFile):
    """A still of the first frame. Opening reads headers alone.

    Attributes:
        rows: rows decoded, of a file that ends too early; None before `load`.
    """

    format = "WEBP"
    format_description = "WebP, first frame"

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 - for mypy; ImageFile has set it
        data = self.fp.read()
        self.rows: int | None = None
        self._data = data
        self._frame, canvas, self.info = _parse(data)
        self._inner = _size(data, self._frame)
        self._size = canvas or self._inner
        self._mode = "RGBA" if self._frame.transparent or self._size != self._inner else "RGBX"
        right, bottom = self._frame.left + self._inner[0], self._frame.top + self._inner[1]
        if right > self._size[0] or bottom > self._size[1]:
            raise SyntaxError(f"frame of {self._inner} outside the canvas of {self._size}")

    def load(self) -> Any:
        """Decode the frame, once.

        Raises:
            OSError: it is broken or cut; then `rows` says how much there is, and `im` has it.
        """
        if self._im is None:
            status, picture = self._decoded()
            if self._size != self._inner:
                canvas = Image.new("RGBA", self._size)
                canvas.paste(picture, (self._frame.left, self._frame.top))
                picture = canvas
            self.im, self.readonly = picture.im, picture.readonly
            if status == _SUSPENDED and self.rows is not None and self.rows < self._inner[1]:
                raise OSError(f"WebP is truncated after {self.rows} rows")
            if status not in {_OK, _SUSPENDED}:
                raise OSError(f"libwebp says {status}")
        return Image.Image.load(self)

    def _decoded(self) -> tuple[int, Image.Image]:
        width, height = self._inner
        pixels = bytearray(4 * width * height)
        target = (ctypes.c_char * len(pixels)).from_buffer(pixels)
        decoder = _library().WebPINewRGB(_RGBA, target, len(pixels), 4 * width)
        if not decoder:
            raise MemoryError
        try:
            status = _library().WebPIUpdate(decoder, *_span(self._data, self._frame))
            if status == _OUT_OF_MEMORY:
                raise MemoryError
            rows = ctypes.c_int(0)
            known = _library().WebPIDecGetRGB(decoder, ctypes.byref(rows), None, None, None)
            self.rows = rows.value if known else 0
        finally:
            _library().WebPIDelete(decoder)
        return status, Image.frombuffer(self.mode, self._inner, pixels, "raw", self.mode, 0, 1)


def _parse(data: bytes) -> tuple[_Frame, tuple[int, int] | None, dict[str | tuple[int, int], Any]]:
    """Return the first frame, the canvas where the file names one, and the metadata."""
    canvas: tuple[int, int] | None = None
    frame: _Frame | None = None
    info: dict[str | tuple[int, int], Any] = {}
    for name, start, end in _chunks(data, 12, len(data)):
        if name == b"VP8X" and end - start >= 10:
            canvas = (_three(data, start + 4) + 1, _three(data, start + 7) + 1)
        elif name in _TEXTS:
            info.setdefault(_TEXTS[name], data[start:end])
        elif frame is None and name == b"ANMF":
            left, top = 2 * _three(data, start), 2 * _three(data, start + 3)
            frame = _still(data, start + 16, end, left, top)
        elif frame is None and name in _PICTURES:
            frame = _still(data, start - 8, len(data), 0, 0)
    if frame is None:
        raise SyntaxError("no picture in the file")
    return frame, canvas, info


def _still(data: bytes, start: int, end: int, left: int, top: int) -> _Frame:
    transparent = False
    for name, body, stop in _chunks(data, start, end):
        if name == b"ALPH":
            transparent = True
        elif name == b"VP8L":
            return _Frame(start, stop, left, top, bool(data[body + 4] & 0x10))
        elif name == b"VP8 ":
            return _Frame(start, stop, left, top, transparent)
    raise SyntaxError("no picture in the frame")


def _chunks(data: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """Return (name, start, end) of the chunks of one level; the last one may be cut."""
    found: list[tuple[bytes, int, int]] = []
    while at + 8 <= min(end, len(data)) and len(found) < _MAX_CHUNKS:
        name, length = struct.unpack_from("<4sI", data, at)
        found.append((name, at + 8, min(at + 8 + length, end, len(data))))
        at += 8 + length + length % 2
    return found


def _three(data: bytes, at: int) -> int:
    if at + 3 > len(data):
        raise SyntaxError("header is truncated")
    return int.from_bytes(data[at : at + 3], "little")


def _size(data: bytes, frame: _Frame) -> tuple[int, int]:
    width, height = ctypes.c_int(), ctypes.c_int()
    if not _library().WebPGetInfo(*_span(data, frame), ctypes.byref(width), ctypes.byref(height)):
        raise SyntaxError("libwebp does not recognise the picture")
    return width.value, height.value


def _span(data: bytes, frame: _Frame) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    """Return address and length of a frame's bytes, which `data` keeps alive."""
    start = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.c_void_p(start + frame.start), ctypes.c_size_t(frame.end - frame.start)


@cache
def _library() -> ctypes.CDLL:
    """Return libwebp, which Pillow's own module has loaded and whose names it leads to."""
    library = ctypes.CDLL(_webp.__file__)
    library.WebPINewRGB.restype = ctypes.c_void_p
    library.WebPINewRGB.argtypes = (
        ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
    )  # fmt: skip
    library.WebPIUpdate.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.WebPIDecGetRGB.argtypes = (ctypes.c_void_p,) * 5
    library.WebPIDecGetRGB.restype = ctypes.c_void_p
    library.WebPIDelete.argtypes = (ctypes.c_void_p,)
    library.WebPIDelete.restype = None
    library.WebPGetInfo.argtypes = (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_void_p,) * 2
    return library


def prepare_library() -> None:
    """Look libwebp's functions up now: later a worker may not open files.

    Raises:
        AttributeError: Pillow was linked in a way that hides them.
    """
    _library()
