"""Untrusted bytes to the square of pixels that the model sees. Runs in the decoder's process.

Imports Pillow and pillow-heif, never torch or numpy: a worker must be small and start at once.
Nothing here guards against a decoder that crashes or hangs: `decoder.DecodePool` does.
"""

import hashlib
import io
import math
import warnings
from dataclasses import dataclass
from datetime import datetime

import pillow_heif
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from core.errors import ImageUnreadable
from core.vision.decoding import exif, sniff
from core.vision.decoding.worker_protocol import GREY_SIDE, PixelFormat

_PILLOW_FORMATS = {
    sniff.JPEG: "JPEG",  # multi-picture files (MPO) come through the same opener
    sniff.PNG: "PNG",
    sniff.WEBP: "WEBP",
    sniff.GIF: "GIF",
    sniff.BMP: "BMP",
    sniff.TIFF: "TIFF",
    sniff.HEIC: "HEIF",
    sniff.HEIF: "HEIF",
    sniff.AVIF: "AVIF",
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_WHITE = (255, 255, 255)
# Scaled decoding keeps at least twice the model's size: measured mean error 0.2 to 0.4 of 255 at
# 224 pixels; decoding straight to the size gave 1.4 with single images at 3.9
# (docs/research/clip.md, section 3.2). Small models see more of what is lost: at 64 pixels the
# bundled model's least cosine with the exact path was 0.9984 at twice its size and 0.9999 at four
# times, over 56 photos.
_FAST_MARGIN = 2.0
_FAST_LEAST_SIDE = 256


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A decoded picture: `pixels` are RGB bytes, rows from the top, `form.height * form.width * 3`.

    `width` and `height` are those of the source, as seen (after EXIF orientation). `grey` is the
    whole picture squeezed to `GREY_SIDE * GREY_SIDE` bytes of luminance, rows from the top.
    """

    pixels: bytes
    media_type: str
    width: int
    height: int
    sha256: bytes
    exif_datetime: datetime | None
    camera: str | None
    grey: bytes


def prepare_libraries(limits: sniff.Limits) -> None:
    """Set the decoders' globals for this process: formats, one thread each, bombs are errors."""
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    Image.init()
    warnings.simplefilter("ignore")  # broken EXIF causes many warnings, which nobody reads here
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def decode(data: bytes, form: PixelFormat, limits: sniff.Limits) -> DecodedPicture:
    """Decode the first frame to the model's size.

    Raises:
        ImageUnreadable: the bytes are no picture within the limits; the `reason` says why.
        MemoryError: the process has no room for it.
    """
    with opened(data, limits) as image:
        source = image.size
        if form.fast:
            _draft(image, form)
        drafted = image.size
        load(image)
        turned = upright(image)
        width, height = turned.size if drafted == source else _as_seen(source, image)
        whole = resize(flat_rgb(turned), form, (width, height))
        return DecodedPicture(
            pixels=crop(whole, form).tobytes(),
            media_type=sniff.require_media_type(data),
            width=width,
            height=height,
            sha256=hashlib.sha256(data).digest(),
            exif_datetime=exif.taken_at(image),
            camera=exif.camera(image),
            grey=_grey(whole).tobytes(),
        )


def opened(data: bytes, limits: sniff.Limits) -> Image.Image:
    """Open bytes as the one format that they announce; nothing is decoded yet.

    Raises:
        ImageUnreadable: not a picture, broken, or over the limits.
    """
    kind = sniff.require_media_type(data)
    try:
        image = Image.open(io.BytesIO(data), formats=(_PILLOW_FORMATS[kind],))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"{kind}: {error}", reason="too_many_pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # plugins may raise any exception on hostile headers
        raise _unreadable(kind, error) from error
    sniff.check_size(*image.size, limits)
    return image


def load(image: Image.Image) -> None:
    """Decode the pixels of the first frame.

    Raises:
        ImageUnreadable: the data is cut, broken or of a kind that the library cannot decode.
    """
    try:
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(str(error), reason="too_many_pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # see `opened`
        raise _unreadable(image.format or "picture", error) from error


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied, 1 to 8; 1 where it is invalid.

    Call it after `load`: Pillow turns TIFF while loading, and PNG may have EXIF after its pixels.
    """
    value = exif.read(image).get(_ORIENTATION, 1)
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def _as_seen(size: tuple[int, int], image: Image.Image) -> tuple[int, int]:
    return size[::-1] if orientation(image) >= 5 else size


def upright(image: Image.Image) -> Image.Image:
    """Return the picture turned upright.

    `ImageOps.exif_transpose` is not used: it rewrites the EXIF and fails on broken blocks.
    """
    turn = _TRANSPOSE.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def flat_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB, transparency on white.

    This is done before resizing, unlike in open_clip: palettes would be resized by nearest
    neighbour, and transparent areas of RGBA would become black.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    try:
        if image.has_transparency_data or image.mode in {"La", "RGBa"}:
            return _on_white(image)
        return image.convert("RGB")
    except ValueError as error:  # LAB, HSV inside TIFF and the like
        raise ImageUnreadable(f"mode {image.mode}: {error}", reason="unsupported_mode") from error


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    ground = Image.new("RGB", layered.size, _WHITE)
    ground.paste(layered, mask=layered.getchannel("A"))
    return ground


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits; Pillow 13 would clip them to white."""
    if image.mode.startswith("I;16"):
        high = 0 if image.mode == "I;16B" else 1
        return Image.frombytes("L", image.size, image.tobytes()[high::2])
    wide = image if image.mode == "F" else image.convert("F")
    low, top = wide.getextrema()
    if not (isinstance(low, float) and isinstance(top, float)):
        raise ImageUnreadable(f"mode {image.mode} has several bands", reason="unsupported_mode")
    if not (math.isfinite(low) and math.isfinite(top)):
        raise ImageUnreadable(f"values from {low} to {top}", reason="corrupt")
    if low < 0 or top > 65535:
        start, scale = low, 255 / ((top - low) or 1.0)
    else:
        start, scale = 0.0, 1.0 if top <= 255 else 1 / 257
    return wide.point(lambda value: value * scale - start * scale).convert("L")


def _draft(image: Image.Image, form: PixelFormat) -> None:
    """Let JPEG decode at 1/2, 1/4 or 1/8, never below the margin."""
    factor = _reduction(image.size, form) / _margin(form)
    if factor >= 2:
        width, height = image.size
        image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))


def _margin(form: PixelFormat) -> float:
    """Return how many times the model's size a scaled picture must still have."""
    return max(_FAST_MARGIN, _FAST_LEAST_SIDE / max(form.width, form.height))


def _reduction(size: tuple[int, int], form: PixelFormat) -> float:
    """Return source pixels per model pixel, along the side that decides.

    The picture may still lie on its side here; the larger of the model's sides is then safe.
    """
    target = max(form.width, form.height)
    return (max(size) if form.resize_mode == "longest" else min(size)) / target


def resize(image: Image.Image, form: PixelFormat, source: tuple[int, int]) -> Image.Image:
    """Resize exactly as open_clip 3.3 does for evaluation (its `image_transform`).

    Args:
        image: the picture, perhaps decoded at a fraction of its size.
        form: what the model wants.
        source: its full size. Sizes are worked out from it: from the rounded sides of a scaled
            picture the longer side can come out a pixel off, and the crop would move.
    """
    size = _resized(*source, form)
    if size == image.size:
        return image
    how = {
        "bicubic": Image.Resampling.BICUBIC,
        "bilinear": Image.Resampling.BILINEAR,
    }[form.interpolation]
    return image.resize(size, how, reducing_gap=_margin(form) if form.fast else None)


def _resized(width: int, height: int, form: PixelFormat) -> tuple[int, int]:
    if form.resize_mode == "squash":
        return form.width, form.height
    if form.resize_mode == "shortest" and form.width == form.height:
        # torchvision truncates; open_clip's own class for the other cases rounds
        if width <= height:
            return form.width, int(form.width * height / width)
        return int(form.height * width / height), form.height
    ratios = (height / form.height, width / form.width)
    ratio = max(ratios) if form.resize_mode == "longest" else min(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def crop(image: Image.Image, form: PixelFormat) -> Image.Image:
    """Crop a resized picture around its centre, or pad it, as open_clip does."""
    width, height = image.size
    if width < form.width or height < form.height:
        fill = (form.fill,) * 3 if form.resize_mode == "longest" else (0, 0, 0)
        grown = Image.new("RGB", (max(width, form.width), max(height, form.height)), fill)
        grown.paste(image, (max(0, (form.width - width) // 2), max(0, (form.height - height) // 2)))
        image = grown
        width, height = image.size
    left = round((width - form.width) / 2.0)
    top = round((height - form.height) / 2.0)
    return image.crop((left, top, left + form.width, top + form.height))


def _grey(whole: Image.Image) -> Image.Image:
    """Return the grey picture for the perceptual hash, from the picture before it is cropped.

    It is resized bilinearly: with a box filter up to 4 bits depended on the model's size, now none.
    """
    return whole.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR)


def _unreadable(kind: str, error: Exception) -> ImageUnreadable:
    text = str(error)
    reason = "truncated" if "truncated" in text.lower() else "corrupt"
    if isinstance(error, UnidentifiedImageError):
        text = "the library does not recognise it"  # Pillow's message has a memory address
    return ImageUnreadable(f"{kind}: {type(error).__name__}: {text}", reason=reason)
