"""Colours as they were meant: a profile becomes sRGB, which the models were trained on.

On a reduced picture: a profile costs some 20 ns a pixel, and averages of neighbours differ little
between two spaces of like gamma. A profile that cannot be used is ignored, as viewers do.
"""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

#: Profiles of printers have two megabytes; larger ones are taken for broken.
MAX_PROFILE_BYTES = 4 * 1024 * 1024
# The space of the profile by the mode of the picture, as the profile's header says it.
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}
# Differences that a profile may make and still be sRGB: descriptions of it are rounded.
_SAME = 2
_STEPS = (0, 64, 128, 191, 255)


def prepare_library() -> None:
    """Load LittleCMS."""
    _srgb()


def to_srgb(image: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """Return RGB in sRGB.

    Args:
        image: RGB, L, CMYK or LAB.
        info: of the source: its profile, or a PNG's gamma.
    """
    profile = info.get("icc_profile")
    usable = isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE_BYTES
    if usable or image.mode == "LAB":
        transform = _transform(profile if usable else b"", image.mode)
        if transform is not None:
            return transform.apply(image)
    if image.mode == "LAB":  # without a transform there are no colours to show
        return image.getchannel(0).convert("RGB")
    return _without_gamma(image if image.mode == "RGB" else image.convert("RGB"), info)


def _without_gamma(image: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """Undo a PNG's gamma where it is far from sRGB's (PNG, third edition, 11.3.2.2)."""
    gamma = info.get("gamma")
    if not isinstance(gamma, float) or "srgb" in info or not 0.1 < gamma < 10:
        return image
    exponent = 1 / (2.2 * gamma)
    if abs(exponent - 1) < 0.1:
        return image
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return image.point(table * 3)


@lru_cache(maxsize=2)  # cameras write one profile into all their pictures; each may be megabytes
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way to sRGB; None where there is none to go, or none to be found."""
    try:
        source = ImageCms.ImageCmsProfile(
            io.BytesIO(profile) if profile else ImageCms.createProfile("LAB")
        )
        if profile and source.profile.xcolor_space.strip() != _SPACES[mode]:
            return _transform(b"", mode) if mode == "LAB" else None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
        if mode == "RGB" and _changes_nothing(transform):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    colours = bytes(
        value
        for red in _STEPS
        for green in _STEPS
        for blue in _STEPS
        for value in (red, green, blue)
    )
    image = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    after = transform.apply(image).tobytes()
    return all(abs(one - other) <= _SAME for one, other in zip(colours, after, strict=True))


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
