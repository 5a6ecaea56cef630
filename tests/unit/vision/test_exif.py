"""EXIF dates as cameras, phones and scanners write them."""

from datetime import datetime

import pytest

from core.vision.exif import parse_datetime

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
        ("2024:05:15 24:00:00", None),
        ("2024:05:15 14:30:60", None),
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
    assert parse_datetime(value) == expected


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
    found = parse_datetime("2024:05:15 14:30:22", subseconds)
    assert found is not None
    assert found.microsecond == micros
