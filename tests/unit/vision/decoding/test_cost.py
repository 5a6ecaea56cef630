"""The memory that a picture will need, by its header alone."""

import struct
from random import Random

import pytest
from PIL import Image

from core.errors import ImageUnreadable
from core.settings import MIB
from core.vision.decoding import sniff
from core.vision.decoding.limits import cost
from tests.fakes import pictures

LIMITS = sniff.Limits()
BASE = 64 * MIB


def held(data: bytes) -> int | None:
    return sniff.probe(data, LIMITS).held


@pytest.mark.parametrize("media_type", [sniff.JPEG, sniff.GIF, sniff.WEBP])
def test_the_sum_is_process_and_file_and_eight_bytes_a_pixel(media_type: str) -> None:
    header = sniff.SniffedPicture(media_type, 4000, 3000)
    assert cost.needed_bytes(header, 5_000_000) == BASE + 5_000_000 + 8 * 12_000_000


def test_a_strip_of_a_single_row_needs_next_to_nothing() -> None:
    for data in (pictures.flat_png(30000, 1), pictures.encoded(Image.new("L", (5000, 1)), "PNG")):
        needed = cost.needed_bytes(sniff.probe(data, LIMITS), len(data))
        assert needed is not None
        assert needed < BASE + MIB


def test_what_only_decoding_tells_is_none() -> None:
    assert cost.needed_bytes(sniff.SniffedPicture(sniff.TIFF, 10, 10, None), 100) is None
    photo = pictures.photo(1)
    assert held(pictures.encoded(photo, "TIFF", compression="lzma")) is None
    assert held(pictures.encoded(photo, "TIFF", compression="zstd")) is None


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("RGB", {}, 8),
        ("L", {"progressive": True}, 8),
        ("RGB", {"progressive": True}, 8),  # 4:2:0: three bytes of coefficients
        ("RGB", {"progressive": True, "subsampling": 0}, 10),
        ("CMYK", {"progressive": True, "subsampling": 0}, 12),
        ("CMYK", {}, 8),
    ],
)
def test_a_progressive_jpeg_keeps_its_coefficients(
    mode: str, options: dict[str, object], expected: int
) -> None:
    data = pictures.encoded(pictures.photo(1).convert(mode), "JPEG", quality=90, **options)
    assert held(data) == expected


def test_a_baseline_jpeg_in_several_scans_keeps_its_coefficients_too() -> None:
    data = pictures.jpeg(1, subsampling=0)
    at = data.index(b"\xff\xda")
    assert held(data[: at + 4] + b"\x01" + data[at + 5 :]) == 10  # the scan has one component
    assert held(data[:at]) == 12  # cut before any scan: the worst


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("RGB", {}, 8),
        ("1", {"compression": "group4"}, 8),
        ("RGB", {"compression": "tiff_lzw"}, 8),
        ("F", {"compression": "tiff_lzw"}, 8),
        ("I;16", {}, 8),
    ],
)
def test_a_tiff_in_strips_needs_no_more_than_others(
    mode: str, options: dict[str, object], expected: int
) -> None:
    image = Image.new(mode, (4000, 3000))
    assert held(pictures.encoded(image, "TIFF", **options)) == expected


def tiff(samples: int, bits: int, *, rows: int, compression: int = 5) -> bytes:
    tags = [(256, 100), (257, 100), (258, bits), (259, compression), (277, samples), (278, rows)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(3, 8, rows=10), 8),
        (tiff(3, 8, rows=100), 8),
        (tiff(4, 16, rows=100), 12),
        (tiff(3, 32, rows=10), 8),
        (tiff(3, 32, rows=100), 16),
        (tiff(3, 64, rows=100, compression=1), 28),
        (tiff(3, 16, rows=100, compression=34925), None),
    ],
)
def test_a_tiff_of_deep_samples_or_one_strip_needs_what_they_take(
    data: bytes, expected: int | None
) -> None:
    assert held(data) == expected


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [("RGB", {}, 9), ("RGB", {"subsampling": "4:4:4"}, 12), ("RGBA", {}, 13), ("L", {}, 8)],
)
def test_an_avif_holds_its_planes_and_rgb_twice(
    mode: str, options: dict[str, object], expected: int
) -> None:
    image = pictures.photo(1).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert held(pictures.encoded(image, "AVIF", **options)) == expected


def test_broken_headers_give_a_reason_or_a_number_and_nothing_else() -> None:
    random = Random(7)
    wholes = [
        pictures.encoded(pictures.photo(1), "TIFF", compression="tiff_lzw"),
        pictures.encoded(pictures.photo(1), "AVIF"),
        pictures.jpeg(1, progressive=True),
    ]
    for _ in range(3000):
        data = bytearray(random.choice(wholes)[: random.randrange(20, 2000)])
        for _ in range(random.randrange(1, 6)):
            data[random.randrange(4, len(data))] = random.randrange(256)
        try:
            found = held(bytes(data))
        except ImageUnreadable:
            continue
        assert found is None or found >= 8, bytes(data)
