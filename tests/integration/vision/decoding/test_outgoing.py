"""Outgoing copies contain the picture and nothing else."""

import io
import warnings
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image, ImageChops, ImageCms, PngImagePlugin

from core.errors import ImageUnreadable
from core.vision.decoding import outgoing, pixels, sniff
from tests.fakes import pictures

LIMITS = sniff.Limits()
SECRET = b"Jane Doe, 52.5200 N"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def decoders() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        pixels.prepare_libraries(LIMITS)
        yield
    Image.MAX_IMAGE_PIXELS = before


def exif(orientation: int = 1) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET.decode()
    block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return block.tobytes()


def shown(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def test_a_jpeg_loses_exif_comments_and_xmp_and_keeps_profile_and_every_pixel() -> None:
    original = pictures.jpeg(
        1, exif=exif(), comment=SECRET, xmp=b"<x>" + SECRET + b"</x>", icc_profile=PROFILE
    )
    kind, copy = outgoing.strip_metadata(original, LIMITS)
    assert kind == sniff.JPEG
    assert SECRET in original
    assert SECRET not in copy
    assert same(shown(copy), shown(original))
    with Image.open(io.BytesIO(copy)) as image:
        assert not image.getexif()
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 4}])
def test_scans_and_restart_markers_are_copied_whole(options: dict[str, object]) -> None:
    original = pictures.jpeg(1, (640, 480), exif=exif(), **options)
    _, copy = outgoing.strip_metadata(original, LIMITS)
    assert SECRET not in copy
    assert same(shown(copy), shown(original))


def test_a_cmyk_jpeg_keeps_the_segment_that_tells_its_colours() -> None:
    original = pictures.encoded(pictures.photo(1).convert("CMYK"), "JPEG", exif=exif())
    _, copy = outgoing.strip_metadata(original, LIMITS)
    assert SECRET not in copy
    assert same(shown(copy), shown(original))


def test_what_stands_behind_the_end_of_a_jpeg_stays_here() -> None:
    original = pictures.jpeg(1, exif=exif()) + pictures.jpeg(2, exif=exif()) + SECRET
    _, copy = outgoing.strip_metadata(original, LIMITS)
    assert SECRET not in copy
    assert copy.endswith(b"\xff\xd9")
    assert same(shown(copy), shown(original))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_that_lies_on_its_side_leaves_upright(form: str) -> None:
    original = pictures.encoded(pictures.photo(1, (300, 200)), form, exif=exif(6))
    _, copy = outgoing.strip_metadata(original, LIMITS)
    assert SECRET not in copy
    with Image.open(io.BytesIO(copy)) as image:
        assert image.size == (200, 300)
        assert image.getexif().get(0x0112, 1) == 1


def test_a_png_loses_texts_times_and_exif_and_keeps_every_pixel() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", SECRET.decode())
    texts.add_text("Long", SECRET.decode(), zip=True)
    texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    original = pictures.encoded(pictures.photo(1), "PNG", pnginfo=texts, exif=exif())
    kind, copy = outgoing.strip_metadata(original + SECRET, LIMITS)
    assert kind == sniff.PNG
    assert SECRET not in copy
    assert same(shown(copy), shown(original))
    with Image.open(io.BytesIO(copy)) as image:
        image.load()
        assert not image.getexif()
        assert not getattr(image, "text", None)


def test_a_webp_whose_pixels_claim_the_metadata_behind_them_loses_it_too() -> None:
    data = bytearray(pictures.encoded(pictures.photo(1), "WEBP", exif=exif(), quality=80))
    at = data.index(b"VP8 ") + 4
    length = int.from_bytes(data[at : at + 4], "little")
    data[at : at + 4] = (length + 0x20000).to_bytes(4, "little")
    assert SECRET in data

    _, copy = outgoing.strip_metadata(bytes(data), LIMITS)

    assert SECRET not in copy


def test_a_webp_loses_exif_and_xmp_and_keeps_every_pixel() -> None:
    original = pictures.encoded(
        pictures.photo(1), "WEBP", exif=exif(), xmp=SECRET, icc_profile=PROFILE, quality=80
    )
    kind, copy = outgoing.strip_metadata(original, LIMITS)
    assert kind == sniff.WEBP
    assert SECRET in original
    assert SECRET not in copy
    assert same(shown(copy), shown(original))
    with Image.open(io.BytesIO(copy)) as image:
        assert not image.getexif()
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("form", ["AVIF", "HEIF", "TIFF", "GIF", "BMP"])
def test_other_formats_leave_as_jpeg_without_metadata(form: str) -> None:
    extra = {"comment": SECRET} if form == "GIF" else {"exif": exif()}
    original = pictures.encoded(pictures.photo(1), form, **extra) + SECRET
    kind, copy = outgoing.strip_metadata(original, LIMITS)
    assert kind == sniff.JPEG
    assert SECRET in original
    assert SECRET not in copy
    assert shown(copy).size == (320, 240)


def test_a_transparent_picture_of_another_format_leaves_as_png() -> None:
    clear = Image.new("RGBA", (50, 40), (0, 0, 0, 0))
    kind, copy = outgoing.strip_metadata(pictures.encoded(clear, "TIFF"), LIMITS)
    assert kind == sniff.PNG
    with Image.open(io.BytesIO(copy)) as image:
        assert image.has_transparency_data


def test_bytes_that_are_no_picture_do_not_leave() -> None:
    with pytest.raises(ImageUnreadable):
        outgoing.strip_metadata(b"<svg/>", LIMITS)
    cut = pictures.jpeg(1)
    with pytest.raises(ImageUnreadable):
        outgoing.strip_metadata(cut[:100], LIMITS)


def test_chunks_that_nobody_knows_do_not_leave() -> None:
    """The byte mutators found that a deny-list let `EXID` pass, with all of the EXIF."""
    webp, png = (
        pictures.encoded(pictures.photo(), "WEBP"),
        pictures.encoded(pictures.photo(), "PNG"),
    )
    chunk = b"maKr" + len(SECRET).to_bytes(4, "little") + SECRET + bytes(len(SECRET) % 2)
    webp = b"RIFF" + (len(webp) - 8 + len(chunk)).to_bytes(4, "little") + webp[8:] + chunk
    private = b"prVt" + SECRET
    crc = zlib.crc32(private).to_bytes(4, "big")
    png = png[:33] + len(SECRET).to_bytes(4, "big") + private + crc + png[33:]
    assert SECRET in webp
    assert SECRET in png

    for data in (webp, png):
        _, copy = outgoing.strip_metadata(data, LIMITS)

        assert SECRET not in copy
        assert ImageChops.difference(shown(copy), shown(data)).getbbox() is None
