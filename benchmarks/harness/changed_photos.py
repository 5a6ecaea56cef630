"""Photos changed in usual ways: saved again, scaled, trimmed."""

import io
from collections.abc import Callable

from PIL import Image

Change = Callable[[Image.Image], bytes]


def saved(image: Image.Image, form: str = "JPEG", quality: int = 80) -> bytes:
    """Return the picture as a file."""
    target = io.BytesIO()
    image.save(target, form, quality=quality)
    return target.getvalue()


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Return the picture in another size."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def trimmed(image: Image.Image, share: float) -> Image.Image:
    """Return the picture without a margin of this share on each side."""
    across, down = image.width * share, image.height * share
    corner = (image.width - across, image.height - down)
    return image.crop((round(across), round(down), round(corner[0]), round(corner[1])))


CHANGES: dict[str, Change] = {
    "JPEG at 80": saved,
    "JPEG at 60": lambda image: saved(image, quality=60),
    "JPEG at 30": lambda image: saved(image, quality=30),
    "WebP at 50": lambda image: saved(image, "WEBP", 50),
    "half the size": lambda image: saved(scaled(image, 0.5)),
    "1.7 times the size": lambda image: saved(scaled(image, 1.7)),
    "brighter by 15 %": lambda image: saved(image.point(lambda value: value * 1.15)),
    "3 % cut off all round": lambda image: saved(trimmed(image, 0.03)),
}
