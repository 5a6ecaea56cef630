"""Requests as they leave: headers in ASCII, the body whole or in pieces."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import httpx

from core.egress.targets import Target

DEFAULT_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",  # no decompression bombs
    "user-agent": "photo-archive",
}
# Larger bodies are sent in pieces: aiohttp 3.14 writes bytes whole, copied behind the headers, and
# TLS would encrypt them on the event loop in one go. Smaller bodies are sent whole, since each
# piece costs a turn of the event loop.
WHOLE_BYTES = 512 * 1024
CHUNK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """A request to a target that the policy lets pass.

    Attributes:
        timeout_s: for all of it.
        body_s: for what comes after the headers; None: what is left of `timeout_s`.
    """

    method: str
    target: Target
    timeout_s: float
    body_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


def request_of(call: OutgoingCall, url: httpx.URL, *, connect_timeout_s: float) -> httpx.Request:
    """Return a request. From `content` httpx would derive headers that aiohttp writes.

    Args:
        call: what is asked for.
        url: the target's, parsed.
        connect_timeout_s: for a connection, where none is kept.
    """
    headers = dict(call.headers)
    stream: httpx.ByteStream | _Pieces = httpx.ByteStream(call.content)
    if len(call.content) > WHOLE_BYTES:
        headers["content-length"] = str(len(call.content))
        stream = _Pieces(call.content)
    request = httpx.Request(
        call.method,
        url,
        headers=headers,
        stream=stream,
        extensions={"timeout": {"connect": connect_timeout_s}},
    )
    request.headers.encoding = "ascii"  # as they were encoded: else each reader tries it out
    if isinstance(stream, httpx.ByteStream):
        request.read()  # so that it goes out whole
    return request


@dataclass(frozen=True, slots=True)
class _Pieces(httpx.AsyncByteStream):
    content: bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), CHUNK_BYTES):
            yield self.content[start : start + CHUNK_BYTES]
