"""What a decoder answers, and what it may say: one that was taken over may say anything."""

import re
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from core.errors import ImageUnreadable, PermanentError
from core.vision.decoding import worker_protocol
from core.vision.decoding.metadata import moments
from core.vision.decoding.metadata.names import camera_name
from core.vision.decoding.perceptual import perceptual_hash
from core.vision.decoding.worker_protocol import PAGE_LONG_SIDE, PAGE_SHORT_SIDE
from core.vision.decoding.writing.lines import text_lines

_REASON = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as the model sees it.

    Attributes:
        pixels: uint8, (height, width, 3), RGB.
        media_type: the media type of the bytes.
        width: of the source as seen, after EXIF orientation.
        height: of the source as seen.
        sha256: of the source's bytes.
        exif_datetime: time of the shot as written, without zone.
        exif_source: the field that it comes from, one of `worker_protocol.EXIF_SOURCES`.
        camera: maker and model, at most 100 characters.
        perceptual_hash: see `perceptual.perceptual_hash`; the same whatever engine comes next.
        truncated: whether the file ends before the picture does; the pixels show what there is.
        colour: mean of the picture in sRGB, 0xRRGGBB.
        thumb: a small JPEG of the picture (`thumbnail.small`).
        text_lines: see `writing.lines.text_lines`; None: no page of text.
    """

    pixels: NDArray[np.uint8]
    media_type: str
    width: int
    height: int
    sha256: bytes
    exif_datetime: datetime | None
    camera: str | None = None
    perceptual_hash: int | None = None
    truncated: bool = False
    exif_source: str | None = None
    colour: int | None = None
    thumb: bytes = field(default=b"", repr=False)
    text_lines: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutgoingCopy:
    """An encoded picture made from another."""

    media_type: str
    data: bytes


def refusal(head: worker_protocol.Head) -> ImageUnreadable:
    """Return the error in an answer, as text that a database takes and a reason that is a code."""
    text = str(head["error"]).encode("utf-8", "replace").decode().replace("\0", "")
    reason = str(head.get("reason"))
    return ImageUnreadable(text, reason=reason if _REASON.fullmatch(reason) else "decoder_crashed")


def time_of_shot(moment: object, source: object) -> tuple[datetime | None, str | None]:
    """Return the time of the shot and where it stood.

    Raises:
        ValueError: no such time, or no such place.
    """
    if moment is None:
        return None, None
    taken = datetime.fromisoformat(str(moment))
    if source not in worker_protocol.EXIF_SOURCES or not moments.plausible(taken):
        raise ValueError(f"time of the shot {moment!r} by {source!r}")
    return taken, str(source)


def decoded(
    head: worker_protocol.Head, body: bytearray, form: worker_protocol.PixelFormat
) -> Decoded:
    """Return the picture in an answer.

    Raises:
        KeyError, TypeError, ValueError: there is none in it.
    """
    # A worker that was taken over may say anything; what is kept must be a time and printable.
    pixels = form.height * form.width * 3
    taken, source = time_of_shot(head["exif_datetime"], head["exif_source"])
    page = _page(head, body, pixels)
    return Decoded(
        pixels=np.frombuffer(body, np.uint8, pixels).reshape(form.height, form.width, 3),
        media_type=str(head["media_type"]),
        width=int(head["width"]),
        height=int(head["height"]),
        sha256=bytes.fromhex(head["sha256"]),
        exif_datetime=taken,
        exif_source=source,
        camera=camera_name("", head["camera"]),
        perceptual_hash=perceptual_hash(bytes.fromhex(head["grey"])),
        truncated=bool(head["truncated"]),
        colour=int.from_bytes(bytes.fromhex(head["colour"])[:3], "big"),
        thumb=bytes(memoryview(body)[pixels + page.size :]),
        text_lines=text_lines(page) if page.size else None,
    )


def has_page(head: worker_protocol.Head) -> bool:
    """Return whether a picture may be a page of text.

    Raises:
        KeyError: the answer does not say.
    """
    return bool(tuple(head["page"]) != (0, 0))


def _page(head: worker_protocol.Head, body: bytearray, at: int) -> NDArray[np.uint8]:
    """Return the grey page in an answer, (rows, columns); an empty one where there is none."""
    if not has_page(head):
        return np.empty((0, 0), np.uint8)
    width, height = map(int, head["page"])
    if min(width, height) != PAGE_SHORT_SIDE or max(width, height) > PAGE_LONG_SIDE:
        raise ValueError(f"a page of {width} x {height}")
    return np.frombuffer(body, np.uint8, width * height, at).reshape(height, width)


def copy_in(
    answer: tuple[worker_protocol.Head, bytearray] | PermanentError,
) -> OutgoingCopy | PermanentError:
    """Return the copy in an answer."""
    if isinstance(answer, PermanentError):
        return answer
    return OutgoingCopy(str(answer[0].get("media_type")), bytes(answer[1]))
