"""Good pictures that libraries refuse: damage and oddities beside the pixels cost nothing."""

import os
import struct
import zlib
from collections.abc import Sequence

import pytest
from PIL import Image

from core.errors import ImageUnreadable
from core.vision.decoding import pixels
from core.vision.decoding.metadata.exif import Shot
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import odd_pictures, pictures
from tests.fakes.odd_pictures import chunk, png_with
from tests.integration.vision.decoding.test_pixels import LIMITS, decoders, difference

__all__ = ["decoders"]
FORM = PixelFormat(64, 64, fast=False)
PHOTO = pictures.photo(3)
PNG = pictures.encoded(PHOTO, "PNG")


def decoded(data: bytes) -> pixels.DecodedPicture:
    return pixels.decode(data, FORM, LIMITS)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole(
    seed: int, missing: int, *, progressive: bool
) -> None:
    whole = pictures.jpeg(seed, (403, 311), progressive=progressive)
    found = decoded(whole[:-missing])
    assert found.pixels == decoded(whole).pixels
    assert not found.truncated


LARGE = os.urandom(3_000_000)
CHUNKS = {
    "a large text": chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
    "a large packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 30_000_000)),
    "a large international text": chunk(
        b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 30_000_000)
    ),
    "many large texts": chunk(b"tEXt", b"Comment\0" + b"x" * 1_000_000) * 80,
    "a wrong checksum of a text": chunk(b"tEXt", b"Comment\0hello", checksum=7),
    "a wrong checksum of a time": chunk(b"tIME", b"\x07\xea\1\2\3\4\5", checksum=7),
    "a wrong checksum of a profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(b"y"), checksum=7),
    "a large profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(LARGE)),
    "a huge profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(b"x" * 60_000_000)),
    "a profile packed in another way": chunk(b"iCCP", b"x\0\7" + zlib.compress(b"y")),
    "a text packed in another way": chunk(b"zTXt", b"Comment\0\7abc"),
    "a gamma too short": chunk(b"gAMA", b"\0"),
    "a size of pixels too short": chunk(b"pHYs", b"\0"),
    "colours too short": chunk(b"cHRM", b"\0"),
    "transparency too short": chunk(b"tRNS", b"\0\1"),
    "an animation too short": chunk(b"acTL", b"\0"),
    "a frame outside": chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 9999, 9999, 9, 9, 1, 1, 0, 0)),
    "a frame out of order": chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 7, 320, 240, 0, 0, 1, 1, 0, 0)
    ),
    "a keyword of bytes": chunk(b"tEXt", b"\xff\xfe\0\xff"),
    "an unknown chunk with a wrong checksum": chunk(b"abCd", b"x", checksum=7),
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
def test_a_png_is_good_whatever_stands_beside_its_pixels(name: str, place: bytes) -> None:
    found = decoded(png_with(PNG, CHUNKS[name], before=place))
    assert found.pixels == decoded(PNG).pixels
    assert not found.truncated


def test_what_is_read_of_a_png_is_kept_among_what_is_not() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Canon"
    plain = pictures.encoded(PHOTO, "PNG", exif=exif.tobytes())
    noisy = png_with(plain, CHUNKS["a wrong checksum of a text"], CHUNKS["a large text"])
    noisy = png_with(noisy, CHUNKS["a frame outside"], before=b"IEND")
    found = decoded(noisy)
    assert (found.width, found.height, found.camera) == (240, 320, "Canon")
    assert found.pixels == decoded(plain).pixels


def test_a_png_in_thousands_of_pieces_is_refused() -> None:
    pieces = (chunk(b"tEXt", b"") + chunk(b"IDAT", b"")) * 5000
    with pytest.raises(ImageUnreadable) as refusal:
        decoded(png_with(PNG, pieces))
    assert refusal.value.reason == "corrupt"


def test_a_picture_is_read_although_a_later_frame_of_a_webp_is_broken() -> None:
    frames = [pictures.photo(seed) for seed in (3, 4, 5)]
    data = pictures.encoded(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True
    )
    second = data.index(b"ANMF", data.index(b"ANMF") + 4)
    broken = data[: second + 40] + b"\xff" * 200 + data[second + 240 :]
    first = pictures.encoded(frames[0], "WEBP", lossless=True)
    assert decoded(broken).pixels == decoded(first).pixels
    assert decoded(data[: second + 60]).pixels == decoded(first).pixels  # nor where it is cut


def test_a_picture_is_read_although_a_later_frame_of_a_gif_is_broken() -> None:
    frames = [pictures.photo(seed).quantize(64) for seed in (3, 4)]
    data = pictures.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(data[: len(data) * 3 // 4]).pixels == decoded(data).pixels


def test_a_webp_frame_smaller_than_its_canvas_stands_on_white() -> None:
    first = Image.new("RGBA", (80, 80), (255, 0, 0, 0))
    first.paste((0, 0, 255, 255), (0, 0, 40, 80))
    second = Image.new("RGBA", (80, 80), (0, 255, 0, 255))
    data = pictures.encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    found = decoded(data)
    shown = Image.frombytes("RGB", (64, 64), found.pixels)
    assert shown.getpixel((5, 30)) == (0, 0, 255)
    assert shown.getpixel((60, 30)) == (255, 255, 255)


MASKS = {
    "4 4 4 4": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "4 4 4": (16, (0xF00, 0xF0, 0xF)),
    "5 5 5 1": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "3 3 2": (16, (0xE0, 0x1C, 0x3)),
    "10 10 10 2": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "11 11 10": (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
    "rgba": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "bgr": (32, (0xFF, 0xFF00, 0xFF0000)),
}


@pytest.mark.parametrize("name", MASKS)
def test_bit_fields_of_any_width_are_colours(name: str) -> None:
    bits, masks = MASKS[name]
    colour = (255, 85, 0)
    pixel = 0
    for mask, value in zip(masks, (*colour, 255), strict=False):
        width, low = mask.bit_count(), (mask & -mask).bit_length() - 1
        pixel |= round(value / 255 * ((1 << width) - 1)) << low
    data = pixel.to_bytes(bits // 8, "little") * (80 * 80)
    found = decoded(odd_pictures.bitfields((80, 80), bits, masks, data))
    coarse = 20 if name == "3 3 2" else 4
    assert all(
        abs(one - other) <= coarse for one, other in zip(found.pixels[:3], colour, strict=True)
    )


@pytest.mark.parametrize("height", [80, -80])
def test_a_bmp_of_two_bits_shows_its_four_colours(height: int) -> None:
    colours: Sequence[tuple[int, int, int]] = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (10, 20, 30)]
    rows = [bytes([0b01010101] * 20)] * 40 + [bytes([0b11111111] * 20)] * 40  # from the bottom
    found = decoded(odd_pictures.two_bits((80, height), colours, b"".join(rows)))
    first, last = ((10, 20, 30), (255, 0, 0))[:: 1 if height > 0 else -1]
    assert tuple(found.pixels[:3]) == first
    assert tuple(found.pixels[-3:]) == last
    assert (found.width, found.height) == (80, 80)


def test_webp_pixels_are_those_that_pillow_gives() -> None:
    for options in ({"quality": 80}, {"lossless": True}):
        clear = PHOTO.convert("RGBA")
        clear.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
        for image in (PHOTO, clear):
            data = pictures.encoded(image, "WEBP", **options)
            with Image.open(pictures.file(data)) as theirs:
                png = pictures.encoded(theirs.copy(), "PNG")
            shown = [Image.frombytes("RGB", (64, 64), decoded(each).pixels) for each in (data, png)]
            assert difference(*shown) == 0


def test_a_webp_keeps_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x0110] = "Pixel 9"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:15 14:30:22"
    found = decoded(pictures.encoded(PHOTO, "WEBP", exif=exif.tobytes()))
    assert found.camera == "Pixel 9"
    assert isinstance(found.shot, Shot)
