"""Photos with EXIF, each with a date of its own, so that a query can select exactly one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from PIL import Image

from tests.fakes.pictures import encoded, photo

ORIENTATION, EXIF_IFD, GPS_IFD, DATE_TIME_ORIGINAL = 0x0112, 0x8769, 0x8825, 0x9003
_days = count()  # each dated photo of a session has a day of its own
_FIRST_DAY = datetime(1970, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DatedPhoto:
    """A JPEG with EXIF, and the same file without it.

    Attributes:
        taken_at: the time in its EXIF, which has no zone.
        bare: the bytes of the same file without EXIF.
    """

    content: bytes
    bare: bytes
    taken_at: datetime

    @property
    def its_day(self) -> dict[str, str]:
        """Return options of a query that only this photo can answer."""
        start = self.taken_at.replace(hour=0, minute=0, second=0)
        return {
            "date_from": start.isoformat(),
            "date_to": (start + timedelta(days=1)).isoformat(),
        }


def dated_photo(size: tuple[int, int] = (320, 240)) -> DatedPhoto:
    """Return a photo unlike all others of this session, with a place and a day in its EXIF."""
    number = next(_days)
    taken_at = _FIRST_DAY + timedelta(days=number)
    image = photo(10_000 + number, size)
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    exif.get_ifd(EXIF_IFD)[DATE_TIME_ORIGINAL] = taken_at.strftime("%Y:%m:%d %H:%M:%S")
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (55.0, 45.0, 21.0), 3: "E", 4: (37.0, 37.0, 2.0)})
    with_exif = encoded(image, "JPEG", quality=90, exif=exif.tobytes())
    return DatedPhoto(with_exif, encoded(image, "JPEG", quality=90), taken_at)
