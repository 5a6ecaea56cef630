"""Pictures whose pixels were surely wrong: floats, inverted and wide grey, colour profiles."""

import array
import struct

import pytest
from PIL import Image, ImageCms

from core.vision.decoding import pixels
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import odd_pictures, pictures
from tests.integration.vision.decoding.test_pixels import LIMITS, decoders

__all__ = ["decoders"]
SIDE = 64
FORMS = [PixelFormat(SIDE, SIDE, fast=False), PixelFormat(SIDE, SIDE)]
#: A ramp from black to white, by column.
RAMP = [column / (SIDE - 1) for column in range(SIDE)]


def levels(data: bytes, form: PixelFormat = FORMS[0]) -> list[tuple[int, ...]]:
    """Return the colours of the middle row."""
    shown = pixels.decode(data, form, LIMITS).pixels
    row = shown[SIDE * SIDE // 2 * 3 :][: SIDE * 3]
    return list(zip(row[::3], row[1::3], row[2::3], strict=True))


def assert_is_ramp(data: bytes) -> None:
    for form in FORMS:
        for column, colour in enumerate(levels(data, form)):
            assert all(abs(value - 255 * RAMP[column]) <= 2 for value in colour), (column, colour)


@pytest.mark.parametrize("code", ["e", "f", "d"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("samples", [1, 3])
def test_floats_between_0_and_1_are_black_to_white(code: str, order: str, samples: int) -> None:
    values = [value for value in RAMP * SIDE for _ in range(samples)]
    data = struct.pack(f"{order}{len(values)}{code}", *values)
    bits = 8 * struct.calcsize(code)
    photometric = 2 if samples == 3 else 1
    assert_is_ramp(
        odd_pictures.tiff(
            (SIDE, SIDE), data, samples=samples, bits=bits, photometric=photometric, order=order
        )
    )


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "raw"])
def test_floats_that_pillow_wrote_are_black_to_white(compression: str) -> None:
    image = Image.frombytes("F", (SIDE, SIDE), array.array("f", RAMP * SIDE).tobytes())
    assert_is_ramp(pictures.encoded(image, "TIFF", compression=compression))


def test_a_highlight_beyond_1_does_not_darken_the_rest() -> None:
    values = RAMP * SIDE
    values[:40] = [30.0] * 40
    assert_is_ramp(odd_pictures.tiff((SIDE, SIDE), array.array("f", values).tobytes()))


@pytest.mark.parametrize(("order", "top"), [("<", 255), (">", 255), ("<", 65535), (">", 65535)])
def test_floats_on_the_scale_of_integers_keep_it(order: str, top: int) -> None:
    data = struct.pack(f"{order}{SIDE * SIDE}f", *(top * value for value in RAMP * SIDE))
    assert_is_ramp(odd_pictures.tiff((SIDE, SIDE), data, order=order))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("code", "kind"), [("H", 1), ("I", 1), ("f", 3)])
def test_white_is_zero_is_no_negative(code: str, kind: int, order: str) -> None:
    top = 1.0 if code == "f" else (1 << 8 * struct.calcsize("=" + code)) - 1
    values = [(1 - value) * top if code == "f" else int((1 - value) * top) for value in RAMP]
    data = struct.pack(f"{order}{SIDE}{code}", *values) * SIDE
    bits = 8 * struct.calcsize("=" + code)
    picture = odd_pictures.tiff(
        (SIDE, SIDE), data, bits=bits, kind=kind, photometric=0, order=order
    )
    assert_is_ramp(picture)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("top", [255, 65535, 2**32 - 1])
def test_32_bits_are_grey_as_written(top: int, samples: int, order: str) -> None:
    row = [round(top * value) for value in RAMP for _ in range(samples)]
    data = struct.pack(f"{order}{len(row)}I", *row) * SIDE
    photometric = 2 if samples == 3 else 1
    assert_is_ramp(
        odd_pictures.tiff(
            (SIDE, SIDE), data, kind=1, samples=samples, photometric=photometric, order=order
        )
    )


def test_signed_16_bits_are_grey_as_written() -> None:
    row = struct.pack(f"<{SIDE}h", *(round(32767 * value) for value in RAMP))
    assert_is_ramp(odd_pictures.tiff((SIDE, SIDE), row * SIDE, bits=16, kind=2))


def test_12_bits_are_grey_as_written() -> None:
    values = [round(4095 * value) for value in RAMP]
    row = b"".join(
        bytes((one >> 4, (one & 15) << 4 | other >> 8, other & 255))
        for one, other in zip(values[::2], values[1::2], strict=True)
    )
    assert_is_ramp(odd_pictures.tiff((SIDE, SIDE), row * SIDE, bits=12, kind=1))


def coloured(colour: tuple[int, ...], profile: bytes | None, mode: str = "RGB") -> bytes:
    form = "TIFF" if mode in {"CMYK", "L"} else "PNG"
    return pictures.encoded(Image.new(mode, (80, 80), colour), form, icc_profile=profile)


@pytest.mark.parametrize("form", FORMS, ids=["exact", "fast"])
def test_a_profile_says_which_colours_are_meant(form: PixelFormat) -> None:
    swapped = odd_pictures.profile(
        primaries=(odd_pictures.BLUE, odd_pictures.GREEN, odd_pictures.RED)
    )
    red, green, blue = levels(coloured((255, 0, 0), swapped), form)[9]
    assert red < 20
    assert green < 20
    assert blue > 235


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_profile_counts_whatever_the_format(kind: str) -> None:
    dark = odd_pictures.profile(gamma=1.0)
    image = Image.new("RGB", (80, 80), (55, 55, 55))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95}
    data = pictures.encoded(image, kind, icc_profile=dark, **(options if kind != "TIFF" else {}))
    assert all(abs(value - 128) < 6 for value in levels(data)[9])  # 55 / 255, linear


def test_a_grey_profile_counts_too() -> None:
    dark = odd_pictures.profile("GRAY", gamma=1.0)
    assert all(abs(value - 128) < 4 for value in levels(coloured((55,), dark, "L"))[9])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_are_what_their_profile_says(kind: str) -> None:
    red_ink = odd_pictures.cmyk_profile((54, 80, 67))  # L*a*b* of sRGB's red
    options = {"quality": 95} if kind == "JPEG" else {}
    for cyan, expected in ((255, (255, 0, 0)), (0, (255, 255, 255))):
        image = Image.new("CMYK", (80, 80), (cyan, 0, 0, 0))
        shown = levels(pictures.encoded(image, kind, icc_profile=red_ink, **options))[9]
        pairs = zip(shown, expected, strict=True)
        assert all(abs(one - other) <= 12 for one, other in pairs), shown


def test_srgb_changes_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = pictures.photo(3)
    with_it, without = (
        pixels.decode(pictures.encoded(photo, "PNG", icc_profile=profile), form, LIMITS).pixels
        for form in FORMS[:1]
        for profile in (srgb, None)
    )
    assert with_it == without


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile at all",
        odd_pictures.profile()[:200],
        odd_pictures.profile("GRAY"),  # of another space
        b"\0" * 5_000_000,
    ],
    ids=["text", "cut", "grey", "large"],
)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_bad_profile_is_ignored(profile: bytes, mode: str) -> None:
    colour = (200, 100, 50) if mode == "RGB" else (10, 100, 200, 20)
    plain, told = (levels(coloured(colour, each, mode)) for each in (None, profile))
    assert told == plain


def test_lab_is_shown_in_colour() -> None:
    lab = Image.new("LAB", (80, 80), (128, 190, 128))  # a* far into red
    red, green, blue = levels(pictures.encoded(lab, "TIFF"))[9]
    assert red > green + 60
    assert red > blue


def test_a_linear_png_without_a_profile_is_lightened() -> None:
    png = pictures.encoded(Image.new("RGB", (80, 80), (55, 55, 55)), "PNG")
    linear = odd_pictures.png_with(png, odd_pictures.chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert all(abs(value - 128) < 6 for value in levels(linear)[9])
    usual = odd_pictures.png_with(png, odd_pictures.chunk(b"gAMA", struct.pack(">I", 45_455)))
    assert levels(usual)[9] == (55, 55, 55)
