"""The report on the same photos: hashes from PostgreSQL, compared here, confirmed there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.storage.archive import same_photos
from core.storage.archive.duplicates import MAX_COMPARED, SAME_PHOTO_BITS
from core.storage.archive.same_photos import SamePhoto
from core.transaction import Database
from core.vision.decoding.lookalikes import lookalikes


@dataclass(frozen=True, slots=True)
class Page:
    """Some pairs.

    Attributes:
        next: what the next page begins behind; None: this is the last one.
        is_complete: no image was left out because the archive is too large, nor a pair because more
            images look like one than are offered, of which none is the same photo.
    """

    pairs: Sequence[SamePhoto]
    next: int | None
    is_complete: bool


async def find(
    database: Database, turn: asyncio.Lock, *, owner: str | None, after: int, limit: int
) -> Page:
    """Return at most `limit` pairs; fewer, even none, may come before the last page.

    Args:
        turn: is waited for: a page takes a core for up to half a second.
        owner: only this owner's images, and those of nobody; None: all.
        after: `next` of the page before; 0: the first one.
    """
    async with turn:
        return await _find(database, owner, after, limit)


async def _find(database: Database, owner: str | None, after: int, limit: int) -> Page:
    async with database.connection() as connection:
        kept = await same_photos.hashes(connection, owner=owner, limit=MAX_COMPARED)
    ids = np.frombuffer(kept.ids, ">i8").astype(np.int64)
    hashes = np.frombuffer(kept.values, ">i8").astype(np.int64)
    first = int(np.searchsorted(ids, after, side="right"))
    # Without a connection in its hands: others have use for it meanwhile.
    found = await asyncio.to_thread(
        lookalikes, hashes, first, max_bits=SAME_PHOTO_BITS, limit=limit
    )
    pairs = [(int(ids[older]), int(ids[newer])) for older, newer in found.pairs]
    same: dict[int, SamePhoto] = {}
    if pairs:
        async with database.connection() as connection:
            same = await same_photos.confirmed(connection, pairs)
    return Page(
        pairs=tuple(same.values()),
        next=int(ids[found.next - 1]) if found.next < len(ids) else None,
        is_complete=kept.is_complete and all(int(ids[place]) in same for place in found.cut),
    )
