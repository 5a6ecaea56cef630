"""EXIF dates and names as cameras, phones and scanners write them."""

from datetime import datetime

import pytest
from PIL import Image

from core.vision.decoding.metadata.exif import camera
from core.vision.decoding.metadata.moments import from_exif
from core.vision.decoding.metadata.names import camera_name
from core.vision.decoding.worker_protocol import MAX_CAMERA_CHARS

SHOT = datetime.fromisoformat("2024-05-15 14:30:22")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024:05:15 14:30:22", SHOT),
        ("2024:05:15 14:30:22\0", SHOT),
        ("2024:05:15 14:30:22\0garbage", SHOT),
        (b"2024:05:15 14:30:22", SHOT),
        (("2024:05:15 14:30:22",), SHOT),
        ("2024-05-15 14:30:22", SHOT),
        ("2024-05-15T14:30:22Z", SHOT),
        ("2024/05/15 14:30:22", SHOT),
        ("2024:05:15 14:30:22.25", SHOT.replace(microsecond=250_000)),
        ("2024:05:15 14:30:22+03:00", SHOT),
        ("2024: 5: 5  4: 3: 2", None),
        ("2024:5:5 4:3:2", datetime.fromisoformat("2024-05-05 04:03:02")),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("2024:02:30 10:00:00", None),
        ("2024:05:15 24:08:09", datetime.fromisoformat("2024-05-15 00:08:09")),
        ("2024:05:15 25:00:00", None),
        ("2024:05:15 14:30", SHOT.replace(second=0)),
        ("2024:05:15 14:30\0\0\0", SHOT.replace(second=0)),
        ("2024:05:15 14:30:60", SHOT.replace(minute=31, second=0)),
        ("2024:12:31 23:59:60", datetime.fromisoformat("2025-01-01 00:00:00")),
        ("9999:12:31 23:59:60", None),
        ("2024:05:15 14:30:61", None),
        ("0001:01:01 00:00:00", None),
        ("0000:01:01 00:00:00", None),
        ("1582:10:15 12:00:00", None),
        ("1890:07:01 12:00:00", datetime.fromisoformat("1890-07-01 12:00:00")),
        ("infinity", None),
        ("-infinity", None),
        ("2024:05:15 14:30:22 BC", SHOT),
        ("2024:05:15\ud800 14:30:22", None),
        ("2024:05:15", None),
        ("", None),
        (None, None),
        ((), None),
        (12345, None),
        (b"\xff\xfe\x00", None),
        ("٢٠٢٤:٠٥:١٥ ١٤:٣٠:٢٢", None),
    ],
)
def test_dates_are_read_as_written_and_nonsense_is_none(
    value: object, expected: datetime | None
) -> None:
    assert from_exif(value) == expected


@pytest.mark.parametrize(
    ("subseconds", "micros"),
    [
        ("5", 500_000),
        ("05", 50_000),
        ("123456789", 123_456),
        ("12\0", 120_000),
        ("abc", 0),
        ("", 0),
        ("  7 ", 700_000),
        (None, 0),
        (b"25", 250_000),
        ("²", 0),
    ],
)
def test_subseconds_are_a_fraction(subseconds: object, micros: int) -> None:
    found = from_exif("2024:05:15 14:30:22", subseconds)
    assert found is not None
    assert found.microsecond == micros


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Canon", "Canon Canon EOS 5D", "Canon EOS 5D"),
        ("", "Canon Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("OLYMPUS IMAGING CORP.  ", "E-M5            ", "OLYMPUS IMAGING CORP. E-M5"),
        ("canon", "Canon", "Canon"),
        ("Canon\0\0\0", "EOS\0garbage", "Canon EOS"),
        (b"Canon\0", b"EOS 5D\0", "Canon EOS 5D"),
        (("Canon",), ("EOS",), "Canon EOS"),
        ("Can\non", "E\tOS\x1b[31m", "Can on E OS [31m"),
        ("Sony", "\u202e7A", "Sony 7A"),
        ("Sony", "\ud800", "Sony"),
        ("Sony", None, "Sony"),
        (None, "DSC-F828", "DSC-F828"),
        (None, None, None),
        ("", "   ", None),
        ("\0Canon", "\0", None),
        (7, 3.5, None),
        ((), {}, None),
        ("x" * 99, "y", "x" * 99),
        ("x" * 500, "y" * 500, "x" * 100),
    ],
)
def test_a_camera_has_one_clean_name(make: object, model: object, expected: str | None) -> None:
    assert camera_name(make, model) == expected
    assert expected is None or len(expected) <= MAX_CAMERA_CHARS


class BrokenBlock(Image.Image):
    """A picture whose EXIF block can be opened but not read."""

    def getexif(self) -> Image.Exif:
        class Broken(Image.Exif):
            def __getitem__(self, tag: int) -> object:
                raise SyntaxError("not a TIFF file")

            get = __getitem__  # type: ignore[assignment]  # only what we call

        return Broken()


def test_a_block_that_breaks_when_it_is_read_gives_no_camera() -> None:
    assert camera(BrokenBlock()) is None
