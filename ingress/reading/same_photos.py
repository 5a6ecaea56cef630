"""Pairs that are the same photo: hashes are compared here, pairs confirmed by PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.storage.finding import same_photos
from core.storage.finding.duplicates import MAX_COMPARED, SAME_PHOTO_BITS
from core.storage.finding.same_photos import SamePhoto
from core.storage.pool import Pool
from core.vision.decoding.lookalikes import lookalikes


@dataclass(frozen=True, slots=True)
class PairPage:
    """Some pairs of images that are the same photo.

    Attributes:
        next: the next page begins behind this row; None: this is the last page.
        is_complete: False where the archive has more images than are compared, or where an image
            looks like more others than were checked and none of those was the same photo.
    """

    pairs: Sequence[SamePhoto]
    next: int | None
    is_complete: bool


async def find(
    pool: Pool, turn: asyncio.Lock, *, owner: str | None, after: int, limit: int
) -> PairPage:
    """Return at most `limit` pairs; fewer, even none, may come before the last page.

    Args:
        turn: held while a page is made, which takes a core for up to half a second.
        owner: only what this owner may see; None: all.
        after: `next` of the page before; 0: the first one.
    """
    async with turn:
        return await _find(pool, owner, after, limit)


async def _find(pool: Pool, owner: str | None, after: int, limit: int) -> PairPage:
    kept = await same_photos.hashes(pool, owner=owner, limit=MAX_COMPARED)
    ids = np.frombuffer(kept.ids, ">i8").astype(np.int64)
    hashes = np.frombuffer(kept.values, ">i8").astype(np.int64)
    pages = np.frombuffer(kept.pages, np.bool_)
    first = int(np.searchsorted(ids, after, side="right"))
    # No connection is held meanwhile: other requests need it.
    found = await asyncio.to_thread(
        lookalikes, hashes, first, max_bits=SAME_PHOTO_BITS, limit=limit, pages=pages
    )
    pairs = [(int(ids[older]), int(ids[newer])) for older, newer in found.pairs]
    same = await same_photos.confirmed(pool, pairs) if pairs else {}
    return PairPage(
        pairs=tuple(same.values()),
        next=int(ids[found.next - 1]) if found.next < len(ids) else None,
        is_complete=kept.is_complete and all(int(ids[place]) in same for place in found.cut),
    )
