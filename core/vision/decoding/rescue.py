"""What can be shown of a picture whose file ends too early, and where it ends.

No library tells how far it came, so two decodings are compared that differ in what is missing: a
JPEG is ended in two ways, other formats are decoded onto black and onto white. Where the two agree,
the picture was decoded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageFile

from core.errors import ImageUnreadable
from core.vision.decoding import sniff
from core.vision.decoding.formats import headers
from core.vision.decoding.formats.webp import WebPImage

Box = tuple[int, int, int, int]
Open = Callable[[bytes], Image.Image]

_END = b"\xff\xd9"
# Entropy-coded bits that mean something, so that they change what is decoded from them; after a
# complete scan a decoder skips them. The length is that of a few blocks.
_NOISE = b"\x55" * 64
_BAND_PIXELS = 1 << 20
_COMPARED = frozenset({"1", "L", "P", "LA", "RGB", "RGBA", "RGBX", "CMYK"})


@dataclass(frozen=True, slots=True)
class Rescued:
    """A picture as far as it goes.

    Attributes:
        image: decoded.
        box: the part of it that the file had.
        truncated: whether anything is missing: a JPEG may lack its end marker alone.
    """

    image: Image.Image
    box: Box
    truncated: bool


def rescue(data: bytes, opened: Open) -> Rescued | None:
    """Return what a broken file still shows; None where that is nothing.

    Raises:
        MemoryError: there is no room for two decodings.
    """
    kind = sniff.media_type(data)
    if kind in _RESCUERS:
        return _RESCUERS[kind](data, opened)
    pair = [_onto(data, opened, share) for share in (0, 1)]
    if pair[0] is None or pair[1] is None or pair[0].mode not in _COMPARED:
        return None
    box = _common(pair[0], pair[1])
    return None if box is None else Rescued(pair[0], box, truncated=True)


def _jpeg(data: bytes, opened: Open) -> Rescued | None:
    """Return a JPEG with an end marker; with noise before the marker, what is missing differs."""
    try:
        start = headers.jpeg_frame(data)[1]
    except (headers.HeaderBroken, headers.HeaderEnded):
        return None
    length = len(data)
    # Half a marker at the end would make another one of what is put behind it.
    data = data[: _segments_end(data, start)].rstrip(b"\xff")
    images = [_loaded(opened, data + tail) for tail in (_END, _NOISE + _END)]
    if images[0] is None or images[1] is None:
        return None
    missing = _difference(images[0], images[1])
    image = images[0]
    if missing is None:
        return Rescued(image, (0, 0, *image.size), truncated=len(data) < length - 1)
    # From the second scan of a progressive file on, all of the picture is there, if coarse.
    scans = data.count(b"\xff\xda", start)
    box = (0, 0, *image.size) if scans > 1 else (0, 0, image.width, missing[1])
    return Rescued(image, box, truncated=True) if box[3] else None


def _webp(data: bytes, opened: Open) -> Rescued | None:
    """Return the rows that libwebp says it has decoded."""
    try:
        image = opened(data)
        with suppress(OSError):
            image.load()
    except ImageUnreadable:
        return None
    rows = image.rows if isinstance(image, WebPImage) else None
    return Rescued(image, (0, 0, image.width, rows), truncated=True) if rows else None


def _segments_end(data: bytes, start: int) -> int:
    """Return where a segment begins that the file does not hold to its end; else the file's end.

    An end marker within a segment would be taken for a part of it.
    """
    for marker in (b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xdd"):
        at = data.rfind(marker, start)
        if at >= 0 and at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") > len(data):
            return at
    return len(data)


def _loaded(opened: Open, data: bytes) -> Image.Image | None:
    try:
        image = opened(data)
        image.load()
    except (OSError, ValueError, SyntaxError, ImageUnreadable):
        return None
    return image


def _onto(data: bytes, opened: Open, share: int) -> Image.Image | None:
    """Decode as far as it goes onto a ground of all zeros or all ones."""
    try:
        image = opened(data)
    except ImageUnreadable:
        return None
    prepare = getattr(image, "load_prepare", None)
    if prepare is None or image.mode not in _COMPARED:
        return None

    def on_ground() -> None:
        prepare()
        bands = len(image.getbands())
        ink: Any = 255 * share if bands == 1 else (255 * share,) * bands
        image.im.paste(ink, (0, 0, *image.im.size))

    image.load_prepare = on_ground  # type: ignore[attr-defined]  # of ImageFile alone
    errors = (OSError, ValueError, SyntaxError, EOFError, TypeError)
    with _as_far_as_it_goes(), suppress(*errors):  # what was decoded is there all the same
        image.load()
    image.tile = []  # type: ignore[attr-defined]  # nothing is to be tried once more
    return image if image._im is not None else None  # noqa: SLF001 - `im` raises without pixels


@contextmanager
def _as_far_as_it_goes() -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _common(one: Image.Image, other: Image.Image) -> Box | None:
    """Return the largest part on one side of where two pictures differ."""
    width, height = one.size
    differing = _difference(one, other)
    if differing is None:
        return 0, 0, width, height
    left, top, right, bottom = differing
    sides = [
        (0, 0, width, top),
        (0, bottom, width, height),  # BMP begins with its lowest row
        (0, 0, left, height),  # turned by Pillow while loading
        (right, 0, width, height),
    ]
    box = max(sides, key=lambda side: (side[2] - side[0]) * (side[3] - side[1]))
    return box if box[2] > box[0] and box[3] > box[1] else None


def _difference(one: Image.Image, other: Image.Image) -> Box | None:
    """Return the box around all pixels that differ, comparing a band of rows at a time."""
    width, height = one.size
    rows = max(1, _BAND_PIXELS // width)
    found: list[Box] = []
    for top in range(0, height, rows):
        band = (0, top, width, min(height, top + rows))
        box = ImageChops.difference(one.crop(band), other.crop(band)).getbbox(alpha_only=False)
        if box is not None:
            found.append((box[0], box[1] + top, box[2], box[3] + top))
    if not found:
        return None
    lefts, tops, rights, bottoms = zip(*found, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


_RESCUERS = {sniff.JPEG: _jpeg, sniff.WEBP: _webp}
