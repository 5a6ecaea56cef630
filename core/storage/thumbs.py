"""Thumbnails kept in PostgreSQL: table `thumbs`."""

from collections.abc import Sequence

from core.tags import Thumb, ThumbSize
from core.transaction import Database

_READ = "SELECT content FROM thumbs WHERE sha256 = $1 AND size = $2"
# What a crash takes is made again: nobody waits until it is on a disk.
_LAZILY = "SET LOCAL synchronous_commit = off"
_KEEP = """
INSERT INTO thumbs (sha256, size, content)
SELECT DISTINCT ON (1, 2) * FROM unnest($1::bytea[], $2::text[], $3::bytea[])
     AS u (sha256, size, content)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""


class PostgresThumbs:
    """Keeps thumbnails in a table. It satisfies `core.blobs.thumbs.ThumbKeeper`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, digest: bytes, size: ThumbSize) -> bytes | None:
        """Return a thumbnail; None where it is not there.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        async with self._database.connection() as connection:
            content = await connection.fetchval(_READ, digest, size)
        return None if content is None else bytes(content)

    async def keep(self, thumbs: Sequence[Thumb]) -> None:
        """Store thumbnails; those that are there stay.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_LAZILY)
            await tx.execute(
                _KEEP,
                [each.sha256 for each in thumbs],
                [each.size for each in thumbs],
                [each.jpeg for each in thumbs],
            )
