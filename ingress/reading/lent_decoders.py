"""Decoder processes that are there while somebody needs them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import ConfigurationError, PermanentError, TransientError
from core.tags import Postponed, ThumbSize
from core.vision.decoding.pool.answers import OutgoingCopy

#: A worker has some 40 MB and starts in a sixth of a second: it is worth keeping while people look
#: through photos, and not overnight.
IDLE_S = 60.0


class ThumbDecoder(Protocol):
    """Makes thumbnails: `core.vision.decoding.decoder.DecodePool`."""

    async def thumb_soon(
        self, data: bytes, size: ThumbSize
    ) -> OutgoingCopy | PermanentError | Postponed:
        """Return a thumbnail, unless the picture exceeds its share."""
        ...


@dataclass(slots=True)
class LentDecoders:
    """A decoder that is opened when it is needed, and closed when it idles.

    Attributes:
        open: opens it.
        idle_s: how long it idles before it is closed.
        is_open: whether it is there.
    """

    open: Callable[[], AbstractAsyncContextManager[ThumbDecoder]]
    idle_s: float = IDLE_S
    _decoder: ThumbDecoder | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _busy: int = 0
    _timer: asyncio.TimerHandle | None = None
    _closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the decoder is there."""
        return self._decoder is not None

    async def thumb_soon(
        self, data: bytes, size: ThumbSize
    ) -> OutgoingCopy | PermanentError | Postponed:
        """As `ThumbDecoder.thumb_soon`.

        Raises:
            TransientError: no decoder can be started.
        """
        self._busy += 1
        try:
            return await (await self._opened()).thumb_soon(data, size)
        finally:
            self._busy -= 1
            self._rest()

    async def close(self) -> None:
        """End the decoder, if it is there; whoever uses it gets a TransientError."""
        if self._timer is not None:
            self._timer.cancel()
        async with self._lock:
            await self._end()

    async def _opened(self) -> ThumbDecoder:
        async with self._lock:
            if self._decoder is None:
                try:
                    self._decoder = await self._stack.enter_async_context(self.open())
                except ConfigurationError as error:  # the machine may have memory again later
                    raise TransientError(f"no decoder starts: {error}") from error
            return self._decoder

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.idle_s, self._begin_closing)

    def _begin_closing(self) -> None:
        self._closing = asyncio.create_task(self._close_if_idle())

    async def _close_if_idle(self) -> None:
        async with self._lock:
            if not self._busy:
                await self._end()

    async def _end(self) -> None:
        self._decoder = None
        await self._stack.aclose()
