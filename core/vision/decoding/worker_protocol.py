"""The protocol of decode pool and workers: frames of a JSON head and a binary body.

It is JSON and raw bytes, never pickle: a worker that a hostile picture has taken over must not be
able to execute code in the parent.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

#: Lengths of head and body.
PREFIX = struct.Struct(">IQ")
MAX_HEAD_BYTES = 64 * 1024
#: A copy may be larger than its source, a PNG made of a small AVIF, say.
MAX_COPY_BYTES = 128 * 1024 * 1024
#: A thumbnail of noise, as large as they get, has half of that.
MAX_THUMB_BYTES = 2 * 1024 * 1024
#: Sides of a grey picture that may be a page of text; a line of ten point on A4 has five rows.
PAGE_SHORT_SIDE, PAGE_LONG_SIDE = 256, 1024
#: Longest name of a camera that is kept; real ones have up to 50 characters.
MAX_CAMERA_CHARS = 100
#: Where the time of the shot may come from, the most trusted first.
EXIF_SOURCES = ("DateTimeOriginal", "DateTimeDigitized", "ModifyDate", "XMP", "IPTC", "GPS")
#: Rows and columns of the grey picture that the perceptual hash is made of.
GREY_SIDE = 32

Head = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The form of pixels that the model takes.

    Attributes:
        height: rows of the result.
        width: columns of the result.
        resize_mode: as in open_clip: `shortest` side to size and centre crop, `longest` side to
            size and padding, or `squash`.
        interpolation: `bicubic` or `bilinear`.
        fill: grey value of the padding in `longest`.
        fast: scaled JPEG decoding and a box filter before the resampling; else bit by bit what
            open_clip's own transform gives.
    """

    height: int = 224
    width: int = 224
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0
    fast: bool = True


class WireBroken(Exception):
    """The other side has closed or violates the protocol."""


def pack(head: Head, body_bytes: int) -> bytes:
    """Return the beginning of a frame; the body follows as it is."""
    text = json.dumps(head).encode()
    return PREFIX.pack(len(text), body_bytes) + text


def unpack_prefix(prefix: bytes | bytearray, max_body_bytes: int) -> tuple[int, int]:
    """Return the lengths of head and body.

    Raises:
        WireBroken: a length is over its bound.
    """
    head_bytes, body_bytes = PREFIX.unpack(prefix)
    if head_bytes > MAX_HEAD_BYTES or body_bytes > max_body_bytes:
        raise WireBroken(f"frame of {head_bytes} + {body_bytes} bytes, limit {max_body_bytes}")
    return head_bytes, body_bytes


def unpack_head(text: bytes | bytearray) -> Head:
    """Return the head.

    Raises:
        WireBroken: it is no JSON object.
    """
    try:
        head = json.loads(text)
    except ValueError as error:
        raise WireBroken(f"head of {len(text)} bytes is no JSON") from error
    if not isinstance(head, dict):
        raise WireBroken(f"head is {type(head).__name__}")
    return head
