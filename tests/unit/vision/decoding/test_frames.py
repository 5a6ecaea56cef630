"""Frames that reach beyond what a file's first header says: their size counts."""

import io
import struct

import pytest
from PIL import Image

from core.errors import ImageUnreadable
from core.vision.decoding import sniff, sources

LIMITS = sniff.Limits()


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], between: bytes = b"") -> bytes:
    """A GIF with a global palette of four colours; the frame's pixels are missing."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + bytes(12)
    return head + between + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x01\x00\x00;"


def webp(canvas: int, frame: tuple[int, int], *, animated: bool) -> bytes:
    """A WebP whose canvas is a square; the frame is a key frame without its data."""
    picture = b"VP8 " + struct.pack("<I", 10) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", *frame)
    if animated:
        picture = b"ANMF" + struct.pack("<I", 16 + len(picture)) + bytes(16) + picture
    sides = (canvas - 1).to_bytes(3, "little") * 2
    inner = b"WEBPVP8X" + struct.pack("<II", 10, 0x02 if animated else 0) + sides
    inner += b"EXIF" + struct.pack("<I", 3) + b"abc\0" + picture
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


COMMENT = b"\x21\xfe\x2cXXXX" + b"," * 40 + b"\x21" + b"!" * 33 + b"\0"
CONTROL = b"\x21\xf9\x04\xc9\x00\x00\x00\x00"


@pytest.mark.parametrize("between", [b"", CONTROL, COMMENT, CONTROL + COMMENT])
@pytest.mark.parametrize("frame", [(0, 0, 20_000, 20_000), (65_000, 65_000, 535, 535)])
def test_a_frame_larger_than_the_screen_of_a_gif_is_refused_by_its_header(
    frame: tuple[int, int, int, int], between: bytes
) -> None:
    with pytest.raises(ImageUnreadable) as caught:
        sniff.probe(gif((10, 10), frame, between), LIMITS)

    assert caught.value.reason == "too_many_pixels"
    assert "limit 120000000" in str(caught.value)


@pytest.mark.parametrize("between", [b"", CONTROL, COMMENT])
def test_a_gif_is_as_large_as_screen_and_first_frame_together(between: bytes) -> None:
    data = gif((10, 50), (5, 5, 40, 20), between)

    header = sniff.probe(data, LIMITS)

    assert (header.width, header.height) == (45, 50)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (45, 50)


def test_what_stands_before_a_gifs_frame_is_looked_at_within_bounds() -> None:
    comments = b"\x21\xfe" + b"\x01x" * 100_000 + b"\0"

    header = sniff.probe(gif((10, 10), (0, 0, 20_000, 20_000), comments), LIMITS)

    assert (header.width, header.height) == (10, 10)  # the decoder has the final say


@pytest.mark.parametrize("animated", [True, False])
def test_a_frame_larger_than_the_canvas_of_a_webp_is_refused_by_its_header(
    *, animated: bool
) -> None:
    with pytest.raises(ImageUnreadable) as caught:
        sniff.probe(webp(10, (16_000, 16_000), animated=animated), LIMITS)

    assert caught.value.reason == "too_many_pixels"
    header = sniff.probe(webp(100, (50, 60), animated=animated), LIMITS)
    assert (header.width, header.height) == (100, 100)


def test_a_png_is_as_large_as_its_first_header_whatever_its_frames_say() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    data = bytearray(buffer.getvalue())
    at = data.index(b"fcTL") + 8
    data[at : at + 8] = struct.pack(">II", 60_000, 60_000)

    header = sniff.probe(bytes(data), LIMITS)

    assert (header.width, header.height) == (8, 6)
    assert sources.opened(bytes(data), LIMITS).size == (8, 6)


def test_what_the_decoder_alone_finds_too_large_is_told_in_our_words_and_by_our_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = sniff.Limits(max_pixels=1_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limits.max_pixels)
    data = gif((10, 10), (0, 0, 100, 100), b"\x21\xfe" + b"\x01x" * 5_000 + b"\0")

    with pytest.raises(ImageUnreadable) as caught:
        sources.opened(data, limits)

    assert caught.value.reason == "too_many_pixels"
    assert "limit of 1000" in str(caught.value)
    assert "bomb" not in str(caught.value)
