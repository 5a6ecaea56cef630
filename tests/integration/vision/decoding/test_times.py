"""Which time of a file counts, through real files of several formats."""

import struct
from datetime import datetime

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from core.vision.decoding import pixels
from core.vision.decoding.metadata.exif import Shot
from core.vision.decoding.worker_protocol import EXIF_SOURCES, PixelFormat
from tests.fakes import pictures
from tests.integration.vision.decoding.test_pixels import LIMITS, decoders

__all__ = ["decoders"]
YEARS = dict(zip(EXIF_SOURCES, range(2011, 2017), strict=True))


def exif_of(names: frozenset[str], *, original: str = "2011:05:15 14:30:22") -> Image.Exif:
    block = Image.Exif()
    directory, gps = block.get_ifd(0x8769), block.get_ifd(0x8825)
    if "DateTimeOriginal" in names:
        directory[0x9003] = original
    if "DateTimeDigitized" in names:
        directory[0x9004] = "2012:05:15 14:30:22"
    if "ModifyDate" in names:
        block[0x0132] = "2013:05:15 14:30:22"
    if "GPS" in names:
        gps[29], gps[7] = "2016:05:15", tuple(map(IFDRational, (14, 30, 22)))
    return block


def jpeg(names: frozenset[str], **exif: str) -> bytes:
    """Return a JPEG with a time in each of these places, a year later in each."""
    data = pictures.jpeg(1, exif=exif_of(names, **exif).tobytes())
    if "XMP" in names:
        packet = b'<x xmp:CreateDate="2014-05-15T14:30:22Z"/>'
        data = with_segment(data, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    if "IPTC" in names:
        data = with_segment(data, 0xED, photoshop({55: b"20150515", 60: b"143022+0000"}))
    return data


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment behind the first."""
    at = 4 + int.from_bytes(data[4:6], "big")
    return (
        data[:at] + b"\xff" + bytes((marker,)) + struct.pack(">H", len(body) + 2) + body + data[at:]
    )


def photoshop(fields: dict[int, bytes]) -> bytes:
    records = b"".join(
        b"\x1c\x02" + bytes((tag,)) + struct.pack(">H", len(value)) + value
        for tag, value in fields.items()
    )
    padded = records + b"\0" * (len(records) % 2)
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + padded


def shot(data: bytes) -> Shot | None:
    return pixels.decode(data, PixelFormat(32, 32), LIMITS).shot


@pytest.mark.parametrize("first", range(len(EXIF_SOURCES)))
def test_the_most_trusted_time_counts_and_says_where_it_was(first: int) -> None:
    names = frozenset(EXIF_SOURCES[first:])
    source = EXIF_SOURCES[first]
    expected = datetime.fromisoformat(f"{YEARS[source]}-05-15 14:30:22")
    assert shot(jpeg(names)) == Shot(expected, source)


def test_a_file_without_times_has_none() -> None:
    assert shot(jpeg(frozenset())) is None


@pytest.mark.parametrize(
    "none", ["0001:01:01 00:00:00", "0000:00:00 00:00:00", "    :  :     :  :  "]
)
def test_no_date_gives_way_to_the_next_one(none: str) -> None:
    found = shot(jpeg(frozenset(EXIF_SOURCES), original=none))
    assert found is not None
    assert found.source == "DateTimeDigitized"


def test_a_time_in_a_second_exif_segment_is_found() -> None:
    first, second = (
        exif_of(frozenset({name})).tobytes() for name in ("ModifyDate", "DateTimeOriginal")
    )
    data = with_segment(pictures.jpeg(1, exif=first), 0xE1, second)
    found = shot(data)
    assert found is not None
    assert found.source == "DateTimeOriginal"


def test_thousands_of_segments_are_no_burden() -> None:
    data = pictures.jpeg(1)
    segment = exif_of(frozenset({"GPS"})).tobytes()
    for _ in range(300):
        data = with_segment(data, 0xE1, segment)
    found = shot(data)
    assert found is not None
    assert found.source == "GPS"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("source", ["DateTimeOriginal", "DateTimeDigitized", "ModifyDate"])
def test_exif_is_read_whatever_the_format(form: str, source: str) -> None:
    block = exif_of(frozenset({source}))
    found = shot(pictures.encoded(pictures.photo(1), form, exif=block.tobytes()))
    assert found is not None
    assert found.source == source


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_xmp_is_read_whatever_the_format(form: str) -> None:
    packet = b'<x:xmpmeta exif:DateTimeOriginal="2014-05-15T14:30:22"/>'
    if form == "PNG":
        text = pictures.png_text("XML:com.adobe.xmp", packet.decode())
        data = pictures.encoded(pictures.photo(1), form, pnginfo=text)
    else:
        data = pictures.encoded(pictures.photo(1), form, xmp=packet)
    found = shot(data)
    assert found is not None
    assert found.source == "XMP"


def test_hostile_blocks_are_no_time_and_no_failure() -> None:
    for body in (
        b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
    ):  # fmt: skip
        data = with_segment(pictures.jpeg(1, exif=body), 0xE1, body)
        assert shot(data) is None
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\xff\xff\xff\xff\x1c\x02\x37\x80\x08"
    assert shot(with_segment(pictures.jpeg(1), 0xED, iptc)) is None
