"""Bytes to a decoded picture, whole or as far as it goes: the libraries' side of the decoder.

Imports Pillow and pillow-heif, never torch or numpy: a worker must be small and start at once.
Nothing here guards against a decoder that crashes or hangs: `decoder.DecodePool` does.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pillow_heif
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from core.errors import ImageUnreadable
from core.vision.decoding import rescue, sniff
from core.vision.decoding.formats import bmp, libtiff, png, tiff, webp

#: Left, top, right, bottom.
Box = tuple[int, int, int, int]

_PILLOW_FORMATS = {
    sniff.JPEG: "JPEG",  # multi-picture files (MPO) come through the same opener
    sniff.GIF: "GIF",
    sniff.BMP: "BMP",
    sniff.HEIC: "HEIF",
    sniff.HEIF: "HEIF",
    sniff.AVIF: "AVIF",
}


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """A picture with its pixels in memory.

    Attributes:
        image: as the library gives it: any mode, and lying as the camera held it.
        size: of the whole picture; `image` is smaller where it was decoded at reduced size.
        box: the part of `image` that was decoded.
        truncated: whether the file ends before the picture does.
    """

    image: Image.Image
    size: tuple[int, int]
    box: Box
    truncated: bool


def prepare_libraries(limits: sniff.Limits) -> None:
    """Set the decoders' globals for this process: formats, one thread each, bombs are errors."""
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    Image.init()
    png.prepare_library()
    webp.prepare_library()
    libtiff.prepare_library()
    warnings.simplefilter("ignore")  # broken EXIF causes many warnings, which nobody reads here
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def opened(data: bytes, limits: sniff.Limits) -> Image.Image:
    """Open bytes as the one format that they announce; nothing is decoded yet.

    Raises:
        ImageUnreadable: not a picture, broken, or over the limits.
    """
    kind = sniff.require_media_type(data)
    try:
        image = _open(kind, data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(kind, limits) from error
    except (MemoryError, ImageUnreadable):
        raise
    except Exception as error:  # plugins may raise any exception on hostile headers
        raise _unreadable(kind, error) from error
    sniff.check_size(*image.size, limits)
    return image


def _open(kind: str, data: bytes) -> Image.Image:
    if kind == sniff.PNG:
        # Pillow asks for a file, and reads, seeks and tells are all that it does with it.
        file: Any = png.essential(data)
        return Image.open(file, formats=("PNG",))
    if kind == sniff.WEBP:
        return webp.WebPImage(io.BytesIO(data))
    if kind == sniff.TIFF:
        return tiff.DeepTiff(io.BytesIO(data))
    if kind == sniff.BMP and bmp.is_odd(data):
        return bmp.OddBmp(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=(_PILLOW_FORMATS[kind],))


def load(
    data: bytes, limits: sniff.Limits, prepare: Callable[[Image.Image], None] = lambda _: None
) -> LoadedPicture:
    """Decode the pixels of the first frame, as far as they go.

    Args:
        data: the file.
        limits: pixels and sides.
        prepare: is called with the opened image, to ask for decoding at reduced size.

    Raises:
        ImageUnreadable: the data is broken or of a kind that the library cannot decode, or so much
            of it is missing that not a row is left.
    """
    image = opened(data, limits)
    size = image.size
    try:
        prepare(image)
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(sniff.require_media_type(data), limits) from error
    except (MemoryError, ImageUnreadable):
        raise
    except Exception as error:  # noqa: BLE001 - see `opened`; raised again below
        failure = _unreadable(sniff.require_media_type(data), error)
        image.close()
    else:
        return LoadedPicture(image, size, (0, 0, *image.size), truncated=False)

    def again(content: bytes) -> Image.Image:
        once_more = opened(content, limits)
        prepare(once_more)
        return once_more

    rescued = rescue.rescue(data, again)
    if rescued is None:
        try:
            raise failure
        finally:
            del failure  # it knows this frame, and the frame the pixels: a circle
    image, box = rescued.image, rescued.box
    return LoadedPicture(image, size, box, truncated=rescued.truncated)


def _too_many_pixels(kind: str, limits: sniff.Limits) -> ImageUnreadable:
    """Return the refusal of what the header did not tell; Pillow's words name another limit."""
    return ImageUnreadable(
        f"{kind}: a frame of more pixels than the limit of {limits.max_pixels}",
        reason="too_many_pixels",
    )


def _unreadable(kind: str, error: Exception) -> ImageUnreadable:
    text = str(error)
    reason = "truncated" if "truncated" in text.lower() else "corrupt"
    if isinstance(error, UnidentifiedImageError):
        text = "the library does not recognise it"  # Pillow's message has a memory address
    return ImageUnreadable(f"{kind}: {type(error).__name__}: {text}", reason=reason)
