"""A bound on the bytes of bodies in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

#: Returns once so many bytes may be read. Called at most once per attempt, before reading.
Reserve = Callable[[int], Awaitable[None]]


class Budget:
    """A bound on the bytes in flight; an attempt that needs more than all of it goes alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._changed = asyncio.Condition()

    def hold(self) -> "Hold":
        """Return the share of one attempt: nothing at first, given back at the end of its block."""
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
    """The share of the budget that one attempt holds. An async context manager."""

    _budget: Budget
    taken: int = 0

    async def __aenter__(self) -> Self:
        """Begin with an empty share."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the share."""
        if self.taken:
            await self.settle(0)

    async def reserve(self, size: int) -> None:
        """Return once so many bytes may be brought into memory.

        Once per attempt. Reserving twice could deadlock: each attempt would wait for bytes that the
        others hold.
        """
        if self.taken:
            raise RuntimeError("an attempt reserves once, before it reads")
        await self._budget._take(self, size)  # noqa: SLF001 - one thing in two classes

    async def settle(self, size: int) -> None:
        """Correct the share to the real size, without waiting: the bytes are in memory already."""
        await self._budget._change(self, size)  # noqa: SLF001 - as above
