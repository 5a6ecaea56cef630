"""Copies that may leave the archive: without EXIF, XMP, comments and trailing data, and upright.

Runs in the decoder's process. Pixels are left untouched wherever the format allows it.
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from PIL import Image

from core.vision.decoding import colour, reduction, sniff, sources

_JPEG_QUALITY = 92  # for re-encoding; at this quality the loss is hard to see
_PNG_MODES = frozenset({"P", "LA", "RGBA", "L", "RGB", "1"})
# APP0 JFIF and APP14 Adobe say how colours are stored; of APP2 only the colour profile stays.
_KEPT_APPS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_COMMENT = 0xFE
# In entropy-coded data FF is followed by 00 or a restart marker; anything else ends it.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Chunks that affect the look are kept; texts, times, EXIF and unknown chunks are not, since a
# private chunk may hold anything.
_PNG_KEPT = frozenset(
    {
        b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB",
        b"cICP", b"mDCV", b"cLLI", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
    }
)  # fmt: skip
_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_WEBP_METADATA_FLAGS = 0x0C  # RFC 9649: E (EXIF) and X (XMP)


class _NotLossless(Exception):
    """The file's structure is unusual, so it must be re-encoded."""


def strip_metadata(data: bytes, limits: sniff.Limits) -> tuple[str, bytes]:
    """Return (media type, bytes) of a copy without metadata.

    JPEG, PNG and WebP lose their metadata chunks and keep their pixels bit by bit, unless EXIF
    asks for a turn; everything else becomes JPEG, or PNG where it is transparent. Colour
    profiles stay.

    Raises:
        ImageUnreadable: the bytes are no picture within the limits.
    """
    kind = sniff.require_media_type(data)
    source = sources.load(data, limits)
    cut = _LOSSLESS.get(kind)
    if cut is not None and reduction.orientation(source.image) == 1 and not source.truncated:
        try:
            return kind, cut(data)
        except (_NotLossless, struct.error):
            pass
    return _encoded(source, kind)


def _encoded(source: sources.LoadedPicture, kind: str) -> tuple[str, bytes]:
    image, turn = source.image, reduction.orientation(source.image)
    profile = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "L"} else None
    if kind == sniff.PNG or (image.has_transparency_data and image.mode in _PNG_MODES):
        turned = _without_info(reduction.upright(image, turn))
        return sniff.PNG, _saved(turned, "PNG", icc_profile=profile)
    whole = replace(source, box=(0, 0, *image.size))
    flat = reduction.upright(reduction.divided(whole, 1), turn)
    if flat.mode not in {"RGB", "L"}:
        flat = colour.to_srgb(flat, image.info)
    flat = _without_info(flat)
    return sniff.JPEG, _saved(flat, "JPEG", quality=_JPEG_QUALITY, icc_profile=profile)


def _without_info(image: Image.Image) -> Image.Image:
    """Take away texts, comments and EXIF, which some encoders of Pillow write back."""
    image.info = {key: image.info[key] for key in {"transparency"} & image.info.keys()}
    return image


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **{key: value for key, value in options.items() if value})
    return target.getvalue()


def _strip_jpeg(data: bytes) -> bytes:
    """Copy a JPEG's segments up to its first end marker, without APP1, APP13, comments and such.

    Further pictures of a multi-picture file are after the end marker, with EXIF of their own.
    """
    kept = [b"\xff\xd8"]
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            raise _NotLossless
        marker = data[at + 1]
        if marker == 0xD9:
            return b"".join([*kept, b"\xff\xd9"])
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            end = _scan_end(data, end)
        if _keep(marker, data[at + 4 : at + 18]):
            kept.append(data[at:end])
        if data[end : end + 2] == b"\xff\xd9":
            return b"".join([*kept, b"\xff\xd9"])
        at = end


def _scan_end(data: bytes, at: int) -> int:
    found = _SCAN_END.search(data, at)
    if found is None:
        raise _NotLossless
    return found.start()


def _keep(marker: int, start: bytes) -> bool:
    if marker in _KEPT_APPS:
        return start.startswith(_KEPT_APPS[marker])
    return marker != _COMMENT and not 0xE0 <= marker <= 0xEF


def _strip_png(data: bytes) -> bytes:
    kept = [data[:8]]
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name in _PNG_KEPT:
            kept.append(data[at:end])
        if name == b"IEND":
            return b"".join(kept)
        at = end
    raise _NotLossless


def _strip_webp(data: bytes) -> bytes:
    body = b"".join(_webp_chunks(data))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    end_of_file = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = 12
    while at + 8 <= end_of_file:
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if at + 8 + length > end_of_file:
            raise _NotLossless  # it would take the metadata behind it along, as its own bytes
        chunk = data[at:end]
        if name == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_FLAGS]) + chunk[9:]
        if name in _WEBP_KEPT:
            yield chunk
        at = end


_LOSSLESS: dict[str, Callable[[bytes], bytes]] = {
    sniff.JPEG: _strip_jpeg,
    sniff.PNG: _strip_png,
    sniff.WEBP: _strip_webp,
}
