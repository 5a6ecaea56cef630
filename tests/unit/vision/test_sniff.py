"""Header checks on bytes built by the test."""

import struct
from collections.abc import Callable
from random import Random

import pytest

from core.errors import ImageUnreadable
from core.vision.decoding import sniff
from core.vision.decoding.formats import headers

Maker = Callable[[int, int], bytes]
LIMITS = sniff.Limits(max_pixels=1_000_000, max_side=5_000)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"


def bmp(width: int, height: int) -> bytes:
    return b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, width, height)


def core_bmp(width: int, height: int) -> bytes:
    return b"BM" + b"\0" * 12 + struct.pack("<IHH", 12, width, height)


def jpeg(width: int, height: int) -> bytes:
    app1 = b"\xff\xe1" + struct.pack(">H", 6) + b"Exif"
    fill = b"\xff\xff"  # legal padding before a marker
    return b"\xff\xd8" + app1 + fill + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width)


def tiff(width: int, height: int, order: str = "<") -> bytes:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHII", 256, 4, 1, width)
    entries += struct.pack(order + "HHIHH", 257, 3, 1, height, 0)
    return magic + struct.pack(order + "IH", 8, 2) + entries


def big_tiff(width: int, height: int) -> bytes:
    head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2)
    return head + struct.pack("<HHQQHHQQ", 256, 16, 1, width, 257, 4, 1, height)


def webp_lossy(width: int, height: int) -> bytes:
    frame = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF\0\0\0\0WEBPVP8 " + struct.pack("<I", len(frame)) + frame


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<IBI", 5, 0x2F, bits)


def webp_extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0) + sides


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def isobmff(width: int, height: int, brand: bytes = b"heic") -> bytes:
    thumb = box(b"ispe", struct.pack(">III", 0, 16, 16))
    full = box(b"ispe", struct.pack(">III", 0, width, height))
    meta = box(b"meta", b"\0" * 4 + box(b"iprp", box(b"ipco", thumb + full)))
    return box(b"ftyp", brand + b"\0" * 4 + b"mif1" + brand) + box(b"free", b"x" * 9) + meta


def avif(width: int, height: int) -> bytes:
    return isobmff(width, height, b"avif")


def heif(width: int, height: int) -> bytes:
    return isobmff(width, height, b"mif1")


MAKERS: dict[Maker, str] = {
    png: sniff.PNG,
    gif: sniff.GIF,
    bmp: sniff.BMP,
    core_bmp: sniff.BMP,
    jpeg: sniff.JPEG,
    tiff: sniff.TIFF,
    big_tiff: sniff.TIFF,
    webp_lossy: sniff.WEBP,
    webp_lossless: sniff.WEBP,
    webp_extended: sniff.WEBP,
    isobmff: sniff.HEIC,
    avif: sniff.AVIF,
    heif: sniff.HEIF,
}


@pytest.mark.parametrize(("make", "kind"), MAKERS.items())
def test_type_and_size_are_read_from_the_header_alone(make: Maker, kind: str) -> None:
    found = sniff.probe(make(640, 480), LIMITS)
    assert (found.media_type, found.width, found.height) == (kind, 640, 480)


@pytest.mark.parametrize("make", MAKERS)
def test_every_cut_of_a_header_is_refused_with_a_reason_and_never_crashes(make: Maker) -> None:
    whole = make(640, 480)
    for length in range(len(whole)):
        try:
            sniff.probe(whole[:length], LIMITS)
        except ImageUnreadable as error:
            assert error.reason in {"empty", "not_an_image", "truncated", "corrupt"}  # noqa: PT017


@pytest.mark.parametrize("make", MAKERS)
def test_a_picture_over_the_pixel_limit_is_refused_with_value_and_limit(make: Maker) -> None:
    with pytest.raises(ImageUnreadable, match="1002001 pixels, limit 1000000") as refusal:
        sniff.probe(make(1001, 1001), LIMITS)
    assert refusal.value.reason == "too_many_pixels"


@pytest.mark.parametrize("make", MAKERS)
def test_a_side_over_the_limit_is_refused_although_there_are_few_pixels(make: Maker) -> None:
    with pytest.raises(ImageUnreadable, match="side 5001, limit 5000") as refusal:
        sniff.probe(make(5001, 2), LIMITS)
    assert refusal.value.reason == "too_large_side"


@pytest.mark.parametrize("make", [png, gif, bmp, jpeg, tiff, webp_lossy])
def test_a_picture_without_area_is_corrupt(make: Maker) -> None:
    with pytest.raises(ImageUnreadable) as refusal:
        sniff.probe(make(0, 7), LIMITS)
    assert refusal.value.reason == "corrupt"


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM is how this text begins, no bitmap follows",
        b"%PDF-1.7",
        b"\0" * 4096,
        b"PK\x03\x04",
        b"\0\0\0\x18ftypqt  \0\0\0\0qt  mp42",
        b"RIFF\0\0\0\0WAVEfmt ",
    ],
)
def test_other_bytes_are_not_an_image(data: bytes) -> None:
    assert sniff.media_type(data) is None
    with pytest.raises(ImageUnreadable) as refusal:
        sniff.probe(data, LIMITS)
    assert refusal.value.reason == "not_an_image"


def test_no_bytes_at_all_are_empty() -> None:
    with pytest.raises(ImageUnreadable) as refusal:
        sniff.probe(b"", LIMITS)
    assert refusal.value.reason == "empty"


def test_rows_from_the_top_in_a_bitmap_give_a_positive_height() -> None:
    assert sniff.probe(bmp(20, -30), LIMITS).height == 30


def test_big_endian_tiff_is_read_alike() -> None:
    assert sniff.probe(tiff(20, 30, ">"), LIMITS) == sniff.SniffedPicture(sniff.TIFF, 20, 30)


def test_a_jpeg_of_millions_of_segments_is_given_up_after_a_bounded_number() -> None:
    flood = b"\xff\xd8" + b"\xff\xe1\0\x02" * 1_000_000
    with pytest.raises(headers.HeaderBroken, match="4096 segments"):
        headers.jpeg_size(flood)
    with pytest.raises(headers.HeaderEnded):
        headers.jpeg_size(b"\xff\xd8" + b"\xff" * 1_000_000)


def test_random_bytes_behind_every_signature_raise_only_our_error() -> None:
    random = Random(20261121)
    for make in MAKERS:
        start = make(640, 480)
        for _ in range(200):
            noisy = bytearray(start + random.randbytes(64))
            for _ in range(4):
                noisy[random.randrange(4, len(noisy))] = random.randrange(256)
            try:
                sniff.probe(bytes(noisy), LIMITS)
            except ImageUnreadable as error:
                assert error.reason != "image_unreadable"  # noqa: PT017
