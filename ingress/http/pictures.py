"""Pictures as responses: the media type is found in the bytes, and nothing in them can run."""

from collections.abc import Callable

from starlette.responses import Response

from core.errors import ImageUnreadable
from core.storage.archive.images import ImageStatus
from core.vision.decoding.sniff import SniffedPicture

#: Pictures that browsers show; others are offered as a download.
_INLINE = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"})
# No script runs, even if a browser takes the bytes for SVG or HTML.
_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
_UNKNOWN = "application/octet-stream"


def picture_response(
    content: bytes, image: ImageStatus, probe: Callable[[bytes], SniffedPicture]
) -> Response:
    """Return the bytes of an image as a response.

    The media type comes from the bytes, never from the uploader: a file that is valid in two
    formats must not be served as the other one.
    """
    media_type = _media_type(content, probe)
    kind = "inline" if media_type in _INLINE else "attachment"
    headers = {
        "Content-Disposition": f"{kind}; filename={image.image_id}",
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "private, max-age=300",
    }
    etag = etag_of(image)
    return Response(
        content, media_type=media_type, headers=headers | ({"ETag": etag} if etag else {})
    )


def etag_of(image: ImageStatus) -> str | None:
    """Return the entity tag of the bytes; None for files, whose bytes may change."""
    return f'"{image.sha256.hex()}"' if image.sha256 and image.uri.startswith("blob:") else None


def _media_type(content: bytes, probe: Callable[[bytes], SniffedPicture]) -> str:
    try:
        return probe(content).media_type
    except ImageUnreadable:
        return _UNKNOWN  # bytes that cannot be read as a picture are still returned
