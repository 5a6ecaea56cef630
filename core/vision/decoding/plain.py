"""Any mode of Pillow to 8 bits a band: RGB, L, CMYK or LAB, transparency on white.

Works on a band of rows at a time, so that no second picture of full size is needed.
"""

from PIL import Image

from core.errors import ImageUnreadable
from core.vision.decoding.formats.tiff import scale_of

_WHITE = (255, 255, 255)
#: Modes that are averaged as they are; profiles of CMYK and LAB are applied afterwards.
PLAIN = frozenset({"RGB", "L", "CMYK", "LAB"})

Scale = tuple[float, float]


def is_plain(image: Image.Image) -> bool:
    """Return whether a picture needs no conversion."""
    return image.mode in PLAIN and not image.has_transparency_data


def scale(image: Image.Image) -> Scale | None:
    """Return (value of black, factor to 0..255) of grey beyond 8 bits; None for other modes.

    Raises:
        ImageUnreadable: its values are no numbers.
    """
    if image.mode.startswith("I;16"):
        return 0.0, 255 / ((1 << int(image.info.get("bits", 16))) - 1)
    if image.mode not in {"I", "F"}:
        return None
    low, top = image.getextrema()
    if not (isinstance(low, float | int) and isinstance(top, float | int)):
        raise ImageUnreadable(f"mode {image.mode} has several bands", reason="unsupported_mode")
    return scale_of(low, top)


def plain(band: Image.Image, scale: Scale | None) -> Image.Image:
    """Return a band of rows in a plain mode.

    This is done before resizing, unlike in open_clip: palettes would be resized by nearest
    neighbour, and transparent areas of RGBA would become black.

    Args:
        band: rows of a picture, in its mode.
        scale: see `scale`.
    """
    if scale is not None:
        band = _eight_bits(band, *scale)
    if band.mode in PLAIN and not band.has_transparency_data:
        return band
    try:
        if band.has_transparency_data or band.mode in {"La", "RGBa"}:
            return _on_white(band)
        return band.convert("L" if band.mode == "1" else "RGB")
    except ValueError as error:  # HSV inside TIFF and the like
        raise ImageUnreadable(f"mode {band.mode}: {error}", reason="unsupported_mode") from error


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    ground = Image.new("RGB", layered.size, _WHITE)
    ground.paste(layered, mask=layered.getchannel("A"))
    return ground


def _eight_bits(band: Image.Image, start: float, factor: float) -> Image.Image:
    """Scale wide grey; Pillow 13 would clip it to white."""
    numbers = band.convert("I") if band.mode.startswith("I;16") else band
    grey = numbers.convert("F").point(lambda value: value * factor - start * factor).convert("L")
    grey.info = {}  # a transparent value would be one of the wide ones
    return grey
