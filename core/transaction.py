"""The small part of a database that roles and routes may use."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Transaction(Protocol):
    """An open PostgreSQL transaction; an asyncpg connection inside one satisfies it.

    Statements use `$1`-style parameters. Rows behave as mappings and as sequences. Values are
    `Any` because SQL gives what it gives: the caller in `core.storage` names the types.
    """

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement; return its command tag."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per argument row."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        """Return the first row, or None."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        ...


class Database(Protocol):
    """Connections to PostgreSQL, as `core.storage.pool.Pool` opens them."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: the end of the block commits it, an error rolls it back.

        Raises:
            DatabaseAway: PostgreSQL is away; the commit may or may not have happened.
        """
        ...

    def connection(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a connection outside a transaction: each statement is its own.

        It saves two round trips for a statement that only reads.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        ...
