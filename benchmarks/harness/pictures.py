"""Distinct photos, made from free ones that installed packages contain; pictures that cost much."""

import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from standalone.demo.photos import copy_free_photos

SEED = 20260501
QUALITY = 92
#: Side and scans of a JPEG of 360 kB that takes a decoder most of a minute.
SLOW_SIDE = 6000
SCANS = 2600
#: Longest side that the archive accepts.
LONGEST = 30_000
_START_OF_SCAN, _END = b"\xff\xda", b"\xff\xd9"
#: Megapixels -> width and height.
SIZES = {0.3: (640, 480), 1.2: (1280, 960), 12.0: (4032, 3024)}


def make_photos(folder: Path, megapixels: float, count: int) -> list[Path]:
    """Write JPEGs: random crops with added noise, so that they compress like photos."""
    chance, grain = random.Random(SEED), np.random.default_rng(SEED)
    sources = [Image.open(path).convert("RGB") for path in copy_free_photos(folder / "sources")]
    width, height = SIZES[megapixels]
    target = folder / f"{megapixels:g}mp"
    target.mkdir(parents=True)
    return [
        _write(target / f"{at:05}.jpg", _crop(chance, sources).resize((width, height)), grain)
        for at in range(count)
    ]


def _crop(chance: random.Random, sources: Sequence[Image.Image]) -> Image.Image:
    source, share = chance.choice(sources), chance.uniform(0.5, 0.95)
    width, height = round(source.width * share), round(source.height * share)
    left, top = chance.randint(0, source.width - width), chance.randint(0, source.height - height)
    return source.crop((left, top, left + width, top + height))


def _write(path: Path, picture: Image.Image, grain: np.random.Generator) -> Path:
    pixels = np.asarray(picture, np.int16)
    noise = grain.normal(0, 4, pixels.shape).astype(np.int16)
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return path


def many_scans(number: int, scans: int = SCANS) -> bytes:
    """Return a progressive JPEG whose last scan stands there again and again.

    It is a scan that says nothing new about the picture; a decoder walks over all of it each time.
    """
    target = io.BytesIO()
    Image.new("L", (SLOW_SIDE, SLOW_SIDE), number % 256).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    last = data[data.rindex(_START_OF_SCAN) : -len(_END)]
    return _marked(data[: -len(_END)] + last * scans + _END, number)


def narrow(number: int) -> bytes:
    """Return a grey PNG, one pixel high."""
    target = io.BytesIO()
    Image.new("L", (LONGEST - number, 1), number % 256).save(target, "PNG")
    return target.getvalue()


def _marked(data: bytes, number: int) -> bytes:
    """Return a JPEG with a comment, so that no two are the same bytes."""
    comment = f"picture {number}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
