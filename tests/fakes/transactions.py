"""A transaction without a database, for roles whose tables are fakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class NoTransaction:
    """Satisfies `core.transaction.Transaction`; a statement on it is a bug of the test."""

    async def execute(self, query: str, *args: Any) -> str:
        raise AssertionError(query)

    async def executemany(self, command: str, args: Any) -> None:
        raise AssertionError(command)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        raise AssertionError(query)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        raise AssertionError(query)

    async def fetchval(self, query: str, *args: Any) -> Any:
        raise AssertionError(query)


@asynccontextmanager
async def no_transaction() -> AsyncIterator[NoTransaction]:
    """Yield a transaction in place of the pool's `transaction()`."""
    yield NoTransaction()


class NoDatabase:
    """A double of the pool."""

    transaction = staticmethod(no_transaction)
    connection = staticmethod(no_transaction)
