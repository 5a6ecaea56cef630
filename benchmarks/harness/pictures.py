"""Distinct photos of a given size, made from free ones that installed packages contain."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from standalone.demo.photos import copy_free_photos

SEED = 20260501
QUALITY = 92
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
