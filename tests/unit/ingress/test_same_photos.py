"""What the report on the same photos keeps others from, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.transaction import Transaction
from ingress.reading import same_photos
from tests.fakes.transactions import NoTransaction

ONE_REPORT = ["taken", "hashes", "given back", "taken", "pairs", "given back"]


class Database(NoTransaction):
    """Two photos that look alike; notes what its connections are used for."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        self.events.append("taken")
        yield self
        self.events.append("given back")

    def transaction(self) -> Any:
        raise AssertionError("nothing is written")

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        await asyncio.sleep(0)  # another report's turn, if it may
        if isinstance(args[0], list):
            self.events.append("pairs")
            return []
        self.events.append("hashes")
        ids = b"".join(number.to_bytes(4, "big") for number in (1, 2))
        return [{"ids": ids, "hashes": (5).to_bytes(8, "big") * 2, "images": 2}]


async def test_no_connection_is_held_while_hashes_are_compared() -> None:
    database = Database()

    await same_photos.find(database, asyncio.Lock(), owner=None, after=0, limit=10)

    assert database.events == ONE_REPORT


async def test_one_report_is_made_at_a_time() -> None:
    database, turn = Database(), asyncio.Lock()

    await asyncio.gather(
        *(same_photos.find(database, turn, owner=None, after=0, limit=10) for _ in range(3))
    )

    assert database.events == ONE_REPORT * 3
