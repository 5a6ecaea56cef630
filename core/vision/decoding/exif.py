"""Read the time of the shot and the camera from EXIF; broken EXIF does not fail the picture."""

import re
from datetime import datetime

from PIL import Image

from core.vision.decoding.worker_protocol import MAX_CAMERA_CHARS

_MAKE, _MODEL = 0x010F, 0x0110
_EXIF_DIRECTORY = 0x8769
_DATETIME_ORIGINAL = 0x9003
_SUBSECONDS_ORIGINAL = 0x9291
# The standard has colons (CIPA DC-008, 4.6.5); dashes, slashes and a T occur in the wild.
_DATETIME = re.compile(
    r"\s*(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})[ T]+(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,6}))?",
    re.ASCII,
)


def read(image: Image.Image) -> Image.Exif:
    """Return the EXIF block of an opened image; an empty one where it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - hostile blocks raise nearly anything, from struct to Key
        return Image.Exif()


def taken_at(image: Image.Image) -> datetime | None:
    """Return DateTimeOriginal as written, without zone; None where absent or no real time.

    An offset tag is not applied: the column holds what the camera's clock showed.
    """
    try:
        directory = read(image).get_ifd(_EXIF_DIRECTORY)
    except Exception:  # noqa: BLE001 - see `read`
        return None
    return parse_datetime(directory.get(_DATETIME_ORIGINAL), directory.get(_SUBSECONDS_ORIGINAL))


def parse_datetime(value: object, subseconds: object = None) -> datetime | None:
    """Return an EXIF date; None for blanks, zeros, impossible dates and other invalid text."""
    found = _DATETIME.match(_text(value))
    if found is None:
        return None
    *fields, fraction = found.groups()
    digits = fraction or (_text(subseconds).strip() if subseconds is not None else "")
    micros = int(digits[:6].ljust(6, "0")) if digits.isascii() and digits.isdigit() else 0
    year, month, day, hour, minute, second = (int(field) for field in fields)
    try:
        return datetime(year, month, day, hour, minute, second, micros)  # noqa: DTZ001 - as written
    except ValueError:
        return None


def camera(image: Image.Image) -> str | None:
    """Return the camera's maker and model as one name; None where EXIF names neither."""
    try:
        block = read(image)
        return camera_name(block.get(_MAKE), block.get(_MODEL))
    except Exception:  # noqa: BLE001 - see `read`; values are decoded when they are asked for
        return None


def camera_name(make: object, model: object) -> str | None:
    """Join maker and model; a maker that the model repeats, as Canon's do, is named once.

    Line breaks, control characters and direction marks become blanks, since the name is displayed
    and used as a key.
    """
    maker, name = _words(make), _words(model)
    if maker and name and name[0].casefold() == maker[0].casefold():
        maker = []  # also "NIKON CORPORATION" before "NIKON D90"
    words = [*maker, *name]
    while len(words) > 1 and words[0].casefold() == words[1].casefold():
        del words[0]
    return " ".join(words)[:MAX_CAMERA_CHARS].rstrip() or None


def _words(value: object) -> list[str]:
    text = _text(value)[: 4 * MAX_CAMERA_CHARS]  # some blocks have kilobytes of padding
    return "".join(char if char.isprintable() else " " for char in text).split()


def _text(value: object) -> str:
    """Return a tag's value as text: some writers leave bytes, NULs or tuples of one."""
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.split("\0", 1)[0] if isinstance(value, str) else ""
