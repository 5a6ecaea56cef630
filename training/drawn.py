"""Surfaces and shapes drawn by the program: pictures that show nothing that has a name here.

What a tower has never seen looks to a small head like whatever fills most of its space. These take
that place: noise of every coarseness, stripes, tiles, discs on plain ground, points, lines of text.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.pictures import Pixels

SOURCE_CLASS = "drawn surface"
_Plane = npt.NDArray[np.float64]


def drawn_view(size: int, draw: np.random.Generator) -> Pixels:
    """Return a random drawing: uint8, (size, size, 3)."""
    kinds = (_noise, _stripes, _tiles, _discs, _points, _lines)
    plane = kinds[int(draw.integers(len(kinds)))](size, draw)
    ends = draw.uniform(0, 255, (2, 3))
    if draw.random() < 0.4:  # grey
        ends = np.repeat(draw.uniform(0, 255, (2, 1)), 3, axis=1)
    pixels = ends[0] + plane[:, :, None] * (ends[1] - ends[0])
    pixels += draw.normal(0, draw.uniform(0, 12), (size, size, 1))
    return np.asarray(pixels.clip(0, 255), np.uint8)


def _noise(size: int, draw: np.random.Generator) -> _Plane:
    """Return noise whose power falls with the frequency, as in photos of grass, sky or cloth."""
    across, down = np.fft.fftfreq(size)[None, :], np.fft.fftfreq(size)[:, None]
    stretch = draw.uniform(0.3, 1.0)
    frequency = np.hypot(across, down * stretch) + 1 / size
    waves = np.fft.fft2(draw.normal(size=(size, size))) / frequency ** draw.uniform(0, 2)
    return _scaled(np.fft.ifft2(waves).real)


def _stripes(size: int, draw: np.random.Generator) -> _Plane:
    angle, period = draw.uniform(0, np.pi), draw.uniform(4, size / 2)
    place = np.arange(size)[None, :] * np.cos(angle) + np.arange(size)[:, None] * np.sin(angle)
    wave = np.sin(2 * np.pi * place / period)
    return _scaled(np.sign(wave) if draw.random() < 0.5 else wave)


def _tiles(size: int, draw: np.random.Generator) -> _Plane:
    width, height = draw.integers(8, size // 2, 2)
    down, across = np.arange(size)[:, None], np.arange(size)[None, :]
    shifted = across + (down // height) * (width // 2)
    joint = ((down % height) < max(1, height // 8)) | ((shifted % width) < max(1, width // 10))
    return np.where(joint, 1.0, 0.3 * _noise(size, draw))


def _discs(size: int, draw: np.random.Generator) -> _Plane:
    image = Image.new("L", (size, size), int(draw.integers(0, 60)))
    pen = ImageDraw.Draw(image)
    radius = draw.uniform(size / 16, size / 3)
    for _ in range(int(draw.integers(1, 25))):
        own, (left, top) = radius * draw.uniform(0.8, 1.2), draw.uniform(0, size, 2)
        fill = int(draw.integers(100, 256))
        pen.ellipse((left - own, top - own, left + own, top + own), fill=fill)
    shade = 0.3 * _noise(size, draw)
    return np.asarray(image, np.float64) / 255 * (0.7 + shade)


def _points(size: int, draw: np.random.Generator) -> _Plane:
    plane = 0.1 * _noise(size, draw)
    count = int(draw.integers(20, 800))
    down, across = draw.integers(0, size - 2, (2, count))
    for shift in range(int(draw.integers(1, 3))):
        plane[down + shift, across] = plane[down, across + shift] = draw.uniform(0.3, 1, count)
    return plane


def _lines(size: int, draw: np.random.Generator) -> _Plane:
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    letters = [chr(one) for one in range(97, 123)] + [" "] * 6
    step = int(draw.integers(10, 24))
    for top in range(int(draw.integers(0, 12)), size, step):
        pen.text((int(draw.integers(0, 20)), top), "".join(draw.choice(letters, 40)), fill=0)
    return np.asarray(image, np.float64) / 255


def _scaled(plane: _Plane) -> _Plane:
    low, high = np.percentile(plane, [1, 99])
    result: _Plane = ((plane - low) / max(high - low, 1e-9)).clip(0, 1)
    return result
