"""Thumbnails: small JPEGs in sRGB, upright, without metadata. Runs in the decoder's process.

The small one is made of the reduction that tagging has anyway, in 1 to 2.5 ms. JPEG, since WebP and
AVIF take 5 to 50 ms for a picture of this size (docs/decisions/0033-thumbnails.md).
"""

import io

from PIL import Image

from core.tags import ThumbSize
from core.vision.decoding import reduction, sniff, sources

#: Rows of a small one: a tile on a screen of two pixels per point has 200 to 400. Fewer where the
#: picture has fewer, and where it would be wider than `_MOST_COLUMNS`.
LEAST_ROWS, MOST_ROWS = 256, 400
#: Where no whole number leads from the reduction to that, it is resized to so many.
_RESIZED_ROWS = 300
#: A strip of 30 : 1 would have 7,700.
_MOST_COLUMNS = 1600
_LARGE_SIDE = 1600
_SMALL_QUALITY, _LARGE_QUALITY = 72, 80


def small(reduced: Image.Image) -> Image.Image:
    """Return the small thumbnail's pixels.

    Args:
        reduced: RGB, in sRGB, upright; the whole picture, perhaps reduced.
    """
    width, height = reduced.size
    factor = max(1, height // LEAST_ROWS, -(-width // _MOST_COLUMNS))
    if factor > 1:
        return reduced.reduce(factor)
    if height <= MOST_ROWS:
        return reduced
    size = (max(1, round(width * _RESIZED_ROWS / height)), _RESIZED_ROWS)
    return reduced.resize(size, Image.Resampling.BILINEAR)


def mean_colour(image: Image.Image) -> bytes:
    """Return red, green and blue of the mean of an RGB picture."""
    return image.reduce(image.size).tobytes()


def encoded(image: Image.Image, quality: int = _SMALL_QUALITY) -> bytes:
    """Return a JPEG, 4:2:0, with nothing in it but the picture."""
    target = io.BytesIO()
    image.info = {}  # Pillow would write a comment back
    image.save(target, "JPEG", quality=quality, subsampling="4:2:0")
    return target.getvalue()


def made(data: bytes, limits: sniff.Limits, size: ThumbSize) -> bytes:
    """Return a thumbnail of a picture.

    Raises:
        ImageUnreadable: the bytes are no picture within the limits.
    """
    return _made_small(data, limits) if size is ThumbSize.SMALL else _made_large(data, limits)


def _made_small(data: bytes, limits: sniff.Limits) -> bytes:
    def draft(image: Image.Image) -> None:
        # The side that becomes the height is not known yet: both have enough for it.
        image.draft(None, (2 * LEAST_ROWS, 2 * LEAST_ROWS))

    source = sources.load(data, limits, draft)
    factor = reduction.factor_for(source.image.size, min(source.image.size) / (2 * LEAST_ROWS))
    return encoded(small(reduction.reduced(source, factor).image))


def _made_large(data: bytes, limits: sniff.Limits) -> bytes:
    def draft(image: Image.Image) -> None:
        image.draft(None, (2 * _LARGE_SIDE, 2 * _LARGE_SIDE))

    source = sources.load(data, limits, draft)
    # Less than twice the side is left, so the area is bounded too.
    factor = max(1, max(source.image.size) // _LARGE_SIDE)
    large = reduction.reduced(source, factor).image
    large.thumbnail((_LARGE_SIDE, _LARGE_SIDE), Image.Resampling.BICUBIC)
    return encoded(large, _LARGE_QUALITY)
