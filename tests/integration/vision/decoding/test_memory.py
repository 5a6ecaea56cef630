"""The memory of a decoder process, by picture: what the header tells is the bound."""

import sys
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from core.errors import ImageUnreadable
from core.settings import MIB
from core.vision.decoding import sniff
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.limits import cost
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import odd_pictures, pictures

LIMITS = PoolLimits(workers=1, timeout_s=60.0, memory_bytes=3072 * MIB)
FORMS = {"fast": PixelFormat(), "exact": PixelFormat(fast=False)}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/status")


async def peak(form: PixelFormat, *data: bytes) -> tuple[int, list[object]]:
    """Return the most memory that a fresh process had over these pictures, and what it answered."""
    async with DecodePool(LIMITS, form) as pool:
        answers: list[object] = [await pool.decode(each) for each in data]
        assert pool.replaced == 0
        lines = Path(f"/proc/{pool.pids[0]}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), answers


def needed(data: bytes) -> int:
    bytes_ = cost.needed_bytes(sniff.probe(data, sniff.Limits()), len(data))
    assert bytes_ is not None
    return bytes_


@pytest.mark.parametrize("form", FORMS)
async def test_narrow_pictures_cost_next_to_nothing(form: str) -> None:
    strips = [
        odd_pictures.grey_png(*size) for size in ((30000, 1), (5000, 1), (1, 30000), (29999, 2))
    ]
    found, answers = await peak(FORMS[form], *strips)
    assert all(isinstance(each, Decoded) for each in answers)
    assert found < 64 * MIB


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
async def test_narrow_pictures_cost_nothing_whatever_the_model_wants(mode: str) -> None:
    found, answers = await peak(
        PixelFormat(resize_mode=mode, fast=False),
        *map(odd_pictures.grey_png, (30000, 1), (1, 30000)),
    )
    assert all(isinstance(each, Decoded) for each in answers)
    assert found < 64 * MIB


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transparent", [False, True])
async def test_a_tiny_gif_of_a_large_screen_takes_what_its_header_tells(
    form: str, *, transparent: bool
) -> None:
    data = odd_pictures.small_gif(8000, 5000, transparent=transparent)
    found, answers = await peak(FORMS[form], data)
    assert isinstance(answers[0], Decoded)
    assert found < 64 * MIB + 5 * 40_000_000
    assert found < needed(data)


async def test_a_tiny_webp_that_claims_to_be_large_takes_no_more_than_it_says() -> None:
    data = odd_pictures.small_webp(8000, 5000)
    found, answers = await peak(FORMS["exact"], data)
    assert isinstance(answers[0], Decoded | ImageUnreadable)
    assert found < needed(data)


def large(kind: str) -> bytes:
    """Return six megapixels that compress neither well nor badly."""
    grain = Image.effect_noise((750, 500), 40).resize((3000, 2000), Image.Resampling.BILINEAR)
    image = Image.merge("RGB", (grain, Image.linear_gradient("L").resize(grain.size), grain))
    form, _, how = kind.partition(" ")
    if form == "HEIF":
        pillow_heif.register_heif_opener()
    if "alpha" in how:
        image.putalpha(grain)
    if "grey" in how:
        image = grain.convert("I;16")
    if "float" in how:
        image = grain.convert("F")
    if "turned" in how:
        exif = Image.Exif()
        exif[0x0112] = 6
        return pictures.encoded(image, form, exif=exif.tobytes())
    choices: dict[str, dict[str, object]] = {
        "GIF": {},
        "WEBP": {"lossless": "lossless" in how, "method": 0, "quality": 50},
        "JPEG": {"progressive": "progressive" in how, "subsampling": 0 if "full" in how else 2},
        "TIFF": {"compression": "tiff_lzw"} if "packed" in how else {},
        "AVIF": {"speed": 10, "subsampling": "4:4:4" if "full" in how else "4:2:0"},
        "PNG": {"compress_level": 1},
    }
    return pictures.encoded(image, form, **choices.get(form, {}))


@pytest.mark.parametrize(
    "kind",
    [
        "JPEG", "JPEG turned", "JPEG progressive", "JPEG progressive full", "PNG", "PNG alpha",
        "PNG grey", "GIF", "BMP", "WEBP", "WEBP alpha", "WEBP lossless", "WEBP lossless alpha",
        "TIFF", "TIFF alpha packed", "TIFF float packed", "AVIF", "AVIF full", "AVIF alpha", "HEIF",
        "HEIF alpha",
    ],
)  # fmt: skip
async def test_no_format_takes_more_than_its_header_tells(kind: str) -> None:
    data = large(kind)
    found, answers = await peak(FORMS["exact"], data)  # the form that needs more
    assert isinstance(answers[0], Decoded)
    assert found <= needed(data), f"{found / MIB:.0f} MiB, told {needed(data) / MIB:.0f}"


async def test_what_a_picture_took_does_not_stay_beside_the_next() -> None:
    """Also where an error and its frames know each other, as in Pillow's own decoders."""
    run = bytes((255, 1)) * 20_000
    rle = odd_pictures.broken_rle((6000, 6000), run)
    found, answers = await peak(FORMS["exact"], *([rle, large("PNG alpha")] * 3))
    assert isinstance(answers[0], ImageUnreadable)
    assert found <= max(needed(rle), needed(large("PNG alpha")))
