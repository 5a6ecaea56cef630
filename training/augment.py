"""Random views of a picture: crop, mirror, colour, detail, sharpness and compression."""

import io
import math

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from training.pictures import Pixels

MIN_AREA = 0.3  # of the picture; smaller crops lose the subject
ASPECT = 4 / 3  # largest stretch of a crop
JITTER = 0.35  # brightness, contrast and saturation: 1 +- JITTER
GREY_SHARE = 0.1
# Half of the pictures have 64 px, and hardly one of the larger ones shows food, a car or a soldier:
# with all of their detail the model would learn labels from sharpness.
LEAST_DETAIL = 64  # px
DETAIL_SHARE = 0.6
SHARPNESS_SHARE = 0.6
COMPRESS_SHARE = 0.5
_KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)


def random_view(image: Image.Image, size: int, draw: np.random.Generator) -> Pixels:
    """Return a random view of an RGB picture: uint8, (size, size, 3)."""
    image = _less_detail(image, draw)
    if draw.random() < COMPRESS_SHARE:  # before the crop: the blocks are those of a whole file
        image = _compressed(image, int(draw.integers(30, 95)))
    view = image.resize((size, size), _KERNELS[int(draw.integers(2))], box=_crop(image, draw))
    if draw.random() < 0.5:
        view = ImageOps.mirror(view)
    return np.asarray(_sharpness(_colours(view, draw), draw))


def reduced(image: Image.Image) -> Image.Image:
    """Return a picture with the detail that all of them have."""
    scale = LEAST_DETAIL / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    return image.resize(size, Image.Resampling.BICUBIC)


def _crop(image: Image.Image, draw: np.random.Generator) -> tuple[float, float, float, float]:
    area = image.width * image.height * draw.uniform(MIN_AREA, 1.0)
    stretch = math.exp(draw.uniform(-math.log(ASPECT), math.log(ASPECT)))
    width = min(image.width, math.sqrt(area * stretch))
    height = min(image.height, math.sqrt(area / stretch))
    left = draw.uniform(0, image.width - width)
    top = draw.uniform(0, image.height - height)
    return left, top, left + width, top + height


def _less_detail(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    side = min(image.size)
    if side <= LEAST_DETAIL or draw.random() > DETAIL_SHARE:
        return image
    scale = draw.uniform(LEAST_DETAIL, side) / side
    return image.resize((round(image.width * scale), round(image.height * scale)))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return again.convert("RGB")


def _colours(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    factors = draw.uniform(1 - JITTER, 1 + JITTER, 3).tolist()
    if draw.random() < GREY_SHARE:
        image = ImageOps.grayscale(image).convert("RGB")
    image = ImageEnhance.Color(image).enhance(factors[0])
    image = ImageEnhance.Contrast(image).enhance(factors[1])
    return ImageEnhance.Brightness(image).enhance(factors[2])


def _sharpness(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Return the view blurred or sharpened: the sources differ in it, and so do their labels."""
    if draw.random() > SHARPNESS_SHARE:
        return image
    if draw.random() < 0.4:
        return image.filter(ImageFilter.GaussianBlur(draw.uniform(0.3, 1.8)))
    return image.filter(ImageFilter.UnsharpMask(draw.uniform(1, 3), int(draw.uniform(30, 200)), 0))
