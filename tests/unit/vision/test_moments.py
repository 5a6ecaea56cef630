"""Times of the shot in XMP, IPTC and GPS, and what no database should meet."""

from datetime import UTC, datetime

import pytest

from core.vision.decoding.metadata import moments

SHOT = datetime.fromisoformat("2024-05-15 14:30:22")


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b'<rdf exif:DateTimeOriginal="2024-05-15T14:30:22+03:00"/>', SHOT),
        (b"<exif:DateTimeOriginal>2024-05-15T14:30:22.00</exif:DateTimeOriginal>", SHOT),
        (b"<x photoshop:DateCreated='2024-05-15T14:30:22'/>", SHOT),
        (b'<x xmp:CreateDate = "2024-05-15T14:30"/>', SHOT.replace(second=0)),
        (
            b'<x xmp:CreateDate="2000-01-01T00:00" exif:DateTimeOriginal="2024-05-15T14:30:22"/>',
            SHOT,
        ),
        (
            b'<x exif:DateTimeOriginal="0001-01-01T00:00" xmp:CreateDate="2024-05-15T14:30:22"/>',
            SHOT,
        ),
        ('<x xmp:CreateDate="2024-05-15T14:30:22"/>', SHOT),
        (b'<x xmp:ModifyDate="2024-05-15T14:30:22" xmp:MetadataDate="2024-05-15T14:30:22"/>', None),
        (b'<x xmp:CreateDate="2024-05-15"/>', None),
        (b'<x xmp:CreateDate="2024"/>', None),
        (b"\0\xff\xfe", None),
        (b" " * 2_000_000 + b'<x xmp:CreateDate="2024-05-15T14:30:22"/>', None),
        (None, None),
        (7, None),
    ],
)
def test_xmp_gives_the_shot_and_not_the_editing(packet: object, expected: datetime | None) -> None:
    assert moments.from_xmp(packet) == expected


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        (b"20240515", b"143022+0300", SHOT),
        (b"20240515", b"143022", SHOT),
        ([b"20240515", b"19990101"], [b"143022"], SHOT),
        (b"20240515", b"1430", SHOT.replace(second=0)),
        (b"20240515", b"240809", datetime.fromisoformat("2024-05-15 00:08:09")),
        (b"20240515", None, None),
        (b"00000000", b"000000", None),
        (b"20241315", b"143022", None),
        (None, b"143022", None),
    ],
)
def test_iptc_gives_date_and_time(date: object, time: object, expected: datetime | None) -> None:
    assert moments.from_iptc(date, time) == expected


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("2024:05:15", (14.0, 30.0, 22.5), SHOT),
        ("2024-05-15\0", (14, 30, 22), SHOT),
        ("2024:05:15", (24, 0, 0), datetime.fromisoformat("2024-05-15 00:00:00")),
        ("2024:05:15", (14, 30, float("nan")), None),
        ("2024:05:15", (14, 30, float("inf")), None),
        ("2024:05:15", (14, 30, -1), None),
        ("2024:05:15", (14, 30, 10**400), None),
        ("2024:05:15", (14, 30), None),
        ("2024:05:15", "143", None),
        ("2024:05:15", None, None),
        ("2024:05", (14, 30, 22), None),
        ("0000:00:00", (0, 0, 0), None),
        (None, (14, 30, 22), None),
    ],
)
def test_gps_gives_utc(date: object, time: object, expected: datetime | None) -> None:
    assert moments.from_gps(date, time) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (SHOT, True),
        (datetime.fromisoformat("1826-01-01"), True),
        (datetime.fromisoformat("1825-12-31"), False),
        (datetime.min, False),  # noqa: DTZ901 - as a forged answer might say
        (SHOT.replace(tzinfo=UTC), False),
    ],
)
def test_only_times_of_photographs_without_zone_are_plausible(
    moment: datetime, *, expected: bool
) -> None:
    assert moments.plausible(moment) is expected
