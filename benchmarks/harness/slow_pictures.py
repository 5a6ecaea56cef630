"""Pictures that cost more than they look: files of a few kilobytes, each distinct."""

import io

from PIL import Image

SIDE = 6000
SCANS = 2600
#: Longest side that the archive accepts.
LONGEST = 30_000
_START_OF_SCAN, _END = b"\xff\xda", b"\xff\xd9"


def many_scans(number: int, scans: int = SCANS) -> bytes:
    """Return a progressive JPEG whose last scan stands there again and again.

    It is a scan that says nothing new about the picture; a decoder walks over all of it each time.
    """
    target = io.BytesIO()
    Image.new("L", (SIDE, SIDE), number % 256).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    last = data[data.rindex(_START_OF_SCAN) : -len(_END)]
    return _marked(data[: -len(_END)] + last * scans + _END, number)


def narrow(number: int) -> bytes:
    """Return a grey PNG, one pixel high."""
    target = io.BytesIO()
    Image.new("L", (LONGEST - number, 1), number % 256).save(target, "PNG")
    return target.getvalue()


def _marked(data: bytes, number: int) -> bytes:
    """Return a JPEG with a comment, so that no two are the same bytes."""
    comment = f"picture {number}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
