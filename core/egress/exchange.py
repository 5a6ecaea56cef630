"""Results of requests, and reading of a streamed answer up to a cap."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import httpx

from core.egress.kept_headers import kept_headers

KEPT_HEADERS = ("retry-after", "webhook-delivery", "content-type")
MAX_HEADER_CHARS = 256  # they go into rows and logs


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer: the status decides, the rest is for schedule and diagnosis.

    `body_complete` is false where the body was cut: by the cap, by the deadline, or by its sender.

    Attributes:
        headers: those that decide what follows.
        all_headers: for people to see: bounded, without secrets.
        times_ms: `dns`, `connect`, `tls` where there were such steps, and `wait`.
    """

    status: int
    headers: Mapping[str, str]
    body_excerpt: bytes
    body_complete: bool
    took_ms: float
    remote_address: str
    all_headers: Sequence[tuple[str, str]] = ()
    times_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Download:
    """A fetched resource; `complete` is False where it exceeds the limit and `body` is cut."""

    status: int
    content_type: str
    body: bytes
    complete: bool


@dataclass(slots=True)
class Reading:
    """The data received so far, which is kept when a deadline or an error ends the reading."""

    limit: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    all_headers: tuple[tuple[str, str], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    async def take(self, response: httpx.Response) -> None:
        """Read status, some headers and at most `limit` bytes of the body, never decompressed."""
        self.status = response.status_code
        present = {name.lower() for name, _ in response.headers.raw}
        for name in KEPT_HEADERS:
            if name.encode() in present:
                self.headers[name] = response.headers[name][:MAX_HEADER_CHARS]
        self.all_headers = kept_headers(response.headers.raw)
        body = cast("httpx.AsyncByteStream", response.stream)
        # The stream itself: `aiter_raw` counts and cuts on top, for a third of the reading's time.
        # A generator by httpx-aiohttp 0.2; left half-read it must be closed by hand.
        stream = cast("AsyncGenerator[bytes, None]", aiter(body))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                room = self.limit - len(self.body)
                self.body += chunk[:room]
                if len(chunk) > room:
                    return
        self.complete = True

    def exchange(
        self, *, took_ms: float, remote_address: str, times_ms: Mapping[str, int]
    ) -> Exchange:
        """Return the answer as a value; only after a status has arrived."""
        return Exchange(
            status=self.status or 0,
            headers=MappingProxyType(self.headers),
            body_excerpt=bytes(self.body),
            body_complete=self.complete,
            took_ms=took_ms,
            remote_address=remote_address,
            all_headers=self.all_headers,
            times_ms=times_ms,
        )

    def download(self) -> Download:
        """Return the resource as a value; only after the reading ended by itself or at the cap."""
        return Download(
            status=self.status or 0,
            content_type=self.headers.get("content-type", ""),
            body=bytes(self.body),
            complete=self.complete,
        )
