"""Times of the shot as cameras and programs write them. Pure: text in, a time without zone out.

Whatever a file says, what comes out is a time that a database, a calendar and a camera know: no
year 0 or 1, which mean "no date", no hour 24, no second 60.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

#: The oldest photograph that is left was taken in 1826 or 1827; scans of old ones carry their year.
FIRST_YEAR = 1826
# The standard has colons (CIPA DC-008, 4.6.5); dashes, slashes and a T occur in the wild. Seconds
# may be missing.
_DATETIME = re.compile(
    r"\s*(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})[ T]+(\d{1,2}):(\d{1,2})"
    r"(?::(\d{1,2})(?:\.(\d{1,6}))?)?",
    re.ASCII,
)
# In the order in which they are believed; the modification of a file is none of them.
_XMP_NAMES = (
    b"exif:DateTimeOriginal",
    b"photoshop:DateCreated",
    b"xmp:CreateDate",
    b"exif:DateTimeDigitized",
)
_XMP_BYTES = 1 << 20  # a packet is some kilobytes; extended ones hold pictures and depth maps
_IPTC_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_IPTC_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})?", re.ASCII)


def from_exif(value: object, subseconds: object = None) -> datetime | None:
    """Return an EXIF date; None for blanks, zeros, impossible dates and other invalid text.

    An offset is not applied: the result is what the camera's clock showed.
    """
    found = _DATETIME.match(text_of(value))
    if found is None:
        return None
    fields = found.groups(default="0")[:6]
    digits = found.group(7) or (text_of(subseconds).strip() if subseconds is not None else "")
    micros = int(digits[:6].ljust(6, "0")) if digits.isascii() and digits.isdigit() else 0
    return _moment([int(field) for field in fields], micros)


def from_xmp(packet: object) -> datetime | None:
    """Return the time in an XMP packet, as an attribute or as an element."""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if not isinstance(packet, bytes):
        return None
    for name in _XMP_NAMES:
        found = re.search(name + rb"\s*(?:=\s*[\"']|>)([^<\"']{1,40})", packet[:_XMP_BYTES])
        moment = from_exif(found.group(1)) if found else None
        if moment is not None:
            return moment
    return None


def from_iptc(date: object, time: object) -> datetime | None:
    """Return the time of IPTC's Date Created (2:55) and Time Created (2:60)."""
    day, clock = _IPTC_DATE.match(text_of(date)), _IPTC_TIME.match(text_of(time))
    if day is None or clock is None:
        return None
    return _moment([int(part) for part in (*day.groups(), *clock.groups(default="0"))], 0)


def from_gps(date: object, time: object) -> datetime | None:
    """Return the time of the satellites, which is UTC, from date stamp and three rationals."""
    parts = text_of(date).strip().replace("-", ":").split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    if not isinstance(time, tuple | list) or len(time) != 3:
        return None
    try:
        clock = [float(part) for part in time]
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not all(math.isfinite(part) and 0 <= part <= 60 for part in clock):
        return None
    return _moment([*(int(part) for part in parts), *(int(part) for part in clock)], 0)


def plausible(moment: datetime) -> bool:
    """Return whether a time can be one of a shot, and has no zone."""
    return moment.tzinfo is None and moment.year >= FIRST_YEAR


def _moment(fields: Sequence[int], micros: int) -> datetime | None:
    """Return the time of (year, month, day, hour, minute, second); None where there is none.

    Hour 24 is written by cameras that count the first hour of a day so; second 60 by those that
    round, and at leap seconds.
    """
    year, month, day, hour, minute, second = fields
    if hour == 24:
        hour = 0
    if second > 60:
        return None
    try:
        start = datetime(year, month, day, hour, minute, 0, micros)  # noqa: DTZ001 - as written
        moment = start + timedelta(seconds=second)
    except (ValueError, OverflowError):
        return None
    return moment if plausible(moment) else None


def text_of(value: object) -> str:
    """Return a tag's value as text: some writers leave bytes, NULs or tuples of one."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.split("\0", 1)[0] if isinstance(value, str) else ""
