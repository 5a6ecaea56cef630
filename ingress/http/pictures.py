"""Handing pictures out: with a type of our own, and nothing that could run."""

from contextlib import ExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.errors import ImageUnreadable
from core.storage.archive.images import ImageStatus
from ingress.ports import Prober

#: Pictures that browsers show themselves; the rest is offered as a download.
_INLINE = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"})
# A picture is shown, never run: even an SVG or HTML that a sniffer took for one.
_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
_UNKNOWN = "application/octet-stream"


class PictureResponse(Response):
    """The bytes of an image; what is held for them is let go when they are sent.

    The media type is what the bytes say, never what the uploader said: a file that is two formats
    at once must not be served as the other one.
    """

    def __init__(self, content: bytes, image: ImageStatus, prober: Prober, held: ExitStack) -> None:
        media_type = _media_type(content, prober)
        kind = "inline" if media_type in _INLINE else "attachment"
        headers = {
            "Content-Disposition": f"{kind}; filename={image.image_id}",
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "private, max-age=300",
        }
        etag = etag_of(image)
        super().__init__(
            content, media_type=media_type, headers=headers | ({"ETag": etag} if etag else {})
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with self._held:
            await super().__call__(scope, receive, send)


def etag_of(image: ImageStatus) -> str | None:
    """Return what names the bytes; None where they may change under the same name, as files do."""
    return f'"{image.sha256.hex()}"' if image.sha256 and image.uri.startswith("blob:") else None


def _media_type(content: bytes, prober: Prober) -> str:
    try:
        return prober.probe(content).media_type
    except ImageUnreadable:
        return _UNKNOWN  # what failed to be tagged is still handed back
