"""Where uploads are kept: in the transaction, or outside of PostgreSQL before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.blobs.store import BlobStore
from core.errors import PermanentError
from core.transaction import Transaction


@dataclass(frozen=True, slots=True)
class UploadBlobs:
    """The blob store, as uploads use it.

    A bucket may take longer for a picture than a transaction may idle (5 s), so what is kept
    outside is kept before the transaction; if that fails, the pruner finds unreferenced bytes.
    """

    store: BlobStore
    in_database: bool

    async def keep_outside(self, content: bytes) -> None:
        """Keep bytes at once, where they are not kept in PostgreSQL.

        Raises:
            TransientError: they were not kept.
        """
        if not self.in_database:
            await self.store.keep(content)

    async def put(self, content: bytes, sha256: bytes, tx: Transaction) -> None:
        """Keep bytes with what `tx` writes, where they are kept in PostgreSQL.

        Raises:
            TransientError: they were not kept.
        """
        if self.in_database:
            await self.store.put(content, sha256, tx)

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        """Return each URI's bytes, or why there are none, in order.

        Raises:
            TransientError: a place is away.
        """
        return await self.store.read_all(uris)
