"""Bytes kept in PostgreSQL: table `blobs`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.transaction import Database, Transaction

_SIZE = "SELECT size_bytes FROM blobs WHERE sha256 = $1"
_READ = "SELECT content FROM blobs WHERE sha256 = $1"
# Makes the bytes young again, and holds the row against the pruner until the caller commits.
_TOUCH = "UPDATE blobs SET created_at = now() WHERE sha256 = $1 RETURNING true"
_PUT = """
INSERT INTO blobs (sha256, size_bytes, content) VALUES ($1, $2, $3)
ON CONFLICT (sha256) DO UPDATE SET created_at = now()
"""


async def put(tx: Transaction, digest: bytes, content: bytes) -> None:
    """Keep bytes under their SHA-256; bytes that are kept already become young again."""
    # First without the bytes: most of what is sent twice would be sent for nothing.
    if not await tx.fetchval(_TOUCH, digest):
        await tx.execute(_PUT, digest, len(content), content)


class PostgresBlobs:
    """Bytes under their SHA-256 in table `blobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def size(self, digest: bytes) -> int | None:
        """Return how many bytes are kept; None where nothing is."""
        async with self._database.connection() as connection:
            size: int | None = await connection.fetchval(_SIZE, digest)
            return size

    async def read(self, digest: bytes) -> bytes | None:
        """Return the bytes; None where nothing is kept."""
        async with self._database.connection() as connection:
            content: bytes | None = await connection.fetchval(_READ, digest)
            return content

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        """Keep bytes, in `tx` or at once; does nothing where they are kept."""
        async with self._in(tx) as open_tx:
            await put(open_tx, digest, content)

    @asynccontextmanager
    async def _in(self, tx: Transaction | None) -> AsyncIterator[Transaction]:
        if tx is not None:
            yield tx
            return
        async with self._database.transaction() as own:
            yield own
