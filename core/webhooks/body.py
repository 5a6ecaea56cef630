"""The bytes of a webhook's body: compact UTF-8 JSON, with the image inserted as base64.

A body is made once per attempt, its base64 once per picture: one picture answers many queries, and
encoding it takes longer than the rest of the body. Signatures cover exactly these bytes.
"""

import asyncio
import binascii
from secrets import token_hex

from pydantic import BaseModel

from schemas.webhook import OperatorBody, WebhookBody

# Below this, base64 takes under 1 ms; above, it leaves the event loop.
OFF_LOOP_BYTES = 256 * 1024
# A multiple of three, so that the pieces join without padding. binascii holds the interpreter's
# lock during one call: pieces let the loop have its turns.
_PIECE_BYTES = 3 * 64 * 1024


async def encode_image(content: bytes) -> bytes:
    """Return an image's bytes as base64; of large ones off the event loop."""
    if len(content) <= OFF_LOOP_BYTES:
        return binascii.b2a_base64(content, newline=False)
    return await asyncio.to_thread(_in_pieces, content)


def build_body(body: WebhookBody, image_base64: bytes | None = None) -> bytes:
    """Return the body as it is sent; `image_base64` stands as `data.image.base64`.

    Fields without a value are omitted. The base64 replaces a placeholder in the JSON, which needs
    no escapes for it, so that the encoder does not process megabytes of text.

    Raises:
        ValueError: an image for a body whose `data.image` is missing.
    """
    if image_base64 is None:
        return _dump(body)
    if body.data.image is None:
        raise ValueError("bytes of an image were given for an answer without one")
    mark = token_hex(16)  # random, so that no query's text contains it
    marked_image = body.data.image.model_copy(update={"base64": mark})
    marked_data = body.data.model_copy(update={"image": marked_image})
    text = _dump(body.model_copy(update={"data": marked_data}))
    before, _, after = text.partition(mark.encode())
    return b"".join((before, image_base64, after))


def build_operator_body(body: OperatorBody) -> bytes:
    """Return the body of an operator event's webhook as it is sent."""
    return _dump(body)


def _in_pieces(content: bytes) -> bytes:
    view = memoryview(content)
    return b"".join(
        binascii.b2a_base64(view[start : start + _PIECE_BYTES], newline=False)
        for start in range(0, len(content), _PIECE_BYTES)
    )


def _dump(body: BaseModel) -> bytes:
    return body.model_dump_json(exclude_none=True).encode()
