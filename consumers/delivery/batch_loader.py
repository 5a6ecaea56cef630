"""Combine concurrent lookups into one.

While a lookup runs, further keys are collected for the next one. There is no timer, and the slower
the database, the more webhooks share a round trip.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class BatchLoader(Generic[KeyT, ValueT]):
    """Return what `look_up` finds for one key, asking it for many at a time.

    Attributes:
        look_up: values by key; keys without one are absent.
    """

    look_up: Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, ValueT]]]
    _wanted: "dict[KeyT, asyncio.Future[ValueT | None]]" = field(default_factory=dict)
    _running: "asyncio.Task[None] | None" = None

    async def get(self, key: KeyT) -> ValueT | None:
        """Return the value as it is now, never one that was looked up before this call.

        Raises:
            Exception: whatever `look_up` raised; everyone who waited for that lookup gets it.
        """
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(future)  # one cancelled waiter must not cancel the others

    async def _run(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._answer(wanted)
        finally:
            self._running = None

    async def _answer(self, wanted: "Mapping[KeyT, asyncio.Future[ValueT | None]]") -> None:
        try:
            found = await self.look_up(list(wanted))
        except Exception as error:  # noqa: BLE001  # not swallowed: `get` raises it
            for future in wanted.values():
                future.set_exception(error)
                future.exception()  # retrieved, since all waiters may have been cancelled
            return
        for key, future in wanted.items():
            future.set_result(found.get(key))
