"""Untrusted bytes to the square of pixels that the model sees. Runs in the decoder's process.

One reduction for all: decoded, upright, 8 bits, in sRGB, divided by a whole number; from it come
the perceptual hash, the page of text and the square (docs/decisions/0024-one-reduction.md).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from core.errors import ImageUnreadable
from core.vision.decoding import colour, sniff, sources, thumbnail
from core.vision.decoding.metadata import exif
from core.vision.decoding.reduction import (
    divided,
    factor_for,
    orientation,
    part_size,
    reduced,
    upright,
    upright_size,
)
from core.vision.decoding.sources import LoadedPicture, load
from core.vision.decoding.square import seen, square, whole_square
from core.vision.decoding.worker_protocol import GREY_SIDE, PixelFormat
from core.vision.decoding.writing.paper import page_in

# Reduced pictures keep at least twice the model's size: measured mean error 0.2 to 0.4 of 255 at
# 224 pixels; decoding straight to the size gave 1.4 with single images at 3.9
# (docs/research/clip.md, section 3.2). Small models see more of what is lost: at 64 pixels the
# bundled model's least cosine with the exact path was 0.9984 at twice its size and 0.9999 at four
# times, over 56 photos.
_MARGIN = 2.0
_LEAST_SIDE = 256
#: Less of what the model would see of a cut picture is a failure, more is tagged.
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A decoded picture: `pixels` are RGB bytes, rows from the top, `form.height * form.width * 3`.

    `width` and `height` are those of the source, as seen (after EXIF orientation). `grey` is the
    whole picture squeezed to `GREY_SIDE * GREY_SIDE` bytes of luminance, rows from the top.
    `truncated`: the file ends before the picture does, and pixels and grey show what there is.
    `thumb` is a small JPEG of the whole picture, `colour` its mean red, green and blue.
    `page` is the whole picture in grey where it may be a page of text, of `page_size` columns and
    rows; else empty.
    """

    pixels: bytes
    media_type: str
    width: int
    height: int
    sha256: bytes
    shot: exif.Shot | None
    camera: str | None
    grey: bytes
    thumb: bytes
    colour: bytes
    page: bytes = b""
    page_size: tuple[int, int] = (0, 0)
    truncated: bool = False


def prepare_libraries(limits: sniff.Limits) -> None:
    """Set the libraries' globals for this process, and load what they would load later."""
    sources.prepare_libraries(limits)
    colour.prepare_library()


def decode(data: bytes, form: PixelFormat, limits: sniff.Limits) -> DecodedPicture:
    """Decode the first frame to the model's size.

    Raises:
        ImageUnreadable: the bytes are no picture within the limits; the `reason` says why.
        MemoryError: the process has no room for it.
    """
    source = load(data, limits, _draft(form))
    turn = orientation(source.image)
    _check_share(source, form, turn)
    wanted = _reduction(source.image.size, form) / _margin(form)
    small = reduced(source, factor_for(source.image.size, wanted))
    taken, camera = exif.taken_at(source.image), exif.camera(source.image)
    if form.fast:
        extent = small.size[0] / small.factor, small.size[1] / small.factor
        shown = square(small.image, extent, form, small.size)
    else:
        shown = _exact(source, form, turn)
    width, height = upright_size(source.size, turn)
    tile = thumbnail.small(small.image)
    grey = small.image.convert("L")
    squeezed = _squeezed(grey)
    page = page_in(grey, squeezed)
    return DecodedPicture(
        pixels=shown.tobytes(),
        media_type=sniff.require_media_type(data),
        width=width,
        height=height,
        sha256=hashlib.sha256(data).digest(),
        shot=taken,
        camera=camera,
        grey=squeezed.tobytes(),
        page=page.tobytes() if page else b"",
        page_size=page.size if page else (0, 0),
        colour=thumbnail.mean_colour(tile),
        thumb=thumbnail.encoded(tile),
        truncated=source.truncated,
    )


def _exact(source: LoadedPicture, form: PixelFormat, turn: int) -> Image.Image:
    """Return the square made of the picture's own pixels; the source is closed."""
    info, lying = source.image.info, divided(source, 1)
    if lying is not source.image:
        source.image.close()  # its pixels, the flat ones and the turned ones would be three copies
    return colour.to_srgb(whole_square(upright(lying, turn), form), info)


def _check_share(source: LoadedPicture, form: PixelFormat, turn: int) -> None:
    """Raise if a cut picture lacks more than half of what the model would see of it.

    Raises:
        ImageUnreadable: reason `truncated`.
    """
    if source.box == (0, 0, *source.image.size):
        return
    width, height = source.image.size
    left, top, right, bottom = seen(upright_size((width, height), turn), form)
    if turn >= 5:  # the part is in the middle, so turning exchanges its sides only
        left, top, right, bottom = top, left, bottom, right
    columns = max(0.0, min(right, source.box[2]) - max(left, source.box[0]))
    rows = max(0.0, min(bottom, source.box[3]) - max(top, source.box[1]))
    share = columns * rows / ((right - left) * (bottom - top))
    if share < _LEAST_SHARE:
        wide, high = part_size(source)
        raise ImageUnreadable(
            f"{wide} x {high} of {source.size[0]} x {source.size[1]} pixels are there, "
            f"{share:.0%} of what the model sees; at least {_LEAST_SHARE:.0%} are needed",
            reason="truncated",
        )


def _draft(form: PixelFormat) -> Callable[[Image.Image], None]:
    """Return what lets JPEG decode at 1/2, 1/4 or 1/8, never below the margin."""

    def draft(image: Image.Image) -> None:
        factor = _reduction(image.size, form) / _margin(form)
        if form.fast and factor >= 2:
            width, height = image.size
            image.draft(None, (math.ceil(width / factor), math.ceil(height / factor)))

    return draft


def _margin(form: PixelFormat) -> float:
    """Return how many times the model's size a reduced picture must still have."""
    return max(_MARGIN, _LEAST_SIDE / max(form.width, form.height))


def _reduction(size: tuple[int, int], form: PixelFormat) -> float:
    """Return source pixels per model pixel, along the side that decides.

    The picture may still lie on its side here; the larger of the model's sides is then safe.
    """
    target = max(form.width, form.height)
    return (max(size) if form.resize_mode == "longest" else min(size)) / target


def _squeezed(grey: Image.Image) -> Image.Image:
    """Return the small grey picture for the perceptual hash.

    It is resized bilinearly: with a box filter up to 4 bits depended on the model's size, now none.
    """
    size = (GREY_SIDE, GREY_SIDE)
    return grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=4.0)
