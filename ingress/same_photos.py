"""The report on the same photos: hashes from PostgreSQL, compared here, confirmed there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.storage import same_photos
from core.storage.duplicates import MAX_COMPARED, SAME_PHOTO_BITS
from core.storage.same_photos import SamePhoto
from core.transaction import Transaction
from core.vision.lookalikes import lookalikes


@dataclass(frozen=True, slots=True)
class Page:
    """Some pairs.

    Attributes:
        next: what the next page begins behind; None: this is the last one.
        is_complete: no image was left out because the archive is too large.
    """

    pairs: Sequence[SamePhoto]
    next: int | None
    is_complete: bool


async def find(connection: Transaction, *, owner: str | None, after: int, limit: int) -> Page:
    """Give at most `limit` pairs; fewer, even none, may come before the last page.

    Args:
        owner: only this owner's images, and those of nobody; None: all.
        after: `next` of the page before; 0: the first one.
    """
    kept = await same_photos.hashes(connection, owner=owner, limit=MAX_COMPARED)
    ids = np.frombuffer(kept[0], ">i4").astype(np.int64)
    hashes = np.frombuffer(kept[1], ">i8").astype(np.int64)
    first = int(np.searchsorted(ids, after, side="right"))
    found = await asyncio.to_thread(
        lookalikes, hashes, first, max_bits=SAME_PHOTO_BITS, limit=limit
    )
    pairs = [(int(ids[older]), int(ids[newer])) for older, newer in found.pairs]
    return Page(
        pairs=await same_photos.confirmed(connection, pairs) if pairs else (),
        next=int(ids[found.next - 1]) if found.next < len(ids) else None,
        is_complete=len(ids) < MAX_COMPARED,
    )
