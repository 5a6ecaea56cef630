"""The one reduction: the whole picture, smaller by a whole number, never larger.

The model's square, the perceptual hash and small copies are made of what it gives, so nothing
behind it costs more for a larger or a stranger picture.
"""

import math
from dataclasses import dataclass

from PIL import Image

from core.vision.decoding import colour
from core.vision.decoding.metadata import exif
from core.vision.decoding.plain import is_plain, plain, scale
from core.vision.decoding.sources import LoadedPicture

#: Most pixels of a reduced picture. 4 : 1 at twice 224 pixels, before rounding down the factor
#: doubles its sides, are 3.2 million; a strip of 30,000 x 1,000 keeps 365 rows.
MAX_PIXELS = 4_000_000
_BAND_PIXELS = 1 << 20
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Reduced:
    """A picture upright, 8 bits a band, and perhaps smaller than its source.

    Attributes:
        image: in sRGB; its last column and row may be of fewer source pixels than the others.
        size: of what it shows, in source pixels: the whole picture, or what a cut file has of it.
        factor: source pixels per pixel.
    """

    image: Image.Image
    size: tuple[int, int]
    factor: int


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied, 1 to 8; 1 where it is invalid.

    Call it after loading: Pillow turns TIFF while loading, and PNG may have EXIF after its pixels.
    """
    value = exif.read(image).get(_ORIENTATION, 1)
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """Return a picture turned by an EXIF orientation.

    `ImageOps.exif_transpose` is not used: it rewrites the EXIF and fails on broken blocks.
    """
    return image.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else image


def factor_for(size: tuple[int, int], wanted: float) -> int:
    """Return by how much a picture may be divided.

    Args:
        size: of the picture.
        wanted: source pixels per pixel of what is to be made of it.
    """
    by_area = math.ceil(math.sqrt(size[0] * size[1] / MAX_PIXELS))
    return max(1, math.floor(wanted), by_area)


def reduced(source: LoadedPicture, factor: int) -> Reduced:
    """Return the decoded part upright and in sRGB, divided by a whole number."""
    turn = orientation(source.image)
    small = colour.to_srgb(upright(divided(source, factor), turn), source.image.info)
    return Reduced(small, upright_size(part_size(source), turn), factor * drafted(source))


def divided(source: LoadedPicture, factor: int) -> Image.Image:
    """Return the decoded part in a plain mode, as it lies, divided by a whole number.

    With 1 it may be the source's own image.
    """
    image, box = source.image, source.box
    if is_plain(image):
        if factor > 1:
            return image.reduce(factor, box)
        return image if box == (0, 0, *image.size) else image.crop(box)
    left, top, right, bottom = box
    rows = max(factor, _BAND_PIXELS // (right - left) // factor * factor)
    size = (math.ceil((right - left) / factor), math.ceil((bottom - top) / factor))
    values, target = scale(image), None
    for row in range(top, bottom, rows):
        band = image.crop((left, row, right, min(bottom, row + rows)))
        small = plain(band, values)
        small = small.reduce(factor) if factor > 1 else small
        target = target or Image.new(small.mode, size)
        target.paste(small, (0, (row - top) // factor))
    return target or image  # a box has rows, so there is a target


def drafted(source: LoadedPicture) -> int:
    """Return by how much the decoder itself has divided the picture."""
    return max(
        round(whole / decoded)
        for whole, decoded in zip(source.size, source.image.size, strict=True)
    )


def part_size(source: LoadedPicture) -> tuple[int, int]:
    """Return the size of what was decoded, in source pixels, as it lies."""
    if source.box == (0, 0, *source.image.size):
        return source.size
    left, top, right, bottom = source.box
    by = drafted(source)
    return min((right - left) * by, source.size[0]), min((bottom - top) * by, source.size[1])


def upright_size(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Return a size after turning by an EXIF orientation."""
    return size[::-1] if turn >= 5 else size
