"""Which pictures may be pages of text. Runs in the decoder's process, which has no numpy."""

from PIL import Image

from core.vision.decoding.worker_protocol import PAGE_LONG_SIDE, PAGE_SHORT_SIDE

#: Paper is what is at least so bright, as a share of nearly the brightest of the picture; a lamp
#: from the side leaves more than this on the dark half of a page.
_PAPER = 0.6
#: Nearly the brightest: so much is not brighter. The brightest may be a reflection.
_BRIGHTEST = 0.95
#: Paper covers at least so much of a page, ink included: between lines and letters it shines
#: through in a picture of 32 pixels.
_LEAST_PAPER = 0.8
#: Nearly the brightest of a page is not darker.
_LEAST_BRIGHT = 96


def page_in(picture: Image.Image, squeezed: Image.Image) -> Image.Image | None:
    """Return a grey picture as a page that `lines.text_lines` reads; None where it can't be one.

    Nothing is enlarged: lines of a smaller picture can't be told apart.

    Args:
        picture: in grey, whole, upright.
        squeezed: the same, much smaller: by it most photos are told from pages in 20 µs.
    """
    short = min(picture.size)
    if short < PAGE_SHORT_SIDE or not _is_bright(squeezed):
        return None
    width, height = (round(side * PAGE_SHORT_SIDE / short) for side in picture.size)
    if max(width, height) > PAGE_LONG_SIDE:
        return None
    size, factor = (width, height), short // PAGE_SHORT_SIDE
    smaller = picture.reduce(factor) if factor > 1 else picture
    return smaller if smaller.size == size else smaller.resize(size, Image.Resampling.BILINEAR)


def _is_bright(squeezed: Image.Image) -> bool:
    """Return whether nearly all of a picture is about as bright as its brightest."""
    levels = sorted(squeezed.tobytes())
    brightest = levels[int(len(levels) * _BRIGHTEST)]
    dark = levels[int(len(levels) * (1 - _LEAST_PAPER))]
    return brightest >= _LEAST_BRIGHT and dark >= _PAPER * brightest
