"""BMP whose colours are bit fields of any width, or two bits: Pillow 13 knows some of them.

A pixel is read as its bytes, one band each; red, green and blue are made of them by tables of 256
entries, some rows at a time.
"""

import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageFile, ImagePalette

_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_BYTES = {16: "LA", 24: "RGB", 32: "RGBA"}  # modes with as many bands as a pixel has bytes
_DEFAULT_COLOURS = 4
_BAND_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class BitFields:
    """The masks of red, green, blue and perhaps alpha in a pixel of several bytes."""

    masks: tuple[int, ...]

    @property
    def mode(self) -> str:
        """Return Pillow's mode for these colours."""
        return "RGB" if len(self.masks) == 3 else "RGBA"


def _resolved(raw: Image.Image, fields: BitFields) -> Image.Image:
    """Return 8 bits a colour, from a picture whose bands are a pixel's bytes."""
    target = Image.new(fields.mode, raw.size)
    rows = max(1, _BAND_PIXELS // raw.width)
    for top in range(0, raw.height, rows):
        band = Image.Image.crop(raw, (0, top, raw.width, min(raw.height, top + rows)))
        bands = band.split()
        target.paste(
            Image.merge(fields.mode, [_field(bands, mask) for mask in fields.masks]), (0, top)
        )
    return target


def _field(bands: tuple[Image.Image, ...], mask: int) -> Image.Image:
    """Return one colour: the mask's topmost 8 bits, scaled to 0..255."""
    if not mask:
        return Image.new("L", bands[0].size, 0)
    low = (mask & -mask).bit_length() - 1
    width = mask.bit_length() - low
    low, width = low + max(0, width - 8), min(width, 8)
    most = (1 << width) - 1
    parts = [
        band.point([(byte << 8 * place >> low) & most for byte in range(256)])
        for place, band in enumerate(bands)
    ]
    total = parts[0]
    for part in parts[1:]:  # their bits do not overlap
        total = ImageChops.add(total, part)
    return total.point([min(value, most) * 255 // most for value in range(256)])


class OddBmp(ImageFile.ImageFile):
    """A BMP that Pillow refuses: unusual bit fields, or two bits a pixel."""

    format = "BMP"
    format_description = "Windows Bitmap, unusual"

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 - for mypy; ImageFile has set it
        head = self.fp.read(14 + 124)
        header_size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", head, 14)
        (offset,) = struct.unpack_from("<I", head, 10)
        self._size = width, abs(height)
        self.fields: BitFields | None = None
        if bits == 2 and compression == 0:
            self._mode = rawmode = "P"
            rawmode = "P;2"
            self.palette = _palette(head, self.fp, header_size)
        elif bits in _BYTES and compression in {_BITFIELDS, _ALPHA_BITFIELDS}:
            self._mode = rawmode = _BYTES[bits]
            self.fields = _fields(head, header_size, compression)
        else:
            raise SyntaxError(f"BMP of {bits} bits, compression {compression}")
        if min(self._size) < 1:
            raise SyntaxError(f"BMP of {self._size}")
        stride = (width * bits + 31) // 32 * 4
        direction = 1 if height < 0 else -1
        box = (0, 0, *self._size)
        tile = ImageFile._Tile("raw", box, offset, (rawmode, stride, direction))  # noqa: SLF001
        self.tile = [tile]

    def load(self) -> Any:
        """Decode the pixels, once, and make colours of their bytes."""
        fresh = bool(self.tile)
        try:
            return super().load()
        finally:
            if fresh and self.fields is not None and self._im is not None:
                self.im = _resolved(self, self.fields).im
                self._mode = self.im.mode


def _palette(head: bytes, file: Any, header_size: int) -> ImagePalette.ImagePalette:
    (used,) = struct.unpack_from("<I", head, 46)
    count = min(used or _DEFAULT_COLOURS, _DEFAULT_COLOURS)
    file.seek(14 + header_size)
    return ImagePalette.raw("BGRX", file.read(4 * count))


def _fields(head: bytes, header_size: int, compression: int) -> BitFields:
    """Return the masks; they follow a short header and are part of a long one."""
    has_alpha = header_size >= 56 or compression == _ALPHA_BITFIELDS
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", head, 54)
    return BitFields(masks[:3] if len(masks) == 4 and not masks[3] else masks)


def is_odd(data: bytes) -> bool:
    """Return whether only `OddBmp` reads this BMP."""
    if len(data) < 66 or struct.unpack_from("<I", data, 14)[0] < 40:
        return False
    bits, compression = struct.unpack_from("<HI", data, 28)
    if compression == _ALPHA_BITFIELDS:
        return bits in _BYTES
    if compression == _BITFIELDS:
        return bits in _BYTES and _needs_tables(data, bits)
    return (bits, compression) == (2, 0)


def _needs_tables(data: bytes, bits: int) -> bool:
    """Return whether a mask is not one of those layouts that Pillow unpacks."""
    header_size = int.from_bytes(data[14:18], "little")
    masks = _fields(data, header_size, _BITFIELDS).masks
    if bits == 16:
        return masks[:3] not in {(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)} or len(masks) > 3
    usual = {(0xFF0000, 0xFF00, 0xFF), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)}
    return masks not in usual
