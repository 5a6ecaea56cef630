"""The kind of picture that bytes are, by their first bytes alone.

It imports neither Pillow nor torch, so that ingress and producers can use it. Content types and
file extensions from clients are ignored; the bytes decide.
"""

from dataclasses import dataclass

from core.errors import ImageUnreadable
from core.vision.decoding.formats import headers, tagged_headers

JPEG = "image/jpeg"
PNG = "image/png"
WEBP = "image/webp"
GIF = "image/gif"
BMP = "image/bmp"
TIFF = "image/tiff"
HEIC = "image/heic"
HEIF = "image/heif"
AVIF = "image/avif"

#: Everything that is accepted, in the order in which documents list it.
MEDIA_TYPES = (JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC, HEIF, AVIF)

_SIGNATURES = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),  # BigTIFF
    (b"MM\x00+", TIFF),
)
# "BM" alone begins many texts: the size of the header that follows must be one that exists.
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}  # ISO/IEC 23008-12
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"heif"})
_MAX_BRANDS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a picture may be: all pixels together, and each side."""

    max_pixels: int = 120_000_000
    max_side: int = 30_000  # no camera makes longer ones; a thin strip would pass by its pixels


@dataclass(frozen=True, slots=True)
class SniffedPicture:
    """The header of a picture as it claims; `width` and `height` are before EXIF orientation.

    `held` is how many bytes of memory decoding holds for one pixel at most, None where the header
    does not tell: `cost.needed_bytes` makes a sum of it.
    """

    media_type: str
    width: int
    height: int
    held: int | None = 8


def media_type(data: bytes) -> str | None:
    """Return the media type that the first bytes announce, or None for what we do not accept."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return BMP
    if data[4:8] == b"ftyp":
        return _from_brands(data)
    return None


def probe(data: bytes, limits: Limits) -> SniffedPicture:
    """Read type and size from the header, without decoding anything.

    Cheap and safe on hostile bytes: reads a bounded number of fields in plain Python, runs no
    library's parser and allocates nothing. It is a first check; the decoder has the final say.

    Raises:
        ImageUnreadable: reason `empty`, `not_an_image`, `truncated`, `corrupt`,
            `too_many_pixels` or `too_large_side`.
    """
    kind = require_media_type(data)
    try:
        width, height, held = _READERS[kind](data)
    except headers.HeaderEnded as error:
        raise ImageUnreadable(
            f"{kind}: header ends after {len(data)} bytes", reason="truncated"
        ) from error
    except headers.HeaderBroken as error:
        raise ImageUnreadable(f"{kind}: {error}", reason="corrupt") from error
    check_size(width, height, limits)
    return SniffedPicture(kind, width, height, held)


def require_media_type(data: bytes) -> str:
    """Return the media type of a picture that we accept.

    Raises:
        ImageUnreadable: reason `empty` or `not_an_image`.
    """
    if not data:
        raise ImageUnreadable("0 bytes", reason="empty")
    kind = media_type(data)
    if kind is None:
        raise ImageUnreadable(
            f"{len(data)} bytes beginning {data[:12].hex(' ')} are no picture of a known format",
            reason="not_an_image",
        )
    return kind


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise if a picture is empty or larger than the limits.

    Raises:
        ImageUnreadable: reason `corrupt` (no area), `too_large_side` or `too_many_pixels`.
    """
    if width < 1 or height < 1:
        raise ImageUnreadable(f"{width} x {height} pixels have no area", reason="corrupt")
    if width * height > limits.max_pixels:
        raise ImageUnreadable(
            f"{width} x {height} = {width * height} pixels, limit {limits.max_pixels}",
            reason="too_many_pixels",
        )
    if max(width, height) > limits.max_side:
        raise ImageUnreadable(
            f"{width} x {height}: side {max(width, height)}, limit {limits.max_side}",
            reason="too_large_side",
        )


def _from_brands(data: bytes) -> str | None:
    """Return HEIC, AVIF or plain HEIF by the brands of the `ftyp` box."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MAX_BRANDS)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end - 3, 4)}
    if brands & _AVIF_BRANDS:
        return AVIF
    if brands & _HEIC_BRANDS:
        return HEIC
    return HEIF if brands & _HEIF_BRANDS else None


_READERS = {
    JPEG: headers.jpeg_size,
    PNG: headers.png_size,
    WEBP: headers.webp_size,
    GIF: headers.gif_size,
    BMP: headers.bmp_size,
    TIFF: tagged_headers.tiff_size,
    HEIC: tagged_headers.isobmff_size,
    HEIF: tagged_headers.isobmff_size,
    AVIF: tagged_headers.isobmff_size,
}
