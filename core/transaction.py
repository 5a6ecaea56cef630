"""The small part of a database transaction that roles may use."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Transaction(Protocol):
    """An open PostgreSQL transaction; an asyncpg connection inside one satisfies it.

    Statements use `$1`-style parameters. Rows behave as mappings and as sequences. Values are
    `Any` because SQL gives what it gives: the caller in `core.storage` names the types.
    """

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement; give its command tag."""
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
