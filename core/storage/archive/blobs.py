"""Bytes kept in PostgreSQL: table `blobs`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from core.errors import ImageMissing, ImageUnreadable
from core.transaction import Database, Transaction

# Too large ones stay where they are.
_READ = """
SELECT size_bytes, CASE WHEN size_bytes <= $2 THEN content END AS content
FROM blobs WHERE sha256 = $1
"""
# Resets the age of the bytes, and locks the row against the pruner until the caller commits.
_TOUCH = "UPDATE blobs SET created_at = now() WHERE sha256 = $1 RETURNING true"
_PUT = """
INSERT INTO blobs (sha256, size_bytes, content) VALUES ($1, $2, $3)
ON CONFLICT (sha256) DO UPDATE SET created_at = now()
"""


async def put(tx: Transaction, digest: bytes, content: bytes) -> None:
    """Keep bytes under their SHA-256; bytes that are kept already become young again."""
    # First without the bytes, so that known bytes are not sent to PostgreSQL again.
    if not await tx.fetchval(_TOUCH, digest):
        await tx.execute(_PUT, digest, len(content), content)


class PostgresBlobs:
    """Keeps bytes under their SHA-256: one place to back up, one transaction with the rows.

    It satisfies `core.blobs.store.BlobKeeper`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """Return the bytes.

        Raises:
            ImageMissing: nothing is kept under this hash.
            ImageUnreadable: more than `max_bytes`.
            DatabaseAway: PostgreSQL is away.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_READ, digest, max_bytes)
        if row is None:
            raise ImageMissing(f"blob:{digest.hex()}: nothing is kept under this hash")
        if row["content"] is None:
            raise ImageUnreadable(
                f"blob:{digest.hex()} has {row['size_bytes']} bytes, the limit is {max_bytes}",
                reason="image_too_large",
            )
        return bytes(row["content"])

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        """Keep bytes, in `tx` or at once; does nothing where they are kept."""
        async with self._in(tx) as open_tx:
            await put(open_tx, digest, content)

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:  # noqa: ARG002
        """Return nothing: the pruner looks through the table itself."""
        return ()

    async def discard(self, digest: bytes, older_than: timedelta) -> bool:  # noqa: ARG002
        """Return False: the pruner deletes rows, since it sees which images refer to them."""
        return False

    @asynccontextmanager
    async def _in(self, tx: Transaction | None) -> AsyncIterator[Transaction]:
        if tx is not None:
            yield tx
            return
        async with self._database.transaction() as own:
            yield own
