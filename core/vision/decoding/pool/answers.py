"""What a decoder's answer may say: one that was taken over may say anything."""

import re
from datetime import datetime

from core.errors import ImageUnreadable
from core.vision.decoding import worker_protocol
from core.vision.decoding.metadata import moments

_REASON = re.compile(r"[a-z_]{1,40}")


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
