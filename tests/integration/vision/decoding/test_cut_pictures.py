"""Files that end before the picture does: tagged by what is there, if that is enough."""

import pytest
from PIL import Image

from core.errors import ImageUnreadable
from core.vision.decoding import outgoing, pixels
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import pictures
from tests.integration.vision.decoding.test_pixels import LIMITS, ORIENTATION, decoders, turned_back

__all__ = ["decoders"]
FORMS = [PixelFormat(64, 64, fast=False), PixelFormat(64, 64)]
PARTLY = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"quality": 90},
    "GIF": {"interlace": 0},
    "BMP": {},
    "TIFF": {},
}


def noisy(size: tuple[int, int]) -> Image.Image:
    """Return an even red with noise in green, so that bytes are spread over the rows."""
    grain = Image.effect_noise(size, 60)
    return Image.merge("RGB", (Image.new("L", size, 200), grain, Image.new("L", size, 0)))


def decoded(data: bytes, form: PixelFormat = FORMS[0]) -> pixels.DecodedPicture:
    return pixels.decode(data, form, LIMITS)


@pytest.mark.parametrize("form", FORMS, ids=["exact", "fast"])
@pytest.mark.parametrize("kind", PARTLY)
def test_most_of_a_picture_is_tagged_and_the_rest_is_left_out(kind: str, form: PixelFormat) -> None:
    whole = pictures.encoded(noisy((320, 240)), kind, **PARTLY[kind])
    found = decoded(whole[: len(whole) * 8 // 10], form)
    assert found.truncated
    assert (found.width, found.height) == (320, 240)
    reds = found.pixels[::3]
    # What is missing would be black, white or grey: the picture has 200 in each red.
    assert min(reds) > 170
    assert max(reds) < 230


@pytest.mark.parametrize("kind", PARTLY)
def test_less_than_half_of_what_the_model_sees_is_a_failure(kind: str) -> None:
    whole = pictures.encoded(noisy((320, 240)), kind, **PARTLY[kind])
    with pytest.raises(ImageUnreadable) as refusal:
        decoded(whole[: len(whole) * 4 // 10])
    assert refusal.value.reason == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_whole_picture_is_not_marked(kind: str) -> None:
    assert not decoded(pictures.encoded(noisy((320, 240)), kind, **PARTLY[kind])).truncated


def test_what_the_model_does_not_see_may_be_missing() -> None:
    """Of a tall picture it sees the middle: half of that ends at half of the whole."""
    tall = pictures.encoded(noisy((200, 800)), "BMP")  # rows from the bottom
    assert decoded(tall[: len(tall) * 55 // 100]).truncated
    with pytest.raises(ImageUnreadable):
        decoded(tall[: len(tall) * 45 // 100])


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_missing_part_is_left_out_of_turned_pictures_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lying = turned_back(noisy((320, 240)), orientation)
    whole = pictures.encoded(lying, "JPEG", quality=90, exif=exif.tobytes())
    for form in FORMS:
        found = decoded(whole[: len(whole) * 8 // 10], form)
        assert (found.width, found.height) == (320, 240)
        assert min(found.pixels[::3]) > 170


def test_a_progressive_jpeg_shows_all_of_it_coarsely() -> None:
    whole = pictures.encoded(pictures.photo(4, (800, 600)), "JPEG", quality=90, progressive=True)
    for share in (0.5, 0.8, 0.95):
        found = decoded(whole[: int(len(whole) * share)])
        assert found.truncated
        sharp, coarse = (
            Image.frombytes("RGB", (64, 64), each) for each in (decoded(whole).pixels, found.pixels)
        )
        pairs = zip(sharp.tobytes(), coarse.tobytes(), strict=True)
        assert sum(abs(one - other) for one, other in pairs) / len(coarse.tobytes()) < 6


def test_a_jpeg_cut_within_a_table_is_no_riddle() -> None:
    whole = pictures.encoded(pictures.photo(4, (800, 600)), "JPEG", quality=90, progressive=True)
    table = whole.rindex(b"\xff\xc4")
    assert decoded(whole[: table + 9]).truncated


@pytest.mark.parametrize("kind", PARTLY)
def test_every_cut_is_pixels_or_a_reason(kind: str) -> None:
    whole = pictures.encoded(pictures.photo(2, (97, 61)), kind, **PARTLY[kind])
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        try:
            found = decoded(whole[:length])
        except ImageUnreadable as error:
            assert error.reason in {"truncated", "corrupt", "empty", "not_an_image"}  # noqa: PT017
        else:
            assert len(found.pixels) == 64 * 64 * 3


def test_a_cut_picture_can_be_delivered() -> None:
    whole = pictures.jpeg(1, (400, 300))
    kind, copy = outgoing.strip_metadata(whole[: len(whole) * 8 // 10], LIMITS)
    assert kind == "image/jpeg"
    assert not decoded(copy).truncated
