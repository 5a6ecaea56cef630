"""Thumbnails look like the picture: colours, shape, way up; and there is nothing else in them."""

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from core.tags import ThumbSize
from core.vision.decoding import pixels, sniff, thumbnail
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import odd_pictures, pictures
from tests.integration.vision.decoding.test_outgoing import SECRET, exif

LIMITS = sniff.Limits()
FORMS = [PixelFormat(), PixelFormat(fast=False), PixelFormat(64, 64)]
Colourant = tuple[float, float, float]


@dataclass(frozen=True)
class Space:
    """Colourants as profiles have them (XYZ under D50), and the exponent of the curve."""

    red: Colourant
    green: Colourant
    blue: Colourant
    gamma: float = 2.2

    @property
    def colourants(self) -> tuple[Colourant, Colourant, Colourant]:
        return self.red, self.green, self.blue

    @property
    def profile(self) -> bytes:
        return odd_pictures.profile(gamma=self.gamma, primaries=self.colourants)

    def in_srgb(self, colour: tuple[int, ...]) -> NDArray[np.float64]:
        """What a colour is in sRGB: by the matrices, and IEC 61966-2-1's curve."""
        linear = (np.array(colour) / 255) ** self.gamma
        xyz = np.array(self.colourants).T @ linear
        shown = np.linalg.solve(np.array(SRGB.colourants).T, xyz).clip(0, 1)
        curved = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
        rounded: NDArray[np.float64] = np.rint(255 * curved)
        return rounded


SRGB = Space((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = Space(
    (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)
)
PRO_PHOTO = Space(
    (0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03134, 0.00009, 0.82491), 1.8
)
Make = Callable[[bytes], bytes]


def at_tagging(form: PixelFormat) -> Make:
    return lambda data: pixels.decode(data, form, LIMITS).thumb


def on_demand(size: ThumbSize) -> Make:
    return lambda data: thumbnail.made(data, LIMITS, size)


WAYS = [*map(at_tagging, FORMS), *map(on_demand, ThumbSize)]
NAMES = ["fast", "exact", "demo", "small", "large"]
in_all_ways = pytest.mark.parametrize("make", WAYS, ids=NAMES)


@pytest.fixture(autouse=True)
def decoders() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        pixels.prepare_libraries(LIMITS)
        yield
    Image.MAX_IMAGE_PIXELS = before


def opened(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


def middle(jpeg: bytes) -> tuple[int, ...]:
    image = opened(jpeg)
    colour = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(colour, tuple)
    return colour


def assert_alike(one: tuple[int, ...], other: NDArray[Any]) -> None:
    assert np.abs(np.array(one) - other).max() <= 7, (one, other)


@in_all_ways
@pytest.mark.parametrize("space", [DISPLAY_P3, PRO_PHOTO], ids=["P3", "ProPhoto"])
@pytest.mark.parametrize("colour", [(180, 90, 70), (90, 160, 80), (70, 80, 170), (255, 0, 0)])
def test_a_wide_colour_looks_like_itself(make: Make, space: Space, colour: tuple[int, ...]) -> None:
    image = Image.new("RGB", (640, 480), colour)
    data = pictures.encoded(image, "JPEG", quality=95, subsampling=0, icc_profile=space.profile)

    shown = middle(make(data))

    assert_alike(shown, space.in_srgb(colour))
    assert "icc_profile" not in opened(make(data)).info  # sRGB is what has none


def test_the_wide_colours_are_others_than_their_numbers() -> None:
    for space in (DISPLAY_P3, PRO_PHOTO):
        assert np.abs(space.in_srgb((180, 90, 70)) - (180, 90, 70)).max() >= 15


@in_all_ways
@pytest.mark.parametrize(("cyan", "expected"), [(255, (255, 0, 0)), (0, (255, 255, 255))])
def test_inks_are_what_their_profile_says(make: Make, cyan: int, expected: tuple[int, ...]) -> None:
    red_ink = odd_pictures.cmyk_profile((54, 80, 67))  # L*a*b* of sRGB's red
    image = Image.new("CMYK", (640, 480), (cyan, 0, 0, 0))
    shown = middle(make(pictures.encoded(image, "JPEG", quality=95, icc_profile=red_ink)))
    assert np.abs(np.array(shown) - expected).max() <= 14, shown


@in_all_ways
def test_what_is_transparent_is_white(make: Make) -> None:
    image = Image.new("RGBA", (640, 480), (200, 30, 30, 0))
    assert_alike(middle(make(pictures.encoded(image, "PNG"))), np.array((255, 255, 255)))


@in_all_ways
def test_it_is_upright_and_carries_nothing(make: Make) -> None:
    data = pictures.jpeg(1, (900, 300), exif=exif(6), comment=SECRET, xmp=b"<x>" + SECRET + b"</x>")
    made = make(data)
    image = opened(made)
    assert image.height > image.width
    assert SECRET not in made
    assert not image.getexif()
    assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}


@pytest.mark.parametrize("make", WAYS[:4], ids=NAMES[:4])
@pytest.mark.parametrize(
    "size",
    [(4000, 3000), (3000, 4000), (1280, 960), (960, 1280), (1200, 450), (640, 401), (500, 511),
     (513, 512), (700, 256)],
)  # fmt: skip
def test_a_small_one_has_256_to_400_rows(make: Make, size: tuple[int, int]) -> None:
    image = opened(make(pictures.jpeg(1, size)))
    assert 256 <= image.height <= 400
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.02)


@in_all_ways
def test_none_is_larger_than_the_picture(make: Make) -> None:
    assert opened(make(pictures.jpeg(1, (90, 60)))).size == (90, 60)
    assert opened(make(pictures.flat_png(1, 1))).size == (1, 1)


@in_all_ways
@pytest.mark.parametrize("size", [(12_000, 400), (30_000, 1), (9000, 30)])
def test_a_strip_is_no_wider_than_a_screen(make: Make, size: tuple[int, int]) -> None:
    image = opened(make(pictures.flat_png(*size)))
    assert image.width <= 1600
    assert image.height >= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (1600, 1200)),
        ((900, 3600), (400, 1600)),
        ((1500, 1000), (1500, 1000)),
        ((2400, 1800), (1600, 1200)),
        ((6000, 4000), (1600, 1067)),
    ],
)
def test_a_large_one_has_1600_pixels_at_most(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert opened(on_demand(ThumbSize.LARGE)(pictures.jpeg(1, size))).size == expected


@pytest.mark.parametrize("form", FORMS, ids=NAMES[:3])
def test_the_mean_colour_is_that_of_the_picture_in_srgb(form: PixelFormat) -> None:
    half = Image.new("RGB", (640, 480), (200, 40, 40))
    half.paste((40, 40, 200), (0, 0, 320, 480))
    mean = pixels.decode(pictures.encoded(half, "PNG"), form, LIMITS).colour
    assert np.abs(np.array(list(mean)) - (120, 40, 120)).max() <= 3
    wide = Image.new("RGB", (640, 480), (90, 160, 80))
    mean = pixels.decode(
        pictures.encoded(wide, "PNG", icc_profile=PRO_PHOTO.profile), form, LIMITS
    ).colour
    assert_alike(tuple(mean), PRO_PHOTO.in_srgb((90, 160, 80)))
