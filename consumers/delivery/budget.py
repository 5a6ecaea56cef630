"""How many bytes of bodies may be in memory at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

#: Waits until so many bytes may be read. To be called at most once per attempt, before reading.
Reserve = Callable[[int], Awaitable[None]]


class Budget:
    """Bounds the bytes in flight; an attempt that needs more than all of it goes alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._changed = asyncio.Condition()

    @property
    def used_bytes(self) -> int:
        """How much is taken."""
        return self._used

    def hold(self) -> "Hold":
        """A share of one attempt, nothing at first; given back at the end of its block."""
        return Hold(self)

    async def _take(self, held: "Hold", size: int) -> None:
        wanted = min(size, self._limit)
        async with self._changed:
            await self._changed.wait_for(lambda: self._used + wanted <= self._limit)
            self._used += wanted
            held.taken = wanted

    async def _change(self, held: "Hold", size: int) -> None:
        async with self._changed:
            self._used += size - held.taken
            held.taken = size
            self._changed.notify_all()


@dataclass(slots=True)
class Hold:
    """What one attempt has taken of the budget. An async context manager."""

    _budget: Budget
    taken: int = 0

    async def __aenter__(self) -> Self:
        """Begin with nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give back what was taken."""
        if self.taken:
            await self.settle(0)

    async def reserve(self, size: int) -> None:
        """Wait until so many bytes may be brought into memory.

        Once per attempt: one that waited with a share in its hands would bar those it waits for.
        """
        if self.taken:
            raise RuntimeError("an attempt reserves once, before it reads")
        await self._budget._take(self, size)  # noqa: SLF001 - one thing in two classes

    async def settle(self, size: int) -> None:
        """Hold what there really is. Never waits for room: it is in memory already."""
        await self._budget._change(self, size)  # noqa: SLF001 - as above
