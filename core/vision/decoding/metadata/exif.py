"""Read the time of the shot and the camera from metadata; broken ones do not fail the picture."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image, IptcImagePlugin

from core.vision.decoding.metadata import moments
from core.vision.decoding.metadata.names import camera_name

_MAKE, _MODEL = 0x010F, 0x0110
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
_MODIFY_DATE, _SUBSECONDS = 0x0132, 0x9290
_DATETIME_ORIGINAL, _SUBSECONDS_ORIGINAL = 0x9003, 0x9291
_DATETIME_DIGITIZED, _SUBSECONDS_DIGITIZED = 0x9004, 0x9292
_GPS_TIME, _GPS_DATE = 7, 29
_IPTC_DATE, _IPTC_TIME = (2, 55), (2, 60)
_EXIF_SEGMENT = b"Exif\0\0"
# Real files have one EXIF segment, or two; a hostile one could have thousands.
_MAX_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class Shot:
    """When a picture was taken.

    Attributes:
        moment: as written, without zone.
        source: which field said so, one of `worker_protocol.EXIF_SOURCES`.
    """

    moment: datetime
    source: str


def read(image: Image.Image) -> Image.Exif:
    """Return the EXIF block of an opened image; an empty one where it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - hostile blocks raise nearly anything, from struct to Key
        return Image.Exif()


def taken_at(image: Image.Image) -> Shot | None:
    """Return when a picture was taken, by the first field that has a real time.

    First what the camera wrote about the shot, then about the file, then what others noted.
    """
    for source, moment in _moments(image):
        if moment is not None:
            return Shot(moment, source)
    return None


def _moments(image: Image.Image) -> Iterator[tuple[str, datetime | None]]:
    blocks = _blocks(image)
    directories = [_directory(block, _EXIF_DIRECTORY) for block in blocks]
    for source, tag, fraction in (
        ("DateTimeOriginal", _DATETIME_ORIGINAL, _SUBSECONDS_ORIGINAL),
        ("DateTimeDigitized", _DATETIME_DIGITIZED, _SUBSECONDS_DIGITIZED),
    ):
        for found in directories:
            yield source, moments.from_exif(found.get(tag), found.get(fraction))
    for block, found in zip(blocks, directories, strict=True):
        yield "ModifyDate", moments.from_exif(_value(block, _MODIFY_DATE), found.get(_SUBSECONDS))
    yield "XMP", moments.from_xmp(image.info.get("xmp"))
    iptc = _iptc(image)
    yield "IPTC", moments.from_iptc(iptc.get(_IPTC_DATE), iptc.get(_IPTC_TIME))
    for block in blocks:
        gps = _directory(block, _GPS_DIRECTORY)
        yield "GPS", moments.from_gps(gps.get(_GPS_DATE), gps.get(_GPS_TIME))


def _blocks(image: Image.Image) -> list[Image.Exif]:
    """Return the EXIF blocks; Pillow takes a second segment of a JPEG for more of the first."""
    segments = [
        content
        for name, content in getattr(image, "applist", ())
        if name == "APP1" and content.startswith(_EXIF_SEGMENT)
    ][:_MAX_SEGMENTS]
    if len(segments) < 2:
        return [read(image)]
    blocks = []
    for content in segments:
        block = Image.Exif()
        with suppress(Exception):  # see `read`
            block.load(content)
        blocks.append(block)
    return blocks


def _directory(block: Image.Exif, tag: int) -> dict[int, Any]:
    try:
        return dict(block.get_ifd(tag))
    except Exception:  # noqa: BLE001 - see `read`
        return {}


def _value(block: Image.Exif, tag: int) -> object:
    try:
        return block.get(tag)
    except Exception:  # noqa: BLE001 - see `read`; values are decoded when they are asked for
        return None


def _iptc(image: Image.Image) -> dict[Any, Any]:
    try:
        return IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]  # reads `info` too
    except Exception:  # noqa: BLE001 - see `read`
        return {}


def camera(image: Image.Image) -> str | None:
    """Return the camera's maker and model as one name; None where EXIF names neither."""
    try:
        block = read(image)
        return camera_name(block.get(_MAKE), block.get(_MODEL))
    except Exception:  # noqa: BLE001 - see `read`; values are decoded when they are asked for
        return None
