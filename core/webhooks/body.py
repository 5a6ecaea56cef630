"""The bytes of a webhook's body: compact UTF-8 JSON, the image spliced in as base64.

Made once per answer: signatures cover exactly these bytes, over all attempts.
"""

import asyncio
import binascii
from secrets import token_hex

from schemas.webhook import WebhookBody

# Below this, base64 and joining take under 1 ms; above, they leave the event loop.
OFF_LOOP_BYTES = 256 * 1024
# A multiple of three, so that the pieces join without padding. binascii holds the interpreter's
# lock during one call: pieces let the loop have its turns.
_PIECE_BYTES = 3 * 64 * 1024


async def build_body(body: WebhookBody, image: bytes | None = None) -> bytes:
    """The body as it is sent; with `image`, its bytes stand as `data.image.base64`.

    Fields without a value are left out. Large images are encoded off the event loop.

    Raises:
        ValueError: an image for a body whose `data.image` is missing.
    """
    if image is None:
        return _dump(body)
    if body.data.image is None:
        raise ValueError("bytes of an image were given for an answer without one")
    if len(image) <= OFF_LOOP_BYTES:
        return _with_image(body, image)
    return await asyncio.to_thread(_with_image, body, image)


def _with_image(body: WebhookBody, image: bytes) -> bytes:
    """Splice base64 in place of a mark: JSON needs no escapes for it, so megabytes of text are
    neither decoded nor scanned by the encoder.
    """  # noqa: D205  # one sentence
    if body.data.image is None:
        raise ValueError("bytes of an image were given for an answer without one")
    mark = token_hex(16)
    marked_image = body.data.image.model_copy(update={"base64": mark})
    marked_data = body.data.model_copy(update={"image": marked_image})
    text = _dump(body.model_copy(update={"data": marked_data}))
    before, _, after = text.partition(mark.encode())
    return b"".join((before, *_base64_pieces(image), after))


def _base64_pieces(content: bytes) -> list[bytes]:
    view = memoryview(content)
    return [
        binascii.b2a_base64(view[start : start + _PIECE_BYTES], newline=False)
        for start in range(0, len(content), _PIECE_BYTES)
    ]


def _dump(body: WebhookBody) -> bytes:
    return body.model_dump_json(exclude_none=True).encode()
