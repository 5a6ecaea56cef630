"""The square that the model sees, cut out of a picture and resized as open_clip does."""

from PIL import Image

from core.vision.decoding.worker_protocol import PixelFormat

_HOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# Up to here open_clip's own order is kept, the whole picture first and then the crop, bit by bit;
# beyond, a strip of a pixel's height would be enlarged to gigabytes that the crop throws away.
_WHOLE_FIRST = 4


def whole_square(image: Image.Image, form: PixelFormat) -> Image.Image:
    """Return the square of a full-size picture, with open_clip's bits up to 4 : 1."""
    width, height = resized(*image.size, form)
    if width * height > _WHOLE_FIRST * form.width * form.height:
        return square(image, image.size, form, image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), _HOW[form.interpolation])
    left, top, right, bottom = _crop(width, height, form)
    return _padded(image.crop((left, top, right, bottom)), form)


def square(
    image: Image.Image,
    extent: tuple[float, float],
    form: PixelFormat,
    source: tuple[int, int],
) -> Image.Image:
    """Return the square, with nothing resized but what is in it; the filter's margin is read.

    Args:
        image: the picture, perhaps reduced.
        extent: its size in its own pixels, not rounded up.
        form: what the model wants.
        source: its full size. Sizes are worked out from it: from the rounded sides of a reduced
            picture the longer side can come out a pixel off, and the crop would move.
    """
    width, height = resized(*source, form)
    left, top, right, bottom = _crop(width, height, form)
    across, down = extent[0] / width, extent[1] / height
    box = (
        left * across,
        top * down,
        min(right * across, image.width),
        min(bottom * down, image.height),
    )
    shown = image.resize((right - left, bottom - top), _HOW[form.interpolation], box=box)
    return _padded(shown, form)


def seen(size: tuple[int, int], form: PixelFormat) -> tuple[float, float, float, float]:
    """Return the part of a picture that the model sees: left, top, right, bottom."""
    width, height = size
    if form.resize_mode != "shortest":
        return 0.0, 0.0, float(width), float(height)
    ratio = min(width / form.width, height / form.height)
    left, top = (width - ratio * form.width) / 2, (height - ratio * form.height) / 2
    return left, top, width - left, height - top


def resized(width: int, height: int, form: PixelFormat) -> tuple[int, int]:
    """Return the size of the whole picture before the crop, as open_clip 3.3 works it out."""
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


def _crop(width: int, height: int, form: PixelFormat) -> tuple[int, int, int, int]:
    """Return the part around the centre that fits into the form."""
    left = round(max(0, width - form.width) / 2.0)
    top = round(max(0, height - form.height) / 2.0)
    return left, top, min(width, left + form.width), min(height, top + form.height)


def _padded(image: Image.Image, form: PixelFormat) -> Image.Image:
    """Return a picture that is too small on a ground of the form's size."""
    width, height = image.size
    if (width, height) == (form.width, form.height):
        return image
    fill = form.fill if form.resize_mode == "longest" else 0
    bands = len(image.getbands())
    ground = Image.new(
        image.mode, (form.width, form.height), (fill,) * bands if bands > 1 else fill
    )
    ground.paste(image, (max(0, (form.width - width) // 2), max(0, (form.height - height) // 2)))
    return ground
