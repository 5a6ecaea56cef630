"""TIFF of samples that Pillow refuses or misreads: floats, 32 and 64 bits, inverted 16 bits.

libtiff unpacks the rows; `array` and `struct` make numbers of their bytes, a band at a time, and
these are scaled to 8 bits: twice, since what is white is known when all were seen.
"""

import array
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, TiffImagePlugin

from core.errors import ImageUnreadable
from core.vision.decoding.formats import libtiff

_BITS, _SAMPLES, _FORMAT, _EXTRA = 258, 277, 339, 338
_PHOTOMETRIC, _PLANES, _PROFILE = 262, 284, 34675
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
# Type codes of `array`, and of `struct` for half floats, by (sample format, bits).
_CODES = {
    (_UNSIGNED, 16): "H",
    (_SIGNED, 16): "h",
    (_FLOAT, 16): "e",
    (_UNSIGNED, 32): "I",
    (_SIGNED, 32): "i",
    (_FLOAT, 32): "f",
    (_UNSIGNED, 64): "Q",
    (_SIGNED, 64): "q",
    (_FLOAT, 64): "d",
}
_COLOURS = {0: 1, 1: 1, 2: 3}  # by photometric interpretation: white is zero, black is zero, RGB
_BAND_SAMPLES = 1 << 20
_INVERSE = [255 - value for value in range(256)]
#: Of pictures in 0..1 a highlight may be brighter; most of one in 0..255 is not under this.
_UNIT_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the samples of a picture stand in its rows.

    Attributes:
        code: type of a sample, see `_CODES`.
        kind: sample format.
        samples: samples per pixel, colours first.
        colours: how many of them are colours.
        inverted: whether white is zero.
    """

    code: str
    kind: int
    samples: int
    colours: int
    inverted: bool

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes per pixel."""
        return self.samples * struct.calcsize("=" + self.code)


class DeepTiff(TiffImagePlugin.TiffImageFile):
    """A TIFF that is read as numbers where Pillow has no mode for it, and as usual elsewhere."""

    layout: _Layout | None = None

    def _setup(self) -> None:
        self.layout = _layout(self.tag_v2)
        if self.layout is None:
            super()._setup()
            if self.tag_v2.get(_BITS) == (12,):
                self.info["bits"] = 12
            return
        width, height = self.tag_v2[256], self.tag_v2[257]
        if not isinstance(width, int) or not isinstance(height, int):
            raise SyntaxError("invalid dimensions")  # noqa: TRY004 - as Pillow
        self._size = self._tile_size = width, height
        self._mode = "RGB" if self.layout.colours == 3 else "L"
        self.palette = None
        self.tile = []
        if _PROFILE in self.tag_v2:
            self.info["icc_profile"] = self.tag_v2[_PROFILE]

    def load(self) -> Any:
        """Decode, once. The picture stays as it lies: nothing has turned it yet."""
        if self.layout is None:
            return super().load()
        if self._im is None:
            assert self.fp is not None  # noqa: S101 - for mypy; nothing has closed it
            self.fp.seek(0)
            self.im = _eight_bits(_Rows(self.fp.read(), self.tag_v2, self.layout, self._size)).im
        return Image.Image.load(self)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The picture that is to be read."""

    data: bytes
    tags: TiffImagePlugin.ImageFileDirectory_v2
    layout: _Layout
    size: tuple[int, int]

    def bands(self) -> Iterator[tuple[int, list[Image.Image]]]:
        """Yield (first row, the colours as pictures of floats) for bands of rows."""
        width, layout = self.size[0], self.layout
        row_bytes = width * layout.pixel_bytes
        each = max(1, _BAND_SAMPLES // (width * layout.samples))
        strips = libtiff.rows(self.data, self.tags, self.size, layout.pixel_bytes)
        for top, count, strip in strips:
            for row in range(0, count, each):
                values = _numbers(strip[row * row_bytes : (row + each) * row_bytes], layout.code)
                size = (width, len(values) // (width * layout.samples))
                yield (
                    top + row,
                    [
                        Image.frombytes(
                            "F", size, values[at :: layout.samples].tobytes(), "raw", "F;32NF"
                        )
                        for at in range(layout.colours)
                    ],
                )


def _layout(tags: TiffImagePlugin.ImageFileDirectory_v2) -> _Layout | None:
    """Return the layout of what Pillow does not read rightly; None for all else."""
    bits, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (1,)))
    photometric, samples = tags.get(_PHOTOMETRIC, 0), tags.get(_SAMPLES, 1)
    if len(bits) != 1 or len(kinds) != 1 or photometric not in _COLOURS:
        return None
    kind, depth = kinds.pop(), bits.pop()
    code, colours = _CODES.get((kind, depth)), _COLOURS[photometric]
    if code is None or samples < colours or (samples > 1 and tags.get(_PLANES, 1) != 1):
        return None
    if code == "H" and photometric != 0:
        return None  # Pillow has these
    if samples > TiffImagePlugin.MAX_SAMPLESPERPIXEL:
        return None
    return _Layout(code, kind, samples, colours, photometric == 0)


def _eight_bits(rows: _Rows) -> Image.Image:
    start, factor = _scale(rows)
    layout = rows.layout
    target = Image.new("RGB" if layout.colours == 3 else "L", rows.size)
    for top, bands in rows.bands():
        done = [
            band.point(lambda value: value * factor - start * factor).convert("L") for band in bands
        ]
        part = Image.merge("RGB", done) if layout.colours == 3 else done[0]
        target.paste(part.point(_INVERSE) if layout.inverted else part, (0, top))
    return target


def _scale(rows: _Rows) -> tuple[float, float]:
    """Return (value of black, factor to 0..255), from the values that there are."""
    low, top, small, count = math.inf, -math.inf, 0, 0
    for _, bands in rows.bands():
        for band in bands:
            least, most = band.getextrema()
            low, top = min(low, float(str(least))), max(top, float(str(most)))
            if not (math.isfinite(low) and math.isfinite(top)):
                raise ImageUnreadable(f"values from {low} to {top}", reason="corrupt")
            small += sum(band.convert("L").histogram()[:2])
            count += band.width * band.height
    layout = rows.layout
    if layout.code == "h" and low >= 0 and top > 255:
        return 0.0, 255 / 32767
    is_unit = layout.kind == _FLOAT and small >= _UNIT_SHARE * count
    return scale_of(low, top, is_unit=is_unit)


def scale_of(low: float, top: float, *, is_unit: bool = False) -> tuple[float, float]:
    """Return (value of black, factor to 0..255) for values between two numbers.

    Args:
        low: the least value.
        top: the greatest one.
        is_unit: whether most are between 0 and 1; what is beyond is clipped.
    """
    if is_unit and low > -1 and top > 0:
        return 0.0, 255.0
    if low < 0 or top > 65535:
        start = min(low, 0.0) if low < 0 else 0.0
        return start, 255 / ((top - start) or 1.0)
    return 0.0, 1.0 if top <= 255 else 1 / 257


def _numbers(data: bytes, code: str) -> "array.array[float]":
    if code == "e":
        return array.array("f", struct.unpack(f"={len(data) // 2}e", data))
    if code == "f":
        return array.array("f", data)
    return array.array("f", array.array(code, data))
